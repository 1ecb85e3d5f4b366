"""A slow, separate reading of CONTRACTS on permission and detokenization, to compare the desk with.

Plain lists and loops, nothing shared with the product: events are tuples, a policy is a dict as YAML reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REFUSABLE = ("consent", "legitimate_interest")


@dataclass
class World:
    """A policy, what customers said, what was written to the vault, and when."""

    policy: dict[str, Any]
    actors: dict[str, list[str]] | None
    before: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Events known when the vault was written: subject, purpose, decision, effective_at."""
    after: list[tuple[str, str, str, int]] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    """Subjects erased after the writing."""
    candidates: list[tuple[str, int, str, str, str, int]] = field(default_factory=list)
    """Domain, key version, token, value, subject, event time."""
    written_at: int = 0
    now: int = 0

    def permits(self, subject: str | None, purpose: str, at: int, *, late: bool) -> bool:
        """Whether a subject permits a purpose at an instant; ``late``: with all events, else those before."""
        if not subject or (late and subject in self.erased):
            return False
        basis = self.policy["purposes"][purpose]["basis"]
        if basis not in REFUSABLE:
            return True
        events = self.before + (self.after if late else [])
        relevant = [event for event in events if event[0] == subject and event[1] == purpose and event[3] <= at]
        if not relevant:
            return basis == "legitimate_interest"
        latest = max(event[3] for event in relevant)
        return all(event[2] == "granted" for event in relevant if event[3] == latest)

    def domain(self, name: str) -> dict[str, Any] | None:
        """The info type of a domain (one each in these worlds)."""
        return next((each for each in self.policy["info_types"].values() if each.get("domain") == name), None)

    def permitted(self, domain: str, subject: str, event_time: int, now: int, *, late: bool) -> bool:
        """Whether the vault may hold a value."""
        info_type = self.domain(domain) or {}
        return any(
            self.permits(subject, purpose, event_time, late=late) and self.permits(subject, purpose, now, late=late)
            for purpose in info_type.get("distribute", ())
        )

    def writable(self) -> list[tuple[str, int, str, str, str, int]]:
        """The candidates that had permission when the vault was written."""
        return [row for row in self.candidates if self.permitted(row[0], row[4], row[5], self.written_at, late=False)]

    def held(self) -> list[tuple[str, int, str, str, str, int]]:
        """What the vault holds now: written with permission, and permission never lost since."""
        return [row for row in self.writable() if self.permitted(row[0], row[4], row[5], self.now, late=True)]

    def answer(
        self, domain: str, token: str, *, purpose: str, role: str, actor: str, subject: str | None, version: int | None
    ) -> tuple[str, str | None, str | None]:
        """Rule, value and how much of it is shown."""
        roles, info_type = self.policy["roles"], self.domain(domain)
        if role not in roles or (self.actors is not None and role not in self.actors.get(actor, [])):
            return "actor_lacks_role", None, None
        if purpose not in roles[role]["purposes"]:
            return "role_lacks_purpose", None, None
        if info_type is None:
            return "unknown_domain", None, None
        if purpose not in info_type.get("distribute", []):
            return "not_distributed", None, None
        if role not in info_type.get("see", {}):
            return "role_sees_nothing", None, None
        refusable = self.policy["purposes"][purpose]["basis"] in REFUSABLE
        if subject is not None and not self.permits(subject, purpose, self.now, late=True):
            return ("subject_does_not_permit" if refusable else "no_entry"), None, None
        if not token.startswith("t"):
            return "not_a_token", None, None
        rows = [row for row in self.held() if row[0] == domain and row[2] == token and version in (None, row[1])]
        if subject is not None:
            rows = [row for row in rows if row[4] == subject]
        elif not all(self.permits(row[4], purpose, self.now, late=True) for row in rows):
            rows = []
        if not rows:
            return ("not_permitted_or_absent" if refusable and subject is None else "no_entry"), None, None
        if len({row[1] for row in rows}) > 1:
            return "ambiguous_version", None, None
        return "permitted", rows[0][3], info_type["see"][role]

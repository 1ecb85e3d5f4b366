"""The policy: one document that says why customer data is held, who may see what, and what becomes of each field."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

import rfc8785
from pydantic import Field

from .dataset import Dataset
from .info_types import Basis, Duration, InfoType, Name, Sight, TokenizeRule, Written

__all__ = ["DeadLetterRule", "Policy", "Purpose", "Role", "TokenDomain"]


class Purpose(Written):
    """Why data is held."""

    basis: Basis = Field(description="The lawful basis (GDPR Art. 6).")
    says: str = Field(min_length=1, max_length=500, description="A sentence that a customer can read.")


class Role(Written):
    """What staff work for."""

    purposes: tuple[Name, ...] = Field(min_length=1, description="Purposes that this role may act for.")


class DeadLetterRule(Written):
    """What becomes of records that cannot be processed."""

    retain: Duration = Field(description="How long they can be opened; then their key is destroyed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDomain:
    """A token domain, gathered from the info types that share it.

    Attributes:
        name: The domain.
        rule: Format and parameters, the same in all info types of the domain.
        info_types: Their names, in the policy's order.
        distribute: Purposes of which one must permit giving out a value.
        see: What each role sees.
        retain: How long the vault keeps a value at most, the shortest of the info types; None: no limit.
    """

    name: str
    rule: TokenizeRule
    info_types: tuple[str, ...]
    distribute: tuple[str, ...]
    see: Mapping[str, Sight]
    retain: timedelta | None


class Policy(Written):
    """The whole policy. Read it with ``read_policy``, which also checks what its parts say of each other."""

    version: Literal[1] = Field(description="Version of the policy language.")
    purposes: dict[Name, Purpose] = Field(min_length=1, description="Why data is held.")
    roles: dict[Name, Role] = Field(default_factory=dict, description="Who asks for raw values.")
    info_types: dict[Name, InfoType] = Field(default_factory=dict, description="What a value is and how it is treated.")
    datasets: dict[Name, Dataset] = Field(default_factory=dict, description="Which records there are.")
    dead_letters: DeadLetterRule = Field(
        default=DeadLetterRule(retain=timedelta(days=7)), description="Records that cannot be processed; default 7d."
    )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the policy's RFC 8785 form, in hex: equal for policies that mean the same, however spelled."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()

    @cached_property
    def token_domains(self) -> Mapping[str, TokenDomain]:
        """The token domains by name."""
        members: dict[str, dict[str, TokenizeRule]] = {}
        for name, rule in self.info_types.items():
            if isinstance(rule, TokenizeRule):
                members.setdefault(rule.domain, {})[name] = rule
        return {
            domain: TokenDomain(
                name=domain,
                rule=next(iter(rules.values())),
                info_types=tuple(rules),
                distribute=next(iter(rules.values())).distribute,
                see=next(iter(rules.values())).see,
                retain=min((rule.retain for rule in rules.values() if rule.retain is not None), default=None),
            )
            for domain, rules in members.items()
        }

    def token_domain(self, domain: str) -> TokenDomain | None:
        """Returns the token domain of that name, or None."""
        return self.token_domains.get(domain)

    def basis(self, purpose: str) -> Basis:
        """Returns the lawful basis of a purpose that the policy names."""
        return self.purposes[purpose].basis

    def __getstate__(self) -> dict[Any, Any]:
        """The fields without the cached forms, which are made anew where the policy arrives."""
        state = super().__getstate__()
        kept = {key: value for key, value in state["__dict__"].items() if key in type(self).model_fields}
        return {**state, "__dict__": kept}

"""What is asked of the desk, and what it answers: for one token, or for a column of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...schemas.info_types import Sight
from .explain import Option, Rule

__all__ = ["Answer", "AnsweredColumn", "Asked", "Decision"]

Decision = Literal["allowed", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer for one token.

    Attributes:
        domain: The token domain asked for.
        token: The token as it was typed.
        decision: ``allowed`` or ``refused``.
        value: The value, in full or masked; None where refused.
        shown: ``full``, ``masked`` or None.
        rule: Code of the rule that decided.
        says: That rule as one sentence.
        options: What may be offered instead of a refused value.
    """

    domain: str
    token: str
    decision: Decision
    value: str | None
    shown: Sight | None
    rule: Rule
    says: str
    options: tuple[Option, ...]

    def __repr__(self) -> str:
        return f"<Answer: {self.decision} by {self.rule.value}; token and value hidden>"

    def as_json(self) -> dict[str, Any]:
        """Returns the answer as ``detokenize --json`` prints it."""
        return {
            "domain": self.domain,
            "token": self.token,
            "decision": self.decision,
            "value": self.value,
            "shown": None if self.shown is None else self.shown.value,
            "rule": self.rule.value,
            "says": self.says,
            "options": [{"option": option.option, "says": option.says} for option in self.options],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredColumn:
    """The answers for a column of tokens.

    Attributes:
        values: As the role may see them; None where refused.
        rules: That decided, for each token.
        says: Each of these rules as one sentence.
        standing: Whether the policy refuses the request, whatever token and customer.
    """

    values: Sequence[str | None]
    rules: Sequence[Rule]
    says: Mapping[Rule, str]
    standing: bool

    def __repr__(self) -> str:
        return f"<AnsweredColumn: {len(self.rules)} tokens; values hidden>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A token that is asked for.

    Attributes:
        domain: Its token domain; where ``known`` is False, the name of an info type that the policy does not tokenize.
        token: In any spelling that the format accepts.
        key_version: Only a value of this key version; None: of any.
        known: Whether the policy tells which domain is meant. If not, nothing is looked up.
    """

    domain: str
    token: str
    key_version: int | None = None
    known: bool = True

    def __repr__(self) -> str:
        return f"<Asked: of '{self.domain}'; token hidden>"

"""The way back for free text: each token in it is asked for like a single one, and what is refused stays a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...schemas.info_types import TokenizeRule
from ...schemas.policy import Policy
from ...schemas.text_tokens import TextToken, replaced, text_tokens
from .detokenize import Answer, Asked, Desk

__all__ = ["RestoredText", "TextSpan", "detokenize_texts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """A token of a text, and the answer for it.

    Attributes:
        start: Code point of the protected text where its bracket opens.
        end: Behind its closing bracket.
        info_type: As the text names it.
        key_version: As the text names it.
        answer: As for a single token; of an info type that the policy does not tokenize, ``domain`` is its name.
    """

    start: int
    end: int
    info_type: str
    key_version: int
    answer: Answer

    def as_json(self) -> dict[str, Any]:
        """Returns the answer as ``detokenize --json`` prints it, with where the token stands."""
        place = {"start": self.start, "end": self.end, "info_type": self.info_type, "key_version": self.key_version}
        return {**place, **self.answer.as_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredText:
    """A text with values where they are allowed; ``spans`` are all tokens of the protected text, in order."""

    text: str
    spans: tuple[TextSpan, ...]

    def __repr__(self) -> str:
        refused = sum(span.answer.decision == "refused" for span in self.spans)
        return f"<RestoredText: {len(self.spans)} tokens, {refused} refused; text hidden>"

    @property
    def complete(self) -> bool:
        """Whether no token was refused."""
        return all(span.answer.decision == "allowed" for span in self.spans)

    def as_json(self) -> dict[str, Any]:
        """Returns the text as ``detokenize --text --json`` prints it."""
        return {"text": self.text, "spans": [span.as_json() for span in self.spans]}


def detokenize_texts(
    desk: Desk, texts: Sequence[str], *, purpose: str, role: str, actor: str, subject: str | None = None
) -> tuple[RestoredText, ...]:
    """Returns texts with the values of their tokens, in order, all judged at one instant.

    Each token is asked for by the domain that the policy gives its info type and by its own key version. A refused one
    stays as it stands; text that ``protect`` escaped comes back as it was. Each answer is in the access log first.

    Args:
        desk: Answers for the tokens.
        texts: As ``protect`` wrote them.
        purpose: What the values are needed for.
        role: The role in which the actor asks.
        actor: Who asks.
        subject: The customer whose permission decides; without it, all whose value it is must permit.

    Raises:
        ConfigError: The actor is blank.
        AccessLogError: The log cannot be written; nothing is shown.
        StoreError: Vault or ledger cannot be read; nothing is shown.
        IntegrityError: The ledger was changed; nothing is shown.
    """
    found = [text_tokens(text) for text in texts]
    domains = _domains(desk.policy)
    asked = [_asked(token, domains) for tokens in found for token in tokens]
    answers = iter(desk.detokenize_each(asked, purpose=purpose, role=role, actor=actor, subject=subject))
    return tuple(_restored(text, tokens, answers) for text, tokens in zip(texts, found, strict=True))


def _domains(policy: Policy) -> dict[str, str]:
    return {name: rule.domain for name, rule in policy.info_types.items() if isinstance(rule, TokenizeRule)}


def _asked(token: TextToken, domains: Mapping[str, str]) -> Asked:
    domain = domains.get(token.info_type)
    known = domain is not None
    return Asked(domain=domain or token.info_type, token=token.token, key_version=token.key_version, known=known)


def _restored(text: str, tokens: Sequence[TextToken], answers: Iterator[Answer]) -> RestoredText:
    spans = [
        TextSpan(
            start=token.start,
            end=token.end,
            info_type=token.info_type,
            key_version=token.key_version,
            answer=next(answers),
        )
        for token in tokens
    ]
    values = iter([_shown(text, span) for span in spans])
    return RestoredText(text=replaced(text, lambda _token: next(values)), spans=tuple(spans))


def _shown(text: str, span: TextSpan) -> str:
    return text[span.start : span.end] if span.answer.value is None else span.answer.value

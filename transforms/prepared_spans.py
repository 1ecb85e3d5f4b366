"""Replaces spans of texts through Presidio's engine where the replacements are known already, for whole batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult
from presidio_anonymizer.operators import Operator, OperatorType

from ..schemas.text_tokens import woven
from .actions import REDACTED

__all__ = ["DEFAULT", "PreparedSpan", "Replacement", "anonymized", "prepared"]

DEFAULT = "DEFAULT"
"""Presidio's name for every entity that has no operator of its own."""
REPLACEMENTS = "replacements"

Replacement = tuple[int, int, str, bool]
"""Start and end of a span, what takes its place, and whether that is a token."""


def anonymized(text: str, replacements: Sequence[Replacement]) -> str:
    """Returns a text with spans replaced through Presidio's engine, and what looks like a token escaped.

    Args:
        text: Any.
        replacements: Disjoint, in any order; tokens as ``spelled`` spells them.

    Raises:
        ValueError: Spans overlap, are empty, or reach out of the text.

    >>> anonymized("card 4111, call 0171", [(5, 9, "[card:1:77]", True), (16, 20, "[redacted]", False)])
    'card [card:1:77], call [redacted]'
    """
    ordered = sorted(replacements)
    ends = [0, *(end for _, end, _, _ in ordered)]
    if any(not last <= start < end <= len(text) for last, (start, end, _, _) in zip(ends, ordered, strict=False)):
        raise ValueError("spans overlap, are empty, or reach out of the text; pass disjoint ones")
    if "[" in text or any("[" in made and made != REDACTED for _, _, made, is_token in ordered if not is_token):
        # What has to be escaped depends on what stands beside it, so that the whole text is one span.
        ordered = [(0, len(text), woven(_parts(text, ordered)), False)]
    if not ordered:
        return text
    config = prepared([made for _, _, made, _ in ordered])
    spans = [RecognizerResult(DEFAULT, start, end, 1.0) for start, end, _, _ in ordered]
    result = _prepared_engine().anonymize(text, spans, {DEFAULT: config}, merge_entities_with_spaces=False)
    return str(result.text)


class PreparedSpan(Operator):
    """Gives each span its replacement. The engine works from the last span to the first, so they leave from the end."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """Returns the replacement of a span, and forgets it."""
        assert params is not None
        return str(params[REPLACEMENTS].pop())

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Has nothing to refuse: ``prepared`` makes the parameters."""

    def operator_name(self) -> str:
        """Returns the name that an ``OperatorConfig`` calls it by."""
        return "consentry_prepared"

    def operator_type(self) -> OperatorType:
        """Returns that it anonymizes."""
        return OperatorType.Anonymize


def prepared(replacements: Iterable[str]) -> OperatorConfig:
    """Returns the operator that replaces the spans of an entity in one text, once; replacements in their order."""
    return OperatorConfig(PreparedSpan().operator_name(), {REPLACEMENTS: list(replacements)})


@cache
def _prepared_engine() -> AnonymizerEngine:
    engine = AnonymizerEngine()  # type: ignore[no-untyped-call]
    engine.add_anonymizer(PreparedSpan)
    return engine


def _parts(text: str, ordered: Sequence[Replacement]) -> list[tuple[str, bool]]:
    parts, at = [], 0
    for start, end, made, is_token in ordered:
        parts += [(text[at:start], False), (made, is_token)]
        at = end
    return [*parts, (text[at:], False)]

"""Presidio's operator for spans whose replacements are known already, because all of a batch were made in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult
from presidio_anonymizer.operators import Operator, OperatorType

from ..schemas.text_tokens import Replacement

__all__ = ["DEFAULT", "PreparedSpan", "prepared", "with_replacements"]

TOGETHER = 32
"""Spans that the engine is given in one go: it takes a fixed time per call, and copies the whole text per span."""

DEFAULT = "DEFAULT"
"""Presidio's name for every entity that has no operator of its own."""
REPLACEMENTS = "replacements"


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


def with_replacements(texts: Iterable[tuple[str, Sequence[Replacement]]]) -> list[str]:
    """Returns texts as Presidio's engine leaves them, with each span replaced; the time is linear in spans and text.

    Args:
        texts: Each with its replacements, in order and disjoint, as ``escaped_around`` returns them.
    """
    made: list[list[str]] = []
    batch = _Batch()
    for number, (text, spans) in enumerate(texts):
        made.append([])
        for part, within in _parts(text, spans):
            if batch.spans and len(batch.spans) + len(within) > TOGETHER:
                batch.hand_out(made)
                batch = _Batch()
            batch.add(number, part, within)
    batch.hand_out(made)
    return ["".join(parts) for parts in made]


class _Batch:
    """Parts of texts that the engine is given as one text."""

    def __init__(self) -> None:
        self.spans: list[RecognizerResult] = []
        self._replacements: list[str] = []
        self._parts: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._at = 0

    def add(self, number: int, part: str, spans: Sequence[Replacement]) -> None:
        """Takes a part of the text of a number."""
        at, length = self._at, len(part)
        for span in spans:
            self.spans.append(RecognizerResult(span.entity, at + span.start, at + span.end, 1.0))
            self._replacements.append(span.text)
            length += len(span.text) - (span.end - span.start)
        self._parts.append(part)
        self._places.append((number, length))
        self._at += len(part)

    def hand_out(self, made: Sequence[list[str]]) -> None:
        """Adds to each text what was made of its parts."""
        if not self._parts:
            return
        text, operators = "".join(self._parts), {DEFAULT: prepared(self._replacements)}
        result = _engine().anonymize(text, self.spans, operators, merge_entities_with_spaces=False).text
        start = 0
        for number, length in self._places:
            made[number].append(result[start : start + length])
            start += length


def _parts(text: str, spans: Sequence[Replacement]) -> Iterator[tuple[str, Sequence[Replacement]]]:
    """Cuts a text with many spans, so that one of 10 MB full of them does not take hours."""
    if len(spans) <= TOGETHER:
        yield text, spans
        return
    start = 0
    for first in range(0, len(spans), TOGETHER):
        within = spans[first : first + TOGETHER]
        end = within[-1].end if first + TOGETHER < len(spans) else len(text)
        moved = [each._replace(start=each.start - start, end=each.end - start) for each in within]
        yield text[start:end], moved
        start = end


@cache
def _engine() -> AnonymizerEngine:
    engine = AnonymizerEngine()  # type: ignore[no-untyped-call]
    engine.add_anonymizer(PreparedSpan)
    return engine

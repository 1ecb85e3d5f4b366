"""Presidio's engine gives spans the replacements that were made for them, each its own."""

from __future__ import annotations

from typing import Any

import pytest
from consentry.schemas.text_tokens import Replacement
from consentry.transforms import prepared_spans
from consentry.transforms.prepared_spans import DEFAULT, TOGETHER, PreparedSpan, prepared, with_replacements
from hypothesis import given
from hypothesis import strategies as st
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import RecognizerResult

TEXT = st.text("ab[]:1 é", max_size=6)
SPAN = st.tuples(st.text("x[é", min_size=1, max_size=4), st.sampled_from(["[card:1:77]", "", "[redacted]", "*9"]))


@given(st.lists(TEXT | SPAN, max_size=8))
def test_the_engine_replaces_like_a_plain_join(parts: list[str | tuple[str, str]]) -> None:
    engine = AnonymizerEngine()
    engine.add_anonymizer(PreparedSpan)
    text, spans, made = "", [], []
    for part in parts:
        if isinstance(part, tuple):
            spans.append(RecognizerResult("CREDIT_CARD", len(text), len(text) + len(part[0]), 1.0))
            made.append(part[1])
        text += part if isinstance(part, str) else part[0]
    expected = "".join(part if isinstance(part, str) else part[1] for part in parts)
    config = {DEFAULT: prepared(made)}
    if spans:
        assert engine.anonymize(text, spans[::-1], config, merge_entities_with_spaces=False).text == expected


PARTS = st.lists(TEXT | SPAN, max_size=8)


def spanned(parts: list[str | tuple[str, str]]) -> tuple[str, list[Replacement], str]:
    text, spans = "", []
    for part in parts:
        if isinstance(part, tuple):
            place = {"start": len(text), "end": len(text) + len(part[0])}
            spans.append(Replacement(**place, entity="CREDIT_CARD", text=part[1], is_token=True))
        text += part if isinstance(part, str) else part[0]
    return text, spans, "".join(part if isinstance(part, str) else part[1] for part in parts)


@given(st.lists(st.tuples(PARTS, st.sampled_from([1, 1, 1, TOGETHER, 3 * TOGETHER + 1])), max_size=2 * TOGETHER))
def test_many_texts_are_replaced_as_if_each_stood_alone(drawn: list[tuple[list[str | tuple[str, str]], int]]) -> None:
    texts = [spanned(parts * times) for parts, times in drawn]
    assert with_replacements((text, spans) for text, spans, _ in texts) == [expected for *_, expected in texts]


def test_the_engine_never_gets_more_spans_than_it_takes_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given_spans: list[int] = []
    engine = AnonymizerEngine()
    engine.add_anonymizer(PreparedSpan)

    class Counting:
        def anonymize(self, text: str, spans: list[Any], *rest: Any, **more: Any) -> Any:
            given_spans.append(len(spans))
            return engine.anonymize(text, spans, *rest, **more)

    monkeypatch.setattr(prepared_spans, "_engine", Counting)
    text, spans, expected = spanned([" ", ("4111", "[card:1:77]")] * 1_000)
    assert with_replacements([(text, spans), ("a", []), (text, spans)]) == [expected, "a", expected]
    assert max(given_spans) <= TOGETHER
    assert len(given_spans) < 2 * (1_000 // TOGETHER + 2)

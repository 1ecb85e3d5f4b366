"""Presidio's engine gives spans the replacements that were made for them, each its own."""

from __future__ import annotations

from consentry.transforms.prepared_spans import DEFAULT, PreparedSpan, prepared
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

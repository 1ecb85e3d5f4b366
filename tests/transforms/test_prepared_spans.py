"""Spans replaced through Presidio's engine are what a plain join makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from consentry.schemas.text_tokens import text_tokens, woven
from consentry.transforms.prepared_spans import anonymized
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def replaced_texts(draw: st.DrawFn) -> list[tuple[str, str, bool] | str]:
    plain = st.one_of(st.text("ab[]:1 é", max_size=6), st.sampled_from(["[card:1:77]", "[[x:2:t]", ""]))
    value = st.text("x[é", min_size=1, max_size=4)
    span = st.tuples(value, st.sampled_from(["[card:1:77]", "[card:1:7]"]), st.just(True))
    hidden = st.tuples(value, st.sampled_from(["", "[redacted]", "*9", "[", "[card:1:77]"]), st.just(False))
    return draw(st.lists(st.one_of(plain, span, hidden), max_size=8))


@given(replaced_texts())
def test_the_engine_replaces_like_a_plain_join_and_tokens_can_be_told_apart(parts: Any) -> None:
    text, replacements, expected = "", [], []
    for part in parts:
        if isinstance(part, str):
            text += part
            expected.append((part, False))
        else:
            value, made, is_token = part
            replacements.append((len(text), len(text) + len(value), made, is_token))
            text += value
            expected.append((made, is_token))
    made = anonymized(text, replacements[::-1])
    assert made == woven(expected)
    assert [made[token.start : token.end] for token in text_tokens(made)] == [part for part, token in expected if token]


@pytest.mark.parametrize("wrong", [[(0, 2), (1, 3)], [(1, 1)], [(2, 9)], [(-1, 2)]])
def test_spans_that_are_not_disjoint_are_refused(wrong: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="spans overlap, are empty, or reach out of the text"):
        anonymized("abcd", [(start, end, "x", False) for start, end in wrong])

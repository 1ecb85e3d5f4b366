"""Skeletons: what each character becomes, and the way back."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.transforms.detectors.skeletons import LETTER, SYMBOL, folded, skeletons
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "skeleton"),
    [
        ("４１", b"41"),
        ("٤١", b"41"),
        ("४१", b"41"),
        ("\u00a0\u2003\u3000", b"   "),
        ("\u2010\u2014\u2212", b"---"),
        ("éÄñ", b"eAn"),
        ("a\u200b\u00ad\u0301b", b"ab"),
        ("＠：", b"@:"),
        ("\u2028", b"\n"),
        ("ж", bytes([LETTER])),
        ("字€", bytes([SYMBOL, SYMBOL])),
    ],
)
def test_characters_become_what_people_mean(text: str, skeleton: bytes) -> None:
    assert folded(text) == skeleton


@given(st.lists(st.none() | st.text(max_size=20), max_size=10))
def test_places_lead_back_to_the_characters(texts: list[str | None]) -> None:
    seen = {}
    for part in skeletons(pa.array(texts, pa.string())):
        for at, row in enumerate(part.rows.tolist()):
            first, last = part.offsets[at], part.offsets[at + 1]
            text = texts[row] or ""
            data = bytes(part.data[first:last])
            places = range(len(text)) if part.places is None else part.places[first:last].tolist()
            assert b"".join(folded(text[place]) for place in places) == data == folded(text)
            seen[row] = True
    assert sorted(seen) == [row for row, text in enumerate(texts) if text is not None]


def test_some_may_be_taken_in_any_order() -> None:
    (part,) = skeletons(pa.array(["ab", "", "cde"]))
    taken = part.take(part.rows[[2, 0]])
    assert (taken.rows.tolist(), bytes(taken.data), taken.offsets.tolist()) == ([2, 0], b"cdeab", [0, 3, 5])

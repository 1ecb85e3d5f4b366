"""What is taken out of texts is what was named, whatever stands around it, and nothing else changes."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.text_tokens import replaced, spelled, text_tokens
from consentry.transforms.text_redaction import Needles, changed_texts, without_tokens
from hypothesis import given
from hypothesis import strategies as st

NEEDLES = Needles(subject="Kunde-4711", tokens=frozenset({"abcdefgh23456777", "t1"}))


def texts(*values: str | None) -> pa.StringArray:
    return pa.array(values, pa.string())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("kunde-4711", "[redacted]"),
        ("for KUNDE-4711, now", "for [redacted], now"),
        ("kunde-47110", "kunde-47110"),
        ("xkunde-4711", "xkunde-4711"),
        ("abcdefgh23456777 twice abcdefgh23456777", "[redacted] twice [redacted]"),
        ("t1", "t1"),
        ("", ""),
        (None, None),
    ],
)
def test_an_id_goes_as_a_value_and_as_a_word(text: str | None, left: str | None) -> None:
    found = NEEDLES.removed(texts(text)).to_pylist()
    assert found == [left]
    assert NEEDLES.found(texts(text)).tolist() == [text != left]
    assert not NEEDLES.found(pa.array(found, pa.string())).any()


def test_a_needle_is_not_shown() -> None:
    assert "4711" not in repr(NEEDLES) and NEEDLES.tells_id
    assert not Needles(subject="c-17", tokens=frozenset()).tells_id


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]
)
def test_texts_of_any_layout_keep_it(kind: pa.DataType) -> None:
    column = pa.array(["kunde-4711", "a", None, "a"], pa.string())
    column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)
    changed = changed_texts(column, NEEDLES.removed)
    assert changed.type == kind and changed.cast(pa.string()).to_pylist() == ["[redacted]", "a", None, "a"]
    assert changed_texts(changed, NEEDLES.removed) is changed
    numbers = pa.array([1, 2])
    assert changed_texts(numbers, NEEDLES.removed) is numbers


def test_tokens_go_by_row_and_brackets_before_them_are_single_again() -> None:
    token = spelled("card", 1, "77")
    column = texts(f"a {token} b", f"a {token} b", f"[[{token}", "[[card:1:77] is text")
    asked = []

    def gone(found: object, row: int) -> bool:
        asked.append(row)
        return row != 1

    assert without_tokens(column, gone).to_pylist() == [
        "a [redacted] b", f"a {token} b", "[[redacted]", "[[card:1:77] is text",
    ]  # fmt: skip
    assert asked == [0, 1, 2]


PIECES = st.sampled_from(["[", "]", "a", " ", ":", "[card:1:77]", "[mail:2:x]", "[[card:1:77]", "card", "1"])


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["card", "mail"]))
def test_no_token_of_a_kind_is_left_and_all_others_are(text: str, kind: str) -> None:
    made = without_tokens(texts(text), lambda token, _: token.info_type == kind)[0].as_py()
    before = [token.token for token in text_tokens(text) if token.info_type != kind]
    assert [token.token for token in text_tokens(made)] == before
    shown = replaced(text, lambda token: "[redacted]" if token.info_type == kind else "~")
    assert replaced(made, lambda _: "~") == shown

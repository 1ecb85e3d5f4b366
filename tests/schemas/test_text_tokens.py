from __future__ import annotations

from typing import Any

from consentry.schemas.text_tokens import Replacement, escaped, escaped_around, replaced, spelled, text_tokens
from hypothesis import given
from hypothesis import strategies as st
from oracles.woven_texts import woven

TEXT = st.text(st.sampled_from("[[[]]]:aA1%5B ü\n"), max_size=30)
NAME = st.sampled_from(["card", "a", "e-mail_2"])
TOKEN = st.text(st.sampled_from("0aZ[]% .:@ü"), min_size=1, max_size=12)
PARTS = st.lists(TEXT | st.tuples(NAME, st.integers(1, 12), TOKEN), max_size=8)


def test_a_token_stands_in_brackets_with_info_type_and_version() -> None:
    (token,) = text_tokens("paid with [card:2:4000005123450003], thanks")
    assert (token.info_type, token.key_version, token.token) == ("card", 2, "4000005123450003")
    assert (token.start, token.end) == (10, 35)


def test_text_that_looks_like_a_token_has_its_bracket_doubled() -> None:
    assert escaped("a [card:1:x] b") == "a [[card:1:x] b"
    assert text_tokens("a [[card:1:x] b") == []
    assert escaped("a [card:0:x] [1:1:x] [card:1:] [card:x:1] [] b") == "a [card:0:x] [1:1:x] [card:1:] [card:x:1] [] b"


@given(TEXT)
def test_any_text_comes_back_from_being_escaped_and_holds_no_token(text: str) -> None:
    assert text_tokens(escaped(text)) == []
    assert replaced(escaped(text), lambda token: "wrong") == text


@given(PARTS)
def test_tokens_and_text_come_back_from_any_mixture(parts: list[str | tuple[str, int, str]]) -> None:
    text = woven([(part, False) if isinstance(part, str) else (spelled(*part), True) for part in parts])
    tokens = [part for part in parts if not isinstance(part, str)]
    assert [(found.info_type, found.key_version, found.token) for found in text_tokens(text)] == tokens
    assert all(text[found.start] == "[" and text[found.end - 1] == "]" for found in text_tokens(text))
    wanted = "".join(part if isinstance(part, str) else f"<{part[2]}>" for part in parts)
    assert replaced(text, lambda token: f"<{token.token}>") == wanted


REPLACED = st.tuples(TEXT, TEXT | st.tuples(NAME, st.integers(1, 12), TOKEN))


@given(st.lists(TEXT | REPLACED, max_size=8))
def test_replaced_spans_stand_as_if_the_text_were_woven(parts: list[Any]) -> None:
    text, replacements, expected = "", [], []
    for part in parts:
        if isinstance(part, str):
            text, expected = text + part, [*expected, (part, False)]
            continue
        value, made = part
        is_token = not isinstance(made, str)
        shown = made if isinstance(made, str) else spelled(*made)
        place = {"start": len(text), "end": len(text) + len(value)}
        replacements.append(Replacement(**place, entity="CREDIT_CARD", text=shown, is_token=is_token))
        text, expected = text + value, [*expected, (shown, is_token)]
    changed, moved = escaped_around(text, replacements)
    assert [changed[each.start : each.end] for each in moved] == [text[each.start : each.end] for each in replacements]
    at, result = 0, ""
    for each in moved:
        result, at = result + changed[at : each.start] + each.text, each.end
    assert result + changed[at:] == woven(expected)

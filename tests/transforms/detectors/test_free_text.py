"""Finding in texts: whole columns, hostile texts, and how well it does on the corpora."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.findings import Finding
from consentry.transforms.detectors.free_text import find_in_texts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.detection_score import Score, score
from oracles.handwritten_texts import handwritten_texts
from oracles.labelled_texts import LabelledText, disguised_cards, labelled_texts
from oracles.surrounded_values import national_phones, surrounded_lookalikes, surrounded_values

CARD = "4111 1111 1111 1111"
PIECES = (
    CARD,
    "4111111111111111",
    "card ",
    "tel ",
    "0171 2345678",
    "+1 415 555 2671",
    "a@example.com",
    "::1",
    "10.0.0.1",
    "ssn ",
    "078-05-1121",
    "AB123456C",
    "pw: ",
    "pw",
    "hunter2!",
    "DE89370400440532013000",
    "born ",
    "2 May 1980",
    "\n",
    " ",
    "-",
    "\0",
    "\u200b",
    "é",
    "\\n",
    "https://a:b1234567@c.de/",
    "00:1b:44:11:3a:b7",
    "4",
    "1111",
    "/",
    ".",
    ",",
    "x",
    "電話",
    "[card:1:x]",
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=10).map("".join)


def found(texts: list[str | None], kind: pa.DataType | None = None) -> dict[int, list[Finding]]:
    return dict(find_in_texts(pa.array(texts, kind or pa.string())))


def cards_in(text: str) -> list[str]:
    findings = found([text]).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is Entity.CREDIT_CARD]


def scored(corpus: list[LabelledText]) -> Score:
    results = found([item.text for item in corpus])
    spans = [[(each.start, each.end, str(each.entity)) for each in results.get(row, [])] for row in range(len(corpus))]
    return score(corpus, spans)


@pytest.mark.parametrize(
    "corpus",
    [
        pytest.param(lambda: labelled_texts(2000, 77), id="labelled"),
        pytest.param(handwritten_texts, id="handwritten"),
        pytest.param(lambda: surrounded_values(5) + surrounded_lookalikes(5), id="surrounded"),
        pytest.param(lambda: national_phones(5), id="phones"),
    ],
)
def test_the_corpora_are_found_with_exact_spans_and_next_to_nothing_leaks(corpus) -> None:  # type: ignore[no-untyped-def]
    result = scored(corpus())
    assert result.overall.f1 >= 0.98, f"{result}\n" + "\n".join(map(str, result.misses + result.false_hits))
    assert result.overall.leaked_share <= 0.01
    cards = result.entities.get(Entity.CREDIT_CARD)
    assert cards is None or (cards.recall >= 0.99 and cards.precision >= 0.99)


def test_look_alikes_in_any_surrounding_are_no_cards() -> None:
    assert not [each for each in scored(surrounded_lookalikes(9)).false_hits if each.span[2] == Entity.CREDIT_CARD]


def test_disguised_cards_are_found() -> None:
    tallies = [scored(disguised_cards(seed)).overall for seed in range(3)]
    assert sum(each.hits for each in tallies) / sum(each.hits + each.misses for each in tallies) >= 0.99


@given(st.lists(st.none() | TEXTS, max_size=8))
@example(["4.2.1", "pw: hunter2!"])
@example(["AB123456C", "AB123456D"])
@example(["a-", "192.168.1.1", "-10.0.0.1"])
@example(["iban: lv05 evix", "é", "12345678901234567890"])
@settings(max_examples=150, deadline=None)
def test_a_column_is_found_in_as_its_rows_are_one_by_one(texts: list[str | None]) -> None:
    alone = {row: found([text])[0] for row, text in enumerate(texts) if found([text])}
    assert found(texts) == alone


@given(st.lists(st.none() | TEXTS, max_size=6), st.integers(0, 5), st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_slices_and_large_strings_change_nothing(texts: list[str | None], start: int, length: int) -> None:
    wanted = found(texts[start : start + length])
    for kind in (pa.string(), pa.large_string()):
        assert dict(find_in_texts(pa.array(texts, kind).slice(start, length))) == wanted


@given(TEXTS | st.text())
@settings(max_examples=200, deadline=None)
def test_findings_are_disjoint_in_order_inside_the_text_and_of_an_entity(text: str) -> None:
    place = 0
    for finding in found([text]).get(0, []):
        assert place <= finding.start < finding.end <= len(text)
        assert isinstance(finding.entity, Entity) and 0 < finding.score <= 1
        place = finding.end


@given(
    st.text(st.characters(categories=("L", "Zs")), max_size=60),
    st.text(st.characters(categories=("L", "Zs")), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_a_card_with_a_word_before_it_is_found_whatever_letters_stand_around(before: str, after: str) -> None:
    text = f"{before} card {CARD} {after}"
    assert cards_in(text) == [CARD]


def test_nothing_is_found_in_nothing() -> None:
    assert found([]) == found([None, "", None]) == found(["", " "]) == {}


def test_rows_come_in_order_whichever_are_in_ascii() -> None:
    assert list(found(["é " + CARD, CARD, None, "ü " + CARD])) == [0, 1, 3]


@pytest.mark.parametrize(
    "written",
    [
        "４１１１１１１１１１１１１１１１",
        "4111\u200b1111\u200b1111\u200b1111",
        "4\u03011\u030111 1111 1111 1111",
        "4111\u00a01111\u00a01111\u00a01111",
        "\u202e4111 1111 1111 1111".lstrip("\u202e"),
        "4111\u20131111\u20131111\u20131111",
        "٤١١١ ١١١١ ١١١١ ١١١١",
    ],
)
def test_disguises_are_seen_through(written: str) -> None:
    assert cards_in(f"card: {written}!") == [written]


def test_a_nul_byte_hides_nothing_around_it() -> None:
    assert cards_in(f"\0{CARD}\0") == [CARD]
    assert cards_in("4111\0" + "1111\0" * 2 + "1111") == ["4111\0" + "1111\0" * 2 + "1111"]


@pytest.mark.parametrize(
    "unit",
    [
        "7",
        "@",
        ":",
        "[",
        "-----BEGIN ",
        "password ",
        "\u0301",
        "e\u0301\u0302",
        "\u202eא",
        "1\u200b",
        "１",
        "a\0",
        "1 ",
        "1-",
        "A1b",
        "AA11",
        "1.1.",
        "a://b@c",
        "a://b:c@d;",
        "a@b.",
        "aa:",
        "\\n",
        "DE89 ",
        "eyJaaaaaaaa.",
        "[a:1:",
        "card phone ",
    ],
)
def test_hostile_text_neither_stalls_nor_hides_a_card(unit: str) -> None:
    text = unit * (200_000 // len(unit.encode())) + f" card {CARD} "
    began = time.perf_counter()
    assert cards_in(text)[-1:] == [CARD]
    assert time.perf_counter() - began < 5


def test_reasons_never_hold_the_value() -> None:
    for item in handwritten_texts():
        for finding in found([item.text]).get(0, []):
            assert item.text[finding.start : finding.end].lower() not in finding.reason.lower()

"""Words around values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from consentry.transforms.detectors.joined_text import JoinedText
from consentry.transforms.detectors.skeletons import skeletons
from consentry.transforms.detectors.words import told, words

WORDS = words("card card_number", "kart tél")


def joined(*rows: str) -> JoinedText:
    (part,) = skeletons(pa.array(rows))
    return JoinedText(part)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("my card ", 7),
        ("cards ", None),
        ("discard ", None),
        ("kartennummer", 4),
        ("card-number: ", 11),
        ("the tel", 7),
        ("my Card", 7),
        ("", None),
    ],
)
def test_the_last_word_is_found_whole_or_by_its_beginning(text: str, end: int | None) -> None:
    in_text, alone = WORDS.last_before(joined(text + "4111"), len(text)), WORDS.within(text.lower().encode())
    assert [None if each is None else each[1] for each in (in_text, alone)] == [end, end]


@pytest.mark.parametrize("text", ["card 1234 ", "card\nname: ", "card is lost. then ", "card x=1\n", "card | a\n"])
def test_a_word_says_nothing_across_numbers_sentences_and_lines(text: str) -> None:
    assert WORDS.last_before(joined(text), len(text)) is not None
    assert WORDS.governing(joined(text), len(text)) == -1


@pytest.mark.parametrize("text", ["card: ", "card number\n", "card no. ", "card (visa) ", "card"])
def test_a_word_speaks_for_what_follows_and_for_the_next_line(text: str) -> None:
    assert WORDS.governing(joined(text + "4111"), len(text)) >= 0


def test_a_word_far_off_or_in_another_row_says_nothing() -> None:
    assert WORDS.last_before(joined("card" + " " * 40), 44) is None
    assert WORDS.last_before(joined("card" + " " * 40), 43) == (0, 4)
    assert WORDS.last_before(joined("card", "4111"), 5) is None


@pytest.mark.parametrize(
    ("text", "width", "follows"),
    [(" (card)", 18, True), ("card", 18, True), (" x. card", 18, False), (" a card", 6, False), (" cards", 18, False)],
)
def test_a_word_follows_in_the_same_part_of_a_sentence(text: str, width: int, follows: bool) -> None:
    assert WORDS.follows(joined("4111" + text), 4, width) is follows
    assert WORDS.follows(joined("4111", text), 4, width) is False


def test_many_parts_are_asked_at_once() -> None:
    text = joined("my card is", "no", "kart")
    starts, ends = np.array([0, 0, 7, 11, 14]), np.array([3, 4, 11, 13, 18])
    assert WORDS.stand_in(text, starts, ends).tolist() == [False, True, False, False, True]
    assert WORDS.stand_in(joined("no"), starts, ends).tolist() == [False] * 5


def test_the_name_of_a_word_is_told_unless_it_is_not_ascii() -> None:
    text = "kart card_number "
    assert WORDS.name_before(joined(text), len(text)) == "card_number"
    assert (told(b" card_"), told(b"\xe0")) == ("card", "…")

"""Words around values."""

from __future__ import annotations

import pytest
from consentry.transforms.detectors.words import words

WORDS = words("card card_number", "kart tél")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"my card ", 7),
        (b"cards ", -1),
        (b"discard ", -1),
        (b"kartennummer", 4),
        (b"card-number: ", 11),
        (b"the tel", 7),
        (b"", -1),
    ],
)
def test_the_last_word_is_found_whole_or_by_its_beginning(text: bytes, end: int) -> None:
    assert WORDS.last(text) == end


@pytest.mark.parametrize("text", [b"card 1234 ", b"card\nname: ", b"card is lost. then ", b"card x=1\n", b"card | a\n"])
def test_a_word_says_nothing_across_numbers_sentences_and_lines(text: bytes) -> None:
    assert WORDS.last(text) >= 0 and WORDS.governing(text) == -1


@pytest.mark.parametrize("text", [b"card: ", b"card number\n", b"card no. ", b"card (visa) "])
def test_a_word_speaks_for_what_follows_and_for_the_next_line(text: bytes) -> None:
    assert WORDS.governing(text) >= 0


def test_the_first_word_and_its_name_are_told() -> None:
    assert (WORDS.first(b"x kart card"), WORDS.first(b"x")) == (2, -1)
    assert WORDS.name(b"kart card_number ") == "card_number"

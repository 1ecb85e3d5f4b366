"""Characters of an alphabet as numbers, and back, over matrices of ASCII bytes.

Eight characters at a time become one number by three multiplies in 64-bit words; numbers become characters by tables
of all pairs or, for small alphabets, all groups of four.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...schemas.errors import NumeralRangeError, TokenError

__all__ = ["NumeralText"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Uints = np.ndarray[Any, np.dtype[np.uint64]]

DIGITS = "0123456789"
FOREIGN = 255
LANES = (
    (np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)
"""Shift and mask by which neighbours meet: numerals become pairs, pairs fours, fours eights."""
LARGEST_TIGHT = 16
"""Up to this radix a group fits the bits that its numerals had, so that masking once a step is enough."""
LARGEST_FOURS = 11


class NumeralText:
    """The numbers that strings over an alphabet spell.

    Args:
        alphabet: Distinct ASCII characters, 2 to 128; the first is zero.

    Raises:
        TokenError: Fewer, repeated or other characters.
    """

    __slots__ = ("_characters", "_group", "_spellings", "_table", "alphabet", "radix")

    def __init__(self, alphabet: str) -> None:
        if len(alphabet) < 2 or len(set(alphabet)) != len(alphabet) or not alphabet.isascii():
            raise TokenError("an alphabet has two or more distinct ASCII characters; repeat none")
        self.alphabet = alphabet
        self.radix = len(alphabet)
        self._characters = np.frombuffer(alphabet.encode("ascii"), np.uint8)
        table = np.full(256, FOREIGN, np.uint8)
        table[self._characters] = np.arange(self.radix, dtype=np.uint8)
        self._table = table.tobytes()
        self._group = 4 if self.radix <= LARGEST_FOURS else 2
        self._spellings = _spellings(self._characters, self._group)

    def numerals(self, text: Bytes) -> Bytes:
        """Returns the numeral of each character of ``(values, length)``.

        Raises:
            NumeralRangeError: A character is not in the alphabet; it is not quoted.
        """
        numerals = self._mapped(text)
        if numerals.size and int(numerals.max()) >= self.radix:
            raise NumeralRangeError(
                f"a character is not in the alphabet of {self.radix}; filter values before they come here"
            )
        return numerals

    def fits(self, text: Bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Returns for each row of ``(values, length)`` whether all its characters are of the alphabet."""
        return np.asarray((self._mapped(text) < self.radix).all(axis=1))

    def _mapped(self, text: Bytes) -> Bytes:
        if self.alphabet == DIGITS:
            return np.subtract(text, np.uint8(ord("0")))
        return np.frombuffer(text.tobytes().translate(self._table), np.uint8).reshape(text.shape)

    def characters(self, numerals: Any) -> Bytes:
        """Returns the character of each numeral."""
        return np.asarray(self._characters[numerals])

    def number(self, numerals: Bytes) -> Uints:
        """Returns what each row of numerals spells, of a length whose numbers fit 64 bits."""
        count, width = numerals.shape
        words = -(-width // 8)
        padded = np.zeros((count, 8 * words), np.uint8) if width % 8 else np.empty((count, width), np.uint8)
        _copy_rows(numerals, padded[:, 8 * words - width :])
        eights = _eights(padded.view(np.uint64), self.radix)
        total = eights[:, 0]
        for word in range(1, words):
            total = total * np.uint64(self.radix**8)
            total += eights[:, word]
        return total

    def spell(self, values: Uints, text: Bytes) -> None:
        """Writes each number into its row of ``text``, padded with zeros to its width; the numbers fit it."""
        count, width = text.shape
        groups = -(-width // self._group)
        spelled = np.empty((count, groups), self._spellings.dtype)
        factor = np.uint64(self.radix**self._group)
        for place in range(groups - 1, 0, -1):
            rest = values // factor
            spelled[:, place] = self._spellings.take((values - rest * factor).view(np.int64))
            values = rest
        spelled[:, 0] = self._spellings.take(values.view(np.int64))
        _copy_rows(spelled.view(np.uint8)[:, self._group * groups - width :], text)


def _spellings(characters: Bytes, group: int) -> np.ndarray[Any, Any]:
    """Returns all strings of ``group`` characters in order, each as one integer of that many bytes."""
    numbers = np.arange(len(characters) ** group)
    places = [numbers // len(characters) ** place % len(characters) for place in reversed(range(group))]
    return np.ascontiguousarray(characters[np.stack(places, axis=1)]).view(f"u{group}")[:, 0]


def _eights(words: Uints, radix: int) -> Uints:
    """Turns each little-endian word of eight numerals, in place, into the number that they spell."""
    shifted = np.empty_like(words)
    for step, (shift, mask) in enumerate(LANES):
        factor = np.uint64(radix ** (2**step))
        np.right_shift(words, shift, out=shifted)
        if radix > LARGEST_TIGHT:
            words &= mask
            shifted &= mask
        words *= factor
        words += shifted
        if radix <= LARGEST_TIGHT:
            words &= mask
    return words


def _copy_rows(source: Bytes, target: Bytes) -> None:
    """Copies rows of bytes as one item each, which numpy does faster than byte by byte."""
    item = f"V{source.shape[1]}"
    target.view(item)[:, 0] = source.view(item)[:, 0]

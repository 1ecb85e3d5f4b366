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
        """Returns what each row of numerals spells, of a length whose numbers fit 64 bits; an array of its own."""
        count, width = numerals.shape
        words = -(-width // 8)
        if width % 8:
            padded = np.zeros((count, 8 * words), np.uint8)
            _copy_rows(numerals, padded[:, 8 * words - width :])
            numerals = padded
        eights = numerals.view(np.uint64)
        total = _eight(eights[:, 0], self.radix)
        for word in range(1, words):
            total *= np.uint64(self.radix**8)
            total += _eight(eights[:, word], self.radix)
        return total

    def spell(self, values: Uints, text: Bytes) -> None:
        """Writes each number into its row of ``text``, padded with zeros to its width; the numbers fit it."""
        count, width = text.shape
        groups = -(-width // self._group)
        whole = width % self._group == 0
        spelled = text.view(self._spellings.dtype) if whole else np.empty((count, groups), self._spellings.dtype)
        factor = np.uint64(self.radix**self._group)
        for place in range(groups - 1, 0, -1):
            rest = values // factor
            spelled[:, place] = self._spelling(values - rest * factor)
            values = rest
        spelled[:, 0] = self._spelling(values)
        if not whole:
            _copy_rows(spelled.view(np.uint8)[:, self._group * groups - width :], text)

    def _spelling(self, numbers: Uints) -> np.ndarray[Any, Any]:
        # All numbers are in the table; of numpy's ways to treat those that are not, wrapping is the fastest.
        return self._spellings.take(numbers.view(np.int64), mode="wrap")


def _spellings(characters: Bytes, group: int) -> np.ndarray[Any, Any]:
    """Returns all strings of ``group`` characters in order, each as one integer of that many bytes."""
    numbers = np.arange(len(characters) ** group)
    places = [numbers // len(characters) ** place % len(characters) for place in reversed(range(group))]
    return np.ascontiguousarray(characters[np.stack(places, axis=1)]).view(f"u{group}")[:, 0]


def _eight(words: Uints, radix: int) -> Uints:
    """Returns the number that the eight numerals of each little-endian word spell."""
    if radix <= LARGEST_TIGHT:
        return _tight_eight(words, radix)
    words, shifted = words.copy(), np.empty(words.shape, np.uint64)
    for step, (shift, mask) in enumerate(LANES):
        np.right_shift(words, shift, out=shifted)
        words &= mask
        shifted &= mask
        words *= np.uint64(radix ** (2**step))
        words += shifted
    return words


def _tight_eight(words: Uints, radix: int) -> Uints:
    """The same where two numerals fit the bits of a lane: one product adds neighbours, and carries stay in the lane."""
    for step, (shift, mask) in enumerate(LANES):
        factor = np.uint64(1 + (radix ** (2**step) << int(shift)))
        words = np.multiply(words, factor) if step == 0 else np.multiply(words, factor, out=words)
        np.right_shift(words, shift, out=words)
        if step < len(LANES) - 1:
            np.bitwise_and(words, mask, out=words)
    return words


def _copy_rows(source: Bytes, target: Bytes) -> None:
    """Copies rows of bytes as one item each, which numpy does faster than byte by byte."""
    item = f"V{source.shape[1]}"
    target.view(item)[:, 0] = source.view(item)[:, 0]

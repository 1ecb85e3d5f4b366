"""Characters of an alphabet as numbers, and back, over matrices of ASCII bytes.

Decimal digits go eight at a time through 64-bit words; other alphabets go by a table, character by character.
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
ZEROS = np.uint64(0x3030303030303030)
# Three multiplies gather eight decimal digits: pairs, then fours, then all.
STEPS = (
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10_000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)
FOUR = np.uint64(10_000)
EIGHT = np.uint64(100_000_000)
FOUR_DIGITS = np.array([f"{number:04d}".encode() for number in range(10_000)]).view(np.uint32)


class NumeralText:
    """The numbers that strings over an alphabet spell.

    Args:
        alphabet: Distinct ASCII characters, 2 to 128; the first is zero.

    Raises:
        TokenError: Fewer, repeated or other characters.
    """

    __slots__ = ("_characters", "_decimal", "_table", "alphabet", "radix")

    def __init__(self, alphabet: str) -> None:
        if len(alphabet) < 2 or len(set(alphabet)) != len(alphabet) or not alphabet.isascii():
            raise TokenError("an alphabet has two or more distinct ASCII characters; repeat none")
        self.alphabet = alphabet
        self.radix = len(alphabet)
        self._decimal = alphabet == DIGITS
        self._characters = np.frombuffer(alphabet.encode("ascii"), np.uint8)
        self._table = np.full(256, FOREIGN, np.uint8)
        self._table[self._characters] = np.arange(self.radix, dtype=np.uint8)

    def fits(self, text: Bytes) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Returns for each row of ``(values, length)`` whether all its characters are of the alphabet."""
        return np.asarray((self._table[text] != FOREIGN).all(axis=1))

    def check(self, text: Bytes) -> None:
        """Refuses characters outside the alphabet.

        Raises:
            NumeralRangeError: There is one; it is not quoted.
        """
        if not text.size:
            return
        if self._decimal:
            foreign = int(text.min()) < ord("0") or int(text.max()) > ord("9")
        else:
            foreign = bool((self._table[text] == FOREIGN).any())
        if foreign:
            raise NumeralRangeError(f"a character is not in the alphabet of {self.radix}; filter values first")

    def numerals(self, text: Bytes) -> Bytes:
        """Returns the numeral of each character; ``check`` first."""
        return self._table[text]

    def characters(self, numerals: Any) -> Bytes:
        """Returns the character of each numeral."""
        return np.asarray(self._characters[numerals])

    def number(self, text: Bytes) -> Uints:
        """Returns what each row spells; rows of a length whose numbers fit 64 bits."""
        if self._decimal:
            return _decimal_number(text)
        total = self._table[text[:, 0]].astype(np.uint64)
        for column in range(1, text.shape[1]):
            total *= np.uint64(self.radix)
            total += self._table[text[:, column]]
        return total

    def spell(self, values: Uints, text: Bytes) -> None:
        """Writes each number into its row of ``text``, padded with zeros to its width."""
        if self._decimal:
            _spell_decimal(values, text)
            return
        factor = np.uint64(self.radix)
        for column in range(text.shape[1] - 1, 0, -1):
            rest = values // factor
            text[:, column] = self._characters[(values - rest * factor).astype(np.intp)]
            values = rest
        text[:, 0] = self._characters[values.astype(np.intp)]


def _decimal_number(text: Bytes) -> Uints:
    count, width = text.shape
    words = -(-width // 8)
    padded = np.full((count, 8 * words), ord("0"), np.uint8) if width % 8 else np.empty((count, width), np.uint8)
    _copy_rows(text, padded[:, 8 * words - width :])
    numbers = padded.view(np.uint64)
    numbers -= ZEROS
    shifted = np.empty_like(numbers)
    for factor, shift, mask in STEPS:
        np.right_shift(numbers, shift, out=shifted)
        numbers *= factor
        numbers += shifted
        numbers &= mask
    total = numbers[:, 0]
    for word in range(1, words):
        total = total * EIGHT + numbers[:, word]
    return total


def _spell_decimal(values: Uints, text: Bytes) -> None:
    count, width = text.shape
    fours = -(-width // 4)
    groups = np.empty((count, fours), np.uint32)
    for place in range(fours - 1, 0, -1):
        rest = values // FOUR
        groups[:, place] = FOUR_DIGITS.take((values - rest * FOUR).view(np.int64))
        values = rest
    groups[:, 0] = FOUR_DIGITS.take(values.view(np.int64))
    _copy_rows(groups.view(np.uint8)[:, 4 * fours - width :], text)


def _copy_rows(source: Bytes, target: Bytes) -> None:
    """Copies rows of bytes as one item each, which numpy does faster than byte by byte."""
    item = f"V{source.shape[1]}"
    target.view(item)[:, 0] = source.view(item)[:, 0]

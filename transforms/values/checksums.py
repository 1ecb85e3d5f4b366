"""Checksums over columns: Luhn (ISO/IEC 7812-1, annex B) and mod 97-10 (ISO/IEC 7064), on matrices of ASCII bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .byte_rows import Bools, Bytes, Int64s

__all__ = ["luhn_check_digits", "luhn_sums", "luhn_valid", "mod97"]

# Four lanes of 16 bits: a digit that is doubled in the low byte, one that is not in the high byte.
LANES = np.uint64(0x000F_000F_000F_000F)
ONES = np.uint64(0x0001_0001_0001_0001)
SIXES = np.uint64(0x0006_0006_0006_0006)
CHUNK = 16_384

# Eight digits in bytes become pairs, then fours, then one number.
TENS_AND_ONES = np.uint64(0x0F0F_0F0F_0F0F_0F0F)
GATHER = (
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF_00FF_00FF_00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000_FFFF_0000_FFFF)),
    (np.uint64(10_000), np.uint64(32), np.uint64(0x0000_0000_FFFF_FFFF)),
)

FACTORS = np.full(256, 100, np.int64)
NUMBERS = np.zeros(256, np.int64)
FACTORS[ord("0") : ord("9") + 1] = 10
NUMBERS[ord("0") : ord("9") + 1] = np.arange(10)
NUMBERS[ord("A") : ord("Z") + 1] = np.arange(10, 36)


def luhn_sums(digits: Bytes) -> Bytes:
    """Returns the Luhn sum of each row modulo 10: 0 where the number is valid.

    Args:
        digits: ASCII digits ``(numbers, length)``; the last is the check digit, every second before it is doubled.
    """
    result = np.empty(len(digits), np.uint8)
    for start in range(0, len(digits), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = _luhn_sums(digits[part])
    return result


def luhn_valid(digits: Bytes) -> Bools:
    """Returns which rows of ASCII digits pass the Luhn check.

    >>> luhn_valid(np.frombuffer(b"41111111111111114111111111111112", np.uint8).reshape(2, 16)).tolist()
    [True, False]
    """
    return np.asarray(luhn_sums(digits) == 0)


def luhn_check_digits(payload: Bytes) -> Bytes:
    """Returns the digit (a number) that makes each row of ASCII digits, with it appended, pass the Luhn check.

    >>> luhn_check_digits(np.frombuffer(b"411111111111111", np.uint8).reshape(1, 15)).tolist()
    [1]
    """
    appended = np.full((len(payload), payload.shape[1] + 1), ord("0"), np.uint8)
    appended[:, :-1] = payload
    return (np.uint8(10) - luhn_sums(appended)) % np.uint8(10)


def mod97(text: Bytes) -> Int64s:
    """Returns the remainder by 97 of each row read as a number, letters ``A`` … ``Z`` as 10 … 35.

    Args:
        text: ASCII digits and upper-case letters ``(values, length)``.

    >>> mod97(np.frombuffer(b"370400440532013000DE89", np.uint8).reshape(1, 22)).tolist()
    [1]
    """
    if not (text - ord("0") > 9).any():
        return _decimal_mod97(text)
    remainder = np.zeros(len(text), np.int64)
    for column in range(text.shape[1]):
        characters = text[:, column]
        remainder *= FACTORS.take(characters)
        remainder += NUMBERS.take(characters)
        # Two digits a step: seven steps stay below 2^63.
        if column % 7 == 6:
            remainder %= 97
    remainder %= 97
    return remainder


def _decimal_mod97(digits: Bytes) -> Int64s:
    """``mod97`` of digits alone: eight at a time become a number, and each number counts by its place."""
    numbers = _words(digits) & TENS_AND_ONES
    for factor, shift, mask in GATHER:
        numbers = (numbers * factor + (numbers >> shift)) & mask
    weights = np.array([pow(10, 8 * place, 97) for place in reversed(range(numbers.shape[1]))], np.uint64)
    return np.asarray((numbers * weights).sum(axis=1) % np.uint64(97)).astype(np.int64)


def _words(digits: Bytes) -> Any:
    """The digits eight at a time as ``uint64``, the last of a row in the highest byte; zeros fill up in front."""
    count, width = digits.shape
    words = -(-width // 8)
    padded = np.zeros((count, 8 * words), np.uint8)
    item = f"V{width}"
    padded[:, 8 * words - width :].view(item)[:, 0] = digits.view(item)[:, 0]
    return padded.view("<u8").astype(np.uint64, copy=False)


def _luhn_sums(digits: Bytes) -> Any:
    numbers = _words(digits)
    doubled = (numbers & LANES) << np.uint64(1)
    # A doubled digit above 9 loses 9; adding 6 carries into bit 4 exactly there.
    doubled -= (((doubled + SIXES) >> np.uint64(4)) & ONES) * np.uint64(9)
    doubled += (numbers >> np.uint64(8)) & LANES
    total = doubled[:, 0]
    for word in range(1, doubled.shape[1]):
        total = total + doubled[:, word]
    total = (total * ONES) >> np.uint64(48)
    return (total - total // np.uint64(10) * np.uint64(10)).astype(np.uint8)

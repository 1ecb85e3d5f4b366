"""FF1, the format-preserving encryption of NIST SP 800-38G, over arrays of numerals.

Guarantee: a permutation of the numeral strings of one length, chosen by key and tweak; the same input always gives the
same output. Non-guarantee: it hides neither the length nor that two values are equal, authenticates nothing, and
protects little where few strings exist: hence the floor ``min_domain`` (SP 800-38G Rev. 1 draft 2, section 5.1:
``radix ** length >= 1_000_000``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...schemas.errors import DomainTooSmallError, NumeralLengthError, NumeralRangeError, TokenError
from .ff1_rounds import FeistelRounds, Shape, Uints
from .key_sets import Secret

__all__ = ["FF1", "check_shape", "check_tweak"]

Numerals = np.ndarray[Any, np.dtype[np.integer[Any]]]
Tweak = bytes | np.ndarray[Any, np.dtype[np.uint8]]


class FF1(Secret):
    """FF1 with one key and radix. For one thread at a time; refuses pickling; hides its key.

    Args:
        key: 16, 24 or 32 bytes.
        radix: 2 to 65536.
        min_domain: Fewest strings that a length must have; 0 sets no floor of our own.

    Raises:
        KeySizeError: The key has another size.
        TokenError: The radix is out of range.
    """

    __slots__ = ("min_domain", "radix", "rounds")

    def __init__(self, key: bytes, radix: int, *, min_domain: int = 1_000_000) -> None:
        if not 2 <= radix <= 65536:
            raise TokenError(f"radix {radix} is not in 2 … 65536 (SP 800-38G, section 5.1)")
        self.radix = radix
        self.min_domain = min_domain
        self.rounds = FeistelRounds(key)

    def encrypt(self, numerals: Numerals, tweak: Tweak = b"") -> Numerals:
        """Returns the encryption of each row.

        Args:
            numerals: Integers ``(values, length)``, each in ``0 … radix - 1``.
            tweak: Bytes for all values, or ``uint8 (values, t)``.

        Returns:
            An array of the same shape; of the same type too, or ``uint16`` where that cannot hold ``radix - 1``.

        Raises:
            NumeralLengthError: The length is under 2, or 2^32 and more.
            NumeralRangeError: A numeral is outside the radix.
            DomainTooSmallError: ``radix ** length`` is under the floor.
            TokenError: An argument has another shape or type.
        """
        return self._run(numerals, tweak, decrypt=False)

    def decrypt(self, numerals: Numerals, tweak: Tweak = b"") -> Numerals:
        """Returns the decryption of each row; arguments and errors as in ``encrypt``."""
        return self._run(numerals, tweak, decrypt=True)

    def _run(self, numerals: Numerals, tweak: Tweak, *, decrypt: bool) -> Numerals:
        values = np.asarray(numerals)
        if values.ndim != 2 or values.dtype.kind not in "iu":
            raise TokenError("numerals must be an integer array of shape (values, length)")
        shape = Shape(self.radix, values.shape[1])
        check_shape(shape, self.min_domain)
        check_tweak(tweak, len(values))
        if values.size and (int(values.min()) < 0 or int(values.max()) >= self.radix):
            raise NumeralRangeError(f"a numeral is outside 0 … {self.radix - 1}; map characters by the alphabet first")
        holds = int(np.iinfo(values.dtype).max) >= self.radix - 1
        result = np.empty(values.shape, values.dtype if holds else np.uint16)
        run = self._words if shape.fits_words else self._integers
        for part, static in self.rounds.chunks(shape, tweak, len(values)):
            run(values[part], result[part], shape, static, decrypt)
        return result

    def _words(self, source: Numerals, target: Numerals, shape: Shape, static: Any, decrypt: bool) -> None:
        left = _number(source[:, : shape.left], shape.radix)
        right = _number(source[:, shape.left :], shape.radix)
        left, right = self.rounds.run_words(left, right, shape, static, decrypt=decrypt)
        _spell(left, target[:, : shape.left], shape.radix)
        _spell(right, target[:, shape.left :], shape.radix)

    def _integers(self, source: Numerals, target: Numerals, shape: Shape, static: Any, decrypt: bool) -> None:
        left = _long_numbers(source[:, : shape.left], shape.radix)
        right = _long_numbers(source[:, shape.left :], shape.radix)
        left, right = self.rounds.run_integers(left, right, shape, static, decrypt=decrypt)
        _spell_long(left, target[:, : shape.left], shape.radix)
        _spell_long(right, target[:, shape.left :], shape.radix)


def check_shape(shape: Shape, min_domain: int) -> None:
    """Refuses lengths that FF1 does not know and domains that could be tried out.

    Raises:
        NumeralLengthError: The length is under 2, or 2^32 and more.
        DomainTooSmallError: The domain is under the floor.
    """
    if not 2 <= shape.length < 2**32:
        raise NumeralLengthError(f"FF1 takes 2 to 2^32 - 1 numerals, not {shape.length} (SP 800-38G, section 5.1)")
    # From as many numerals on as the floor has bits, no radix is too small: spares the power of a long value.
    if shape.length < min_domain.bit_length() and shape.radix**shape.length < min_domain:
        raise DomainTooSmallError(
            f"{shape.length} numerals of radix {shape.radix} make only {shape.radix**shape.length:,} strings, under "
            f"the floor of {min_domain:,}: anyone could try all; use a longer value, format surrogate, or redact"
        )


def check_tweak(tweak: Tweak, count: int) -> None:
    """Refuses a tweak that is neither bytes nor a row of bytes for each of ``count`` values.

    Raises:
        TokenError: It is something else.
    """
    if isinstance(tweak, bytes):
        return
    if not isinstance(tweak, np.ndarray) or tweak.ndim != 2 or len(tweak) != count or tweak.dtype != np.uint8:
        raise TokenError("a tweak is bytes for all values, or a uint8 array of shape (values, t)")


def _number(numerals: Numerals, radix: int) -> Uints:
    """``NUM`` of each row, by Horner's rule (algorithm 1)."""
    total = numerals[:, 0].astype(np.uint64)
    for column in range(1, numerals.shape[1]):
        total *= np.uint64(radix)
        total += numerals[:, column].astype(np.uint64)
    return total


def _spell(values: Uints, target: Numerals, radix: int) -> None:
    """``STR`` of each value into the rows of ``target`` (algorithm 3)."""
    factor = np.uint64(radix)
    for column in range(target.shape[1] - 1, 0, -1):
        rest = values // factor
        target[:, column] = values - rest * factor
        values = rest
    target[:, 0] = values


def _long_numbers(numerals: Numerals, radix: int) -> list[int]:
    """``NUM`` of each row in Python integers, by Horner's rule over as many numerals at a time as fit a word."""
    width, step = numerals.shape[1], _word_numerals(radix)
    first, factor = width % step or step, radix**step
    totals: list[int] = _number(numerals[:, :first], radix).tolist()
    for start in range(first, width, step):
        words = _number(numerals[:, start : start + step], radix).tolist()
        totals = [total * factor + word for total, word in zip(totals, words, strict=True)]
    return totals


def _spell_long(values: list[int], target: Numerals, radix: int) -> None:
    """``STR`` of each Python integer into the rows of ``target``."""
    stop, step = target.shape[1], _word_numerals(radix)
    factor = radix**step
    while stop > step:
        split = [divmod(value, factor) for value in values]
        _spell(np.array([word for _, word in split], np.uint64), target[:, stop - step : stop], radix)
        values, stop = [rest for rest, _ in split], stop - step
    _spell(np.array(values, np.uint64), target[:, :stop], radix)


def _word_numerals(radix: int) -> int:
    """Returns how many numerals always fit 64 bits."""
    count = 1
    while radix ** (count + 1) <= 2**64:
        count += 1
    return count

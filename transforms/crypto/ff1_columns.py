"""FF1 over Arrow string columns: characters of a declared alphabet in, characters of the same alphabet out.

Values of one length go through together, as a matrix of bytes; no value becomes a Python object while its halves fit
64-bit words (``ff1_rounds``), longer ones become Python integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.errors import TokenError
from .ff1 import FF1, check_shape, check_tweak
from .ff1_rounds import CHUNK, Shape
from .key_sets import Secret
from .numeral_text import NumeralText

__all__ = ["FF1Text"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Offsets = np.ndarray[Any, np.dtype[np.int32]]
Tweak = bytes | Bytes

COUNTED = 65_536


class FF1Text(Secret):
    """FF1 with one key over strings of one alphabet. For one thread at a time; refuses pickling; hides its key.

    Args:
        key: 16, 24 or 32 bytes.
        alphabet: Distinct ASCII characters; the first is numeral zero.
        min_domain: Fewest strings that a length must have; 0 sets no floor of our own.

    Raises:
        KeySizeError: The key has another size.
        TokenError: The alphabet is not of distinct ASCII characters.
    """

    __slots__ = ("_cipher", "_text")

    def __init__(self, key: bytes, alphabet: str, *, min_domain: int = 1_000_000) -> None:
        self._text = NumeralText(alphabet)
        self._cipher = FF1(key, self._text.radix, min_domain=min_domain)

    def encrypt(self, column: pa.Array, tweak: Tweak | pa.Array = b"") -> pa.StringArray:
        """Returns the encryption of each string.

        Args:
            column: ``string``, or a type that Arrow casts to it; any lengths of 2 and more, nulls allowed.
            tweak: Bytes for all values; ``uint8 (values, t)``; or a string or binary column, of any lengths, without
                nulls where ``column`` has none.

        Returns:
            Strings of the same lengths; null where ``column`` is.

        Raises:
            NumeralLengthError: A string is shorter than 2.
            NumeralRangeError: A character is not in the alphabet.
            DomainTooSmallError: A length has fewer strings than the floor.
            TokenError: The tweak does not fit the column.
        """
        return self._column(column, tweak, decrypt=False)

    def decrypt(self, column: pa.Array, tweak: Tweak | pa.Array = b"") -> pa.StringArray:
        """Returns the decryption of each string; arguments and errors as in ``encrypt``."""
        return self._column(column, tweak, decrypt=True)

    def encrypt_bytes(self, text: Bytes, tweak: Tweak = b"") -> Bytes:
        """Returns the encryption of each row of ASCII bytes ``(values, length)``.

        Args:
            text: ``uint8 (values, length)``; columns cut from a wider matrix are welcome.
            tweak: Bytes for all values, or ``uint8 (values, t)``.

        Returns:
            A new matrix of the same shape; errors as in ``encrypt``.
        """
        return self._matrix(text, tweak, decrypt=False)

    def decrypt_bytes(self, text: Bytes, tweak: Tweak = b"") -> Bytes:
        """Returns the decryption of each row of ASCII bytes; arguments and errors as in ``encrypt_bytes``."""
        return self._matrix(text, tweak, decrypt=True)

    def _column(self, column: pa.Array, tweak: Tweak | pa.Array, *, decrypt: bool) -> pa.StringArray:
        strings = column.cast(pa.string())
        if isinstance(tweak, pa.Array):
            return self._by_tweak_length(strings, tweak, decrypt=decrypt)
        check_tweak(tweak, len(strings))
        if strings.null_count == len(strings):
            return pa.nulls(len(strings), pa.string())
        offsets, data = _offsets_and_data(strings)
        lengths = np.diff(offsets)
        if not strings.null_count and lengths.min() == lengths.max():
            result = self._matrix(data.reshape(len(strings), int(lengths[0])), tweak, decrypt=decrypt)
        else:
            result = self._by_length(strings, tweak, decrypt=decrypt)
        return _rebuilt(strings, offsets, result)

    def _by_length(self, strings: pa.StringArray, tweak: Tweak, *, decrypt: bool) -> Bytes:
        offsets, data = _offsets_and_data(strings)
        lengths, valid = np.diff(offsets), np.asarray(strings.is_valid())
        # Only rows that are values are written, so what lies hidden under a null does not travel on in clear.
        result = np.zeros_like(data)
        for length in _distinct(lengths[valid]):
            check_shape(Shape(self._text.radix, length), self._cipher.min_domain)
            everywhere = np.flatnonzero(valid & (lengths == length))
            source, target = _items(data, length), _items(result, length)
            for start in range(0, len(everywhere), CHUNK):
                rows = everywhere[start : start + CHUNK]
                places = offsets[rows].astype(np.intp)
                text = source[places].view(np.uint8).reshape(len(rows), length)
                part = tweak if isinstance(tweak, bytes) else tweak[rows]
                target[places] = self._matrix(text, part, decrypt=decrypt).view(f"V{length}")[:, 0]
        return result

    def _by_tweak_length(self, strings: pa.StringArray, tweaks: pa.Array, *, decrypt: bool) -> pa.StringArray:
        if len(tweaks) != len(strings) or pc.any(pc.and_(tweaks.is_null(), strings.is_valid())).as_py():
            raise TokenError("a column of tweaks has one for each value; fill its nulls, or filter the values")
        tweaks = tweaks.cast(pa.binary()).fill_null(b"")
        lengths = np.asarray(pc.binary_length(tweaks))
        groups = [np.flatnonzero(lengths == length) for length in _distinct(lengths)]
        parts = []
        for rows in groups:
            _, data = _offsets_and_data(tweaks.take(pa.array(rows)))
            matrix = data.reshape(len(rows), int(lengths[rows[0]]))
            parts.append(self._column(strings.take(pa.array(rows)), matrix, decrypt=decrypt))
        if not parts:
            return strings
        return pa.concat_arrays(parts).take(pa.array(np.argsort(np.concatenate(groups))))

    def _matrix(self, text: Bytes, tweak: Tweak, *, decrypt: bool) -> Bytes:
        if text.ndim != 2 or text.dtype != np.uint8:
            raise TokenError("text must be a uint8 array of shape (values, length)")
        shape = Shape(self._text.radix, text.shape[1])
        check_shape(shape, self._cipher.min_domain)
        check_tweak(tweak, len(text))
        if not shape.fits_words:
            run = self._cipher.decrypt if decrypt else self._cipher.encrypt
            return self._text.characters(run(self._text.numerals(text), tweak))
        text = text if text.strides[1] == 1 else np.ascontiguousarray(text)
        result = np.empty(text.shape, np.uint8)
        for part, static in self._cipher.rounds.chunks(shape, tweak, len(text)):
            numerals = self._text.numerals(text[part])
            left, right = self._text.number(numerals[:, : shape.left]), self._text.number(numerals[:, shape.left :])
            left, right = self._cipher.rounds.run_words(left, right, shape, static, decrypt=decrypt)
            self._text.spell(left, result[part, : shape.left])
            self._text.spell(right, result[part, shape.left :])
        return result


def _offsets_and_data(strings: pa.Array) -> tuple[Offsets, Bytes]:
    """Returns the offsets of a string or binary array, from zero, and the bytes that they mark."""
    if not len(strings):
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int32, len(strings) + 1, 4 * strings.offset)
    marked = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    return ends - ends[0], marked


def _distinct(lengths: Any) -> list[int]:
    """Returns the distinct lengths, ascending; by counting, where the longest allows it."""
    if int(lengths.max(initial=0)) < COUNTED:
        found: list[int] = np.flatnonzero(np.bincount(lengths)).tolist()
        return found
    return [int(length) for length in np.unique(lengths)]


def _items(data: Bytes, length: int) -> np.ndarray[Any, Any]:
    """Returns the items of ``length`` bytes that start at each byte; numpy copies one in a single step."""
    return np.ndarray((len(data) - length + 1,), f"V{length}", data, 0, (1,))


def _rebuilt(strings: pa.StringArray, offsets: Offsets, data: Bytes) -> pa.StringArray:
    validity = None
    if strings.null_count:
        validity = pa.py_buffer(np.packbits(np.asarray(strings.is_valid()), bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(strings), buffers, strings.null_count)

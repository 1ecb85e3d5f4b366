"""FF1 over Arrow string columns: characters of a declared alphabet in, characters of the same alphabet out.

Values of one length go through together, as a matrix of bytes; no value becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.errors import TokenError
from .ff1 import FF1, check_shape
from .ff1_rounds import CHUNK, FeistelRounds, Shape
from .key_sets import Secret
from .numeral_text import NumeralText

__all__ = ["FF1Text"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Tweak = bytes | Bytes


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

    __slots__ = ("_long", "_min_domain", "_rounds", "_text")

    def __init__(self, key: bytes, alphabet: str, *, min_domain: int = 1_000_000) -> None:
        self._text = NumeralText(alphabet)
        self._min_domain = min_domain
        self._rounds = FeistelRounds(key)
        self._long = FF1(key, self._text.radix, min_domain=min_domain)

    def encrypt(self, column: pa.Array, tweak: Tweak = b"") -> pa.StringArray:
        """Returns the encryption of each string.

        Args:
            column: ``string`` or ``large_string``; any lengths of 2 and more, nulls allowed.
            tweak: Bytes for all values, or ``uint8 (values, t)``.

        Returns:
            Strings of the same lengths; null where ``column`` is.

        Raises:
            NumeralLengthError: A string is shorter than 2.
            NumeralRangeError: A character is not in the alphabet.
            DomainTooSmallError: A length has fewer strings than the floor.
        """
        return self._columns(column, tweak, decrypt=False)

    def decrypt(self, column: pa.Array, tweak: Tweak = b"") -> pa.StringArray:
        """Returns the decryption of each string; arguments and errors as in ``encrypt``."""
        return self._columns(column, tweak, decrypt=True)

    def encrypt_bytes(self, text: Bytes, tweak: Tweak = b"") -> Bytes:
        """Returns the encryption of each row of ASCII bytes ``(values, length)``; errors as in ``encrypt``."""
        return self._matrix(text, tweak, decrypt=False)

    def decrypt_bytes(self, text: Bytes, tweak: Tweak = b"") -> Bytes:
        """Returns the decryption of each row of ASCII bytes ``(values, length)``; errors as in ``encrypt``."""
        return self._matrix(text, tweak, decrypt=True)

    def _columns(self, column: pa.Array, tweak: Tweak, *, decrypt: bool) -> pa.StringArray:
        strings = column.cast(pa.string())
        if not isinstance(tweak, bytes) and len(tweak) != len(strings):
            raise TokenError("a tweak is bytes for all values, or a uint8 array of shape (values, t)")
        offsets = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset :][: len(strings) + 1].astype(np.int64)
        if not len(strings):
            return strings
        data = np.frombuffer(strings.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        offsets -= offsets[0]
        # Only rows that are values are written, so what lies hidden under a null does not travel on in clear.
        result = np.zeros_like(data)
        for rows, places in _groups(strings, offsets):
            part = tweak if isinstance(tweak, bytes) or rows is None else tweak[rows]
            text = data.reshape(len(strings), -1) if places is None else data[places]
            changed = self._matrix(text, part, decrypt=decrypt)
            if places is None:
                result = changed.reshape(-1)
            else:
                result[places] = changed
        return _rebuilt(strings, offsets, result)

    def _matrix(self, text: Bytes, tweak: Tweak, *, decrypt: bool) -> Bytes:
        shape = Shape(self._text.radix, text.shape[1])
        check_shape(shape, self._min_domain)
        self._text.check(text)
        if not shape.fits_words:
            run = self._long.decrypt if decrypt else self._long.encrypt
            return self._text.characters(run(self._text.numerals(text), tweak))
        static = self._rounds.prepare(shape, tweak, len(text))
        result = np.empty(text.shape, np.uint8)
        for start in range(0, len(text), CHUNK):
            part = slice(start, start + CHUNK)
            left, right = self._rounds.run_words(
                self._text.number(text[part, : shape.left]),
                self._text.number(text[part, shape.left :]),
                shape,
                static if len(static) == 1 else static[part],
                decrypt=decrypt,
            )
            self._text.spell(left, result[part, : shape.left])
            self._text.spell(right, result[part, shape.left :])
        return result


def _groups(strings: pa.StringArray, offsets: Any) -> Iterator[tuple[Any, Any]]:
    """Yields rows of one length with the places of their bytes; ``(None, None)`` where all rows have one length."""
    lengths = np.diff(offsets)
    if not strings.null_count and lengths.min() == lengths.max():
        yield None, None
        return
    valid = np.asarray(pc.is_valid(strings))
    for length in np.unique(lengths[valid]):
        rows = np.flatnonzero(valid & (lengths == length))
        yield rows, offsets[rows][:, None] + np.arange(length)


def _rebuilt(strings: pa.StringArray, offsets: Any, data: Bytes) -> pa.StringArray:
    validity = None
    if strings.null_count:
        validity = pa.py_buffer(np.packbits(np.asarray(pc.is_valid(strings)), bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(strings), buffers, strings.null_count)

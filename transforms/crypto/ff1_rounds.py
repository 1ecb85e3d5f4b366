"""The ten Feistel rounds of FF1 over arrays of halves (NIST SP 800-38G, algorithms 7 and 8).

Halves live in ``uint64`` while ``radix ** ceil(n / 2)`` is at most a third of 2^64; longer ones are Python integers.
In both, AES runs over the blocks of all values at once. What a round does not change of its block (version, lengths,
tweak) is encrypted once, before the rounds, so that a round costs one AES block per value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ...schemas.errors import KeySizeError
from .key_sets import Secret

__all__ = ["CHUNK", "FeistelRounds", "Shape", "Uints"]

CHUNK = 32_768
"""Values at a time: so many that numpy's cost per call vanishes, so few that their blocks stay in the cache."""

ROUNDS = 10
LARGEST_HALF = 2**64 // 3
WORD = 2**64

Uints = np.ndarray[Any, np.dtype[np.uint64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Static = tuple[Uints, Uints]
"""The two big-endian halves of the last block, without the round and the number: one for all values, or one each."""


@dataclass(frozen=True)
class Shape:
    """Radix and length of numeral strings, and what the standard derives of them.

    Attributes:
        radix: 2 to 65536.
        length: Numerals of a string, ``n`` in the standard.
    """

    radix: int
    length: int

    @property
    def left(self) -> int:
        """Numerals of the left half, ``u``."""
        return self.length // 2

    @property
    def right(self) -> int:
        """Numerals of the right half, ``v``."""
        return self.length - self.left

    @cached_property
    def moduli(self) -> tuple[int, int]:
        """How many left and right halves there are."""
        return self.radix**self.left, self.radix**self.right

    @cached_property
    def number_bytes(self) -> int:
        """Bytes that hold a right half, ``b``; by exact integers, never by a logarithm."""
        return ((self.moduli[1] - 1).bit_length() + 7) // 8

    @property
    def output_bytes(self) -> int:
        """Bytes of a round's pseudorandom number, ``d``."""
        return 4 * ((self.number_bytes + 3) // 4) + 4

    @property
    def fits_words(self) -> bool:
        """Whether halves and their sums fit 64 bits."""
        return self.moduli[1] <= LARGEST_HALF

    def first_block(self, tweak_bytes: int) -> bytes:
        """The block ``P``: version, method, radix, rounds and lengths."""
        head = bytes((1, 2, 1)) + self.radix.to_bytes(3, "big") + bytes((ROUNDS, self.left % 256))
        return head + self.length.to_bytes(4, "big") + tweak_bytes.to_bytes(4, "big")


class FeistelRounds(Secret):
    """AES with one key and the scratch memory of the rounds. For one thread at a time.

    Args:
        key: 16, 24 or 32 bytes.

    Raises:
        KeySizeError: Another size.
    """

    __slots__ = ("_encryptor", "_in", "_out", "_scratch")

    def __init__(self, key: bytes) -> None:
        if len(key) not in (16, 24, 32):
            raise KeySizeError(f"an AES key has 16, 24 or 32 bytes, not {len(key)}; derive it from the keyring")
        # ECB is only the way to run the block cipher over many blocks; the mode of operation is FF1.
        self._encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
        self._in = np.empty((CHUNK, 2), ">u8")
        self._out = np.empty(CHUNK * 16 + 16, np.uint8)
        self._scratch = np.empty((5, CHUNK), np.uint64)

    def chunks(self, shape: Shape, tweak: bytes | Bytes, count: int) -> Iterator[tuple[slice, Bytes]]:
        """Yields slices of at most ``CHUNK`` of ``count`` values, each with what ``prepare`` returns for it."""
        static = self.prepare(shape, tweak) if isinstance(tweak, bytes) else None
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            yield part, static if static is not None else self.prepare(shape, tweak[part])

    def prepare(self, shape: Shape, tweak: bytes | Bytes) -> Bytes:
        """Returns the blocks that hold round and number, before the rounds fill them in: what they share is encrypted.

        Args:
            shape: Of the values.
            tweak: Bytes for all, or ``uint8 (values, t)``.

        Returns:
            ``uint8 (1, 16 k)`` for one tweak, else ``(values, 16 k)``; ``k`` is 1 while halves fit words.
        """
        tweaks = np.frombuffer(tweak, np.uint8)[None] if isinstance(tweak, bytes) else tweak
        first = self.encrypt_blocks(np.frombuffer(shape.first_block(tweaks.shape[1]), np.uint8)[None])
        tail = shape.number_bytes + 1
        padded = np.zeros((len(tweaks), -(-(tweaks.shape[1] + tail) // 16) * 16), np.uint8)
        padded[:, : tweaks.shape[1]] = tweaks
        state = np.broadcast_to(first, (len(tweaks), 16))
        static_blocks = max(0, padded.shape[1] // 16 - -(-tail // 16))
        for at in range(0, 16 * static_blocks, 16):
            state = self.encrypt_blocks(state ^ padded[:, at : at + 16])
        rest = padded[:, 16 * static_blocks :].copy()
        rest[:, :16] ^= state
        return rest

    def encrypt_blocks(self, blocks: Bytes) -> Bytes:
        """Returns the AES encryption of each row of ``uint8 (k, 16)``."""
        data = np.ascontiguousarray(blocks)
        return np.frombuffer(self._encryptor.update(data.data), np.uint8).reshape(-1, 16)

    def run_words(
        self, left: Uints, right: Uints, shape: Shape, static: Bytes, *, decrypt: bool
    ) -> tuple[Uints, Uints]:
        """Runs the rounds over at most ``CHUNK`` pairs of halves in ``uint64``.

        Args:
            left: ``NUM(A)``, below ``shape.moduli[0]``.
            right: ``NUM(B)``, below ``shape.moduli[1]``.
            shape: One that ``fits_words``.
            static: What ``prepare`` returned for them.
            decrypt: Run them backwards.

        Returns:
            The halves afterwards; scratch memory that the next call overwrites.
        """
        count = len(left)
        high, low = (np.ascontiguousarray(static).view(">u8").astype(np.uint64).T[side] for side in (0, 1))
        a, b, c = self._scratch[0, :count], self._scratch[1, :count], self._scratch[2, :count]
        np.copyto(a, left)
        np.copyto(b, right)
        self._in[:count, 0] = high
        add = _subtracted if decrypt else _added
        for step in reversed(range(ROUNDS)) if decrypt else range(ROUNDS):
            modulus = shape.moduli[step % 2]
            source, target = (a, b) if decrypt else (b, a)
            pseudorandom = self._round(source, c, step, shape, (high, low))
            add(target, pseudorandom, modulus, self._scratch[3, :count])
            # The changed half and the other trade places; ``c`` is free again.
            a, b = b, a
        return a, b

    def _round(self, source: Uints, free: Uints, step: int, shape: Shape, static: Static) -> tuple[Uints, Uints | None]:
        """Encrypts the round's blocks; returns 8 bytes of each, and the next 4 where the standard takes 12."""
        count = len(source)
        shift = 8 * shape.number_bytes
        if shift == 64:
            self._in[:count, 0] = static[0] ^ np.uint64(step)
            np.bitwise_xor(source, static[1], out=free)
        else:
            np.bitwise_xor(source, static[1] ^ np.uint64(step << shift), out=free)
        self._in[:count, 1] = free
        self._encryptor.update_into(self._in[:count].data.cast("B"), self._out.data)
        result = self._out[: 16 * count]
        np.copyto(free, result.view(">u8")[::2])
        if shape.output_bytes == 8:
            return free, None
        more = self._scratch[4, :count]
        np.copyto(more, result.view(">u4")[2::4])
        return free, more

    def run_integers(
        self, left: list[int], right: list[int], shape: Shape, static: Bytes, *, decrypt: bool
    ) -> tuple[list[int], list[int]]:
        """Runs the rounds over halves of any size; arguments as in ``run_words``, in Python integers."""
        rest = np.broadcast_to(static, (len(left), static.shape[1]))
        for step in reversed(range(ROUNDS)) if decrypt else range(ROUNDS):
            modulus = shape.moduli[step % 2]
            source, target = (left, right) if decrypt else (right, left)
            numbers = self._long_round(source, step, shape, rest)
            sign = -1 if decrypt else 1
            changed = [(value + sign * number) % modulus for value, number in zip(target, numbers, strict=True)]
            left, right = (changed, left) if decrypt else (right, changed)
        return left, right

    def _long_round(self, source: list[int], step: int, shape: Shape, rest: Bytes) -> list[int]:
        """Returns ``NUM(S)`` of each value (steps 6 i to iv)."""
        blocks = rest.copy()
        width = shape.number_bytes
        numbers = b"".join([value.to_bytes(width, "big") for value in source])
        blocks[:, -width:] ^= np.frombuffer(numbers, np.uint8).reshape(len(source), width)
        blocks[:, -width - 1] ^= step
        state = self.encrypt_blocks(blocks[:, :16])
        for at in range(16, blocks.shape[1], 16):
            state = self.encrypt_blocks(state ^ blocks[:, at : at + 16])
        streams = [state]
        for index in range(1, -(-shape.output_bytes // 16)):
            counter = np.frombuffer(index.to_bytes(16, "big"), np.uint8)
            streams.append(self.encrypt_blocks(state ^ counter))
        used = shape.output_bytes
        stream = np.concatenate(streams, axis=1)[:, :used].tobytes()
        return [int.from_bytes(stream[at : at + used], "big") for at in range(0, len(stream), used)]


def _added(target: Uints, number: tuple[Uints, Uints | None], modulus: int, free: Uints) -> None:
    """Sets ``target`` to ``(target + number) mod modulus``; ``number`` is used up."""
    first, more = number
    if more is None and int(first.max(initial=0)) <= WORD - 1 - modulus:
        # The sum cannot wrap, so one division does for both.
        np.add(first, target, out=target)
        _take_modulo(target, modulus, free)
        return
    _reduce(first, more, modulus, free)
    np.add(target, first, out=target)
    _take_once(target, modulus, free)


def _subtracted(target: Uints, number: tuple[Uints, Uints | None], modulus: int, free: Uints) -> None:
    """Sets ``target`` to ``(target - number) mod modulus``; ``number`` is used up."""
    first, more = number
    _reduce(first, more, modulus, free)
    np.add(target, np.uint64(modulus), out=target)
    np.subtract(target, first, out=target)
    _take_once(target, modulus, free)


def _reduce(first: Uints, more: Uints | None, modulus: int, free: Uints) -> None:
    """Sets ``first`` to the number mod modulus: ``first`` alone, or ``first * 2^32 + more``."""
    _take_modulo(first, modulus, free)
    if more is None:
        return
    if modulus <= 2**32:
        np.left_shift(first, np.uint64(32), out=first)
        np.bitwise_or(first, more, out=first)
        _take_modulo(first, modulus, free)
        return
    # The product needs up to 95 bits. Its quotient is below 2^32, so a double estimates it to 2^-19; a bias of 2^-18
    # keeps the estimate at or under the truth, at most two short. The remainder, below 3 * modulus, is exact mod 2^64.
    quotient = first.astype(np.float64)
    quotient *= 2.0**32 / modulus
    quotient -= 2.0**-18
    np.maximum(quotient, 0.0, out=quotient)
    free[:] = quotient
    np.multiply(free, np.uint64(modulus), out=free)
    np.left_shift(first, np.uint64(32), out=first)
    np.bitwise_or(first, more, out=first)
    np.subtract(first, free, out=first)
    _take_once(first, modulus, free)
    _take_once(first, modulus, free)


def _take_modulo(values: Uints, modulus: int, free: Uints) -> None:
    """Takes all multiples of the modulus away; numpy divides by one number many times faster than ``%`` does."""
    np.floor_divide(values, np.uint64(modulus), out=free)
    np.multiply(free, np.uint64(modulus), out=free)
    np.subtract(values, free, out=values)


def _take_once(values: Uints, modulus: int, free: Uints) -> None:
    """Takes the modulus away where it fits; where it does not, the difference wraps and is the larger of the two."""
    np.subtract(values, np.uint64(modulus), out=free)
    np.minimum(values, free, out=values)

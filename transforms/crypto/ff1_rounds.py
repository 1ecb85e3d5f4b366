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
        self._scratch = np.empty((3, CHUNK), np.uint64)

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
            left: ``NUM(A)``, below ``shape.moduli[0]``; used up.
            right: ``NUM(B)``, below ``shape.moduli[1]``; used up.
            shape: One that ``fits_words``.
            static: What ``prepare`` returned for them.
            decrypt: Run them backwards.

        Returns:
            The halves afterwards, in the memory of those given.
        """
        high, low = (_single(np.ascontiguousarray(static).view(">u8").astype(np.uint64).T[side]) for side in (0, 1))
        lanes = self._lanes(len(left), with_more=shape.output_bytes > 8)
        lanes.high[:] = high
        moduli = [np.array(modulus, np.uint64) for modulus in shape.moduli]
        add = _subtracted if decrypt else _added
        steps = range(ROUNDS - 1, -1, -1) if decrypt else range(ROUNDS)
        # The number of the round stands before the bytes of the half: of eight bytes, it is in the other word.
        fills_low = shape.number_bytes == 8
        numbered = _numbered(high, steps, 0) if fills_low else _numbered(low, steps, 8 * shape.number_bytes)
        a, b = left, right
        for step, word in zip(steps, numbered, strict=True):
            source, target = (a, b) if decrypt else (b, a)
            if fills_low:
                lanes.high[:] = word
            self._round(source, low if fills_low else word, lanes)
            add(target, lanes.numbers, moduli[step % 2])
            # The changed half and the other trade places.
            a, b = b, a
        return a, b

    def _lanes(self, count: int, *, with_more: bool) -> _Lanes:
        out = self._out[: 16 * count]
        first, free, more = (self._scratch[row, :count] for row in range(3))
        return _Lanes(
            blocks=self._in[:count].data.cast("B"),
            high=self._in[:count, 0],
            low=self._in[:count, 1],
            encrypted=self._out.data,
            first=out.view(">u8")[::2],
            more=out.view(">u4")[2::4],
            numbers=_Numbers(first, more if with_more else None, free),
        )

    def _round(self, source: Uints, low: Uints, lanes: _Lanes) -> None:
        """Encrypts the round's blocks; leaves the numbers in the lanes."""
        numbers = lanes.numbers
        np.bitwise_xor(source, low, out=numbers.free)
        lanes.low[:] = numbers.free
        self._encryptor.update_into(lanes.blocks, lanes.encrypted)
        numbers.first[:] = lanes.first
        if numbers.more is not None:
            numbers.more[:] = lanes.more

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


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The pseudorandom number of each value in a round, in native words.

    Attributes:
        first: Its first 8 bytes.
        more: The 4 that follow, None where the standard takes 8 only.
        free: Scratch of as many words.
    """

    first: Uints
    more: Uints | None
    free: Uints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lanes:
    """Views of an engine's memory for some values; made once for all rounds, since each view costs numpy a microsecond.

    Attributes:
        blocks: What is to be encrypted, 16 bytes a value; ``high`` and ``low`` are its halves as big-endian words.
        encrypted: What the cipher made of it; ``first`` and ``more`` are the parts that numbers are taken from.
        numbers: The numbers of the round.
    """

    blocks: memoryview
    high: Uints
    low: Uints
    encrypted: memoryview
    first: Uints
    more: Uints
    numbers: _Numbers


def _single(words: Uints) -> Uints:
    """Returns one word as an array without dimensions, which numpy takes in half the time of any other form."""
    return words.reshape(()) if words.size == 1 else words


def _numbered(words: Uints, steps: range, shift: int) -> Iterator[Uints]:
    """Yields the words with each round's number in the bits from ``shift`` on."""
    if words.size > 1:
        yield from (words ^ np.uint64(step << shift) for step in steps)
        return
    numbers = np.array([step << shift for step in steps], np.uint64)
    numbers ^= words
    yield from (numbers[at, ...] for at in range(len(steps)))


def _added(target: Uints, numbers: _Numbers, modulus: Uints) -> None:
    """Sets ``target`` to the sum with the numbers, mod modulus; they are used up."""
    first = numbers.first
    if numbers.more is None and not (len(first) and first.max() > WORD - 1 - int(modulus)):
        # The sum cannot wrap, so one division does for both.
        np.add(first, target, out=target)
        _take_modulo(target, modulus, numbers.free)
        return
    _reduce(numbers, modulus)
    np.add(target, first, out=target)
    _take_once(target, modulus, numbers.free)


def _subtracted(target: Uints, numbers: _Numbers, modulus: Uints) -> None:
    """Sets ``target`` to the difference from the numbers, mod modulus; they are used up."""
    _reduce(numbers, modulus)
    np.add(target, modulus, out=target)
    np.subtract(target, numbers.first, out=target)
    _take_once(target, modulus, numbers.free)


def _reduce(numbers: _Numbers, modulus: Uints) -> None:
    """Sets ``first`` to the numbers mod modulus: ``first`` alone, or ``first * 2^32 + more``."""
    first, free = numbers.first, numbers.free
    if not int(modulus) & (int(modulus) - 1):  # of a power of two, all but the low bits are multiples
        if numbers.more is not None:
            np.left_shift(first, np.uint64(32), out=first)
            np.bitwise_or(first, numbers.more, out=first)
        np.bitwise_and(first, modulus - np.uint64(1), out=first)
        return
    _take_modulo(first, modulus, free)
    if numbers.more is None:
        return
    if modulus <= 2**32:
        np.left_shift(first, np.uint64(32), out=first)
        np.bitwise_or(first, numbers.more, out=first)
        _take_modulo(first, modulus, free)
        return
    # The product needs up to 95 bits. Its quotient is below 2^32, so a double estimates it to 2^-19; a bias of 2^-18
    # keeps the estimate at or under the truth, at most two short. The remainder, below 3 * modulus, is exact mod 2^64.
    quotient = first.astype(np.float64)
    quotient *= 2.0**32 / int(modulus)
    quotient -= 2.0**-18
    np.maximum(quotient, 0.0, out=quotient)
    free[:] = quotient
    np.multiply(free, modulus, out=free)
    np.left_shift(first, np.uint64(32), out=first)
    np.bitwise_or(first, numbers.more, out=first)
    np.subtract(first, free, out=first)
    _take_once(first, modulus, free)
    _take_once(first, modulus, free)


def _take_modulo(values: Uints, modulus: Uints, free: Uints) -> None:
    """Takes all multiples of the modulus away; numpy divides by one number many times faster than ``%`` does."""
    np.floor_divide(values, modulus, out=free)
    np.multiply(free, modulus, out=free)
    np.subtract(values, free, out=values)


def _take_once(values: Uints, modulus: Uints, free: Uints) -> None:
    """Takes the modulus away where it fits; where it does not, the difference wraps and is the larger of the two."""
    np.subtract(values, modulus, out=free)
    np.minimum(values, free, out=values)

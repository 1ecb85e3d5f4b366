"""Token formats, Arrow string to Arrow string: canonical form, token and canonical values of a column.

The limit is AES-256-ECB over the 10 blocks that FF1 takes for a value, and for surrogates those of their CMAC besides,
each measured in the same process. What stands between a format and its limit is the
canonical form: separators, checksums, countries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from consentry.schemas.info_types import TokenizeRule
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from consentry.transforms.values.byte_rows import ByteRows
from consentry.transforms.values.checksums import luhn_check_digits
from consentry.transforms.values.iban import right_check_digits
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VALUES = 1_000_000
REPEATS = 3
CHUNK = 16_384
FF1_BLOCKS = 10
DIGITS = np.frombuffer(b"0123456789", np.uint8)


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row per format and shape: values/s, AES blocks a value, the rate of AES alone, their ratio."""
    count = max(CHUNK, int(VALUES * scale))
    limits = {blocks: _aes_rate(blocks, count) for blocks in (FF1_BLOCKS, FF1_BLOCKS + 1, FF1_BLOCKS + 2)}
    return [_row(*shape, limits) for shape in _shapes(count)]


def _row(name: str, rule: dict[str, Any], column: pa.Array, blocks: int, limits: dict[int, float]) -> dict[str, Any]:
    keys = TokenKeys(tenant="bench", secrets={1: bytes(range(32))}, primary=1, root=bytes(32))
    described = TokenizeRule(action="tokenize", domain="bench", collect=("bench",), **rule)
    tokenizer = open_tokenizer(described, keys)
    if tokenizer.tokenize(column).reasons.any():
        raise AssertionError(f"{name}: a value of the benchmark does not fit")
    rate = _rate(lambda: tokenizer.tokenize(column), len(column))
    limit = limits[blocks]
    what = f"AES-256-ECB, {blocks} {'block' if blocks == 1 else 'blocks'} a value"
    return {"name": name, "rate_per_s": rate, "limit": what, "limit_rate": limit, "ratio": rate / limit}


def _shapes(count: int) -> list[tuple[str, dict[str, Any], pa.Array, int]]:
    cards = _cards(count)
    text = cards.to_pylist()
    spaced = [f"{card[:4]} {card[4:8]} {card[8:12]} {card[12:]}" if n % 2 else card for n, card in enumerate(text)]
    emails = _joined("user", _digits(count, 6), "@Example", _digits(count, 2), ".com")
    mobiles = _joined("+49 151 ", _digits(count, 8))
    american = _joined("(415) 555-", _digits(count, 4))
    ten = FF1_BLOCKS
    return [
        ("pan, 16 digits", {"format": "pan"}, cards, ten),
        ("pan, half with spaces", {"format": "pan"}, pa.array(spaced), ten),
        ("pan, dictionary of 1,000", {"format": "pan"}, _repeated(cards), ten),
        ("pan, keep none", {"format": "pan", "keep_last": 0}, cards, ten),
        ("digits, 10", {"format": "digits"}, _digits(count, 10), ten),
        ("alphanumeric, AB-12345678", {"format": "alphanumeric"}, _joined("AB-", _digits(count, 8)), ten),
        ("ssn, with dashes", {"format": "ssn"}, _joined(_digits(count, 3), "-55-", _digits(count, 4)), ten),
        ("phone, +49 151 …", {"format": "phone"}, mobiles, ten),
        ("phone, (415) 555-…", {"format": "phone", "region": "US"}, american, ten),
        ("iban, DE", {"format": "iban"}, _accounts(_digits(count, 18), "DE"), ten),
        ("iban, GB", {"format": "iban"}, _accounts(_joined("NWBK", _digits(count, 14)), "GB"), ten),
        ("email", {"format": "email"}, emails, ten + 2),
        ("surrogate, 10 characters", {"format": "surrogate"}, _joined("c-", _digits(count, 8)), ten + 1),
    ]


def _cards(count: int) -> pa.StringArray:
    numbers = _random_digits(count, 16)
    numbers[:, -1] = ord("0") + luhn_check_digits(numbers[:, :-1])
    return _strings(numbers)


def _accounts(accounts: pa.StringArray, country: str) -> pa.StringArray:
    ibans = np.frombuffer("".join(_joined(country, "00", accounts).to_pylist()).encode(), np.uint8)
    ibans = ibans.reshape(len(accounts), -1).copy()
    check = right_check_digits(ibans)
    ibans[:, 2], ibans[:, 3] = ord("0") + check // 10, ord("0") + check % 10
    return _strings(ibans)


def _repeated(cards: pa.StringArray) -> pa.DictionaryArray:
    places = pa.array(np.random.default_rng(7).integers(0, 1_000, len(cards)).astype(np.int32))
    return pa.DictionaryArray.from_arrays(places, cards[:1_000])


def _digits(count: int, length: int) -> pa.StringArray:
    return _strings(_random_digits(count, length))


def _random_digits(count: int, length: int) -> Any:
    return DIGITS[np.random.default_rng(length).integers(0, 10, (count, length))]


def _strings(matrix: Any) -> pa.StringArray:
    return ByteRows.of_matrix(matrix, np.ones(len(matrix), np.bool_)).to_strings()


def _joined(*parts: Any) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "")


def _aes_rate(blocks: int, count: int) -> float:
    encryptor = Cipher(algorithms.AES(bytes(32)), modes.ECB()).encryptor()
    source, target = bytes(16 * CHUNK), bytearray(16 * CHUNK + 16)

    def work() -> None:
        for _ in range(blocks * count // CHUNK):
            encryptor.update_into(source, target)

    return _rate(work, blocks * count // CHUNK * CHUNK / blocks)


def _rate(work: Callable[[], Any], values: float) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return values / best

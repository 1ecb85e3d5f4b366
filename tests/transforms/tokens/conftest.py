"""Keys with two versions, rules and tokenizers of every format, and numbers that pass their checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.info_types import InvalidReason, TokenizeRule
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from consentry.transforms.tokens.tokenizer import Tokenizer
from consentry.transforms.values.byte_rows import ByteRows
from consentry.transforms.values.checksums import luhn_check_digits

REASONS = [None, *(reason.value for reason in InvalidReason)]


@pytest.fixture(scope="session")
def keys() -> TokenKeys:
    """Versions 1 to 9 and 12, of which 3 is primary."""
    secrets = {version: bytes([version]) * 32 for version in (*range(1, 10), 12)}
    return TokenKeys(tenant="shop", secrets=secrets, primary=3, root=b"r" * 32)


@pytest.fixture(scope="session")
def rule() -> Callable[..., TokenizeRule]:
    def build(format: str, **parameters: Any) -> TokenizeRule:
        settings = {"action": "tokenize", "domain": "d", "collect": ("use",), **parameters}
        return TokenizeRule(format=format, **settings)

    return build


@pytest.fixture(scope="session")
def tokenizer(keys: TokenKeys, rule: Callable[..., TokenizeRule]) -> Callable[..., Tokenizer]:
    def build(format: str, *, version: int | None = None, **parameters: Any) -> Tokenizer:
        return open_tokenizer(rule(format, **parameters), keys, version=version)

    return build


@pytest.fixture(scope="session")
def key_of(keys: TokenKeys) -> Callable[..., bytes]:
    """The key of a use, version 3 and domain ``d``."""

    def derive(format: str, alphabet: str, use: str = "ff1", version: int = 3) -> bytes:
        return keys.derive(version, use=use, domain="d", format=format, alphabet=alphabet)

    return derive


@pytest.fixture(scope="session")
def companion_of(keys: TokenKeys) -> Callable[[str], bytes]:
    """The key of a use's companions in domain ``d``, which rotation leaves alone."""
    return lambda use: keys.derive_root(f"companion of {use}", domain="d")


@pytest.fixture(scope="session")
def reasons() -> Callable[..., list[str | None]]:
    """The reasons of a result, as words."""
    return lambda result: [REASONS[code] for code in result.reasons]


@pytest.fixture(scope="session")
def cards() -> Callable[..., pa.StringArray]:
    """Random card numbers of one length, by seed."""

    def build(count: int, length: int = 16, seed: int = 1) -> pa.StringArray:
        numbers = np.random.default_rng(seed).integers(48, 58, (count, length)).astype(np.uint8)
        numbers[:, -1] = 48 + luhn_check_digits(numbers[:, :-1])
        return ByteRows.of_matrix(numbers, np.ones(count, np.bool_)).to_strings()

    return build


@pytest.fixture(scope="session")
def random_texts() -> Callable[..., pa.StringArray]:
    """Random strings over an alphabet, by seed."""

    def build(count: int, length: int, alphabet: str = "0123456789", seed: int = 1) -> pa.StringArray:
        characters = np.frombuffer(alphabet.encode(), np.uint8)
        chosen = np.random.default_rng(seed).integers(0, len(characters), (count, length))
        return ByteRows.of_matrix(characters[chosen], np.ones(count, np.bool_)).to_strings()

    return build

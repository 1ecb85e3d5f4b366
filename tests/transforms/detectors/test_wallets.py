"""Wallet addresses."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


WALLETS = (
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
    "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    "0x742d35Cc6634C0532925a3b844Bc454e4438f44e",
)


@pytest.mark.parametrize("address", WALLETS)
def test_addresses_are_found_by_their_checks(address: str) -> None:
    assert values(f"to:{address}, thanks", Entity.CRYPTO) == values(address, Entity.CRYPTO) == [address]


@pytest.mark.parametrize("address", WALLETS[:5])
def test_one_wrong_character_is_enough_to_be_none(address: str) -> None:
    assert values(address[:-1] + ("2" if address[-1] != "2" else "3"), Entity.CRYPTO) == []


@pytest.mark.parametrize("text", ["0x" + "ab" * 32, "0x" + "0" * 40, "d41d8cd98f00b204e9800998ecf8427e", "A" * 34])
def test_hashes_are_none(text: str) -> None:
    assert values(text, Entity.CRYPTO) == []

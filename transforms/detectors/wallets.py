"""Addresses of cryptocurrency wallets, by their own checks: Base58Check, Bech32, Bech32m (BIP 173, 350), 20 bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText, pattern

__all__ = ["is_base58check", "is_bech32", "is_wallet", "wallets"]

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
CHECKS = {1, 0x2BC830A3}
"""Of Bech32 and Bech32m."""

WALLET = pattern(r"0x[0-9A-Fa-f]{40}|(?i:bc1|tb1|ltc1)[0-9A-Za-z]{25,87}|[1-9A-HJ-NP-Za-km-z]{25,36}")


def wallets(text: JoinedText) -> Iterator[Finding]:
    """Yields wallet addresses."""
    for start, end in text.spans(WALLET):
        if not text.whole(start, end):
            continue
        reason = _reason(text.data[start:end].decode())
        if reason is not None:
            yield Finding(start, end, Entity.CRYPTO, 0.97, reason)


def is_wallet(written: bytes) -> bool:
    """Returns whether a value is a wallet address."""
    return WALLET.fullmatch(written) is not None and _reason(written.decode("latin-1")) is not None


def _reason(written: str) -> str | None:
    if written.startswith("0x"):
        return "20 bytes in hexadecimal, as an Ethereum address" if len(set(written[2:].lower())) > 4 else None
    if re.match("(?i)bc1|tb1|ltc1", written) and is_bech32(written):
        return "a Bech32 address, checksum valid"
    if not written.isdigit() and is_base58check(written):
        return "a Base58Check address, checksum valid"
    return None


def is_base58check(written: str) -> bool:
    """Returns whether a text is 21 bytes with their checksum in Base58Check."""
    number = 0
    for sign in written:
        place = BASE58.find(sign)
        if place < 0:
            return False
        number = number * 58 + place
    if number.bit_length() > 200:
        return False
    data = number.to_bytes(25, "big")
    leading = len(written) - len(written.lstrip("1"))
    if leading != len(data) - len(data.lstrip(b"\0")):
        return False
    return hashlib.sha256(hashlib.sha256(data[:21]).digest()).digest()[:4] == data[21:]


def is_bech32(written: str) -> bool:
    """Returns whether a text has a valid Bech32 or Bech32m checksum."""
    if written not in (written.lower(), written.upper()):
        return False
    prefix, _, rest = written.lower().rpartition("1")
    values = [BECH32.find(sign) for sign in rest]
    if min(values, default=-1) < 0 or len(values) < 7:
        return False
    check = 1
    for value in [ord(sign) >> 5 for sign in prefix] + [0] + [ord(sign) & 31 for sign in prefix] + values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(GENERATORS):
            check ^= generator if top >> bit & 1 else 0
    return check in CHECKS

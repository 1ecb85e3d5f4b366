"""Sealed envelopes: AES-256-GCM with associated data, and the encoding that makes associated data unambiguous.

Layout of an envelope: nonce (12 bytes, random) ‖ ciphertext ‖ tag (16 bytes), NIST SP 800-38D. It hides the
plaintext but not its length, and proves that neither it nor its associated data was changed. It does not stop an
older envelope of the same place from being put back. Random nonces allow 2^32 envelopes per key (SP 800-38D, 8.3).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...schemas.errors import IntegrityError, KeySizeError

__all__ = [
    "KEY_BYTES",
    "OVERHEAD",
    "Random",
    "associated_data",
    "bytes_field",
    "bytes_fields",
    "joint_key",
    "number_field",
    "open_each",
    "open_many",
    "open_sealed",
    "seal",
    "seal_many",
    "text_field",
    "text_fields",
]

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD = NONCE_BYTES + TAG_BYTES
"""Bytes by which an envelope is longer than its plaintext."""

Random = Callable[[int], bytes]

NUMBER = b"i\0\0\0\x08"

_LENGTH = struct.Struct(">cI").pack
_NUMBER = struct.Struct(">cIq").pack


def associated_data(*fields: bytes | str | int) -> bytes:
    """Returns the fields as bytes such that two different sequences never look alike.

    Each field is its kind (``b``, ``s``, ``i``), its length (uint32, big endian) and its bytes: text as UTF-8,
    integers as int64, big endian.

    >>> associated_data("ab", "c") == associated_data("a", "bc")
    False
    """
    parts: list[bytes] = []
    for field in fields:
        if isinstance(field, bytes):
            parts += (_LENGTH(b"b", len(field)), field)
        elif isinstance(field, str):
            data = field.encode()
            parts += (_LENGTH(b"s", len(data)), data)
        else:
            parts.append(_NUMBER(b"i", 8, field))
    return b"".join(parts)


def bytes_field(data: bytes) -> bytes:
    """Returns ``associated_data(data)``, in a third of its time.

    >>> bytes_field(b"card") == associated_data(b"card")
    True
    """
    return b"b" + len(data).to_bytes(4, "big") + data


def bytes_fields(values: Sequence[bytes]) -> list[bytes]:
    """Returns ``associated_data(value)`` of each value.

    >>> bytes_fields([b"", b"card"]) == [associated_data(b""), associated_data(b"card")]
    True
    """
    return _fields(b"b", values)


def text_field(text: str) -> bytes:
    """Returns ``associated_data(text)``, in a third of its time.

    >>> text_field("é") == associated_data("é")
    True
    """
    data = text.encode()
    return b"s" + len(data).to_bytes(4, "big") + data


def text_fields(texts: Sequence[str]) -> list[bytes]:
    """Returns ``associated_data(text)`` of each text.

    >>> text_fields(["é", "card"]) == [associated_data("é"), associated_data("card")]
    True
    """
    return _fields(b"s", [text.encode() for text in texts])


def number_field(number: int) -> bytes:
    """Returns ``associated_data(number)``, in a third of its time.

    >>> number_field(-7) == associated_data(-7)
    True
    """
    return NUMBER + number.to_bytes(8, "big", signed=True)


def seal(key: bytes, plaintext: bytes, associated_data: bytes, *, random: Random = os.urandom) -> bytes:
    """Returns ``plaintext`` sealed under the 32-byte ``key``, bound to ``associated_data``.

    Raises:
        KeySizeError: The key is not 32 bytes.
    """
    nonce = random(NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plaintext, associated_data)


def open_sealed(key: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """Returns the plaintext of an envelope that ``seal`` made.

    Raises:
        IntegrityError: The envelope or its associated data was changed, or another key sealed it.
        KeySizeError: The key is not 32 bytes.
    """
    return _open_with(_cipher(key), sealed, associated_data)


def seal_many(
    key: bytes, plaintexts: Sequence[bytes], associated_data: Sequence[bytes], *, random: Random = os.urandom
) -> list[bytes]:
    """Returns each plaintext sealed under one key: as ``seal``, with one key schedule and one call for randomness."""
    encrypt = _cipher(key).encrypt
    nonces = random(NONCE_BYTES * len(plaintexts))
    sealed: list[bytes] = []
    for row, (plaintext, bound) in enumerate(zip(plaintexts, associated_data, strict=True)):
        nonce = nonces[row * NONCE_BYTES : (row + 1) * NONCE_BYTES]
        sealed.append(nonce + encrypt(nonce, plaintext, bound))
    return sealed


def open_many(key: bytes, sealed: Sequence[bytes], associated_data: Sequence[bytes]) -> list[bytes]:
    """Returns the plaintext of each envelope; one that does not open refuses all with ``IntegrityError``."""
    decrypt = _cipher(key).decrypt
    if sealed and min(map(len, sealed)) < OVERHEAD:
        raise _cut_off()
    try:
        return [
            decrypt(envelope[:NONCE_BYTES], envelope[NONCE_BYTES:], bound)
            for envelope, bound in zip(sealed, associated_data, strict=True)
        ]
    except InvalidTag:
        raise _not_opened() from None


def open_each(
    keys: Sequence[bytes | None], sealed: Sequence[bytes], associated_data: Sequence[bytes]
) -> list[bytes | None]:
    """Returns the plaintext of each envelope, sealed under a key of its own; None where there is no key.

    Returns:
        None also for an envelope that was changed, or whose associated data or key is another one.

    Raises:
        KeySizeError: A key is not 32 bytes.
    """
    for size in {KEY_BYTES if key is None else len(key) for key in keys} - {KEY_BYTES}:
        raise _wrong_size(size)
    found: list[bytes | None] = []
    for key, envelope, bound in zip(keys, sealed, associated_data, strict=True):
        opened = None
        if key is not None and len(envelope) >= OVERHEAD:
            try:
                opened = AESGCM(key).decrypt(envelope[:NONCE_BYTES], envelope[NONCE_BYTES:], bound)
            except InvalidTag:
                opened = None
        found.append(opened)
    return found


def joint_key(one: bytes, other: bytes, *, use: str) -> bytes:
    """Returns a 32-byte key that only who holds both keys can make: HKDF-SHA256 (RFC 5869) of one ‖ other.

    Raises:
        KeySizeError: One of them is not 32 bytes.
    """
    for key in (one, other):
        if len(key) != KEY_BYTES:
            raise KeySizeError(f"joint key: one of the keys has {len(key)} bytes; both must have {KEY_BYTES}")
    info = associated_data("consentry joint key 1", use)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(one + other)


def _fields(kind: bytes, values: Sequence[bytes]) -> list[bytes]:
    heads = {size: _LENGTH(kind, size) for size in set(map(len, values))}
    if len(heads) == 1:
        (head,) = heads.values()
        return [head + value for value in values]
    return [heads[len(value)] + value for value in values]


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise _wrong_size(len(key))
    return AESGCM(key)


def _wrong_size(size: int) -> KeySizeError:
    return KeySizeError(f"envelope: the key has {size} bytes; AES-256-GCM takes {KEY_BYTES}")


def _open_with(cipher: AESGCM, sealed: bytes, associated_data: bytes) -> bytes:
    if len(sealed) < OVERHEAD:
        raise _cut_off()
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data)
    except InvalidTag:
        raise _not_opened() from None


def _cut_off() -> IntegrityError:
    return IntegrityError("sealed bytes are cut off; restore them from a backup")


def _not_opened() -> IntegrityError:
    return IntegrityError(
        "sealed bytes do not open: they were changed or moved, or sealed under another key; restore from a backup"
    )

"""The key-encryption key in Cloud KMS: its bytes never leave the service.

A blob is ``CKG1`` ‖ length (uint16) and full name of the key ‖ length (uint16) and wrapped key ‖ envelope. The envelope
seals the plaintext under 32 random bytes, bound to everything before it and to the associated data. Cloud KMS encrypts
these 32 bytes, and nothing else ever reaches it: so no limit of the service (64 KiB, or 8 KiB of plaintext and
associated data together for keys in hardware) touches the keyring, and who runs the service sees no key set. Its
additional authenticated data are the SHA-256 of the name and the associated data, for the same limits.

The name is in the blob for people alone: to say which key is needed. The key that is asked is the one of the URI.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from ...schemas.errors import IntegrityError, KekError
from ...schemas.kek_uris import is_kms_key_name
from .envelope import KEY_BYTES, Random, associated_data, open_sealed, seal
from .kek import BlobKind, expect_kind
from .key_sets import Secret
from .kms_calls import KmsKey
from .kms_endpoint import KmsEndpoint, kms_endpoint

__all__ = ["GoogleKek"]

MAGIC = BlobKind.CLOUD_KMS.value
LENGTH_BYTES = 2
LEAST_HEADER = len(MAGIC) + 2 * LENGTH_BYTES


class GoogleKek(Secret):
    """Wraps under a key of Cloud KMS; each ``wrap`` and ``unwrap`` is one call, tried again where that may help.

    Args:
        key: Full resource name of the key, without a version.
        endpoint: Where and how long the service is asked.
        random: Source of keys and nonces.

    Raises:
        KekError: ``key`` is no such name.
    """

    __slots__ = ("_key", "_random")

    def __init__(self, key: str, *, endpoint: KmsEndpoint, random: Random = os.urandom) -> None:
        if not is_kms_key_name(key):
            raise KekError("kek: is no full name of a Cloud KMS key; write projects/…/cryptoKeys/KEY")
        self._key = KmsKey(key, endpoint)
        self._random = random

    @classmethod
    def from_environment(cls, key: str, environment: Mapping[str, str]) -> GoogleKek:
        """Returns the KEK; where the service is asked, and how long, may stand in the environment.

        Raises:
            ConfigError: The environment names a place that is not allowed.
            KekError: ``key`` is no full name of a key.
        """
        return cls(key, endpoint=kms_endpoint(environment))

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Returns ``plaintext`` wrapped; see the module for the layout.

        Raises:
            KekError: The key cannot be used by who asks.
            KekUnavailableError: The service gave no usable answer in time.
        """
        secret = self._random(KEY_BYTES)
        name = MAGIC + _with_length(self._key.name.encode())
        header = name + _with_length(self._key.encrypt(secret, _bound(name, associated_data)))
        return header + seal(secret, plaintext, header + associated_data, random=self._random)

    def unwrap(self, blob: bytes, associated_data: bytes) -> bytes:
        """Returns the plaintext of ``wrap``.

        Raises:
            KekError: Another key wrapped it, or the key cannot be used by who asks.
            KekUnavailableError: The service gave no usable answer in time.
            IntegrityError: The blob or its associated data was changed.
        """
        expect_kind(blob, BlobKind.CLOUD_KMS, LEAST_HEADER)
        text, rest = _parted(blob[len(MAGIC) :])
        name = MAGIC + _with_length(text)
        self._expect_name(text)
        wrapped, envelope = _parted(rest)
        secret = self._key.decrypt(wrapped, _bound(name, associated_data))
        if len(secret) != KEY_BYTES:
            raise IntegrityError("sealed bytes do not open: Cloud KMS gives another thing for their key; restore them")
        return open_sealed(secret, envelope, name + _with_length(wrapped) + associated_data)

    def _expect_name(self, text: bytes) -> None:
        name = text.decode("ascii", "replace")
        if not is_kms_key_name(name):
            raise IntegrityError("the name of the key that wrapped it was changed; restore it from a backup")
        if name != self._key.name:
            raise KekError(f"{self._key.name}: is not the key that wrapped it, which was {name}; check `kek`")


def _bound(name: bytes, data: bytes) -> bytes:
    return hashlib.sha256(associated_data("consentry cloud kms 1", name, data)).digest()


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(LENGTH_BYTES, "big") + part


def _parted(data: bytes) -> tuple[bytes, bytes]:
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < end:
        raise IntegrityError("wrapped bytes are cut off; restore them from a backup")
    return data[LENGTH_BYTES:end], data[end:]

"""The unlocked key sets of a keyring: token keys, vault keys, proof keys; and the public keys that verify proofs.

Who holds what (DESIGN, section 4): a pipeline worker ``TokenKeys`` and ``VaultKeys``, the detokenization desk
``VaultKeys``, the launcher of a run ``ProofKeys``, an auditor ``PublicKeys`` alone. Keys for one use are derived by
HKDF-SHA256 (RFC 5869) and bound to that use, the tenant and the version, so that no key serves two ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...schemas.errors import IntegrityError, KeyringError, SecretError, SignatureError
from .envelope import KEY_BYTES, Random, associated_data, open_many, seal, seal_many

__all__ = [
    "ProofKeys",
    "PublicKey",
    "PublicKeys",
    "Secret",
    "Signature",
    "SignatureContext",
    "TokenKeys",
    "VaultKeys",
    "version_digit",
    "wrapping_version",
]

PUBLIC_FORMAT = "consentry-public-keys-1"
VERSION_BYTES = 2


class Secret:
    """Base of what holds key bytes: says nothing in ``repr``, and can be neither copied nor pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: key bytes hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError(
            f"{type(self).__name__} holds key bytes and is never pickled or copied; open it anew where it is needed"
        )


def version_digit(version: int) -> int:
    """Returns the digit 1 … 9 by which a token tells its key version: ``k`` of the check positions.

    >>> [version_digit(version) for version in (1, 9, 10)]
    [1, 9, 1]
    """
    return (version - 1) % 9 + 1


class TokenKeys(Secret):
    """The key set that makes tokens, and inverts them on rotation.

    Args:
        tenant: Bound into every derived key.
        secrets: 32 bytes per version that is primary or active.
        primary: The version that makes new tokens.
        root: 32 bytes that rotation leaves alone.
    """

    __slots__ = ("_root", "_secrets", "primary", "tenant")

    def __init__(self, *, tenant: str, secrets: Mapping[int, bytes], primary: int, root: bytes) -> None:
        self.tenant = tenant
        self.primary = primary
        self._secrets = dict(secrets)
        self._root = root

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that can be used, ascending: neither disabled nor destroyed."""
        return tuple(sorted(self._secrets))

    def derive(self, version: int, *, use: str, domain: str, format: str, alphabet: str) -> bytes:
        """Returns the 32-byte key of one use, token domain, format and alphabet under one version.

        Raises:
            KeyringError: The version is unknown, disabled or destroyed.
        """
        secret = self._secrets.get(version)
        if secret is None:
            raise _unusable("token", version, self.versions)
        return _derived(secret, "token", self.tenant, version, use, domain, format, alphabet)

    def derive_root(self, use: str, *, domain: str) -> bytes:
        """Returns a 32-byte key that stays the same through rotations: for joins across versions."""
        return _derived(self._root, "token-root", self.tenant, use, domain)


class VaultKeys(Secret):
    """The key set that seals data keys and dead letters, and keys subject references.

    Args:
        tenant: Bound into every derived key.
        secrets: 32 bytes per version that is primary or active.
        primary: The version that wraps.
        root: 32 bytes that rotation leaves alone.
    """

    __slots__ = ("_random", "_root", "_secrets", "primary", "tenant")

    def __init__(
        self,
        *,
        tenant: str,
        secrets: Mapping[int, bytes],
        primary: int,
        root: bytes,
        random: Random = os.urandom,
    ) -> None:
        self.tenant = tenant
        self.primary = primary
        self._secrets = {version: _derived(secret, "vault", tenant, version) for version, secret in secrets.items()}
        self._root = root
        self._random = random

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that can be used, ascending: neither disabled nor destroyed."""
        return tuple(sorted(self._secrets))

    @property
    def reference_key(self) -> bytes:
        """The 32-byte key of subject references; rotation leaves it alone."""
        return self.derive_root("subject-reference")

    def derive_root(self, use: str) -> bytes:
        """Returns a 32-byte key for ``use`` that stays the same through rotations."""
        return _derived(self._root, "vault-root", self.tenant, use)

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Returns version (uint16, big endian) ‖ envelope of ``plaintext`` under the primary version."""
        header = _header(self.primary)
        return header + seal(self._secrets[self.primary], plaintext, header + associated_data, random=self._random)

    def wrap_many(self, plaintexts: Sequence[bytes], associated_data: Sequence[bytes]) -> list[bytes]:
        """Returns each plaintext wrapped as by ``wrap``, at a third of the cost."""
        header = _header(self.primary)
        bound = [header + data for data in associated_data]
        return [
            header + sealed for sealed in seal_many(self._secrets[self.primary], plaintexts, bound, random=self._random)
        ]

    def unwrap(self, blob: bytes, associated_data: bytes) -> bytes:
        """Returns the plaintext of ``wrap``.

        Raises:
            IntegrityError: The blob or its associated data was changed, or it names a version that is not usable.
        """
        return self.unwrap_many([blob], [associated_data])[0]

    def unwrap_many(self, blobs: Sequence[bytes], associated_data: Sequence[bytes]) -> list[bytes]:
        """Returns each plaintext as by ``unwrap``, at half the cost; one that does not open refuses all.

        Raises:
            IntegrityError: As ``unwrap``.
        """
        headers = [blob[:VERSION_BYTES] for blob in blobs]
        if len(kinds := dict.fromkeys(headers)) == 1:
            return self._opened(headers[0], blobs, associated_data)
        found = [b""] * len(blobs)
        for header in kinds:
            chosen = [row for row, each in enumerate(headers) if each == header]
            opened = self._opened(header, [blobs[row] for row in chosen], [associated_data[row] for row in chosen])
            for row, plaintext in zip(chosen, opened, strict=True):
                found[row] = plaintext
        return found

    def _opened(self, header: bytes, blobs: Sequence[bytes], associated_data: Sequence[bytes]) -> list[bytes]:
        """Returns the plaintexts of blobs that begin with the same header."""
        key = self._secrets.get(version := wrapping_version(header))
        if key is None:
            raise IntegrityError(
                f"sealed under vault key version {version}, which this keyring cannot use; "
                "restore the keyring that knows it, or the stored bytes"
            )
        return open_many(key, [blob[VERSION_BYTES:] for blob in blobs], [header + data for data in associated_data])


def wrapping_version(blob: bytes) -> int:
    """Returns the version of the ``vault`` key set that a blob says it is wrapped under; needs no key.

    >>> wrapping_version(bytes.fromhex("0003") + bytes(40))
    3
    """
    return int.from_bytes(blob[:VERSION_BYTES], "big")


class SignatureContext(StrEnum):
    """What a signature is about; it is part of the signed bytes, so that none can pass for another."""

    MANIFEST = "manifest"
    LOG = "log"
    CERTIFICATE = "certificate"

    @property
    def use(self) -> str:
        """The signing key of this context: ``manifest`` has its own, the others share ``log``."""
        return "manifest" if self is SignatureContext.MANIFEST else "log"

    @property
    def prefix(self) -> bytes:
        """The bytes put before the payload."""
        return f"consentry {self.value} signature 1\n".encode()


@dataclass(frozen=True, slots=True)
class Signature:
    """An Ed25519 signature (RFC 8032, 64 bytes) and the id of the key that made it."""

    key_id: str
    value: bytes


class ProofKeys(Secret):
    """The key set that signs manifests, log checkpoints and certificates.

    Args:
        manifest: 32-byte Ed25519 seed for manifests, of the primary version.
        log: 32-byte Ed25519 seed for logs and certificates, of the primary version.
        primary: The version that signs.
    """

    __slots__ = ("_keys", "primary")

    def __init__(self, *, manifest: bytes, log: bytes, primary: int) -> None:
        self.primary = primary
        seeds = {"manifest": manifest, "log": log}
        self._keys = {use: Ed25519PrivateKey.from_private_bytes(seed) for use, seed in seeds.items()}

    def sign(self, context: SignatureContext, payload: bytes) -> Signature:
        """Returns the signature over the context's prefix ‖ ``payload``."""
        key = self._keys[context.use]
        public = key.public_key().public_bytes_raw()
        return Signature(key_id(public), key.sign(context.prefix + payload))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One Ed25519 public key: version, ``use`` (manifest or log) and its 32 bytes."""

    version: int
    use: str
    value: bytes

    @property
    def key_id(self) -> str:
        """The fingerprint by which signatures name the key."""
        return key_id(self.value)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The public keys that someone trusts. Keys of old versions stay, so that old proofs still verify."""

    tenant: str
    keys: tuple[PublicKey, ...]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Returns the keys of a ``proof.pub`` file.

        Raises:
            KeyringError: The file cannot be read or is no such file.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise KeyringError(f"{path}: public keys cannot be read; write them with `consentry keys public`") from None
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "public keys") -> Self:
        """Returns the keys of ``dumps``; refuses a key that does not fit its id.

        Raises:
            KeyringError: The text is damaged or of another format.
        """
        refused = KeyringError(f"{source}: damaged or not a file of public keys; write it with `consentry keys public`")
        try:
            document = json.loads(text)
            if document.keys() != {"format", "tenant", "keys"} or document["format"] != PUBLIC_FORMAT:
                raise refused
            found = cls(tenant=str(document["tenant"]), keys=tuple(_public_key(entry) for entry in document["keys"]))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise refused from None
        if json.loads(found.dumps()) != document:
            raise refused
        return found

    def dumps(self) -> str:
        """Returns the keys as JSON, the content of ``proof.pub``."""
        keys = [{"id": key.key_id, "key": key.value.hex(), "use": key.use, "version": key.version} for key in self.keys]
        return json.dumps({"format": PUBLIC_FORMAT, "tenant": self.tenant, "keys": keys}, indent=2) + "\n"

    def verify(self, context: SignatureContext, payload: bytes, signature: Signature) -> None:
        """Returns if a trusted key of the context's use signed exactly this payload in this context.

        Raises:
            SignatureError: It did not.
        """
        known = [key for key in self.keys if key.key_id == signature.key_id and key.use == context.use]
        if not known:
            raise SignatureError(
                f"{context}: signed by key {signature.key_id!r}, which is not trusted; "
                "add its public key to the trust file if you know whose it is"
            )
        try:
            Ed25519PublicKey.from_public_bytes(known[0].value).verify(signature.value, context.prefix + payload)
        except InvalidSignature:
            raise SignatureError(f"{context}: the signature does not fit: the signed bytes were changed") from None


def public_keys_of(versions: Iterable[int], seeds: Mapping[int, tuple[bytes, bytes]]) -> tuple[PublicKey, ...]:
    """Returns the public halves of (manifest, log) seeds, in order of version."""
    return tuple(
        PublicKey(version, use, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())
        for version in versions
        for use, seed in zip(("manifest", "log"), seeds[version], strict=True)
    )


def key_id(public: bytes) -> str:
    """Returns the fingerprint of a public key: 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def _public_key(entry: Mapping[str, Any]) -> PublicKey:
    key = PublicKey(version=entry["version"], use=entry["use"], value=bytes.fromhex(entry["key"]))
    if key.use not in ("manifest", "log") or not isinstance(key.version, int) or len(key.value) != KEY_BYTES:
        raise ValueError
    return key


def _derived(secret: bytes, *info: str | int) -> bytes:
    bound = associated_data("consentry key 1", *info)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=bound).derive(secret)


def _header(version: int) -> bytes:
    return version.to_bytes(VERSION_BYTES, "big")


def _unusable(key_set: str, version: int, usable: tuple[int, ...]) -> KeyringError:
    known = ", ".join(map(str, usable))
    return KeyringError(f"{key_set} key version {version} is unknown, disabled or destroyed; usable versions: {known}")

"""Key-encryption keys that need no server: a passphrase, or a key file of mode 0600.

Wrapped blobs tell their kind by four bytes and authenticate their whole header:

* ``CKP1`` ‖ log2 n ‖ r ‖ p (a byte each) ‖ salt (16) ‖ envelope: the key is scrypt (RFC 7914) of the passphrase;
* ``CKF1`` ‖ fingerprint of the key (8) ‖ envelope: the key is the file's.

A passphrase resists only as long as guessing it costs more than 2^15 blocks of scrypt a try; let a machine choose it.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import unicodedata
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ...schemas.errors import IntegrityError, KekError
from .envelope import KEY_BYTES, Random, open_sealed, seal
from .kek import BlobKind, expect_kind
from .key_sets import Secret

__all__ = ["FileKek", "PassphraseKek", "create_key_file"]

PASSPHRASE_MAGIC = BlobKind.PASSPHRASE.value
SALT_BYTES = 16
SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P = 15, 8, 1
# What a blob may ask for: 128 MiB and four passes at most, so that a forged one cannot exhaust the machine.
LARGEST_LOG2_N, LARGEST_P = 17, 4
PASSPHRASE_HEADER = len(PASSPHRASE_MAGIC) + 3 + SALT_BYTES

FILE_MAGIC = BlobKind.KEY_FILE.value
FINGERPRINT_BYTES = 8
FILE_HEADER = len(FILE_MAGIC) + FINGERPRINT_BYTES
LARGEST_KEY_FILE = 1024


class PassphraseKek(Secret):
    """Wraps under a key that scrypt makes from a passphrase, with a new salt for each blob.

    Args:
        passphrase: Any text but the empty one; NFC makes it the same on every keyboard.
        source: Where it came from, for messages: the name of the variable, never the passphrase.
        random: Source of salts and nonces.

    Raises:
        KekError: The passphrase is empty.
    """

    __slots__ = ("_passphrase", "_random", "_source")

    def __init__(self, passphrase: str, *, source: str = "the passphrase", random: Random = os.urandom) -> None:
        if not passphrase:
            raise KekError(f"{source} is empty; set it to the passphrase of this keyring")
        self._passphrase = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
        self._source = source
        self._random = random

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Returns ``plaintext`` wrapped; see the module for the layout."""
        header = PASSPHRASE_MAGIC + bytes((SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P)) + self._random(SALT_BYTES)
        return header + seal(self._key(header), plaintext, header + associated_data, random=self._random)

    def unwrap(self, blob: bytes, associated_data: bytes) -> bytes:
        """Returns the plaintext of ``wrap``.

        Raises:
            KekError: Wrong passphrase or changed blob (the two cannot be told apart), or another kind of KEK.
        """
        expect_kind(blob, BlobKind.PASSPHRASE, PASSPHRASE_HEADER)
        header = blob[:PASSPHRASE_HEADER]
        try:
            return open_sealed(self._key(header), blob[PASSPHRASE_HEADER:], header + associated_data)
        except IntegrityError:
            raise KekError(
                f"{self._source} does not open it: the passphrase is wrong, or the keyring was changed; "
                "set the right passphrase, or restore the keyring from a backup"
            ) from None

    def _key(self, header: bytes) -> bytes:
        log2_n, r, p = header[len(PASSPHRASE_MAGIC) : len(PASSPHRASE_MAGIC) + 3]
        if not SCRYPT_LOG2_N <= log2_n <= LARGEST_LOG2_N or r != SCRYPT_R or not 1 <= p <= LARGEST_P:
            raise KekError("the wrapped key asks for scrypt parameters out of bounds; restore the keyring")
        salt = header[-SALT_BYTES:]
        return Scrypt(salt=salt, length=KEY_BYTES, n=2**log2_n, r=r, p=p).derive(self._passphrase)


class FileKek(Secret):
    """Wraps under a 32-byte key that a file holds as base64.

    Args:
        key: 32 bytes.
        source: The file, for messages.
        random: Source of nonces.

    Raises:
        KekError: The key is not 32 bytes.
    """

    __slots__ = ("_header", "_key", "_random", "_source")

    def __init__(self, key: bytes, *, source: str = "the key file", random: Random = os.urandom) -> None:
        if len(key) != KEY_BYTES:
            raise KekError(f"{source}: holds no base64 of 32 bytes; restore it, or make a new one for a new keyring")
        self._key = key
        self._source = source
        self._random = random
        derive = HKDF(algorithm=SHA256(), length=FINGERPRINT_BYTES, salt=None, info=b"consentry kek fingerprint 1")
        self._header = FILE_MAGIC + derive.derive(key)

    @classmethod
    def read(cls, path: Path) -> FileKek:
        """Returns the KEK of a key file.

        Raises:
            KekError: The file is missing, holds no key, or others than its owner may read or write it.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                    raise KekError(f"{path}: others may read this key file; run `chmod 600 {path}`")
                text = file.read(LARGEST_KEY_FILE + 1)
        except OSError as error:
            raise KekError(f"{path}: key file cannot be read ({error.strerror}); restore it from a backup") from None
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        return cls(key, source=str(path))

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Returns ``plaintext`` wrapped; see the module for the layout."""
        return self._header + seal(self._key, plaintext, self._header + associated_data, random=self._random)

    def unwrap(self, blob: bytes, associated_data: bytes) -> bytes:
        """Returns the plaintext of ``wrap``.

        Raises:
            KekError: Another key, or another kind of KEK, wrapped it.
            IntegrityError: The blob or its associated data was changed.
        """
        expect_kind(blob, BlobKind.KEY_FILE, FILE_HEADER)
        if blob[:FILE_HEADER] != self._header:
            raise KekError(f"{self._source}: is not the key that wrapped it; name the key file made with this keyring")
        return open_sealed(self._key, blob[FILE_HEADER:], self._header + associated_data)


def create_key_file(path: Path, *, random: Random = os.urandom) -> None:
    """Writes a new key file, mode 0600; never overwrites.

    Raises:
        KekError: The file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KekError(f"{path}: exists, and a key file is never overwritten; choose another path") from None
    except OSError as error:
        raise KekError(f"{path}: key file cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(random(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())

"""What a key-encryption key can do: wrap a key set, and unwrap it again.

Two methods are the whole interface, so that a passphrase, a key file and a KMS are alike to the keyring. What they
wrap begins with four bytes that tell which of them it was.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from ...schemas.errors import KekError

__all__ = ["BlobKind", "Kek", "expect_kind"]


class Kek(Protocol):
    """A key-encryption key. Implementations hide key bytes in ``repr`` and refuse to be pickled."""

    def wrap(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Returns ``plaintext`` (at most 64 KiB) encrypted and bound to ``associated_data``."""
        ...

    def unwrap(self, blob: bytes, associated_data: bytes) -> bytes:
        """Returns the plaintext of ``wrap``.

        Raises:
            KekError: This KEK did not wrap the blob, or cannot be used now.
            IntegrityError: The blob or its associated data was changed.
        """
        ...


class BlobKind(Enum):
    """What wrapped a blob, by its first four bytes."""

    PASSPHRASE = b"CKP1"
    KEY_FILE = b"CKF1"
    CLOUD_KMS = b"CKG1"

    @property
    def says(self) -> str:
        """The kind for people."""
        return {"CKP1": "a passphrase", "CKF1": "a key file", "CKG1": "a Cloud KMS key"}[self.value.decode()]


def expect_kind(blob: bytes, kind: BlobKind, header: int) -> None:
    """Returns if ``blob`` is of a kind.

    Args:
        blob: Wrapped by some KEK, or not.
        kind: Expected.
        header: Bytes that its header has at least.

    Raises:
        KekError: It is of another kind or of none.
    """
    found = next((each for each in BlobKind if blob.startswith(each.value)), None)
    if found is None or len(blob) < header:
        raise KekError("no KEK of this project wrapped it, or it was changed; check `kek` in the project file")
    if found is not kind:
        raise KekError(f"{found.says} wrapped it; check `kek` in the project file")

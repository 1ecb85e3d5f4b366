"""What a key-encryption key can do: wrap a key set, and unwrap it again.

Two methods are the whole interface, so that a passphrase, a key file and a KMS are alike to the keyring.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Kek"]


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

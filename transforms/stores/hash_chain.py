"""The chain that runs through an append-only store: each entry's link is a hash of the link before and the entry.

A link is SHA-256(previous link ‖ entry), the first previous link 32 zero bytes. A changed, moved or missing entry
breaks every later link. Not promised: that the end was not cut off, or the whole chain not computed anew by who can
write the store; checkpoints kept elsewhere show that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ...schemas.errors import IntegrityError

__all__ = ["START", "Verified", "broken_chain", "links"]

START = bytes(32)
"""What the first entry is linked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A chain that was recomputed and is whole: how many entries, and the link of the last."""

    entries: int
    head: bytes


def links(previous: bytes, entries: Iterable[bytes]) -> list[bytes]:
    """Returns the link of each entry.

    Args:
        previous: Link of the entry before the first.
        entries: Encoded so that two different entries never look alike.
    """
    found: list[bytes] = []
    for entry in entries:
        previous = hashlib.sha256(previous + entry).digest()
        found.append(previous)
    return found


def broken_chain(store: str, position: int) -> IntegrityError:
    """Returns the error that tells where a chain breaks."""
    return IntegrityError(
        f"{store}: entry {position} was changed, moved or taken out; restore the store from a backup",
        reason="chain_broken",
    )

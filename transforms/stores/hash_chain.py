"""The chain that runs through an append-only store: each entry's link is a hash of the link before and the entry.

A link is SHA-256(previous link ‖ entry), the first previous link 32 zero bytes. A changed, moved or missing entry
breaks every later link. Not promised: that the end was not cut off, or the whole chain not computed anew by who can
write the store; checkpoints kept elsewhere show that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...schemas.errors import IntegrityError

__all__ = ["START", "ChainRow", "Verified", "broken_chain", "links", "recomputed"]

ChainRow = tuple[int, bytes | None, bytes]
"""An entry as it is stored: position, what is chained (None: it cannot have been), and link."""

START = bytes(32)
"""What the first entry is linked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A chain that was recomputed and is whole.

    Attributes:
        entries: How many there are.
        head: Link of the last.
        links: Of the entries that were asked for, by position.
    """

    entries: int
    head: bytes
    links: Mapping[int, bytes] = field(default_factory=dict, compare=False, repr=False)


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


def recomputed(
    store: str, chunks: Iterable[Sequence[ChainRow]], *, wanted: Collection[int] = (), entries: int = 0,
    head: bytes = START,
) -> Verified:  # fmt: skip
    """Recomputes a chain, or the rest of one.

    Args:
        store: For the error.
        chunks: Entries in order, as they are stored.
        wanted: Positions whose links are returned, as far as the chain has them.
        entries: How many entries stand before the first of them.
        head: Link of the last of these.

    Raises:
        IntegrityError: An entry was changed, moved or taken out; names the first.
    """
    sha256, found = hashlib.sha256, {0: START} if not entries else {}
    for rows in chunks:
        for position, entry, link in rows:
            entries += 1
            if position != entries or not isinstance(entry, bytes):
                raise broken_chain(store, entries)
            head = sha256(head + entry).digest()
            if head != link:
                raise broken_chain(store, entries)
            if position in wanted:
                found[position] = head
    return Verified(entries=entries, head=head, links=found)


def broken_chain(store: str, position: int) -> IntegrityError:
    """Returns the error that tells where a chain breaks."""
    return IntegrityError(
        f"{store}: entry {position} was changed, moved or taken out; restore the store from a backup",
        reason="chain_broken",
    )

"""Where wrapped data keys are: what a backend implements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

__all__ = ["DataKeyTable"]


class DataKeyTable(Protocol):
    """Where wrapped keys are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def size(self) -> int:
        """Returns the bytes that it takes."""
        ...

    def subject_keys(self, references: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Returns the wrapped keys of those subjects that have a row; None: destroyed."""
        ...

    def add_subject_keys(self, wrapped: Mapping[bytes, bytes]) -> int:
        """Adds keys of subjects that have no row, and returns how many; others stay as they are."""
        ...

    def destroy_subject_keys(self, references: Sequence[bytes]) -> None:
        """Removes keys for good and keeps that they are destroyed, also of subjects that had no row."""
        ...

    def day_key(self, day: str) -> tuple[int, bytes] | None:
        """Returns when the key of a day expires, and the wrapped key."""
        ...

    def add_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Adds the key of a day that has none."""
        ...

    def shorten_day_key(self, day: str, expires_at: int, wrapped: bytes) -> None:
        """Sets an earlier expiry, with the same key wrapped for it."""
        ...

    def remove_day_keys(self, upto: int) -> int:
        """Removes for good the keys that expire at or before an instant, and returns how many."""
        ...

    def headers(self) -> dict[bytes, int]:
        """Returns how many keys begin with each two bytes, which tell the version that wraps them."""
        ...

    def wrapped_subjects(self, after: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """Returns reference and wrapped key of the first subjects behind a reference that have a key, in order."""
        ...

    def replace_subject_keys(self, wrapped: Sequence[tuple[bytes, bytes, bytes]]) -> int:
        """Sets wrapped keys, given as (reference, old, new), where they still are the old ones; returns how many."""
        ...

    def replace_day_key(self, day: str, old: bytes, new: bytes) -> bool:
        """Sets the wrapped key of a day if it still is ``old``, and returns whether it was."""
        ...

    def forget_deleted(self) -> bool:
        """Leaves nothing in the files of what was removed or replaced; returns whether it could."""
        ...

    def stored(self) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Yields all subjects and wrapped keys in the order of the subjects, some thousand at a time."""
        ...

    def counts(self) -> tuple[int, int]:
        """Returns how many subjects have a key, and of how many it is destroyed."""
        ...

    def day_keys(self) -> list[tuple[str, int, bytes]]:
        """Returns day, expiry and wrapped key of all days that have one, in order."""
        ...

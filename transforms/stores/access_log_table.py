"""Where the records of the access log are: what a backend implements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from .access_records import LinkedAccesses, LoggedAccess

__all__ = ["AccessLogTable", "AppendLink"]


class AccessLogTable(Protocol):
    """Where records are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def size(self) -> int:
        """Returns the bytes that it takes."""
        ...

    def append(self, link: AppendLink) -> None:
        """Adds what ``link`` makes of position and link of the last entry, with no other writer between."""
        ...

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry; None where there is none."""
        ...

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry; None where there is none."""
        ...

    def entries(self, after: int = 0) -> Iterator[list[LoggedAccess]]:
        """Yields the entries after a position in order, some thousand at a time."""
        ...


class AppendLink(Protocol):
    """Makes the entries that follow on a position and its link."""

    def __call__(self, position: int, head: bytes) -> LinkedAccesses:
        """Returns the entries."""
        ...

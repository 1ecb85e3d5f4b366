"""The access log: every detokenization, allowed or refused, append-only and hash-chained.

It holds who asked, in which role, for which purpose, and what was answered; tokens and customers only as keyed
references, values never.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from ...schemas.errors import AccessLogError, StoreError
from ..crypto.envelope import associated_data, bytes_field, number_field
from .hash_chain import ChainRow, Verified, links, recomputed
from .open_tables import open_access_log_table

__all__ = ["AccessLog", "AccessLogTable", "AccessRecord", "LoggedAccess", "open_access_log"]

STORE = "access_log"
NOBODY, SOMEBODY = associated_data(0), associated_data(1)
"""Before a value that may be missing, so that nothing looks like no other value."""


class AccessRecord(NamedTuple):
    """One answer for one token and one customer.

    Attributes:
        at: Microseconds UTC.
        actor: Who asked.
        role: In which role.
        purpose: For which purpose.
        domain: Token domain.
        token_ref: 16 bytes, keyed reference of domain and token.
        subject_ref: 16 bytes, reference of the customer; None where none is known.
        decision: ``allowed`` or ``refused``.
        rule: Code of the rule that decided.
        shown: ``full``, ``masked`` or None.
    """

    at: int
    actor: str
    role: str
    purpose: str
    domain: str
    token_ref: bytes
    subject_ref: bytes | None
    decision: str
    rule: str
    shown: str | None

    @property
    def body(self) -> bytes:
        """The record as it is chained, apart from its position: ``associated_data`` of its attributes in order."""
        # Most records of an append differ in their references alone, so what is around these is encoded once.
        return (
            _asked(self.at, self.actor, self.role, self.purpose, self.domain)
            + bytes_field(self.token_ref)
            + (NOBODY if self.subject_ref is None else SOMEBODY + bytes_field(self.subject_ref))
            + _answered(self.decision, self.rule, self.shown)
        )


class LoggedAccess(NamedTuple):
    """A record in its place, with its link."""

    position: int
    record: AccessRecord
    chain: bytes

    def as_row(self) -> ChainRow:
        """Returns position, the entry as it is chained, and link; None for an entry that cannot have been chained."""
        try:
            return self.position, _chained(self.position, self.record), self.chain
        except (TypeError, AttributeError, ValueError, OverflowError, struct.error):
            return self.position, None, self.chain


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

    def __call__(self, position: int, head: bytes) -> list[LoggedAccess]:
        """Returns the entries."""
        ...


class AccessLog:
    """The access log of a tenant; shared by threads and programs.

    Args:
        table: Where records are.
    """

    def __init__(self, table: AccessLogTable) -> None:
        self._table = table

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def append(self, records: Sequence[AccessRecord]) -> int:
        """Adds records, all or none; they are on the disk when this returns.

        Returns:
            The position of the last of them; 0 where there are none.

        Raises:
            AccessLogError: The log cannot be written; nothing may be shown.
        """
        end = 0

        def linked(position: int, head: bytes) -> list[LoggedAccess]:
            nonlocal end
            end = position + len(records)
            found = links(head, (_chained(place, record) for place, record in enumerate(records, position + 1)))
            return [
                LoggedAccess(place, record, link)
                for place, (record, link) in enumerate(zip(records, found, strict=True), position + 1)
            ]

        if not records:
            return 0
        try:
            self._table.append(linked)
            return end
        except StoreError as error:
            raise AccessLogError(f"{error}; without a written log nothing is shown") from None
        except UnicodeEncodeError:
            raise AccessLogError(
                "access_log: actor, role, purpose or domain is no text, so it cannot be logged and nothing is shown"
            ) from None

    def records(self) -> Iterator[AccessRecord]:
        """Yields all records in order."""
        for entries in self._table.entries():
            yield from (entry.record for entry in entries)

    def verify(self) -> Verified:
        """Recomputes the whole chain.

        Raises:
            IntegrityError: An entry was changed, moved or taken out; names the first.
        """
        return recomputed(STORE, ([entry.as_row() for entry in entries] for entries in self._table.entries()))


def open_access_log(uri: str, *, create: bool = False) -> AccessLog:
    """Returns the access log of a project.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return AccessLog(open_access_log_table(uri, create=create))


def _chained(position: int, record: AccessRecord) -> bytes:
    return number_field(position) + record.body


# Both tell True from 1 and 1.0, which are equal as keys: who reads a changed store must not be given another's bytes.
@lru_cache(maxsize=256, typed=True)
def _asked(at: int, actor: str, role: str, purpose: str, domain: str) -> bytes:
    return associated_data(at, actor, role, purpose, domain)


@lru_cache(maxsize=256, typed=True)
def _answered(decision: str, rule: str, shown: str | None) -> bytes:
    return associated_data(decision, rule) + (NOBODY if shown is None else SOMEBODY + associated_data(shown))

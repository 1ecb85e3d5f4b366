"""The access log: every detokenization, allowed or refused, append-only and hash-chained.

It holds who asked, in which role, for which purpose, and what was answered; tokens and customers only as keyed
references, values never.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from ...schemas.errors import AccessLogError, StoreError
from ..crypto.envelope import associated_data
from .hash_chain import START, Verified, broken_chain, links
from .open_tables import open_access_log_table

__all__ = ["AccessLog", "AccessLogTable", "AccessRecord", "LoggedAccess", "open_access_log"]

STORE = "access_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
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
        """The record as it is chained, apart from its position."""
        return associated_data(
            self.at,
            self.actor,
            self.role,
            self.purpose,
            self.domain,
            self.token_ref,
            *_optional(self.subject_ref),
            self.decision,
            self.rule,
            *_optional(self.shown),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAccess:
    """A record in its place, with its link."""

    position: int
    record: AccessRecord
    chain: bytes

    @property
    def body(self) -> bytes:
        """The entry as it is chained."""
        return associated_data(self.position) + self.record.body


class AccessLogTable(Protocol):
    """Where records are; what a backend implements."""

    def close(self) -> None:
        """Closes the connection."""
        ...

    def size(self) -> int:
        """Returns the bytes that it takes."""
        ...

    def last(self) -> tuple[int, bytes] | None:
        """Returns position and link of the last entry."""
        ...

    def append(self, link: AppendLink) -> None:
        """Adds what ``link`` makes of position and link of the last entry, with no other writer between."""
        ...

    def entries(self) -> Iterator[list[LoggedAccess]]:
        """Yields all entries in order, some thousand at a time."""
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

    def append(self, records: Sequence[AccessRecord]) -> None:
        """Adds records, all or none; they are on the disk when this returns.

        Raises:
            AccessLogError: The log cannot be written; nothing may be shown.
        """

        def linked(position: int, head: bytes) -> list[LoggedAccess]:
            entries = [
                LoggedAccess(position=place, record=record, chain=b"")
                for place, record in enumerate(records, start=position + 1)
            ]
            found = links(head, (entry.body for entry in entries))
            return [replace(entry, chain=link) for entry, link in zip(entries, found, strict=True)]

        if not records:
            return
        try:
            self._table.append(linked)
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
        count, head = 0, START
        for entry in chain.from_iterable(self._table.entries()):
            count += 1
            try:
                (head,) = links(head, [entry.body])
            except (TypeError, AttributeError, ValueError, OverflowError, struct.error):
                raise broken_chain(STORE, count) from None
            if entry.position != count or entry.chain != head:
                raise broken_chain(STORE, count)
        return Verified(entries=count, head=head)


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


def _optional(value: bytes | str | None) -> tuple[bytes | str | int, ...]:
    """Returns a value such that nothing looks like no other value."""
    return (0,) if value is None else (1, value)

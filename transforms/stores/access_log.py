"""The access log: every detokenization, allowed or refused, append-only and hash-chained.

It holds who asked, in which role, for which purpose, and what was answered; tokens and customers only as keyed
references, values never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...schemas.errors import AccessLogError, StoreError
from .access_log_table import AccessLogTable, AppendLink
from .access_records import AccessRecord, AccessRun, LinkedAccesses, LoggedAccess, linked_runs, runs_of
from .hash_chain import Verified, recomputed
from .open_tables import open_access_log_table

__all__ = ["AccessLog", "AccessLogTable", "AccessRecord", "AppendLink", "LoggedAccess", "open_access_log"]

STORE = "access_log"


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
        """Adds records as ``append_runs`` does."""
        return self.append_runs(runs_of(records))

    def append_runs(self, runs: Sequence[AccessRun]) -> int:
        """Adds records, all or none; they are on the disk when this returns.

        Returns:
            The position of the last of them; 0 where there are none.

        Raises:
            AccessLogError: The log cannot be written; nothing may be shown.
        """
        runs, end = [run for run in runs if len(run)], 0

        def linked(position: int, head: bytes) -> LinkedAccesses:
            nonlocal end
            end = position + sum(map(len, runs))
            return linked_runs(runs, position, head)

        if not runs:
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

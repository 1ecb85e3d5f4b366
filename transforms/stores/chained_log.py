"""The two hash-chained logs as who checks them sees them: positions, links, and the chain recomputed. Needs no key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, Self

from ...schemas.checkpoint import LogName
from .access_log_table import AccessLogTable
from .hash_chain import START, ChainRow, Verified, recomputed
from .ledger_table import LedgerTable
from .open_tables import open_access_log_table, open_ledger_table

__all__ = ["ChainedLog", "open_chained_log"]


class _Chain(Protocol):
    """What both tables have in common."""

    def close(self) -> None: ...

    def last(self) -> tuple[int, bytes] | None: ...

    def link(self, position: int) -> bytes | None: ...


class ChainedLog:
    """One of the logs of a tenant.

    Args:
        name: Which one.
        table: Where its entries are.
    """

    def __init__(self, name: LogName, table: LedgerTable | AccessLogTable) -> None:
        self.name = name
        self._table = table
        self._chain: _Chain = table

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store."""
        self._chain.close()

    def end(self) -> tuple[int, bytes]:
        """Returns position and link of the last entry, as they are stored."""
        return self._chain.last() or (0, START)

    def link(self, position: int) -> bytes | None:
        """Returns the link of an entry, as it is stored; None where there is no such entry."""
        return START if position == 0 else self._chain.link(position)

    def recomputed(self, *, wanted: Collection[int] = (), after: int = 0, head: bytes = START) -> Verified:
        """Recomputes the chain behind an entry.

        Args:
            wanted: Positions whose links are returned, as far as the log has them.
            after: Position of that entry; 0: the whole chain.
            head: Its link.

        Raises:
            IntegrityError: An entry was changed, moved or taken out; names the first.
            StoreError: The store cannot be read.
        """
        return recomputed(self.name, self._rows(after), wanted=wanted, entries=after, head=head)

    def _rows(self, after: int) -> Iterator[Sequence[ChainRow]]:
        # By what each has, not by its class: tables of other backends are neither of these.
        if hasattr(self._table, "after"):
            yield from self._table.after(after)
            return
        for entries in self._table.entries(after):
            yield [entry.as_row() for entry in entries]


def open_chained_log(name: LogName, uri: str) -> ChainedLog:
    """Returns a log of a project, to be checked; no entry is read yet.

    Args:
        name: Which one.
        uri: ``sqlite:FILE`` or ``postgresql://…``.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return ChainedLog(name, open_ledger_table(uri) if name == "ledger" else open_access_log_table(uri))

"""Rows on their way to a statement: by COPY into a temporary table, never as its parameters.

A server that logs statements may log their parameters with them (``log_statement``, ``log_min_duration_statement``,
``log_parameter_max_length``), and keeps them for as long as its logs. What COPY carries it does not log: so wrapped
keys, sealed values and references of subjects go this way, and so do keys behind which a table is read on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = ["WANTED", "Staging"]

WANTED = "pg_temp.wanted"
"""What statements call the table; a connection has one, because it serves one store."""
COLLATED = {"text": 'text COLLATE "C"'}
TYPES = {"integer": "int4", "bigint": "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A temporary table, which lives as long as its connection and is empty after each transaction.

    Attributes:
        columns: Names and types, texts in the order of their bytes.
    """

    columns: tuple[tuple[str, str], ...]

    def send(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Puts rows into the table, in the place of those of before; inside a transaction.

        Args:
            connection: In a transaction.
            rows: In the order of the columns.
        """
        connection.execute(self._made.encode())
        with connection.cursor() as cursor, cursor.copy(f"COPY {WANTED} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([TYPES.get(kind, kind) for _, kind in self.columns])
            write_row = copy.write_row
            for row in rows:
                write_row(row)

    @property
    def _made(self) -> str:
        """The statements that make the table where it is missing, and empty it."""
        columns = ", ".join(f"{name} {COLLATED.get(kind, kind)}" for name, kind in self.columns)
        return f"CREATE TEMPORARY TABLE IF NOT EXISTS {WANTED} ({columns}) ON COMMIT DELETE ROWS; DELETE FROM {WANTED}"  # noqa: S608

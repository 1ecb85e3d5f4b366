"""The table of known outputs beside a vault in PostgreSQL, for all machines that share it.

It takes none of the vault's locks: it is asked while the vault's own connection holds them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...schemas.known_output import KnownOutput
from .postgres_database import PostgresDatabase

if TYPE_CHECKING:
    from .postgres_connection import Connection

__all__ = ["PostgresOutputTable"]

ALL = (
    "SELECT machine, place, run, dataset, published, noted_at, needs FROM outputs "
    "ORDER BY place, machine, noted_at, run"
)


class PostgresOutputTable:
    """A ``KnownOutputTable`` in the schema of a vault.

    Args:
        uri: ``postgresql://…`` of the vault, with the tenant.
        machine: Name of this machine, by which its paths are told from those of others.
    """

    def __init__(self, uri: str, *, machine: str | None = None) -> None:
        self._machine = platform.node() if machine is None else machine
        self._database = PostgresDatabase(uri, store="vault")

    @property
    def is_complete(self) -> bool:
        """Whether it has all outputs whose tokens are in the vault; not where the vault is older than the list."""
        asked = "SELECT complete FROM outputs_listed"
        return self._database.run(lambda connection: connection.execute(asked).fetchone()) == (True,)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def put(self, output: KnownOutput) -> None:
        """Adds an output or a run; a published one takes the place of all that was published there before."""
        machine = self._machine_of(output.place, output.machine)

        def put(connection: Connection) -> None:
            with connection.transaction():
                gone = "DELETE FROM outputs WHERE machine = %s AND place = %s AND (run = %s OR (published AND %s))"
                connection.execute(gone, (machine, output.place, output.run, output.published))
                connection.execute(
                    "INSERT INTO outputs VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    (machine, output.place, output.run, output.dataset, output.published, output.noted_at,
                     json.dumps(sorted(output.needs))),
                )  # fmt: skip

        self._database.run(put)

    def remove(self, place: str, run: str | None = None, machine: str = "") -> int:
        """Removes what is known of a place, or of one run there, and returns how many entries there were."""
        asked = "DELETE FROM outputs WHERE machine = %s AND place = %s AND (run = %s OR %s)"
        values = (self._machine_of(place, machine), place, run, run is None)
        return self._database.run(lambda connection: connection.execute(asked, values).rowcount)

    def all(self) -> tuple[KnownOutput, ...]:
        """Returns all outputs and runs by place; those of this machine without its name."""
        rows = self._database.run(lambda connection: connection.execute(ALL).fetchall())
        return tuple(
            KnownOutput(
                place=place,
                run=run,
                dataset=dataset,
                published=published,
                versions=dict(reversed([(domain, version) for domain, version in json.loads(needs)])),
                noted_at=noted_at,
                also=frozenset((domain, version) for domain, version in json.loads(needs)),
                machine="" if machine == self._machine else machine,
            )
            for machine, place, run, dataset, published, noted_at, needs in rows
        )

    def take_over(self, outputs: Iterable[KnownOutput], *, complete: bool) -> None:
        """Adds what another list has, whose vault was copied into this one; for the owner of the schema.

        Args:
            outputs: Of the other list.
            complete: Whether that one was.
        """
        for output in outputs:
            self.put(output)
        asked = "UPDATE outputs_listed SET complete = complete AND %s"
        self._database.run(lambda connection: connection.execute(asked, (complete,)))

    def _machine_of(self, place: str, machine: str) -> str:
        """Returns what tells a path of one machine from that of another; nothing where all have the same place."""
        return "" if "://" in place else machine or self._machine

"""The outputs that a project knows of: where they are, and which versions of the ``token`` keys their tokens need.

A run is noted before it writes its first token, and its output when it is published, so that no version is destroyed
under tokens that somebody has. What a killed run has left is settled by what lies at its place. Holds no value.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..schemas.errors import IntegrityError
from ..schemas.manifest import MANIFEST_NAME, parse_manifest
from ..schemas.project import Project
from ..transforms.stores.sqlite_database import SqliteDatabase, sqlite_path
from .publication import FILE_SCHEME, MARK, is_local

__all__ = [
    "KnownOutput",
    "KnownOutputs",
    "note_output",
    "noted_run",
    "open_known_outputs",
    "place_of",
    "unnamed_places",
]

STORE = "outputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOutput:
    """An output, or a run that makes one.

    Attributes:
        place: Absolute path, or URI.
        run: Id of the run that made it.
        dataset: What its records are.
        published: False while its run is at work.
        versions: By token domain, the key version of its tokens.
        noted_at: Microseconds UTC.
        also: Domains and versions that it may have besides, while its tokens are being moved.
    """

    place: str
    run: str
    dataset: str
    published: bool
    versions: Mapping[str, int]
    noted_at: int
    also: frozenset[tuple[str, int]] = frozenset()

    @property
    def needs(self) -> frozenset[tuple[str, int]]:
        """All domains and versions that its tokens are of, or may be."""
        return frozenset(self.versions.items()) | self.also


class KnownOutputs:
    """The list of a project; several programs may use it at a time.

    Args:
        database: Open.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def close(self) -> None:
        """Closes the store."""
        self._database.close()

    def note(self, output: KnownOutput) -> None:
        """Adds an output or a run; a published one takes the place of all that was published there before."""
        with self._database.writing() as connection:
            if output.published:
                _remove(connection, "place = ? AND published = 1", output.place)
            _remove(connection, "place = ? AND run = ?", output.place, output.run)
            connection.execute(
                "INSERT INTO outputs VALUES (?, ?, ?, ?, ?)",
                (output.place, output.run, output.dataset, output.published, output.noted_at),
            )
            connection.executemany(
                "INSERT INTO versions VALUES (?, ?, ?, ?)",
                [(output.place, output.run, domain, version) for domain, version in sorted(output.needs)],
            )

    def forget(self, place: str, run: str | None = None) -> int:
        """Removes what is known of a place, or of one run there, and returns how many entries there were."""
        with self._database.writing() as connection:
            if run is None:
                return _remove(connection, "place = ?", place)
            return _remove(connection, "place = ? AND run = ?", place, run)

    def all(self) -> tuple[KnownOutput, ...]:
        """Returns all outputs and runs by place, runs that left nothing and live no more being removed first."""
        for output in self._read():
            if not output.published and is_local(output.place):
                self._settle(output)
        return self._read()

    def _settle(self, output: KnownOutput) -> None:
        """Notes as published what a killed run had published, and forgets a run whose folder is gone."""
        folder = Path(output.place)
        if folder.with_name(f".{folder.name}{MARK}{output.run}").exists():
            return
        # Only now: what was published has left its hidden folder in one step.
        if _is_at(output):
            self.note(replace(output, published=True))
        else:
            self.forget(output.place, output.run)

    def _read(self) -> tuple[KnownOutput, ...]:
        with self._database.reading() as connection:
            outputs = connection.execute(
                "SELECT place, run, dataset, published, noted_at FROM outputs ORDER BY place, noted_at, run"
            ).fetchall()
            needs: dict[tuple[str, str], list[tuple[str, int]]] = {}
            asked = "SELECT place, run, domain, key_version FROM versions ORDER BY domain, key_version"
            for place, run, domain, version in connection.execute(asked).fetchall():
                needs.setdefault((place, run), []).append((domain, version))
        return tuple(
            KnownOutput(
                place=place,
                run=run,
                dataset=dataset,
                published=bool(published),
                versions=dict(reversed(needs.get((place, run), []))),
                noted_at=noted_at,
                also=frozenset(needs.get((place, run), [])),
            )
            for place, run, dataset, published, noted_at in outputs
        )


def open_known_outputs(project: Project) -> KnownOutputs:
    """Returns the list of a project, made where there is none.

    Raises:
        StoreError: It is damaged or locked.
    """
    return KnownOutputs(SqliteDatabase(sqlite_path(project.outputs, store=STORE), store=STORE, create=True))


def note_output(project: Project, output: KnownOutput) -> None:
    """Adds an output to the list of its project."""
    with closing(open_known_outputs(project)) as known:
        known.note(output)


@contextmanager
def noted_run(project: Project, output: KnownOutput) -> Iterator[None]:
    """Has a run known while the block works, and its output when it is done; a block that fails leaves no note."""
    with closing(open_known_outputs(project)) as known:
        known.note(output)
        try:
            yield
        except BaseException:
            if is_local(output.place) and _is_at(output):  # it failed, or was interrupted, after it had published
                known.note(replace(output, published=True))
            else:
                known.forget(output.place, output.run)
            raise
        known.note(replace(output, published=True))


def unnamed_places(project: Project, named: Iterable[str]) -> tuple[str, ...]:
    """Returns the places of outputs that the project knows of and that are not among those named."""
    with closing(open_known_outputs(project)) as known:
        return tuple(sorted({output.place for output in known.all()} - {place_of(out) for out in named}))


def place_of(out: str) -> str:
    """Returns what an output is known by: the absolute path of a local folder, links followed; else its URI."""
    return str(Path(out.removeprefix(FILE_SCHEME)).resolve()) if is_local(out) else out.rstrip("/")


def _is_at(output: KnownOutput) -> bool:
    """Whether what lies at the place of an output is what its run has published."""
    try:
        return parse_manifest((Path(output.place) / MANIFEST_NAME).read_bytes())[0].run == output.run
    except (OSError, IntegrityError):
        return False


def _remove(connection: sqlite3.Connection, where: str, *values: str) -> int:
    chosen = connection.execute(f"SELECT place, run FROM outputs WHERE {where}", values).fetchall()  # noqa: S608
    for table in ("versions", "outputs"):
        connection.executemany(f"DELETE FROM {table} WHERE place = ? AND run = ?", chosen)  # noqa: S608
    return len(chosen)

"""The outputs that a project knows of: where they are, and which versions of the ``token`` keys their tokens need.

A run is noted before it writes its first token, and its output when it is published, so that no version is destroyed
under tokens that somebody has. What a killed run has left is settled by what lies at its place. The list is beside the
vault: machines that share a vault on a server share it. Holds no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..schemas.errors import IntegrityError, StoreError
from ..schemas.manifest import MANIFEST_NAME, parse_manifest
from ..schemas.project import Project
from ..schemas.store_uri import SQLITE
from ..transforms.stores.known_output_table import KnownOutput, KnownOutputTable, open_known_output_table
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

BEFORE = "outputs.db"
"""Where a machine kept its list before the vault had it."""


class KnownOutputs:
    """The list of a project; several programs, and machines that share the vault, may use it at a time.

    Args:
        table: Where it is.
        before: What this machine noted before the list was there, as long as it cannot be taken over.
    """

    def __init__(self, table: KnownOutputTable, before: KnownOutputTable | None = None) -> None:
        self._table = table
        self._before = before

    def close(self) -> None:
        """Closes the store."""
        self._table.close()
        if self._before is not None:
            self._before.close()

    @property
    def is_complete(self) -> bool:
        """Whether the list has all outputs whose tokens are in the vault, those of other machines too."""
        return self._table.is_complete

    def note(self, output: KnownOutput) -> None:
        """Adds an output or a run; a published one takes the place of all that was published there before."""
        self._table.put(output)

    def forget(self, place: str, run: str | None = None, *, machine: str = "") -> int:
        """Removes what is known of a place, or of one run there, and returns how many entries there were."""
        before = 0 if self._before is None or machine else self._before.remove(place, run)
        return before + self._table.remove(place, run, machine)

    def all(self) -> tuple[KnownOutput, ...]:
        """Returns all outputs and runs by place, without runs that left nothing and live no more."""
        found = [*self._table.all(), *(() if self._before is None else self._before.all())]
        return tuple(settled for output in found if (settled := self._settled(output)) is not None)

    def _settled(self, output: KnownOutput) -> KnownOutput | None:
        """Returns as published what a killed run had published, and None for a run whose folder is gone; notes both.

        Runs of another machine stay as they are: what is at their place, only that machine can see.
        """
        if output.published or output.machine or not is_local(output.place):
            return output
        folder = Path(output.place)
        if folder.with_name(f".{folder.name}{MARK}{output.run}").exists():
            return output
        # Only now: what was published has left its hidden folder in one step.
        settled = replace(output, published=True) if _is_at(output) else None
        with suppress(StoreError):  # who may only look leaves it to who may write
            if settled is not None:
                self.note(settled)
            else:
                self.forget(output.place, output.run)
        return settled


def open_known_outputs(project: Project) -> KnownOutputs:
    """Returns the list of a project, made where there is none; what this machine noted elsewhere before is taken over.

    Raises:
        StoreError: It is damaged or locked, or its server cannot be reached.
    """
    table = open_known_output_table(project.outputs)
    try:
        return KnownOutputs(table, _not_taken_over(project, table))
    except BaseException:
        table.close()
        raise


def _not_taken_over(project: Project, table: KnownOutputTable) -> KnownOutputTable | None:
    """Takes over the list that this machine kept beside its configuration; returns it where the server refuses."""
    file = project.root / BEFORE
    if project.outputs == f"{SQLITE}:{file}" or not file.exists():
        return None
    before = open_known_output_table(f"{SQLITE}:{file}")
    try:
        for output in before.all():
            table.put(output)
            before.remove(output.place, output.run)
    except StoreError:
        return before
    before.close()
    return None


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
        mine = {place_of(out) for out in named}
        return tuple(sorted({each.told for each in known.all() if each.machine or each.place not in mine}))


def place_of(out: str) -> str:
    """Returns what an output is known by: the absolute path of a local folder, links followed; else its URI."""
    if not is_local(out):
        return out.partition("?")[0].rstrip("/")
    return str(Path(out.removeprefix(FILE_SCHEME)).resolve())


def _is_at(output: KnownOutput) -> bool:
    """Whether what lies at the place of an output is what its run has published."""
    try:
        return parse_manifest((Path(output.place) / MANIFEST_NAME).read_bytes())[0].run == output.run
    except (OSError, IntegrityError):
        return False

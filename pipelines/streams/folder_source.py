"""A source of files that are dropped into a folder: Parquet, CSV or JSON Lines, each one whole and once.

A file is a partition, its bytes are its offsets. It is read when its name appears, so it must be complete by then:
written under a name that begins with a dot, or elsewhere on the same disk, and renamed. Names are used once; a file
that changes after it was read ends the stream, since nobody could say what of it is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ...schemas.errors import ConfigError, InputError, PrivacyError, RecordsGoneError
from ...schemas.record_columns import POSITION
from ..column_types import joint_schema
from ..input_files import find_files
from ..sources import plan_sources, read_split
from ..splits import ReadBatch
from .sources import WRONG_TYPE, Offsets, Part, Taken, refused

__all__ = ["FolderSource"]

MOST_BYTES = 256 << 20
"""Of the files of an epoch, a single bigger one apart."""


class FolderSource:
    """The files of a folder as a ``StreamSource``.

    Args:
        folder: Watched, without the folders in it.

    Raises:
        ConfigError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"--from: {folder}: there is no such folder")
        self._folder = folder
        self._columns = pa.schema([])
        self._learned = self._columns

    @property
    def name(self) -> str:
        """``dir:`` and the name of the folder."""
        return f"dir:{self._folder.resolve().name}"

    def take(self, done: Offsets, most: int) -> Taken:
        """Returns whole files, the oldest names first."""
        sizes = {path.name: path.stat().st_size for path in sorted(self._folder.iterdir()) if _is_record_file(path)}
        for name in sizes.keys() & done.keys():
            if sizes[name] != done[name]:
                raise RecordsGoneError(
                    f"{name}: was read and has changed since; put it back, and drop files under names of their own"
                )
        fresh = {name: size for name, size in sizes.items() if name not in done}
        parts: list[Part] = []
        total = 0
        for name, size in fresh.items():
            if parts and total + size > MOST_BYTES:
                break
            parts.append(Part(partition=name, start=0, end=size))
            total += size
        return Taken(tuple(parts), sum(fresh.values()) - total)

    def know(self, columns: pa.Schema) -> None:
        """Has the next files be read as these columns, and their own new ones."""
        self._columns = self._learned = columns

    def learned(self) -> tuple[pa.Schema, bool]:
        """Returns the columns known by now."""
        return self._learned, True

    def read(self, lane: int, parts: Sequence[Part]) -> Iterator[ReadBatch]:
        """Yields the records of some files.

        Raises:
            RecordsGoneError: A file is gone, has changed, or cannot be read at all.
        """
        for part in parts:
            yield from self._read_file(part)

    def commit(self, offsets: Offsets) -> None:
        """Does nothing: files stay where they are."""

    def close(self) -> None:
        """Has nothing to let go of."""

    def _read_file(self, part: Part) -> Iterator[ReadBatch]:
        path = self._folder / part.partition
        try:
            if path.stat().st_size != part.end:
                raise RecordsGoneError(f"{part.partition}: has changed since it was found; put it back")
            sources = plan_sources([str(path)])
        except OSError:
            raise RecordsGoneError(f"{part.partition}: is gone; put it back") from None
        except InputError as error:
            raise RecordsGoneError(f"{error}; repair it, or take it out of the folder") from None
        known = self._with(sources.schema)
        for split in sorted(sources.splits, key=lambda each: each.id):
            for read in read_split(split, sources.schema if known is None else known):
                yield refused(read, WRONG_TYPE) if known is None else read

    def _with(self, found: pa.Schema) -> pa.Schema | None:
        """Returns the columns of a file with all known ones, and remembers them; None where they contradict these."""
        try:
            joint = joint_schema((("the stream", self._learned), ("the file", found)))
        except PrivacyError:
            return None
        self._learned = pa.schema([field for field in joint if field.name != POSITION])
        return joint


def _is_record_file(path: Path) -> bool:
    if path.name.startswith((".", "_")) or not path.is_file():
        return False
    try:
        return bool(find_files([str(path)]))
    except PrivacyError:
        return False

"""A folder that all workers share, as the output of a stream on an engine: files, and beside them what shards note."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from ...schemas.manifest import MANIFEST_NAME, Manifest
from ..durable import exchange_text
from ..publication import FILE_SCHEME, STREAM
from .consent_ends import note_consents, noted_consents
from .handing_over import hand_over
from .outputs import ShardWork
from .settings import EngineSettings, close_settings, launching, read_settings
from .shard_files import ShardFiles
from .shard_notes import ShardNote
from .shard_output import SHARDS, SHOWN, begin_launch, published_ends, read_note

__all__ = ["FolderOutput"]

LOCK = "manifest.lock"


class _Place(NamedTuple):
    """A note that was read, and when it had been written."""

    path: Path
    written: int


class FolderOutput:
    """An ``EngineOutput``. Notes that it has read it does not read again.

    Args:
        out: The folder.
    """

    topic = None

    def __init__(self, out: str) -> None:
        self._out = out
        self._root = Path(out.removeprefix(FILE_SCHEME)).resolve()
        self._notes: dict[_Place, ShardNote] = {}

    def check(self, read: Sequence[str]) -> None:
        """Refuses nothing: what is wrong shows when it is launched."""

    def launching(self, fresh: EngineSettings) -> AbstractContextManager[EngineSettings]:
        """Yields the settings of a launch, while no other launcher is at work."""
        return launching(self._out, fresh)

    def settings(self) -> EngineSettings:
        """Returns the settings that stand."""
        return read_settings(self._out)

    def begin_launch(self, launch: str) -> None:
        """Lets one launch publish, and no other one from now on."""
        begin_launch(self._root, launch)

    def published_ends(self, shards: int) -> Mapping[str, int]:
        """Returns by partition the offset before which all shards have published all records."""
        return published_ends(self._root, shards)

    def consent_ends(self) -> Mapping[str, int]:
        """Returns by partition how far the topic of consents is in the ledger."""
        return noted_consents(self._root)

    def note_consents(self, offsets: Mapping[str, int]) -> None:
        """Notes how far it is."""
        note_consents(self._root, offsets)

    def shard(self, number: int, work: ShardWork) -> ShardFiles:
        """Returns where one shard publishes."""
        return ShardFiles(self._root, number, work.launch, event_time=work.event_time, sink=work.sink)

    @contextmanager
    def sealing(self) -> Iterator[None]:
        """In which no other launcher, and no `stream seal`, makes a manifest."""
        with (self._root / STREAM / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def notes(self) -> list[ShardNote]:
        """Returns what is published by now."""
        found: dict[_Place, ShardNote] = {}
        for place in self._places():
            try:
                found[place] = self._notes.get(place) or read_note(place.path)
            except FileNotFoundError:
                continue  # taken back at this moment
        self._notes = found
        return list(found.values())

    def put(self, manifest: Manifest) -> None:
        """Writes the manifest."""
        exchange_text(self._root / MANIFEST_NAME, manifest.dumps())

    def close(self, finish: Callable[[EngineSettings], None]) -> None:
        """Ends the stream for good."""
        close_settings(self._out, finish)

    def hand_over(self, settings: EngineSettings, manifest: Manifest, *, clock: int) -> None:
        """Makes the journal by which rewritings go."""
        hand_over(self._root, settings, list(self._notes.values()), manifest, clock=clock)

    def _places(self) -> Iterator[_Place]:
        for path in sorted((self._root / STREAM / SHARDS).glob(f"*/*{SHOWN}")):
            if path.stem.isdecimal():
                try:
                    yield _Place(path, path.stat().st_mtime_ns)
                except FileNotFoundError:
                    continue

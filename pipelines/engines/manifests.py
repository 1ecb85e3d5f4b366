"""The manifest of a stream on an engine: what its shards have published so far, summed up and signed by a launcher.

Workers never hold the key that signs. A shard that is taken over takes files back, and until the manifest is made again
it lists some that are gone for a moment; a launcher makes it again every few seconds.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ...schemas.errors import ConfigError
from ...schemas.manifest import MANIFEST_NAME, KeyVersions, Manifest
from ...schemas.policy import Policy
from ...schemas.project import Project
from ...transforms.crypto.key_sets import ProofKeys
from ...transforms.stage import StageConfig
from ...transforms.tally import merge
from ..column_types import joint_schema
from ..durable import exchange_text
from ..manifest_file import sign_manifest
from ..outcome import Outcome
from ..publication import FILE_SCHEME, STREAM
from ..streams.stream_manifest import StreamState, stream_manifest
from .handing_over import hand_over
from .settings import EngineSettings, read_settings
from .shard_output import SHARDS, SHOWN, ShardNote, read_note

__all__ = ["EngineManifests"]

LOCK = "manifest.lock"


class _Place(NamedTuple):
    """A note that was read, and when it had been written."""

    path: Path
    written: int


class EngineManifests:
    """Makes the manifests of one output; used by one thread. Notes that it has read it does not read again.

    Args:
        project: Of the stream.
        policy: In force.
        keys: Sign.
        out: Folder of the output.
    """

    def __init__(self, project: Project, policy: Policy, keys: ProofKeys, out: str) -> None:
        self._project = project
        self._policy = policy
        self._keys = keys
        self._out = out
        self._root = Path(out.removeprefix(FILE_SCHEME)).resolve()
        self._notes: dict[_Place, ShardNote] = {}

    def seal(self, *, clock: int) -> Manifest | None:
        """Writes the manifest of what is published now, and returns it; None where nothing is.

        Args:
            clock: Microseconds UTC.

        Raises:
            ConfigError: The stream was closed: what has rewritten its output since would be undone.
            RunError: The books do not balance.
            OutputError: A note is damaged.
        """
        settings = read_settings(self._out)
        if settings.closed:
            raise ConfigError(f"{self._out}: was closed, and its manifest is the last one; there is nothing to sign")
        with (self._root / STREAM / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a launcher and `stream seal` may do it at a time
            notes = self._read()
            if not notes:
                return None
            manifest = sign_manifest(self._manifest(settings, notes, clock), self._keys)
            exchange_text(self._root / MANIFEST_NAME, manifest.dumps())
        return manifest

    def hand_over(self, settings: EngineSettings, *, clock: int) -> None:
        """Seals for the last time, and makes what rewritings of the output go by.

        Args:
            settings: Of the output.
            clock: Microseconds UTC.
        """
        manifest = self.seal(clock=clock)
        notes = list(self._notes.values())
        if manifest is not None:
            hand_over(self._root, settings, notes, manifest, _joint(note.columns for note in notes), clock=clock)

    def _read(self) -> list[ShardNote]:
        found: dict[_Place, ShardNote] = {}
        for place in self._places():
            try:
                found[place] = self._notes.get(place) or read_note(place.path)
            except FileNotFoundError:
                continue  # taken back at this moment
        self._notes = found
        return list(found.values())

    def _places(self) -> Iterator[_Place]:
        for path in sorted((self._root / STREAM / SHARDS).glob(f"*/*{SHOWN}")):
            if path.stem.isdecimal():
                try:
                    yield _Place(path, path.stat().st_mtime_ns)
                except FileNotFoundError:
                    continue

    def _manifest(self, settings: EngineSettings, notes: Sequence[ShardNote], clock: int) -> Manifest:
        config = StageConfig(
            project=self._project,
            policy=self._policy,
            dataset=settings.dataset,
            now=max(note.now for note in notes),
            ledger_position=max(note.ledger_position for note in notes),
            key_version=settings.key_version,
            started_at=settings.started_at,
        )
        state = StreamState(
            run=settings.run,
            source=settings.source,
            key_versions=KeyVersions(**settings.key_versions),
            started_at=settings.started_at,
        )
        offsets: dict[str, int] = {}
        for note in notes:
            for partition, offset in note.offsets.items():
                offsets[partition] = max(offsets.get(partition, 0), offset)
        receipts = tuple(receipt for note in notes for receipt in note.outcome.receipts)
        return stream_manifest(
            state,
            config,
            Outcome(merge(note.outcome.tally for note in notes), receipts),
            columns=_joint(note.columns for note in notes),
            epochs=len(notes),
            offsets=offsets,
            finished_at=max(clock, settings.started_at),
        )


def _joint(schemas: Iterator[pa.Schema]) -> pa.Schema:
    distinct = {each.to_string(): each for each in schemas}
    joint = joint_schema([("", each) for each in distinct.values()])
    names = {name for each in distinct.values() for name in each.names}
    return pa.schema([field for field in joint if field.name in names])

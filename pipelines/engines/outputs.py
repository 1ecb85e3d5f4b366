"""Where a stream on an engine publishes: a folder that all workers share, or a topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ...schemas.dataset import FieldPath
from ...schemas.manifest import Manifest
from ..streams.record_sink import RecordSink
from .settings import EngineSettings
from .shard_notes import ShardNote
from .shard_publication import ShardPlace

__all__ = ["EngineOutput", "ShardWork", "open_engine_output"]

KAFKA = "kafka://"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardWork:
    """What a worker knows of the shards that it has.

    Attributes:
        launch: Id of the launch.
        shards: How many there are.
        event_time: Path of the records' event time.
        sink: Takes protected records before they are published; None: nobody does.
        in_order: Whether the engine gives a shard what a lane sends it in that order, also after it went back.
    """

    launch: str
    shards: int
    event_time: FieldPath
    sink: RecordSink | None = None
    in_order: bool = True


class EngineOutput(Protocol):
    """An output, for launchers, workers and whoever signs; used by one thread."""

    @property
    def topic(self) -> str | None:
        """Name of the topic that has the records; None: files have them."""
        ...

    def check(self, read: Sequence[str]) -> None:
        """Refuses what cannot be an output, or is read by the stream itself; asks nobody.

        Raises:
            ConfigError: It is such.
        """
        ...

    def launching(self, fresh: EngineSettings) -> AbstractContextManager[EngineSettings]:
        """Yields the settings of a launch: those that stand, or fresh ones.

        Raises:
            ConfigError: The stream is another than the one that began there, or there can be no output.
            OutputError: It cannot be used, or another launcher is at work.
            RunError: A broker cannot be used.
        """
        ...

    def settings(self) -> EngineSettings:
        """Returns the settings that stand.

        Raises:
            ConfigError: No stream on an engine publishes there.
            OutputError: They are damaged.
        """
        ...

    def begin_launch(self, launch: str) -> None:
        """Lets one launch publish, and no other one from now on."""
        ...

    def published_ends(self, shards: int) -> Mapping[str, int]:
        """Returns by partition the offset before which all shards have published all; none where one has nothing."""
        ...

    def consent_ends(self) -> Mapping[str, int]:
        """Returns by partition how far the topic of consents is in the ledger, as ``note_consents`` was told."""
        ...

    def note_consents(self, offsets: Mapping[str, int]) -> None:
        """Notes by partition the offset behind the last consent event that is in the ledger; none goes back."""
        ...

    def shard(self, number: int, work: ShardWork) -> ShardPlace:
        """Returns where one shard publishes. Make all of a worker's before the engine hands out states."""
        ...

    def sealing(self) -> AbstractContextManager[object]:
        """In which nobody else makes a manifest."""
        ...

    def notes(self) -> list[ShardNote]:
        """Returns what is published by now."""
        ...

    def put(self, manifest: Manifest) -> None:
        """Shows a signed manifest."""
        ...

    def close(self, finish: Callable[[EngineSettings], None]) -> None:
        """Ends the stream for good; of one that has ended, nothing more.

        Args:
            finish: Called when nobody can publish any more, before the end is noted.
        """
        ...

    def hand_over(self, settings: EngineSettings, manifest: Manifest, *, clock: int) -> None:
        """Leaves what rewritings of the output go by."""
        ...


def open_engine_output(out: str) -> EngineOutput:
    """Returns an output; nobody is asked yet whether it is there.

    Args:
        out: Folder, or ``kafka://HOST:PORT/TOPIC``.

    Raises:
        ConfigError: It names neither.
    """
    if out.startswith(KAFKA):
        from .topic_output import open_topic_output

        return open_topic_output(out)
    from .folder_output import FolderOutput

    return FolderOutput(out)

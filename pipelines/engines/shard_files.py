"""A shard that publishes as files in a folder, and to a topic as well if that is wished."""

from __future__ import annotations

from pathlib import Path

from ...schemas.dataset import FieldPath
from ...schemas.dead_letter import DEAD_LETTER_SCHEMA
from ...schemas.record_columns import POSITION
from ..publication import DEAD_LETTERS
from ..sinks import FileWriter
from ..streams.dated_files import DatedFiles
from ..streams.record_sink import RecordSink, record_ids
from .shard_notes import Published, Resumption, ShardNote
from .shard_output import ShardOutput
from .shard_publication import Publication

__all__ = ["ShardFiles"]


class ShardFiles:
    """A ``ShardPlace``. Make it before the engine hands out states; see ``shard_output``.

    Args:
        root: Folder of the output.
        shard: Number.
        launch: Id of the launch.
        event_time: Path of the records' event time.
        sink: Takes protected records before they are published; None: nobody does.
    """

    def __init__(
        self, root: Path, shard: int, launch: str, *, event_time: FieldPath, sink: RecordSink | None = None
    ) -> None:
        self._output = ShardOutput(root, shard, launch)
        self._event_time = event_time
        self._sink = sink

    def resumption(self, number: int, lot: str) -> Resumption | None:
        """Returns where a fresh state goes on; what any other one does not know of is taken back."""
        return None if number or lot else self._output.resumption()

    def publish(self, number: int, lot: str, publication: Publication) -> Published:
        """Publishes what a step comes to, and returns it; only who has the shard sends and writes."""
        return self._output.publish(number, lot, lambda place, name: self._written(place, name, publication))

    def close(self) -> None:
        """Does nothing: the sink is of all shards of a worker."""

    def _written(self, place: str, name: str, publication: Publication) -> ShardNote:
        self._send(publication)
        rows = DatedFiles(place, run=name, event_time=self._event_time)
        refused = FileWriter(place, DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=name)
        try:
            for batch in publication.rows:
                rows.write(batch.drop_columns([POSITION]))
            for batch in publication.letters:
                refused.write(batch)
            return publication.note((*rows.finish(), *refused.finish()))
        except BaseException:
            rows.abandon()
            refused.abandon()
            raise

    def _send(self, publication: Publication) -> None:
        """Hands protected records to the sink, and returns when it has them; a replay sends them again, alike."""
        if self._sink is None:
            return
        for rows in publication.rows:
            self._sink.send(rows.drop_columns([POSITION]), record_ids(rows))
        self._sink.flush()

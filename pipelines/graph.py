"""The one place where the stages of protection are joined, for files and for streams; and the graph over files.

    splits ─ Reshuffle ─ Read ─ Decide ─ Protect ─ WriteRows
                          └───────┴────────┴────── WriteDeadLetters, one for each stage

All from Read to the writers runs fused: a batch is never encoded between them. Only receipts and counts are shuffled.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.shared import Shared

from ..schemas.errors import StoppedError
from ..transforms.consent_decision import Decide
from ..transforms.failures import guarded
from ..transforms.outputs import StageOutputs, counted, refusals, stage_outputs
from ..transforms.protection import Protect
from ..transforms.stage import SharedStage, StageFn, StageOpener
from ..transforms.tally import Tally
from .outcome import READ, NoteOutcome
from .sinks import WriteDeadLetters, WriteRows
from .sources import Split, read_split
from .splits import source_of

__all__ = ["JoinedStages", "ProtectFiles", "RunWatch", "SharedWatch", "join_stages"]

STAGE = "read"


class JoinedStages(NamedTuple):
    """What the stages give; ``protect`` has the rows that leave."""

    read: StageOutputs
    decide: StageOutputs
    protect: StageOutputs


def join_stages(elements: Any, read: beam.DoFn, stage: StageOpener, *, positions: bool = False) -> JoinedStages:
    """Returns the stages over what is to be read, one after the other.

    Args:
        elements: A collection of what ``read`` takes.
        read: Gives batches of records, and refuses what is none.
        stage: Opened on the workers.
        positions: Whether protected rows keep the position of their record.
    """
    records = stage_outputs(elements, "Read", read)
    decided = records.rows | "Decide" >> Decide(stage)
    return JoinedStages(records, decided, decided.rows | "Protect" >> Protect(stage, positions=positions))


class RunWatch:
    """What the threads of one process know of a run: its records so far, and whether it is to stop.

    Args:
        stop: Set by whoever wants it to.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._stop = stop

    def add(self, count: int) -> None:
        """Adds to the count.

        Raises:
            StoppedError: The run is to stop.
        """
        self.go_on()
        with self._lock:
            self._count += count

    def go_on(self) -> None:
        """Returns, or ends the run where it is.

        Raises:
            StoppedError: The run is to stop.
        """
        if self._stop.is_set():
            raise StoppedError("the run was told to stop; no output became visible")

    @property
    def count(self) -> int:
        """The records so far."""
        return self._count


@dataclass(frozen=True, slots=True)
class SharedWatch:
    """A watch that launcher and workers share where these are threads of its process; elsewhere each has its own."""

    _shared: Shared = field(default_factory=Shared, repr=False, compare=False)

    def open(self, stop: threading.Event | None = None) -> RunWatch:
        """Returns the watch of this process, which lives while somebody holds it; ``stop`` counts in the first call."""
        watch: RunWatch = self._shared.acquire(lambda: RunWatch(stop or threading.Event()))
        return watch


class ProtectFiles(beam.PTransform[Any, Any]):
    """Reads splits, protects their records, and writes rows, dead letters and an account of the run.

    Args:
        splits: What to read, in the order in which to spread it over workers.
        schema: Of all batches that are read.
        written: Of the protected rows.
        stage: Opened on the workers.
        place: Where files go.
        notes: Where the account of the run goes; ``outcome.read_outcome`` reads it.
        run: Id of the run.
        watch: Told of all records that are read.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        *,
        schema: pa.Schema,
        written: pa.Schema,
        stage: SharedStage,
        place: str,
        notes: str,
        run: str,
        watch: SharedWatch,
    ) -> None:
        super().__init__()
        self._splits = tuple(splits)
        self._read = _ReadFn(stage, schema, watch)
        self._written = written
        self._stage = stage
        self._place = place
        self._notes = notes
        self._run = run

    def expand(self, input_or_inputs: Any) -> Any:
        """Takes the begin of a pipeline."""
        splits = input_or_inputs | "Splits" >> beam.Create(self._splits, reshuffle=False) | beam.Reshuffle()
        joined = join_stages(splits, self._read, self._stage)
        rows = joined.protect.rows | "WriteRows" >> WriteRows(self._place, self._written, run=self._run)
        letters = self._letters(joined)
        tallies = tuple(stage.tally for stage in joined) | "Tallies" >> beam.Flatten()
        receipts = (rows, *letters) | "Receipts" >> beam.Flatten()
        return (tallies, receipts) | "Outcome" >> NoteOutcome(self._notes)

    def _letters(self, joined: JoinedStages) -> list[Any]:
        # A writer for each stage, because a Flatten before one writer would hold all letters of the run in memory.
        return [
            outputs.dead_letters | f"WriteLettersOf_{name}" >> WriteDeadLetters(self._place, run=self._run)
            for name, outputs in joined._asdict().items()
        ]


class _ReadFn(StageFn):
    def __init__(self, shared: SharedStage, schema: pa.Schema, watch: SharedWatch) -> None:
        super().__init__(shared)
        self._input_schema = schema
        self._shared_watch = watch

    def setup(self) -> None:
        super().setup()
        self._watch = self._shared_watch.open()

    @guarded(STAGE)
    def process(self, element: Split) -> Iterator[Any]:
        for read in read_split(element, self._input_schema):
            records = read.batch.num_rows + len(read.rejected)
            self._watch.add(records)
            yield counted(Tally({READ: records}))
            if read.rejected:
                yield from refusals(self.stage.sealer.seal_lines(read.rejected, source_of(read.batch.schema)))
            if read.batch.num_rows:
                yield read.batch

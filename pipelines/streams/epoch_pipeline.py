"""The pipeline of an epoch: what is read is fetched on the workers, and everything from there is as for files.

    shares ─ Read ─ Decide ─ Protect ─ WriteByDate
              └───────┴────────┴────── WriteLetters, one for each stage

Where there is a sink, protected rows are kept for it until the epoch is settled, and it has them all before the epoch
is sealed.

To build a pipeline takes Beam longer than to run a small one, so it is built once for a stream. What differs from
epoch to epoch is ``EpochWork``, which its steps, all in this process, find when they start; what comes of it they
note there.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.shared import Shared

from ...schemas.dataset import FieldPath
from ...schemas.dead_letter import DEAD_LETTER_SCHEMA
from ...schemas.errors import ConfigError, SecretError
from ...schemas.record_columns import POSITION
from ...transforms.failures import guarded
from ...transforms.outputs import StageOutputs, counted, refusals
from ...transforms.protection_plan import check_dataset_columns
from ...transforms.stage import SharedStage, Stage
from ...transforms.tally import Tally, merge
from ..graph import join_stages
from ..outcome import READ, READ_BYTES, Outcome
from ..pipeline_runs import LocalPipeline
from ..publication import DEAD_LETTERS
from ..sinks import FileWriter, Receipt
from ..splits import ReadBatch, source_of
from .dated_files import DatedFiles
from .record_sink import RecordSink, record_ids
from .sources import WRONG_TYPE, Part, StreamSource, refused

__all__ = ["EpochPipeline", "EpochWork", "Lane"]

READ_STAGE = "read"


class Lane(NamedTuple):
    """Parts that are read by one thread at a time, whichever it is."""

    number: int
    parts: tuple[Part, ...]


@dataclass(slots=True, kw_only=True, repr=False)
class EpochWork:
    """What the steps of a pipeline do for one epoch, and what came of it; never pickled.

    Attributes:
        shares: What each thread reads, one lane after the other.
        source: Where it is read from.
        stage: Settled for the epoch.
        event_time: Path of the records' event time.
        place: Folder below which files are made.
        name: Of the epoch; part of the files' names.
        sink: Takes protected rows besides the files, in the end; None: nobody does.
    """

    shares: Sequence[Sequence[Lane]]
    source: StreamSource
    stage: SharedStage
    event_time: FieldPath
    place: str
    name: str
    sink: RecordSink | None = None
    _tallies: list[Tally] = field(default_factory=list)
    _receipts: list[Receipt] = field(default_factory=list)
    _for_sink: list[pa.RecordBatch] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, *, tally: Tally | None = None, receipts: Sequence[Receipt] = ()) -> None:
        """Adds counts and files."""
        with self._lock:
            self._receipts += receipts
            if tally is not None:
                self._tallies.append(tally)

    def keep(self, rows: pa.RecordBatch) -> None:
        """Keeps protected rows for the sink, if there is one.

        Args:
            rows: With ``POSITION``.
        """
        if self.sink is not None:
            with self._lock:
                self._for_sink.append(rows)

    def send(self) -> None:
        """Hands the sink what was kept, and returns when it has all of it.

        Raises:
            RunError: It has not.
        """
        if self.sink is None:
            return
        for rows in self._for_sink:
            self.sink.send(rows.drop_columns([POSITION]), record_ids(rows))
        self.sink.flush()

    def outcome(self) -> Outcome:
        """Returns all that was noted."""
        return Outcome(merge(self._tallies), tuple(self._receipts))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("the work of an epoch stays in the process that runs the stream")


class _Desk:
    """Where the work of the epoch that runs is found."""

    def __init__(self) -> None:
        self.work: EpochWork | None = None


@dataclass(frozen=True, slots=True)
class _SharedWork:
    """Finds the work from any thread of the process; in another process there is none."""

    _shared: Shared = field(default_factory=Shared, repr=False, compare=False)

    def desk(self) -> _Desk:
        found: _Desk = self._shared.acquire(_Desk)
        return found

    def work(self) -> EpochWork:
        work = self.desk().work
        if work is None:
            raise RuntimeError("a stream is worked on in the process that runs it")
        return work

    def open(self) -> Stage:
        """Returns the stage of the epoch that runs, as a ``SharedStage`` does."""
        return self.work().stage.open()


class EpochPipeline:
    """Runs epochs; used by one thread.

    Args:
        threads: That read side by side, a share each. A single one is quicker to start.
    """

    def __init__(self, threads: int) -> None:
        self._shared = _SharedWork()
        self._desk = self._shared.desk()  # kept here, or the threads would each find one of their own
        self._pipeline = LocalPipeline(_ProtectEpoch(self._shared, threads), threads=threads)

    def run(self, work: EpochWork) -> Outcome:
        """Does the work of an epoch, all of it or none, and returns what came of it.

        Raises:
            PrivacyError: Something failed; what was written is no part of anything.
        """
        self._desk.work = work
        try:
            self._pipeline.run()
        finally:
            self._desk.work = None
        return work.outcome()


class _ProtectEpoch(beam.PTransform[Any, Any]):
    def __init__(self, shared: _SharedWork, shares: int) -> None:
        super().__init__()
        self._shared = shared
        self._shares = shares

    def expand(self, input_or_inputs: Any) -> Any:
        shares = input_or_inputs | "Shares" >> beam.Create(range(self._shares), reshuffle=False)
        if self._shares > 1:
            shares |= beam.Reshuffle()
        joined = join_stages(shares, _ReadFn(self._shared), self._shared, positions=True)
        for name, stage in joined._asdict().items():
            self._noted(stage, name)
        return joined.protect.rows | "WriteByDate" >> beam.ParDo(_WriteByDateFn(self._shared))

    def _noted(self, stage: StageOutputs, name: str) -> None:
        stage.tally | f"CountOf_{name}" >> beam.ParDo(_CountFn(self._shared))
        stage.dead_letters | f"WriteLettersOf_{name}" >> beam.ParDo(_WriteLettersFn(self._shared))


class _WorkFn(beam.DoFn):
    """Base of steps that do the work of an epoch; it is ``self.work`` while a bundle is processed."""

    def __init__(self, shared: _SharedWork) -> None:
        super().__init__()
        self._shared = shared

    def start_bundle(self) -> None:
        self.work = self._shared.work()


class _ReadFn(_WorkFn):
    @guarded(READ_STAGE)
    def process(self, element: int) -> Iterator[Any]:
        work, sealer = self.work, self.work.stage.open().sealer
        lanes = work.shares[element] if element < len(work.shares) else ()
        for read in map(self._usable, chain.from_iterable(work.source.read(*lane) for lane in lanes)):
            records = read.batch.num_rows + len(read.rejected)
            raw = read.batch.nbytes + sum(len(line.raw) for line in read.rejected)
            yield counted(Tally({READ: records, READ_BYTES: raw}))
            if read.rejected:
                yield from refusals(sealer.seal_lines(read.rejected, source_of(read.batch.schema)))
            if read.batch.num_rows:
                yield read.batch

    def _usable(self, read: ReadBatch) -> ReadBatch:
        """Refuses rows whose subject or event time has a type that nobody understands; a run over files would end."""
        stage = self.work.stage.open()
        try:
            check_dataset_columns(read.batch.schema, stage.dataset, stage.config.dataset)
        except ConfigError:
            return refused(read, WRONG_TYPE)
        return read


class _CountFn(_WorkFn):
    def process(self, element: Tally) -> None:
        self.work.note(tally=element)


class _WriteLettersFn(_WorkFn):
    def start_bundle(self) -> None:
        super().start_bundle()
        self._writer = FileWriter(self.work.place, DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=self.work.name)

    @guarded("write")
    def process(self, element: pa.RecordBatch) -> None:
        self._writer.write(element)

    @guarded("write")
    def finish_bundle(self) -> None:
        self.work.note(receipts=self._writer.finish())

    def teardown(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.abandon()


class _WriteByDateFn(_WorkFn):
    """Writes rows to files by day."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._files = DatedFiles(self.work.place, run=self.work.name, event_time=self.work.event_time)

    @guarded("write")
    def process(self, element: pa.RecordBatch) -> None:
        self.work.keep(element)
        self._files.write(element.drop_columns([POSITION]))

    @guarded("write")
    def finish_bundle(self) -> None:
        self.work.note(receipts=self._files.finish())

    def teardown(self) -> None:
        if hasattr(self, "_files"):
            self._files.abandon()

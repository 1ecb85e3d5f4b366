"""What a run adds up to: counts and receipts, gathered on the workers into one file that the launcher reads."""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import RunError
from ..transforms.failures import guarded
from ..transforms.tally import Tally, merge
from .sinks import Receipt

__all__ = ["READ", "READ_BYTES", "NoteOutcome", "Outcome", "read_outcome"]

READ = ("in",)
"""Key of the tally under which the reader counts every record, good or not."""
READ_BYTES = ("in_bytes",)
"""Key under which a reader of a stream counts the bytes of records in memory."""

NAME = "outcome.json"

FileSystems: Any = _FileSystems  # untyped in Beam


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts and receipts of a part of a run, or of all of it."""

    tally: Tally = field(default_factory=Tally)
    receipts: tuple[Receipt, ...] = ()


class NoteOutcome(beam.PTransform[Any, Any]):
    """Sums ``Outcome`` objects and writes the sum, once, to a folder that the launcher reads.

    A file and not the result of the pipeline, because that is the one way that all runners offer.

    Args:
        notes: Folder or URI.
    """

    def __init__(self, notes: str) -> None:
        super().__init__()
        self._notes = notes

    def expand(self, input_or_inputs: tuple[beam.PCollection[Tally], beam.PCollection[Receipt]]) -> Any:
        """Takes tallies and receipts."""
        tallies, receipts = input_or_inputs
        parts = (
            tallies | "Counts" >> beam.Map(_of_tally).with_output_types(Outcome),
            receipts | "Files" >> beam.Map(_of_receipt).with_output_types(Outcome),
        )
        total = parts | beam.Flatten() | "Sum" >> beam.CombineGlobally(_CombineOutcomes())
        return total | "Note" >> beam.ParDo(_NoteFn(self._notes))


def read_outcome(notes: str) -> Outcome:
    """Returns what ``NoteOutcome`` wrote.

    Raises:
        RunError: It is not there: workers wrote to a place that the launcher does not see.
    """
    try:
        with FileSystems.open(f"{notes}/{NAME}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
            document = json.loads(file.read())
    except Exception as error:  # noqa: BLE001 - each store has its own errors
        raise RunError(
            f"the workers left no account of the run ({type(error).__name__}): --out must be a place "
            "that the launcher and all workers share"
        ) from None
    tally = Tally({tuple(key): count for key, count in document["tally"]})
    receipts = (
        {**receipt, "reasons": {tuple(key): count for key, count in receipt["reasons"]}}
        for receipt in document["receipts"]
    )
    return Outcome(tally, tuple(Receipt(**receipt) for receipt in receipts))


def _of_tally(tally: Tally) -> Outcome:
    return Outcome(tally=tally)


def _of_receipt(receipt: Receipt) -> Outcome:
    return Outcome(receipts=(receipt,))


class _CombineOutcomes(beam.CombineFn):
    def create_accumulator(self, *args: Any, **kwargs: Any) -> Outcome:
        return Outcome()

    def add_input(self, mutable_accumulator: Outcome, element: Outcome, *args: Any, **kwargs: Any) -> Outcome:
        return _sum((mutable_accumulator, element))

    def merge_accumulators(self, accumulators: Iterable[Outcome], *args: Any, **kwargs: Any) -> Outcome:
        return _sum(tuple(accumulators))

    def extract_output(self, accumulator: Outcome, *args: Any, **kwargs: Any) -> Outcome:
        return accumulator


def _sum(parts: tuple[Outcome, ...]) -> Outcome:
    receipts = tuple(receipt for part in parts for receipt in part.receipts)
    return Outcome(merge(part.tally for part in parts), receipts)


class _NoteFn(beam.DoFn):
    def __init__(self, notes: str) -> None:
        super().__init__()
        self._notes = notes

    @guarded("note")
    def process(self, element: Outcome) -> None:
        receipts = [
            {**asdict(receipt), "reasons": [[list(key), count] for key, count in receipt.reasons.items()]}
            for receipt in element.receipts
        ]
        tally = [[list(key), count] for key, count in element.tally.counts.items()]
        target = f"{self._notes}/{NAME}"
        with FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(json.dumps({"tally": tally, "receipts": receipts}).encode())

"""The whole protection as one transform, for pipelines of one's own.

``rows | ProtectRecords("consentry.yaml", "orders")`` is all there is to it; ``ProtectDicts`` takes dicts instead of
record batches, at the price of building batches from them.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa

from ..schemas.consent import parse_instant
from ..schemas.dataset import EACH
from ..schemas.errors import ConfigError
from ..schemas.policy_file import read_policy
from ..schemas.project import Project, read_project
from ..schemas.record_columns import RESERVED_PREFIX
from .consent_decision import Decide
from .failures import guarded
from .outputs import StageOutputs, refusals, stage_outputs
from .plain_layouts import python_values
from .protection import Protect
from .protection_plan import check_dataset_columns
from .stage import SharedStage, StageConfig, StageFn, settle_stage
from .tally import CombineTallies, Tally

__all__ = ["ProtectDicts", "ProtectRecords", "ProtectedDicts", "ProtectedRecords", "UnusableRecord", "batches_of"]

BATCH_ROWS = 2000
MAX_DEPTH = 64
MAX_BITS = 14_000
"""Python spells no whole number of more than some 4300 digits."""

Fits = Callable[[pa.Schema], bool]
Steps = tuple[Any, ...]


class ProtectedRecords(NamedTuple):
    """What leaves ``ProtectRecords``.

    Attributes:
        rows: Protected record batches.
        dead_letters: Record batches of ``schemas.dead_letter.DEAD_LETTER_SCHEMA``, sealed.
        tally: One ``Tally``, the sum over all.
    """

    rows: beam.PCollection[pa.RecordBatch]
    dead_letters: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Tally]


class ProtectedDicts(NamedTuple):
    """What leaves ``ProtectDicts``: as ``ProtectedRecords``, with rows as dicts."""

    rows: beam.PCollection[dict[str, Any]]
    dead_letters: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Tally]


class ProtectRecords(beam.PTransform[pa.RecordBatch, ProtectedRecords]):
    """Decides about and protects record batches, and vaults what may be vaulted.

    Args:
        project: ``consentry.yaml``, as a path or as read.
        dataset: Name of the dataset in the policy.
        at: The run's instant, in microseconds UTC or as RFC 3339 text; default is when the pipeline is built.
        with_vault: Whether permitted raw values are vaulted.

    Raises:
        PrivacyError: When the pipeline is built: project, policy, keyring or ledger cannot be used.
    """

    def __init__(
        self, project: Project | Path | str, dataset: str, at: int | str | None = None, *, with_vault: bool = True
    ) -> None:
        super().__init__()
        self._shared = _shared_stage(project, dataset, at, with_vault)

    def expand(self, input_or_inputs: beam.PCollection[pa.RecordBatch]) -> ProtectedRecords:
        """Returns rows, dead letters and tally."""
        return _protected(input_or_inputs, self._shared)


class ProtectDicts(beam.PTransform[dict[str, Any], ProtectedDicts]):
    """The same for dicts, whose schema is inferred batch by batch; what fits no schema becomes a dead letter.

    Whole numbers beyond 64 bits are taken as their digits where the other dicts of a batch have text.

    Args:
        project: As for ``ProtectRecords``.
        dataset: As for ``ProtectRecords``.
        at: As for ``ProtectRecords``.
        with_vault: As for ``ProtectRecords``.
    """

    def __init__(
        self, project: Project | Path | str, dataset: str, at: int | str | None = None, *, with_vault: bool = True
    ) -> None:
        super().__init__()
        self._shared = _shared_stage(project, dataset, at, with_vault)

    @property
    def config(self) -> StageConfig:
        """What the transform has settled on."""
        return self._shared.config

    def expand(self, input_or_inputs: beam.PCollection[dict[str, Any]]) -> ProtectedDicts:
        """Returns rows as dicts, dead letters and tally."""
        lists = input_or_inputs | "Gather" >> beam.BatchElements(min_batch_size=BATCH_ROWS, max_batch_size=BATCH_ROWS)
        built = stage_outputs(lists, "BuildBatches", _BuildFn(self._shared))
        protected = _protected(built.rows, self._shared, built)
        rows = protected.rows | "ToDicts" >> beam.ParDo(_ToDictsFn()).with_output_types(dict[str, Any])
        return ProtectedDicts(rows=rows, dead_letters=protected.dead_letters, tally=protected.tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableRecord:
    """A record that no Arrow schema holds; see ``dead_letters.LineOfSource``."""

    reason: str
    raw: bytes = b""
    parsed: dict[str, Any] | None = None
    position: int | None = None


def batches_of(
    records: Sequence[Any], fits: Fits = lambda schema: True
) -> tuple[list[pa.RecordBatch], list[UnusableRecord]]:
    """Returns dicts as record batches, and what cannot be one.

    Records that contradict each other in a type are told apart by halving: each half gets a schema of its own, and a
    single record that contradicts itself is unusable. A whole number beyond 64 bits is taken as its digits where most
    of the records have text, as the reader of JSON does it.

    Args:
        records: Dicts, and whatever else came.
        fits: Whether batches of a schema can be protected at all.
    """
    if not records:
        return [], []
    if (batch := _batch_of(records, fits)) is not None:
        return [batch], []
    texts = _text_places(records)
    parts = list(_halved([_with_digits(record, texts) for record in records], fits))
    batches = [part for part in parts if isinstance(part, pa.RecordBatch)]
    return batches, [_unusable(records[part]) for part in parts if isinstance(part, int)]


def _halved(records: Sequence[Any], fits: Fits, first: int = 0) -> Iterator[pa.RecordBatch | int]:
    """Yields batches, and the places of records that no batch takes, counted from ``first``."""
    batch = _batch_of(records, fits)
    if batch is not None:
        yield batch
    elif len(records) == 1:
        yield first
    else:
        middle = len(records) // 2
        yield from _halved(records[:middle], fits, first)
        yield from _halved(records[middle:], fits, first + middle)


def _batch_of(records: Sequence[Any], fits: Fits) -> pa.RecordBatch | None:
    try:
        if all(isinstance(record, dict) for record in records):
            rows = pa.array(records)
            if pa.types.is_struct(rows.type) and rows.type.num_fields:
                batch = _unreserved(pa.RecordBatch.from_struct_array(rows))
                return batch if fits(batch.schema) else None
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    return None


def _text_places(records: Sequence[Any]) -> frozenset[Steps]:
    """Returns the places that hold text in most of the records that have a value there; among equals the first wins."""
    balance: dict[Steps, float] = {}

    def count(value: Any, place: Steps) -> None:
        if isinstance(value, dict | list) and len(place) < MAX_DEPTH:
            for step, child in value.items() if isinstance(value, dict) else ((EACH, each) for each in value):
                count(child, (*place, step))
        elif value is not None:
            vote = 1 if isinstance(value, str) else -1
            balance[place] = balance.get(place, vote / 2) + vote

    for record in records:
        count(record, ())
    return frozenset(place for place, votes in balance.items() if votes > 0)


def _with_digits(value: Any, texts: frozenset[Steps], place: Steps = ()) -> Any:
    """Returns a record with the digits of its long whole numbers at the places of text."""
    if isinstance(value, dict) and len(place) < MAX_DEPTH:
        return {step: _with_digits(child, texts, (*place, step)) for step, child in value.items()}
    if isinstance(value, list) and len(place) < MAX_DEPTH:
        return [_with_digits(child, texts, (*place, EACH)) for child in value]
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**63
    return str(value) if is_long and value.bit_length() < MAX_BITS and place in texts else value


def _unusable(record: Any) -> UnusableRecord:
    if isinstance(record, dict) and all(isinstance(name, str) for name in record):
        return UnusableRecord(reason="wrong_type" if record else "nothing_declared", parsed=record)
    return UnusableRecord(reason="not_an_object", raw=json.dumps(str(record)).encode())


class _BuildFn(StageFn):
    @guarded("build")
    def process(self, element: Sequence[Any]) -> Iterator[Any]:
        batches, unusable = batches_of(element, self._fits)
        yield from batches
        if unusable:
            yield from refusals(self.stage.sealer.seal_lines(unusable, None, stage="build"))

    def _fits(self, schema: pa.Schema) -> bool:
        try:
            check_dataset_columns(schema, self.stage.dataset, self.stage.config.dataset)
        except ConfigError:
            return False
        return True


class _ToDictsFn(beam.DoFn):
    @guarded("to dicts")
    def process(self, element: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        columns = [python_values(column) for column in element.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(element.schema.names, values, strict=True))


def _unreserved(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch without columns that only the pipeline itself may add."""
    names = [name for name in batch.schema.names if not name.startswith(RESERVED_PREFIX)]
    return batch if len(names) == batch.num_columns else batch.select(names)


def _shared_stage(project: Project | Path | str, dataset: str, at: int | str | None, with_vault: bool) -> SharedStage:
    read = project if isinstance(project, Project) else read_project(Path(project))
    started = time.time_ns() // 1000
    now = started if at is None else parse_instant(at) if isinstance(at, str) else at
    policy = read_policy(read.policy)
    return SharedStage(settle_stage(read, policy, dataset, now=now, with_vault=with_vault, started_at=started))


def _protected(
    batches: beam.PCollection[pa.RecordBatch], shared: SharedStage, *before: StageOutputs
) -> ProtectedRecords:
    decided = batches | "Decide" >> Decide(shared)
    protected = decided.rows | "Protect" >> Protect(shared)
    stages = (*before, decided, protected)
    letters = tuple(stage.dead_letters for stage in stages) | "DeadLetters" >> beam.Flatten()
    tallies = tuple(stage.tally for stage in stages) | "Tallies" >> beam.Flatten()
    total = tallies | "Sum" >> beam.CombineGlobally(CombineTallies()).without_defaults()
    return ProtectedRecords(rows=protected.rows, dead_letters=letters, tally=total)

"""Asks the consent ledger about each row, as of the row's event time and now, and notes the answers beside it.

``decide_batch`` is the whole logic; it drops nothing by itself, only sets rows aside whose event time cannot be read.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.consent import parse_instant
from ..schemas.dataset import Dataset
from ..schemas.info_types import Basis
from ..schemas.policy import Policy
from ..schemas.record_columns import EVENT_TIME, POSITION, RESERVED_PREFIX, SUBJECT, permits_column
from .crypto.subject_references import REFERENCE_BYTES, subject_references
from .dead_letters import Rejected
from .failures import guarded
from .nested_columns import column_at, numpy_bools
from .outputs import StageOutputs, refusals, stage_outputs
from .plain_layouts import plain_batch
from .protection_plan import check_dataset_columns
from .stage import StageFn, StageOpener

__all__ = ["Decide", "Decided", "Permissions", "decide_batch", "decisions", "event_times", "with_decisions"]

STAGE = "decide"
EVENT_TIME_INVALID = "event_time_invalid"
Bools = np.ndarray[Any, np.dtype[np.bool_]]

INSTANTS = pa.timestamp("us", "UTC")
EARLIEST, LATEST = parse_instant("0001-01-01T00:00:00Z"), parse_instant("9999-12-31T23:59:59.999999Z")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# What Arrow's own parser reads as parse_instant does; the rest goes there, value by value.
_COMMON = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"


class Permissions(Protocol):
    """The one permission rule, over columns: what a ``ConsentSnapshot`` answers."""

    def locate(self, refs: pa.FixedSizeBinaryArray) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Finds the subjects."""
        ...

    def permits_record(
        self,
        purpose: str,
        basis: Basis,
        located: np.ndarray[Any, np.dtype[np.int64]],
        event_time: np.ndarray[Any, np.dtype[np.int64]],
        has_time: np.ndarray[Any, np.dtype[np.bool_]],
        now: int,
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tells whether a purpose permits, at event time and now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A batch with its decisions, and the rows set aside (None: none)."""

    batch: pa.RecordBatch
    rejected: Rejected | None


def decide_batch(
    batch: pa.RecordBatch,
    dataset: Dataset,
    policy: Policy,
    snapshot: Permissions,
    reference_key: bytes,
    now: int,
    *,
    purposes: Sequence[str] | None = None,
) -> Decided:
    """Returns the batch with a subject reference, an event time and a decision for each purpose beside every row.

    Args:
        batch: Any schema that ``check_dataset_columns`` accepts; a missing subject or event time permits nothing.
        dataset: Says where subject and event time are.
        policy: Says what basis a purpose has.
        snapshot: The ledger, as of one position.
        reference_key: 32 bytes that key the references.
        now: Microseconds UTC, one instant for the whole run.
        purposes: Those to ask for; default is all of the policy.

    Returns:
        The columns of ``schemas.record_columns`` are added. Rows whose event time is text but no instant with an
        offset are set aside with reason ``event_time_invalid``.
    """
    batch = plain_batch(_unforged(batch))
    rows = batch.num_rows
    subject = column_at(batch, dataset.subject)
    refs = pa.nulls(rows, pa.binary(REFERENCE_BYTES)) if subject is None else subject_references(subject, reference_key)
    times, unreadable = event_times(column_at(batch, dataset.event_time), rows)
    asked = tuple(policy.purposes) if purposes is None else purposes
    permits = decisions(refs, times, policy, snapshot, now, purposes=asked)
    decided = with_decisions(batch, refs, times, permits)
    if not unreadable.any():
        return Decided(batch=decided, rejected=None)
    bad = decided.filter(pa.array(unreadable))
    rejected = Rejected(rows=bad, stage=STAGE, reasons=(EVENT_TIME_INVALID,) * bad.num_rows)
    return Decided(batch=decided.filter(pa.array(~unreadable)), rejected=rejected)


def decisions(
    refs: pa.FixedSizeBinaryArray,
    times: pa.TimestampArray,
    policy: Policy,
    snapshot: Permissions,
    now: int,
    *,
    purposes: Sequence[str],
) -> dict[str, Bools]:
    """Returns for each purpose which records it permits, at their event times and now.

    Args:
        refs: Subject references, null where a record names nobody.
        times: Event times, null where there is none.
        policy: Says what basis a purpose has.
        snapshot: The ledger, as of one position.
        now: Microseconds UTC.
        purposes: Those to ask for.
    """
    located = snapshot.locate(refs)
    has_time = numpy_bools(times.is_valid())
    instants = pc.fill_null(times.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return {
        purpose: snapshot.permits_record(purpose, policy.basis(purpose), located, instants, has_time, now)
        for purpose in purposes
    }


def with_decisions(
    batch: pa.RecordBatch, refs: pa.FixedSizeBinaryArray, times: pa.TimestampArray, permits: Mapping[str, Bools]
) -> pa.RecordBatch:
    """Returns a batch with subject references, event times and decisions beside every row."""
    names = [SUBJECT, EVENT_TIME, *map(permits_column, permits)]
    columns = [refs, times, *(pa.array(each, pa.bool_()) for each in permits.values())]
    fields = [*batch.schema, *(pa.field(name, column.type) for name, column in zip(names, columns, strict=True))]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=pa.schema(fields, batch.schema.metadata))


def _unforged(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the batch without reserved columns of the input's own, which could claim a permission."""
    names = batch.schema.names
    forged = [name for name in names if name.startswith(RESERVED_PREFIX) and name != POSITION]
    if not forged:
        return batch
    return batch.select([name for name in names if name not in forged])


def event_times(column: pa.Array | None, rows: int) -> tuple[pa.TimestampArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Returns event times as ``timestamp[us, UTC]``, null where there is none, and which values cannot be read.

    Args:
        column: Instants with a time zone, RFC 3339 text, null type, or None.
        rows: Length of the result.
    """
    readable = np.zeros(rows, np.bool_)
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(rows, INSTANTS), readable
    if pa.types.is_timestamp(column.type):
        return _microseconds(column)
    text = column.cast(pa.string())
    common = numpy_bools(pc.match_substring_regex(text, _COMMON))
    missing = numpy_bools(text.is_null())
    try:
        times = pc.if_else(pa.array(common), text, pa.scalar(None, pa.string())).cast(INSTANTS)
    except pa.ArrowInvalid:
        common = np.zeros(rows, np.bool_)
        times = pa.nulls(rows, INSTANTS)
    # Arrow reads years that are outside of the calendar, and offsets that there are not.
    common &= ~_outside(pc.fill_null(times.cast(pa.int64()), 0).to_numpy(zero_copy_only=False))
    odd = ~common & ~missing
    if not odd.any():
        return times, readable
    read = [_read(value) for value in text.filter(pa.array(odd)).to_pylist()]
    times = pc.replace_with_mask(times, pa.array(odd), pa.array(read, pa.int64()).cast(INSTANTS))
    return times, odd & numpy_bools(times.is_null())


def _microseconds(column: pa.TimestampArray) -> tuple[pa.TimestampArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Returns instants in microseconds, cut downwards, and which are outside of the calendar."""
    ticks = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    unit = PER_SECOND[column.type.unit]
    if unit > PER_SECOND["us"]:
        instants = ticks // (unit // PER_SECOND["us"])
        outside = _outside(instants)
    else:
        factor = PER_SECOND["us"] // unit
        outside = (ticks < EARLIEST // factor) | (ticks > LATEST // factor)
        instants = np.where(outside, 0, ticks) * factor
    missing = numpy_bools(column.is_null())
    return pa.array(instants, pa.int64(), mask=missing | outside).cast(INSTANTS), outside & ~missing


def _outside(instants: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray((instants < EARLIEST) | (instants > LATEST))


def _read(text: str) -> int | None:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        return None


class Decide(beam.PTransform[pa.RecordBatch, StageOutputs]):
    """Adds the decisions to batches; rows whose event time cannot be read become dead letters.

    Args:
        shared: Opened in ``setup``; all steps of a pipeline take the same one.
    """

    def __init__(self, shared: StageOpener) -> None:
        super().__init__()
        self._shared = shared

    def expand(self, input_or_inputs: beam.PCollection[pa.RecordBatch]) -> StageOutputs:
        """Returns decided batches, sealed dead letters and tallies."""
        return stage_outputs(input_or_inputs, "DecideBatch", _DecideFn(self._shared))


class _DecideFn(StageFn):
    @guarded(STAGE)
    def process(self, element: pa.RecordBatch) -> Iterator[Any]:
        stage = self.stage
        check_dataset_columns(element.schema, stage.dataset, stage.config.dataset)
        decided = decide_batch(
            element,
            stage.dataset,
            stage.config.policy,
            stage.snapshot,
            stage.reference_key,
            stage.config.now,
            purposes=stage.purposes,
        )
        if decided.rejected is not None:
            yield from refusals(stage.sealer.seal_rejected(decided.rejected))
        if decided.batch.num_rows:
            yield decided.batch

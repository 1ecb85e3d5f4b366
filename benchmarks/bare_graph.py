"""The unbounded graph without protection: the same ticks, lanes, shards, states and files; messages pass as they are.

For figures only: what it writes is raw. It parses each message once, in the shard, into the columns of the files; it
asks for no consent, and has no keys and no vault.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from consentry.pipelines.engines import graph
from consentry.pipelines.engines.graph import GraphOptions
from consentry.pipelines.engines.intake import TakenIn
from consentry.pipelines.engines.lanes import OrderLane
from consentry.pipelines.engines.settlement import Settled
from consentry.pipelines.engines.shard import Shard
from consentry.pipelines.outcome import READ
from consentry.pipelines.streams.json_messages import JsonMessages
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.sealed_record import SEALED_RECORD_SCHEMA
from consentry.transforms.consent_join import Decidable
from consentry.transforms.stage import SharedStage
from consentry.transforms.tally import Tally

__all__ = ["BareIntake", "BareSettlement", "PassUnbounded"]


class BareIntake:
    """In place of an ``Intake``: a message waits as it is, of nobody."""

    def take(self, messages: Messages, *, read_at: int) -> TakenIn:
        """Returns messages as records."""
        count = len(messages.values)
        columns = [
            pa.array([messages.partition] * count, pa.string()),
            pa.array(messages.offsets, pa.int64()),
            pa.nulls(count, pa.binary(16)),
            pa.nulls(count, pa.timestamp("us", "UTC")),
            pa.array([read_at] * count, pa.int64()),
            pa.nulls(count, pa.string()),
            pa.array([value or b"" for value in messages.values], pa.binary()),
            pa.array([[]] * count, pa.list_(pa.binary())),
        ]
        return TakenIn(pa.RecordBatch.from_arrays(columns, schema=SEALED_RECORD_SCHEMA), ())


class BareSettlement:
    """In place of a ``Settlement``: messages become rows."""

    def __init__(self) -> None:
        self._reader = JsonMessages(pa.schema([]))

    @property
    def columns(self) -> pa.Schema:
        """Those that it knows by now."""
        return self._reader.columns

    def settle(self, decidable: Sequence[Decidable], given_up: Sequence[pa.RecordBatch], *, clock: int) -> Settled:
        """Returns the rows of messages."""
        del given_up, clock
        records = (
            pa.concat_batches([each.records for each in decidable]) if decidable else SEALED_RECORD_SCHEMA.empty_table()
        )
        rows: list[pa.RecordBatch] = []
        partitions = np.array(records["partition"].to_pylist(), object)
        offsets, values = records["offset"].to_numpy(), np.array(records["rest"].to_pylist(), object)
        for partition in dict.fromkeys(partitions.tolist()):
            own = np.flatnonzero(partitions == partition)
            own = own[np.argsort(offsets[own], kind="stable")]
            for read in self._reader.read(Messages(partition, values[own].tolist(), offsets[own])):
                rows.append(read.batch)
        tally = Tally({READ: len(offsets), ("rows", "token_only"): len(offsets)})
        return Settled(rows=tuple(rows), letters=(), tally=tally)


class PassUnbounded(beam.PTransform[Any, Any]):
    """In place of ``ProtectUnbounded``: all of it but the protection."""

    def __init__(self, shared: SharedStage, options: GraphOptions) -> None:
        super().__init__()
        self._shared = shared
        self._options = options

    def expand(self, input_or_inputs: Any) -> Any:
        """Takes ticks."""
        options, shared, ticks = self._options, self._shared, input_or_inputs
        orders = (
            ticks
            | "TickOrders" >> beam.FlatMap(graph._for_each, options.lanes).with_output_types(graph.Keyed)
            | "Orders" >> beam.ParDo(_BareOrdersFn(shared, options)).with_output_types(graph.Keyed)
        )
        consents = (
            ticks
            | "TickConsents" >> beam.FlatMap(graph._for_each, 1).with_output_types(graph.Keyed)
            | "Consents" >> beam.ParDo(graph._ConsentsFn(shared, options)).with_output_types(graph.Keyed)
        )
        joined = (orders, consents) | "Shards" >> beam.Flatten()
        return joined | "Pass" >> beam.ParDo(_BareShardFn(shared, options)).with_output_types(bytes)


class _BareOrdersFn(graph._OrdersFn):
    def _lane(self, number: int) -> OrderLane:
        lane = super()._lane(number)
        lane._intake = BareIntake()  # type: ignore[assignment]
        return lane


class _BareShardFn(graph.ShardFn):
    def _shard(self, number: int) -> Shard:
        shard = super()._shard(number)
        shard._settlement = shard._settlement or BareSettlement()  # type: ignore[assignment]
        return shard

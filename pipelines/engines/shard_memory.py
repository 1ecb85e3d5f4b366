"""A shard's state as an engine keeps it: a small head that every element reads, and a bag that only a step reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from ...transforms.consent_join import NOTHING_KNOWN, Watermark
from .shard import ShardLimits, ShardState
from .wire import Kind, Parcel, batch_of, bytes_of

__all__ = ["ShardMemory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMemory:
    """What an engine keeps of a shard.

    Attributes:
        number: Of the next publication.
        lot: Of the last one.
        published_at: When the last one was, microseconds UTC.
        watermark: The newest that a step has seen.
        columns: Of records, as far as the dataset declares them.
        waiting: Records and letters in the bag.
        since: When the first of them came, microseconds UTC.
        done: By partition, what an earlier launch has published of records.
        done_letters: Likewise, of letters.
        parcels: The bag, as a step leaves it.
    """

    number: int = 0
    lot: str = ""
    published_at: int = 0
    watermark: Watermark = NOTHING_KNOWN
    columns: pa.Schema = field(default_factory=lambda: pa.schema([]))
    waiting: int = 0
    since: int = 0
    done: Mapping[str, int] = field(default_factory=dict)
    done_letters: Mapping[str, int] = field(default_factory=dict)
    parcels: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, state: ShardState) -> ShardMemory:
        """Returns what to keep of a state."""
        parcels = [Parcel(Kind.RECORDS, each.num_rows, bytes_of(each)) for each in state.records]
        parcels += [Parcel(Kind.LETTERS, each.num_rows, bytes_of(each)) for each in state.letters]
        return cls(
            number=state.number,
            lot=state.lot,
            published_at=state.published_at,
            watermark=state.watermark,
            columns=state.columns,
            waiting=sum(parcel.rows for parcel in parcels),
            since=min((each["read_at"][0].as_py() for each in state.records), default=state.published_at),
            done=state.done,
            done_letters=state.done_letters,
            parcels=tuple(parcel.packed() for parcel in parcels),
        )

    def state(self, bag: Iterable[bytes]) -> ShardState:
        """Returns the state of the shard, given the bag."""
        parcels = [Parcel.unpacked(element) for element in bag]
        return ShardState(
            number=self.number,
            lot=self.lot,
            published_at=self.published_at,
            watermark=self.watermark,
            columns=self.columns,
            records=tuple(batch_of(each.body) for each in parcels if each.kind is Kind.RECORDS),
            letters=tuple(batch_of(each.body) for each in parcels if each.kind is Kind.LETTERS),
            done=self.done,
            done_letters=self.done_letters,
        )

    def with_waiting(self, rows: int, *, now: int) -> ShardMemory:
        """Returns it with more in the bag."""
        return replace(self, waiting=self.waiting + rows, since=self.since if self.waiting else now)

    def due(self, watermark: Watermark, limits: ShardLimits) -> bool:
        """Returns whether a watermark makes it worth to read the bag."""
        if not self.waiting:
            return False
        return self.waiting >= limits.most or watermark.instant - self.published_at >= limits.latency

    def overdue(self, limits: ShardLimits, *, now: int) -> bool:
        """Returns whether what is in the bag has waited in vain."""
        return self.waiting > 0 and now - self.since > limits.join.wait + limits.join.patience

    def packed(self) -> bytes:
        """Returns it as bytes, without the bag."""
        document = {
            "number": self.number,
            "lot": self.lot,
            "published_at": self.published_at,
            "watermark": list(self.watermark),
            "columns": base64.b64encode(self.columns.serialize().to_pybytes()).decode("ascii"),
            "waiting": self.waiting,
            "since": self.since,
            "done": dict(self.done),
            "done_letters": dict(self.done_letters),
        }
        return json.dumps(document).encode()

    @classmethod
    def read(cls, packed: bytes | None) -> ShardMemory:
        """Returns what ``packed`` gave; None: a shard that remembers nothing."""
        if packed is None:
            return cls()
        document = json.loads(packed)
        columns = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document.pop("columns"))))
        watermark = Watermark(*document.pop("watermark"))
        return cls(columns=columns, watermark=watermark, **document)

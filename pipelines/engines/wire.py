"""What travels between the steps of a graph, and lies in its states: kinds and Arrow bytes, all of it sealed."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import pyarrow as pa

from ...transforms.consent_join import Watermark

__all__ = ["Kind", "Parcel", "batch_of", "bytes_of", "watermark_of", "watermark_parcel"]


class Kind(Enum):
    """What a parcel holds; its value is the first byte."""

    RECORDS = b"r"
    LETTERS = b"l"
    WATERMARK = b"w"


class Parcel(NamedTuple):
    """One element between two steps.

    Attributes:
        kind: Of its contents.
        rows: Records or letters in it.
        body: An Arrow stream of one batch, or a watermark.
    """

    kind: Kind
    rows: int
    body: bytes

    def packed(self) -> bytes:
        """Returns it as an element of a graph."""
        return self.kind.value + self.rows.to_bytes(4, "big") + self.body

    @classmethod
    def unpacked(cls, element: bytes) -> Parcel:
        """Returns what ``packed`` gave."""
        return cls(Kind(element[:1]), int.from_bytes(element[1:5], "big"), element[5:])


def bytes_of(batch: pa.RecordBatch) -> bytes:
    """Returns a batch as an Arrow stream, alone: of a slice, its own rows only."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch_of(body: bytes) -> pa.RecordBatch:
    """Returns what ``bytes_of`` gave."""
    with pa.ipc.open_stream(body) as reader:
        batch: pa.RecordBatch = reader.read_next_batch()
    return batch


def watermark_parcel(watermark: Watermark) -> Parcel:
    """Returns a watermark as a parcel: two numbers."""
    return Parcel(Kind.WATERMARK, 0, f"{watermark.instant} {watermark.position}".encode())


def watermark_of(body: bytes) -> Watermark:
    """Returns the watermark of a parcel."""
    instant, position = body.split()
    return Watermark(int(instant), int(position))

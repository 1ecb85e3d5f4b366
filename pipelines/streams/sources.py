"""What a stream reads from: partitions in which every record has an offset, and the same one each time it is read.

A source does not know what was processed. The journal of a stream does, and asks it for parts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
import pyarrow as pa

from ...schemas.errors import SecretError
from ...schemas.record_columns import POSITION
from ...transforms.plain_layouts import python_values
from ..splits import ReadBatch, RejectedLine

__all__ = ["WRONG_TYPE", "Messages", "Offsets", "Part", "StreamSource", "Taken", "lane_of", "refused", "shared_parts"]

WRONG_TYPE = "wrong_type"

Offsets = Mapping[str, int]
"""By partition, the offset behind the last record of it that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of one partition.

    Attributes:
        partition: Its name, ``orders/3``; told in dead letters.
        start: First offset.
        end: Behind the last offset. Some in between may never have been given to a record.
    """

    partition: str
    start: int
    end: int


class Messages(NamedTuple):
    """Raw messages of one partition, in order; never an element of a pipeline.

    Attributes:
        partition: Name of the partition.
        values: Their bytes; None where a message has none.
        offsets: ``int64 (n,)``, ascending.
    """

    partition: str
    values: Sequence[bytes | None]
    offsets: np.ndarray[Any, np.dtype[np.int64]]

    def __repr__(self) -> str:
        return f"<Messages: {len(self.values)} of {self.partition}; values hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("messages hold raw values and cannot be copied")


class Taken(NamedTuple):
    """What an epoch is to read: parts, and how much is left behind them, in offsets."""

    parts: tuple[Part, ...]
    lag: int


class StreamSource(Protocol):
    """Where records come from; shared by the threads of a process."""

    @property
    def name(self) -> str:
        """What people call it, without hosts and secrets: ``kafka:orders``."""
        ...

    def take(self, done: Offsets, most: int) -> Taken:
        """Returns what to read next.

        Args:
            done: What is processed, by partition; a partition that is not in it begins where the source says.
            most: Records that are wanted at most; a source whose parts cannot be cut gives whole ones.

        Raises:
            RunError: The source cannot be reached.
        """
        ...

    def know(self, columns: pa.Schema) -> None:
        """Has all lanes begin with some columns."""
        ...

    def learned(self) -> tuple[pa.Schema, bool]:
        """Returns the columns that are known now, and whether all lanes agree about them."""
        ...

    def read(self, lane: int, parts: Sequence[Part]) -> Iterator[ReadBatch]:
        """Yields the records of some parts, and what could not become one.

        Args:
            lane: Number of the thread; a partition is always read in one lane.
            parts: Of different partitions.

        Raises:
            RunError: The source cannot be reached, or no longer has a part of it.
        """
        ...

    def commit(self, offsets: Offsets) -> None:
        """Tells the source what is processed, for whoever watches its lag."""
        ...

    def close(self) -> None:
        """Lets go of the source."""
        ...


def lane_of(partition: str, lanes: int) -> int:
    """Returns the lane that a partition is read in, the same one each time; numbered ones are spread evenly.

    >>> [lane_of(f"orders/{number}", 2) for number in range(4)]
    [0, 1, 0, 1]
    """
    number = partition.rpartition("/")[2]
    return (int(number) if number.isdecimal() else zlib.crc32(partition.encode())) % lanes


def refused(read: ReadBatch, reason: str) -> ReadBatch:
    """Returns what was read without rows: they are records that nobody can use.

    Args:
        read: Rows, and what could not become one.
        reason: Stable code, for the rows.
    """
    columns = {name: python_values(read.batch.column(name)) for name in read.batch.schema.names}
    positions = columns.pop(POSITION)
    records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    lines = [
        RejectedLine(position=position, reason=reason, raw=b"", parsed=record)
        for position, record in zip(positions, records or [{}] * len(positions), strict=True)
    ]
    return ReadBatch(batch=read.batch.slice(0, 0), rejected=(*read.rejected, *lines))


def shared_parts(starts: Offsets, waiting: Mapping[str, int], most: int | None = None) -> tuple[Part, ...]:
    """Returns what to read of each partition with something new, of each its share where it is too much.

    Args:
        starts: Where each begins.
        waiting: Offsets behind that; a negative number is read, and then refused, as a topic that lost its end.
        most: Offsets altogether; None: all.
    """
    total = sum(count for count in waiting.values() if count > 0)
    share = 1.0 if most is None or total <= most else most / total
    taken = {partition: _share(count, share) for partition, count in sorted(waiting.items()) if count}
    return tuple(
        Part(partition=partition, start=starts[partition], end=starts[partition] + count)
        for partition, count in taken.items()
    )


def _share(count: int, share: float) -> int:
    return count if share == 1 or count < 0 else max(1, int(count * share))

"""What a stream reads from: partitions in which every record has an offset, and the same one each time it is read.

A source does not know what was processed. The journal of a stream does, and asks it for parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from ...schemas.errors import SecretError
from ..splits import ReadBatch

__all__ = ["Messages", "Offsets", "Part", "StreamSource"]

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


class StreamSource(Protocol):
    """Where records come from; shared by the threads of a process."""

    @property
    def name(self) -> str:
        """What people call it, without hosts and secrets: ``kafka:orders``."""
        ...

    def first(self) -> Offsets:
        """Returns where a stream begins that has processed nothing yet.

        Raises:
            RunError: The source cannot be reached.
        """
        ...

    def ends(self) -> Offsets:
        """Returns the offset behind the newest record of each partition, as of now.

        Raises:
            RunError: The source cannot be reached.
        """
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

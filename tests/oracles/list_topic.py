"""A topic in memory, for tests of what stands above brokers; tests of brokers use real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from consentry.pipelines.streams.sources import Messages, Part
from consentry.schemas.errors import RecordsGoneError, RunError


class ListTopic:
    """Partitions that grow."""

    def __init__(self, name: str, partitions: int = 1) -> None:
        self.name = f"kafka:{name}"
        self._partitions: dict[str, list[bytes | None]] = {f"{name}/{number}": [] for number in range(partitions)}
        self.committed: dict[str, int] = {}
        self.broken = False

    def put(self, *messages: Mapping[str, Any] | bytes | None, partition: int = 0) -> None:
        """Appends messages to a partition."""
        values = list(self._partitions.values())[partition]
        values += [json.dumps(each).encode() if isinstance(each, Mapping) else each for each in messages]

    def first(self) -> Mapping[str, int]:
        return dict.fromkeys(self._partitions, 0)

    def ends(self, done: Mapping[str, int]) -> Mapping[str, int]:
        if self.broken:
            raise RunError("the broker is gone; see to it")
        return {name: len(values) for name, values in self._partitions.items()}

    def messages(self, lane: int, parts: Sequence[Part]) -> Iterator[Messages]:
        for part in parts:
            values = self._partitions[part.partition][part.start : part.end]
            if len(values) != part.end - part.start:
                raise RecordsGoneError("the topic has lost its end")
            for start in range(0, len(values), 100):
                some = values[start : start + 100]
                offsets = np.arange(part.start + start, part.start + start + len(some))
                yield Messages(part.partition, some, offsets)

    def commit(self, offsets: Mapping[str, int]) -> None:
        self.committed.update(offsets)

    def close(self) -> None:
        pass

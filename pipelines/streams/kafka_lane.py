"""Reads some partitions of a Kafka topic, ahead of what is asked for, by one consumer that stays open."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...schemas.errors import RecordsGoneError, RunError
from .kafka_place import KafkaPlace, consumer_of
from .sources import Part

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["KafkaLane"]

BATCH = 10_000
"""Messages that are asked for at once."""
POLL_SECONDS = 0.1
MOST_AHEAD = 64 << 20
"""Bytes of messages that a lane may read ahead; from there on only those that are asked for are fetched."""


class KafkaLane:
    """One consumer, which reads ahead of what it is asked for; used by one thread at a time.

    Args:
        place: Of the topic.
        patience: Seconds without any message before the broker is given up.
    """

    def __init__(self, place: KafkaPlace, patience: float) -> None:
        self._place = place
        self._patience = patience
        self._consumer = consumer_of(place)
        self._read_to: dict[int, int] = {}
        self._fetched_to: dict[int, int] = {}
        self._ahead: dict[int, _Fetched] = defaultdict(_Fetched)
        self._ahead_bytes = 0
        self._paused: list[int] = []

    def close(self) -> None:
        """Closes the consumer."""
        self._consumer.close()

    def read(self, wanted: Mapping[int, Part]) -> Iterator[tuple[int, list[bytes | None], Any]]:
        """Yields partition, values and offsets of the messages of some parts; each partition's in order."""
        self._go_to({number: part.start for number, part in wanted.items()})
        left = {number: part.end for number, part in wanted.items() if part.end > part.start}
        for number in left:
            del self._read_to[number]  # until the part is read whole, nobody knows what was given
        waited = 0.0
        while left:
            yield from self._given(left)
            for number in [number for number, end in left.items() if self._is_whole(number, end)]:
                self._read_to[number] = left.pop(number)
            if not left:
                return
            self._pause(left)
            began = time.monotonic()
            waited = 0.0 if self._consume() else waited + time.monotonic() - began
            if waited > self._patience:
                raise RunError(f"kafka:{self._place.topic}: nothing came for {self._patience:g} s; see to the broker")

    def peek(self, starts: Mapping[int, int]) -> Mapping[int, int]:
        """Takes in what was fetched from some offsets on, and returns how far that is, by partition."""
        self._go_to(starts)
        if self._ahead_bytes < MOST_AHEAD:
            self._consume(0)
        return {number: self._fetched_to[number] for number in starts}

    def _pause(self, left: Mapping[int, int]) -> None:
        """Stops fetching what is not asked for, while there is too much of it."""
        from confluent_kafka import TopicPartition

        full = self._ahead_bytes >= MOST_AHEAD
        paused = [number for number in self._fetched_to if full and number not in left]
        for call, numbers in ((self._consumer.resume, self._paused), (self._consumer.pause, paused)):
            if numbers and paused != self._paused:
                call([TopicPartition(self._place.topic, number) for number in numbers])
        self._paused = paused

    def _given(self, left: Mapping[int, int]) -> Iterator[tuple[int, list[bytes | None], Any]]:
        """Yields what was fetched of some parts, and forgets it."""
        for number, end in left.items():
            offsets, values = self._ahead[number].taken(end)
            if offsets:
                self._ahead_bytes -= _size(values)
                yield number, values, np.array(offsets, np.int64)

    def _is_whole(self, number: int, end: int) -> bool:
        """Returns whether all was fetched up to an offset; what is missing then was never given to a message."""
        return self._fetched_to[number] >= end

    def _go_to(self, starts: Mapping[int, int]) -> None:
        """Has the consumer go on at some offsets; where it is there already, nothing is fetched again."""
        from confluent_kafka import TopicPartition

        if all(self._read_to.get(number) == start for number, start in starts.items()):
            return
        for number, start in starts.items():
            if self._read_to.get(number) != start:
                self._read_to[number] = self._fetched_to[number] = start
                self._ahead_bytes -= _size(self._ahead.pop(number, _Fetched()).values)
        places = [TopicPartition(self._place.topic, number, offset) for number, offset in self._fetched_to.items()]
        self._consumer.assign(places)  # which also ends all pauses
        self._paused = []

    def _consume(self, seconds: float = POLL_SECONDS) -> bool:
        """Takes in messages, and returns whether there was anything."""
        from confluent_kafka import KafkaError

        found, others = _sorted_out(self._consumer.consume(BATCH, seconds))
        for number, fetched in found.items():
            self._ahead[number].add(fetched)
            self._ahead_bytes += _size(fetched.values)
            self._fetched_to[number] = fetched.offsets[-1] + 1
        for message in others:
            place, error = message.partition(), message.error()
            if error.code() != KafkaError._PARTITION_EOF:
                failure = self._failure(place, error)
                # What came with it has left the consumer for good: all is fetched anew from what is processed.
                self._forget()
                raise failure
            if place is not None:
                self._fetched_to[place] = max(message.offset(), self._fetched_to[place])
        return bool(found)

    def _forget(self) -> None:
        self._read_to.clear()
        self._fetched_to.clear()
        self._ahead.clear()
        self._ahead_bytes = 0

    def _failure(self, number: int | None, error: KafkaError) -> RunError:
        from confluent_kafka import KafkaError

        place = f"{self._place.topic}/{'?' if number is None else number}"
        if error.code() in (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET):
            begin = None if number is None else self._fetched_to.get(number)
            return RecordsGoneError(
                f"{place}: the messages from offset {begin} on are not there: the topic's retention was shorter than "
                "the stream stood still, or it was made anew. A new --out begins with what is there"
            )
        return RunError(f"{place}: the broker cannot be read ({error.name()}); see that it runs and lets us in")


@dataclass(slots=True)
class _Fetched:
    """Messages of one partition, in order."""

    offsets: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list, repr=False)

    def add(self, more: _Fetched) -> None:
        """Takes in what comes behind."""
        self.offsets += more.offsets
        self.values += more.values

    def taken(self, end: int) -> tuple[list[int], list[bytes | None]]:
        """Returns the messages before an offset, and forgets them."""
        count = bisect_left(self.offsets, end)
        offsets, values = self.offsets[:count], self.values[:count]
        del self.offsets[:count], self.values[:count]
        return offsets, values


def _sorted_out(messages: Sequence[Any]) -> tuple[dict[int, _Fetched], list[Any]]:
    """Returns messages by partition, and what is none."""
    found: dict[int, _Fetched] = defaultdict(_Fetched)
    others = []
    for message in messages:
        if message.error() is None:
            fetched = found[message.partition()]
            fetched.offsets.append(message.offset())
            fetched.values.append(message.value())
        else:
            others.append(message)
    return found, others


def _size(values: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, values)))

"""A Kafka topic as raw messages in partitions that can be read again from any offset.

The journal of a stream knows what is processed; the group's offsets are only told, for those who watch its lag. Each
lane has a consumer of its own that stays open and reads ahead, so that a part that begins where the last one ended
costs no more than to consume.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...schemas.errors import ConfigError, RecordsGoneError, RunError
from .kafka_lane import KafkaLane
from .kafka_place import EXTRA, PATIENCE_SECONDS, KafkaPlace, admin_of, consumer_of
from .sources import Messages, Offsets, Part, lane_of

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

__all__ = ["KafkaTopic", "open_kafka_topic"]

PARTITIONS_SECONDS = 30.0
"""After so long new partitions are looked for."""


def open_kafka_topic(
    place: KafkaPlace, *, lanes: int, patience: float = PATIENCE_SECONDS, look_again: float = PARTITIONS_SECONDS
) -> KafkaTopic:
    """Returns the topic, open.

    Args:
        place: Where it is.
        lanes: Threads that will read side by side.
        patience: Seconds for which the broker may not answer.
        look_again: Seconds after which new partitions are looked for.

    Raises:
        ConfigError: The extra is missing, or a property is none of librdkafka's.
        RunError: The broker cannot be reached, or has no such topic.
    """
    try:
        import confluent_kafka  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    return KafkaTopic(place, lanes=lanes, patience=patience, look_again=look_again)


class KafkaTopic:
    """A ``MessageTopic``; shared by the threads of a process. Make it with ``open_kafka_topic``."""

    def __init__(self, place: KafkaPlace, *, lanes: int, patience: float, look_again: float) -> None:
        self._place = place
        self._count = lanes
        self._patience = patience
        self._look_again = look_again
        self._lanes: dict[int, KafkaLane] = {}
        self._lock = threading.Lock()
        self._teller = consumer_of(place)
        self._admin = admin_of(place)
        self._partitions: tuple[int, ...] = ()
        self._looked = float("-inf")

    @property
    def name(self) -> str:
        """``kafka:TOPIC``."""
        return f"kafka:{self._place.topic}"

    def first(self) -> Offsets:
        """Returns the committed offsets of the group; the beginning where there is none, or its messages are gone.

        Raises:
            RunError: The broker cannot be asked.
        """
        from confluent_kafka import KafkaException, TopicPartition

        begins = self._offsets("earliest")
        try:
            wanted = [TopicPartition(self._place.topic, number) for number in self._numbers()]
            told = self._teller.committed(wanted, timeout=self._patience)
            refused = next((each.error for each in told if each.error is not None), None)
        except KafkaException as error:
            raise self._failure(error.args[0]) from None
        if refused is not None:
            raise self._failure(refused)
        # Without a committed offset it is negative.
        return {self._called(each.partition): max(each.offset, begins[each.partition]) for each in told}

    def ends(self, done: Offsets) -> Offsets:
        """Returns the offset behind the newest message of each partition that is committed.

        All lanes read ahead from where they will go on. What has come to them counts, too: there are brokers that
        do not tell of their newest batch.

        Raises:
            RecordsGoneError: The topic no longer has what comes next.
            RunError: The broker cannot be asked.
        """
        ends = self._offsets("latest")
        lanes: dict[int, dict[int, int]] = defaultdict(dict)
        for number in ends:
            partition = self._called(number)
            if partition in done:
                lanes[lane_of(partition, self._count)][number] = done[partition]
        for lane, starts in lanes.items():
            for number, fetched in self._lane(lane).peek(starts).items():
                ends[number] = max(ends[number], fetched)
        return {self._called(number): end for number, end in ends.items()}

    def messages(self, lane: int, parts: Sequence[Part]) -> Iterator[Messages]:
        """Yields the messages of some parts, a few thousand at a time; gaps between offsets are possible.

        Raises:
            RecordsGoneError: The topic no longer has them, or has lost its end.
            RunError: The broker cannot be reached.
        """
        wanted = {int(part.partition.rpartition("/")[2]): part for part in parts}
        for part in parts:
            if part.end < part.start:
                raise RecordsGoneError(
                    f"{part.partition}: ends at offset {part.end}, and was read to {part.start} before; the topic was "
                    "made anew or lost its end: begin a new --out, with another group"
                )
        for number, values, offsets in self._lane(lane).read(wanted):
            yield Messages(self._called(number), values, offsets)

    def commit(self, offsets: Offsets) -> None:
        """Tells the group's offsets, without waiting; what gets lost is told with the next ones."""
        from confluent_kafka import KafkaException, TopicPartition

        told = [
            TopicPartition(self._place.topic, int(partition.rpartition("/")[2]), offset)
            for partition, offset in offsets.items()
        ]
        try:
            if told:
                self._teller.commit(offsets=told, asynchronous=True)
            self._teller.poll(0)
        except (KafkaException, RuntimeError):
            pass

    def close(self) -> None:
        """Closes all consumers; the offsets that were told last are sent."""
        with self._lock:
            for lane in self._lanes.values():
                lane.close()
            self._lanes.clear()
        self._teller.close()

    def _lane(self, number: int) -> KafkaLane:
        with self._lock:
            if number not in self._lanes:
                self._lanes[number] = KafkaLane(self._place, self._patience)
            return self._lanes[number]

    def _called(self, number: int) -> str:
        return f"{self._place.topic}/{number}"

    def _numbers(self) -> tuple[int, ...]:
        """Returns the partitions; asks again now and then, for there may be more."""
        from confluent_kafka import KafkaException

        if time.monotonic() - self._looked > self._look_again:
            try:
                found = self._teller.list_topics(self._place.topic, timeout=self._patience).topics[self._place.topic]
                if found.error is None and len(found.partitions) != len(self._partitions):
                    # This client keeps in mind which partitions there are, too, and refuses to ask of others. It would
                    # create a topic that is not there.
                    self._admin.list_topics(self._place.topic, timeout=self._patience)
            except KafkaException as error:
                raise self._failure(error.args[0]) from None
            if found.error is not None or not found.partitions:
                raise RunError(f"{self.name}: the broker has no such topic; create it, or check the name")
            self._partitions, self._looked = tuple(sorted(found.partitions)), time.monotonic()
        return self._partitions

    def _offsets(self, which: str) -> dict[int, int]:
        from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

        spec = getattr(OffsetSpec, which)()
        asked = {TopicPartition(self._place.topic, number): spec for number in self._numbers()}
        try:
            answers = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._patience
            )
            offsets = {place.partition: answer.result().offset for place, answer in answers.items()}
        except KafkaException as error:
            raise self._failure(error.args[0]) from None
        if min(offsets.values()) < 0:
            # A partition whose broker gave no answer has this for an offset, and no error.
            raise self._failure(KafkaError(KafkaError._TIMED_OUT))
        return offsets

    def _failure(self, error: KafkaError) -> RunError:
        return RunError(f"{self.name}: the broker cannot be asked ({error.name()}); see that it runs and lets us in")

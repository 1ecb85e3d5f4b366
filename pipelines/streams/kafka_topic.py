"""A Kafka topic as raw messages in partitions that can be read again from any offset.

The journal of a stream knows what is processed; the group's offsets are only told, for those who watch its lag. Each
lane has a consumer of its own that stays open and reads ahead, so that a part that begins where the last one ended
costs no more than to consume.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from ...schemas.errors import ConfigError, RecordsGoneError, RunError
from .sources import Messages, Offsets, Part, lane_of

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

__all__ = ["KafkaPlace", "KafkaTopic", "open_kafka_topic", "parse_kafka_uri", "producer_of"]

SCHEME = "kafka"
KEYS = frozenset({"group", "config"})
GROUP = "consentry"
HOSTS = "write each host as HOST or HOST:PORT, with commas between them"
EXTRA = "kafka:// needs an extra that is not installed; pip install 'consentry[kafka]'"
OURS = frozenset({
    "bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset",
    "enable.partition.eof", "isolation.level", "auto.commit.enable", "metadata.broker.list",
    "enable.idempotence", "acks", "request.required.acks", "transactional.id", "message.timeout.ms",
    "delivery.timeout.ms", "delivery.report.only.error",
})  # fmt: skip
"""Properties on which it depends that every record is read once, and none that is sent is lost."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
BATCH = 10_000
"""Messages that are asked for at once."""
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
CLOSE_SECONDS = 6
PARTITIONS_SECONDS = 30.0
"""After so long new partitions are looked for."""
MOST_AHEAD = 64 << 20
"""Bytes of messages that a lane may read ahead; from there on only those that are asked for are fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaPlace:
    """Where a topic is.

    Attributes:
        servers: ``HOST:PORT``, by commas.
        topic: Its name.
        group: The consumer group whose offsets are told.
        properties: Of librdkafka, from the file that the URI names; may hold secrets.
    """

    servers: str
    topic: str
    group: str = GROUP
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_kafka_uri(text: str) -> KafkaPlace:
    """Returns the place of ``kafka://HOST[:PORT][,HOST…]/TOPIC?group=NAME&config=FILE``.

    ``FILE`` has properties of librdkafka, as for SASL, one ``name=value`` a line: no secret stands in a URI.

    Raises:
        ConfigError: It is written otherwise; names all that is wrong, and quotes nothing.

    >>> parse_kafka_uri("kafka://broker:9092/orders?group=shop").topic
    'orders'
    """
    try:
        parts = urlsplit(text)
    except ValueError:  # half a bracket of an IPv6 address
        raise ConfigError(f"kafka://: {HOSTS}") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    topic = parts.path.removeprefix("/")
    problems = []
    if parts.scheme != SCHEME or not parts.netloc:
        problems.append("write kafka://HOST:PORT/TOPIC?group=NAME")
    if "@" in parts.netloc:
        problems.append("a user or password in it is refused; put them into a file of properties: ?config=FILE")
    if not _TOPIC.fullmatch(topic):
        problems.append("name one topic behind the hosts, of letters, digits, dots, dashes and underscores")
    if query.keys() - KEYS or parts.fragment or len(pairs) > len(query):
        problems.append(f"it takes only {' and '.join(sorted(KEYS))} behind the question mark, each once")
    if not all(_SERVER.fullmatch(server) for server in parts.netloc.split(",")):
        problems.append(HOSTS)
    if any(not value.strip() for value in query.values()):
        problems.append("group and config may not be blank")
    if problems:
        raise ConfigError(f"kafka://: {'; '.join(problems)}")
    properties = _properties(Path(query["config"])) if "config" in query else {}
    return KafkaPlace(servers=parts.netloc, topic=topic, group=query.get("group", GROUP), properties=properties)


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kafka://: the file of properties cannot be read ({type(error).__name__})") from None
    found, problems = {}, []
    for number, line in enumerate(lines, start=1):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not sign or not name:
            problems.append(f"{path}:{number}: is no property; write name=value")
        elif name in OURS:
            problems.append(f"{path}:{number}: {name} is set by the stream; leave it out")
        found[name] = value
    if problems:
        raise ConfigError("; ".join(problems))
    return found


def open_kafka_topic(place: KafkaPlace, *, lanes: int, patience: float = PATIENCE_SECONDS) -> KafkaTopic:
    """Returns the topic, open.

    Args:
        place: Where it is.
        lanes: Threads that will read side by side.
        patience: Seconds for which the broker may not answer.

    Raises:
        ConfigError: The extra is missing, or a property is none of librdkafka's.
        RunError: The broker cannot be reached, or has no such topic.
    """
    try:
        import confluent_kafka  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(EXTRA) from None
    return KafkaTopic(place, lanes=lanes, patience=patience)


class KafkaTopic:
    """A ``MessageTopic``; shared by the threads of a process. Make it with ``open_kafka_topic``."""

    def __init__(self, place: KafkaPlace, *, lanes: int, patience: float) -> None:
        self._place = place
        self._count = lanes
        self._patience = patience
        self._lanes: dict[int, _Lane] = {}
        self._lock = threading.Lock()
        self._teller = _consumer(place)
        self._admin = _admin(place)
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

    def _lane(self, number: int) -> _Lane:
        with self._lock:
            if number not in self._lanes:
                self._lanes[number] = _Lane(self._place, self._patience)
            return self._lanes[number]

    def _called(self, number: int) -> str:
        return f"{self._place.topic}/{number}"

    def _numbers(self) -> tuple[int, ...]:
        """Returns the partitions; asks again now and then, for there may be more."""
        from confluent_kafka import KafkaException

        if time.monotonic() - self._looked > PARTITIONS_SECONDS:
            try:
                found = self._teller.list_topics(self._place.topic, timeout=self._patience).topics[self._place.topic]
            except KafkaException as error:
                raise self._failure(error.args[0]) from None
            if found.error is not None or not found.partitions:
                raise RunError(f"{self.name}: the broker has no such topic; create it, or check the name")
            self._partitions, self._looked = tuple(sorted(found.partitions)), time.monotonic()
        return self._partitions

    def _offsets(self, which: str) -> dict[int, int]:
        from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

        spec = getattr(OffsetSpec, which)()
        asked = {TopicPartition(self._place.topic, number): spec for number in self._numbers()}
        try:
            answers = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=self._patience
            )
            return {place.partition: answer.result().offset for place, answer in answers.items()}
        except KafkaException as error:
            raise self._failure(error.args[0]) from None

    def _failure(self, error: KafkaError) -> RunError:
        return RunError(f"{self.name}: the broker cannot be asked ({error.name()}); see that it runs and lets us in")


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


class _Lane:
    """One consumer, which reads ahead of what it is asked for; used by one thread at a time.

    Args:
        place: Of the topic.
        patience: Seconds without any message before the broker is given up.
    """

    def __init__(self, place: KafkaPlace, patience: float) -> None:
        self._place = place
        self._patience = patience
        self._consumer = _consumer(place)
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


def _size(values: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, values)))


def _settings(place: KafkaPlace) -> dict[str, Any]:
    return {**place.properties, "bootstrap.servers": place.servers}


def _consumer(place: KafkaPlace) -> Consumer:
    from confluent_kafka import Consumer, KafkaException

    settings = {
        "queued.max.messages.kbytes": 64 * 1024,
        "fetch.queue.backoff.ms": 10,  # a second by default, in which a quick reader has nothing to do
        "session.timeout.ms": CLOSE_SECONDS * 1000,  # so long a close waits for what was committed last
        **_settings(place),
        "group.id": place.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    try:
        return Consumer(settings, logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def producer_of(place: KafkaPlace, patience: float) -> Producer:
    """Returns a producer that tells of messages only if they were not delivered.

    Args:
        place: Whose servers and properties it takes.
        patience: Seconds that a message may be on its way.

    Raises:
        ConfigError: A property is none of librdkafka's.
    """
    from confluent_kafka import KafkaException, Producer

    settings = {
        "linger.ms": 5,
        "queue.buffering.max.kbytes": 64 * 1024,
        **_settings(place),
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": max(1, int(patience * 1000)),
        "delivery.report.only.error": True,
    }
    try:
        return Producer(settings, logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def _admin(place: KafkaPlace) -> AdminClient:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return AdminClient(_settings(place), logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def _refused(error: Exception) -> ConfigError:
    return ConfigError(f"kafka://: its properties are not librdkafka's ({type(error).__name__}); see its documentation")


# librdkafka's own lines name hosts and properties; what concerns people is told by our errors.
_SILENT = logging.getLogger("consentry.kafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

"""A shop whose orders come over a real broker: for benchmarks of streams. Orders are produced, streamed and watched."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.outcome import READ
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions, open_source
from consentry.pipelines.streams.received import received_in
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.streams.stream import EpochReport
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers.apache_kafka import apache_kafka
from servers.availability import Server, missing
from servers.tansu import tansu_broker

__all__ = ["BROKERS", "Seen", "Server", "StreamShop", "order_message", "resident_bytes", "stream_shop"]

BROKERS = tuple(server for server in (Server.APACHE_KAFKA, Server.TANSU) if missing(server) is None)
"""Those that run on this machine."""

PARTITIONS = 2
CUSTOMERS = 20_000
CARDS = ("4111 1111 1111 1111", "5500005555555559", "340000000000009", "6011000990139424")
NOTE = "please ring twice and leave it with the neighbours"
TANSU_WAIT_MS = {True: 500, False: 100}
"""Of a long topic or a short one: this broker holds a fetch for all of its time, other than Apache Kafka, and gives
nothing of a long topic in a short time."""


class Seen:
    """Notes when records became visible; the producer alternates between partitions, so offsets tell which they are."""

    def __init__(self) -> None:
        self.records = 0
        self.memory: list[int] = []
        self._ends: list[tuple[int, int, int, float]] = []

    def epoch(self, report: EpochReport) -> None:
        """Counts an epoch that became visible."""
        now = time.time()
        self.records += report.outcome.tally[READ]
        self.memory.append(resident_bytes())
        for part in report.epoch.parts:
            self._ends.append((int(part.partition.rpartition("/")[2]), part.start, part.end, now))

    def failed(self, failure: Exception, pause: float) -> None:
        """Tells of a failure that the stream goes on after."""
        print(f"failed: {failure}", file=sys.stderr)

    def late(self, sent: np.ndarray[Any, Any], *, behind: int) -> np.ndarray[Any, Any]:
        """Seconds from sending to being visible, of all records but the first ones, of which nobody noted when."""
        late = np.full(len(sent), np.nan)
        for partition, start, end, now in self._ends:
            numbers = np.arange(start, end) * PARTITIONS + partition - behind
            numbers = numbers[numbers >= 0]
            late[numbers] = now - sent[numbers]
        return late


@dataclass(frozen=True, kw_only=True)
class StreamShop:
    """A project, a broker with an empty topic, and the place of an output."""

    project: Project
    broker: Server
    address: str
    out: Path

    def produce(self, count: int, *, notes: bool) -> None:
        """Puts so many orders into the topic, as fast as it goes."""
        settings = {"linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
        producer = Producer({"bootstrap.servers": self.address, **settings})
        for number in range(count):
            producer.produce("orders", order_message(number, notes=notes), partition=number % PARTITIONS)
            if number % 10_000 == 0:
                producer.poll(0)
        producer.flush()

    @contextmanager
    def producing(self, rate: int, seconds: float) -> Iterator[Callable[[], np.ndarray[Any, Any]]]:
        """Another process sends so many orders a second; what is yielded waits for its end and says when each went."""
        context = get_context("spawn")
        times: Queue[np.ndarray[Any, Any]] = context.Queue()
        producer = context.Process(target=_paced, args=(self.address, rate, seconds, times))
        producer.start()
        try:
            yield times.get
        finally:
            producer.join()

    def bare_rate(self, count: int) -> float:
        """Events a second of consuming and touching every value, and nothing else, as the stream consumes."""
        settings = {"group.id": "bare", "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": 10}
        consumer = Consumer({"bootstrap.servers": self.address, **settings})
        consumer.assign([TopicPartition("orders", number, 0) for number in range(PARTITIONS)])
        seen, began = 0, time.perf_counter()
        while seen < count:
            messages = consumer.consume(10_000, 1.0)
            seen += sum(message.value() is not None for message in messages if message.error() is None)
        rate = seen / (time.perf_counter() - began)
        consumer.close()
        return rate

    def stream(self, seen: Seen, stop: threading.Event, *, until: int | None = None) -> None:
        """Streams the topic until told, or until so many records were seen."""
        observer = seen if until is None else _Until(seen, until, stop)
        policy = read_policy(self.project.policy)
        reader, place = ReaderOptions(MessageFormat.JSON), received_in(self.project, str(self.out))
        uri = f"kafka://{self.address}/orders?group=bench&config={self._properties(long=until is not None)}"
        with closing(open_source(uri, reader, policy, policy.datasets["orders"], received=place)) as source:
            options = StreamOptions(dataset="orders", out=str(self.out))
            run_stream(self.project, options, source=source, consents=None, observer=observer, stop=stop)

    @contextmanager
    def streaming(self, seen: Seen) -> Iterator[None]:
        """Another thread streams the topic while the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self.stream, args=(seen, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _properties(self, *, long: bool) -> Path:
        path = self.out.parent / "kafka.properties"
        path.write_text(f"fetch.wait.max.ms={TANSU_WAIT_MS[long]}\n" if self.broker is Server.TANSU else "")
        return path


class _Until:
    """Stops the stream once so many records were seen."""

    def __init__(self, seen: Seen, until: int, stop: threading.Event) -> None:
        self._seen, self._until, self._stop = seen, until, stop
        self.failed = seen.failed

    def epoch(self, report: EpochReport) -> None:
        self._seen.epoch(report)
        if self._seen.records >= self._until:
            self._stop.set()


@contextmanager
def stream_shop(broker: Server) -> Iterator[StreamShop]:
    """Yields a shop with a broker of its own; both are gone when the block ends."""
    with ExitStack() as opened:
        folder = Path(tempfile.mkdtemp(prefix="consentry-bench-"))
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        write_project(folder / "shop", tenant="bench", now=time.time_ns() // 1000)
        if broker is Server.TANSU:
            address = opened.enter_context(tansu_broker())
        else:
            (folder / "kafka").mkdir()
            address = opened.enter_context(apache_kafka(folder / "kafka")).address
        admin = AdminClient({"bootstrap.servers": address})
        for made in admin.create_topics([NewTopic("orders", PARTITIONS, 1)]).values():
            made.result()
        project = read_project(folder / "shop" / "consentry.yaml")
        yield StreamShop(project=project, broker=broker, address=address, out=folder / "out")


def resident_bytes() -> int:
    """Returns how much memory this process has now; where the system does not say, the most that it had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def order_message(number: int, *, notes: bool = False) -> bytes:
    """Returns an order as it is sent."""
    customer = number * 7919 % CUSTOMERS
    item = {"sku": f"TEA-{number % 50}", "quantity": 1 + number % 3, "price": 9.5}
    record = {
        "order_id": f"o-{number:08d}",
        "placed_at": "2026-07-01T10:00:00Z",
        "customer": {"id": f"c-{customer}", "email": f"kim{customer}@example.com", "birth_date": "1985-08-11"},
        "payment": {"card": {"number": CARDS[customer % len(CARDS)], "cvv": "675"}},
        "items": [{**item, "gift_note": NOTE} if notes else item],
    }
    return json.dumps(record).encode()


def _paced(broker: str, rate: int, seconds: float, times: Queue[np.ndarray[Any, Any]]) -> None:
    """Sends so many a second, in another process, and hands over when each was sent."""
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5})
    sent, began = np.zeros(int(rate * seconds)), time.time()
    for number in range(len(sent)):
        due = began + number / rate
        if (early := due - time.time()) > 0:
            producer.poll(0)
            time.sleep(early)
        sent[number] = time.time()
        producer.produce("orders", order_message(number), partition=number % PARTITIONS)
    producer.flush()
    times.put(sent)

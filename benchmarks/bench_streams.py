"""How fast a stream of JSON orders over a real broker is, beside bare consumption, and how late a reader sees them.

The broker and the producer are other programs on the same cores. Latency is from the moment an order is handed to the
producer until the manifest that lists its file is there.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
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
from servers.tansu import tansu_broker, tansu_program

MESSAGES = 1_000_000
PARTITIONS = 2
CUSTOMERS = 20_000
CARDS = ("4111 1111 1111 1111", "5500005555555559", "340000000000009", "6011000990139424")
LATENCY_SECONDS = 30
RATES = (1_000, 10_000)
NOTE = "please ring twice and leave it with the neighbours"


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns throughput and latency rows."""
    if tansu_program() is None:
        return [{"name": "no broker for this machine", "rate_per_s": None}]
    count = max(50_000, int(MESSAGES * scale))
    rows = [_throughput("events/s from JSON", count, notes=False)]
    rows.append(_throughput("events/s, each with a free text that is searched", count // 2, notes=True))
    rows += [_latency(rate, max(5.0, LATENCY_SECONDS * scale)) for rate in RATES]
    return rows


def _throughput(name: str, count: int, *, notes: bool) -> dict[str, Any]:
    with _shop() as (broker, project, out):
        _produce(broker, count, notes)
        bare = _bare_rate(broker, count)
        seen = _Seen()
        began, worked = time.perf_counter(), time.process_time()
        _stream(project, broker, out, seen, threading.Event(), until=count)
        rate = seen.records / (time.perf_counter() - began)
        core = seen.records / (time.process_time() - worked)
        figures = {"rate_per_s": rate, "per_core_per_s": core}
        return {"name": name, **figures, "peer": "bare consumption", "peer_rate": bare, "ratio": rate / bare}


def _latency(rate: int, seconds: float) -> dict[str, Any]:
    with _shop() as (broker, project, out):
        stop, seen = threading.Event(), _Seen()
        thread = threading.Thread(target=_stream, args=(project, broker, out, seen, stop))
        thread.start()
        context = get_context("spawn")
        times = context.Queue()
        producer = context.Process(target=_paced, args=(broker, rate, seconds, times))
        producer.start()
        sent: np.ndarray[Any, Any] = times.get()
        producer.join()
        while seen.records < len(sent):
            time.sleep(0.05)
        stop.set()
        thread.join()
        late = np.sort(seen.visible(sent))
        return {
            "name": f"latency at {rate:,} events/s, from produced to visible",
            "rate_per_s": len(sent) / seconds,
            "p50_s": float(np.quantile(late, 0.5)),
            "p99_s": float(np.quantile(late, 0.99)),
            "worst_s": float(late[-1]),
            "grown_bytes": max(0, seen.memory[-1] - seen.memory[len(seen.memory) // 2]),
        }


class _Seen:
    """Notes when records became visible; the producer alternates between partitions, so offsets tell which they are."""

    def __init__(self) -> None:
        self.records = 0
        self.memory: list[int] = []
        self._ends: list[tuple[int, int, int, float]] = []

    def epoch(self, report: EpochReport) -> None:
        now = time.time()
        self.records += report.outcome.tally[READ]
        self.memory.append(_resident())
        for part in report.epoch.parts:
            self._ends.append((int(part.partition.rpartition("/")[2]), part.start, part.end, now))

    def failed(self, failure: Exception, pause: float) -> None:
        print(f"failed: {failure}", file=sys.stderr)

    def visible(self, sent: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Seconds from sending to being visible, of all records."""
        late = np.full(len(sent), np.nan)
        for partition, start, end, now in self._ends:
            numbers = np.arange(start, end) * PARTITIONS + partition
            late[numbers] = now - sent[numbers]
        return late


def _stream(
    project: Project, broker: str, out: Path, seen: _Seen, stop: threading.Event, until: int | None = None
) -> None:
    policy = read_policy(project.policy)
    if until is not None:
        inner = seen.epoch

        def epoch(report: EpochReport) -> None:
            inner(report)
            if seen.records >= until:
                stop.set()

        seen.epoch = epoch  # type: ignore[method-assign]
    properties = out.parent / "kafka.properties"
    # The broker of the tests holds a fetch for all of this time, other than Apache Kafka, and gives nothing of a long
    # topic in a short one.
    properties.write_text(f"fetch.wait.max.ms={500 if until else 100}\n")
    uri, reader = f"kafka://{broker}/orders?group=bench&config={properties}", ReaderOptions(MessageFormat.JSON)
    place = received_in(project, str(out))
    with closing(open_source(uri, reader, policy, policy.datasets["orders"], received=place)) as source:
        options = StreamOptions(dataset="orders", out=str(out))
        run_stream(project, options, source=source, consents=None, observer=seen, stop=stop)


@contextmanager
def _shop() -> Iterator[tuple[str, Project, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="consentry-bench-"))
    try:
        write_project(folder / "shop", tenant="bench", now=time.time_ns() // 1000)
        with tansu_broker() as broker:
            admin = AdminClient({"bootstrap.servers": broker})
            for made in admin.create_topics([NewTopic("orders", PARTITIONS, 1)]).values():
                made.result()
            yield broker, read_project(folder / "shop" / "consentry.yaml"), folder / "out"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _order(number: int, notes: bool) -> bytes:
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


def _produce(broker: str, count: int, notes: bool) -> None:
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "queue.buffering.max.messages": 2_000_000})
    for number in range(count):
        producer.produce("orders", _order(number, notes), partition=number % PARTITIONS)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


def _paced(broker: str, rate: int, seconds: float, times: Any) -> None:
    """Sends so many a second, in another process, and hands over when each was sent."""
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5})
    sent, began = np.zeros(int(rate * seconds)), time.time()
    for number in range(len(sent)):
        due = began + number / rate
        if (early := due - time.time()) > 0:
            producer.poll(0)
            time.sleep(early)
        sent[number] = time.time()
        producer.produce("orders", _order(number, notes=False), partition=number % PARTITIONS)
    producer.flush()
    times.put(sent)


def _bare_rate(broker: str, count: int) -> float:
    """Consuming and touching every value, and nothing else."""
    settings = {"group.id": "bare", "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": 10}  # as the stream has
    consumer = Consumer({"bootstrap.servers": broker, **settings})
    consumer.assign([TopicPartition("orders", number, 0) for number in range(PARTITIONS)])
    seen, began = 0, time.perf_counter()
    while seen < count:
        seen += sum(message.value() is not None for message in consumer.consume(10_000, 1.0) if message.error() is None)
    rate = seen / (time.perf_counter() - began)
    consumer.close()
    return rate


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

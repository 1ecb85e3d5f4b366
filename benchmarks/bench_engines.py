"""Streams on Flink: messages a second, latency, checkpoints; and what the plain parts cost, without an engine.

Each figure on Flink stands beside the same graph without protection in the same run. Kafka, Flink, the producer and the
workers share the cores of this machine. ``CONSENTRY_BENCH_MINUTES`` says for how long checkpoints are watched.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from bare_graph import PassUnbounded
from consentry.pipelines.engines import launch
from consentry.pipelines.engines.launch import EngineOptions, run_on_engine
from consentry.pipelines.engines.shard_notes import ShardNote
from consentry.pipelines.engines.shard_output import SHARDS, SHOWN, read_note
from consentry.pipelines.outcome import READ
from consentry.pipelines.publication import STREAM
from engine_parts import plain_parts
from servers.availability import missing
from servers.flink import Flink, flink_cluster
from stream_shop import Server, StreamShop, stream_shop

ORDERS = 100_000
WARMING = 2_000
"""Orders that a stream has seen before anything is measured: its workers have started, and know the columns."""
RATE = 500
"""Orders a second while latency is taken: less than the machine can do, so that no order waits for others."""
LATENCY_SECONDS = 20.0
MINUTES = float(os.environ.get("CONSENTRY_BENCH_MINUTES", "0.5"))
LONG_RUN = 2
"""The parallelism at which checkpoints are watched."""
SHARDS_OF_RUN = 8
START_SECONDS = 180.0


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns rows of the plain parts and, where Flink and Apache Kafka run, of the engine."""
    rows = plain_parts(scale)
    lacking = [told for server in (Server.FLINK, Server.APACHE_KAFKA) if (told := missing(server)) is not None]
    if lacking:
        return [*rows, {"name": f"nothing on Flink: {'; '.join(dict.fromkeys(lacking))}", "rate_per_s": None}]
    for parallelism in (1, 2):
        bare = _measured(parallelism, scale, protects=False)
        protected = _measured(parallelism, scale, protects=True)
        rows += _compared(parallelism, protected, bare)
        if protected.checkpoints:
            rows.append(_checkpoint_row(protected.checkpoints))
    return rows


@dataclass(kw_only=True)
class Measured:
    """What a run on Flink came to."""

    rate: float = 0.0
    core_rate: float = 0.0
    late: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    checkpoints: list[int] = field(default_factory=list)


def _compared(parallelism: int, protected: Measured, bare: Measured) -> list[dict[str, Any]]:
    name = f"Flink, parallelism {parallelism}"
    peers = {"peer": "the same without protection"}
    return [
        {"name": f"{name}: messages/s", "rate_per_s": protected.rate, "per_core_per_s": protected.core_rate,
         **peers, "peer_rate": bare.rate, "peer_per_core": bare.core_rate, "ratio": protected.rate / bare.rate},
        {"name": f"{name}: latency at {RATE:,} messages/s, from produced to visible", "rate_per_s": RATE,
         "p50_s": float(np.quantile(protected.late, 0.5)), "p99_s": float(np.quantile(protected.late, 0.99)),
         **peers, "peer_p50_s": float(np.quantile(bare.late, 0.5)), "peer_p99_s": float(np.quantile(bare.late, 0.99))},
    ]  # fmt: skip


def _checkpoint_row(sizes: list[int]) -> dict[str, Any]:
    half = len(sizes) // 2
    return {
        "name": f"Flink: checkpoints over {MINUTES:g} minutes at {RATE:,} messages/s, median of each half",
        "first_bytes": float(np.median(sizes[:half] or sizes)),
        "last_bytes": float(np.median(sizes[half:])),
        "largest_bytes": float(max(sizes)),
    }


def _measured(parallelism: int, scale: float, *, protects: bool) -> Measured:
    """Sends orders through Flink as fast as they go, then at an even pace."""
    found = Measured()
    with (
        tempfile.TemporaryDirectory(prefix="consentry-bench-flink-") as folder,
        stream_shop(Server.APACHE_KAFKA) as shop,
        flink_cluster(Path(folder), slots=parallelism) as flink,
    ):
        count = max(10_000, int(ORDERS * scale))
        shop.produce(WARMING, notes=False)
        with _launched(shop, flink, parallelism, protects=protects) as at:
            at.wait(WARMING)
            began, worked = time.time(), _worker_seconds(flink)
            shop.produce(count, notes=False)
            at.wait(WARMING + count)
            found.rate = count / (at.last() - began)
            found.core_rate = count / max(_worker_seconds(flink) - worked, 1e-9)
            watches = protects and parallelism == LONG_RUN
            seconds = max(LATENCY_SECONDS * scale, 5.0, MINUTES * 60 if watches else 0.0)
            began, sampled = time.time(), _Sampled(flink)
            with shop.producing(RATE, seconds) as times_of_sending:
                sent = sampled.until(times_of_sending)
            at.wait(WARMING + count + len(sent))
            found.late = at.late(sent, since=began)
            found.checkpoints = sampled.sizes if watches else []
    return found


class _Sampled:
    """The sizes of a job's checkpoints, all of them that are made while something goes on."""

    def __init__(self, flink: Flink) -> None:
        self._flink = flink
        self.sizes: list[int] = []

    def until(self, work: Any) -> Any:
        ended = threading.Event()
        job = self._flink.newest_job()

        def watch() -> None:
            seen = self._flink.jobs.checkpoints(job).completed
            while not ended.wait(2.0):
                told = self._flink.jobs.checkpoints(job)
                new = min(told.completed - seen, len(told.sizes))
                self.sizes += told.sizes[len(told.sizes) - new :]
                seen = told.completed

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            return work()
        finally:
            ended.set()
            watcher.join()


class _Visible:
    """What an output shows, by its notes: the instant at which each appeared, and which orders were in it."""

    def __init__(self, out: Path, failures: list[BaseException]) -> None:
        self._out = out
        self._failures = failures
        self._seen: dict[Path, tuple[float, ShardNote]] = {}

    def wait(self, records: int) -> None:
        """Waits until so many records are visible."""
        end = time.monotonic() + START_SECONDS + records / 500
        while self._count() < records:
            if self._failures or time.monotonic() > end:
                raise RuntimeError(f"{len(self._seen):,} notes, not {records:,} records are visible: {self._failures}")
            time.sleep(0.1)

    def last(self) -> float:
        """The instant of the newest publication that was waited for."""
        return max(shown for shown, _ in self._seen.values())

    def late(self, sent: np.ndarray[Any, Any], *, since: float) -> np.ndarray[Any, Any]:
        """Seconds from sending to being visible, of orders that became visible since an instant."""
        late = np.full(len(sent), np.nan)
        for shown, note in self._seen.values():
            for receipt in note.outcome.receipts if shown > since else ():
                ids = pq.read_table(self._out / receipt.path, columns=["order_id"], partitioning=None)["order_id"]
                numbers = np.array([int(each.removeprefix("o-")) for each in ids.to_pylist()])
                late[numbers] = shown - sent[numbers]
        if np.isnan(late).any():
            raise RuntimeError("some orders never became visible")
        return late

    def _count(self) -> int:
        for path in (self._out / STREAM / SHARDS).glob(f"*/*{SHOWN}"):
            if path not in self._seen:
                # To be renamed is to be shown.
                self._seen[path] = path.stat().st_ctime, read_note(path)
        return sum(note.outcome.tally[READ] for _, note in self._seen.values())


@contextmanager
def _launched(shop: StreamShop, flink: Flink, parallelism: int, *, protects: bool) -> Iterator[_Visible]:
    """A stream on Flink while the block runs, launched in a thread; the block ends its job."""
    failures: list[BaseException] = []
    stop = threading.Event()
    runner, *arguments = (
        each for each in flink.arguments(parallelism=parallelism, checkpoint_ms=2000) if each != "--streaming"
    )
    options = EngineOptions(
        dataset="orders",
        source=f"kafka://{shop.address}/orders",
        consents=None,
        out=str(shop.out),
        runner=runner.removeprefix("--runner="),
        arguments=arguments,
        lanes=parallelism,
        shards=SHARDS_OF_RUN,
        latency=0.5,
    )

    def launched() -> None:
        try:
            run_on_engine(shop.project, options, watch=lambda _: None, stop=stop)
        except BaseException as failure:  # noqa: BLE001 - the other thread raises it
            failures.append(failure)

    transform = launch.ProtectUnbounded if protects else PassUnbounded
    with patch.object(launch, "ProtectUnbounded", transform):
        thread = threading.Thread(target=launched, daemon=True)
        thread.start()
        try:
            yield _Visible(shop.out, failures)
        finally:
            stop.set()
            thread.join(60)


def _worker_seconds(flink: Flink) -> float:
    """CPU seconds that the Python workers have had."""
    ticks = 0
    for worker in flink.workers():
        fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")

"""How fast a stream of JSON orders over a real broker is, beside bare consumption, and how late a reader sees them.

The broker and the producer are other programs on the same cores. Latency is from the moment an order is handed to the
producer until the manifest that lists its file is there, of a stream that runs already.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from stream_shop import BROKERS, Seen, Server, stream_shop

MESSAGES = 1_000_000
LATENCY_SECONDS = 30
WARMING = 2_000
"""Orders that a stream has seen before its latency is taken: it has built its pipeline."""
RATES = (1_000, 10_000)


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns throughput and latency rows, for each broker that runs here."""
    if not BROKERS:
        return [{"name": "no broker for this machine", "rate_per_s": None}]
    rows = []
    for broker in BROKERS:
        count = max(50_000, int(MESSAGES * scale))
        rows.append(_throughput(broker, "events/s from JSON", count, notes=False))
        rows.append(_throughput(broker, "events/s, each with a free text that is searched", count // 2, notes=True))
        rows += [_latency(broker, rate, max(5.0, LATENCY_SECONDS * scale)) for rate in RATES]
    return rows


def _throughput(broker: Server, name: str, count: int, *, notes: bool) -> dict[str, Any]:
    with stream_shop(broker) as shop:
        shop.produce(count, notes=notes)
        bare = shop.bare_rate(count)
        seen = Seen()
        began, worked = time.perf_counter(), time.process_time()
        shop.stream(seen, threading.Event(), until=count)
        rate = seen.records / (time.perf_counter() - began)
        core = seen.records / (time.process_time() - worked)
        figures = {"rate_per_s": rate, "per_core_per_s": core}
        return {
            "name": f"{broker}: {name}",
            **figures,
            "peer": "bare consumption",
            "peer_rate": bare,
            "ratio": rate / bare,
        }


def _latency(broker: Server, rate: int, seconds: float) -> dict[str, Any]:
    with stream_shop(broker) as shop:
        seen = Seen()
        with shop.streaming(seen):
            shop.produce(WARMING, notes=False)
            _wait(seen, WARMING)
            with shop.producing(rate, seconds) as times_of_sending:
                sent = times_of_sending()
                _wait(seen, WARMING + len(sent))
        late = np.sort(seen.late(sent, behind=WARMING))
        return {
            "name": f"{broker}: latency at {rate:,} events/s, from produced to visible",
            "rate_per_s": len(sent) / seconds,
            "p50_s": float(np.quantile(late, 0.5)),
            "p99_s": float(np.quantile(late, 0.99)),
            "worst_s": float(late[-1]),
            "grown_bytes": max(0, seen.memory[-1] - seen.memory[len(seen.memory) // 2]),
        }


def _wait(seen: Seen, records: int) -> None:
    while seen.records < records:
        time.sleep(0.05)

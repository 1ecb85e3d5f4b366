"""Streams for half an hour and prints, each minute, how much memory the process has: it must stay flat.

``python benchmarks/soak_streams.py [MINUTES] [EVENTS_A_SECOND]``; a part of ``make soak``.
"""

from __future__ import annotations

import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bench_streams

MIB = 1 << 20
WARM_MINUTES = 5
MOST_GROWTH = 1.1
"""Of what it has after the first minutes."""


def main() -> int:
    """Returns 0 if memory stayed flat."""
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
    with bench_streams._shop() as (broker, project, out):
        stop, seen = threading.Event(), bench_streams._Seen()
        thread = threading.Thread(target=bench_streams._stream, args=(project, broker, out, seen, stop, 1 << 62))
        thread.start()
        context = get_context("spawn")
        times = context.Queue()
        producer = context.Process(target=bench_streams._paced, args=(broker, rate, 60.0 * minutes, times))
        producer.start()
        resident = []
        for minute in range(1, minutes + 1):
            time.sleep(60)
            resident.append(bench_streams._resident())
            files = sum(1 for _ in out.rglob("*.parquet"))
            print(f"minute {minute}: {resident[-1] / MIB:.0f} MiB, {seen.records:,} records, {files} files", flush=True)
        sent = len(times.get())
        producer.join()
        while seen.records < sent:
            time.sleep(0.1)
        stop.set()
        thread.join()
    base = max(resident[: min(WARM_MINUTES, len(resident))])
    print(f"grown to {max(resident) / base:.2f} of what it had after {WARM_MINUTES} minutes")
    return int(max(resident) > MOST_GROWTH * base)


if __name__ == "__main__":
    sys.exit(main())

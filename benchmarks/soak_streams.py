"""Streams for half an hour and prints, each minute, how much memory the process has: it must stay flat.

What it has goes up and down with epochs and with merged files, so medians are compared: of the last third of
the time with the second one, when all is warm. ``python benchmarks/soak_streams.py [MINUTES] [EVENTS_A_SECOND]``; a
part of ``make soak``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from stream_shop import BROKERS, Seen, resident_bytes, stream_shop

MIB = 1 << 20
SAMPLES = 12
"""A minute."""
MOST_GROWTH = 1.1


def main() -> int:
    """Returns 0 if memory stayed flat."""
    minutes = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
    if not BROKERS:
        print("NOT TESTED: no broker runs on this machine")
        return 0
    seen, resident = Seen(), []
    with stream_shop(BROKERS[0]) as shop, shop.streaming(seen), shop.producing(rate, 60.0 * minutes) as times:
        print(f"{rate:,} events a second over {shop.broker}, {minutes} minutes", flush=True)
        for minute in range(1, minutes + 1):
            resident += _minute()
            files = sum(1 for _ in shop.out.rglob("*.parquet"))
            now = median(resident[-SAMPLES:]) / MIB
            print(f"minute {minute}: {now:.0f} MiB, {seen.records:,} records, {files} files", flush=True)
        sent = len(times())
        while seen.records < sent:
            time.sleep(0.1)
    third = len(resident) // 3
    growth = median(resident[-third:]) / median(resident[third : 2 * third])
    print(f"all {sent:,} records seen; the last third of the time has {growth:.2f} of the memory of the second")
    return int(growth > MOST_GROWTH)


def _minute() -> list[int]:
    found = []
    for _ in range(SAMPLES):
        time.sleep(60 / SAMPLES)
        found.append(resident_bytes())
    return found


if __name__ == "__main__":
    sys.exit(main())

"""Streams for half an hour and prints, each minute, how much memory the process has: it must stay flat.

``python benchmarks/soak_streams.py [MINUTES] [EVENTS_A_SECOND]``; a part of ``make soak``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from stream_shop import BROKERS, Seen, resident_bytes, stream_shop

MIB = 1 << 20
WARM_MINUTES = 5
MOST_GROWTH = 1.1
"""Of what it has after the first minutes."""


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
            time.sleep(60)
            resident.append(resident_bytes())
            files = sum(1 for _ in shop.out.rglob("*.parquet"))
            print(f"minute {minute}: {resident[-1] / MIB:.0f} MiB, {seen.records:,} records, {files} files", flush=True)
        sent = len(times())
        while seen.records < sent:
            time.sleep(0.1)
    print(f"all {sent:,} records seen")
    base = max(resident[: min(WARM_MINUTES, len(resident))])
    print(f"grown to {max(resident) / base:.2f} of what it had after {WARM_MINUTES} minutes")
    return int(max(resident) > MOST_GROWTH * base)


if __name__ == "__main__":
    sys.exit(main())

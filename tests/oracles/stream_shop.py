"""A shop whose events come over a broker, and what a stream must make of them: for tests that kill it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

PROGRAM = Path(sys.executable).with_name("consentry")
CARD = "4111 1111 1111 1111"
SUBJECTS = 50


def order(number: int, rng: random.Random) -> bytes:
    """An order, one in twenty of which is broken in one way or another."""
    record: dict[str, Any] = {
        "order_id": f"o-{number:07d}",
        "placed_at": f"2026-03-{1 + number % 3:02d}T10:00:00Z",
        "customer": {"id": f"c-{number % SUBJECTS}", "email": f"kim{number % SUBJECTS}@example.com"},
        "payment": {"card": {"number": CARD, "cvv": "675"}},
    }
    match rng.randrange(60):
        case 0:
            record["placed_at"] = "yesterday"
        case 1:
            return f'{{"order_id": "o-{number:07d}", broken'.encode()
        case 2:
            record["customer"] = [f"c-{number}"]
    return json.dumps(record).encode()


def consent(subject: int, decision: str, day: int) -> bytes:
    """A decision about support, by which email addresses are vaulted."""
    event = {
        "subject": f"c-{subject}",
        "purpose": "support",
        "decision": decision,
        "effective_at": f"2026-01-{day:02d}T00:00:00Z",
        "source": "web",
    }
    return json.dumps(event).encode()


@dataclass
class StreamProcess:
    """``consentry stream`` in a process of its own.

    Attributes:
        arguments: Of the command.
        log: Where its standard error goes.
    """

    arguments: list[str]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "stream", *self.arguments], stderr=log, stdout=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def __enter__(self) -> StreamProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive():
            self.kill()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def finish(self) -> None:
        """Runs it until nothing is left to read."""
        with self.log.open("ab") as log:
            subprocess.run([PROGRAM, "stream", *self.arguments, "--until-idle"], stderr=log, stdout=log, check=True)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until something holds, or fails."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come in time"
        time.sleep(0.02)


def ended(out: Path) -> tuple[Counter[str], int, int]:
    """Order ids of all rows that readers find, and how many dead letters and dropped records there are."""
    ids: Counter[str] = Counter()
    for path in (out / "data").rglob("*.parquet"):
        ids.update(pq.read_table(path, columns=["order_id"], partitioning=None)["order_id"].to_pylist())
    letters = sum(pq.read_metadata(path).num_rows for path in (out / "dead_letters").glob("*.parquet"))
    manifest: Mapping[str, Any] = json.loads((out / "manifest.json").read_text())
    return ids, letters, manifest["books"]["dropped"]


def letter_places(out: Path) -> Counter[tuple[str, int]]:
    """Partition and offset of all dead letters."""
    places: Counter[tuple[str, int]] = Counter()
    for path in (out / "dead_letters").glob("*.parquet"):
        table = pq.read_table(path, columns=["source", "position"])
        places.update(zip(table["source"].to_pylist(), table["position"].to_pylist(), strict=True))
    return places

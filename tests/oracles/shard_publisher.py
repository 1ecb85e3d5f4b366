"""Run as a program: publishes for a shard in children, each of which kills itself before a line of the publication.

Each line of standard input is a publication as JSON; the answer is ``killed`` or ``ended 0``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from consentry.pipelines.engines.shard_notes import Published, ShardNote
from consentry.pipelines.engines.shard_output import ShardOutput
from consentry.pipelines.outcome import Outcome
from consentry.pipelines.sinks import FileWriter
from consentry.transforms.tally import Tally

__all__ = ["Publisher", "note_of", "publisher", "rows_of"]

TESTS = Path(__file__).parent.parent
WATCHED = ("shard_output.py", "durable.py")
SCHEMA = pa.schema([("number", pa.int64())])


def note_of(place: str, name: str, numbers: list[int], launch: str, end: int = 0) -> ShardNote:
    """Writes rows as files of two folders, as a step of a shard does."""
    receipts = []
    for day in ("2026-01-01", "2026-01-02"):
        (Path(place) / f"data/event_date={day}").mkdir(parents=True)
        writer = FileWriter(place, f"data/event_date={day}", SCHEMA, run=name)
        half = [number for number in numbers if number % 2 == int(day[-1]) % 2]
        writer.write(pa.record_batch([pa.array(half, pa.int64())], schema=SCHEMA))
        receipts += writer.finish()
    outcome = Outcome(Tally({("rows", "read"): len(numbers)}), tuple(receipts))
    return ShardNote(
        outcome=outcome, launch=launch, offsets={"orders/0": end}, letters={}, columns=SCHEMA,
        now=1, ledger_position=1, published_at=1,
    )  # fmt: skip


def publish(output: ShardOutput, number: int, lot: str, numbers: list[int], launch: str, end: int = 0) -> Published:
    return output.publish(number, lot, lambda place, name: note_of(place, name, numbers, launch, end))


def rows_of(out: Path) -> list[int]:
    """All rows that a reader sees."""
    paths = sorted(out.glob("data/*/*.parquet"))
    return sorted(number for path in paths for number in pq.ParquetFile(path).read()["number"].to_pylist())


class Publisher:
    """The program."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "oracles.shard_publisher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def publish(self, line: int, out: Path, number: int, lot: str, numbers: list[int], launch: str = "first") -> bool:
        """Publishes, but dies before a line; returns whether it died."""
        asked = {"line": line, "out": str(out), "number": number, "lot": lot, "numbers": numbers, "launch": launch}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        ended = self._process.stdout.readline().strip()
        assert ended in ("killed", "ended 0"), ended
        return ended == "killed"

    def close(self) -> None:
        self._process.communicate(timeout=60)


@contextmanager
def publisher() -> Iterator[Publisher]:
    process = Publisher()
    try:
        yield process
    finally:
        process.close()


def main() -> None:
    for text in sys.stdin:
        asked = json.loads(text)
        child = os.fork()
        if child == 0:
            output = ShardOutput(Path(asked["out"]), 3, asked["launch"])
            _die_at(asked["line"])
            publish(output, asked["number"], asked["lot"], asked["numbers"], asked["launch"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended {status}", flush=True)


def _die_at(last: int) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            lines += 1
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


if __name__ == "__main__":
    main()

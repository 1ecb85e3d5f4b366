"""The whole ``consentry protect`` as a process, against a bare pyarrow copy of the same file in the same run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sample_rows import write_consents, write_orders

SUBJECTS = 100_000
COPY = """
import sys, pyarrow.parquet as pq
source = pq.ParquetFile(sys.argv[1])
with pq.ParquetWriter(sys.argv[2], source.schema_arrow, compression="snappy") as writer:
    for batch in source.iter_batches(65536):
        writer.write_batch(batch)
"""
POLICY = """
version: 1
purposes:
  fulfilment: {{basis: contract, says: "To deliver what you ordered."}}
  support: {{basis: consent, says: "So that our staff can look up your order."}}
info_types:
  customer_id: {{action: tokenize, format: surrogate, domain: customer, collect: [fulfilment]}}
  card: {{action: tokenize, format: pan, domain: card, collect: [fulfilment]{distribute}}}
  email: {{action: tokenize, format: email, domain: email, collect: [fulfilment]{distribute}}}
datasets:
  orders:
    subject: customer_id
    event_time: placed_at
    fields: {{order_id: keep, placed_at: keep, customer_id: customer_id, email: email, card: card,
             amount: keep, quantity: keep, country: keep}}
dead_letters: {{retain: 7d}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one process took: seconds of the clock, bytes of memory at its peak."""

    seconds: float
    peak_bytes: int


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row per size and mode: rows/s, the copy's rows/s, their ratio, and peak memory."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="consentry-bench-") as folder:
        place = Path(folder)
        project = _project(place / "project")
        for millions in (1, 4, 20):
            rows = int(millions * 1_000_000 * scale)
            source = place / "orders.parquet"
            write_orders(source, rows, subjects=SUBJECTS)
            copy = _measure([sys.executable, "-c", COPY, source, place / "copy.parquet"])
            (place / "copy.parquet").unlink()
            found.append(_row(f"protect without vault, {millions}M rows", rows, copy, _protect(project, source, False)))
            if millions == 4:
                found.append(
                    _row("protect with vault, 4M rows, first load", rows, copy, _protect(project, source, True))
                )
                found.append(_row("protect with vault, 4M rows, rerun", rows, copy, _protect(project, source, True)))
    return found


def _project(folder: Path) -> Path:
    _cli("init", str(folder), "--tenant", "bench")
    (folder / "with.yaml").write_text(POLICY.format(distribute=", distribute: [support]"))
    (folder / "without.yaml").write_text(POLICY.format(distribute=""))
    shutil.copy(folder / "with.yaml", folder / "policy.yaml")
    write_consents(folder / "consents.jsonl", SUBJECTS)
    _cli("consent", "import", str(folder / "consents.jsonl"), "--config", str(folder / "consentry.yaml"))
    return folder


def _protect(project: Path, source: Path, with_vault: bool) -> Measured:
    shutil.copy(project / ("with.yaml" if with_vault else "without.yaml"), project / "policy.yaml")
    out = project / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = ["protect", str(source), "--dataset", "orders", "--out", str(out)]
    return _measure([_program(), *command, "--config", str(project / "consentry.yaml")])


def _row(name: str, rows: int, copy: Measured, protect: Measured) -> dict[str, Any]:
    return {
        "name": name,
        "rate_per_s": rows / protect.seconds,
        "peer": "pyarrow copy",
        "peer_rate": rows / copy.seconds,
        "ratio": copy.seconds / protect.seconds,
        "peak_bytes": protect.peak_bytes,
    }


def _program() -> str:
    return str(Path(sys.executable).parent / "consentry")


def _cli(*arguments: str) -> None:
    subprocess.run([_program(), *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _measure(command: list[Any]) -> Measured:
    """Runs a process to its end; the peak is that of the process itself (``ru_maxrss`` of ``wait4``)."""
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([str(part) for part in command], **quiet)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        raise SystemExit(f"{command[1]} failed with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(seconds=seconds, peak_bytes=usage.ru_maxrss * unit)

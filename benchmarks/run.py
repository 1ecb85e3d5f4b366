"""``make bench``: prints every figure of docs/benchmarks.md and writes all of them as JSON to build/bench.json."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parent
SUITES = {
    "ff1": "FF1 over columns, Arrow string to Arrow string, one core",
    "tokens": "Token formats, Arrow string to Arrow string, one core",
    "stores": "Consent decisions, ledger and vault",
    "vault": "The vault, in SQLite and PostgreSQL, all cores",
    "protect": "The whole process, against a bare pyarrow copy",
    "detection": "Detection in texts: how fast, rows per second",
    "detection_quality": "Detection in texts and columns: how well",
    "streams": "Streams of orders over a broker on the same machine, both cores",
    "engines": "The unbounded graph: its plain parts on one core, and on Flink with both",
}


def main() -> None:
    """Runs the suites that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows; for a quick look")
    parser.add_argument("--write", action="store_true", help="also rewrite the tables of docs/benchmarks.md")
    chosen = parser.parse_args()
    results = {}
    for name in chosen.suites or SUITES:
        results[name] = _in_a_fresh_process(name, chosen.scale)
        _print(SUITES[name], results[name])
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": _cores()}
    report = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "scale": chosen.scale, "machine": machine}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps({**report, "suites": results}, indent=2) + "\n")
    if chosen.write:
        (ROOT / "docs" / "benchmarks.md").write_text(_document(report, results), encoding="utf-8")


def _in_a_fresh_process(name: str, scale: float) -> list[dict[str, Any]]:
    """Runs a suite by itself: a child's peak memory counts what its parent held when it was started."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_suite, name, scale).result()


def _run_suite(name: str, scale: float) -> list[dict[str, Any]]:
    sys.path.insert(0, str(HERE))
    found: list[dict[str, Any]] = importlib.import_module(f"bench_{name}").run(scale)
    return found


def _cores() -> int:
    import os

    return os.cpu_count() or 1


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if key in {"name", "limit", "peer"}:
        return str(value)
    if key.endswith("_bytes") and abs(value) < 2**20:
        return f"{value / 2**10:,.0f} KiB"
    if key == "peak_bytes":
        return f"{value / 2**20:,.0f} MiB"
    if "ratio" in key:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in _columns(rows):
        table.add_column(column, justify="left" if column in {"name", "limit", "peer"} else "right")
    for row in rows:
        table.add_row(*(_shown(column, row.get(column)) for column in _columns(rows)))
    Console().print(table)


def _document(report: dict[str, Any], results: dict[str, list[dict[str, Any]]]) -> str:
    machine = report["machine"]
    parts = [
        "# Benchmarks\n",
        f"Printed by `make bench` on {report['at'][:10]}, {machine['cores']} cores ({machine['machine']}), "
        f"Python {machine['python']}. Each row stands beside its limit or peer, measured in the same run: compare the "
        "ratios, not the rates of different machines. Rates are values or rows per second.\n",
    ]
    for name, rows in results.items():
        columns = _columns(rows)
        parts.append(f"## {SUITES[name]}\n")
        lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(_shown(column, row.get(column)) for column in columns) + " |" for row in rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()

"""Streams made-up orders over a real Kafka-protocol broker, kills the stream hard twice, and shows the books.

``make demo-stream`` runs it: half a minute of orders and consent changes, all below ``build/demo-stream``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
from demo_shop import Shop
from rich.console import Console
from rich.live import Live
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))
from servers.tansu import tansu_broker  # noqa: E402

PROGRAM = Path(sys.executable).with_name("consentry")
PLACE = ROOT / "build" / "demo-stream"
OUT = PLACE / "out"
SECONDS = 30.0
KILLS = (10.0, 20.0)
RATE = 3_000
"""Orders a second."""

console = Console()


def main() -> int:
    """Runs the demo and returns the exit code."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    consentry("init", str(PLACE / "shop"))
    with tansu_broker() as broker:
        shop = Shop(broker, RATE)
        shop.start()
        kills = run(shop, broker)
        shop.stopping.set()
        shop.join()
        console.print("\nThe shop is closed. Started once more, the stream reads what is left and stops.")
        stream(broker, "--until-idle").wait()
    return show(shop, kills)


def run(shop: Shop, broker: str) -> int:
    """Streams for half a minute, kills it on the way, and returns how often."""
    process, kills, began = stream(broker), 0, time.monotonic()
    with Live(console=console, refresh_per_second=4) as live:
        while (passed := time.monotonic() - began) < SECONDS:
            if kills < len(KILLS) and passed > KILLS[kills]:
                process.kill()
                process.wait()
                kills += 1
                process = stream(broker)
            live.update(counters(shop, kills, passed))
            time.sleep(0.25)
    process.kill()
    process.wait()
    return kills


def stream(broker: str, *more: str) -> subprocess.Popen[bytes]:
    """Starts the stream."""
    arguments = ["stream", "--dataset", "orders", "--from", f"kafka://{broker}/orders?group=demo", "--out", str(OUT)]
    arguments += ["--consents", f"kafka://{broker}/consents?group=demo", "--config", str(PLACE / "shop/consentry.yaml")]
    with (PLACE / "stream.log").open("ab") as log:
        return subprocess.Popen([PROGRAM, *arguments, *more], stdout=log, stderr=log)


def counters(shop: Shop, kills: int, passed: float) -> Table:
    """The live table."""
    books = status().get("books", {})
    table = Table(title=f"{passed:4.0f} s of {SECONDS:.0f}, killed {kills} times", title_justify="left")
    for name in ("orders sent", "consents sent", "in", "out", "dead letters", "epoch"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{shop.orders:,}",
        f"{shop.consents:,}",
        *(f"{books.get(name, 0):,}" for name in ("in", "out", "dead_lettered")),
        f"{status().get('epoch', 0):,}",
    )
    return table


def status() -> dict[str, Any]:
    """What the manifest of the last whole epoch says; to ask ``stream status`` each time would take long."""
    try:
        manifest = json.loads((OUT / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return {"books": manifest["books"], "epoch": manifest["stream"]["epochs"]}


def show(shop: Shop, kills: int) -> int:
    """Shows the balance, and returns 0 if all of it holds."""
    manifest = json.loads((OUT / "manifest.json").read_text())
    books = manifest["books"]
    rows, distinct = duckdb.sql(
        f"SELECT count(*), count(DISTINCT order_id) FROM read_parquet('{OUT}/data/*/*.parquet', union_by_name = true)"
    ).fetchall()[0]
    table = Table(title=f"The books after {kills + 1} hard ends", title_justify="left")
    table.add_column("")
    table.add_column("records", justify="right")
    for name, count in (
        ("sent", shop.orders),
        *books.items(),
        ("rows that readers find", rows),
        ("of them distinct", distinct),
    ):
        table.add_row(name.replace("_", "-"), f"{count:,}")
    console.print(table)
    vault, consent = manifest["vault"], manifest["consent"]
    console.print(f"Vault: {vault['written']:,} entries written, {vault['purged']:,} removed by later withdrawals.")
    console.print(f"Rows by consent: {', '.join(f'{count:,} {name}' for name, count in consent.items())}.")
    consentry("verify", str(OUT), "--config", str(PLACE / "shop/consentry.yaml"))
    whole = books["in"] == shop.orders and rows == distinct == books["out"] and not books["dropped"]
    verdict = "the books balance, nothing lost, nothing twice" if whole else "THE BOOKS DO NOT BALANCE"
    console.print(f"\nSent {shop.orders:,}, out {rows:,}, dead letters {books['dead_lettered']:,}: {verdict}")
    console.print("Try next, in build/demo-stream/shop:")
    console.print("  consentry stream status ../out")
    console.print("  consentry dead-letters list ../out")
    return 0 if whole else 1


def consentry(*arguments: str) -> None:
    """Runs a command and ends the demo if it fails."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        console.print(done.stderr)
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())

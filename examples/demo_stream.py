"""Streams made-up orders over a real Kafka-protocol broker, kills the stream hard twice, and shows the books.

``make demo-stream`` runs it: half a minute of orders and consent changes, all below ``build/demo-stream``.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
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
PARTITIONS = 2
CUSTOMERS = 400
CARDS = ("4111 1111 1111 1111", "5500-0055-5555-5559", "340000000000009", "6011000990139424", "4111111111111112")

console = Console()


class Shop(threading.Thread):
    """Sends orders and consent changes until it is stopped."""

    def __init__(self, broker: str) -> None:
        super().__init__(daemon=True)
        admin = AdminClient({"bootstrap.servers": broker})
        for made in admin.create_topics([NewTopic("orders", PARTITIONS, 1), NewTopic("consents", 1, 1)]).values():
            made.result()
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 5})
        self._rng = random.Random(7)
        self.stopping = threading.Event()
        self.orders = self.consents = 0

    def run(self) -> None:
        """Sends."""
        while not self.stopping.wait(0.05):
            for _ in range(RATE // 20):
                self._producer.produce("orders", self._order(), partition=self.orders % PARTITIONS)
                self.orders += 1
            for _ in range(3):
                self._producer.produce("consents", self._consent(), partition=0)
                self.consents += 1
            self._producer.poll(0)
        self._producer.flush()

    def _order(self) -> bytes:
        if self._rng.random() < 0.001:
            return b'{"order_id": "o-cut-off'
        customer = self._rng.randrange(CUSTOMERS)
        record = {
            "order_id": f"o-{self.orders:07d}",
            "placed_at": f"2026-07-{1 + self.orders // 20_000:02d}T10:00:00Z",
            "customer": {"id": f"c-{customer}", "email": f"kim{customer}@example.com"},
            "payment": {"card": {"number": self._rng.choice(CARDS), "cvv": "675"}},
            "items": [{"sku": "TEA-1", "quantity": 1, "price": 9.5}],
        }
        return json.dumps(record).encode()

    def _consent(self) -> bytes:
        event = {
            "subject": f"c-{self._rng.randrange(CUSTOMERS)}",
            "purpose": "support",
            "decision": self._rng.choice(["granted", "granted", "withdrawn"]),
            "effective_at": f"2026-06-{1 + self.consents % 28:02d}T00:00:00Z",
            "source": f"web-{self.consents}",
        }
        return json.dumps(event).encode()


def main() -> int:
    """Runs the demo and returns the exit code."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    consentry("init", str(PLACE / "shop"))
    with tansu_broker() as broker:
        shop = Shop(broker)
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

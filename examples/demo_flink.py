"""Protects made-up orders on a real Flink cluster, kills its TaskManager hard on the way, and shows the books.

``make demo-flink`` runs it: a cluster, a Kafka, and half a minute of orders and consent changes, all below
``build/demo-flink``. Nothing of it runs any longer when it ends, however it ends.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import duckdb
from demo_shop import Shop
from rich.console import Console
from rich.live import Live
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))
from servers.apache_kafka import apache_kafka  # noqa: E402
from servers.engines import FLINK, KAFKA, EngineError, engine_folder  # noqa: E402
from servers.flink import Flink, flink_cluster  # noqa: E402

PROGRAM = Path(sys.executable).with_name("consentry")
PLACE = ROOT / "build" / "demo-flink"
OUT = PLACE / "out"
CONFIG = ("--config", str(PLACE / "shop" / "consentry.yaml"))
RATE = 1_000
"""Orders a second."""
OPEN_SECONDS = 25.0
"""How long the shop is open once its first orders are protected."""
KILL_AFTER = 8.0
SETTLE_SECONDS = 90.0
PARALLELISM = 2
MISSING, FAILED, INTERRUPTED = 2, 1, 130

console = Console()


class MissingError(Exception):
    """The machine lacks a tool; the text says which."""


class StepError(Exception):
    """A step ended otherwise than it should; the text says how."""


def main() -> int:
    """Runs the demo and returns the exit code: 2 where a tool is missing, 1 where something failed."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        fetch_engines()
        return demo()
    except MissingError as lacking:
        console.print(f"make demo-flink cannot run: {lacking}", markup=False, soft_wrap=True)
        return MISSING
    except (StepError, EngineError, RuntimeError) as failure:
        console.print(f"The demo failed.\n{failure}\nWhat all parts said is below {PLACE}.", markup=False)
        return FAILED
    except KeyboardInterrupt:
        console.print("\nInterrupted; nothing of it runs any longer.")
        return INTERRUPTED


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def fetch_engines() -> None:
    """Makes sure that Flink and Apache Kafka are there.

    Raises:
        MissingError: A tool is missing that runs or fetches them.
    """
    absent = sorted({tool for engine in (FLINK, KAFKA) for tool in engine.absent_tools()})
    if absent:
        names = {"java": "java (a JDK, 17 or newer)", "mvn": "mvn (Maven, which fetches Flink and Apache Kafka)"}
        told = " and ".join(names.get(tool, tool) for tool in absent)
        raise MissingError(f"{told} not found on the PATH; install it, or put it there, and try again")
    for engine in (FLINK, KAFKA):
        engine_folder(engine)


def demo() -> int:
    """Runs the demo on a machine that has all of it, and returns the exit code."""
    shutil.rmtree(PLACE, ignore_errors=True)
    for name in ("kafka", "flink"):
        (PLACE / name).mkdir(parents=True)
    try:
        console.print("A project, a Kafka, and a Flink cluster: a JobManager and a TaskManager …")
        consentry("init", str(PLACE / "shop"))
        with apache_kafka(PLACE / "kafka") as broker, flink_cluster(PLACE / "flink", slots=PARALLELISM) as flink:
            shop = Shop(broker.address, RATE)
            with launched(flink, broker.address) as launcher:
                kills = flow(shop, flink, launcher)
            flink.jobs.stop(flink.newest_job(), flink.savepoints, seconds=60)
            console.print("The shop is closed, and the job was stopped with a savepoint.")
        consentry("stream", "seal", str(OUT), *CONFIG)
        whole = show_books(shop, kills)
        show_desk()
        show_next()
        return 0 if whole else FAILED
    finally:
        for heavy in ("kafka/data", "flink/checkpoints", "flink/savepoints", "flink/tmp", "flink/artifacts"):
            shutil.rmtree(PLACE / heavy, ignore_errors=True)


@contextmanager
def launched(flink: Flink, broker: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yields the program that has launched the stream and watches it; it ends with the block, the stream does not."""
    arguments = ["stream", "--dataset", "orders", "--from", f"kafka://{broker}/orders", "--out", str(OUT)]
    arguments += ["--consents", f"kafka://{broker}/consents", "--lanes", str(PARALLELISM), "--shards", "8", *CONFIG]
    runner = [each for each in flink.arguments(parallelism=PARALLELISM) if each != "--streaming"]
    console.print(f"consentry {' '.join(arguments[:3])} … {' '.join(runner[:3])} …", markup=False, highlight=False)
    with (PLACE / "stream.log").open("ab") as log:
        process = subprocess.Popen([PROGRAM, *arguments, *runner], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def flow(shop: Shop, flink: Flink, launcher: subprocess.Popen[bytes]) -> int:
    """Has orders flow for some time, kills the TaskManager on the way, and waits until all of them are settled.

    Returns:
        How often it was killed.
    """
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        shop.start()
        try:
            began = watch(shop, launcher, live, "starting", SETTLE_SECONDS, lambda: books().get("in", 0) > 0)
            watch(shop, launcher, live, "running", KILL_AFTER, None)
            live.update(counters(shop, "TaskManager killed by kill -9; a new one starts"))
            flink.kill_taskmanager()
            flink.start_taskmanager()
            left = OPEN_SECONDS - (time.monotonic() - began)
            watch(shop, launcher, live, "a new TaskManager took over", max(left, 5.0), None)
        finally:
            shop.stopping.set()
            shop.join()
        watch(shop, launcher, live, "closed", SETTLE_SECONDS, lambda: books().get("in", 0) >= shop.orders)
    return 1


def watch(
    shop: Shop,
    launcher: subprocess.Popen[bytes],
    live: Live,
    phase: str,
    seconds: float,
    reached: Callable[[], bool] | None,
) -> float:
    """Shows counters for some seconds, or until something is reached; returns when that was.

    Raises:
        StepError: It was not reached in that time, or the launcher has ended.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if launcher.poll() is not None:
            raise StepError((PLACE / "stream.log").read_text(errors="replace")[-2000:])
        live.update(counters(shop, phase))
        if reached is not None and reached():
            return time.monotonic()
        time.sleep(0.25)
    if reached is not None:
        raise StepError(f"{phase}: not done within {seconds:.0f} s; {books().get('in', 0):,} of {shop.orders:,} orders")
    return time.monotonic()


def counters(shop: Shop, phase: str) -> Table:
    """The live table."""
    known = books()
    table = Table(title=f"On Flink: {phase}", title_justify="left")
    for name in ("orders sent", "consents sent", "in", "out", "dead letters"):
        table.add_column(name, justify="right")
    figures = [known.get(name, 0) for name in ("in", "out", "dead_lettered")]
    table.add_row(*(f"{count:,}" for count in (shop.orders, shop.consents, *figures)))
    return table


def manifest() -> dict[str, Any]:
    """What the launcher has signed last; nothing yet: empty."""
    try:
        found: dict[str, Any] = json.loads((OUT / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def books() -> dict[str, int]:
    """The books of the newest manifest."""
    found: dict[str, int] = manifest().get("books", {})
    return found


def show_books(shop: Shop, kills: int) -> bool:
    """Shows the balance, verifies the output, and returns whether all of it holds."""
    sealed = manifest()
    known = sealed["books"]
    rows, distinct = duckdb.sql(
        f"SELECT count(*), count(DISTINCT order_id) FROM read_parquet('{OUT}/data/*/*.parquet', union_by_name = true)"
    ).fetchall()[0]
    table = Table(title=f"The books, {kills} TaskManager killed on the way", title_justify="left")
    table.add_column("")
    table.add_column("records", justify="right")
    counts = {"sent": shop.orders, **known, "rows that readers find": rows, "of them distinct": distinct}
    for name, count in counts.items():
        table.add_row(name.replace("_", "-"), f"{count:,}")
    console.print(table)
    vault = sealed["vault"]
    console.print(f"Vault: {vault['written']:,} entries written, {vault['purged']:,} removed by later withdrawals.")
    checks = json.loads(consentry("verify", str(OUT), "--json", *CONFIG))["checks"]
    console.print(f"consentry verify: {', '.join(check['check'] for check in checks)}: all good")
    whole = known["in"] == shop.orders and rows == distinct == known["out"] and not known["dropped"]
    verdict = "the books balance, nothing lost, nothing twice" if whole else "THE BOOKS DO NOT BALANCE"
    console.print(f"Sent {shop.orders:,}, out {rows:,}, dead letters {known['dead_lettered']:,}: {verdict}")
    return whole


def show_desk() -> None:
    """Has a fraud analyst ask for the raw value of a card in the protected output, and a marketing person ask, too."""
    token = duckdb.sql(
        f"SELECT payment.card.number FROM read_parquet('{OUT}/data/*/*.parquet', union_by_name = true) "
        "WHERE payment.card.number <> '[redacted]' ORDER BY order_id LIMIT 1"
    ).fetchall()[0][0]
    console.print(f"\nIn the output there is the card {token}. Who may know what it stands for?", highlight=False)
    for actor, role, purpose in (("frieda", "fraud_analyst", "fraud_review"), ("ana", "support_agent", "fulfilment")):
        asked = ("detokenize", "card", token, "--purpose", purpose, "--role", role, "--actor", actor, "--json")
        (answer,) = json.loads(consentry(*asked, *CONFIG, codes=(0, 1)))
        told = answer["value"] if answer["decision"] == "allowed" else answer["says"]
        console.print(f"  {actor}, {role}, for {purpose}: {answer['decision']}: {told}", markup=False, highlight=False)


def show_next() -> None:
    """Says what to try next."""
    console.print("\nTry next, in build/demo-flink/shop:")
    console.print("  consentry stream close ../out        the stream is over: redact and retokenize take it from here")
    console.print("  consentry dead-letters list ../out")


def consentry(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Runs a command and returns what it printed.

    Raises:
        StepError: It ended with another code than one of ``codes``.
    """
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise StepError(f"consentry {' '.join(arguments)}\nended with exit code {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())

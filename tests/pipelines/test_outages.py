"""A server, or the key service, is gone in the middle of a run: no raw output, nothing lost, on or cleanly again.

The limits are those that people have. In the gate an outage lasts seconds; ``CONSENTRY_SOAK=1`` (``make soak``) lets
it last minutes, as an outage does. What each run went through is printed (``pytest -s``).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consentry.schemas.project import KEY_SETS
from oracles.server_shop import moved
from oracles.shop_commands import AT, PROGRAM, Shop, order, write_lines
from oracles.stream_shop import StreamProcess, ended, wait_for
from servers.cloud_kms import CloudKms, cloud_kms
from servers.postgres import Postgres

SOAK = os.environ.get("CONSENTRY_SOAK") == "1"
AWAY = 150.0 if SOAK else 4.0
"""Seconds; longer than a connection is tried, than a transaction is done again at once, and than KMS is waited for."""
KMS_SECONDS = 60.0 if SOAK else 2.0
"""Its default, and in the gate less by its documented setting."""
COUNT = 6000
FILES = 12
PER_FILE = 250

pytestmark = pytest.mark.slow


def card(number: int) -> str:
    """A card number of its own."""
    digits = f"411111{number:09d}"
    doubled = (sum(divmod(int(d) * 2, 10)) if place % 2 == 0 else int(d) for place, d in enumerate(digits[::-1]))
    return digits + str(-sum(doubled) % 10)


def orders(numbers: range) -> list[dict[str, Any]]:
    """Orders, each with a customer and a card of its own."""
    made = [order(number, customer={"id": f"k-{number}", "email": f"k{number}@canary.example"}) for number in numbers]
    for number, each in zip(numbers, made, strict=True):
        each["payment"]["card"]["number"] = card(number)
    return made


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def server_shop(shop: Shop, postgres: Postgres, database: str) -> Shop:
    moved(shop, postgres.uri(database))
    return shop


@contextmanager
def kms_of(shop: Shop) -> Iterator[tuple[CloudKms, dict[str, str]]]:
    """A key service that wraps all key sets of a shop, and the environment that names it."""
    with cloud_kms() as kms:
        environment = {**os.environ, "CONSENTRY_KMS_ENDPOINT": kms.address}
        if not SOAK:
            environment["CONSENTRY_KMS_TIMEOUT"] = str(KMS_SECONDS)
        uri = kms.add_key("all")
        for key_set in KEY_SETS:
            moving = shop.process("keys", "rewrap", key_set, "--to", uri, CONSENTRY_KMS_ENDPOINT=kms.address)
            assert moving.code == 0, moving.err
        (shop.folder / "kek.key").unlink()
        kms.calls.clear()
        yield kms, environment


def protecting(shop: Shop, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    write_lines(shop.orders, orders(range(COUNT)))
    command = [PROGRAM, "protect", shop.orders, "--dataset", "orders", "--at", AT, "--out", shop.place / "busy"]
    return subprocess.Popen(
        [*command, "--config", shop.config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )


def wait_for_the_vault(postgres: Postgres, database: str, program: subprocess.Popen[bytes]) -> None:
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%wanted%%' AND xact_start <> now()"
    )
    with postgres.connect() as connection:
        while program.poll() is None and connection.execute(asked, (database,)).fetchone() == (0,):
            time.sleep(0.001)


def nothing_raw(shop: Shop, *seen: bytes) -> None:
    """Searches what was said, written and logged for cards and addresses, those of the input alone excepted."""
    files = [path for path in shop.place.rglob("*") if path.is_file() and "inbox" not in path.parts]
    everything = b"".join([*seen, *(path.read_bytes() for path in files if path != shop.orders)])
    assert not any(card(number).encode() in everything for number in range(COUNT))
    assert b"@canary.example" not in everything


def told(what: str, **figures: Any) -> None:
    print(f"\n{what}: " + json.dumps(figures, default=str))


def complete(shop: Shop, out: Path, count: int) -> None:
    assert shop.run("verify", out).code == 0
    status = shop.run("vault", "status", "--json").json()
    held = sum(each["entries"] for each in status["vault"]["fields"] if each["domain"] == "card")
    assert held == count + 6, "each card once, beside those of the shop"


def test_a_run_whose_server_is_away_for_long_goes_on(server_shop: Shop, postgres: Postgres, database: str) -> None:
    with protecting(server_shop) as program:
        wait_for_the_vault(postgres, database, program)
        assert program.poll() is None
        postgres.crash()
        gone = time.monotonic()
        time.sleep(AWAY)
        assert program.poll() is None and not (server_shop.place / "busy").exists()
        postgres.start()
        away = time.monotonic() - gone
        said = program.communicate(timeout=300)[1]
    assert program.returncode == 0, said
    assert len(server_shop.rows(server_shop.place / "busy")) == COUNT
    complete(server_shop, server_shop.place / "busy", COUNT)
    nothing_raw(server_shop, said, postgres.log.read_bytes())
    told("batch, PostgreSQL", away=away, records_in=COUNT, out=len(server_shop.rows(server_shop.place / "busy")),
         said=said.decode()[-300:])  # fmt: skip


class Inbox:
    """A folder of files of orders, which come one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.files = 0

    def more(self, files: int) -> None:
        for _ in range(files):
            lines = orders(range(self.files * PER_FILE, (self.files + 1) * PER_FILE))
            hidden = write_lines(self.folder / f".part-{self.files:03}.jsonl", lines)
            hidden.rename(self.folder / f"part-{self.files:03}.jsonl")
            self.files += 1


@contextmanager
def streaming(shop: Shop, inbox: Inbox, **environment: str) -> Iterator[StreamProcess]:
    arguments = ["--dataset", "orders", "--from", f"dir://{inbox.folder}", "--out", str(shop.place / "stream")]
    process = StreamProcess([*arguments, "--config", str(shop.config)], shop.place / "stream.log")
    kept = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with process:
            yield process
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def published(shop: Shop) -> int:
    try:
        return int(ended(shop.place / "stream")[0].total())
    except (FileNotFoundError, ValueError):
        return 0


def through_an_outage(shop: Shop, inbox: Inbox, process: StreamProcess, stop: Any, start: Any) -> dict[str, Any]:
    """Streams before, during and after an outage, and returns what came of it; the stream is never started again."""
    inbox.more(FILES // 3)
    process.start()
    wait_for(lambda: published(shop) >= PER_FILE)
    inbox.more(FILES // 3)
    stop()
    gone, before = time.monotonic(), published(shop)
    time.sleep(AWAY)
    alive, meanwhile = process.alive(), published(shop)
    start()
    away = time.monotonic() - gone
    inbox.more(FILES - inbox.files)
    if not alive:
        process.start()
    wait_for(lambda: published(shop) >= FILES * PER_FILE, 300)
    back = time.monotonic() - gone - away
    assert process.terminate() == 0
    return {"away": away, "alive": alive, "before": before, "meanwhile": meanwhile, "after": back}


def all_once(shop: Shop) -> None:
    ids, letters, dropped = ended(shop.place / "stream")
    assert set(ids.values()) == {1} and len(ids) == FILES * PER_FILE and (letters, dropped) == (0, 0)
    complete(shop, shop.place / "stream", FILES * PER_FILE)


def test_a_stream_whose_server_is_away_for_long_goes_on(server_shop: Shop, postgres: Postgres) -> None:
    inbox = Inbox(server_shop.place / "inbox")
    with streaming(server_shop, inbox) as process:
        seen = through_an_outage(server_shop, inbox, process, postgres.crash, postgres.start)
    assert seen["alive"], process.log.read_text()
    all_once(server_shop)
    nothing_raw(server_shop, process.log.read_bytes(), postgres.log.read_bytes())
    told("stream, PostgreSQL", records_in=FILES * PER_FILE, out=published(server_shop), **seen,
         said=process.log.read_text()[-600:])  # fmt: skip


def test_a_run_that_has_its_keys_does_not_need_the_key_service(shop: Shop) -> None:
    with kms_of(shop) as (kms, environment), protecting(shop, environment) as program:
        while program.poll() is None and kms.count("Decrypt") < len(KEY_SETS):
            time.sleep(0.01)
        kms.stop()
        gone = time.monotonic()
        said = program.communicate(timeout=AWAY + 300)[1]
        asked = kms.count("Decrypt")
        refused = shop.process("protect", shop.orders, "--dataset", "orders", "--at", AT, "--out", shop.place / "no",
                               **{k: v for k, v in environment.items() if k.startswith("CONSENTRY_KMS")})  # fmt: skip
        waited = time.monotonic() - gone
        assert not (shop.place / "no").exists()
        time.sleep(max(0.0, AWAY - waited))
        kms.start()
        away = time.monotonic() - gone
        again = shop.process("protect", shop.orders, "--dataset", "orders", "--at", AT, "--out", shop.place / "no",
                             **{k: v for k, v in environment.items() if k.startswith("CONSENTRY_KMS")})  # fmt: skip
    assert program.returncode == 0, said
    assert refused.code == 3 and "Cloud KMS gives no answer" in refused.said, refused
    assert again.code == 0, again.err
    assert len(shop.rows(shop.place / "busy")) == len(shop.rows(shop.place / "no")) == COUNT
    nothing_raw(shop, said, refused.err.encode(), again.err.encode())
    told("batch, KMS", away=away, calls=asked, run=program.returncode, begun_meanwhile=refused.code,
         said=refused.said[-300:], records_in=COUNT, out=len(shop.rows(shop.place / "no")))  # fmt: skip


def test_a_stream_outlives_the_key_service(shop: Shop) -> None:
    inbox = Inbox(shop.place / "inbox")
    with kms_of(shop) as (kms, environment):
        named = {name: value for name, value in environment.items() if name.startswith("CONSENTRY_KMS")}
        with streaming(shop, inbox, **named) as process:
            seen = through_an_outage(shop, inbox, process, kms.stop, kms.start)
        os.environ.update(named)
        try:
            all_once(shop)
        finally:
            for name in named:
                del os.environ[name]
    nothing_raw(shop, process.log.read_bytes())
    told("stream, KMS", records_in=FILES * PER_FILE, out=FILES * PER_FILE, **seen, calls=kms.count("Decrypt"),
         said=process.log.read_text()[-600:])  # fmt: skip

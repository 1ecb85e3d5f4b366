"""A stream over a real broker, killed at random moments while events keep coming: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.desk import open_stores
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.verify import verify_output
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from oracles.stream_shop import CARD, PROGRAM, SUBJECTS, StreamProcess, consent, ended, letter_places, order, wait_for
from servers.availability import Server, require
from servers.tansu import tansu_broker

KILLS = 200 if os.environ.get("CONSENTRY_SOAK") else 10
PARTITIONS = 3
RATE = 2_000
"""Orders a second."""


@pytest.fixture
def broker() -> Iterator[str]:
    require(Server.TANSU)
    with tansu_broker() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=time.time_ns() // 1000 - 86_400_000_000)
    return read_project(tmp_path / "shop" / "consentry.yaml")


class Shop(threading.Thread):
    """Produces orders and consents until it is stopped, and remembers what it produced.

    Args:
        address: Of the broker.
        seed: For what is broken, and who decides what.
    """

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._rng = random.Random(seed)
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": 5})
        admin = AdminClient({"bootstrap.servers": address})
        for made in admin.create_topics([NewTopic("orders", PARTITIONS, 1), NewTopic("consents", 1, 1)]).values():
            made.result()
        self._closing = threading.Event()
        self.orders: dict[str, bytes] = {}
        self.placed: Counter[tuple[str, int]] = Counter()
        self.consents: set[tuple[int, int, str]] = set()

    def run(self) -> None:
        while not self._closing.is_set():
            for _ in range(RATE // 20):
                self._order()
            if self._rng.random() < 0.5:
                self._consent()
            self._producer.poll(0)
            time.sleep(0.05)
        assert self._producer.flush(30) == 0

    def stop(self) -> None:
        self._closing.set()
        self.join()

    def _order(self) -> None:
        number = len(self.orders)
        value = order(number, self._rng)
        self.orders[f"o-{number:07d}"] = value
        self._producer.produce(
            "orders",
            value,
            partition=number % PARTITIONS,
            on_delivery=lambda _, sent: self.placed.update([(f"orders/{sent.partition()}", sent.offset())]),
        )

    def _consent(self) -> None:
        event = (self._rng.randrange(SUBJECTS), self._rng.randrange(1, 28), self._rng.choice(["granted", "withdrawn"]))
        self.consents.add(event)
        subject, day, decision = event
        self._producer.produce("consents", consent(subject, decision, day), partition=0)

    def last_orders(self) -> None:
        """Sends an order of each customer, sound or not, often enough."""
        for _ in range(4 * SUBJECTS):
            self._order()
        assert self._producer.flush(30) == 0

    def granting(self) -> set[int]:
        """Customers whose latest decision is a grant; of one instant, a withdrawal wins."""
        latest = {
            subject: max(day for each, day, _ in self.consents if each == subject) for subject, _, _ in self.consents
        }
        return {subject for subject, day in latest.items() if (subject, day, "withdrawn") not in self.consents}


def ledger_entries(project: Project) -> int:
    connection = sqlite3.connect(project.ledger.removeprefix("sqlite:"))
    try:
        ((count,),) = connection.execute("SELECT count(*) FROM entries").fetchall()
    finally:
        connection.close()
    return int(count)


def vault_emails(project: Project) -> set[str]:
    with open_stores(project) as stores:
        found = set()
        for part in stores.vault._table.some(10**6):
            columns = part.without_values()
            if columns.domain == "email":
                for token in columns.tokens.to_pylist():
                    found |= {stores.vault.open_value(entry) for entry in stores.vault.find("email", token)}
        return found


def test_a_stream_that_is_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, broker: str, project: Project
) -> None:
    rng, out = random.Random(1), tmp_path / "out"
    shop = Shop(broker, 2)
    stream = StreamProcess(
        [
            *("--dataset", "orders", "--from", f"kafka://{broker}/orders?group=g", "--out", str(out)),
            *(
                "--consents",
                f"kafka://{broker}/consents?group=c",
                "--config",
                str(tmp_path / "shop" / "consentry.yaml"),
            ),
            *("--latency", "100"),
        ],
        tmp_path / "log",
    )
    with stream:
        shop.start()
        for _ in range(KILLS):
            stream.start()
            # Most of a start is imports; half of the kills come while it works, the others at any moment.
            if rng.random() < 0.5:
                before = epochs(out)
                wait_for(lambda before=before: epochs(out) > before or not stream.alive())  # type: ignore[misc]
            time.sleep(rng.random() * 1.5)
            stream.kill()
        shop.stop()
        stream.start()
        wait_for(lambda: ledger_entries(project) == len(shop.consents))
        shop.last_orders()
        stream.kill()
        stream.finish()
    ids, letters, dropped = ended(out)
    assert max(ids.values()) == 1
    assert dropped == 0
    assert len(ids) + letters == len(shop.orders)
    lettered = letter_places(out)
    assert max(lettered.values(), default=1) == 1
    assert set(ids) <= set(shop.orders)
    assert set(shop.orders) - set(ids) == {name for name, value in shop.orders.items() if is_broken(value)}
    assert verify_output(str(out), PublicKeys.load(project.trust)).ok
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["books"] == {"in": len(shop.orders), "out": len(ids), "dropped": 0, "dead_lettered": letters}
    assert vault_emails(project) == {f"kim{subject}@example.com" for subject in shop.granting()}
    assert manifest["stream"]["corrections"] == manifest["vault"]["purged"] > 0
    assert CARD.encode() not in (tmp_path / "log").read_bytes()


def is_broken(value: bytes) -> bool:
    return any(sign in value for sign in (b"yesterday", b"broken", b"["))


def epochs(out: Path) -> int:
    try:
        found: int = json.loads((out / "manifest.json").read_text())["stream"]["epochs"]
    except (OSError, ValueError):
        return 0
    return found


def test_two_streams_do_not_write_to_one_output(tmp_path: Path, broker: str, project: Project) -> None:
    shop = Shop(broker, 2)
    shop.start()
    arguments = [
        *("--dataset", "orders", "--from", f"kafka://{broker}/orders?group=g", "--out", str(tmp_path / "out")),
        *("--config", str(tmp_path / "shop" / "consentry.yaml")),
    ]
    with StreamProcess(arguments, tmp_path / "log") as stream:
        stream.start()
        wait_for(lambda: epochs(tmp_path / "out") > 0)
        second = subprocess.run([PROGRAM, "stream", *arguments], capture_output=True, text=True, check=False)
        assert second.returncode == 2
        shop.stop()
        assert stream.terminate() == 0
    assert "another stream writes to it" in second.stderr

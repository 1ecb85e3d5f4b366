"""Orders and consents over a real Kafka, protected on real engines, compared with a slow oracle order by order.

``CONSENTRY_SOAK=1`` takes 200,000 orders.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.desk import open_stores
from consentry.pipelines.engines.launch import EngineOptions, run_on_engine
from consentry.pipelines.engines.topic_verify import verify_topic
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.verify import verify_output
from consentry.schemas.manifest import Manifest
from consentry.schemas.project import Project, read_project
from consentry.transforms.access.detokenize import distribution_rules
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.crypto.subject_references import subject_reference
from oracles.engine_shop import CARD_PATH, Shop
from oracles.stream_oracle import BASES, Rules, policy_text
from servers.apache_kafka import ApacheKafka
from servers.fixtures import ON_FLINK
from servers.flink import Flink

SOAK = os.environ.get("CONSENTRY_SOAK") == "1"
ORDERS = 200_000 if SOAK else 8_000
SUBJECTS = 20_000 if SOAK else 1_000
ROUNDS = 4
KILLS = 10 if SOAK else 2
SECONDS = 900 if SOAK else 240
RULES = Rules(BASES, ["support", "analytics"], {"customer": ["news"], "card": ["support", "news"]}, ["support"])


def now() -> int:
    return time.time_ns() // 1000


class Run:
    """A stream on an engine that is launched in a thread, and what its newest manifest says."""

    def __init__(self, folder: Path, shop: Shop, broker: ApacheKafka, arguments: list[str], *, lanes: int = 1,
                 to: str | None = None, on_topic: bool = False) -> None:  # fmt: skip
        write_project(folder / "shop", tenant="shop", now=now())
        (folder / "shop/policy.yaml").write_text(policy_text(RULES, CARD_PATH))
        self.project: Project = read_project(folder / "shop/consentry.yaml")
        self.out = f"kafka://{broker.address}/{shop.protected_topic}" if on_topic else str(folder / "out")
        self._shop = shop
        self._options = EngineOptions(
            dataset="orders",
            source=f"kafka://{broker.address}/{shop.orders_topic}",
            consents=f"kafka://{broker.address}/{shop.consents_topic}",
            out=self.out,
            to=to,
            runner="",
            lanes=lanes,
            shards=8,
            latency=0.5,
        )
        self._stop = threading.Event()
        self.resume(arguments)
        self.newest: Manifest | None = None

    def resume(self, arguments: list[str]) -> None:
        """Launches with other arguments of the runner from now on."""
        runner, *rest = (each for each in arguments if each != "--streaming")
        self._options = replace(self._options, runner=runner.removeprefix("--runner="), arguments=rest)

    def drive(self, work: Callable[[], None]) -> None:
        """Runs the stream until the work is done, which runs beside it; the launcher wants the main thread."""
        failures: list[BaseException] = []

        def worked() -> None:
            try:
                work()
            except BaseException as failure:
                failures.append(failure)
            self._stop.set()

        self._stop.clear()
        thread = threading.Thread(target=worked, daemon=True)
        thread.start()
        try:
            run_on_engine(self.project, self._options, watch=self._watch, stop=self._stop)
        finally:
            self._stop.set()
            thread.join(60)
        assert not failures, failures[0]

    def _watch(self, manifest: Manifest) -> None:
        self.newest = manifest

    def wait_until_settled(self, *, meanwhile: Callable[[], Any] = lambda: None) -> None:
        end = time.monotonic() + SECONDS
        while self.newest is None or self.newest.books.in_ < self._shop.produced.orders:
            assert time.monotonic() < end, self.newest and self.newest.books
            assert not self._stop.is_set()
            meanwhile()
            time.sleep(0.2)


def check(run: Run, shop: Shop) -> None:
    """Compares rows, letters, books and vault with the oracle."""
    trust, on_topic = PublicKeys.load(run.project.trust), run.out.startswith("kafka://")
    if on_topic:
        shop.check_topic()
    else:
        shop.check(Path(run.out))
    produced, manifest = shop.produced, run.newest
    assert manifest is not None
    books = manifest.books
    assert (books.in_, books.dropped, books.out) == (produced.orders, produced.dropped, len(produced.fates))
    report = verify_topic(run.out, trust) if on_topic else verify_output(run.out, trust)
    assert report.ok, report.checks
    with open_stores(run.project) as stores:
        policy_rules = distribution_rules(_policy(run.project))
        stores.vault.follow(stores.ledger, policy_rules, now())
        vault: Any = stores.vault
        held = {(key.subject_ref, time) for entries in vault._table.judged(None) for key, time in entries}
        wanted = {(subject_reference(who, stores.keys.reference_key), at) for (_, who), at in produced.held.items()}
        assert held == wanted
        with closing(stores.ledger):
            assert sum(vault.counts().values()) == len(produced.held)


def _policy(project: Project) -> Any:
    from consentry.schemas.policy_file import read_policy

    return read_policy(project.policy)


def rounds(run: Run, shop: Shop, meanwhile: Callable[[], Any] = lambda: None) -> None:
    for number in range(ROUNDS):
        shop.round(number, ORDERS // ROUNDS)
        run.wait_until_settled(meanwhile=meanwhile)


def shop_of(kafka: ApacheKafka, name: str, seed: int) -> Shop:
    return Shop(kafka.address, name, RULES, subjects=SUBJECTS, now=now(), seed=seed)


@ON_FLINK
def test_prism_settles_every_order_as_the_oracle_says_and_a_topic_has_them_too(
    kafka: ApacheKafka, prism: list[str], tmp_path: Path
) -> None:
    shop = shop_of(kafka, "prism", 1)
    run = Run(tmp_path, shop, kafka, prism, lanes=2, to=f"kafka://{kafka.address}/{shop.protected_topic}")
    run.drive(lambda: rounds(run, shop))
    check(run, shop)
    assert shop.fates_on_topic() == shop.produced.fates


@ON_FLINK
@pytest.mark.parametrize("parallelism", [1, 4])
def test_flink_settles_every_order_as_the_oracle_says(
    kafka: ApacheKafka, flink: Flink, tmp_path: Path, parallelism: int
) -> None:
    shop = shop_of(kafka, f"flink-{parallelism}", parallelism)
    run = Run(tmp_path, shop, kafka, flink.arguments(parallelism=parallelism), lanes=parallelism)
    run.drive(lambda: rounds(run, shop))
    check(run, shop)
    assert_nothing_raw(shop, flink)


def assert_nothing_raw(shop: Shop, flink: Flink) -> None:
    """Searches the checkpoints, and all that a cluster has said and put down since it began, for raw values."""
    held: dict[Path, bytes] = {}
    for path in flink.folder.rglob("*"):
        with suppress(FileNotFoundError):  # of a checkpoint that is replaced meanwhile
            held |= {path: path.read_bytes()} if path.is_file() else {}
    assert any("checkpoints" in path.parts for path in held)
    assert all(held[flink.folder / f"{name}.log"] for name in ("jobmanager", "taskmanager", "jobserver", "pool"))
    assert not {path: found for path, data in held.items() if (found := shop.raw_in(data))}


class Killer:
    """Kills TaskManagers and Python workers in turn, while orders flow; each time something must have come further."""

    def __init__(self, flink: Flink, run: Run) -> None:
        self._flink = flink
        self._run = run
        self._next = time.monotonic() + 5
        self.kills = 0

    def __call__(self) -> None:
        if self.kills >= KILLS or time.monotonic() < self._next or self._run.newest is None:
            return
        if self.kills % 2:
            self._flink.kill_workers()
        else:
            self._flink.kill_taskmanager()
            self._flink.start_taskmanager()
        self.kills += 1
        self._next = time.monotonic() + 10


@ON_FLINK
def test_prism_settles_every_order_on_a_topic_as_the_oracle_says(
    kafka: ApacheKafka, prism: list[str], tmp_path: Path
) -> None:
    shop = shop_of(kafka, "prism-topic", 2)
    run = Run(tmp_path, shop, kafka, prism, lanes=2, on_topic=True)
    run.drive(lambda: rounds(run, shop))
    check(run, shop)


@ON_FLINK
@pytest.mark.parametrize("on_topic", [False, True], ids=["files", "topic"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_flink_loses_and_doubles_nothing_while_taskmanagers_and_workers_are_killed(
    kafka: ApacheKafka, flink: Flink, tmp_path: Path, on_topic: bool
) -> None:
    shop = shop_of(kafka, f"flink-kills-{on_topic}", 5)
    run = Run(tmp_path, shop, kafka, flink.arguments(parallelism=2, checkpoint_ms=500), lanes=2, on_topic=on_topic)
    killer = Killer(flink, run)

    def work() -> None:
        rounds(run, shop, killer)
        number = ROUNDS
        while killer.kills < KILLS:
            shop.round(number, ORDERS // ROUNDS // 4)
            run.wait_until_settled(meanwhile=killer)
            number += 1
        # What was published before the last kill may be taken back for a moment; what follows comes behind that.
        shop.round(number, ORDERS // ROUNDS // 4)
        run.wait_until_settled()

    run.drive(work)
    check(run, shop)
    assert killer.kills == KILLS
    assert_nothing_raw(shop, flink)


@ON_FLINK
def test_a_stream_goes_on_from_a_savepoint_and_drained_from_nothing_at_all(
    kafka: ApacheKafka, flink: Flink, tmp_path: Path
) -> None:
    shop = shop_of(kafka, "flink-stops", 6)
    run = Run(tmp_path, shop, kafka, flink.arguments(checkpoint_ms=500), lanes=1)

    def one_round(number: int) -> Callable[[], None]:
        def work() -> None:
            shop.round(number, ORDERS // ROUNDS)
            run.wait_until_settled()

        return work

    run.drive(one_round(0))
    savepoint = flink.jobs.stop(flink.newest_job(), flink.savepoints, seconds=60)
    run.resume(flink.arguments(checkpoint_ms=500, resume=savepoint))
    run.drive(one_round(1))
    flink.jobs.stop(flink.newest_job(), flink.savepoints, drain=True, seconds=60)
    run.resume(flink.arguments(checkpoint_ms=500))
    run.drive(one_round(2))
    check(run, shop)

"""What can go wrong around a stream that runs: the disk is full, the ledger is locked; and batch agrees with it."""

from __future__ import annotations

import json
import resource
import sqlite3
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.batch import run_protect
from consentry.pipelines.consent_files import import_consents
from consentry.pipelines.pipeline_runs import _BuiltOnce
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams import run
from consentry.pipelines.streams.message_source import MessageSource
from consentry.pipelines.streams.metrics import Metrics
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.streams.stream import EpochReport
from consentry.pipelines.streams.watching import JsonLog, Watchers
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import PrivacyError, StoreDamagedError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.stores import sqlite_database
from oracles.list_topic import ListTopic
from oracles.pipeline_graphs import readable
from prometheus_client import CollectorRegistry, generate_latest

NOW = 1_793_000_000_000_000


class Seen:
    def __init__(self) -> None:
        self.reports: list[EpochReport] = []
        self.failures: list[PrivacyError] = []
        self.on_failure: Callable[[], None] = lambda: None
        self.on_epoch: Callable[[], None] = lambda: None

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)
        self.on_epoch()

    def failed(self, failure: PrivacyError, pause: float) -> None:
        self.failures.append(failure)
        self.on_failure()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(run, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(run, "IDLE_ENOUGH", 0.0)
    write_project(tmp_path / "shop", tenant="shop", now=NOW - 86_400_000_000)
    return read_project(tmp_path / "shop" / "consentry.yaml")


def stream(project: Project, out: Path, orders: ListTopic, consents: ListTopic | None, seen: Seen) -> None:
    policy = read_policy(project.policy)
    run_stream(
        project,
        StreamOptions(dataset="orders", out=str(out)),
        source=MessageSource(orders, ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"])),
        consents=consents,
        observer=seen,
        stop=threading.Event(),
        until_idle=True,
        clock=lambda: NOW,
    )


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number:05d}",
        "placed_at": f"2026-03-{1 + number % 3:02d}T10:00:00Z",
        "customer": {"id": f"c-{number % 7}", "email": f"kim{number % 7}@example.com", "birth_date": "1985-08-11"},
        "payment": {"card": {"number": "4111 1111 1111 1111", "cvv": "123"}},
        "items": [{"sku": "TEA", "quantity": 1, "price": 9.5, "gift_note": "call me at +49 151 23456789"}],
        **more,
    }


def consent(number: int, decision: str = "granted") -> dict[str, Any]:
    event = {"subject": f"c-{number}", "purpose": "support", "decision": decision}
    return {**event, "effective_at": "2026-01-01T00:00:00Z", "source": "web"}


def rows(folder: Path) -> pa.Table:
    tables = [pq.read_table(path, partitioning=None) for path in sorted((folder / "data").rglob("*.parquet"))]
    return pa.concat_tables(tables).sort_by("order_id")


def assert_whole(project: Project, out: Path, count: int) -> None:
    assert len(rows(out)) == len(set(rows(out)["order_id"].to_pylist())) == count
    report = verify_output(str(out), PublicKeys.load(project.trust))
    assert report.ok, [check for check in report.checks if not check.ok]


def test_a_full_disk_is_waited_for(project: Project, tmp_path: Path) -> None:
    orders, seen = ListTopic("orders", 2), Seen()
    for number in range(200):
        orders.put(order(number), partition=number % 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits = iter([2_000, 9_000, 20_000])

    def next_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (next(limits, before[0]), before[1]))

    def more() -> None:
        if len(seen.reports) == 1:
            for number in range(200, 900):
                orders.put(order(number), partition=number % 2)
            next_limit()

    # Each file of the process may have only so many bytes: of data, journal and vault alike.
    seen.on_failure, seen.on_epoch = next_limit, more
    try:
        stream(project, tmp_path / "out", orders, None, seen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert seen.failures
    assert not any("4111" in str(failure) for failure in seen.failures)
    assert_whole(project, tmp_path / "out", 900)


def test_a_locked_ledger_is_waited_for(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_database, "PATIENCE_SECONDS", 0.1)
    orders, consents, seen = ListTopic("orders"), ListTopic("consents"), Seen()
    orders.put(*(order(number) for number in range(7)))
    consents.put(*(consent(number) for number in range(7)))
    other = sqlite3.connect(project.ledger.removeprefix("sqlite:"), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    seen.on_failure = lambda: other.rollback() if len(seen.failures) == 2 else None
    stream(project, tmp_path / "out", orders, consents, seen)
    other.close()
    assert len(seen.failures) == 2
    assert all("the ledger is locked by another program" in str(failure) for failure in seen.failures)
    assert seen.reports[0].epoch.ledger_position == 7
    assert_whole(project, tmp_path / "out", 7)


def test_a_store_that_is_damaged_meanwhile_ends_the_stream(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders, seen = ListTopic("orders"), Seen()
    orders.put(*(order(number) for number in range(7)))

    def damaged(*_: Any, **__: Any) -> None:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise sqlite_database._failure(error, tmp_path / "vault.db", "vault")

    monkeypatch.setattr("consentry.transforms.vaulting.WaitingBatches.release", damaged)
    seen.on_failure = lambda: pytest.fail("it waits for what does not come")
    with pytest.raises(StoreDamagedError, match="the vault is damaged; restore it from a backup"):
        stream(project, tmp_path / "out", orders, None, seen)


def test_batch_and_stream_agree_where_they_know_the_same(project: Project, tmp_path: Path) -> None:
    orders, consents, seen = ListTopic("orders", 2), ListTopic("consents"), Seen()
    made = [order(number) for number in range(60)]
    made[5] = {**made[5], "placed_at": "yesterday"}
    made[6] = {**made[6], "customer": {"email": "nobody@example.com", "birth_date": "1990-01-01"}}
    events = [consent(number, "withdrawn" if number % 2 else "granted") for number in range(5)]
    for number, each in enumerate(made):
        orders.put(each, partition=number % 2)
    consents.put(*events)
    stream(project, tmp_path / "out", orders, consents, seen)

    write_project(tmp_path / "twin", tenant="shop", now=NOW - 86_400_000_000)
    twin = read_project(tmp_path / "twin" / "consentry.yaml")
    for name in ("keyring.json", "kek.key", "proof.pub"):
        (tmp_path / "twin" / name).write_bytes((tmp_path / "shop" / name).read_bytes())
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(each) + "\n" for each in made))
    for store in ("vault.db", "data_keys.db", "ledger.db", "access.db"):
        (tmp_path / "twin" / store).unlink()
    from consentry.pipelines.desk import create_stores

    create_stores(twin)
    import_consents(twin, [tmp_path / "events.jsonl"], now=NOW, progress=lambda done, total: None)
    manifest = run_protect(twin, [str(tmp_path / "orders.jsonl")], "orders", str(tmp_path / "batch"), now=NOW)

    streamed = json.loads((tmp_path / "out" / "manifest.json").read_text())
    batch = manifest.as_json()
    assert rows(tmp_path / "out").to_pylist() == rows(tmp_path / "batch").to_pylist()
    for part in ("books", "reasons", "consent", "fields", "absent"):
        assert streamed[part] == batch[part], part
    assert streamed["vault"]["written"] == batch["vault"]["written"]


def test_a_stream_stops_when_it_is_told_to(project: Project, tmp_path: Path) -> None:
    orders, seen, stop = ListTopic("orders"), Seen(), threading.Event()
    orders.put(*(order(number) for number in range(7)))
    policy = read_policy(project.policy)
    thread = threading.Thread(
        target=run_stream,
        args=(project, StreamOptions(dataset="orders", out=str(tmp_path / "out"))),
        kwargs={
            "source": MessageSource(orders, ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"])),
            "consents": None,
            "observer": seen,
            "stop": stop,
        },
    )
    thread.start()
    while not seen.reports:
        time.sleep(0.01)
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert_whole(project, tmp_path / "out", 7)


# Where an exception is forced: one place in each step of an epoch.
FAILING = [
    "consentry.pipelines.streams.consent_feed.consent_event",
    "consentry.pipelines.streams.json_messages.JsonMessages.read",
    "consentry.pipelines.streams.message_source.MessageSource.read",
    "consentry.transforms.consent_decision.decide_batch",
    "consentry.transforms.protection.protect_batch",
    "consentry.transforms.vaulting.WaitingBatches.release",
    "consentry.transforms.stores.vault.Vault.write",
    "consentry.transforms.dead_letters.Sealer.seal_lines",
    "consentry.transforms.dead_letters.Sealer.seal_rejected",
    "consentry.pipelines.streams.dated_files.event_dates",
    "consentry.pipelines.sinks.FileWriter.write",
    "consentry.pipelines.sinks.FileWriter.finish",
]
CANARIES = ("4539578763621486", "canary.person@example.com")


@pytest.mark.parametrize("place", FAILING)
def test_an_exception_that_quotes_its_input_takes_no_value_along(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    caplog.set_level("DEBUG")
    orders, consents, log, called = ListTopic("orders"), ListTopic("consents"), StringIO(), []
    registry = CollectorRegistry()
    held = {"customer": {"id": CANARIES[0], "email": CANARIES[1]}, "payment": {"card": {"number": CANARIES[0]}}}
    orders.put(order(1, **held), {**order(2, **held), "placed_at": "yesterday"}, f'{{"x": "{CANARIES[1]}"'.encode())
    granted = {**consent(1), "subject": CANARIES[0], "source": CANARIES[1], "evidence": CANARIES[1]}
    consents.put(granted, f'{{"subject": "{CANARIES[1]}"'.encode())
    with monkeypatch.context() as patched:

        def failing(*_: Any, **__: Any) -> Any:
            called.append(True)
            raise ValueError(f"cannot convert {CANARIES}") from KeyError(CANARIES[0])

        patched.setattr(place, failing)
        stop = threading.Event()
        watchers = Watchers([JsonLog(log), Metrics(registry), Stopper(stop)])
        policy = read_policy(project.policy)
        run_stream(
            project,
            StreamOptions(dataset="orders", out=str(tmp_path / "out")),
            source=MessageSource(orders, ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"])),
            consents=consents,
            observer=watchers,
            stop=stop,
        )
    assert called, "the failure was never reached"
    seen = Seen()
    stream(project, tmp_path / "out", orders, consents, seen)  # all is well again, and nothing was lost
    assert seen.reports[0].account.records == 4, "three orders, and a faulty consent"
    assert seen.reports[0].epoch.ledger_position == 1
    captured = capfd.readouterr()
    told = log.getvalue() + captured.out + captured.err + caplog.text + generate_latest(registry).decode()
    told += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode("latin-1")
    assert "run_failed" in log.getvalue()
    assert 'consentry_failures_total{reason="run_failed"} 1.0' in told
    assert not any(canary in told for canary in CANARIES)


def test_the_graph_of_an_epoch_holds_nothing_of_the_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[bytes] = []
    build = _BuiltOnce.to_runner_api

    def built(pipeline: _BuiltOnce, *args: Any, **kwargs: Any) -> Any:
        graph = build(pipeline, *args, **kwargs)
        graphs.append(graph.SerializeToString())
        return graph

    monkeypatch.setattr(_BuiltOnce, "to_runner_api", built)
    orders, seen = ListTopic("orders"), Seen()
    orders.put(order(1))
    stream(project, tmp_path / "out", orders, None, seen)
    text = b"".join(map(readable, graphs))
    key = (tmp_path / "shop" / "kek.key").read_bytes().strip()
    for told in (key, b"4111 1111", b"41111111", b"kim1@example.com", b"customer", str(tmp_path).encode()):
        assert told not in text


class Stopper:
    """Ends a stream at its first failure."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def epoch(self, report: EpochReport) -> None:
        pass

    def failed(self, failure: PrivacyError, pause: float) -> None:
        self._stop.set()

"""A stream over topics in memory: books, recovery at every step, consent in time, growing columns, merged files."""

from __future__ import annotations

import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.desk import open_stores
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams import compaction, run
from consentry.pipelines.streams.journal import Journal
from consentry.pipelines.streams.message_source import MessageSource
from consentry.pipelines.streams.output import StreamOutput
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions
from consentry.pipelines.streams.record_sink import RecordSink
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.streams.status import stream_status
from consentry.pipelines.streams.stream import EpochReport, Stream
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import ConfigError, PrivacyError, RecordsGoneError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from oracles.list_topic import ListTopic

NOW = 1_793_000_000_000_000
SECOND = 1_000_000


class CrashError(BaseException):
    """Ends a stream as a kill does: nothing handles it."""


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.reports: list[EpochReport] = []
        self.failures: list[PrivacyError] = []

    def epoch(self, report: EpochReport) -> None:
        self.reports.append(report)

    def failed(self, failure: PrivacyError, pause: float) -> None:
        self.failures.append(failure)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "shop"
    write_project(folder, tenant="shop", now=NOW - 86_400 * SECOND)
    return folder


class Shop:
    """A project with two topics and an output."""

    def __init__(self, folder: Path, made: Path) -> None:
        shutil.copytree(made, folder / "shop")
        self.project: Project = read_project(folder / "shop" / "consentry.yaml")
        self.out = folder / "out"
        self.orders = ListTopic("orders", 2)
        self.consents = ListTopic("consents")
        self.now = NOW

    def stream(self, *, sink: RecordSink | None = None, **options: Any) -> Seen:
        """Runs until nothing is left to read."""
        seen = Seen()
        self.now += SECOND
        run_stream(
            self.project,
            StreamOptions(dataset="orders", out=str(self.out), patient=False, **options),
            source=self.source(),
            consents=self.consents,
            observer=seen,
            stop=threading.Event(),
            until_idle=True,
            clock=lambda: self.now,
            sink=sink,
        )
        return seen

    def source(self) -> MessageSource:
        policy = read_policy(self.project.policy)
        return MessageSource(self.orders, ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"]))

    def rows(self) -> list[dict[str, Any]]:
        """All rows that readers find, by order id."""
        found = [row for path in self.files() for row in pq.read_table(path, partitioning=None).to_pylist()]
        return sorted(found, key=lambda row: row["order_id"])

    def files(self, kind: str = "data") -> list[Path]:
        return sorted((self.out / kind).rglob("*.parquet"))

    def letters(self) -> list[tuple[str, str, str, int]]:
        columns = ["stage", "reason", "source", "position"]
        tables = [pq.read_table(path, columns=columns, partitioning=None) for path in self.files("dead_letters")]
        return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "manifest.json").read_text())
        return found

    def vault(self) -> list[tuple[str, str]]:
        """Domain and value of all entries."""
        with open_stores(self.project) as stores:
            parts = list(stores.vault._table.some(10**6))
            tokens = {
                (part.without_values().domain, token)
                for part in parts
                for token in part.without_values().tokens.to_pylist()
            }
            entries = [entry for domain, token in tokens for entry in stores.vault.find(domain, token)]
            return sorted((entry.key.domain, stores.vault.open_value(entry)) for entry in entries)

    def verified(self) -> bool:
        report = verify_output(str(self.out), PublicKeys.load(self.project.trust))
        assert report.ok, [check for check in report.checks if not check.ok]
        return report.ok


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "IDLE_ENOUGH", 0.0)


@pytest.fixture
def shop(tmp_path: Path, made: Path) -> Shop:
    return Shop(tmp_path, made)


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number:05d}",
        "placed_at": f"2026-03-{1 + number % 3:02d}T10:00:00Z",
        "customer": {"id": f"c-{number % 7}", "email": f"kim{number % 7}@example.com"},
        "payment": {"card": {"number": "4111 1111 1111 1111", "cvv": "123"}},
        **more,
    }


def consent(subject: str, decision: str = "granted", at: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {"subject": subject, "purpose": "support", "decision": decision, "effective_at": at, "source": "web"}


def put_orders(shop: Shop, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        shop.orders.put(order(number), partition=number % 2)


# ---- books


def test_every_record_is_in_the_output_once_by_its_day(shop: Shop) -> None:
    put_orders(shop, 300)
    shop.stream()
    assert [row["order_id"] for row in shop.rows()] == [f"o-{number:05d}" for number in range(300)]
    assert {path.parent.name for path in shop.files()} == {f"event_date=2026-03-0{day}" for day in (1, 2, 3)}
    manifest = shop.manifest()
    assert manifest["books"] == {"in": 300, "out": 300, "dropped": 0, "dead_lettered": 0}
    assert manifest["inputs"]["files"] == 2
    assert manifest["inputs"]["bytes"] > 300 * len("4111 1111 1111 1111")
    assert manifest["stream"]["offsets"] == shop.orders.committed == {"orders/0": 150, "orders/1": 150}
    assert shop.verified()


def test_nothing_raw_stands_in_the_output(shop: Shop) -> None:
    put_orders(shop, 30)
    shop.orders.put(b"4111111111111111 kim1@example.com")
    shop.stream()
    everything = b"".join(path.read_bytes() for path in shop.out.rglob("*") if path.is_file())
    everything += str(shop.rows()).encode()
    for raw in (b"4111111111111111", b"4111 1111", b"kim1@example", b'123"'):
        assert raw not in everything


def test_poison_is_sealed_with_partition_and_offset(shop: Shop) -> None:
    put_orders(shop, 4)
    shop.orders.put(b"{broken", None, b"[]", {**order(9), "placed_at": "yesterday"}, partition=1)
    shop.stream()
    assert shop.letters() == [
        ("decide", "event_time_invalid", "orders/1", 5),
        ("read", "invalid_json", "orders/1", 2),
        ("read", "invalid_json", "orders/1", 3),
        ("read", "not_an_object", "orders/1", 4),
    ]
    assert shop.manifest()["books"] == {"in": 8, "out": 4, "dropped": 0, "dead_lettered": 4}
    assert shop.verified()


def test_a_stream_goes_on_where_it_was(shop: Shop) -> None:
    put_orders(shop, 10)
    shop.stream()
    before = shop.files()
    put_orders(shop, 10, first=10)
    seen = shop.stream()
    assert [report.account.records for report in seen.reports] == [10]
    assert set(before) < set(shop.files())
    assert [row["order_id"] for row in shop.rows()] == [f"o-{number:05d}" for number in range(20)]
    assert shop.verified()
    assert shop.stream().reports == []


def test_an_output_of_another_stream_is_refused(shop: Shop) -> None:
    put_orders(shop, 1)
    shop.stream()
    shop.orders = ListTopic("others", 2)
    with pytest.raises(ConfigError, match="--from: this output belongs to 'kafka:orders'"):
        shop.stream()


def test_a_policy_that_treats_a_field_otherwise_needs_a_new_output(shop: Shop) -> None:
    put_orders(shop, 1)
    shop.stream()
    text = shop.project.policy.read_text()
    shop.project.policy.write_text(text.replace("customer.email: email", "customer.email: redact"))
    with pytest.raises(
        ConfigError, match=r"fields\.customer\.email: this output belongs to 'email tokenize email email'"
    ):
        shop.stream()
    shop.project.policy.write_text(text.replace("order_id: keep", "order_id: keep\n      channel: keep"))
    shop.stream()


# ---- crashes


STEPS = (
    (Journal, "begin"),
    (StreamOutput, "clear_staging"),
    (StreamOutput, "sync_staging"),
    (Journal, "seal"),
    (StreamOutput, "reveal"),
    (StreamOutput, "write_manifest"),
    (Journal, "finish"),
    (ListTopic, "commit"),
)


@contextmanager
def crash(where: tuple[type, str], *, behind: bool, time: int = 1) -> Iterator[None]:
    """Ends the stream before or behind the given call of a method."""
    owner, name = where
    original, calls = getattr(owner, name), [0]

    def crashing(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == time and not behind:
            raise CrashError
        found = original(self, *args, **kwargs)
        if calls[0] == time:
            raise CrashError
        return found

    with mock.patch.object(owner, name, crashing), pytest.raises(CrashError):
        yield


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("where", STEPS, ids=lambda step: step[1])
def test_a_stream_that_ends_anywhere_comes_to_the_same(shop: Shop, where: tuple[type, str], behind: bool) -> None:
    shop.consents.put(*(consent(f"c-{number}") for number in range(5)))
    put_orders(shop, 20)
    shop.stream()
    put_orders(shop, 20, first=20)
    shop.orders.put(b"{", partition=1)
    with crash(where, behind=behind):
        shop.stream()
    put_orders(shop, 5, first=40)
    shop.stream()
    assert [row["order_id"] for row in shop.rows()] == [f"o-{number:05d}" for number in range(45)]
    assert shop.manifest()["books"] == {"in": 46, "out": 45, "dropped": 0, "dead_lettered": 1}
    assert shop.vault() == [("card", "4111111111111111")] * 7 + [
        ("email", f"kim{each}@example.com") for each in range(5)
    ]
    assert shop.orders.committed == {"orders/0": 23, "orders/1": 23}
    assert shop.verified()


def test_an_open_epoch_is_done_again_by_what_it_had_settled(shop: Shop) -> None:
    put_orders(shop, 7)
    with crash((Journal, "seal"), behind=False):
        shop.stream()
    # What comes meanwhile is news for the next epoch, and no matter of this one.
    shop.now -= 3600 * SECOND
    shop.consents.put(*(consent(f"c-{number}") for number in range(7)))
    shop.stream()
    assert shop.vault() == [("card", "4111111111111111")] * 7
    manifest = shop.manifest()
    assert (manifest["ledger_position"], manifest["stream"]["epochs"]) == (0, 1)


def test_time_never_goes_back(shop: Shop) -> None:
    put_orders(shop, 1)
    first = shop.stream().reports[0].epoch.now
    shop.now -= 3600 * SECOND
    put_orders(shop, 1, first=1)
    assert shop.stream().reports[0].epoch.now == first


# ---- consent in time


def test_consents_that_came_first_govern_first(shop: Shop) -> None:
    shop.consents.put(
        consent("c-1"), consent("c-1"), consent("c-2"), consent("c-2", "withdrawn", "2026-02-01T00:00:00Z")
    )
    put_orders(shop, 3)
    shop.stream()
    assert ("email", "kim1@example.com") in shop.vault()
    assert ("email", "kim2@example.com") not in shop.vault()
    assert shop.consents.committed == {"consents/0": 4}


def test_a_refusal_is_never_overtaken_by_the_order_that_follows_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both arrive when the stream has just taken the consents."""
    shop.consents.put(consent("c-1"))
    put_orders(shop, 1)
    withdrawal = consent("c-1", "withdrawn", "2026-02-01T00:00:00Z")
    taken = Stream._taken_consents
    left = [lambda: put_orders(shop, 1, first=1), lambda: shop.consents.put(withdrawal)]

    def interrupted(stream: Stream) -> object:
        found = taken(stream)
        while left:
            left.pop()()
        return found

    monkeypatch.setattr(Stream, "_taken_consents", interrupted)
    shop.stream()
    assert len(shop.rows()) == 2 and ("email", "kim1@example.com") not in shop.vault()
    assert shop.manifest()["stream"]["corrections"] == 0


@pytest.mark.parametrize(("wait", "granted"), [(0.0, False), (2.0, False), (9.0, True)])
def test_orders_wait_for_consents_that_arrive_a_little_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, wait: float, granted: bool
) -> None:
    looks, ends = [0], ListTopic.ends

    def later(topic: ListTopic, done: Mapping[str, int]) -> Mapping[str, int]:
        shop.now += SECOND // 2  # of two topics
        if topic is shop.orders:
            looks[0] += 1
            if looks[0] == 5:
                shop.consents.put(consent("c-1"))
        return ends(topic, done)

    monkeypatch.setattr(ListTopic, "ends", later)
    put_orders(shop, 2)
    shop.stream(wait=wait)
    assert [row["order_id"] for row in shop.rows()] == ["o-00000", "o-00001"]
    assert (("email", "kim1@example.com") in shop.vault()) is granted


def test_a_late_withdrawal_repairs_the_past_and_is_counted(shop: Shop) -> None:
    shop.consents.put(consent("c-1"))
    put_orders(shop, 2)
    shop.stream()
    assert ("email", "kim1@example.com") in shop.vault()
    shop.consents.put(consent("c-1", "withdrawn", "2026-01-02T00:00:00Z"))
    shop.stream()
    assert ("email", "kim1@example.com") not in shop.vault()
    put_orders(shop, 1, first=9)
    shop.stream()
    assert shop.manifest()["stream"]["corrections"] == shop.manifest()["vault"]["purged"] == 1


def test_a_late_grant_brings_nothing_back(shop: Shop) -> None:
    put_orders(shop, 2)
    shop.stream()
    shop.consents.put(consent("c-1"))
    shop.stream()
    assert all(domain == "card" for domain, _ in shop.vault())


@pytest.mark.parametrize("crashing", [False, True])
def test_faulty_consents_are_sealed_and_the_others_count(shop: Shop, crashing: bool) -> None:
    shop.consents.put(consent("c-1"), b"{", {**consent("c-2"), "purpose": "spam"}, consent("c-3"))
    if crashing:
        with crash((Journal, "seal"), behind=False):
            shop.stream()
    shop.stream()
    put_orders(shop, 4)
    shop.stream()
    assert [(stage, source, position) for stage, _, source, position in shop.letters()] == [
        ("consent", "consents/0", 1),
        ("consent", "consents/0", 2),
    ]
    assert [value for domain, value in shop.vault() if domain == "email"] == ["kim1@example.com", "kim3@example.com"]
    assert shop.manifest()["books"] == {"in": 6, "out": 4, "dropped": 0, "dead_lettered": 2}
    assert shop.verified()


# ---- columns


def test_a_field_that_comes_later_is_null_before(shop: Shop) -> None:
    put_orders(shop, 4)
    shop.stream()
    shop.orders.put({**order(4), "items": [{"sku": "A-1", "quantity": 2}]})
    shop.stream()
    shop.orders.put({**order(5), "items": [{"sku": "A-2", "quantity": 2.5}]})
    shop.stream()
    found = [row.get("items") for row in shop.rows()]
    assert found[:4] == [None] * 4
    assert [each[0]["quantity"] for each in found[4:]] == [2, 2.5]
    assert shop.verified()


def test_undeclared_fields_are_counted_and_left_out(shop: Shop) -> None:
    shop.orders.put({**order(0), "shoe_size": 43}, order(1))
    shop.stream()
    shop.orders.put({**order(2), "shoe_size": "large"})
    shop.stream()
    assert all("shoe_size" not in row for row in shop.rows())
    assert shop.manifest()["drift"] == {"shoe_size": 2}
    assert shop.verified()


def test_subject_and_event_time_are_text_whatever_comes_first(shop: Shop) -> None:
    shop.orders.put(
        {**order(0), "placed_at": 1_767_225_600, "customer": {"id": 7}}, {**order(1), "customer": {"id": 7.5}}
    )
    put_orders(shop, 2, first=2)
    shop.orders.put({**order(4), "customer": {"id": 7}})
    shop.stream()
    assert [(reason, position) for _, reason, _, position in shop.letters()] == [
        ("event_time_invalid", 0),
        ("wrong_type", 1),
    ]
    assert [row["order_id"] for row in shop.rows()] == ["o-00002", "o-00003", "o-00004"]


def test_numbers_of_a_tokenized_field_have_one_token_whatever_else_comes(shop: Shop) -> None:
    shop.orders.put({**order(0), "payment": {"card": {"number": 4111111111111111}}}, order(1))
    shop.stream()
    shop.orders.put({**order(2), "payment": {"card": {"number": 4.5}}}, order(3))
    shop.orders.put({**order(4), "payment": {"card": {"number": 4111111111111111}}})
    shop.stream()
    assert len({row["payment"]["card"]["number"] for row in shop.rows()}) == 1
    assert shop.letters() == [("read", "wrong_type", "orders/0", 2)]


def test_what_contradicts_a_known_field_is_sealed(shop: Shop) -> None:
    put_orders(shop, 2)
    shop.stream()
    shop.orders.put({**order(2), "order_id": {"id": 2}})
    shop.stream()
    assert shop.letters() == [("read", "wrong_type", "orders/0", 1)]
    assert shop.verified()


class Sent:
    """A sink that remembers what it was sent, and how often it was flushed."""

    def __init__(self) -> None:
        self.orders: dict[str, list[str]] = defaultdict(list)
        self.flushed = 0

    def send(self, batch: pa.RecordBatch, ids: Sequence[str]) -> None:
        for record_id, order_id in zip(ids, batch["order_id"].to_pylist(), strict=True):
            self.orders[record_id].append(order_id)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        pass


def test_a_sink_gets_records_when_their_epoch_is_settled_and_none_that_end_elsewhere(shop: Shop) -> None:
    shop.orders.put(*map(order, range(20)), partition=0)
    shop.orders.put({**order(20), "order_id": ["20"]}, partition=1)  # its lane learns another type than the other one
    sink = Sent()
    shop.stream(sink=sink)
    assert shop.letters() == [("read", "wrong_type", "orders/1", 0)]
    assert sorted(sink.orders.values()) == [[row["order_id"]] for row in shop.rows()]
    assert (len(sink.orders), sink.flushed) == (20, 1)
    assert shop.verified()


# ---- merging


def small_epochs(shop: Shop, count: int) -> None:
    for number in range(count):
        shop.orders.put({**order(number), "placed_at": "2026-03-01T10:00:00Z"}, b"{")
        shop.stream()


def test_many_small_files_become_one_and_nothing_changes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    small_epochs(shop, 5)
    before, manifest = shop.rows(), shop.manifest()
    letters = shop.letters()
    monkeypatch.setattr(compaction, "FEWEST", 4)
    shop.stream()
    assert shop.rows() == before and shop.letters() == letters
    assert len(shop.files()) == len(shop.files("dead_letters")) == 1
    assert {**shop.manifest(), "files": 0, "finished_at": 0, "signature": 0} == {
        **manifest, "files": 0, "finished_at": 0, "signature": 0,
    }  # fmt: skip
    assert shop.verified()


MERGE_STEPS = (
    (Journal, "seal_merge"),
    (StreamOutput, "show_merge"),
    (StreamOutput, "write_manifest"),
    (Journal, "finish_merge"),
)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("where", MERGE_STEPS, ids=lambda step: step[1])
def test_a_merge_that_ends_anywhere_leaves_every_row_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, where: tuple[type, str], behind: bool
) -> None:
    small_epochs(shop, 5)
    before = shop.rows()
    monkeypatch.setattr(compaction, "FEWEST", 4)
    with crash(where, behind=behind):
        shop.stream()
    assert shop.rows() == before
    shop.stream()
    assert shop.rows() == before
    assert shop.verified()


def test_files_of_another_schema_stay_apart(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    small_epochs(shop, 4)
    shop.orders.put({**order(9), "placed_at": "2026-03-01T10:00:00Z", "items": [{"sku": "A"}]})
    shop.stream()
    monkeypatch.setattr(compaction, "FEWEST", 4)
    shop.stream()
    assert len(shop.files()) == 2
    assert shop.verified()


# ---- failures


def test_a_broker_that_is_gone_is_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FIRST_PAUSE", 0.01)
    put_orders(shop, 3)
    shop.orders.broken = True

    class Repaired(Seen):
        def failed(self, failure: PrivacyError, pause: float) -> None:
            super().failed(failure, pause)
            shop.orders.broken = len(self.failures) < 3

    seen = Repaired()
    run_stream(
        shop.project,
        StreamOptions(dataset="orders", out=str(shop.out)),
        source=shop.source(),
        consents=None,
        observer=seen,
        stop=threading.Event(),
        until_idle=True,
        clock=lambda: shop.now,
    )
    assert len(seen.failures) == 3
    assert len(shop.rows()) == 3


def test_what_waiting_does_not_help_ends_the_stream(shop: Shop) -> None:
    put_orders(shop, 8)
    shop.stream()
    shop.orders._partitions["orders/0"].clear()
    for _ in range(2):  # started again, it comes to the same
        with pytest.raises(RecordsGoneError, match="the topic has lost its end"):
            run_stream(
                shop.project,
                StreamOptions(dataset="orders", out=str(shop.out)),
                source=shop.source(),
                consents=None,
                observer=Seen(),
                stop=threading.Event(),
                until_idle=True,
            )
    assert shop.verified()


def test_an_epoch_whose_records_are_gone_is_planned_anew(shop: Shop) -> None:
    put_orders(shop, 8)
    with crash((Journal, "begin"), behind=True):
        shop.stream()
    shop.orders._partitions["orders/1"].clear()
    shop.orders.put(order(90), partition=1)
    shop.stream()
    assert [row["order_id"] for row in shop.rows()] == ["o-00000", "o-00002", "o-00004", "o-00006", "o-00090"]
    assert shop.verified()


# ---- status


def test_status_tells_how_far_a_stream_is(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="is no output of a stream"):
        stream_status(str(shop.out))
    put_orders(shop, 4)
    shop.orders.put(b"{")
    shop.stream()
    status = stream_status(str(shop.out)).as_json()
    assert status["books"] == {"in": 5, "out": 4, "dropped": 0, "dead_lettered": 1}
    assert (status["running"], status["epoch"], status["lag"], status["reasons"]) == (False, 1, 0, {"invalid_json": 1})
    assert (status["offsets"], status["held"]) == ({"orders/0": 3, "orders/1": 2}, 0)
    put_orders(shop, 3, first=4)
    with crash((Journal, "begin"), behind=True):
        shop.stream()
    assert stream_status(str(shop.out)).as_json()["held"] == 3


def test_columns_are_remembered_by_the_policy_only(shop: Shop) -> None:
    shop.orders.put({**order(0), "4111111111111111": 1, "customer": {"id": "c-1", "4111111111111111": 1}})
    shop.stream()
    from consentry.pipelines.streams.journal import open_journal

    with open_journal(shop.out / "_stream" / "journal.db") as journal:
        assert "4111" not in journal.columns().to_string()
        assert pa.types.is_struct(journal.columns().field("customer").type)

"""Replayed letters of a stream become the rows that it would have written, once, wherever the replay ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import letter_trial
from consentry.pipelines.desk import open_stores
from consentry.pipelines.letter_listing import LetterList, list_letters
from consentry.pipelines.letter_trial import ReplayReport
from consentry.pipelines.letters import open_letter_output, stored_letters
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.sinks import FileWriter
from consentry.pipelines.streams import compaction, run
from consentry.pipelines.streams.folder_source import FolderSource
from consentry.pipelines.streams.journal import Journal
from consentry.pipelines.streams.message_source import MessageSource
from consentry.pipelines.streams.output import StreamOutput, is_stream_output, open_stream_output
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.streams.sources import StreamSource
from consentry.pipelines.streams.status import stream_status
from consentry.pipelines.streams.stream_replay import replay_stream_letters
from consentry.pipelines.verify import verify_output
from consentry.schemas.dead_letter import DeadLetter
from consentry.schemas.errors import ConfigError, IntegrityError, OutputError, PrivacyError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.dead_letters import letter_keys
from oracles.list_topic import ListTopic
from oracles.needles import contents, leaks
from oracles.shop_commands import process

TESTS = Path(__file__).parent.parent.parent
NOW = 1_793_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
STRICT = ("on_drift: drop ", "on_drift: dead_letter ")
COUPON = "coupon-kanarie-4711"
LINES = 7 if os.environ.get("CONSENTRY_SOAK") else 67
"""Between two at which a replay is killed."""


class CrashError(BaseException):
    """Ends a program as a kill does: nothing handles it."""


class Nobody:
    """An observer who looks away."""

    def epoch(self, report: Any) -> None:
        pass

    def failed(self, failure: PrivacyError, pause: float) -> None:
        pass


class Shop:
    """A shop with a stream that sends undeclared fields to the dead letters, until that is repaired."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.project: Project = read_project(place / "shop" / "consentry.yaml")
        self.out = place / "out"
        self.orders = ListTopic("orders", 2)
        self.consents = ListTopic("consents")
        self.now = NOW

    def stream(self, out: Path | None = None, *, source: StreamSource | None = None) -> None:
        """Streams until nothing is left to read."""
        self.now += SECOND
        policy = read_policy(self.project.policy)
        maker = ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"])
        run_stream(
            self.project,
            StreamOptions(dataset="orders", out=str(out or self.out), patient=False),
            source=source or MessageSource(self.orders, maker),
            consents=self.consents,
            observer=Nobody(),
            stop=threading.Event(),
            until_idle=True,
            clock=lambda: self.now,
        )

    def replay(self, **options: Any) -> ReplayReport:
        self.now += SECOND
        return replay_stream_letters(
            self.project, str(self.out), **{"now": self.now, **options}, clock=lambda: self.now
        )  # fmt: skip

    def repair(self, *changes: tuple[str, str]) -> None:
        text = self.project.policy.read_text()
        for old, new in changes or (STRICT[::-1],):
            assert old in text
            text = text.replace(old, new)
        self.project.policy.write_text(text)

    def rows(self, out: Path | None = None) -> list[dict[str, Any]]:
        """All rows that readers find who list the folders."""
        files = (out or self.out).glob("data/*/*.parquet")
        found = [row for path in files for row in pq.read_table(path, partitioning=None).to_pylist()]
        return sorted(found, key=lambda row: row["order_id"])

    def letters(self) -> list[DeadLetter]:
        files = self.out.glob("dead_letters/*.parquet")
        found = [DeadLetter(**row) for path in files for row in pq.read_table(path).to_pylist()]
        return sorted(found, key=lambda letter: (letter.source or "", letter.position or 0))

    def places(self) -> list[tuple[str, str | None, int | None]]:
        return [(each.reason, each.source, each.position) for each in self.letters()]

    def manifest(self, out: Path | None = None) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(((out or self.out) / "manifest.json").read_text())
        return found

    def state(self) -> dict[str, bytes]:
        """What readers find; not what the stream remembers."""
        files = [path for path in self.out.rglob("*") if path.is_file() and "_stream" not in path.parts]
        return {str(path.relative_to(self.out)): path.read_bytes() for path in files}

    def vault(self) -> int:
        with open_stores(self.project) as stores:
            return sum(part.without_values().tokens.__len__() for part in stores.vault._table.some(10**6))

    def listed(self, *, now: int) -> LetterList:
        output = open_letter_output(str(self.out), PublicKeys.load(self.project.trust))
        return list_letters(stored_letters(output), self.project, now=now)

    def verified(self, *, but: str = "") -> bool:
        report = verify_output(str(self.out), PublicKeys.load(self.project.trust))
        failed = [check for check in report.checks if not check.ok and check.check != but]
        assert not failed, failed
        return True


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number:05d}",
        "placed_at": f"2026-03-{1 + number % 3:02d}T10:00:00Z",
        "customer": {"id": f"c-{number % 7}", "email": f"kim{number % 7}@example.com"},
        "payment": {"card": {"number": "4111 1111 1111 1111", "cvv": "123"}},
        **more,
    }


def consent(subject: str, **more: Any) -> dict[str, Any]:
    given = {"purpose": "support", "decision": "granted", "effective_at": "2026-01-01T00:00:00Z", "source": "web"}
    return {"subject": subject, **given, **more}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six orders that left, in two epochs; four with a coupon, one without instant, a broken one, one of a wrong type;
    and two faulty consents."""
    place = tmp_path_factory.mktemp("made")
    write_project(place / "shop", tenant="shop", now=NOW - DAY)
    shop = Shop(place)
    shop.repair(STRICT)
    shop.consents.put(consent("c-0"), consent("c-1"), {**consent("c-2"), "decision": 7}, b"{")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "IDLE_ENOUGH", 0.0)
        fill(shop, 0)
        shop.stream()
        fill(shop, 1)
        shop.stream()
    return place


def fill(shop: Shop, part: int) -> None:
    if part == 0:
        shop.orders.put(*(order(number) for number in range(4)))
        shop.orders.put(order(10, coupon=COUPON), order(11, coupon=COUPON), b"{", partition=1)
    else:
        shop.orders.put(order(4), order(5), order(12, coupon=COUPON), order(13, placed_at="yesterday"))
        shop.orders.put(order(14, coupon=COUPON, note=None), order(15, order_id={"id": 15}), partition=1)


@pytest.fixture
def shop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(run, "IDLE_ENOUGH", 0.0)
    shutil.copytree(made, tmp_path / "place")
    shop = Shop(tmp_path / "place")
    shop.now += 10 * SECOND
    shop.consents.put(consent("c-0"), consent("c-1"), {**consent("c-2"), "decision": 7}, b"{")
    fill(shop, 0)
    fill(shop, 1)
    return shop


def ids(*numbers: int) -> list[str]:
    return [f"o-{number:05d}" for number in numbers]


RECOVERED = ids(0, 1, 2, 3, 4, 5, 10, 11, 12, 14)
OPEN_BOOKS = {"in": 15, "out": 6, "dropped": 0, "dead_lettered": 9}
CLOSED_BOOKS = {"in": 15, "out": 10, "dropped": 0, "dead_lettered": 5}


# ---- what comes of it


def test_letters_become_rows_by_their_day_and_the_books_balance(shop: Shop) -> None:
    assert shop.manifest()["books"] == OPEN_BOOKS and is_stream_output(str(shop.out))
    shop.repair()
    report = shop.replay()
    assert (report.tried, report.recovered, report.failed, report.skipped, report.waiting) == (6, 4, 2, 3, 0)
    assert [row["order_id"] for row in shop.rows()] == RECOVERED
    for path in shop.out.glob("data/*/*.parquet"):
        days = {row["placed_at"][:10] for row in pq.read_table(path, partitioning=None).to_pylist()}
        assert {path.parent.name} == {f"event_date={day}" for day in days}
    assert shop.manifest()["books"] == CLOSED_BOOKS
    assert shop.manifest() == report.manifest.as_json()
    assert shop.verified()


def test_it_comes_to_what_a_stream_under_the_repaired_policy_comes_to(shop: Shop) -> None:
    shop.repair()
    shop.replay()
    anew = shop.place / "anew"
    shop.stream(anew)
    assert shop.rows() == shop.rows(anew)
    assert same_parts(shop.manifest()) == same_parts(shop.manifest(anew))
    assert [place for place in shop.places() if place[1] != "consents/0"] == [
        ("event_time_invalid", "orders/0", 7),
        ("invalid_json", "orders/1", 2),
        ("wrong_type", "orders/1", 4),
    ]


def same_parts(manifest: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and in which files rows were written: a field may be null in one, absent in two."""
    found = {name: manifest[name] for name in ("books", "reasons", "consent", "drift", "absent", "policy")}
    for path, field in manifest["fields"].items():
        outcomes = dict(field["outcomes"])
        outcomes["null"] = outcomes.pop("absent", 0) + outcomes.get("null", 0)
        found[path] = {**field, "outcomes": outcomes}
    return found


def test_what_was_there_stays_and_the_stream_goes_on(shop: Shop) -> None:
    before = shop.state()
    shop.repair()
    shop.replay()
    data = {path for path in before if path.startswith("data/")}
    assert data and all(shop.state()[path] == before[path] for path in data)
    shop.orders.put(order(6), order(7, coupon="again"))
    shop.stream()
    assert [row["order_id"] for row in shop.rows()] == sorted([*RECOVERED, *ids(6, 7)])
    assert shop.manifest()["books"] == {"in": 17, "out": 12, "dropped": 0, "dead_lettered": 5}
    assert stream_status(str(shop.out)).as_json()["books"] == shop.manifest()["books"]
    assert shop.verified()


def test_a_second_replay_changes_nothing(shop: Shop) -> None:
    shop.repair()
    assert shop.replay().changed
    state = shop.state()
    again = shop.replay()
    assert not again.changed and (again.recovered, again.failed) == (0, 2)
    assert shop.state() == state


def test_nothing_changes_where_nothing_was_repaired(shop: Shop) -> None:
    state = shop.state()
    assert not shop.replay().changed
    assert shop.state() == state
    shop.stream()
    assert shop.state() == state


def test_only_letters_of_the_reason_asked_for_are_tried(shop: Shop) -> None:
    shop.repair()
    assert shop.replay(reason="event_time_invalid").tried == 1
    report = shop.replay(reason="undeclared_field")
    assert (report.tried, report.recovered) == (4, 4)
    assert shop.verified()


def test_a_reason_without_letters_is_no_longer_counted(shop: Shop) -> None:
    shop.repair()
    shop.replay()
    assert "undeclared_field" not in shop.manifest()["reasons"]
    assert "undeclared_field" not in stream_status(str(shop.out)).reasons


def test_records_without_permission_are_dropped(shop: Shop) -> None:
    collect = "    collect: [{}]          # a record"
    shop.repair(STRICT[::-1], (collect.format("fulfilment"), collect.format("support")))
    report = shop.replay()
    assert (report.recovered, report.dropped) == (1, 3)  # c-0 alone of c-3, c-4, c-5 and c-0 permits support
    assert shop.manifest()["books"] == {"in": 15, "out": 7, "dropped": 3, "dead_lettered": 5}
    assert shop.verified()


def test_values_of_recovered_rows_are_in_the_vault(shop: Shop) -> None:
    shop.orders.put(order(20, coupon="x"))  # the first one of c-6
    shop.stream()
    before, counted = shop.vault(), shop.manifest()["vault"]
    shop.repair()
    shop.replay()
    assert shop.vault() == before + 1
    assert shop.manifest()["vault"]["written"] > counted["written"]


def test_a_letter_that_fails_for_another_reason_keeps_the_keys_of_its_first_sealing(shop: Shop) -> None:
    before = {(each.source, each.position): each for each in shop.letters()}
    until = {state.until for _, state in shop.listed(now=NOW).letters}
    shop.repair(("event_time: placed_at", "event_time: order_id"))
    shop.now += 3 * DAY
    report = shop.replay()
    after = {(each.source, each.position): each for each in shop.letters()}
    assert report.changed and report.recovered == 0
    assert {place: letter_keys(each) for place, each in after.items()} == {
        place: letter_keys(each) for place, each in before.items()
    }
    listed = shop.listed(now=shop.now).letters
    assert {state.until for _, state in listed} == until
    assert shop.manifest()["books"] == OPEN_BOOKS and shop.verified()
    shop.repair(("event_time: order_id", "event_time: placed_at"), STRICT[::-1])
    assert shop.replay().recovered == 4


def test_letters_of_erased_subjects_stay_as_they_are(shop: Shop) -> None:
    with open_stores(shop.project) as stores:
        erased = subject_reference("c-3", stores.keys.reference_key)  # of order 10
        assert erased is not None
        stores.data_keys.destroy([erased])
    before = shop.letters()
    shop.repair()
    report = shop.replay()
    assert (report.closed, report.recovered) == (1, 3)
    assert next(each for each in before if letter_keys(each).subject == erased) in shop.letters()
    assert shop.verified()


def test_faulty_consents_are_no_records_and_stay(shop: Shop) -> None:
    consents = [each for each in shop.letters() if each.stage == "consent"]
    assert len(consents) == 2
    shop.repair()
    assert shop.replay().changed
    assert [each for each in shop.letters() if each.stage == "consent"] == consents


# ---- columns


def test_letters_with_a_field_that_the_stream_has_not_met_wait_until_it_has(shop: Shop) -> None:
    shop.orders.put(order(16, coupon={"code": COUPON}))
    shop.stream()
    shop.repair(("order_id: keep\n", "order_id: keep\n      coupon: keep\n"), STRICT[::-1])
    state = shop.state()
    report = shop.replay()
    assert (report.tried, report.waiting, report.failed, report.changed) == (7, 5, 2, False)
    assert shop.state() == state
    shop.orders.put(order(6, coupon="x"))
    shop.stream()
    report = shop.replay()
    assert (report.recovered, report.waiting) == (4, 0), "the object is no text"
    assert [row.get("coupon") for row in shop.rows() if row["order_id"] in ids(10, 11, 12, 14)] == [COUPON] * 4
    assert shop.places().count(("wrong_type", "orders/0", 8)) == 1
    assert shop.verified()


def test_a_field_of_which_the_stream_has_seen_null_alone_is_not_met(shop: Shop) -> None:
    shop.repair(("order_id: keep\n", "order_id: keep\n      coupon: keep\n"))
    shop.orders.put(order(6, coupon=None))
    shop.stream()
    assert shop.replay().waiting == 4
    assert shop.verified()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_was_refused_ends_where_the_repaired_stream_puts_it(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(100, 160):
        shop.orders.put(faulty_order(chance, number), partition=number % 2)
        if chance.random() < 0.1:
            shop.stream()
    shop.stream()
    assert shop.manifest()["books"]["dead_lettered"] > 20
    shop.repair()
    shop.replay()
    anew = shop.place / "anew"
    shop.stream(anew)
    assert shop.rows() == shop.rows(anew)
    assert same_parts(shop.manifest()) == same_parts(shop.manifest(anew))
    assert shop.verified() and not shop.replay().changed


def faulty_order(chance: random.Random, number: int) -> dict[str, Any]:
    """An order that leaves, or one that is refused in one of several ways, or in two."""
    found = order(number)
    if chance.random() < 0.4:
        found["voucher"] = {"code": number, "deep": [{"x": None}, {"y": str(number)}]}
    if chance.random() < 0.2:
        found["placed_at"] = chance.choice(["soon", "2026-03-01T09:00:00", None])
    if chance.random() < 0.2:
        found["customer"] = {**found["customer"], "id": None}
    if chance.random() < 0.1:
        del found["payment"]
    if chance.random() < 0.1:
        found["payment"] = {"card": {"number": 4111111111111111}}
    return found


def test_records_of_typed_files_get_their_types_back(shop: Shop) -> None:
    schema = pa.schema(
        [
            ("order_id", pa.int32()), ("placed_at", pa.timestamp("us", "UTC")), ("paid", pa.decimal128(9, 2)),
            ("day", pa.date32()), ("blob", pa.binary()), ("rate", pa.float32()), ("coupon", pa.string()),
            ("customer", pa.struct([("id", pa.int64())])), ("tags", pa.map_(pa.string(), pa.int64())),
        ]
    )  # fmt: skip
    rows = [
        {
            "order_id": number, "placed_at": datetime(2026, 3, number, 9, tzinfo=UTC), "paid": Decimal("12.50"),
            "day": date(2026, 3, 1), "blob": b"\xff\x00", "rate": 0.5, "coupon": "x" if number > 3 else None,
            "customer": {"id": 17}, "tags": [("a", number), ("b", None)],
        }
        for number in range(1, 6)
    ]  # fmt: skip
    (shop.place / "drop").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), shop.place / "drop" / "typed.parquet")
    kept = "      order_id: keep\n"
    shop.repair((kept, kept + "".join(f"      {name}: keep\n" for name in ("paid", "day", "blob", "rate", "tags"))))
    shop.out = shop.place / "typed"
    shop.stream(source=FolderSource(shop.place / "drop"))
    assert shop.manifest()["reasons"]["undeclared_field"] == 2
    shop.repair()
    report = shop.replay()
    assert (report.recovered, report.waiting, report.failed) == (2, 0, 0)
    found = shop.rows()
    assert len(found) == 5 and shop.verified()
    for row, got in zip(rows, found, strict=True):
        assert all(got[name] == row[name] for name in ("placed_at", "paid", "day", "blob", "rate", "tags"))
    assert (shop.out / "data" / "event_date=2026-03-05").is_dir()


# ---- what is refused


def test_a_stream_that_runs_keeps_a_replay_out(shop: Shop) -> None:
    shop.repair()
    with open_stream_output(str(shop.out)), pytest.raises(OutputError, match="another stream writes to it; stop that"):
        shop.replay()
    assert shop.replay().changed


def test_what_is_no_output_of_a_stream_is_refused_and_nothing_is_made(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="is no output of a stream"):
        replay_stream_letters(shop.project, str(shop.place / "none"), now=NOW)
    assert not (shop.place / "none").exists()


def test_a_policy_that_treats_a_field_otherwise_is_refused(shop: Shop) -> None:
    shop.repair(STRICT[::-1], ("customer.email: email", "customer.email: redact"))
    state = shop.state()
    with pytest.raises(ConfigError, match=r"fields\.customer\.email: this output belongs to 'email tokenize"):
        shop.replay()
    assert shop.state() == state


def test_letters_that_were_changed_are_refused(shop: Shop) -> None:
    shop.repair()
    for path in shop.out.glob("dead_letters/*.parquet"):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="was changed since it was written"):
            shop.replay()
        path.write_bytes(data)
    assert shop.replay().changed and shop.verified()


def test_a_manifest_of_another_state_is_refused(shop: Shop) -> None:
    old = (shop.out / "manifest.json").read_bytes()
    shop.orders.put(b"{")
    shop.stream()
    shop.repair()
    (shop.out / "manifest.json").write_bytes(old)
    with pytest.raises(IntegrityError, match="is not of the state that the stream remembers"):
        shop.replay()
    (shop.out / "manifest.json").write_bytes(old.replace(b'"dead_lettered": 9', b'"dead_lettered": 8'))
    with pytest.raises(PrivacyError):
        shop.replay()


# ---- crashes


STEPS = (
    (StreamOutput, "clear_staging"),
    (FileWriter, "finish"),
    (StreamOutput, "sync_staging"),
    (Journal, "seal_replay"),
    (StreamOutput, "reveal"),
    (StreamOutput, "write_manifest"),
    (StreamOutput, "remove"),
    (Journal, "finish_replay"),
)


@contextmanager
def crash(where: tuple[type, str], *, behind: bool) -> Iterator[None]:
    """Ends the program before or behind the first call of a method."""
    owner, name = where
    original = getattr(owner, name)

    def crashing(self: Any, *args: Any, **kwargs: Any) -> Any:
        if behind:
            original(self, *args, **kwargs)
        raise CrashError

    with mock.patch.object(owner, name, crashing), pytest.raises(CrashError):
        yield


def by_stream(shop: Shop) -> None:
    """The next one to start is the stream."""
    shop.orders.put(order(6))
    shop.stream()


def by_replay(shop: Shop) -> None:
    """The next one to start is a replay."""
    shop.replay()


@pytest.mark.parametrize("go_on", [by_stream, by_replay])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("where", STEPS, ids=lambda step: step[1])
def test_a_replay_that_ends_anywhere_is_not_done_or_finished_by_whoever_starts_next(
    shop: Shop, where: tuple[type, str], behind: bool, go_on: Callable[[Shop], None]
) -> None:
    shop.repair()
    with crash(where, behind=behind):
        shop.replay()
    assert shop.manifest()["books"] in (OPEN_BOOKS, CLOSED_BOOKS)
    sealed = STEPS.index(where) > 3 or (where[1] == "seal_replay" and behind)
    go_on(shop)
    more = ids(6) if go_on is by_stream else []
    if go_on is by_stream and not sealed:
        assert [row["order_id"] for row in shop.rows()] == [*ids(0, 1, 2, 3, 4, 5), *more], "nobody saw any of it"
    assert shop.verified()
    shop.replay()
    assert [row["order_id"] for row in shop.rows()] == sorted([*RECOVERED, *more])
    assert shop.manifest()["books"] == {**CLOSED_BOOKS, "in": 15 + len(more), "out": 10 + len(more)}
    assert shop.manifest()["reasons"]["event_time_invalid"] == 1 and len(shop.letters()) == 5
    assert shop.verified()
    shop.stream()
    assert shop.verified()


@pytest.mark.parametrize("where", [(StreamOutput, "reveal"), (StreamOutput, "write_manifest"), (Journal, "finish")])
def test_an_epoch_that_is_sealed_is_shown_before(shop: Shop, where: tuple[type, str]) -> None:
    shop.orders.put(order(6), order(16, coupon="x"))
    with crash(where, behind=False):
        shop.stream()
    shop.repair()
    assert shop.replay().recovered == 5
    assert [row["order_id"] for row in shop.rows()] == sorted([*RECOVERED, *ids(6, 16)])
    assert shop.verified()
    shop.stream()
    assert shop.manifest()["books"] == {"in": 17, "out": 12, "dropped": 0, "dead_lettered": 5}
    assert shop.verified()


@pytest.mark.parametrize("where", [(Journal, "begin"), (StreamOutput, "sync_staging")])
def test_an_epoch_that_is_open_is_left_to_the_stream(shop: Shop, where: tuple[type, str]) -> None:
    shop.orders.put(order(6))
    with crash(where, behind=True):
        shop.stream()
    shop.repair()
    report = shop.replay()
    assert report.recovered == 4 and report.manifest.stream is not None and report.manifest.stream.epochs == 2
    assert shop.verified()
    shop.stream()
    assert [row["order_id"] for row in shop.rows()] == sorted([*RECOVERED, *ids(6)])
    assert shop.manifest()["stream"]["epochs"] == 3 and shop.verified()


def test_merging_goes_on_behind_a_replay_and_no_instant_goes_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.repair()
    shop.replay()
    rows, manifest = shop.rows(), shop.manifest()
    monkeypatch.setattr(compaction, "FEWEST", 2)
    shop.stream()
    assert shop.rows() == rows
    assert len(list(shop.out.glob("data/*/*.parquet"))) == 3
    changing = dict.fromkeys(("files", "finished_at", "signature"))
    assert {**shop.manifest(), **changing} == {**manifest, **changing}
    assert shop.verified()


def test_killing_a_replay_at_any_moment_loses_and_doubles_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.repair()
    shop.consents.put(consent("c-5"))
    shop.stream()
    pristine = tmp_path / "pristine"
    shutil.copytree(shop.out, pristine)
    command = [
        sys.executable, "-m", "oracles.replaying_process", shop.project.root / "consentry.yaml", shop.out,
        str(shop.now + SECOND), "stream",
    ]  # fmt: skip
    program = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin is not None and program.stdout is not None
    out, line, answer, seen = [], 0, "", 0
    while not answer.startswith("ended"):
        line += LINES
        print(line, file=program.stdin, flush=True)
        answer = program.stdout.readline().strip()
        assert shop.verified(but="unlisted"), line
        out.append(shop.manifest()["books"]["out"])
        (by_stream if seen % 2 else by_replay)(shop)
        seen += 1
        assert shop.verified(), line
        shop.replay()
        assert set(RECOVERED) <= {row["order_id"] for row in shop.rows()}
        assert len(shop.rows()) == shop.manifest()["books"]["out"] == len({row["order_id"] for row in shop.rows()})
        shop.orders._partitions["orders/0"] = shop.orders._partitions["orders/0"][:8]
        shutil.rmtree(shop.out)
        shutil.copytree(pristine, shop.out)
    program.communicate()
    assert answer == "ended 0" and len(out) > 20
    assert {6, 10} == set(out)


# ---- secrets


SECRETS = ("4111111111111111", "kim3@example.com", "kim4@example.com", "kim5@example.com", COUPON, "yesterday")
FAILING = ("decide_batch", "protect_batch", "record_batches", "open_stored", "FileWriter.write", "Journal.seal_replay")


@pytest.mark.parametrize("place", [None, *FAILING])
def test_no_raw_value_leaves_by_a_way_that_nobody_meant(
    shop: Shop, place: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shop.repair()
    told: list[tuple[str, bytes]] = []
    if place is None:
        told.append(("report", repr(shop.replay()).encode()))
    else:
        _fail_with_values(monkeypatch, place)
        state = shop.state()
        with pytest.raises((PrivacyError, RuntimeError)) as caught:
            shop.replay()
        assert shop.state() == state
        if place != "Journal.seal_replay":  # which sees no record
            assert isinstance(caught.value, PrivacyError)
            told.append(("error", f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}".encode()))
    said = capfd.readouterr()
    told += [("stdout", said.out.encode()), ("stderr", said.err.encode()), ("log", caplog.text.encode())]
    assert leaks(SECRETS, [*contents(shop.place), *told]) == []


def _fail_with_values(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError(" ".join(SECRETS))

    owner, _, name = place.rpartition(".")
    target = {"": letter_trial, "FileWriter": FileWriter, "Journal": Journal}[owner]
    monkeypatch.setattr(target, name, failing)


# ---- the command


def test_the_command_replays_a_stream_and_tells_what_waits(shop: Shop) -> None:
    config = ("--config", shop.project.root / "consentry.yaml")
    shop.out, shop.now = shop.place / "today", time.time_ns() // 1000  # letters of the others are out of time
    shop.stream()
    shop.repair(("order_id: keep\n", "order_id: keep\n      coupon: keep\n"), STRICT[::-1])
    done = process("dead-letters", "replay", shop.out, *config)
    assert done.code == 0 and "4 have a field that the stream has not met yet" in done.err
    assert "Nothing changed" in done.err
    shop.repair(("      coupon: keep\n", "      coupon: drop\n"))
    done = process("dead-letters", "replay", shop.out, "--json", *config)
    assert done.code == 0 and (done.json()["recovered"], done.json()["waiting"]) == (4, 0)
    assert done.json()["manifest"] == shop.manifest() and shop.verified()
    with open_stream_output(str(shop.out)):
        done = process("dead-letters", "replay", shop.out, *config)
    assert done.code != 0 and "another stream writes to it" in done.err

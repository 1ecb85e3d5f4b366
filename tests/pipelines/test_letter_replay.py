"""Replayed letters become the rows that a run under the repaired policy would have written, and nobody sees them."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import letter_replay, letter_trial, output_state
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_stores
from consentry.pipelines.json_records import load_record
from consentry.pipelines.keyring_files import open_proof_keys
from consentry.pipelines.known_outputs import KnownOutput, open_known_outputs, place_of
from consentry.pipelines.letter_listing import LetterList, list_letters
from consentry.pipelines.letter_records import record_batches
from consentry.pipelines.letter_replay import ReplayReport, replay_letters
from consentry.pipelines.letters import StoredLetter, open_letter_output, open_stored, stored_letters
from consentry.pipelines.manifest_file import sign_manifest
from consentry.pipelines.output_versions import domains_in
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.splits import RejectedLine
from consentry.pipelines.verify import verify_output
from consentry.schemas.consent import parse_instant
from consentry.schemas.dead_letter import DeadLetter
from consentry.schemas.errors import ConfigError, IntegrityError, OutputError, PrivacyError, RunError, SecretError
from consentry.schemas.manifest import Manifest, StreamProgress, parse_manifest
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.schemas.record_columns import POSITION
from consentry.transforms import dead_letters
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.dead_letters import letter_keys
from consentry.transforms.stage import open_stage, settle_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.needles import contents, leaks
from oracles.shop_commands import BROKEN, CARDS, order, write_lines

TESTS = Path(__file__).parent.parent
NOW = parse_instant("2026-06-01T00:00:00Z")
HOUR = 3_600_000_000
DAY = 24 * HOUR
STRICT = ("on_drift: drop ", "on_drift: dead_letter ")
SECRET_COUPON = "coupon-kanarie-4711"


class Troubled:
    """A shop whose policy sends undeclared fields to the dead letters, with an output that has some."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.project = read_project(place / "shop" / "consentry.yaml")
        self.policy = place / "shop" / "policy.yaml"
        self.out = place / "out"

    @property
    def manifest(self) -> Manifest:
        return parse_manifest((self.out / "manifest.json").read_bytes())[0]

    def repair(self, *changes: tuple[str, str]) -> None:
        text = self.policy.read_text()
        for old, new in changes or ((STRICT[1], STRICT[0]),):
            assert old in text
            text = text.replace(old, new)
        self.policy.write_text(text)

    def replay(self, *, clock: int = NOW + HOUR, **options: Any) -> ReplayReport:
        return replay_letters(self.project, str(self.out), **{"now": NOW, **options}, clock=lambda: clock)

    def rows(self, out: Path | None = None) -> list[dict[str, Any]]:
        files = sorted((out or self.out).glob("data/*.parquet"))
        return sorted((row for path in files for row in pq.read_table(path).to_pylist()), key=json_text)

    def letters(self) -> list[DeadLetter]:
        files = sorted(self.out.glob("dead_letters/*.parquet"))
        return [DeadLetter(**row) for path in files for row in pq.read_table(path).to_pylist()]

    def state(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.out)): path.read_bytes() for path in self.out.rglob("*") if path.is_file()}

    def verified(self) -> bool:
        return verify_output(str(self.out), PublicKeys.load(self.project.trust)).ok

    def listed(self, *, now: int) -> LetterList:
        output = open_letter_output(str(self.out), PublicKeys.load(self.project.trust))
        return list_letters(stored_letters(output), self.project, now=now)

    def hidden(self) -> list[str]:
        return [path.name for path in self.place.iterdir() if path.name.startswith(".")]


def json_text(row: Any) -> str:
    return json.dumps(row, default=str, sort_keys=True)


def records() -> list[Any]:
    """Six that leave; and two with an undeclared field, one without instant, a broken one, one of a wrong type."""
    return [
        *(order(number) for number in range(6)),
        order(6, coupon=SECRET_COUPON),
        order(7, coupon=SECRET_COUPON, items=[]),
        order(8, placed_at="yesterday"),
        BROKEN,
        order(9, items="6011000990139424"),
    ]


@pytest.fixture(scope="session")
def made_troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("troubled")
    write_project(place / "shop", tenant="shop", now=NOW - DAY)
    shop = Troubled(place)
    shop.repair(STRICT)
    write_lines(place / "orders.jsonl", records())
    run_protect(shop.project, [str(place / "orders.jsonl")], "orders", str(shop.out), now=NOW, clock=lambda: NOW)
    assert dict(shop.manifest.reasons) == {
        "undeclared_field": 2, "event_time_invalid": 1, "invalid_json": 1, "wrong_type": 1,
    }  # fmt: skip
    return place


@pytest.fixture
def shop(made_troubled: Path, tmp_path: Path) -> Troubled:
    shutil.copytree(made_troubled, tmp_path / "place")
    return Troubled(tmp_path / "place")


def test_a_replay_has_the_output_known_by_all_domains_that_it_has_now(shop: Troubled) -> None:
    place, before = place_of(str(shop.out)), shop.manifest.run
    shop.repair()
    with closing(open_known_outputs(shop.project)) as known:
        known.note(
            KnownOutput(place=place, run=before, dataset="orders", published=True, versions={"card": 1}, noted_at=NOW)
        )
    assert shop.replay().recovered
    with closing(open_known_outputs(shop.project)) as known:
        (found,) = [each for each in known.all() if each.place == place]
    assert found.run == shop.manifest.run and {"card", "customer", "email"} <= found.versions.keys()
    assert found.versions.keys() == domains_in(shop.manifest, read_policy(shop.policy))


def test_a_letter_whose_time_is_over_is_not_opened_though_its_key_is_still_there(shop: Troubled) -> None:
    shop.repair()
    (kept,) = {letter_keys(letter).day for letter in shop.letters()}
    with closing(open_stores(shop.project)) as stores:
        assert stores.data_keys.find_day_key(kept, at=NOW) is not None
        stored = [StoredLetter(digest="0" * 64, letter=letter, keys=letter_keys(letter)) for letter in shop.letters()]
        for at, closed in ((NOW + 6 * DAY, False), (NOW + 9 * DAY, True)):
            opened = open_stored(stored, stores.data_keys, "shop", at=at)
            assert [each is None for each in opened] == [closed] * len(stored)


def test_a_replay_gives_what_a_run_under_the_repaired_policy_gives(shop: Troubled) -> None:
    shop.repair()
    report = shop.replay()
    anew = shop.place / "anew"
    run_protect(shop.project, [str(shop.place / "orders.jsonl")], "orders", str(anew), now=NOW, clock=lambda: NOW)
    expected = parse_manifest((anew / "manifest.json").read_bytes())[0]
    assert (report.tried, report.recovered, report.failed, report.skipped) == (4, 2, 2, 1)
    assert shop.rows() == shop.rows(anew)
    for part in (
        "books",
        "consent",
        "fields",
        "reasons",
        "absent",
        "drift",
        "policy",
        "key_versions",
        "ledger_position",
    ):
        assert getattr(shop.manifest, part) == getattr(expected, part), part
    assert shop.manifest == report.manifest
    assert shop.verified() and shop.hidden() == []
    assert SECRET_COUPON not in str(shop.rows())


def test_what_was_there_stays_as_it_was_under_its_own_name(shop: Troubled) -> None:
    before, old = shop.state(), shop.manifest
    shop.repair()
    shop.replay()
    kept = {file.path for file in old.files if file.kind == "data"}
    assert kept and kept < {file.path for file in shop.manifest.files}
    assert all(shop.state()[path] == before[path] for path in kept)
    assert shop.manifest.run != old.run and shop.manifest.books.in_ == old.books.in_


def test_new_files_have_the_columns_of_the_old_ones(shop: Troubled) -> None:
    shop.repair()
    shop.replay()
    schemas = [pq.read_schema(path) for path in shop.out.glob("data/*.parquet")]
    assert len(schemas) == 2 and schemas[0].equals(schemas[1], check_metadata=True)


def test_a_second_replay_changes_nothing(shop: Troubled) -> None:
    shop.repair()
    assert shop.replay().changed
    state = shop.state()
    again = shop.replay(clock=NOW + 2 * HOUR)
    assert not again.changed and again.failed == 2 and again.recovered == 0
    assert shop.state() == state


def test_nothing_changes_where_nothing_was_repaired(shop: Troubled) -> None:
    state = shop.state()
    assert not shop.replay().changed
    assert shop.state() == state and shop.hidden() == []


def test_only_letters_of_the_reason_asked_for_are_tried(shop: Troubled) -> None:
    shop.repair()
    report = shop.replay(reason="event_time_invalid")
    assert (report.tried, report.recovered, report.changed) == (1, 0, False)
    assert shop.replay(reason="undeclared_field").recovered == 2


def test_a_letter_that_fails_for_another_reason_keeps_the_keys_of_its_first_sealing(shop: Troubled) -> None:
    before = {each.position: each for each in shop.letters()}
    until = {each.id: state.until for each, state in shop.listed(now=NOW).letters}
    shop.repair(("event_time: placed_at", "event_time: customer.birth_date"))  # a date is no instant
    late = NOW + 3 * DAY
    report = shop.replay(clock=late)
    after = {each.position: each for each in shop.letters()}
    assert report.changed and (report.failed, report.skipped) == (4, 1)
    assert [after[place].reason for place in (7, 8)] == ["event_time_invalid"] * 2, "it was undeclared_field"
    assert all(after[place] == before[place] for place in (9, 10, 11)), "the same reason: the very same letter"
    assert {place: letter_keys(each) for place, each in after.items()} == {
        place: letter_keys(each) for place, each in before.items()
    }
    listed = shop.listed(now=late).letters
    assert {state.until for _, state in listed} == set(until.values()) and max(until.values()) <= NOW + 7 * DAY
    assert shop.verified() and not shop.replay(clock=late + HOUR).changed
    shop.repair(("event_time: customer.birth_date", "event_time: placed_at"), (STRICT[1], STRICT[0]))
    assert shop.replay(clock=late + HOUR).recovered == 2, "they still open"


def test_letters_whose_time_is_over_or_whose_subject_was_erased_stay_as_they_are(shop: Troubled) -> None:
    shop.repair()
    with open_stores(shop.project) as stores:
        erased = subject_reference("c-0", stores.keys.reference_key)  # of order 6
        assert erased is not None
        stores.data_keys.destroy([erased])
    before = shop.letters()
    report = shop.replay()
    assert (report.closed, report.recovered) == (1, 1)
    assert next(each for each in before if letter_keys(each).subject == erased) in shop.letters()
    assert shop.verified()
    listed = shop.listed(now=NOW + HOUR).as_json()
    assert (listed["total"], listed["openable"], listed["subject_erased"]) == (4, 3, 1)
    report = shop.replay(clock=NOW + 8 * DAY)
    assert (report.closed, report.tried, report.changed) == (4, 0, False)
    assert shop.listed(now=NOW + 8 * DAY).as_json()["time_over"] == 4


def test_consent_is_asked_as_it_is_now(shop: Troubled) -> None:
    collect = "    collect: [{}]          # a record"
    shop.repair((STRICT[1], STRICT[0]), (collect.format("fulfilment"), collect.format("support")))
    report = shop.replay()
    assert (report.recovered, report.dropped) == (0, 2)
    assert shop.manifest.books.dropped == 2 and shop.manifest.books.out == 6
    assert shop.verified()


def test_values_of_recovered_rows_are_in_the_vault(shop: Troubled) -> None:
    shop.repair()
    before = shop.manifest.vault
    shop.replay()
    counted = shop.manifest.vault
    assert counted.written + counted.present > before.written + before.present


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("order_id: keep", "order_id: customer_id"), "field order_id: its action was keep and is tokenize now"),
        (("domain: card ", "domain: pan2 "), r"field payment\.card\.number: its domain was card and is pan2 now"),
        (("order_id: keep", "order_id: drop"), "field order_id: the policy would write no such field now"),
        (("order_id: keep\n", "order_id: keep\n      coupon: keep\n"), "field coupon: the output has no such"),
        (("{action: generalize, to: year", "{action: mask, show_first: 4"), "action was generalize"),
    ],
)  # fmt: skip
def test_a_policy_that_would_write_other_fields_is_refused(shop: Troubled, changes: tuple[str, str], said: str) -> None:
    shop.repair((STRICT[1], STRICT[0]), changes)
    state = shop.state()
    with pytest.raises(ConfigError, match=said + ".*protect the inputs anew") as caught:
        shop.replay()
    assert caught.value.exit_code == 2
    assert shop.state() == state and shop.hidden() == []


def test_an_output_that_was_changed_is_refused(shop: Troubled) -> None:
    shop.repair()
    for path in (*shop.out.glob("data/*.parquet"), *shop.out.glob("dead_letters/*.parquet")):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="is not as its run left it"):
            shop.replay()
        path.write_bytes(data)
    assert shop.replay().changed


def test_a_manifest_that_nobody_signed_is_not_vouched_for(shop: Troubled) -> None:
    path = shop.out / "manifest.json"
    path.write_text(
        path.read_text().replace('"token_only"', '"token_only"').replace('"redacted": 0', '"redacted": 1', 1)
    )
    with pytest.raises(IntegrityError, match="signature"):
        shop.replay()


def test_an_object_store_is_refused(shop: Troubled) -> None:
    with pytest.raises(OutputError, match="local output only"):
        replay_letters(shop.project, "gs://bucket/out", now=NOW)


def test_the_output_of_a_stream_is_refused(shop: Troubled) -> None:
    progress = StreamProgress(source="kafka:orders", epochs=1, offsets={"orders/0": 11}, corrections=0)
    unsigned = shop.manifest.model_copy(update={"stream": progress, "signature": None})
    (shop.out / "manifest.json").write_text(sign_manifest(unsigned, open_proof_keys(shop.project)).dumps())
    assert shop.verified() and shop.listed(now=NOW).as_json()["total"] == 5
    with pytest.raises(ConfigError, match="is the output of a stream"):
        shop.replay()


def test_a_line_that_can_be_read_by_now_is_sealed_again_under_its_subjects_key_too(shop: Troubled) -> None:
    """As after a repair of the reader: what names a customer must go with them."""
    line = RejectedLine(position=1, reason="invalid_json", raw=json.dumps(order(0, placed_at="soon")).encode())
    with closing(OpenSealer(shop)) as stage:
        (row,) = stage.sealer.seal_lines([line], "orders.jsonl").to_pylist()
        letter = DeadLetter(**row)
        stored = StoredLetter(digest="0" * 64, letter=letter, keys=letter_keys(letter))
        (opened,) = open_stored([stored], stage.data_keys, "shop", at=0)
        assert opened is not None and opened.record is not None and letter_keys(letter).subject is None
        again = stage.sealer.seal_again(
            letter, opened.record, stage="decide", reason="event_time_invalid", day_key=opened.day_key, subject_key=None
        )
        names = letter_keys(again)
        assert names.day == letter_keys(letter).day and names.subject is not None
        sealed = StoredLetter(digest="0" * 64, letter=again, keys=names)
        (reopened,) = open_stored([sealed], stage.data_keys, "shop", at=0)
        assert reopened is not None and reopened.record is not None
        assert reopened.record["customer"]["id"] == "c-0" and "cvv" not in reopened.record["payment"]["card"]
        assert "kim0" not in repr(reopened)
        with pytest.raises(SecretError):
            pickle.dumps(reopened)
        stage.data_keys.destroy([names.subject])
        assert open_stored([sealed], stage.data_keys, "shop", at=0) == [None]


class OpenSealer:
    """The sealer of a shop and its data keys, open."""

    def __init__(self, shop: Troubled) -> None:
        stage = open_stage(settle_stage(shop.project, read_policy(shop.policy), "orders", now=NOW))
        self._stage = stage
        self.sealer, self.data_keys = stage.sealer, stage.stores.data_keys

    def close(self) -> None:
        for store in (self._stage.stores.data_keys, self._stage.stores.ledger, self._stage.stores.vault):
            assert store is not None
            store.close()


def test_two_replays_of_one_output_stay_apart(shop: Troubled) -> None:
    shop.repair()
    with (
        output_state.alone_in(str(shop.out)),
        pytest.raises(OutputError, match="is at work there"),
    ):
        shop.replay()
    assert shop.replay().changed


def test_an_output_that_was_replaced_meanwhile_stays(shop: Troubled) -> None:
    shop.repair()
    asked: list[int] = []

    def clock() -> int:
        asked.append(1)
        if len(asked) == 2:  # when all is prepared
            orders = write_lines(shop.place / "few.jsonl", [order(1)])
            run_protect(shop.project, [str(orders)], "orders", str(shop.out), now=NOW, replace=True)
        return NOW + HOUR

    with pytest.raises(RunError, match="was replaced by another run meanwhile"):
        replay_letters(shop.project, str(shop.out), now=NOW, clock=clock)
    assert shop.manifest.books.in_ == 1 and shop.verified()


def test_an_output_that_was_replaced_at_the_last_moment_gets_its_place_back(
    shop: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.repair()
    checked: list[int] = []

    def check(output: Any) -> None:
        checked.append(1)
        if len(checked) == 2:
            orders = write_lines(shop.place / "few.jsonl", [order(1)])
            run_protect(shop.project, [str(orders)], "orders", str(shop.out), now=NOW, replace=True)
        elif len(checked) > 2:
            still(output)

    still = output_state.check_still
    monkeypatch.setattr(output_state, "check_still", check)
    with pytest.raises(RunError, match="was replaced by another run meanwhile"):
        shop.replay()
    assert shop.manifest.books.in_ == 1 and shop.verified() and shop.hidden() == []


def coupon_faults(chance: random.Random, number: int) -> dict[str, Any]:
    """A record that leaves, or one that is refused in one of several ways, or in two."""
    record = order(number)
    if chance.random() < 0.4:
        record["coupon"] = {"code": number, "deep": [{"x": None}, {"y": str(number)}]}
    if chance.random() < 0.2:
        record["placed_at"] = chance.choice(["soon", "2026-03-01T09:00:00", None])
    if chance.random() < 0.2:
        record["customer"] = {**record["customer"], "id": None}
    if chance.random() < 0.2:
        record["items"] = chance.choice([[], None, record["items"] * 3])
    if chance.random() < 0.1:
        del record["payment"]
    if chance.random() < 0.1:
        record["payment"] = {"card": {"number": int(CARDS[0])}}
    return record


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_refused_ends_where_a_run_under_the_repaired_policy_puts_it(shop: Troubled, seed: int) -> None:
    chance = random.Random(seed)
    orders = write_lines(shop.place / "mixed.jsonl", [coupon_faults(chance, number) for number in range(60)])
    shutil.rmtree(shop.out)
    run_protect(shop.project, [str(orders)], "orders", str(shop.out), now=NOW, clock=lambda: NOW)
    assert shop.manifest.books.dead_lettered > 10
    shop.repair()
    shop.replay(clock=NOW)
    anew = shop.place / "anew"
    run_protect(shop.project, [str(orders)], "orders", str(anew), now=NOW, clock=lambda: NOW)
    expected = parse_manifest((anew / "manifest.json").read_bytes())[0]
    assert shop.rows() == shop.rows(anew)
    for part in ("books", "consent", "fields", "reasons", "absent", "drift"):
        assert getattr(shop.manifest, part) == getattr(expected, part), part
    assert shop.verified() and not shop.replay(clock=NOW).changed


KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(st.characters(exclude_categories=["Cs"])),
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.float32(): st.floats(allow_nan=False, allow_infinity=False, width=32),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    pa.timestamp("us"): st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    pa.date32(): st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    pa.decimal128(20, 4): st.decimals(-(10**12), 10**12, places=4),
    pa.binary(): st.binary(max_size=20),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["a", "b"]),
}


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_kept_value_comes_back_as_it_was_sealed_whatever_its_type(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5))
    keep = {"consentry.action": "keep"}
    fields = [pa.field(f"c{place}", kind, metadata=keep) for place, kind in enumerate(kinds)]
    inner = pa.struct([pa.field("x", kinds[0], metadata=keep)])
    written = pa.schema([*fields, pa.field("many", pa.list_(inner))])
    row = {field.name: data.draw(st.none() | KINDS[field.type]) for field in fields}
    row["many"] = data.draw(st.none() | st.lists(st.fixed_dictionaries({"x": KINDS[kinds[0]]}), max_size=3))
    sealed = json.dumps(row, default=dead_letters._plain).encode()
    record = load_record(sealed)
    assert isinstance(record, dict)
    (batch,) = record_batches([record], written, lambda _: None)
    assert isinstance(batch, pa.RecordBatch)
    (got,) = batch.drop_columns([POSITION]).to_pylist()
    assert got == row
    assert batch.drop_columns([POSITION]).schema.types == written.types


def test_records_of_typed_files_get_their_types_back(shop: Troubled) -> None:
    schema = pa.schema(
        [
            ("order_id", pa.int32()), ("placed_at", pa.timestamp("us", "UTC")), ("paid", pa.decimal128(9, 2)),
            ("day", pa.date32()), ("blob", pa.binary()), ("rate", pa.float32()),
            ("customer", pa.struct([("id", pa.int64())])), ("coupon", pa.string()),
        ]
    )  # fmt: skip
    same = {"paid": Decimal("12.50"), "blob": b"\xff\x00", "day": date(2026, 3, 1), "rate": 0.5, "customer": {"id": 17}}
    rows = [
        {**same, "order_id": n, "placed_at": datetime(2026, 3, 1, 9, n, tzinfo=UTC), "coupon": "x" if n > 2 else None}
        for n in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), shop.place / "typed.parquet")
    kept = "      order_id: keep\n"
    shop.repair((kept, kept + "".join(f"      {name}: keep\n" for name in ("paid", "day", "blob", "rate"))))
    shutil.rmtree(shop.out)
    run_protect(shop.project, [str(shop.place / "typed.parquet")], "orders", str(shop.out), now=NOW, clock=lambda: NOW)
    shop.repair()
    assert shop.replay().recovered == 2
    got = {row["order_id"]: row for row in shop.rows()}
    assert len(got) == 5 and shop.verified()
    for row in rows:
        for name in ("placed_at", "paid", "day", "blob", "rate"):
            assert got[row["order_id"]][name] == row[name]


def test_rows_of_csv_come_back_and_lines_of_csv_stay(shop: Troubled) -> None:
    shop.repair(("subject: customer.id", "subject: order_id"))
    (shop.place / "few.csv").write_text(
        "order_id,placed_at,coupon\no-1,2026-03-01T09:00:00Z,x\no-2,2026-03-01T09:00:00Z,\no-3\n"
    )
    shutil.rmtree(shop.out)
    run_protect(shop.project, [str(shop.place / "few.csv")], "orders", str(shop.out), now=NOW, clock=lambda: NOW)
    assert dict(shop.manifest.reasons) == {"undeclared_field": 1, "wrong_column_count": 1}
    shop.repair()
    report = shop.replay()
    assert (report.recovered, report.skipped) == (1, 1)
    assert shop.verified() and len(shop.rows()) == 2


def test_an_output_without_any_row_gets_its_first_ones(shop: Troubled) -> None:
    write_lines(shop.place / "all.jsonl", [order(n, coupon="x") for n in range(3)])
    shutil.rmtree(shop.out)
    run_protect(shop.project, [str(shop.place / "all.jsonl")], "orders", str(shop.out), now=NOW, clock=lambda: NOW)
    assert shop.manifest.books.out == 0
    shop.repair()
    assert shop.replay().recovered == 3
    assert shop.verified() and shop.manifest.books.dead_lettered == 0 and shop.letters() == []


def test_records_without_what_a_decision_needs_are_left_alone(shop: Troubled) -> None:
    shop.repair((STRICT[1], STRICT[0]), ("subject: customer.id", "subject: customer.email"))
    report = shop.replay()
    assert report.tried == 0 and not report.changed, "their letters name another subject than the record does now"


def test_killing_a_replay_at_any_moment_leaves_the_old_state_or_the_new_one(shop: Troubled, tmp_path: Path) -> None:
    shop.repair()
    pristine = tmp_path / "pristine"
    shutil.copytree(shop.out, pristine)
    old = shop.manifest.run
    command = [
        sys.executable,
        "-m",
        "oracles.replaying_process",
        shop.project.root / "consentry.yaml",
        shop.out,
        str(NOW),
    ]
    program = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin is not None and program.stdout is not None
    shown, line, answer = [], 0, ""
    while not answer.startswith("ended"):
        line += 11
        print(line, file=program.stdin, flush=True)
        answer = program.stdout.readline().strip()
        assert shop.verified(), line
        shown.append(shop.manifest.run == old)
        assert shop.manifest.books.out == (6 if shown[-1] else 8)
        if not shown[-1]:
            shutil.rmtree(shop.out)
            shutil.copytree(pristine, shop.out)
    program.communicate()
    assert answer == "ended 0" and len(shown) > 30 and shown.count(False) > 1
    shop.replay()
    assert shop.hidden() == [], "what killed replays left is removed by the next one"


SECRETS = ("4111111111111111", "kim0@example.com", "kim1@example.com", SECRET_COUPON, "6011000990139424",
           "1985-08-11", "o-broken", "yesterday")  # fmt: skip
FAILING = (
    "decide_batch", "protect_batch", "record_batches", "open_stored", "pq.ParquetFile", "FileWriter.write", "os.link",
)  # fmt: skip


@pytest.mark.parametrize("place", [None, *FAILING])
def test_no_raw_value_leaves_by_a_way_that_nobody_meant(
    shop: Troubled, place: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    shop.repair()
    (shop.place / "orders.jsonl").unlink()
    told: list[tuple[str, bytes]] = []
    if place is None:
        told.append(("report", repr(shop.replay()).encode()))
    else:
        _fail_with_values(monkeypatch, place)
        state = shop.state()
        with pytest.raises((PrivacyError, RuntimeError)) as caught:
            shop.replay()
        assert shop.state() == state and shop.hidden() == []
        if place not in ("pq.ParquetFile", "os.link"):  # which see no record
            assert isinstance(caught.value, PrivacyError)
            told.append(("error", f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}".encode()))
    said = capfd.readouterr()
    told += [("stdout", said.out.encode()), ("stderr", said.err.encode()), ("log", caplog.text.encode())]
    assert leaks(SECRETS, [*contents(shop.place), *told]) == []


def _fail_with_values(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError(" ".join(SECRETS))

    *steps, name = place.split(".")
    modules = (letter_trial, letter_replay, output_state)
    target: Any = next(module for module in modules if hasattr(module, (*steps, name)[0]))
    for step in steps:
        target = getattr(target, step)
    monkeypatch.setattr(target, name, failing)

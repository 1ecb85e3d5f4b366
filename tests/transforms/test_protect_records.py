from __future__ import annotations

import base64
import bz2
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.desk import open_stores
from consentry.pipelines.scaffold import write_project
from consentry.schemas.consent import ConsentEvent, Decision, format_instant
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter
from consentry.schemas.errors import ConfigError, PolicyError, PrivacyError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.schemas.record_columns import POSITION, SOURCE_KEY
from consentry.transforms.crypto.keyring import Keyring
from consentry.transforms.crypto.open_kek import open_kek
from consentry.transforms.dead_letters import letter_keys, open_letter
from consentry.transforms.protect_records import ProtectDicts, ProtectRecords, UnusableRecord, batches_of
from consentry.transforms.protection_plan import plan_protection
from consentry.transforms.stage import open_stage, settle_stage
from consentry.transforms.tally import Tally
from hypothesis import given, settings
from hypothesis import strategies as st

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
PLACED = "2026-03-01T09:00:00Z"
CARD = "4111111111111111"
Transform = ProtectRecords | ProtectDicts


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number}",
        "placed_at": PLACED,
        "customer": {"id": f"c-{number % 3}", "email": f"kim{number % 3}@example.com", "birth_date": "1985-08-11"},
        "payment": {"card": {"number": CARD, "cvv": "675"}},
        "items": [{"sku": "TEA", "quantity": 1, "gift_note": "call Ann"}],
        **changes,
    }


@dataclass
class Result:
    rows: list[dict[str, Any]]
    schemas: list[pa.Schema]
    letters: list[DeadLetter]
    tally: Tally

    def reasons(self) -> list[tuple[str, str]]:
        return sorted((letter.stage, letter.reason) for letter in self.letters)


class Write(beam.DoFn):
    """Writes elements into a folder, a file each: as a test learns what came out of a pipeline."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def process(self, element: Any) -> None:
        import pickle

        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(pickle.dumps(element))


def ran(source: beam.PTransform[Any, Any], transform: Transform, folder: Path) -> Result:
    import pickle

    places = {name: folder / name for name in ("rows", "dead_letters", "tally")}
    for place in places.values():
        place.mkdir(parents=True)
    with beam.Pipeline(FN_API) as pipeline:
        found = pipeline | "Source" >> source | "Protected" >> transform
        for name, place in places.items():
            _ = getattr(found, name) | f"Write_{name}" >> beam.ParDo(Write(place))
    read = {name: [pickle.loads(file.read_bytes()) for file in place.iterdir()] for name, place in places.items()}
    rows = [row for each in read["rows"] for row in (each.to_pylist() if isinstance(each, pa.RecordBatch) else [each])]
    letters = []
    for batch in read["dead_letters"]:
        assert batch.schema == DEAD_LETTER_SCHEMA
        letters += [DeadLetter(**row) for row in batch.to_pylist()]
    assert len(read["tally"]) <= 1
    return Result(
        rows=sorted(rows, key=lambda row: str(row["order_id"])),
        schemas=[each.schema for each in read["rows"] if isinstance(each, pa.RecordBatch)],
        letters=letters,
        tally=read["tally"][0] if read["tally"] else Tally(),
    )


@dataclass
class Shop:
    """A real project in which c-0 and c-1 let support look."""

    folder: Path
    project: Project

    @property
    def config(self) -> Path:
        return self.folder / "consentry.yaml"

    def records(self, batches: Sequence[pa.RecordBatch], **options: Any) -> Result:
        source = beam.Create(list(batches)).with_output_types(pa.RecordBatch)
        transform = ProtectRecords(self.config, "orders", **{"at": NOW, **options})
        return ran(source, transform, Path(tempfile.mkdtemp(dir=self.folder)))

    def dicts(self, records: Sequence[Any], **options: Any) -> Result:
        transform = ProtectDicts(self.config, "orders", **{"at": NOW, **options})
        return ran(beam.Create(list(records)), transform, Path(tempfile.mkdtemp(dir=self.folder)))

    def opened(self, letter: DeadLetter) -> bytes:
        with open_stores(self.project) as stores:
            names = letter_keys(letter)
            known = [] if names.subject is None else [names.subject]
            subject_key = next(iter(stores.data_keys.keys_for(known, create=False).values()), None)
            day_key = stores.data_keys.find_day_key(names.day, at=0)
            return open_letter(letter, day_key=day_key, subject_key=subject_key, tenant="shop")

    def vaulted(self, domain: str, tokens: set[str]) -> set[str]:
        with open_stores(self.project) as stores:
            return {stores.vault.open_value(entry) for token in tokens for entry in stores.vault.find(domain, token)}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    write_project(tmp_path / "shop", tenant="shop", now=NOW - DAY)
    project = read_project(tmp_path / "shop" / "consentry.yaml")
    events = [
        ConsentEvent(subject=f"c-{number}", purpose="support", decision=Decision.GRANTED, effective_at=0, source="test")
        for number in range(2)
    ]
    with open_stores(project) as stores:
        stores.ledger.append(events, now=NOW - DAY)
    return Shop(tmp_path / "shop", project)


def batch_of(records: Sequence[dict[str, Any]], source: str = "orders.jsonl") -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(records)).replace_schema_metadata({SOURCE_KEY: source.encode()})


def field_counts(tally: Tally) -> dict[str, int]:
    """By path: how many values were accounted for."""
    found: dict[str, int] = {}
    for (path, outcome), count in tally.under("field").items():
        if outcome != "vault_candidate":
            found[path] = found.get(path, 0) + count
    return found


def assert_protected(row: dict[str, Any], number: int) -> None:
    raw = order(number)
    assert (row["order_id"], row["placed_at"]) == (raw["order_id"], PLACED)
    assert row["customer"]["birth_date"] == "1985"
    assert re.fullmatch(r"[a-z2-7]{16}@[a-z2-7]{16}\.invalid", row["customer"]["email"])
    assert re.fullmatch(r"[a-z2-7]{16}", row["customer"]["id"])
    assert row["payment"].keys() == {"card"}
    assert row["payment"]["card"].keys() == {"number"}
    assert re.fullmatch(r"[0-9]{12}1111", row["payment"]["card"]["number"])
    assert row["payment"]["card"]["number"] != CARD
    assert row["items"] == [{"sku": "TEA", "quantity": 1, "gift_note": "call Ann"}]


# ---- record batches


def test_batches_go_in_and_protected_batches_come_out(shop: Shop) -> None:
    result = shop.records([batch_of([order(0), order(1)]), batch_of([order(2)], "more.jsonl")])
    for number, row in enumerate(result.rows):
        assert_protected(row, number)
    assert len(result.rows) == 3
    assert result.letters == []
    assert result.tally.under("rows") == {("distributable",): 3}
    assert set(field_counts(result.tally).values()) == {3}
    assert result.tally.under("vault") == {("written",): 5}
    for schema in result.schemas:
        field = schema.field("customer").type.field("email")
        assert field.metadata[b"consentry.action"] == b"tokenize"
    tokens = {row["customer"]["email"] for row in result.rows}
    assert shop.vaulted("email", tokens) == {"kim0@example.com", "kim1@example.com"}
    cards = {row["payment"]["card"]["number"] for row in result.rows}
    assert shop.vaulted("card", cards) == {CARD}


def test_without_a_vault_the_same_rows_come_out_and_nothing_is_kept(shop: Shop) -> None:
    batches = [batch_of([order(0), order(1)])]
    without = shop.records(batches, with_vault=False)
    tokens = {row["customer"]["email"] for row in without.rows}
    assert shop.vaulted("email", tokens) == set()
    assert without.tally.under("vault") == {}
    assert without.rows == shop.records(batches).rows


def test_refused_rows_leave_as_sealed_letters_from_every_stage(shop: Shop) -> None:
    policy = shop.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("domain: card  ", "domain: card\n    on_invalid: dead_letter  "))
    bad = order(1, payment={"card": {"number": "4111", "cvv": "675"}})
    late = order(2, placed_at="yesterday")
    result = shop.records([batch_of([order(0), bad, late])])
    assert [row["order_id"] for row in result.rows] == ["o-0"]
    assert result.reasons() == [("decide", "event_time_invalid"), ("protect", "wrong_length")]
    assert result.tally.under("rejected") == {
        ("decide", "event_time_invalid"): 1, ("protect", "wrong_length"): 1,
    }  # fmt: skip
    opened = {letter.stage: json.loads(shop.opened(letter)[1:]) for letter in result.letters}
    assert opened["decide"] == late | {"payment": {"card": {"number": CARD}}}
    assert opened["protect"] == bad | {"payment": {"card": {"number": "4111"}}}
    for letter in result.letters:
        assert (letter.source, letter.dataset) == ("orders.jsonl", "orders")
        assert letter_keys(letter).subject is not None


def test_rows_of_nobody_are_dropped_and_counted(shop: Shop) -> None:
    result = shop.records([batch_of([order(0), order(1, customer={"id": None})])])
    assert [row["order_id"] for row in result.rows] == ["o-0"]
    assert result.tally.under("rows") == {("distributable",): 1, ("dropped",): 1}


def test_the_instant_of_the_run_decides(shop: Shop) -> None:
    event = ConsentEvent(subject="c-0", purpose="support", decision=Decision.WITHDRAWN, effective_at=NOW, source="test")
    with open_stores(shop.project) as stores:
        stores.ledger.append([event], now=NOW)
    batches = [batch_of([order(0)])]
    before = shop.records(batches, at=NOW - 1)
    assert before.tally["field", "customer.email", "vault_candidate"] == 1
    text = format_instant(NOW).replace("Z", "-00:00")
    for at in (NOW, text):
        after = shop.records(batches, at=at)
        assert after.tally["field", "customer.email", "vault_candidate"] == 0


def test_a_contradicting_type_is_left_out_and_counted_as_drift(shop: Shop) -> None:
    result = shop.records([batch_of([order(0, payment="4111111111111111", browser=1)])])
    assert result.tally.under("drift") == {("payment",): 1, ("browser",): 1}
    assert result.rows[0].keys() == {"order_id", "placed_at", "customer", "items"}


def test_no_batches_make_no_rows(shop: Shop) -> None:
    result = shop.records([])
    assert (result.rows, result.letters) == ([], [])
    assert result.tally.counts == {}


@pytest.mark.parametrize("transform", [ProtectRecords, ProtectDicts])
def test_wrong_use_is_refused_when_the_pipeline_is_built(shop: Shop, transform: type[Transform]) -> None:
    with pytest.raises(ConfigError, match="the policy has no dataset 'refunds'; it has: orders"):
        transform(shop.config, "refunds")
    with pytest.raises(PolicyError):
        transform(shop.folder / "nowhere.yaml", "orders")
    with pytest.raises(ValueError, match="an instant needs an offset"):
        transform(shop.project, "orders", at="2026-03-01T09:00:00")
    with pytest.raises(PrivacyError):
        transform(shop.project.model_copy(update={"ledger": f"sqlite:{shop.folder}/none.db"}), "orders")


def test_an_event_time_without_a_zone_stops_the_pipeline_and_names_the_column(shop: Shop) -> None:
    batch = pa.record_batch({"order_id": ["o-1"], "placed_at": pa.array([0], pa.timestamp("us"))})
    with pytest.raises(ConfigError, match=r"datasets\.orders\.event_time: column 'placed_at' has type timestamp\[us\]"):
        shop.records([batch])


# ---- dicts


def test_dicts_go_in_and_protected_dicts_come_out(shop: Shop) -> None:
    result = shop.dicts([order(number) for number in range(5)])
    for number, row in enumerate(result.rows):
        assert_protected(row, number)
    assert len(result.rows) == 5
    assert result.letters == []
    assert result.tally.under("rows") == {("distributable",): 5}
    assert set(field_counts(result.tally).values()) == {5}


def test_dicts_and_batches_of_the_same_records_have_the_same_tokens(shop: Shop) -> None:
    records = [order(number) for number in range(4)]
    assert shop.dicts(records).rows == shop.records([batch_of(records)]).rows


UNUSABLE: list[tuple[Any, str, bytes]] = [
    (None, "not_an_object", b'r"None"'),
    ("4111111111111111", "not_an_object", b'r"4111111111111111"'),
    ([order(1)], "not_an_object", b"r"),
    ({1: "kim1@example.com"}, "not_an_object", b"r"),
    ({}, "nothing_declared", b"j{}"),
    (order(1, items=[1, "two"]), "wrong_type", b'j{"order_id": "o-1"'),
    (order(1, seen=2**70), "wrong_type", b'j{"order_id": "o-1"'),
    (order(1, order_id={"a": {3: 4}}), "wrong_type", b'j{"order_id": {"a": {"3": 4}}'),
]


def test_dicts_that_no_schema_holds_become_dead_letters_and_the_others_go_on(shop: Shop) -> None:
    records = [order(0), *(record for record, _, _ in UNUSABLE), order(2)]
    result = shop.dicts(records)
    assert [row["order_id"] for row in result.rows] == ["o-0", "o-2"]
    assert result.reasons() == sorted(("build", reason) for _, reason, _ in UNUSABLE)
    assert result.tally.under("rejected", "build") == {
        ("not_an_object",): 4, ("nothing_declared",): 1, ("wrong_type",): 3,
    }  # fmt: skip
    opened = [shop.opened(letter) for letter in result.letters]
    for _, _, start in UNUSABLE:
        assert any(found.startswith(start) for found in opened), start
    assert not any(b"675" in found for found in opened if found[:1] == b"j")  # cvv is dropped by name
    assert all(letter_keys(letter).subject for letter in result.letters if letter.reason == "wrong_type")
    for letter in result.letters:
        assert (letter.source, letter.position) == (None, None)
        for raw in (b"kim1", b"4111", b"o-1"):
            assert raw not in letter.sealed


def test_dicts_that_contradict_each_other_all_go_on(shop: Shop) -> None:
    records = [
        order(0),
        order(1, payment="none"),
        order(2, items=[{"sku": 7, "quantity": "one"}]),
        order(3, items=None),
        order(4, customer="c-4"),
        order(5, customer={"id": 17}),
    ]
    result = shop.dicts(records)
    assert [row["order_id"] for row in result.rows] == ["o-0", "o-1", "o-2", "o-3", "o-5"]
    assert result.tally["rows", "dropped"] == 1
    assert result.tally.under("drift") == {("payment",): 1}  # a dropped row has none
    assert result.letters == []
    assert result.rows[2]["items"] == [{"sku": 7, "quantity": "one"}]


@pytest.mark.parametrize(
    "changes",
    [{"placed_at": 5}, {"placed_at": datetime(2026, 3, 1, 9)}, {"customer": {"id": 1.5}}, {"customer": {"id": True}}],
    ids=str,
)
def test_a_dict_whose_subject_or_event_time_has_another_type_is_refused_alone(
    shop: Shop, changes: dict[str, Any]
) -> None:
    result = shop.dicts([order(0), order(1, **changes)])
    assert [row["order_id"] for row in result.rows] == ["o-0"]
    assert len(result.letters) + result.tally["rows", "dropped"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"order_id": 10**5000}, {"order_id": {("a", "b"): 1}}],
    ids=["huge number", "tuple as key"],
)
def test_a_dict_that_json_cannot_hold_is_refused_alone(shop: Shop, changes: dict[str, Any]) -> None:
    result = shop.dicts([order(0), order(1, **changes)])
    assert [row["order_id"] for row in result.rows] == ["o-0"]
    assert len(result.letters) == 1


@pytest.mark.parametrize("number", [2**63, 2**70, -(2**63) - 1])
def test_a_long_whole_number_in_a_field_of_text_is_its_digits(shop: Shop, number: int) -> None:
    records = [order(0), order(1, order_id=number), order(2, customer={"id": number, "email": "kim1@example.com"})]
    result = shop.dicts(records)
    assert {row["order_id"] for row in result.rows} == {"o-0", str(number), "o-2"}
    assert result.letters == []
    spelt = shop.dicts([order(0), order(2, customer={"id": str(number), "email": "kim1@example.com"})])
    found, expected = ({row["order_id"]: row["customer"]["id"] for row in each.rows} for each in (result, spelt))
    assert found["o-2"] == expected["o-2"]


LONG = 2**70


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([{"a": "x"}, {"a": "y"}, {"a": LONG}], str(LONG)),
        ([{"a": "x"}, {"a": LONG}], str(LONG)),
        ([{"a": LONG}, {"a": "x"}], None),
        ([{"a": 1}, {"a": 2}, {"a": "x"}, {"a": LONG}], None),
        ([{"a": None}, {"a": LONG}], None),
        ([{"a": LONG}], None),
        ([{"b": "x"}, {"a": LONG}], None),
        ([{"a": {"b": "x"}}, {"a": {"b": LONG}}], {"b": str(LONG)}),
        ([{"a": {"b": "x"}}, {"a": {"c": LONG}}], None),
        ([{"a": ["x", "y"]}, {"a": [LONG, "z"]}], [str(LONG), "z"]),
        ([{"a": [{"b": "x"}]}, {"a": [{"b": LONG}]}], [{"b": str(LONG)}]),
    ],
)
def test_a_field_is_of_text_where_most_records_have_text_and_among_equals_the_first(
    records: list[Any], expected: Any
) -> None:
    batches, unusable = batches_of(records)
    rows = [row["a"] for batch in batches for row in batch.to_pylist() if row.get("a") is not None]
    if expected is None:
        assert [found.parsed for found in unusable] == [record for record in records if str(LONG) in str(record)]
    else:
        assert unusable == []
        assert expected in rows


def test_dicts_with_long_whole_numbers_stay_one_batch() -> None:
    batches, unusable = batches_of([{"a": "x"}, {"a": "y"}, {"a": LONG}, {"a": -LONG}, {"a": "z"}])
    assert [batch["a"].to_pylist() for batch in batches] == [["x", "y", str(LONG), str(-LONG), "z"]]
    assert unusable == []


def test_records_of_any_depth_are_counted_to_an_end() -> None:
    deep: Any = LONG
    for _ in range(200):
        deep = [deep]
    batches, unusable = batches_of([{"a": "x"}, {"a": deep}])
    assert ([batch.num_rows for batch in batches], len(unusable)) == ([1], 1)


@pytest.mark.parametrize("position", [int(CARD), CARD], ids=["number", "text"])
def test_a_dict_cannot_put_a_value_in_clear_into_its_letter(shop: Shop, position: Any) -> None:
    result = shop.dicts([order(0, placed_at="yesterday", **{POSITION: position})])
    assert [letter.reason for letter in result.letters] == ["event_time_invalid"]
    assert result.letters[0].position is None


def test_nanoseconds_come_out_of_dicts_as_they_went_in(shop: Shop) -> None:
    result = shop.dicts([order(0, order_id=np.datetime64("2026-03-01T09:00:00.123456789"))])
    assert len(result.rows) == 1


def test_columns_that_claim_a_permission_are_taken_out_of_dicts(shop: Shop) -> None:
    forged = {"__consentry_permits:support": True, "__consentry_permits:fulfilment": True, "__consentry_subject": "c-0"}
    result = shop.dicts([order(2, **forged), order(0, customer={"id": None}, **forged)])
    assert [row["order_id"] for row in result.rows] == ["o-2"]
    assert result.tally["field", "customer.email", "vault_candidate"] == 0
    assert result.tally["rows", "dropped"] == 1
    assert result.tally.under("drift") == {}


LISTS = st.lists(st.integers(0, 3) | st.text("a"), max_size=2)
VALUES = st.none() | st.integers(-5, 5) | st.text("ab", max_size=2) | LISTS
RECORDS = st.none() | st.integers() | st.dictionaries(st.sampled_from("ab"), VALUES, min_size=1)


@given(records=st.lists(RECORDS, max_size=12))
@settings(deadline=None)
def test_every_record_is_in_one_batch_or_unusable_and_order_stays(records: list[Any]) -> None:
    batches, unusable = batches_of(records)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert len(rows) + len(unusable) == len(records)
    usable = iter(rows)
    refused = iter(unusable)
    for record in records:
        mixed = isinstance(record, dict) and any(
            isinstance(value, list) and len({type(each) for each in value}) > 1 for value in record.values()
        )
        if not isinstance(record, dict):
            assert next(refused) == UnusableRecord(reason="not_an_object", raw=json.dumps(str(record)).encode())
        elif mixed:
            assert next(refused) == UnusableRecord(reason="wrong_type", parsed=record)
        else:
            row = next(usable)
            assert {name: value for name, value in row.items() if value is not None} == {
                name: value for name, value in record.items() if value is not None
            }


# ---- what travels


@pytest.mark.parametrize("transform", [ProtectRecords, ProtectDicts])
def test_the_pipeline_that_travels_holds_no_secret(shop: Shop, transform: type[Transform]) -> None:
    config = settle_stage(shop.project, read_policy(shop.project.policy), "orders", now=NOW)
    open_stage(config)
    pipeline = beam.Pipeline(FN_API)
    source = beam.Create([1]) | beam.Map(lambda _: None)
    _ = pipeline | source | transform(shop.config, "orders", at=NOW)
    proto = pipeline.to_runner_api().SerializeToString()
    steps = [bz2.decompress(base64.b64decode(found)) for found in re.findall(rb"QlpoO[A-Za-z0-9+/]+=*", proto)]
    travelling = b"".join([proto, *steps])
    assert b"keyring.json" in travelling  # it was unpacked
    keyring = Keyring.load(shop.project.keyring)
    kek = (shop.folder / "kek.key").read_text().strip()
    vault = keyring.unlock_vault(open_kek(shop.project.kek["vault"], shop.folder))
    token = keyring.unlock_token(open_kek(shop.project.kek["token"], shop.folder))
    secrets = [base64.b64decode(kek), vault.reference_key]
    for keys in (vault, token):
        secrets += [keys._root, *keys._secrets.values()]
    for secret in secrets:
        for spelt in (secret, base64.b64encode(secret)[:40], secret.hex().encode()):
            assert spelt not in travelling


def test_every_batch_output_is_declared_so_that_no_batch_is_pickled(shop: Shop) -> None:
    pipeline = beam.Pipeline(FN_API)
    source = pipeline | beam.Create([1]) | beam.Map(lambda _: None).with_output_types(pa.RecordBatch)
    records = source | "Records" >> ProtectRecords(shop.config, "orders", at=NOW)
    dicts = pipeline | "Dicts" >> beam.Create([{}]) | ProtectDicts(shop.config, "orders", at=NOW)
    for outputs in (records.rows, records.dead_letters, dicts.dead_letters):
        assert outputs.element_type is pa.RecordBatch


def test_one_plan_serves_batches_of_one_schema(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[pa.Schema] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        planned.append(args[2])
        return plan_protection(*args, **kwargs)

    monkeypatch.setattr("consentry.transforms.stage.plan_protection", counted)
    other = batch_of([order(3, browser="b")])
    result = shop.records([batch_of([order(0)]), batch_of([order(1)]), other, batch_of([order(2)])])
    assert [row["order_id"] for row in result.rows] == ["o-0", "o-1", "o-2", "o-3"]
    assert 2 <= len(planned) <= 4

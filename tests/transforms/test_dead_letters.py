from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.consent import parse_instant
from consentry.schemas.dataset import FieldPath
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter, LetterKeys
from consentry.schemas.errors import IntegrityError, KeySizeError
from consentry.schemas.record_columns import POSITION, RESERVED_PREFIX, SOURCE_KEY, SUBJECT
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.dead_letters import Rejected, Sealer, key_period, letter_keys, open_letter
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = VaultKeys(tenant="shop", secrets={1: bytes(32)}, primary=1, root=bytes(range(32)))
NOW = parse_instant("2026-03-01T09:00:00Z")
DAY = 86_400_000_000
WEEK = timedelta(days=7)
DAMAGED = "a dead letter is damaged; restore it from a backup"
DOES_NOT_OPEN = "sealed bytes do not open: they were changed or moved"
DESTROYED = "a dead letter's key is destroyed: its time is over, or its subject was erased"
TODAY = "2026-03-01T00:00:00Z"


@dataclass
class Line:
    """A line as a source refuses it."""

    raw: bytes = b""
    parsed: dict[str, Any] | None = None
    position: int | None = None
    reason: str = "invalid_json"


def reference(subject: str) -> bytes | None:
    return subject_reference(subject, KEYS.reference_key)


@dataclass
class Post:
    """Seals letters and opens them again, with real data keys."""

    keys: DataKeys

    def sealer(self, **settings: Any) -> Sealer:
        known: dict[str, Any] = {
            "tenant": "shop",
            "dataset": "orders",
            "subject": FieldPath.parse("customer.id"),
            "dropped": (),
            "retain": WEEK,
            "now": NOW,
            "reference": reference,
            **settings,
        }
        return Sealer(self.keys, **known)

    def keys_of(self, letter: DeadLetter) -> dict[str, bytes | None]:
        """The keys that a letter names, None where one is gone."""
        names = letter_keys(letter)
        known = [] if names.subject is None else [names.subject]
        subject_key = next(iter(self.keys.keys_for(known, create=False).values()), None)
        return {"day_key": self.keys.find_day_key(names.day, at=0), "subject_key": subject_key}

    def read(self, letter: DeadLetter) -> bytes:
        return open_letter(letter, **self.keys_of(letter), tenant="shop")

    def record(self, letter: DeadLetter) -> Any:
        plaintext = self.read(letter)
        assert plaintext[:1] == b"j"
        return json.loads(plaintext[1:])


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with closing(open_data_keys(f"sqlite:{tmp_path}/data_keys.db", KEYS, create=True)) as keys:
        yield Post(keys)


def letters_of(batch: pa.RecordBatch) -> list[DeadLetter]:
    assert batch.schema == DEAD_LETTER_SCHEMA
    batch.validate(full=True)
    return [DeadLetter(**row) for row in batch.to_pylist()]


def rejected(
    columns: dict[str, Any], subjects: Sequence[str | None] | None = None, *, source: str | None = "orders.csv"
) -> Rejected:
    """Rows as ``protect`` refuses them; ``subjects`` as ``decide`` found them."""
    columns = dict(columns)
    rows = len(next(iter(columns.values())))
    columns[POSITION] = pa.array(range(7, 7 + rows), pa.int64())
    if subjects is not None:
        refs = [None if subject is None else reference(subject) for subject in subjects]
        columns[SUBJECT] = pa.array(refs, pa.binary(16))
    batch = pa.record_batch(columns)
    if source is not None:
        batch = batch.replace_schema_metadata({SOURCE_KEY: source.encode()})
    return Rejected(rows=batch, stage="protect", reasons=("wrong_characters",) * rows)


def a_letter(post: Post, subject: str | None = "c-1", **columns: Any) -> DeadLetter:
    refused = rejected({"note": ["call Ann"], **columns}, [subject])
    return letters_of(post.sealer().seal_rejected(refused))[0]


def test_a_letter_of_a_known_subject_is_sealed_under_the_keys_of_both_subject_and_day(post: Post) -> None:
    letter = a_letter(post)
    assert letter_keys(letter) == LetterKeys(day=TODAY, subject=reference("c-1"))
    assert post.record(letter) == {"note": "call Ann"}
    both = post.keys_of(letter)
    for one in ("day_key", "subject_key"):
        with pytest.raises(IntegrityError, match=DESTROYED):
            open_letter(letter, **{**both, one: None}, tenant="shop")
        with pytest.raises(IntegrityError, match=DOES_NOT_OPEN):
            open_letter(letter, **{**both, one: bytes(32)}, tenant="shop")


def test_a_letter_of_nobody_is_sealed_under_the_key_of_the_day(post: Post) -> None:
    letter = a_letter(post, None)
    assert letter_keys(letter) == LetterKeys(day=TODAY, subject=None)
    assert post.record(letter) == {"note": "call Ann"}
    with pytest.raises(IntegrityError, match=DESTROYED):
        open_letter(letter, day_key=None, subject_key=None, tenant="shop")
    with pytest.raises(IntegrityError, match=DESTROYED):
        open_letter(letter, day_key=post.keys_of(letter)["day_key"], subject_key=bytes(32), tenant="shop")


def test_a_letter_says_in_clear_where_it_is_from_and_why_and_nothing_else(post: Post) -> None:
    refused = rejected({"customer": [{"id": "c-1"}, {"id": "c-2"}], "note": ["call Ann", "call Bob"]}, ["c-1", None])
    first, second = letters_of(post.sealer().seal_rejected(refused))
    assert replace(first, sealed=b"") == DeadLetter(
        stage="protect", reason="wrong_characters", source="orders.csv", position=7, dataset="orders", sealed=b""
    )
    assert second.position == 8
    for letter in (first, second):
        for raw in (b"Ann", b"Bob", b"c-1", b"c-2", b"note"):
            assert raw not in letter.sealed
    assert letters_of(post.sealer().seal_rejected(rejected({"a": [1]}, source=None)))[0].source is None


def test_letters_are_sealed_each_by_its_own_reason(post: Post) -> None:
    refused = rejected({"id": [1, 2]}, [None, "c-1"])
    refused = Rejected(rows=refused.rows, stage="decide", reasons=("a", "b"))
    letters = letters_of(post.sealer().seal_rejected(refused))
    assert [(letter.stage, letter.reason, post.record(letter)) for letter in letters] == [
        ("decide", "a", {"id": 1}), ("decide", "b", {"id": 2}),
    ]  # fmt: skip


def test_without_decisions_the_subject_is_looked_up_in_the_record(post: Post) -> None:
    people = [{"id": "c-1"}, {"id": " c-1 "}, {"id": 17}, {"id": ""}, {"id": None}, None]
    columns = {"customer": pa.array([None if one is None else {"id": one["id"] and str(one["id"])} for one in people])}
    letters = letters_of(post.sealer().seal_rejected(rejected(columns)))
    names = [letter_keys(letter).subject for letter in letters]
    assert names == [reference("c-1"), reference("c-1"), reference("17"), None, None, None]


def test_decisions_beat_what_the_record_says(post: Post) -> None:
    letter = letters_of(post.sealer().seal_rejected(rejected({"customer": [{"id": "c-1"}]}, ["c-2"])))[0]
    assert letter_keys(letter).subject == reference("c-2")


def test_a_line_that_could_not_be_parsed_is_sealed_as_it_was(post: Post) -> None:
    raw = b'{"card": "4111111111111111", \xff'
    letter = letters_of(post.sealer().seal_lines([Line(raw, position=3)], "a.jsonl"))[0]
    assert replace(letter, sealed=b"") == DeadLetter(
        stage="read", reason="invalid_json", source="a.jsonl", position=3, dataset="orders", sealed=b""
    )
    assert letter_keys(letter).subject is None
    assert raw not in letter.sealed
    assert post.read(letter) == b"r" + raw


def test_a_line_that_could_be_parsed_is_sealed_for_its_subject(post: Post) -> None:
    cases: list[tuple[Any, str | None]] = [
        ({"id": "c-1"}, "c-1"), ({"id": 17}, "17"), ({"id": True}, None), ({"id": 1.5}, None), ({"id": " "}, None),
        ({"id": ["c-1"]}, None), ("c-1", None), ([{"id": "c-1"}], None), (None, None),
    ]  # fmt: skip
    lines = [Line(parsed={"customer": customer}) for customer, _ in cases]
    letters = letters_of(post.sealer().seal_lines(lines, None, stage="build"))
    for letter, (customer, subject) in zip(letters, cases, strict=True):
        assert post.record(letter) == {"customer": customer}
        assert letter_keys(letter).subject == (None if subject is None else reference(subject))
        assert (letter.stage, letter.position) == ("build", None)


def test_nothing_to_seal_makes_no_letters(post: Post) -> None:
    assert letters_of(post.sealer().seal_lines([], "a.csv")) == []


# ---- moved, relabelled, damaged

ELSEWHERE = {
    "stage": "read",
    "reason": "invalid_json",
    "source": "other.csv",
    "position": 8,
    "dataset": "refunds",
}


@pytest.mark.parametrize("subject", ["c-1", None])
@pytest.mark.parametrize("name", [*ELSEWHERE, "no_source", "no_position"])
def test_a_relabelled_letter_is_refused(post: Post, name: str, subject: str | None) -> None:
    letter = a_letter(post, subject)
    keys = post.keys_of(letter)
    change = {name.removeprefix("no_"): ELSEWHERE.get(name)}
    with pytest.raises(IntegrityError, match=DOES_NOT_OPEN):
        open_letter(replace(letter, **change), **keys, tenant="shop")
    with pytest.raises(IntegrityError, match=DOES_NOT_OPEN):
        open_letter(letter, **keys, tenant="rival")


def test_no_source_and_no_position_are_not_the_empty_text_and_zero(post: Post) -> None:
    letter = letters_of(post.sealer().seal_lines([Line(b"x")], None))[0]
    keys = post.keys_of(letter)
    for change in ({"source": ""}, {"position": 0}):
        with pytest.raises(IntegrityError, match=DOES_NOT_OPEN):
            open_letter(replace(letter, **change), **keys, tenant="shop")


def test_a_letter_relabelled_as_another_subjects_is_refused(post: Post) -> None:
    mine, theirs = a_letter(post, "c-1"), a_letter(post, "c-2")
    names = [letter_keys(letter).subject for letter in (mine, theirs)]
    assert None not in names
    moved = replace(mine, sealed=mine.sealed.replace(*names))
    assert letter_keys(moved) == letter_keys(theirs)
    for keys in (post.keys_of(mine), post.keys_of(theirs)):
        with pytest.raises(IntegrityError, match=DOES_NOT_OPEN):
            open_letter(moved, **keys, tenant="shop")


@pytest.mark.parametrize("subject", ["c-1", None])
def test_a_letter_with_any_byte_changed_or_cut_is_refused(post: Post, subject: str | None) -> None:
    letter = a_letter(post, subject)
    keys = post.keys_of(letter)
    for place in range(len(letter.sealed)):
        sealed = bytearray(letter.sealed)
        sealed[place] ^= 1
        for changed in (bytes(sealed), letter.sealed[:place]):
            with pytest.raises(IntegrityError, match=f"{DAMAGED}|{DOES_NOT_OPEN}|{DESTROYED}|sealed bytes are cut off"):
                open_letter(replace(letter, sealed=changed), **keys, tenant="shop")


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"\x01",
        b"\x01\x03day",
        b"\x02\x03day\x00",
        b"\x01\x04day\x00",
        b"\x01\x03day\x01s",
        b"\x01\x03day\x10short",
        b"\x01\x01\xff\x00",
    ],
    ids=repr,
)
def test_a_seal_that_names_no_keys_is_damaged(sealed: bytes) -> None:
    letter = DeadLetter(stage="read", reason="r", source=None, position=None, dataset="orders", sealed=sealed)
    with pytest.raises(IntegrityError, match=DAMAGED):
        letter_keys(letter)


def test_a_key_of_another_size_is_refused(post: Post) -> None:
    with pytest.raises(KeySizeError, match="the key has 16 bytes; AES-256-GCM takes 32"):
        open_letter(a_letter(post, None), day_key=bytes(16), subject_key=None, tenant="shop")


# ---- what is no longer to be had


def test_erasing_the_subject_erases_their_letters_and_no_others(post: Post) -> None:
    mine, theirs = a_letter(post, "c-1"), a_letter(post, "c-2")
    known = reference("c-1")
    assert known is not None
    post.keys.destroy([known])
    assert post.keys_of(mine)["subject_key"] is None
    with pytest.raises(IntegrityError, match=DESTROYED):
        post.read(mine)
    assert post.record(theirs) == {"note": "call Ann"}


def test_a_later_letter_of_an_erased_subject_is_sealed_for_the_day(post: Post) -> None:
    known = reference("c-1")
    assert known is not None
    post.keys.destroy([known])
    letter = a_letter(post, "c-1")
    assert letter_keys(letter).subject is None
    assert post.record(letter) == {"note": "call Ann"}


@pytest.mark.parametrize("subject", ["c-1", None])
def test_a_swept_day_takes_its_letters_with_it(post: Post, subject: str | None) -> None:
    letter = a_letter(post, subject)
    period, expires_at = key_period(NOW, WEEK)
    assert letter_keys(letter).day == period
    assert post.keys.sweep(expires_at - 1) == 0
    assert post.record(letter) == {"note": "call Ann"}
    assert post.keys.sweep(expires_at) == 1
    with pytest.raises(IntegrityError, match=DESTROYED):
        post.read(letter)


def test_no_letter_outlives_a_retain_that_was_shortened_on_the_same_day(post: Post) -> None:
    post.sealer(retain=timedelta(days=30)).seal_lines([Line(b"before")], None)
    shorter = timedelta(days=2)
    letter = letters_of(post.sealer(retain=shorter).seal_lines([Line(b"after")], None))[0]
    post.keys.sweep(NOW + shorter // timedelta(microseconds=1))
    assert post.keys_of(letter)["day_key"] is None


@given(
    now=st.integers(parse_instant("1970-01-01T00:00:00Z"), parse_instant("2100-01-01T00:00:00Z")),
    minutes=st.integers(1, 60 * 24 * 60),
    later=st.integers(0, 2 * DAY),
)
@settings(deadline=None)
def test_a_key_serves_a_day_at_most_and_is_gone_within_retain(now: int, minutes: int, later: int) -> None:
    retain = timedelta(minutes=minutes)
    length = minutes * 60_000_000
    name, expires_at = key_period(now, retain)
    start = parse_instant(name)
    assert start <= now < start + min(DAY, length // 2)
    assert expires_at == start + length
    # What is sealed is openable for half of the time at least, and never for longer than all of it.
    assert length // 2 < expires_at - now <= length
    other, other_expires_at = key_period(now + later, retain)
    assert (other == name) is (other_expires_at == expires_at)
    assert parse_instant(other) >= start


# ---- what is taken out before

CARD = {"number": "4111111111111111", "cvv": "CANARY"}


@pytest.mark.parametrize(
    ("path", "record", "left"),
    [
        ("cvv", {"cvv": "CANARY", "a": 1}, {"a": 1}),
        ("card.cvv", {"card": CARD}, {"card": {"number": "4111111111111111"}}),
        ("cards[].cvv", {"cards": [CARD, None, {"cvv": "CANARY"}]}, {"cards": [{"number": CARD["number"]}, None, {}]}),
        ("pins[]", {"pins": ["CANARY", "CANARY"]}, {"pins": []}),
        ("deep[][].cvv", {"deep": [[CARD], []]}, {"deep": [[{"number": CARD["number"]}], []]}),
        ("a\\.b", {"a.b": "CANARY", "a": {"b": 1}}, {"a": {"b": 1}}),
        ("card.cvv", {"card": None, "b": 1}, {"card": None, "b": 1}),
        ("card.cvv", {"card": "text"}, {"card": "text"}),
        ("cards[].cvv", {"cards": {"cvv": 1}}, {"cards": {"cvv": 1}}),
    ],
)
def test_what_the_policy_drops_by_name_is_not_in_the_letter(
    post: Post, path: str, record: dict[str, Any], left: dict[str, Any]
) -> None:
    letter = letters_of(post.sealer(dropped=[FieldPath.parse(path)]).seal_lines([Line(parsed=record)], None))[0]
    assert post.record(letter) == left
    assert b"CANARY" not in post.read(letter)


def test_dropped_paths_and_reserved_columns_are_taken_out_of_rows(post: Post) -> None:
    columns = {"card": [CARD], "pin": ["CANARY"], RESERVED_PREFIX + "permits:support": [True]}
    sealer = post.sealer(dropped=[FieldPath.parse("card.cvv"), FieldPath.parse("pin")])
    letter = letters_of(sealer.seal_rejected(rejected(columns, ["c-1"])))[0]
    assert post.record(letter) == {"card": {"number": "4111111111111111"}}


# ---- odd values

NANOS = 1_772_355_600_123_456_789
MAP = pa.map_(pa.string(), pa.int64())


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([NANOS]).cast(pa.timestamp("ns", "UTC")), "2026-03-01T09:00:00.123456+00:00"),
        (pa.array([NANOS]).cast(pa.timestamp("ns")), "2026-03-01T09:00:00.123456"),
        (pa.array([{"t": NANOS}], pa.struct({"t": pa.timestamp("ns")})), {"t": "2026-03-01T09:00:00.123456"}),
        (pa.array([[NANOS]], pa.list_(pa.timestamp("ns", "UTC"))), ["2026-03-01T09:00:00.123456+00:00"]),
        (pa.array([NANOS % 1000 + 1000]).cast(pa.duration("ns")), "0:00:00.000001"),
        (pa.array([1_789]).cast(pa.time64("ns")), "00:00:00.000001"),
        (pa.array([time(1, 2, 3)]), "01:02:03"),
        (pa.array([date(2026, 3, 1)]), "2026-03-01"),
        (pa.array([datetime(2026, 3, 1, 9, tzinfo=UTC)]), "2026-03-01T09:00:00+00:00"),
        (pa.array([Decimal("12345678901234567890.10")]), "12345678901234567890.10"),
        (pa.array([b"\x00\xff"]), "AP8="),
        (pa.array([[("k", 1)]], MAP), [["k", 1]]),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array(["é\U0001f600\n\"\\"]), "é\U0001f600\n\"\\"),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["a"], pa.string_view()), "a"),
        (pa.array([None]), None),
        (pa.array([float("inf")]), float("inf")),
        (pa.array([{"a": [{"b": None}]}]), {"a": [{"b": None}]}),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_columns_of_every_type_are_sealed_readably(post: Post, column: pa.Array, expected: Any) -> None:
    letter = letters_of(post.sealer().seal_rejected(rejected({"a": column}, ["c-1"])))[0]
    assert post.record(letter) == {"a": expected}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[NANOS]], pa.list_(pa.timestamp("ns", "UTC"), 1)),
        pa.array([[NANOS]], pa.list_view(pa.timestamp("ns", "UTC"))),
        pa.array([NANOS]).cast(pa.timestamp("ns", "UTC")).dictionary_encode(),
        pa.array([[("k", NANOS)]], pa.map_(pa.string(), pa.timestamp("ns", "UTC"))),
        pa.array([2**61]).cast(pa.timestamp("s", "UTC")),
        pa.array([2**61]).cast(pa.duration("s")),
    ],
    ids=lambda column: str(column.type),
)
def test_instants_that_python_cannot_tell_are_sealed_all_the_same(post: Post, column: pa.Array) -> None:
    letters_of(post.sealer().seal_rejected(rejected({"a": column}, ["c-1"])))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10**4000, 10**4000), ("lone \ud800", "lone \ud800"), ("\udcff", "\udcff"), ({"k\ud800": 1}, {"k\ud800": 1}),
        (Decimal("1.10"), "1.10"), (b"x", "eA=="), (date(2026, 3, 1), "2026-03-01"), ({1: 2}, {"1": 2}),
        (1e400, float("inf")), ([[], {}, None, True], [[], {}, None, True]), ("é", "é"),
    ],
)  # fmt: skip
def test_parsed_values_of_every_kind_are_sealed_readably(post: Post, value: Any, expected: Any) -> None:
    line = Line(parsed={"a": value, "customer": {"id": "c-1"}})
    letter = letters_of(post.sealer().seal_lines([line], None))[0]
    assert post.record(letter) == {"a": expected, "customer": {"id": "c-1"}}


@pytest.mark.parametrize("value", [10**5000, {("a", "b"): 1}], ids=["more digits than Python prints", "a tuple as key"])
def test_values_that_json_cannot_hold_are_sealed_all_the_same(post: Post, value: Any) -> None:
    letters_of(post.sealer().seal_lines([Line(parsed={"a": value})], None))


@pytest.mark.parametrize("subject", ["c-\ud800", 10**5000], ids=["lone surrogate", "huge"])
def test_an_id_that_names_nobody_is_sealed_for_the_day(post: Post, subject: Any) -> None:
    letter = letters_of(post.sealer().seal_lines([Line(parsed={"customer": {"id": subject}})], None))[0]
    assert letter_keys(letter).subject is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    record=st.dictionaries(st.text(max_size=4), JSON, max_size=4), place=st.none() | st.integers(-(2**63), 2**63 - 1)
)
@settings(max_examples=60, deadline=None)
def test_every_json_record_comes_back_as_it_was(
    record: dict[str, Any], place: int | None, post_of: Callable[[], Post]
) -> None:
    post = post_of()
    record.pop("customer", None)
    letter = letters_of(post.sealer().seal_lines([Line(parsed=record, position=place)], "naïve.jsonl"))[0]
    assert post.record(letter) == record
    assert letter.position == place


@pytest.fixture(scope="module")
def post_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Post]]:
    folder = tmp_path_factory.mktemp("post")
    with closing(open_data_keys(f"sqlite:{folder}/data_keys.db", KEYS, create=True)) as keys:
        yield lambda: Post(keys)

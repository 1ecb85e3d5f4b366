from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.dataset import Dataset, FieldPath
from consentry.schemas.errors import ConfigError
from consentry.schemas.policy import Policy
from consentry.schemas.record_columns import EVENT_TIME, POSITION, RESERVED_PREFIX, SUBJECT, permits_column
from consentry.transforms.consent_decision import Decided, decide_batch, event_times
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.stores.consent_ledger import open_ledger
from consentry.transforms.stores.consent_snapshot import ConsentSnapshot
from consentry.transforms.stores.data_keys import open_data_keys
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.consent_oracle import Entry, Erased, Said, permits_record

KEYS = VaultKeys(tenant="shop", secrets={1: bytes(32)}, primary=1, root=bytes(range(32)))
KEY = KEYS.reference_key
HOUR = 3_600_000_000
T0 = 1_772_355_600_000_000
"""2026-03-01T09:00:00Z"""

BASES = {"support": "consent", "delivery": "contract", "fraud": "legal_obligation", "analytics": "legitimate_interest"}
HISTORY: list[Entry] = [
    Said("ana", "support", "granted", T0),
    Said("ana", "support", "withdrawn", T0 + HOUR),
    Said("ana", "analytics", "withdrawn", T0 + 1),
    Said("bob", "support", "granted", T0 - 24 * HOUR),
    Said("bob", "analytics", "withdrawn", T0 + HOUR),
    Said("bob", "analytics", "granted", T0 + 2 * HOUR),
    Said("Zoë", "support", "granted", T0 + HOUR),
    Said("Zoë", "support", "withdrawn", T0 + HOUR),
    Said("17", "support", "granted", T0),
    Said("eve", "support", "granted", T0 - HOUR),
    Erased("eve"),
]
INSTANTS = [T0 + step for at in (-24, -1, 0, 1, 2) for step in (at * HOUR - 1, at * HOUR, at * HOUR + 1)]
SUBJECTS = ["ana", " ana", "bob", "Zoë", "Zoe\u0308", "17", "eve", "stranger", "", " ", None]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsentSnapshot]:
    """What a real ledger with the history knows."""
    folder = tmp_path_factory.mktemp("ledger")
    with ExitStack() as opened:
        data_keys = opened.enter_context(closing(open_data_keys(f"sqlite:{folder}/keys.db", KEYS, create=True)))
        ledger = opened.enter_context(closing(open_ledger(f"sqlite:{folder}/ledger.db", KEYS, data_keys, create=True)))
        for entry in HISTORY:
            if isinstance(entry, Erased):
                reference = subject_reference(entry.subject, KEY)
                assert reference is not None
                ledger.record_erasure(reference, at=T0)
                continue
            event = ConsentEvent(
                subject=entry.subject,
                purpose=entry.purpose,
                decision=Decision(entry.decision),
                effective_at=entry.effective_at,
                source="test",
            )
            ledger.append([event], now=T0)
        yield ledger.snapshot(None)


def policy(**dataset: Any) -> Policy:
    settings = {"subject": "who", "event_time": "when", "fields": {"id": "keep"}, **dataset}
    purposes = {name: {"basis": basis, "says": "Why."} for name, basis in BASES.items()}
    return Policy(version=1, purposes=purposes, info_types={}, datasets={"data": settings})


def decide(batch: Any, snapshot: ConsentSnapshot, *, now: int = T0 + 3 * HOUR, **dataset: Any) -> Decided:
    rules = policy(**dataset)
    batch = batch if isinstance(batch, pa.RecordBatch) else pa.record_batch(batch)
    return decide_batch(batch, rules.datasets["data"], rules, snapshot, KEY, now)


def permitted(decided: Decided, purpose: str) -> list[bool]:
    return decided.batch[permits_column(purpose)].to_pylist()


def micros(batch: pa.RecordBatch) -> list[int | None]:
    return batch[EVENT_TIME].cast(pa.int64()).to_pylist()


# ---- against the model


def instant_of(text: str) -> int | None:
    """Reads RFC 3339 by hand; None: no instant with an offset, or outside of the years 1 to 9999."""
    found = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", text, re.ASCII
    )
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    if found[8] is None:
        away = int(found[10]) * 60 + int(found[11])
        if int(found[10]) > 23 or int(found[11]) > 59:
            return None
        seconds -= (1 if found[9] == "+" else -1) * away * 60
    first, last = date(1, 1, 1).toordinal(), date(9999, 12, 31).toordinal()
    if not first <= seconds // 86400 + date(1970, 1, 1).toordinal() <= last:
        return None
    return seconds * 1_000_000 + int((found[7] or "").ljust(6, "0")[:6])


TEXT_PARTS = st.tuples(
    st.sampled_from(["2026-03-01", "2026-02-28", "2026-02-29", "2024-02-29", "1969-12-31", "0001-01-02", "9999-12-30"]),
    st.sampled_from(["T", "T", "t", " ", "_"]),
    st.sampled_from(["09:00:00", "08:59:59", "10:00:00", "23:59:59", "24:00:00", "09:60:00", "09:00:60", "09:00"]),
    st.sampled_from(["", "", ".0", ".000001", ".999999", ".9999999", ".1234567890123", ".", ".5"]),
    st.sampled_from(["Z", "Z", "z", "+00:00", "-00:00", "+01:00", "-05:30", "+23:59", "-24:00", "", "Zulu", "+0100"]),
)
TEXTS = TEXT_PARTS.map("".join) | st.sampled_from(["", "never", "2026-03-01", "1772355600", " 2026-03-01T09:00:00Z"])
TEXT_TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
TIME_TYPES = [
    pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Europe/Paris", "+05:30")
]
PER_MICRO = {"s": (1, 1_000_000), "ms": (1, 1000), "us": (1, 1), "ns": (1000, 1)}
SUBJECT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


@st.composite
def times(draw: st.DrawFn, rows: int) -> tuple[pa.Array | None, list[int | None], list[bool]]:
    """An event-time column (None: the batch has none), the instants in it, and which of them cannot be read."""
    way = draw(st.sampled_from(["text", "text", "time", "null", "none"]))
    if way in ("null", "none"):
        return pa.nulls(rows) if way == "null" else None, [None] * rows, [False] * rows
    if way == "text":
        texts = draw(st.lists(st.none() | TEXTS, min_size=rows, max_size=rows))
        instants = [None if text is None else instant_of(text) for text in texts]
        unreadable = [text is not None and at is None for text, at in zip(texts, instants, strict=True)]
        return pa.array(texts, draw(st.sampled_from(TEXT_TYPES))), instants, unreadable
    kind = draw(st.sampled_from(TIME_TYPES))
    instants = draw(st.lists(st.none() | st.sampled_from(INSTANTS), min_size=rows, max_size=rows))
    more, less = PER_MICRO[kind.unit]
    rest = draw(st.integers(0, more - 1))
    numbers = [None if at is None else at * more // less + rest for at in instants]
    column = pa.array(numbers, pa.int64()).cast(kind)
    return column, [None if number is None else number * less // more for number in numbers], [False] * rows


def column_of_subjects(draw: st.DrawFn, subjects: Sequence[str | None]) -> pa.Array | None:
    way = draw(st.sampled_from(["flat", "flat", "nested", "none"]))
    if way == "none":
        return None
    column = pa.array(subjects, draw(st.sampled_from(SUBJECT_TYPES[: 2 if way == "nested" else 4])))
    return pa.StructArray.from_arrays([column], names=["id"]) if way == "nested" else column


@given(data=st.data(), rows=st.integers(0, 8), now=st.sampled_from(INSTANTS))
@settings(max_examples=200, deadline=None)
def test_every_row_is_decided_as_the_model_says(
    data: st.DataObject, rows: int, now: int, snapshot: ConsentSnapshot
) -> None:
    column, instants, unreadable = data.draw(times(rows))
    subjects = data.draw(st.lists(st.sampled_from(SUBJECTS), min_size=rows, max_size=rows))
    who = column_of_subjects(data.draw, subjects)
    if any(unreadable) and who is not None and who.type == pa.string_view():
        who = who.cast(pa.string())  # Arrow cannot take rows out of views
    columns = {"id": pa.array(range(rows), pa.int64()), "who": who, "when": column}
    batch = pa.record_batch({name: each for name, each in columns.items() if each is not None})
    batch = batch.replace_schema_metadata({"consentry.source": "a.csv"})
    subject = "who" if who is None or not pa.types.is_struct(who.type) else "who.id"
    decided = decide(batch, snapshot, now=now, subject=subject)

    assert decided.batch.schema.metadata == {b"consentry.source": b"a.csv"}
    assert decided.batch["id"].to_pylist() == [row for row in range(rows) if not unreadable[row]]
    if any(unreadable):
        assert decided.rejected is not None
        assert decided.rejected.stage == "decide"
        assert decided.rejected.rows["id"].to_pylist() == [row for row in range(rows) if unreadable[row]]
        assert decided.rejected.reasons == ("event_time_invalid",) * sum(unreadable)
    else:
        assert decided.rejected is None
    assert micros(decided.batch) == [at for at, bad in zip(instants, unreadable, strict=True) if not bad]
    for row in range(rows):
        if not unreadable[row]:
            place = decided.batch["id"].to_pylist().index(row)
            person = None if who is None else person_of(subjects[row])
            reference = None if person is None else subject_reference(person, KEY)
            assert decided.batch[SUBJECT][place].as_py() == reference
            for purpose in BASES:
                expected = permits_record(BASES, HISTORY, person, purpose, instants[row], now)
                assert permitted(decided, purpose)[place] is expected, (purpose, row)


def person_of(subject: str | None) -> str | None:
    """The person that an id means in the history."""
    trimmed = None if subject is None else subject.strip().replace("e\u0308", "ë")
    return trimmed or None


# ---- event times


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T09:00:00Z", "2026-03-01t09:00:00z", "2026-03-01 09:00:00Z", "2026-03-01T10:00:00+01:00",
        "2026-03-01T03:30:00-05:30", "2026-03-01T09:00:00.0000009Z", "2026-03-01T09:00:00-00:00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [*TEXT_TYPES, pa.string_view(), pa.dictionary(pa.int32(), pa.large_string())], ids=str)
def test_every_spelling_of_an_instant_is_that_instant(text: str, kind: pa.DataType) -> None:
    found, unreadable = event_times(pa.array([None, text, None], kind), 3)
    assert found.cast(pa.int64()).to_pylist() == [None, T0, None]
    assert not unreadable.any()


@pytest.mark.parametrize("kind", TIME_TYPES, ids=str)
def test_instants_of_every_unit_and_zone_are_the_same_instant(kind: pa.DataType) -> None:
    column = pa.array([T0, None], pa.timestamp("us", "UTC")).cast(kind)
    found, unreadable = event_times(column, 2)
    assert found.cast(pa.int64()).to_pylist() == [T0, None]
    assert not unreadable.any()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "soon", "2026-03-01", "2026-03-01T09:00:00", "2026-03-01T09:00Z", "2026-02-30T09:00:00Z",
        "2026-03-01T24:00:00Z", "2026-03-01T09:00:60Z", "2026-03-01T09:00:00+24:00", "2026-03-01T09:00:00Z ",
        "2026-03-01T09:00:00Z\n", "20260301T090000Z", "1772355600", "٢٠٢٦-03-01T09:00:00Z", "2026-03-01T09:00:00.Z",
    ],
)  # fmt: skip
def test_a_row_whose_event_time_cannot_be_read_is_set_aside_and_the_others_are_decided(
    text: str, snapshot: ConsentSnapshot
) -> None:
    good = "2026-03-01T09:30:00Z"
    decided = decide({"id": [1, 2, 3], "who": ["bob"] * 3, "when": [good, text, good]}, snapshot)
    assert decided.batch["id"].to_pylist() == [1, 3]
    assert permitted(decided, "support") == [True, True]
    assert decided.rejected is not None
    assert decided.rejected.rows["when"].to_pylist() == [text]
    assert (decided.rejected.stage, decided.rejected.reasons) == ("decide", ("event_time_invalid",))


def test_a_missing_event_time_is_no_error_and_permits_nothing(snapshot: ConsentSnapshot) -> None:
    for when in (pa.array([None], pa.string()), pa.nulls(1), pa.array([None], pa.timestamp("ns", "UTC"))):
        decided = decide({"who": ["bob"], "when": when}, snapshot)
        assert decided.rejected is None
        assert [permitted(decided, purpose) for purpose in BASES] == [[False]] * len(BASES)
    decided = decide({"who": ["bob"]}, snapshot)
    assert [permitted(decided, purpose) for purpose in BASES] == [[False]] * len(BASES)


YEARS = ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:00"]


@pytest.mark.parametrize("text", YEARS)
def test_an_instant_outside_of_the_calendar_cannot_be_read(text: str) -> None:
    assert event_times(pa.array([text]), 1)[1].tolist() == [True]


@pytest.mark.parametrize("text", YEARS)
def test_what_a_row_means_does_not_depend_on_its_neighbours(text: str) -> None:
    alone, unreadable = event_times(pa.array([text]), 1)
    beside, unreadable_beside = event_times(pa.array([text, "2026-02-30T00:00:00Z"]), 2)
    assert (alone[0].value, unreadable[0]) == (beside[0].value, unreadable_beside[0])


def test_an_offset_has_less_than_sixty_minutes() -> None:
    assert event_times(pa.array(["2026-03-01T09:00:00+01:75"]), 1)[1].tolist() == [True]


def test_an_instant_that_microseconds_cannot_tell_permits_nothing(snapshot: ConsentSnapshot) -> None:
    far = (T0 + 30 * 60_000_000 + 2**64 * 15_625) // 1_000_000  # wraps to half past nine
    column = pa.array([far], pa.int64()).cast(pa.timestamp("s", "UTC"))
    decided = decide({"who": ["bob"], "when": column}, snapshot)
    assert decided.batch.num_rows == 0 or not any(permitted(decided, purpose)[0] for purpose in BASES)


def test_nanoseconds_are_cut_as_the_decimals_of_text_are() -> None:
    text, _ = event_times(pa.array(["1969-12-31T23:59:59.9999999Z"]), 1)
    time, _ = event_times(pa.array([-100], pa.int64()).cast(pa.timestamp("ns", "UTC")), 1)
    assert text.cast(pa.int64()).to_pylist() == [-1]
    assert time.cast(pa.int64()).to_pylist() == [-1]


@given(parts=TEXT_PARTS)
@example(parts=("2026-03-01", "T", "09:00:00", ".123456", "+00:00"))
@settings(max_examples=300, deadline=None)
def test_text_is_read_as_rfc_3339_says(parts: tuple[str, ...]) -> None:
    text = "".join(parts)
    found, unreadable = event_times(pa.array([text]), 1)
    expected = instant_of(text)
    assert (found.cast(pa.int64())[0].as_py(), bool(unreadable[0])) == (expected, expected is None)


# ---- decisions


def test_the_stricter_of_event_time_and_now_decides(snapshot: ConsentSnapshot) -> None:
    instants = [T0 - 1, T0, T0 + HOUR - 1, T0 + HOUR]
    batch = {"who": ["ana"] * 4, "when": pa.array(instants, pa.timestamp("us", "UTC"))}
    assert permitted(decide(batch, snapshot, now=T0 + HOUR - 1), "support") == [False, True, True, False]
    assert permitted(decide(batch, snapshot, now=T0 + HOUR), "support") == [False] * 4
    assert permitted(decide(batch, snapshot, now=T0 - 1), "support") == [False] * 4
    assert permitted(decide(batch, snapshot, now=T0), "analytics") == [True, True, False, False]
    assert permitted(decide(batch, snapshot, now=T0 + 1), "analytics") == [False] * 4


def test_who_is_nobody_or_erased_permits_nothing_whatever_the_basis(snapshot: ConsentSnapshot) -> None:
    decided = decide({"who": ["eve", None, "", "  "], "when": ["2026-03-01T09:30:00Z"] * 4}, snapshot)
    for purpose in BASES:
        assert permitted(decided, purpose) == [False] * 4
    assert decided.batch[SUBJECT].is_null().to_pylist() == [False, True, True, True]


@pytest.mark.parametrize("kind", [pa.int64(), pa.decimal128(9, 2), pa.string(), pa.uint8()], ids=str)
def test_a_number_names_whom_its_text_names(kind: pa.DataType, snapshot: ConsentSnapshot) -> None:
    column = pa.array(["17", None]).cast(kind)
    decided = decide({"who": column, "when": ["2026-03-01T09:30:00Z"] * 2}, snapshot)
    assert permitted(decided, "support") == [True, False]
    assert decided.batch[SUBJECT].to_pylist() == [subject_reference("17", KEY), None]


def test_a_subject_below_a_null_is_nobody(snapshot: ConsentSnapshot) -> None:
    hidden = pa.StructArray.from_arrays([pa.array(["bob", "bob"])], names=["id"], mask=pa.array([False, True]))
    decided = decide({"who": hidden, "when": ["2026-03-01T09:30:00Z"] * 2}, snapshot, subject="who.id")
    assert permitted(decided, "delivery") == [True, False]


def test_columns_that_claim_a_permission_are_removed(snapshot: ConsentSnapshot) -> None:
    forged = {
        "id": [1],
        permits_column("support"): [True],
        permits_column("of_no_policy"): [True],
        SUBJECT: pa.array([subject_reference("bob", KEY)], pa.binary(16)),
        EVENT_TIME: pa.array([T0], pa.timestamp("us", "UTC")),
        RESERVED_PREFIX + "anything": ["x"],
        POSITION: [4],
        "when": ["2026-03-01T09:30:00Z"],
    }
    decided = decide(forged, snapshot)
    expected = ["id", POSITION, "when", SUBJECT, EVENT_TIME, *(permits_column(purpose) for purpose in BASES)]
    assert decided.batch.schema.names == expected
    assert decided.batch[SUBJECT].to_pylist() == [None]
    for purpose in BASES:
        assert permitted(decided, purpose) == [False]


def test_only_the_purposes_asked_for_are_decided(snapshot: ConsentSnapshot) -> None:
    rules = policy()
    batch = pa.record_batch({"who": ["bob"], "when": ["2026-03-01T09:30:00Z"]})
    decided = decide_batch(
        batch, rules.datasets["data"], rules, snapshot, KEY, T0 + HOUR, purposes=["fraud", "support"]
    )
    assert decided.batch.schema.names == [
        "who", "when", SUBJECT, EVENT_TIME, permits_column("fraud"), permits_column("support"),
    ]  # fmt: skip


def test_a_slice_is_decided_as_its_rows_are(snapshot: ConsentSnapshot) -> None:
    batch = pa.record_batch(
        {
            "who": pa.array(["ana", "bob", None, "eve", "bob"]).dictionary_encode(),
            "when": pa.array(["never", "2026-03-01T09:30:00Z", None, "soon", "2026-03-01t09:30:00z"]),
        }
    )
    decided = decide(batch.slice(1, 4), snapshot)
    assert permitted(decided, "support") == [True, False, True]
    assert decided.rejected is not None
    assert decided.rejected.rows["when"].to_pylist() == ["soon"]


def test_a_subject_that_cannot_name_people_is_refused(snapshot: ConsentSnapshot) -> None:
    with pytest.raises(ConfigError, match="subject: a column of type double cannot name people; use a text"):
        decide({"who": [1.5], "when": ["2026-03-01T09:30:00Z"]}, snapshot)


def test_rows_of_view_columns_can_be_set_aside(snapshot: ConsentSnapshot) -> None:
    when = pa.array(["2026-03-01T09:30:00Z", "never"], pa.string_view())
    assert decide({"who": ["bob", "bob"], "when": when}, snapshot).batch.num_rows == 1


def test_paths_of_subject_and_event_time_do_not_enter_lists(snapshot: ConsentSnapshot) -> None:
    dataset = Dataset(subject=FieldPath.parse("who[].id"), event_time=FieldPath.parse("when"), fields={})
    batch = pa.record_batch({"who": [[{"id": "bob"}]], "when": ["2026-03-01T09:30:00Z"]})
    decided = decide_batch(batch, dataset, policy(), snapshot, KEY, T0 + HOUR)
    assert decided.batch[SUBJECT].to_pylist() == [None]

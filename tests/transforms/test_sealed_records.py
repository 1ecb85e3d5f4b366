from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.consent import parse_instant
from consentry.schemas.dataset import Dataset, FieldPath
from consentry.schemas.errors import IntegrityError, SecretError
from consentry.schemas.policy import Policy
from consentry.schemas.sealed_record import SEALED_RECORD_SCHEMA
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.record_parts import RecordParts
from consentry.transforms.sealed_records import (
    OpenedRecords,
    PlacedRecords,
    RecordSealer,
    open_records,
    part_classes,
)
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys

KEYS = VaultKeys(tenant="shop", secrets={1: bytes(32)}, primary=1, root=bytes(range(32)))
NOW = parse_instant("2026-03-01T09:00:00Z")
DAY = 86_400_000_000
DOES_NOT_OPEN = "sealed bytes do not open: they were changed or moved"
CARDS = ("4111111111111111", "5500005555555559", "340000000000009", "6011000000000004")
SUBJECTS = ("c-1", "c-1", "c-2", None)
FIELDS = {"number": "keep", "who": "hidden", "card": "token", "mail": "other", "gone": "drop", "free": "keep"}
TOKEN = {"action": "tokenize", "format": "surrogate", "domain": "d", "collect": ["use"]}
POLICY = Policy(
    version=1,
    purposes={name: {"basis": "consent", "says": "Why."} for name in ("use", "give")},
    info_types={
        "token": TOKEN,
        "other": {**TOKEN, "collect": ["give", "use"]},
        "hidden": {"action": "redact"},
    },
    datasets={
        "data": Dataset(
            subject="who", event_time="when", fields={FieldPath.parse(path): rule for path, rule in FIELDS.items()}
        )
    },
    dead_letters={"retain": "7d"},
)
ALL = np.ones(4, np.bool_)


def reference(subject: str | None) -> bytes | None:
    return subject_reference(subject, KEYS.reference_key)


def record(place: int) -> dict[str, Any]:
    return {"number": place, "card": CARDS[place], "mail": f"ann-{place}@canary.invalid", "gone": "canary-gone"}


@dataclass
class Desk:
    """Seals and opens with real data keys."""

    keys: DataKeys

    def sealed(self, *, tenant: str = "shop", dataset: str = "data", subjects: Any = SUBJECTS) -> pa.RecordBatch:
        parts = RecordParts(POLICY, "data")
        sealer = RecordSealer(parts, self.keys, tenant=tenant, dataset=dataset, retain=timedelta(days=7))
        return sealer.seal(placed(subjects), read_at=NOW)

    def opened(self, sealed: pa.RecordBatch, *, at: int = NOW, **options: Any) -> OpenedRecords:
        known: dict[str, Any] = {
            "survives": ALL[: sealed.num_rows],
            "collected": [ALL[: sealed.num_rows]] * 2,
            "tenant": "shop",
            "dataset": "data",
            **options,
        }
        survives, collected = known.pop("survives"), known.pop("collected")
        return open_records(sealed, survives, collected, self.keys, at=at, **known)

    def lines(self, sealed: pa.RecordBatch, **options: Any) -> list[Any]:
        return [None if line is None else json.loads(line) for line in self.opened(sealed, **options).lines]


def placed(subjects: Any = SUBJECTS) -> PlacedRecords:
    return PlacedRecords(
        partition="orders/0",
        offsets=np.arange(4, dtype=np.int64),
        records=[record(place) for place in range(4)],
        subjects=pa.array([reference(each) for each in subjects], pa.binary(16)),
        event_times=pa.array([NOW, None, NOW + 1, NOW], pa.int64()).cast(pa.timestamp("us", "UTC")),
    )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(open_data_keys(f"sqlite:{tmp_path}/data_keys.db", KEYS, create=True)) as keys:
        yield Desk(keys)


def changed(sealed: pa.RecordBatch, column: str, values: list[Any]) -> pa.RecordBatch:
    place = sealed.schema.get_field_index(column)
    columns = sealed.columns
    columns[place] = pa.array(values, sealed.schema.field(column).type)
    return pa.RecordBatch.from_arrays(columns, schema=sealed.schema)


def refused(desk: Desk, sealed: pa.RecordBatch, **options: Any) -> None:
    with pytest.raises(IntegrityError, match=DOES_NOT_OPEN) as caught:
        desk.opened(sealed, **options)
    assert not any(card in str(caught.value) for card in CARDS)


def test_what_may_be_collected_opens_and_the_rest_is_holes(desk: Desk) -> None:
    sealed = desk.sealed()
    assert sealed.schema == SEALED_RECORD_SCHEMA
    sealed.validate(full=True)
    classes = part_classes(sealed)
    assert classes == (("give", "use"), ("use",))
    whole = [{key: value for key, value in record(place).items() if key != "gone"} for place in range(4)]
    nobody = {**whole[3], "card": "", "mail": ""}
    assert desk.lines(sealed) == [*whole[:3], nobody]
    collected = [np.array([False, True, False, True]), np.array([True, False, False, True])]
    assert desk.lines(sealed, collected=collected, survives=np.array([True, True, False, True])) == [
        {**whole[0], "mail": ""},
        {**whole[1], "card": ""},
        None,
        nobody,
    ]


def test_nothing_raw_is_in_the_bytes_that_travel(desk: Desk) -> None:
    sealed = desk.sealed()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, sealed.schema) as writer:
        writer.write_batch(sealed)
    found = sink.getvalue().to_pybytes() + pickle.dumps(sealed)
    for canary in (*CARDS, "canary", "c-1", "c-2", "mail", "card"):
        assert canary.encode() not in found


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("partition", ["orders/1", *["orders/0"] * 3]),
        ("partition", ["orders/0 ", *["orders/0"] * 3]),
        ("offset", [1, 0, 2, 3]),
        ("offset", [256, 1, 2, 3]),
        ("subject", [reference(each) for each in ("c-2", "c-1", "c-1", None)]),
        ("subject", [reference(each) for each in ("c-1", "c-1", "c-2", "c-1")]),
        ("event_time", [NOW + 1, None, NOW + 1, NOW]),
        ("event_time", [None, None, NOW + 1, NOW]),
        ("event_time", [NOW, NOW, NOW + 1, NOW]),
        ("event_time", [NOW, None, NOW + 1, None]),
    ],
)
def test_a_record_that_was_moved_to_another_place_person_or_time_does_not_open(
    desk: Desk, column: str, values: list[Any]
) -> None:
    refused(desk, changed(desk.sealed(), column, values))


def test_a_record_of_another_tenant_or_dataset_does_not_open(desk: Desk) -> None:
    refused(desk, desk.sealed(), tenant="shop2")
    refused(desk, desk.sealed(), dataset="dat")
    refused(desk, desk.sealed(tenant="shopd", dataset="ata"))


def test_parts_open_only_where_they_were_and_under_the_purposes_they_had(desk: Desk) -> None:
    sealed = desk.sealed()
    parts, rests = sealed["parts"].to_pylist(), sealed["rest"].to_pylist()
    refused(desk, changed(sealed, "parts", [parts[0][::-1], *parts[1:]]))
    refused(desk, changed(sealed, "parts", [parts[1], parts[0], *parts[2:]]))
    refused(desk, changed(sealed, "parts", [[parts[0][0], parts[1][1]], *parts[1:]]))
    refused(desk, changed(sealed, "rest", [rests[1], rests[0], *rests[2:]]))
    refused(desk, changed(sealed, "rest", [parts[0][0], *rests[1:]]))
    refused(desk, changed(sealed, "parts", [[rests[0], parts[0][1]], *parts[1:]]))
    metadata = {b"consentry.classes": b'[["use"], ["give", "use"]]'}
    refused(desk, sealed.replace_schema_metadata(metadata))
    # A part that consent keeps closed is not looked at: it goes as it came.
    closed = [np.zeros(4, np.bool_)] * 2
    assert desk.lines(changed(sealed, "parts", [parts[1], parts[0], *parts[2:]]), collected=closed)[0]["card"] == ""


def test_no_byte_of_an_envelope_can_be_changed(desk: Desk) -> None:
    sealed = desk.sealed().slice(0, 1)
    rest, part = sealed["rest"][0].as_py(), sealed["parts"][0].as_py()[1]
    for place in range(len(rest)):
        forged = rest[:place] + bytes([rest[place] ^ 1]) + rest[place + 1 :]
        with pytest.raises(IntegrityError):
            desk.opened(changed(sealed, "rest", [forged]))
    for place in range(len(part)):
        forged = part[:place] + bytes([part[place] ^ 1]) + part[place + 1 :]
        with pytest.raises(IntegrityError):
            desk.opened(changed(sealed, "parts", [[sealed["parts"][0].as_py()[0], forged]]))
    for forged in (b"", rest[:-1], rest + b"\0"):
        with pytest.raises(IntegrityError):
            desk.opened(changed(sealed, "rest", [forged]))


def test_records_of_who_is_erased_while_they_wait_are_gone(desk: Desk) -> None:
    sealed = desk.sealed()
    gone = reference("c-1")
    assert gone is not None
    desk.keys.destroy([gone])
    opened = desk.opened(sealed)
    assert opened.erased.tolist() == [True, True, False, False]
    assert [line is None for line in opened.lines] == [True, True, False, False]
    assert not desk.opened(sealed, survives=~ALL).erased.any()


def test_of_the_erased_and_of_nobody_only_what_asks_for_no_permission_is_kept(desk: Desk) -> None:
    gone = reference("c-1")
    assert gone is not None
    desk.keys.destroy([gone])
    sealed = desk.sealed()
    assert sealed["parts"].to_pylist()[:2] == [[None, None]] * 2
    assert sealed["parts"].to_pylist()[3] == [None, None]
    assert [period is None for period in sealed["period"].to_pylist()] == [False, False, True, False]
    assert [(line["number"], line["card"]) for line in desk.lines(sealed)] == [
        (0, ""), (1, ""), (2, CARDS[2]), (3, ""),
    ]  # fmt: skip


def test_a_record_cannot_be_moved_between_the_key_of_a_subject_and_that_of_the_day(desk: Desk) -> None:
    sealed = desk.sealed()
    period = sealed["period"][3].as_py()
    refused(desk, changed(sealed, "period", [period, None, None, period]))
    # Without subject and period there is no key at all.
    assert desk.opened(changed(sealed, "period", [None] * 4)).erased.tolist() == [False, False, False, True]


def test_what_has_no_subject_is_gone_once_its_day_is_over(desk: Desk) -> None:
    sealed = desk.sealed()
    assert not desk.opened(sealed, at=NOW + 6 * DAY).erased.any()
    late = desk.opened(sealed, at=NOW + 9 * DAY)
    assert late.erased.tolist() == [False, False, False, True]
    assert late.lines[3] is None


def test_sealing_the_same_twice_never_gives_the_same_bytes(desk: Desk) -> None:
    one, other = desk.sealed(), desk.sealed()
    assert not set(one["rest"].to_pylist()) & set(other["rest"].to_pylist())


def test_raw_records_show_and_pickle_nothing(desk: Desk) -> None:
    raw = placed()
    opened = desk.opened(desk.sealed())
    parted = RecordParts(POLICY, "data").parted(record(0))
    for each in (raw, opened, parted):
        assert not any(card in repr(each) for card in CARDS)
        with pytest.raises(SecretError):
            pickle.dumps(each)
        with pytest.raises(SecretError):
            pickle.dumps([each], protocol=2)
    assert replace(raw, partition="orders/1").partition == "orders/1"

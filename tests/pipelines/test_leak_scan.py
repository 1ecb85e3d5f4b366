"""A search of an output finds what is in clear, by counts and places, and no more of it than it must."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consentry.pipelines.leak_report import Bound, LeakReport
from consentry.pipelines.leak_scan import scan_output
from consentry.pipelines.output_folder import open_output_folder
from consentry.schemas.policy import Policy
from consentry.transforms.canaries import Canaries
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys
from oracles.leaky_output import CLEAN, table, write_table

CARD, MAIL, PHONE = "4111111111111111", "kim@example.com", "+14155550123"
RAW = (CARD, MAIL, "4111 1111 1111 1111", "kim@")


@pytest.fixture
def searched(tmp_path: Path, signing: tuple[ProofKeys, PublicKeys]) -> Any:
    def search(rows: pa.Table, *, row_group: int = 1000, **options: Any) -> LeakReport:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        manifest = write_table(str(out), rows, signing[0], row_group=row_group)
        report = scan_output(open_output_folder(str(out)), manifest, **options)
        shown = json.dumps([report.as_json(), [check.detail for check in report.checks()]])
        assert not any(value in shown for value in RAW), "a report never holds a value"
        return report

    return search


def kinds(report: LeakReport) -> list[tuple[str, str, int]]:
    return [(leak.column, leak.kind, leak.values) for leak in report.leaks]


def test_an_output_without_leaks_has_none(searched: Any) -> None:
    report = searched(table())
    assert kinds(report) == []
    (check,) = report.checks()
    assert (check.check, check.ok) == ("scan", True)
    assert check.detail == "6 columns hold nothing in clear: every one of the 3 rows was looked at"
    assert [column.values for column in report.columns] == [2] * 6


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("card", [CARD, None, None], "CREDIT_CARD"),
        ("card", ["4111111111111115", None, None], "NOT_A_TOKEN"),
        ("mail", [MAIL, None, None], "EMAIL"),
        ("mail", ["abcdefghijklmnop", None, None], "NOT_A_TOKEN"),
        ("note", [f"write to {MAIL}", None, None], "EMAIL"),
        ("note", [f"[card:1:{CARD}]", None, None], "CREDIT_CARD"),
        ("note", [f"[[phone:1:{PHONE}]", None, None], "PHONE"),
        ("name", [MAIL, None, None], "EMAIL"),
        ("name", ["Ann", None, None], "NOT_REDACTED"),
        ("sku", [MAIL, None, None], "EMAIL"),
        ("sku", pa.array([MAIL, None, None]).dictionary_encode(), "EMAIL"),
        ("sku", pa.array([MAIL.encode(), b"\xff", None], pa.binary()), "EMAIL"),
        ("amount", [int(CARD), 5, None], "CREDIT_CARD"),
        ("amount", [Decimal(f"{CARD}.00"), None, None], "CREDIT_CARD"),
        ("amount", [float(CARD), 1.5, None], "CREDIT_CARD"),
    ],
)
def test_each_kind_of_leak_is_caught(searched: Any, column: str, values: Any, kind: str) -> None:
    report = searched(table(**{column: values}))
    assert kinds(report) == [(column, kind, 1)]
    (leak,) = report.leaks
    assert [(place.row, "1111" in place.masked or "*" in place.masked) for place in leak.places] == [(1, True)]
    assert report.checks()[0].detail.startswith(f"{column} holds 1 × {kind}; ")


@pytest.mark.parametrize("values", [[PHONE, "+4915112345678", None], [PHONE, "[redacted]", None]])
def test_tokens_that_look_like_values_are_told_by_their_shape_alone(searched: Any, values: list[str]) -> None:
    rows = table(phone=values)
    marks = {b"consentry.action": b"tokenize", b"consentry.format": b"phone", b"consentry.key_version": b"1"}
    rows = rows.cast(pa.schema([*list(rows.schema)[:-1], rows.schema[-1].with_metadata(marks)]))
    report = searched(rows)
    assert kinds(report) == []
    assert "so no more can be told" in report.columns[-1].checked


def policy_of(**info_types: dict[str, Any]) -> Policy:
    return Policy.model_validate(
        {
            "version": 1,
            "purposes": {"use": {"basis": "contract", "says": "Why."}},
            "info_types": {name: {"collect": ["use"], **rule} for name, rule in info_types.items()},
        }
    )


def tokenize(format: str) -> dict[str, Any]:
    return {"action": "tokenize", "format": format, "domain": format}


def test_tokens_in_texts_are_known_by_the_policy_s_formats(searched: Any) -> None:
    rows = table(note=[f"[phone:1:{PHONE}] [digits:1:{CARD}]", f"[phone:1:{PHONE}x]", None])
    policy = policy_of(phone=tokenize("phone"), digits=tokenize("digits"))
    assert kinds(searched(rows, policy=policy)) == [], "the second is no phone number either"
    assert kinds(searched(rows)) == [("note", "CREDIT_CARD", 1)], "an unknown type's token must not be a card"


def test_what_the_policy_keeps_on_purpose_is_counted_and_no_leak(searched: Any) -> None:
    kept = pa.array(["203.0.113.7", MAIL, None])
    marks = {b"consentry.action": b"keep", b"consentry.info_type": b"address"}
    rows = table(sku=["203.0.113.7", None, None], note=["from 203.0.113.7", MAIL, None], address=kept)
    rows = rows.cast(pa.schema([*list(rows.schema)[:-1], rows.schema[-1].with_metadata(marks)]))
    policy = policy_of(address={"action": "keep", "finds": ["IP_ADDRESS"]})
    report = searched(rows, policy=policy)
    assert kinds(report) == [("address", "EMAIL", 1), ("note", "EMAIL", 1), ("sku", "IP_ADDRESS", 1)]
    on_purpose = {column.column: column.kept_on_purpose for column in report.columns if column.kept_on_purpose}
    assert on_purpose == {"note": {"IP_ADDRESS": 1}, "address": {"IP_ADDRESS": 1}}
    assert ("address", "IP_ADDRESS", 1) in kinds(searched(rows)), "without the policy nobody knows"


def test_nested_values_are_told_with_the_rows_they_belong_to(searched: Any) -> None:
    items = [[{"note": "tea"}], [{"note": "x"}, {"note": f"card {CARD}"}, {"note": MAIL}], None]
    report = searched(table(items=items))
    assert kinds(report) == [("items[].note", "CREDIT_CARD", 1), ("items[].note", "EMAIL", 1)]
    assert {place.row for leak in report.leaks for place in leak.places} == {2}


def test_rows_are_counted_in_their_file(searched: Any) -> None:
    sku = ["TEA"] * 2500
    sku[2400] = MAIL
    columns = {name: [None] * 2500 for name in CLEAN if name not in ("sku", "amount")}
    report = searched(table(**columns, sku=sku, amount=list(range(2500))))
    ((place,),) = [leak.places for leak in report.leaks]
    assert place.row == 401, "each file holds a thousand rows here"
    assert place.file.startswith("data/part-")


def test_all_values_are_counted_and_the_first_are_told(searched: Any) -> None:
    count = 300
    columns = {name: [None] * count for name in CLEAN if name != "sku"}
    report = searched(table(**columns, sku=[MAIL] * count))
    (leak,) = report.leaks
    assert (leak.values, len(leak.places)) == (count, 20)


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("Canary-77-Osprey", "plain"),
        ("yerpsO-77-yranaC", "reversed"),
        ("x" + base64.b64encode(b"ab Canary-77-Osprey.").decode(), "base64"),
        (b"Canary-77-Osprey".hex().upper(), "hex"),
        ("Canary77Osprey", "plain without separators"),
        ("cAnary 77 Osprey".replace("cA", "Ca"), "with other separators"),
        ("CANARY-77-OSPREY", "plain"),
    ],
)
def test_canaries_are_found_however_they_are_written(searched: Any, written: str, how: str) -> None:
    canaries = Canaries([(3, "Canary-77-Osprey")])
    report = searched(table(sku=["TEA", f"<{written}>", None]), canaries=canaries)
    assert kinds(report) == [("sku", "CANARY", 1)]
    assert [place.masked for place in report.leaks[0].places] == [f"canary of line 3, {how}"]
    assert [check.ok for check in report.checks()] == [True, False]


def test_canaries_are_found_in_values_of_all_types_and_in_names(searched: Any) -> None:
    canaries = Canaries([(1, "1985-08-11"), (2, "98765432"), (3, "Osprey-Nest")])
    others = {"Osprey-Nest": pa.array([True, None, None])}
    born, small = pa.array([date(1985, 8, 11), None, None]), pa.array([98765432, 1, None], pa.int32())
    report = searched(table(born=born, small=small, **others), canaries=canaries)
    assert kinds(report) == [("******-****", "CANARY", 1), ("born", "CANARY", 1), ("small", "CANARY", 1)]
    assert "Osprey" not in json.dumps(report.as_json())


def test_no_canary_is_found_across_two_values(searched: Any) -> None:
    report = searched(table(sku=["Canary-77", "-Osprey", None]), canaries=Canaries([(1, "Canary-77-Osprey")]))
    assert kinds(report) == []
    assert report.checks()[1].detail == "1 canaries, none of them in the rows"


def many(leaky: int, count: int = 5000) -> pa.Table:
    columns = {name: [None] * count for name in CLEAN if name not in ("sku", "amount")}
    step = count // leaky if leaky else count + 1
    return table(
        **columns, sku=[MAIL if leaky and row % step == 0 else "TEA" for row in range(count)], amount=list(range(count))
    )


def test_a_sample_takes_the_same_rows_each_time_and_says_what_it_can_miss(
    tmp_path: Path, signing: tuple[ProofKeys, PublicKeys]
) -> None:
    manifest = write_table(str(tmp_path / "out"), many(500), signing[0], row_group=100)
    folder = open_output_folder(str(tmp_path / "out"))
    first, second = (scan_output(folder, manifest, sample=1000) for _ in range(2))
    assert first == second
    assert (first.bound.rows, first.bound.rows_total, first.bound.groups_total) == (1000, 5000, 50)
    assert not first.bound.complete
    assert first.bound.seen_with == pytest.approx(1 - 0.999**1000)
    assert first.bound.missed_below == pytest.approx(1 - 0.05 ** (1 / 1000))
    assert "1,000 of 5,000 rows were looked at, from 50 of 50 row groups" in first.checks()[0].detail
    # One row of ten leaks.
    assert 60 <= first.leaks[0].values <= 140


@pytest.mark.parametrize("sample", [1, 7, 64, 4999])
def test_a_sample_is_as_big_as_it_was_asked_for(searched: Any, sample: int) -> None:
    assert searched(many(0), row_group=70, sample=sample).bound.rows == sample


def test_a_sample_of_more_than_all_is_all(searched: Any) -> None:
    bound = searched(many(0), sample=5000).bound
    assert bound.complete and bound == Bound(rows=5000, rows_total=5000, groups=5, groups_total=5)
    assert (bound.seen_with, bound.missed_below) == (1.0, 0.0)


def test_progress_goes_to_its_end(searched: Any) -> None:
    seen: list[tuple[int, int]] = []
    searched(many(0), sample=2000, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2000, 2000) and sorted(seen) == seen


def test_an_empty_output_has_nothing_to_leak(searched: Any) -> None:
    report = searched(table(**{name: pa.array([], pa.string()) for name in CLEAN}), sample=5)
    assert kinds(report) == [] and report.bound.complete


def test_bytes_that_are_no_text_in_a_string_column_hide_nothing(searched: Any) -> None:
    broken = pa.array([f"{MAIL} \xff".encode("latin-1"), b"\xff", None], pa.binary())
    strings = pa.Array.from_buffers(pa.string(), 3, broken.buffers(), 1)
    assert kinds(searched(table(sku=strings))) == [("sku", "EMAIL", 1)]


def test_an_object_store_is_searched_too(shelf: Callable[[str], str], signing: tuple[ProofKeys, PublicKeys]) -> None:
    out = shelf("out")
    manifest = write_table(out, table(sku=[MAIL, None, None]), signing[0])
    assert kinds(scan_output(open_output_folder(out), manifest)) == [("sku", "EMAIL", 1)]

"""Files as they come: broken lines, wrong types, huge numbers, bad bytes. The run ends, and no record is lost."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_stores
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.verify import verify_output
from consentry.schemas.dead_letter import DeadLetter
from consentry.schemas.errors import IntegrityError, PrivacyError
from consentry.schemas.manifest import Books, Manifest
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
POLICY = """\
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver what you ordered."}
info_types:
  customer: {action: tokenize, format: surrogate, domain: customer, collect: [fulfilment]}
  card: {action: tokenize, format: pan, domain: card, collect: [fulfilment]}
  note: {action: scan, collect: [fulfilment]}
datasets:
  orders:
    subject: who
    event_time: at
    fields: {id: keep, at: keep, who: customer, card: card, count: keep, amount: keep, "lines[].sku": keep, note: note}
dead_letters: {retain: 7d}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("messy") / "shop"
    write_project(folder, tenant="shop", now=NOW - DAY)
    (folder / "policy.yaml").write_text(POLICY)
    return read_project(folder / "consentry.yaml")


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"o-{number}", "at": "2026-03-01T09:00:00Z", "who": f"c-{number % 50}", "card": "4111111111111111",
        "count": number % 9, "amount": number / 4, "lines": [{"sku": "TEA"}] * (number % 3), "note": None, **changes,
    }  # fmt: skip


def protected(project: Project, out: Path, *inputs: Path) -> Manifest:
    manifest = run_protect(project, [str(path) for path in inputs], "orders", str(out), now=NOW)
    report = verify_output(str(out), PublicKeys.load(project.trust))
    assert report.ok, [check for check in report.checks if not check.ok]
    return manifest


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]


def letters(out: Path) -> list[DeadLetter]:
    tables = [pq.read_table(path) for path in sorted(out.glob("dead_letters/*.parquet"))]
    return [DeadLetter(**row) for table in tables for row in table.to_pylist()]


def reasons_by_position(out: Path) -> dict[int | None, str]:
    found = letters(out)
    by_position = {letter.position: letter.reason for letter in found}
    assert len(by_position) == len(found)
    return by_position


# What a line may be that is no order, and the reason it is given.
BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"id": "o-broken", "at": ', "invalid_json"),
    (b"not json at all", "invalid_json"),
    (b'{"id": "o-1"} {"id": "o-2"}', "invalid_json"),
    (b'{"id": NaN}', "invalid_json"),
    (b'{"id": "tab\there"}', "invalid_json"),
    (b'{"id": "o-\xff\xfe"}', "invalid_utf8"),
    (b'[{"id": "o-1"}]', "not_an_object"),
    (b"17", "not_an_object"),
    (b"null", "not_an_object"),
    (b'{"id": "o-1", "id": "o-2"}', "duplicate_key"),
    (b'{"id": "o-1", "lines": [{"sku": "a", "sku": "b"}]}', "duplicate_key"),
    (b'{"id": {"deep": 1}}', "wrong_type"),
    (b'{"id": "o-1", "count": "many"}', "wrong_type"),
    (b'{"id": "o-1", "lines": {"sku": "TEA"}}', "wrong_type"),
    (b'{"id": "o-1", "lines": [["TEA"]]}', "wrong_type"),
    (b'{"id": "o-1", "count": 123456789012345678901234567890}', "number_out_of_range"),
    (b'{"id": "o-1", "amount": 1e999}', "number_out_of_range"),
]


def test_one_percent_of_broken_lines_become_dead_letters_and_all_others_leave(tmp_path: Path, project: Project) -> None:
    dice = random.Random(7)
    lines: list[bytes] = []
    expected: dict[int | None, str] = {}
    good = 0
    for number in range(8_000):
        if dice.random() < 0.01:
            bad, reason = BAD_LINES[len(expected) % len(BAD_LINES)]
            lines.append(bad)
            expected[len(lines)] = reason
        elif dice.random() < 0.01:
            lines.append(dice.choice([b"", b"  ", b"\t"]))
        else:
            lines.append(json.dumps(order(number)).encode())
            good += 1
    assert set(expected.values()) == {reason for _, reason in BAD_LINES}
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    manifest = protected(project, tmp_path / "out", tmp_path / "orders.jsonl")
    assert reasons_by_position(tmp_path / "out") == expected
    assert manifest.books == Books(in_=good + len(expected), out=good, dropped=0, dead_lettered=len(expected))
    assert manifest.reasons == dict(Counter(expected.values()))
    assert {letter.source for letter in letters(tmp_path / "out")} == {str(tmp_path / "orders.jsonl")}


def test_a_column_that_changes_its_type_half_way_loses_only_what_cannot_be_kept(
    tmp_path: Path, project: Project
) -> None:
    lines = [order(number, count=number if number < 600 else f"n{number}") for number in range(1000)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = protected(project, tmp_path / "out", tmp_path / "orders.jsonl")
    assert manifest.books == Books(in_=1000, out=600, dropped=0, dead_lettered=400)
    assert reasons_by_position(tmp_path / "out") == dict.fromkeys(range(601, 1001), "wrong_type")
    assert sorted(row["count"] for row in rows(tmp_path / "out")) == list(range(600))


def test_empty_files_among_full_ones_change_nothing(tmp_path: Path, project: Project) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"")
    (tmp_path / "in" / "b.jsonl").write_bytes(b"\n\n \n")
    (tmp_path / "in" / "c.jsonl").write_text(json.dumps(order(1)))
    (tmp_path / "in" / "d.csv").write_bytes(b"")
    (tmp_path / "in" / "e.csv").write_bytes(b"id,at,who\n")
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "in" / "f.parquet")
    manifest = protected(project, tmp_path / "out", tmp_path / "in")
    assert manifest.books == Books(in_=1, out=1, dropped=0, dead_lettered=0)


def test_csv_rows_of_another_width_or_bytes_are_set_aside(tmp_path: Path, project: Project) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "at", "who", "card", "note"])
    for number in range(500):
        writer.writerow([f"o-{number}", "2026-03-01T09:00:00Z", "c-1", "4111 1111 1111 1111", "two\nlines, quoted"])
    records = text.getvalue().encode().split(b"\r\n")
    # Each good record takes two lines of the file, the header one.
    records.insert(1, b"o-x,2026-03-01T09:00:00Z")
    records.insert(10, b"o-y,2026-03-01T09:00:00Z,c-1,4111,\xff\xfe")
    (tmp_path / "orders.csv").write_bytes(b"\r\n".join(records))
    manifest = protected(project, tmp_path / "out", tmp_path / "orders.csv")
    assert manifest.books == Books(in_=502, out=500, dropped=0, dead_lettered=2)
    assert reasons_by_position(tmp_path / "out") == {2: "wrong_column_count", 19: "invalid_utf8"}


def test_a_quote_that_never_closes_does_not_swallow_the_file(tmp_path: Path, project: Project) -> None:
    lines = ["id,at,who,card,note", *(f"o-{number},2026-03-01T09:00:00Z,c-1,," for number in range(200))]
    lines[100] = 'o-99,2026-03-01T09:00:00Z,c-1,,"never closed'
    (tmp_path / "orders.csv").write_text("\n".join(lines) + "\n")
    manifest = protected(project, tmp_path / "out", tmp_path / "orders.csv")
    assert manifest.books.in_ == 200 and manifest.books.dead_lettered >= 1
    assert reasons_by_position(tmp_path / "out")[101] == "unbalanced_quote"


def test_values_of_every_odd_kind_in_parquet_leave_redacted_or_not_at_all(tmp_path: Path, project: Project) -> None:
    table = pa.table(
        {
            "id": pa.array([f"o-{number}" for number in range(6)]),
            "at": pa.array([NOW - DAY] * 5 + [None], pa.timestamp("us", "Europe/Berlin")),
            "who": pa.array(["c-1", " ", None, "c-2", "c-3", "c-4"]).dictionary_encode(),
            "card": pa.array([4111111111111111, 0, 2**62, -1, None, 4111111111111111]),
            "amount": pa.array([float("nan"), float("inf"), -0.0, 1e308, None, 0.1]),
            "lines": pa.array([[], None, [{"sku": "a", "extra": 1}], [None], [{"sku": None}], []],
                              pa.list_(pa.struct({"sku": pa.string(), "extra": pa.int64()}))),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "orders.parquet")
    manifest = protected(project, tmp_path / "out", tmp_path / "orders.parquet")
    assert manifest.books == Books(in_=6, out=6, dropped=0, dead_lettered=0)
    found = sorted(rows(tmp_path / "out"), key=lambda row: row["id"])
    assert [row["card"] == "[redacted]" for row in found] == [False, True, True, True, False, True]
    assert found[4]["card"] is None and found[0]["card"][-4:] == "1111"
    assert [row["who"] for row in found[1:3]] == ["[redacted]", None]
    assert manifest.drift == {"lines[].extra": 1}


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_a_cut_parquet_file_refuses_the_run(tmp_path: Path, project: Project, cut: int) -> None:
    pq.write_table(pa.Table.from_pylist([order(number) for number in range(500)]), tmp_path / "orders.parquet")
    whole = (tmp_path / "orders.parquet").read_bytes()
    (tmp_path / "orders.parquet").write_bytes(whole[:cut])
    with pytest.raises(PrivacyError, match=r"orders\.parquet"):
        protected(project, tmp_path / "out", tmp_path / "orders.parquet")
    assert not (tmp_path / "out").exists()


def test_a_flipped_byte_in_a_sealed_dead_letter_opens_nothing(tmp_path: Path, project: Project) -> None:
    from consentry.transforms.dead_letters import letter_keys, open_letter

    (tmp_path / "orders.jsonl").write_text("broken\n" + json.dumps(order(1, count={"a": 1}, who="c-9")) + "\n")
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(order(number)) + "\n" for number in range(5)))
    protected(project, tmp_path / "out", tmp_path / "orders.jsonl", tmp_path / "more.jsonl")
    with open_stores(project) as stores:
        for letter in letters(tmp_path / "out"):
            names = letter_keys(letter)
            subject = names.subject
            keys = {
                "day_key": stores.data_keys.find_day_key(names.day, at=0),
                "subject_key": None if subject is None else stores.data_keys.keys_for([subject], create=False)[subject],
            }
            assert open_letter(letter, **keys, tenant="shop")[:1] in (b"j", b"r")
            for place in range(len(letter.sealed)):
                changed = bytearray(letter.sealed)
                changed[place] ^= 1
                broken = DeadLetter(**{**_columns(letter), "sealed": bytes(changed)})
                with pytest.raises(IntegrityError):
                    open_letter(broken, **keys, tenant="shop")


def _columns(letter: DeadLetter) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in ("stage", "reason", "source", "position", "dataset", "sealed")}

"""Parquet: row groups in splits, row numbers from 1, and no damage that goes unnoticed."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import parquet_groups
from consentry.pipelines.sources import plan_sources, read_split
from consentry.schemas.errors import InputError, RunError
from consentry.schemas.record_columns import POSITION
from oracles.source_rows import read_all

CARD = "4111111111111111"


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_rows_are_numbered_through_all_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_groups, "MIN_PART_BYTES", 1)
    monkeypatch.setattr(parquet_groups, "BATCH_ROWS", 70)
    read = read_all(write(tmp_path / "a.parquet", {"n": range(1000)}, row_group_size=100))
    assert [row["n"] for row in read.rows] == list(range(1000))
    assert read.positions == list(range(1, 1001))
    assert len(read.sources.splits) == 10
    assert max(each.batch.num_rows for each in read.batches) <= 70


def test_a_big_file_is_cut_for_many_workers_and_a_small_one_is_not(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 2**62, 3_100_000)
    big = write(tmp_path / "big.parquet", {"n": values}, row_group_size=100_000)
    assert 8 <= len(plan_sources([str(big)]).splits) <= 31
    small = write(tmp_path / "small.parquet", {"n": values[:1000]}, row_group_size=10)
    assert len(plan_sources([str(small)]).splits) == 1


def test_types_pass_as_they_are(tmp_path: Path) -> None:
    columns = {
        "d": pa.array(["a", "b", None]).dictionary_encode(),
        "v": pa.array(["a", "b", None], pa.string_view()),
        "l": pa.array([["x"], [], None], pa.large_list(pa.large_string())),
        "t": pa.array([1000, 2000, None], pa.timestamp("ns", "Europe/Berlin")),
        "m": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(20, 2)),
        "s": pa.array([{"x": 1}, None, {"x": None}]),
        "f": pa.array([b"12", None, b"34"], pa.binary(2)),
        "h": pa.array([1.5, None, 2.5], pa.float16()),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    }
    read = read_all(write(tmp_path / "a.parquet", columns))
    table = pa.table(columns)
    assert read.types == {field.name: field.type for field in table.schema}
    assert pa.Table.from_batches([each.batch for each in read.batches]).drop_columns(POSITION).to_pylist() == (
        table.to_pylist()
    )


def test_nothing_of_the_schemas_metadata_travels(tmp_path: Path) -> None:
    field = pa.field("a", pa.int64(), nullable=False, metadata={"note": CARD})
    table = pa.table({"a": [1]}, schema=pa.schema([field], {"pandas": "{}"}))
    pq.write_table(table, tmp_path / "a.parquet")
    schema = plan_sources([str(tmp_path)]).schema
    assert (schema.metadata, schema.field("a").metadata, schema.field("a").nullable) == (None, None, True)


def test_files_without_rows_or_columns_are_fine(tmp_path: Path) -> None:
    assert read_all(write(tmp_path / "a.parquet", {"a": pa.array([], pa.string())})).rows == []
    pq.write_table(pa.table({}), tmp_path / "b.parquet")
    read = read_all(tmp_path)
    assert (read.rows, list(read.types)) == ([], ["a"])


def test_reserved_columns_are_dropped(tmp_path: Path) -> None:
    forged = {"a": [1, 2], POSITION: [8, 9], "__consentry_permits:support": [True, True]}
    read = read_all(write(tmp_path / "a.parquet", forged))
    assert (read.rows, read.positions) == ([{"a": 1}, {"a": 2}], [1, 2])


def test_a_file_of_reserved_columns_alone_keeps_its_rows(tmp_path: Path) -> None:
    read = read_all(write(tmp_path / "a.parquet", {POSITION: [8, 9]}))
    assert (read.rows, read.positions) == ([{}, {}], [1, 2])


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "footer"])
def test_a_file_without_a_sound_footer_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "a.parquet", {"card": [CARD] * 100})
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-20], "empty": b"", "text": CARD.encode(), "footer": data[:-60] + b"\xff" * 52 + data[-8:]}[
            damage
        ]
    )
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read as Parquet \(\w+\); it may be damaged") as caught:
        plan_sources([str(path)])
    assert CARD not in str(caught.value) + repr(caught.value.__context__)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damage_inside_a_row_group_fails_the_run_and_loses_no_row_silently(tmp_path: Path, compression: str) -> None:
    values = [f"{CARD}-{number}" for number in range(20_000)]
    path = write(
        tmp_path / "a.parquet", {"card": values}, compression=compression, use_dictionary=False,
        write_page_checksum=True, row_group_size=5000,
    )  # fmt: skip
    sources = plan_sources([str(path)])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 30] = bytes(byte ^ 0x55 for byte in data[middle : middle + 30])
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"a\.parquet: cannot be read as Parquet in row groups 0 to 3") as caught:
        for split in sources.splits:
            list(read_split(split, sources.schema))
    assert CARD not in str(caught.value) + repr(caught.value.__context__)
    assert caught.value.exit_code == 3


def test_a_file_that_changes_after_planning_fails_the_run(tmp_path: Path) -> None:
    sources = plan_sources([str(write(tmp_path / "a.parquet", {"a": range(100)}))])
    write(tmp_path / "a.parquet", {"a": range(90)})
    with pytest.raises(RunError, match=r"a\.parquet: changed while it was read"):
        list(read_split(sources.splits[0], sources.schema))
    write(tmp_path / "a.parquet", {"b": range(100)})
    with pytest.raises(RunError, match=r"a\.parquet: changed while it was read"):
        list(read_split(sources.splits[0], sources.schema))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(RunError, match=r"a\.parquet: cannot be read as Parquet \(FileNotFoundError\)"):
        list(read_split(sources.splits[0], sources.schema))


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has two columns named 'a'; give each a name of its own"):
        plan_sources([str(tmp_path)])


@pytest.mark.parametrize(
    ("first", "second", "joint"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint8(), pa.uint16(), pa.uint16()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.string_view(), pa.string(), pa.string()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string(), pa.string()),
        (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.decimal128(10, 2), pa.decimal128(10, 4), pa.decimal128(12, 4)),
        (pa.list_(pa.int8()), pa.large_list(pa.int64()), pa.large_list(pa.int64())),
        (
            pa.struct([("x", pa.int8())]), pa.struct([("y", pa.string()), ("x", pa.int16())]),
            pa.struct([("x", pa.int16()), ("y", pa.string())]),
        ),
        (
            pa.list_(pa.struct([("x", pa.null())])), pa.list_(pa.struct([("y", pa.string())])),
            pa.list_(pa.struct([("x", pa.null()), ("y", pa.string())])),
        ),
    ],
)  # fmt: skip
def test_columns_of_several_files_get_a_type_that_holds_all_values(
    tmp_path: Path, first: pa.DataType, second: pa.DataType, joint: pa.DataType
) -> None:
    values = {pa.string(): "a", pa.float64(): 1}.get(joint)
    for place, kind in enumerate((first, second)):
        filled = (
            pa.array([values, None], kind) if values is not None and not pa.types.is_null(kind) else pa.nulls(2, kind)
        )
        write(tmp_path / f"{place}.parquet", {"a": filled, f"only{place}": [1, 2]})
    read = read_all(tmp_path)
    assert read.types == {"a": joint, "only0": pa.int64(), "only1": pa.int64()}
    assert [(row["only0"], row["only1"]) for row in read.rows] == [(1, None), (2, None), (None, 1), (None, 2)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.int8()),
        (pa.uint64(), pa.int64()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.int8()), pa.int8()),
        (pa.struct([("x", pa.int8())]), pa.struct([("x", pa.string())])),
    ],
)
def test_files_that_contradict_each_other_are_an_error_that_names_column_and_files(
    tmp_path: Path, first: pa.DataType, second: pa.DataType
) -> None:
    write(tmp_path / "a.parquet", {"x": pa.nulls(1, first)})
    write(tmp_path / "b.parquet", {"x": pa.nulls(1, second)})
    with pytest.raises(InputError, match=r"column 'x' is .* in .*a\.parquet and .* in .*b\.parquet; protect the two"):
        plan_sources([str(tmp_path)])


def test_a_whole_number_that_a_float_cannot_hold_is_an_error_and_not_rounded(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"x": [2**53 + 1]})
    write(tmp_path / "b.parquet", {"x": [0.5]})
    with pytest.raises(InputError, match=r"a\.parquet: column 'x' holds values that do not fit double") as caught:
        read_all(tmp_path)
    assert str(2**53 + 1) not in str(caught.value) + repr(caught.value.__context__)


def test_structs_without_fields_are_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": {}, "b": [{"c": {}}]}\n')
    write(tmp_path / "b.parquet", {"a": pa.array([{"x": 1}]), "b": pa.array([[{"d": "y"}]])})
    read = read_all(tmp_path)
    assert read.rows == [
        {"a": {"x": None}, "b": [{"c": None, "d": None}]},
        {"a": {"x": 1}, "b": [{"c": None, "d": "y"}]},
    ]


def test_an_encrypted_or_foreign_file_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    shutil.copy(write(tmp_path / "b.parquet", {"a": [1]}), path)
    path.write_bytes(path.read_bytes()[:-4] + b"PARE")
    with pytest.raises(InputError, match="it may be damaged, cut off or encrypted"):
        plan_sources([str(path)])

"""Files hold what was written, their receipts say so, and only finished bundles get receipts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from consentry.pipelines import sinks
from consentry.pipelines.sinks import FileWriter, Receipt, WriteDeadLetters, WriteRows, write_empty
from consentry.schemas.errors import PrivacyError
from hypothesis import given
from hypothesis import strategies as st
from oracles.small_output import SCHEMA, letters, rows


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for folder in ("data", "dead_letters"):
        (tmp_path / folder).mkdir()
    return tmp_path


def assert_receipt(place: Path, receipt: Receipt) -> pa.Table:
    data = (place / receipt.path).read_bytes()
    table = pq.read_table(place / receipt.path)
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (receipt.sha256, receipt.bytes)
    assert table.num_rows == receipt.rows
    return table


def test_a_receipt_tells_what_is_in_the_file(place: Path) -> None:
    writer = FileWriter(str(place), "data", SCHEMA, run="r1")
    batches = [rows(7), rows(0), rows(5, "p")]
    for batch in batches:
        writer.write(batch.replace_schema_metadata({b"consentry.source": b"orders.jsonl", b"consentry.split": b"3"}))
    (receipt,) = writer.finish()
    table = assert_receipt(place, receipt)
    assert table.to_pylist() == [row for batch in batches for row in batch.to_pylist()]
    assert receipt.path.startswith("data/part-r1-")


def test_field_metadata_is_kept_at_every_depth_and_the_metadata_of_the_run_is_not(place: Path) -> None:
    writer = FileWriter(str(place), "data", SCHEMA.with_metadata({b"consentry.source": b"x"}), run="r1")
    writer.write(rows(3))
    schema = assert_receipt(place, writer.finish()[0]).schema
    assert schema.field("card").metadata[b"consentry.domain"] == b"card"
    assert schema.field("items").type.value_field.type[0].metadata == {b"consentry.action": b"keep"}
    assert not schema.metadata


def test_a_big_output_is_rolled_into_several_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "ROW_GROUP_ROWS", 100)
    writer = FileWriter(str(place), "data", SCHEMA, run="r1", file_bytes=4000)
    for _ in range(20):
        writer.write(rows(70))
    receipts = writer.finish()
    assert len({receipt.path for receipt in receipts}) == len(receipts) > 2
    assert sum(assert_receipt(place, receipt).num_rows for receipt in receipts) == 1400
    assert sorted(path.name for path in (place / "data").iterdir()) == sorted(Path(r.path).name for r in receipts)


@given(st.lists(st.integers(0, 40), max_size=12))
def test_every_row_is_written_once_however_batches_fall(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    place = tmp_path_factory.mktemp("place")
    (place / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinks, "ROW_GROUP_ROWS", 50)
        writer = FileWriter(str(place), "data", SCHEMA, run="r1", file_bytes=3000)
        for number, size in enumerate(sizes):
            writer.write(rows(size, str(number)))
        receipts = writer.finish()
    found = [row for receipt in receipts for row in assert_receipt(place, receipt)["order_id"].to_pylist()]
    assert found == [f"{number}-{n}" for number, size in enumerate(sizes) for n in range(size)]


def test_no_row_makes_no_file(place: Path) -> None:
    writer = FileWriter(str(place), "data", SCHEMA, run="r1")
    writer.write(rows(0))
    assert writer.finish() == []
    assert list((place / "data").iterdir()) == []


def test_an_empty_file_has_the_columns(place: Path) -> None:
    receipt = write_empty(str(place), SCHEMA, run="r1")
    assert assert_receipt(place, receipt).schema.names == SCHEMA.names
    assert receipt.rows == 0


def test_dead_letters_are_counted_where_they_are_written(place: Path) -> None:
    writer = FileWriter(str(place), "dead_letters", letters(1).schema, run="r1")
    writer.write(letters(5))
    (receipt,) = writer.finish()
    assert receipt.reasons == {("read", "invalid_json"): 3, ("read", "wrong_type"): 2}


def test_the_beam_steps_give_a_receipt_for_every_file(place: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        batches = pipeline | beam.Create([rows(4), rows(6)]).with_output_types(pa.RecordBatch)
        refused = pipeline | "Refused" >> beam.Create([letters(3)]).with_output_types(pa.RecordBatch)
        receipts = (
            batches | WriteRows(str(place), SCHEMA, run="r1"),
            refused | WriteDeadLetters(str(place), run="r1"),
        ) | beam.Flatten()

        def check(found: list[Receipt]) -> None:
            counts = {"data": 0, "dead_letters": 0}
            for receipt in found:
                counts[receipt.path.split("/")[0]] += assert_receipt(place, receipt).num_rows
            assert counts == {"data": 10, "dead_letters": 3}

        assert_that(receipts, check)


def test_a_batch_of_another_schema_fails_the_step_without_its_values(place: Path) -> None:
    other = pa.record_batch({"order_id": ["secret-4711"]})
    with (
        pytest.raises(PrivacyError, match="write: failed with") as caught,
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
    ):
        _ = pipeline | beam.Create([other]).with_output_types(pa.RecordBatch) | WriteRows(str(place), SCHEMA, run="r1")
    assert "4711" not in str(caught.value)


def test_an_abandoned_file_has_no_receipt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "ROW_GROUP_ROWS", 5)
    writer = FileWriter(str(place), "data", SCHEMA, run="r1")
    writer.write(rows(9))
    writer.abandon()
    assert writer.finish() == []

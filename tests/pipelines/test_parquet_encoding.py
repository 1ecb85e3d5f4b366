from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from consentry.pipelines.parquet_encoding import repeating_columns

ROWS = 1000


def batch() -> pa.RecordBatch:
    return pa.record_batch(
        {
            "token": pa.array([f"t{row}" for row in range(ROWS)]),
            "country": pa.array(["DE" if row % 2 else "FR" for row in range(ROWS)]),
            "card": pa.array([{"kind": row % 3, "number": f"n{row}"} for row in range(ROWS)]),
            "items": pa.array([[{"sku": "TEA", "price": float(row)}] * 2 for row in range(ROWS)]),
            "layers": pa.array(["a"] * ROWS).dictionary_encode(),
            "nothing": pa.nulls(ROWS),
            "labels": pa.array([[("key", row)] for row in range(ROWS)], pa.map_(pa.string(), pa.int64())),
        }
    )


def test_values_that_come_again_get_a_dictionary_and_tokens_do_not(tmp_path: Path) -> None:
    repeating = repeating_columns(batch())
    assert {"country", "card.kind", "items.list.element.sku", "layers"} <= set(repeating)
    assert not {"token", "card.number", "items.list.element.price"} & set(repeating)
    with pq.ParquetWriter(tmp_path / "x.parquet", batch().schema, use_dictionary=repeating) as writer:
        writer.write_batch(batch())
    written = pq.ParquetFile(tmp_path / "x.parquet")
    group = written.metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    encoded = {column.path_in_schema for column in columns if "RLE_DICTIONARY" in column.encodings}
    assert {"country", "card.kind", "items.list.element.sku"} <= encoded
    assert not {"token", "card.number", "items.list.element.price"} & encoded
    assert written.read().to_pylist() == pa.Table.from_batches([batch()]).to_pylist()


def test_a_batch_without_rows_has_nothing_to_tell() -> None:
    repeating_columns(batch()[:0])

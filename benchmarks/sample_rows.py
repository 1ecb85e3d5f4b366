"""Generates orders as Parquet, in columns and in bounded memory, the same bytes for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["write_consents", "write_orders"]

BLOCK = 250_000
START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z in microseconds
YEAR_PART = 200 * 24 * 3600 * 1_000_000
COUNTRIES = np.array(["DE", "FR", "GB", "IT", "JP", "PL", "US"], dtype=object)


def write_orders(path: Path, rows: int, *, subjects: int) -> None:
    """Writes ``rows`` orders of ``subjects`` customers, eight columns, one card and one address per customer."""
    rng = np.random.default_rng(20260101)
    writer: pq.ParquetWriter | None = None
    for first in range(0, rows, BLOCK):
        batch = _orders(rng, first, min(BLOCK, rows - first), subjects)
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="snappy")
        writer.write_batch(batch, row_group_size=131_072)
    if writer is not None:
        writer.close()


def write_consents(path: Path, subjects: int) -> None:
    """Writes one granted ``support`` event for each customer, as JSON Lines."""
    with path.open("w", encoding="ascii") as file:
        for number in range(subjects):
            file.write(
                f'{{"subject":"c-{number:08d}","purpose":"support","decision":"granted",'
                '"effective_at":"2025-06-01T00:00:00Z","source":"bench"}\n'
            )


def _orders(rng: np.random.Generator, first: int, count: int, subjects: int) -> pa.RecordBatch:
    customer = rng.integers(0, subjects, count)
    return pa.record_batch(
        {
            "order_id": _numbered("o-", np.arange(first, first + count), 10),
            "placed_at": pa.array(START + rng.integers(0, YEAR_PART, count), pa.timestamp("us", "UTC")),
            "customer_id": _numbered("c-", customer, 8),
            "email": _joined(_numbered("user", customer, 8), "@example.com"),
            "card": _cards(customer),
            "amount": pa.array(np.round(rng.uniform(1, 500, count), 2)),
            "quantity": pa.array(rng.integers(1, 9, count)),
            "country": pa.DictionaryArray.from_arrays(rng.integers(0, 7, count), COUNTRIES).cast(pa.string()),
        }
    )


def _decimal(numbers: np.ndarray, width: int) -> np.ndarray:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return ((numbers[:, None] // powers) % 10).astype(np.uint8)


def _text(characters: np.ndarray) -> pa.StringArray:
    count, width = characters.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters, np.uint8))
    )


def _numbered(prefix: str, numbers: np.ndarray, width: int) -> pa.StringArray:
    head = np.broadcast_to(np.frombuffer(prefix.encode(), np.uint8), (len(numbers), len(prefix)))
    return _text(np.concatenate([head, _decimal(numbers, width) + ord("0")], axis=1))


def _joined(column: pa.StringArray, tail: str) -> pa.StringArray:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(column, pa.scalar(tail), pa.scalar(""))


def _cards(customer: np.ndarray) -> pa.StringArray:
    """A 16-digit number per customer with a valid checksum (ISO/IEC 7812-1, annex B)."""
    payload = _decimal(4 * 10**14 + (customer.astype(np.int64) * 7_919_000_003) % 10**14, 15)
    doubled = payload.astype(np.int64)
    doubled[:, ::2] *= 2
    total = (doubled // 10 + doubled % 10).sum(axis=1)
    return _text(np.concatenate([payload, ((-total) % 10).astype(np.uint8)[:, None]], axis=1) + ord("0"))

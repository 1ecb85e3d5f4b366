"""Reads files of consent events into records with their lines: JSON Lines, CSV, Parquet.

A record that cannot be read is a ``FaultyError`` in its place, so that a reader can name every fault of a file.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ..schemas.errors import InputError

__all__ = ["FIELDS", "REQUIRED", "FaultyError", "consent_record", "consent_records"]

REQUIRED = ("subject", "purpose", "decision", "effective_at", "source")
FIELDS = {*REQUIRED, "recorded_at", "evidence"}
NOT_AN_OBJECT = "event: not a JSON object; write one event on each line"


class FaultyError(Exception):
    """One faulty event; the text names field, rule and hint, and no value.

    Attributes:
        reason: Stable code, as dead letters carry it.
    """

    def __init__(self, text: str, reason: str = "invalid_event") -> None:
        super().__init__(text, reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[0])


def consent_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | FaultyError]]:
    """Yields line (of Parquet: row) and record, or what is wrong with it.

    Args:
        path: ``.jsonl``, ``.json``, ``.ndjson``, ``.csv`` or ``.parquet``.

    Raises:
        InputError: The file cannot be read at all, or is none of these.
    """
    try:
        if path.suffix in {".jsonl", ".json", ".ndjson"}:
            yield from _json_records(path)
        elif path.suffix == ".csv":
            yield from _csv_records(path)
        elif path.suffix == ".parquet":
            yield from _parquet_records(path)
        else:
            raise InputError(f"{path}: unknown kind of file; use .jsonl, .csv or .parquet")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
    except (ValueError, NotImplementedError) as error:  # of Python, of Arrow
        raise InputError(f"{path}: is not what its name says ({type(error).__name__}); nothing was recorded") from None


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | FaultyError]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if text.strip():
                yield number, consent_record(text)


def consent_record(text: bytes) -> dict[str, Any] | FaultyError:
    """Returns the record that is written in one line or message, or what is wrong with it."""
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError:
        return FaultyError(NOT_AN_OBJECT, "invalid_json")
    if not isinstance(record, dict):
        return FaultyError(NOT_AN_OBJECT, "not_an_object")
    # A name that stands twice brings two quotes that the record does not show; only then a slow look is worth it.
    strings = len(record) + sum(isinstance(value, str) for value in record.values())
    if text.count(b'"') > 2 * strings:
        try:
            json.loads(text, object_pairs_hook=_once)
        except FaultyError as fault:
            return fault
        except (RecursionError, ValueError):  # deeper, or with longer numbers, than Python reads
            return FaultyError(NOT_AN_OBJECT, "invalid_json")
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise FaultyError("event: names a field twice; write each field once", "duplicate_key")
    return record


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | FaultyError]]:
    reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
    before = 0
    names: list[str] = []
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            if not row:
                continue
            if not names:
                names = _checked_names(path, line, row)
            elif len(row) > len(names):
                fault = f"event: {len(row)} values stand under {len(names)} columns; put text with commas in quotes"
                yield line, FaultyError(fault)
            else:
                yield line, dict(zip(names, (value or None for value in row), strict=False))
    except csv.Error:
        yield before + 1, FaultyError("event: no readable CSV from here on; check the quotes")


def _checked_names(path: Path, line: int, names: list[str]) -> list[str]:
    if len(set(names)) < len(names) or not set(REQUIRED) <= set(names) <= FIELDS:
        raise InputError(
            f"{path}:{line}: the columns are not those of consent events; write {', '.join(REQUIRED)} once each, "
            "recorded_at and evidence if there are any, no others, and commas between them\n"
            "nothing was recorded; repair the file"
        )
    return names


def _parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | FaultyError]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    with pq.ParquetFile(path) as file:
        _checked_names(path, 1, file.schema_arrow.names)
        for batch in file.iter_batches():
            columns = [_in_microseconds(column) for column in batch.columns]
            for record in pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist():
                row += 1
                yield row, record


def _in_microseconds(column: Any) -> Any:
    """Instants as Python knows them: decimals of a second beyond the sixth are cut off, as they are in texts."""
    import pyarrow as pa

    kind = column.type
    return column.cast(pa.timestamp("us", kind.tz), safe=False) if pa.types.is_timestamp(kind) else column

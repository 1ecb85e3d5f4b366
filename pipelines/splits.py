"""What sources pass on: the files of an input, the parts that they are read in, and what comes out of a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import RunError
from ..schemas.record_columns import POSITION, SOURCE_KEY, SPLIT_KEY
from ..transforms.dead_letters import LineOfSource
from .column_types import conform

__all__ = [
    "FileFormat",
    "FilePlan",
    "InputFile",
    "ReadBatch",
    "RejectedLine",
    "Split",
    "changed",
    "check_unchanged",
    "joined",
    "read_batch",
    "source_of",
]


class FileFormat(StrEnum):
    """How a file holds its records."""

    PARQUET = "parquet"
    CSV = "csv"
    TSV = "tsv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file to be read.

    Attributes:
        name: As the user named it, or as found below the folder that the user named; for people.
        uri: Absolute path, or URI of a Beam file system.
        size: Bytes as stored.
        format: By its extension.
        gzipped: Whether to unpack it.
    """

    name: str
    uri: str
    size: int
    format: FileFormat
    gzipped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A part of a file that one worker reads in one go.

    Attributes:
        file: The file.
        start: First byte (unpacked), or first row group.
        end: Byte or row group behind the last one; None: to the end of the file.
        first: Line or row number of the first record.
        count: Lines or rows that planning found; None: it did not count.
        weight: Bytes, for spreading work.
        columns: The file's own, as they are parsed.
        id: Number in the order of files and of places in them, from 0.
    """

    file: InputFile
    start: int
    end: int | None
    first: int
    count: int | None
    weight: int
    columns: pa.Schema
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """What planning found out about a file.

    Attributes:
        file: The file.
        columns: Its own columns.
        splits: In its order.
    """

    file: InputFile
    columns: pa.Schema
    splits: tuple[Split, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedLine:
    """A line or record that could not become a row; a ``LineOfSource``.

    Attributes:
        position: From 1.
        reason: Stable code.
        raw: The bytes as they were, without the end of the line.
        parsed: The record, where it could be parsed.
    """

    position: int
    reason: str
    raw: bytes
    parsed: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"RejectedLine(position={self.position}, reason={self.reason!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBatch:
    """Some rows of a split, and the lines between them that could not become rows.

    Attributes:
        batch: Of the schema that was asked for, with file and split in the schema's metadata; may have no rows.
        rejected: In the order of the file.
    """

    batch: pa.RecordBatch
    rejected: Sequence[LineOfSource] = ()


def check_unchanged(split: Split, line: int) -> None:
    """Checks that a split had as many lines as planning found.

    Args:
        split: Read to its end.
        line: Number of the line or row behind the last one.

    Raises:
        RunError: It had not.
    """
    if split.count is not None and line != split.first + split.count:
        raise changed(split)


def changed(split: Split) -> RunError:
    """Returns the error of a file that is no longer what it was when it was planned."""
    return RunError(f"{split.file.name}: changed while it was read; run again when nothing writes to it")


def source_of(schema: pa.Schema) -> str | None:
    """Returns what a batch of this schema came from, as its metadata says."""
    source = (schema.metadata or {}).get(SOURCE_KEY)
    return None if source is None else source.decode()


def joined(batches: Sequence[pa.RecordBatch], columns: pa.Schema) -> pa.RecordBatch:
    """Returns one batch of all rows; a batch that is the only one with rows is not copied."""
    filled = [batch for batch in batches if batch.num_rows]
    if len(filled) == 1:
        return filled[0]
    return pa.concat_batches(filled) if filled else pa.RecordBatch.from_pylist([], columns)


def read_batch(
    split: Split,
    schema: pa.Schema,
    rows: pa.RecordBatch,
    positions: np.ndarray[Any, np.dtype[np.int64]],
    rejected: Sequence[LineOfSource] = (),
) -> ReadBatch:
    """Returns rows of a file as a batch of ``schema``.

    Args:
        split: Where they come from.
        schema: Of the result; columns that the file does not have are null, and those not in it are left out.
        rows: As parsed.
        positions: ``int64``, one for each row.
        rejected: Passed through.

    Raises:
        InputError: A number does not fit the type that the files have together.
    """
    names = rows.schema.names
    columns = [
        conform(
            rows.column(names.index(field.name)) if field.name in names else None, field, rows.num_rows, split.file.name
        )
        for field in schema
        if field.name != POSITION
    ]
    marked = schema.with_metadata({SOURCE_KEY: split.file.name.encode(), SPLIT_KEY: str(split.id).encode()})
    batch = pa.RecordBatch.from_arrays([*columns, pa.array(positions, pa.int64())], schema=marked)
    return ReadBatch(batch=batch, rejected=rejected)

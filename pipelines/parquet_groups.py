"""Reads Parquet files by groups of row groups, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import InputError, PrivacyError, RunError
from ..schemas.record_columns import RESERVED_PREFIX
from .splits import FilePlan, InputFile, ReadBatch, Split, changed, check_unchanged, read_batch

__all__ = ["plan_parquet", "read_parquet"]

BATCH_ROWS = 65_536
PART_BYTES = 64 * 2**20
MIN_PART_BYTES = 2**20
PARTS = 16
"""A file is read in at least so many parts if it is not small."""

T = TypeVar("T")

FileSystems: Any = _FileSystems  # untyped in Beam


def plan_parquet(file: InputFile) -> FilePlan:
    """Returns the columns of a file, and the splits to read it in.

    Raises:
        InputError: It is no Parquet file, it is damaged or encrypted, or it cannot be read.
    """
    with _opened(file, InputError) as parquet:
        groups = [parquet.metadata.row_group(place) for place in range(parquet.metadata.num_row_groups)]
        sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        columns = parquet.schema_arrow.remove_metadata()
    return FilePlan(file=file, columns=columns, splits=tuple(_splits(file, columns, sizes)))


def _splits(file: InputFile, columns: pa.Schema, sizes: Sequence[tuple[int, int]]) -> Iterator[Split]:
    """Yields runs of row groups of about one size; ``sizes`` are rows and bytes of each group."""
    goal = max(min(sum(size for _, size in sizes) // PARTS, PART_BYTES), MIN_PART_BYTES)
    start, first, rows, size = 0, 1, 0, 0
    for place, (more_rows, more_bytes) in enumerate(sizes):
        rows, size = rows + more_rows, size + more_bytes
        if size >= goal or place == len(sizes) - 1:
            yield Split(
                file=file, start=start, end=place + 1, first=first, count=rows, weight=size, columns=columns
            )  # fmt: skip
            start, first, rows, size = place + 1, first + rows, 0, 0


def read_parquet(split: Split, schema: pa.Schema) -> Iterator[ReadBatch]:
    """Yields the rows of a split.

    Args:
        split: Some row groups.
        schema: Of the batches.

    Raises:
        RunError: The file cannot be read, is damaged inside, or is no longer what it was.
    """
    position = split.first
    with _opened(split.file, RunError) as parquet:
        if parquet.schema_arrow != split.columns:
            raise changed(split)
        # None, wherever all are wanted: a name with a dot could be taken for a path.
        kept = [name for name in split.columns.names if not name.startswith(RESERVED_PREFIX)]
        wanted = None if kept == split.columns.names else kept
        for rows in _batches(parquet, split, wanted):
            yield read_batch(split, schema, rows, np.arange(position, position + rows.num_rows))
            position += rows.num_rows
    check_unchanged(split, position)


def _batches(parquet: pq.ParquetFile, split: Split, wanted: list[str] | None) -> Iterator[pa.RecordBatch]:
    place = f"in row groups {split.start} to {(split.end or 0) - 1}"
    groups = range(split.start, min(split.end or 0, parquet.num_row_groups))
    batches = _asked(
        split.file, RunError, place, lambda: parquet.iter_batches(BATCH_ROWS, groups, wanted, use_threads=False)
    )
    while (rows := _asked(split.file, RunError, place, lambda: next(batches, None))) is not None:
        yield rows


@contextmanager
def _opened(file: InputFile, failure: type[PrivacyError]) -> Iterator[pq.ParquetFile]:
    source: Any = file.uri
    if "://" in file.uri:
        source = _asked(file, failure, "", lambda: FileSystems.open(file.uri, compression_type=_AS_IS))
    parquet = _asked(
        file, failure, "", lambda: pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
    )
    try:
        yield parquet
    finally:
        parquet.close(force=True)


_AS_IS = CompressionTypes.UNCOMPRESSED


def _asked(file: InputFile, failure: type[PrivacyError], place: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - Arrow and each store have their own errors, and some quote values
        name = type(error).__name__
    raise failure(
        f"{file.name}: cannot be read as Parquet{place and ' ' + place} ({name}); "
        "it may be damaged, cut off or encrypted: get a sound copy"
    )

"""Reads CSV and TSV with a header: every column is text, exactly as spelled.

Types are never inferred: 00123 would become 123. An empty field is null, a quoted empty one is empty text. Records
that are broken, are no UTF-8 or have another number of fields than the header are rejected, each with its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from ..schemas.errors import InputError, RunError
from .csv_records import RecordBlock, record_blocks
from .splits import FileFormat, FilePlan, InputFile, ReadBatch, RejectedLine, Split, check_unchanged, joined, read_batch
from .text_blocks import BOM, RANGE_BYTES, InputStream, is_utf8, open_stream

__all__ = ["CsvFault", "plan_csv", "read_csv"]

Longs = np.ndarray[Any, np.dtype[np.int64]]


class CsvFault(StrEnum):
    """Why a record cannot become a row."""

    WRONG_COUNT = "wrong_column_count"
    INVALID_UTF8 = "invalid_utf8"
    UNBALANCED_QUOTE = "unbalanced_quote"
    INVALID_CSV = "invalid_csv"
    TOO_LONG = "line_too_long"


def _delimiter(file: InputFile) -> bytes:
    return b"\t" if file.format is FileFormat.TSV else b","


def plan_csv(file: InputFile) -> FilePlan:
    """Returns the columns of a file by its header, and the splits to read it in.

    Where a record ends is known only to who has read all before it; so the records of a big file are found once here,
    which is much faster than parsing them, to let several workers parse it.

    Raises:
        InputError: The file cannot be read, or its header cannot be used.
    """
    with open_stream(file, InputError) as stream:
        start = len(BOM) if stream.read(len(BOM)) == BOM else 0
        header = _header(stream, start, _delimiter(file))
        if header is None:
            return FilePlan(file=file, columns=pa.schema([]), splits=())
        names, used, lines = header
        _check_names(file, names)
        columns = pa.schema([(name, pa.string()) for name in names])
        whole = Split(
            file=file, start=start + used, end=None, first=1 + lines, count=None, weight=file.size, columns=columns
        )
        big = not file.gzipped and file.size > 2 * RANGE_BYTES
        splits = tuple(_parts(stream, whole)) if big else (whole,)
    return FilePlan(file=file, columns=columns, splits=splits)


def _header(stream: InputStream, start: int, delimiter: bytes) -> tuple[list[str], int, int] | None:
    """Returns the names in the first record, the bytes up to its end, and the lines."""
    used = lines = 0
    for block in record_blocks(stream, start, None, delimiter=delimiter):
        if len(block.starts):
            raw = block.raw(0)
            return (
                _names(stream.file, raw, delimiter, broken=bool(block.broken[0])),
                used + int(block.stops[0]),
                lines + block.data.count(b"\n", 0, int(block.stops[0])),
            )
        used, lines = used + block.size, lines + block.line_count
    return None


def _names(file: InputFile, raw: bytes, delimiter: bytes, *, broken: bool) -> list[str]:
    if not broken:
        try:
            text = raw.decode()
            return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter.decode(), strict=True))
        except (UnicodeDecodeError, csv.Error):
            pass
    raise InputError(f"{file.name}: its header cannot be read; give it a first line of column names in UTF-8")


def _check_names(file: InputFile, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for place, name in enumerate(names, 1):
        if name in seen:
            raise InputError(f"{file.name}: column {place} has the name of another; give each a name of its own")
        seen.add(name)


def _parts(stream: InputStream, whole: Split) -> Iterator[Split]:
    start, first, size, lines = whole.start, whole.first, 0, 0
    for block in record_blocks(stream, start, None, delimiter=_delimiter(whole.file)):
        size, lines = size + block.size, lines + block.line_count
        if size >= RANGE_BYTES:
            yield replace(whole, start=start, end=start + size, first=first, count=lines, weight=size)
            start, first, size, lines = start + size, first + lines, 0, 0
    if size:
        yield replace(whole, start=start, end=start + size, first=first, count=lines, weight=size)


def read_csv(split: Split, schema: pa.Schema) -> Iterator[ReadBatch]:
    """Yields the rows and the rejected records of a split, a block at a time.

    Args:
        split: Its ``columns`` are those of the header.
        schema: Of the batches.

    Raises:
        RunError: The file cannot be read, or is no longer what it was.
    """
    delimiter = _delimiter(split.file)
    line = split.first
    with open_stream(split.file, RunError) as stream:
        for block in record_blocks(stream, split.start, split.end, delimiter=delimiter):
            reader = _BlockReader(block, split.columns, delimiter, line)
            yield read_batch(split, schema, *reader.read())
            line += block.line_count
    check_unchanged(split, line)


@dataclass(slots=True)
class _BlockReader:
    """Makes rows of one block."""

    block: RecordBlock
    columns: pa.Schema
    delimiter: bytes
    first: int
    batches: list[pa.RecordBatch] = field(default_factory=list)
    places: list[Longs] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)

    def read(self) -> tuple[pa.RecordBatch, Longs, list[RejectedLine]]:
        """Returns rows, their positions, and the rejected records."""
        spans = self._runs(self._sound())[::-1]
        while spans:
            places = spans.pop()
            if not len(places) or self._parse(places):
                continue
            if len(places) == 1:
                self._reject(int(places[0]), CsvFault.INVALID_CSV)
                continue
            middle = len(places) // 2
            spans += [places[middle:], places[:middle]]
        rows = joined(self.batches, self.columns)
        places = np.concatenate([np.empty(0, np.int64), *self.places])
        return rows, self.first + self.block.lines[places], sorted(self.rejected, key=lambda line: line.position)

    def _runs(self, places: Longs) -> list[Longs]:
        """Returns records in runs that Arrow may be given together.

        To Arrow a lone carriage return ends a row. With others around it, it may make as many rows as there are
        records and still other ones, so a record with one is parsed by itself.
        """
        octets = np.frombuffer(self.block.data, np.uint8)
        returns = np.flatnonzero(octets == ord("\r"))
        lone = returns[octets[np.minimum(returns + 1, len(octets) - 1)] != ord("\n")]
        if not len(lone):
            return [places]
        owners = np.searchsorted(self.block.stops, lone, side="right")
        alone = np.flatnonzero(np.isin(places, owners))
        return np.split(places, np.unique(np.concatenate([alone, alone + 1])))

    def _sound(self) -> Longs:
        """Rejects broken records and returns the places of the others."""
        block = self.block
        for place in np.flatnonzero(block.broken).tolist():
            self._reject(place, CsvFault.TOO_LONG if block.cut else CsvFault.UNBALANCED_QUOTE)
        sound = ~block.broken
        if not is_utf8(block.data):
            for place in np.flatnonzero(sound).tolist():
                if not is_utf8(block.raw(place)):
                    self._reject(place, CsvFault.INVALID_UTF8)
                    sound[place] = False
        return np.flatnonzero(sound)

    def _reject(self, place: int, fault: CsvFault) -> None:
        position = self.first + int(self.block.lines[place])
        self.rejected.append(RejectedLine(position=position, reason=fault.value, raw=self.block.raw(place)))

    def _parse(self, places: Longs) -> bool:
        """Keeps the rows of some records, unless Arrow makes more or fewer of them than there are records."""
        wrong: list[int] = []

        def skip(row: pc.InvalidRow) -> str:
            wrong.append(row.number - 1)
            return "skip"

        data = self._bytes_of(places)
        names = self.columns.names
        try:
            table = pc.read_csv(
                pa.BufferReader(data),
                pc.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                pc.ParseOptions(
                    delimiter=self.delimiter.decode(), newlines_in_values=True, invalid_row_handler=skip
                ),
                pc.ConvertOptions(
                    column_types=self.columns, null_values=[""], strings_can_be_null=True,
                    quoted_strings_can_be_null=False, check_utf8=False,
                ),
            )  # fmt: skip
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return False
        if table.num_rows + len(wrong) != len(places):
            return False
        for place in places[wrong]:
            self._reject(int(place), CsvFault.WRONG_COUNT)
        self.batches += table.combine_chunks().to_batches()
        self.places.append(np.delete(places, wrong))
        return True

    def _bytes_of(self, places: Longs) -> pa.Buffer:
        block = self.block
        first, last = places[0], places[-1]
        if last - first + 1 == len(places):
            return pa.py_buffer(memoryview(block.data)[block.starts[first] : block.stops[last]])
        bounds = zip(block.starts[places].tolist(), block.stops[places].tolist(), strict=True)
        return pa.py_buffer(b"".join([block.data[start:stop] for start, stop in bounds]))

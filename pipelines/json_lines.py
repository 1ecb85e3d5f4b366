"""Reads JSON Lines: one object on each line, parsed in blocks where all is well and line by line where it is not.

``plan_json`` goes over all records first, so that a field that appears late, or a type that most records contradict,
is known before the first row leaves. Both passes give a block to ``json_blocks``; lines that do not pass there are left
to ``json_records``, whose word counts. So a good row of a bad block is kept, and both ways give equal values.

The type that most values of a path have decides about its column. A column of text takes whole numbers as they are
spelled, for nothing is lost; every other value of another type has its line rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.errors import InputError, RunError
from .json_blocks import parsed_parts
from .json_records import JsonFault, load_record, record_fitter
from .json_types import MAX_PATHS, JsonTypes
from .line_tables import LineTable, Longs, count_lines, lines_of
from .splits import FilePlan, InputFile, ReadBatch, RejectedLine, Split, check_unchanged, joined, read_batch
from .text_blocks import BOM, RANGE_BYTES, InputStream, TextBlock, chunks, line_blocks, line_ranges, open_stream

__all__ = ["LineParser", "in_order", "plan_json", "read_json"]

PEEK_BYTES = 2**16
"""Of the beginning of a file, to see whether it is one document."""

LINES_OF_RANGE = 2**40
"""More lines than any part of a file has, to number the lines of all parts in their order."""


def plan_json(files: Sequence[InputFile], pool: Executor) -> list[FilePlan]:
    """Returns the plans of files whose records have one type for each path.

    Args:
        files: Of JSON Lines.
        pool: Threads; Arrow's parser lets them run side by side.

    Raises:
        InputError: A file cannot be read, is one array or object, or has too many different fields.
    """
    ranges = [each for found in pool.map(_ranges, files) for each in found]
    types = JsonTypes()
    surveys = []
    for (file, _, _), survey in zip(ranges, pool.map(_survey, ranges, range(len(ranges))), strict=True):
        types.merge(survey.types)
        _check_paths(types, file)
        surveys.append(survey)
    columns = types.arrow_schema()
    splits: dict[str, list[Split]] = {file.uri: [] for file in files}
    for (file, start, end), survey in zip(ranges, surveys, strict=True):
        before = splits[file.uri]
        first = before[-1].first + (before[-1].count or 0) if before else 1
        before.append(
            Split(file=file, start=start, end=end, first=first, count=survey.lines, weight=survey.size, columns=columns)
        )
    return [FilePlan(file=file, columns=columns, splits=tuple(splits[file.uri])) for file in files]


def _ranges(file: InputFile) -> list[tuple[InputFile, int, int | None]]:
    with open_stream(file, InputError) as stream:
        if file.uri.lower().removesuffix(".gz").endswith(".json"):
            _check_lines(stream)
        found = line_ranges(stream, None if file.gzipped else file.size, RANGE_BYTES)
    return [(file, start, end) for start, end in found]


def _check_lines(stream: InputStream) -> None:
    """Refuses a file that is one array or one object over several lines, as those called ``.json`` may be.

    An array alone on the first line may be a stray record, if there are other lines.
    """
    text = b"".join(chunks(stream, 0, PEEK_BYTES)).removeprefix(BOM).strip()
    first, _, rest = text.partition(b"\n")
    if first.startswith(b"[") and not (rest and load_record(first.strip()) is JsonFault.NOT_AN_OBJECT):
        holds, how = "an array", "jq -c '.[]'"
    elif first.strip() == b"{" and rest:
        holds, how = "an object over several lines", "jq -c ."
    else:
        return
    raise InputError(
        f"{stream.file.name}: holds {holds}, and not JSON Lines; write one object on each line, for instance with {how}"
    )


def _check_paths(types: JsonTypes, file: InputFile) -> None:
    if types.paths() > MAX_PATHS:
        raise InputError(
            f"{file.name}: its records have more than {MAX_PATHS} different fields, so data seem to stand in the keys; "
            "write them as values, in lists of objects"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """What the records of a part of a file are, and how many lines and unpacked bytes it has."""

    types: JsonTypes
    lines: int
    size: int


def _survey(part: tuple[InputFile, int, int | None], number: int) -> _Survey:
    file, start, end = part
    types, lines, size = JsonTypes(), 0, 0
    with open_stream(file, InputError) as stream:
        for block in line_blocks(stream, start, end):
            if not block.cut:
                _survey_lines(types, lines_of(block.data, number * LINES_OF_RANGE + lines), file)
            lines += 1 if block.cut else count_lines(block.data)
            size += block.size
    return _Survey(types=types, lines=lines, size=size)


def _survey_lines(types: JsonTypes, lines: LineTable, file: InputFile) -> None:
    for part in parsed_parts(lines, _Columns(types).so_far):
        if part.rows is not None:
            quoted = {name: np.isin(part.places, places) for name, places in part.quoted.items()}
            types.add_rows(part.rows, lines.numbers[part.places], quoted)
            continue
        for place in part.places:
            record = load_record(lines.raw(place))
            if not isinstance(record, JsonFault):
                types.add(record, int(lines.numbers[place]))
        _check_paths(types, file)


class _Columns:
    """The columns that the records have so far, built anew only where a path gets a kind of value that is new to it.

    They need not be the newest, for what contradicts them is looked at line by line.
    """

    def __init__(self, types: JsonTypes) -> None:
        self._types = types
        self._variety = types.variety()
        self._schema = types.arrow_schema()

    def so_far(self) -> pa.Schema:
        variety = self._types.variety()
        if variety != self._variety:
            self._variety, self._schema = variety, self._types.arrow_schema()
        return self._schema


def read_json(split: Split, schema: pa.Schema) -> Iterator[ReadBatch]:
    """Yields the rows and the rejected lines of a split, a block at a time.

    Args:
        split: Its ``columns`` are the types that the survey settled on.
        schema: Of the batches.

    Raises:
        RunError: The file cannot be read, or is no longer what it was.
    """
    parser = _Parser(split.columns)
    line = split.first
    with open_stream(split.file, RunError) as stream:
        for block in line_blocks(stream, split.start, split.end):
            rows, positions, rejected = parser.read(block, line)
            yield read_batch(split, schema, rows, positions, rejected)
            line += 1 if block.cut else count_lines(block.data)
    check_unchanged(split, line)


class _Parser:
    """Makes rows of blocks, all of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parser = LineParser(schema)

    def read(self, block: TextBlock, first: int) -> tuple[pa.RecordBatch, Longs, list[RejectedLine]]:
        """Returns rows, their positions, and the rejected lines."""
        if block.cut:
            rejected = [RejectedLine(position=first, reason=JsonFault.TOO_LONG.value, raw=block.data)]
            return self._parser.rows([]), np.empty(0, np.int64), rejected
        lines = lines_of(block.data, first)
        batches, places, alone = self._parser.together(lines)
        records, positions, rejected = self._one_by_one(lines, alone)
        rows = joined([*batches, self._parser.rows(records)], self._schema)
        return *in_order(rows, np.concatenate([lines.numbers[places], positions])), rejected

    def _one_by_one(self, lines: LineTable, places: Longs) -> tuple[list[dict[str, Any]], Longs, list[RejectedLine]]:
        records, positions, rejected = [], [], []
        for place in places:
            raw, number = lines.raw(place), int(lines.numbers[place])
            record = load_record(raw)
            if isinstance(record, JsonFault):
                rejected.append(RejectedLine(position=number, reason=record.value, raw=raw))
                continue
            fitted = self._parser.fitted(record)
            if isinstance(fitted, JsonFault):
                rejected.append(RejectedLine(position=number, reason=fitted.value, raw=raw, parsed=record))
            else:
                records.append(fitted)
                positions.append(number)
        return records, np.array(positions, np.int64), rejected


class LineParser:
    """Makes rows of lines, all of one schema.

    Attributes:
        fitted: Gives a record as ``rows`` takes it, or tells why it cannot; see ``record_fitter``.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._struct = pa.struct(list(schema))
        self.fitted = record_fitter(schema)

    def together(self, lines: LineTable) -> tuple[list[pa.RecordBatch], Longs, Longs]:
        """Returns the rows of lines that could be parsed together, their places, and those that need a look alone."""
        batches: list[pa.RecordBatch] = []
        places: list[Longs] = [np.empty(0, np.int64)]
        alone = [np.flatnonzero(~lines.sound)]
        for part in parsed_parts(lines, lambda: self._schema):
            if part.rows is None:
                alone.append(part.places)
            else:
                batches.append(part.rows)
                places.append(part.places)
        return batches, np.concatenate(places), np.sort(np.concatenate(alone))

    def rows(self, records: list[dict[str, Any]]) -> pa.RecordBatch:
        """Returns the rows of fitted records."""
        return pa.RecordBatch.from_struct_array(pa.array(records, self._struct))


def in_order(rows: pa.RecordBatch, positions: Longs) -> tuple[pa.RecordBatch, Longs]:
    """Returns rows by ascending position, and the positions."""
    if (positions[1:] > positions[:-1]).all():
        return rows, positions
    order = np.argsort(positions)
    return rows.take(pa.array(order)), positions[order]

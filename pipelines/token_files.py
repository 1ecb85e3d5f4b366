"""Files with a column of tokens: read a portion at a time, and written again with values in their places.

Parquet, CSV and JSON Lines. All else of a row stays as it is; behind the last column comes the rule that decided about
its token. The column's marks are taken off: it holds tokens no more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.dataset import EACH, FieldPath
from ..schemas.errors import ConfigError, InputError
from ..transforms.crypto.subject_references import canonical_subjects
from ..transforms.leaf_columns import MARKS, marks_of
from ..transforms.nested_columns import close_struct, column_at, open_struct

__all__ = ["Portion", "TokenFile", "open_token_file"]

ROWS = 16_384
GROUP = 8
"""Portions that make a row group."""
LONGEST_FIELD = 64 * 2**20
SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Some rows.

    Attributes:
        tokens: Of each row; None where it has none.
        subjects: Id of the customer of each row, blank where it has none; None where no column names customers.
        rows: As the file's format has them.
    """

    tokens: list[str | None]
    subjects: list[str] | None
    rows: Any = field(repr=False)

    def __repr__(self) -> str:
        return f"<Portion: {len(self.tokens)} rows; tokens hidden>"


class TokenFile(Protocol):
    """A file with a column of tokens."""

    marks: Mapping[str, str]
    """What ``protect`` noted about the column, names without ``consentry.``; empty where the format has no room."""

    def portions(self) -> Iterator[Portion]:
        """Yields all rows, some at a time."""
        ...

    def writer(self, out: BinaryIO) -> _Writer:
        """Returns what writes rows of this file to another one."""
        ...


class _Writer(Protocol):
    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        """Writes a portion with the value of each row, and the rule that decided; None where it has no token."""
        ...

    def close(self) -> None:
        """Completes the file, which stays open."""
        ...


def open_token_file(path: Path, column: str, subject_column: str | None) -> TokenFile:
    """Returns a file, with its columns looked up.

    Args:
        path: ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``.
        column: Name of a column, or path into structs.
        subject_column: The same, of the column with the customers' ids; None: there is none.

    Raises:
        InputError: The file cannot be read.
        ConfigError: It has no such column, or one that cannot hold tokens or ids.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return _ParquetTokens(path, column, subject_column)
        if kind in SEPARATORS:
            return _CsvTokens(path, column, subject_column, SEPARATORS[kind])
        if kind in JSON_LINES:
            return _JsonTokens(path, column, subject_column)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    raise ConfigError(f"--from {path}: of an unknown kind; name a .parquet, .csv, .tsv or .jsonl file")


class _ParquetTokens:
    def __init__(self, path: Path, column: str, subject_column: str | None) -> None:
        self._path = path
        self._file = pq.ParquetFile(path)
        self._schema = self._file.schema_arrow
        self._column, found = _field_at(self._schema, column, "--column")
        if not _is_text(found.type):
            raise ConfigError(f"--column {column}: is of type {found.type}; tokens are texts")
        self.marks: Mapping[str, str] = marks_of(found)
        self._subjects = None
        if subject_column is not None:
            self._subjects, subject = _field_at(self._schema, subject_column, "--subject-column")
            if "action" in marks_of(subject):
                raise ConfigError(f"--subject-column {subject_column}: was protected; name one with the customers' ids")
            canonical_subjects(pa.nulls(0, subject.type))
        self._rule = _new_name(column, self._schema.names)

    def portions(self) -> Iterator[Portion]:
        try:
            for batch in self._file.iter_batches(batch_size=ROWS):
                yield self._portion(batch)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise _unreadable(self._path, error) from None

    def writer(self, out: BinaryIO) -> _Writer:
        return _ParquetWriter(out, self._column, self._rule, pa.RecordBatch.from_pylist([], schema=self._schema))

    def _portion(self, batch: pa.RecordBatch) -> Portion:
        tokens, subjects = column_at(batch, self._column), None
        assert tokens is not None, "the schema has the column"
        if self._subjects is not None:
            ids = column_at(batch, self._subjects)
            assert ids is not None, "the schema has the column"
            subjects = [each or "" for each in canonical_subjects(ids).to_pylist()]
        return Portion(tokens=tokens.to_pylist(), subjects=subjects, rows=batch)


class _ParquetWriter:
    def __init__(self, out: BinaryIO, column: FieldPath, rule: str, nothing: pa.RecordBatch) -> None:
        self._out = out
        self._column = column
        self._rule = rule
        self._nothing = nothing
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        batch: pa.RecordBatch = portion.rows
        place = batch.schema.get_field_index(self._column.steps[0] or "")
        field, column = _replaced(
            batch.schema.field(place), batch.column(place), self._column.steps[1:], pa.array(values, pa.string())
        )
        fields, columns = [*batch.schema], [*batch.columns]
        fields[place], columns[place] = field, column
        schema = pa.schema([*fields, pa.field(self._rule, pa.string())], batch.schema.metadata)
        self._waiting.append(pa.RecordBatch.from_arrays([*columns, pa.array(rules, pa.string())], schema=schema))
        if len(self._waiting) == GROUP:
            self._flush()

    def close(self) -> None:
        if self._writer is None and not self._waiting:
            self.write(Portion(tokens=[], subjects=None, rows=self._nothing), [], [])
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._writer = self._writer or pq.ParquetWriter(self._out, table.schema, compression="zstd")
            self._writer.write_table(table, row_group_size=ROWS * GROUP)
            self._waiting.clear()


class _CsvTokens:
    def __init__(self, path: Path, column: str, subject_column: str | None, separator: str) -> None:
        self._path = path
        self._separator = separator
        self.marks: Mapping[str, str] = {}
        with self._opened() as file:
            self._header = next(self._rows(file), [])
        self._column = _place(self._header, column, "--column")
        self._subjects = None if subject_column is None else _place(self._header, subject_column, "--subject-column")
        self._rule = _new_name(column, self._header)

    def portions(self) -> Iterator[Portion]:
        with self._opened() as file:
            rows = self._rows(file)
            next(rows, None)
            while some := list(islice(rows, ROWS)):
                yield Portion(
                    tokens=[row[self._column] or None for row in some],
                    subjects=None if self._subjects is None else [row[self._subjects] for row in some],
                    rows=some,
                )

    def writer(self, out: BinaryIO) -> _Writer:
        return _CsvWriter(out, [*self._header, self._rule], self._column, self._separator)

    def _opened(self) -> io.TextIOWrapper:
        return self._path.open(encoding="utf-8-sig", newline="")

    def _rows(self, file: io.TextIOWrapper) -> Iterator[list[str]]:
        csv.field_size_limit(LONGEST_FIELD)
        reader, width = csv.reader(file, delimiter=self._separator, strict=True), 0
        try:
            for row in reader:
                width = width or len(row)
                if row and len(row) != width:
                    raise InputError(
                        f"{self._path}:{reader.line_num}: has {len(row)} fields, not {width}; repair the line"
                    )
                if row:
                    yield row
        except csv.Error:
            raise InputError(f"{self._path}:{reader.line_num}: is no CSV; repair the line") from None
        except UnicodeDecodeError:
            raise InputError(f"{self._path}: is not UTF-8; convert it") from None


class _CsvWriter:
    def __init__(self, out: BinaryIO, header: Sequence[str], column: int, separator: str) -> None:
        self._column = column
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        self._writer = csv.writer(self._text, delimiter=separator, lineterminator="\n")
        self._writer.writerow(header)

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        for row, value, rule in zip(portion.rows, values, rules, strict=True):
            row[self._column] = value
            row.append(rule)
        self._writer.writerows(portion.rows)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class _JsonTokens:
    def __init__(self, path: Path, column: str, subject_column: str | None) -> None:
        self._path = path
        self.marks: Mapping[str, str] = {}
        self._column = _path_of(column, "--column")
        self._subjects = None if subject_column is None else _path_of(subject_column, "--subject-column")
        self._rule = _new_name(column, ())
        with path.open("rb"):
            pass

    def portions(self) -> Iterator[Portion]:
        with self._path.open("rb") as file:
            lines = (self._record(number, line) for number, line in enumerate(file, 1) if line.strip())
            while some := list(islice(lines, ROWS)):
                subjects = self._subjects
                yield Portion(
                    tokens=[self._text(*each, self._column, "--column") for each in some],
                    subjects=None
                    if subjects is None
                    else [self._text(*each, subjects, "--subject-column") or "" for each in some],
                    rows=[record for _, record in some],
                )

    def writer(self, out: BinaryIO) -> _Writer:
        return _JsonWriter(out, self._column, self._rule)

    def _record(self, number: int, line: bytes) -> tuple[int, dict[str, Any]]:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{self._path}:{number}: is no JSON object in UTF-8; repair the line")
        if self._rule in record:
            raise ConfigError(f"{self._path}:{number}: has a field {self._rule!r} already; rename it")
        return number, record

    def _text(self, number: int, record: dict[str, Any], path: FieldPath, option: str) -> str | None:
        found: Any = record
        for step in path.steps:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and option == "--subject-column":
            return str(found)
        if found is not None and not isinstance(found, str):
            raise InputError(f"{self._path}:{number}: {option}: holds no text there; repair the line")
        return found


class _JsonWriter:
    def __init__(self, out: BinaryIO, column: FieldPath, rule: str) -> None:
        self._out = out
        self._column = column
        self._rule = rule

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        lines = []
        for record, value, rule in zip(portion.rows, values, rules, strict=True):
            if rule is not None:
                parent = record
                for step in self._column.steps[:-1]:
                    parent = parent[step]
                parent[self._column.steps[-1]] = value
            record[self._rule] = rule
            lines.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        self._out.write(b"".join(lines))

    def close(self) -> None:
        pass


def _field_at(schema: pa.Schema, name: str, option: str) -> tuple[FieldPath, pa.Field]:
    """Returns the path of a column, and its field; what is a column's whole name is no path."""
    path = FieldPath((name,)) if name in schema.names else _path_of(name, option)
    found: Any = schema
    for step in path.steps:
        is_open = isinstance(found, pa.Schema) or pa.types.is_struct(found.type)
        place = (found if isinstance(found, pa.Schema) else found.type).get_field_index(step) if is_open else -1
        if place < 0:
            raise ConfigError(f"{option} {name}: there is no such column, or more than one; name one of the file")
        found = (found if isinstance(found, pa.Schema) else found.type).field(place)
    return path, found


def _path_of(name: str, option: str) -> FieldPath:
    try:
        path = FieldPath.parse(name)
    except ValueError as error:
        raise ConfigError(f"{option} {name}: {error}") from None
    if EACH in path.steps:
        raise ConfigError(f"{option} {name}: is in a list; only columns with one value a row can be asked for")
    return path


def _place(header: Sequence[str], name: str, option: str) -> int:
    if header.count(name) != 1:
        raise ConfigError(f"{option} {name}: there is no such column, or more than one; name one of the header")
    return header.index(name)


def _new_name(column: str, names: Sequence[str]) -> str:
    name = f"{column}_rule"
    if name in names:
        raise ConfigError(f"--from: has a column {name!r} already, which is to say why a row was refused; rename it")
    return name


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _replaced(
    field: pa.Field, column: pa.Array, steps: Sequence[str | None], values: pa.Array
) -> tuple[pa.Field, pa.Array]:
    """Returns a field and its column with other values at a path below it, and without marks there."""
    if not steps:
        kept = {name: value for name, value in (field.metadata or {}).items() if not name.startswith(MARKS.encode())}
        return pa.field(field.name, pa.string(), metadata=kept or None), values
    place = column.type.get_field_index(steps[0])
    fields, children = list(column.type), open_struct(column)
    fields[place], children[place] = _replaced(fields[place], children[place], steps[1:], values)
    return field.with_type(pa.struct(fields)), close_struct(fields, children, column)


def _unreadable(path: Path, error: Exception) -> InputError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return InputError(f"--from {path}: cannot be read ({why}); name a sound file")

"""Parquet files with a column of tokens, at the top or in structs. The column's marks are taken off with its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.dataset import FieldPath
from ..schemas.errors import ConfigError
from ..transforms.crypto.subject_references import canonical_subjects
from ..transforms.leaf_columns import MARKS, marks_of
from ..transforms.nested_columns import close_struct, column_at, open_struct
from .token_portions import ROWS, Portion, PortionWriter, new_name, path_of, unreadable

__all__ = ["ParquetTokens"]

GROUP = 8
"""Portions that make a row group."""


class ParquetTokens:
    """A ``TokenFile`` of Parquet."""

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
        self._rule = new_name(column, self._schema.names)

    def portions(self) -> Iterator[Portion]:
        """Yields all rows, some at a time."""
        try:
            for batch in self._file.iter_batches(batch_size=ROWS):
                yield self._portion(batch)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise unreadable(self._path, error) from None

    def writer(self, out: BinaryIO) -> PortionWriter:
        """Returns what writes rows of this file to another one."""
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


def _field_at(schema: pa.Schema, name: str, option: str) -> tuple[FieldPath, pa.Field]:
    """Returns the path of a column, and its field; what is a column's whole name is no path."""
    path = FieldPath((name,)) if name in schema.names else path_of(name, option)
    found: Any = schema
    for step in path.steps:
        is_open = isinstance(found, pa.Schema) or pa.types.is_struct(found.type)
        place = (found if isinstance(found, pa.Schema) else found.type).get_field_index(step) if is_open else -1
        if place < 0:
            raise ConfigError(f"{option} {name}: there is no such column, or more than one; name one of the file")
        found = (found if isinstance(found, pa.Schema) else found.type).field(place)
    return path, found


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

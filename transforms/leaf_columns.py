"""The leaves of nested batches: every column of single values, with its path, its marks and the rows it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.dataset import EACH, FieldPath
from .nested_columns import is_list, open_list, open_struct

__all__ = ["MARKS", "Leaf", "leaves", "marks_of"]

MARKS = "consentry."
"""What the names of our field metadata begin with."""

Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A column of single values.

    Attributes:
        path: Where it is; the entries of a map are ``key`` and ``value`` of its elements.
        marks: Metadata of its field, or of the nearest above that has any, names without ``consentry.``.
        values: Without dictionary, extension type or run-end encoding. Nulls where a parent is null.
        rows: For each value its row in the batch; None: value and row are the same.
    """

    path: FieldPath
    marks: Mapping[str, str]
    values: pa.Array
    rows: Rows | None

    def row(self, place: int) -> int:
        """Returns the row that a value belongs to."""
        return place if self.rows is None else int(self.rows[place])


def marks_of(field: pa.Field) -> dict[str, str]:
    """Returns what ``protect`` noted in a field's metadata, names without ``consentry.``."""
    texts = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
    return {name.removeprefix(MARKS): value for name, value in texts.items() if name.startswith(MARKS)}


def leaves(batch: pa.RecordBatch) -> Iterator[Leaf]:
    """Yields the leaves of a batch, in order of its columns."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        yield from _leaves(field, column, FieldPath((field.name,)), {}, None)


def _leaves(
    field: pa.Field, column: pa.Array, path: FieldPath, marks: Mapping[str, str], rows: Rows | None
) -> Iterator[Leaf]:
    marks = marks_of(field) or marks
    column = _decoded(column)
    kind = column.type
    if pa.types.is_struct(kind):
        for child, values in zip(kind, open_struct(column), strict=True):
            yield from _leaves(child, values, path.child(child.name), marks, rows)
    elif pa.types.is_map(kind):
        entries = pa.struct([kind.key_field, kind.item_field.with_name("value")])
        inner = pa.field("entries", entries)
        yield from _leaves(pa.field(field.name, pa.list_(inner)), column.cast(pa.list_(inner)), path, marks, rows)
    elif is_list(kind):
        elements = open_list(column)
        owners = elements.owners(rows)
        yield from _leaves(kind.value_field, elements.values, path.child(EACH), marks, owners)
    else:
        yield Leaf(path=path, marks=marks, values=column, rows=rows)


def _decoded(column: pa.Array) -> pa.Array:
    """The column without extension type, run-end or dictionary encoding."""
    if isinstance(column, pa.ExtensionArray):
        return _decoded(column.storage)
    if pa.types.is_run_end_encoded(column.type):
        return _decoded(pc.run_end_decode(column))
    if pa.types.is_dictionary(column.type):
        return _decoded(column.dictionary).take(column.indices)
    return column

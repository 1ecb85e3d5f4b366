"""Which columns of a stream are worth remembering: those that the dataset declares.

What it does not declare is learned anew by each process, so that data in the names of fields cannot pile up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from ...schemas.dataset import EACH, Dataset, FieldPath
from ...transforms.nested_columns import is_list

__all__ = ["declared_columns", "with_text_at"]


def declared_columns(columns: pa.Schema, dataset: Dataset) -> pa.Schema:
    """Returns the columns at declared paths, below them, and on the way to them."""
    paths = {*dataset.fields, dataset.subject, dataset.event_time}
    return pa.schema(list(_kept(columns, FieldPath(()), paths)))


def _kept(fields: pa.Schema | pa.StructType, place: FieldPath, paths: Collection[FieldPath]) -> Iterator[pa.Field]:
    for field in fields:
        path = place.child(field.name)
        kind = _kept_type(field.type, path, paths)
        if kind is not None:
            yield pa.field(field.name, kind)


def _kept_type(kind: pa.DataType, path: FieldPath, paths: Collection[FieldPath]) -> pa.DataType | None:
    """Returns what is kept of a type at a path, None where that is nothing."""
    if path in paths:
        return kind
    below = [each for each in paths if each.steps[: len(path.steps)] == path.steps]
    if not below:
        return None
    if pa.types.is_struct(kind):
        return pa.struct(list(_kept(kind, path, below)))
    if is_list(kind):
        element = _kept_type(kind.value_type, path.child(EACH), below)
        return None if element is None else pa.list_(element)
    return kind


def with_text_at(columns: pa.Schema, *paths: FieldPath) -> pa.Schema:
    """Returns the columns with text at some paths where nothing is known yet, so that no first record settles that.

    >>> with_text_at(pa.schema([("id", pa.int64())]), FieldPath.parse("id"), FieldPath.parse("customer.id"))
    id: int64
    customer: struct<id: string>
      child 0, id: string
    """
    for path in paths:
        if EACH not in path.steps:
            columns = pa.schema(list(_with_text(columns, [str(step) for step in path.steps])))
    return columns


def _with_text(fields: pa.Schema | pa.StructType, steps: Sequence[str]) -> Iterator[pa.Field]:
    first, rest = steps[0], steps[1:]
    known = {field.name: field for field in fields}
    for field in fields:
        if field.name == first and rest and pa.types.is_struct(field.type):
            yield pa.field(first, pa.struct(list(_with_text(field.type, rest))))
        else:
            yield field
    if first not in known:
        yield pa.field(first, pa.struct(list(_with_text(pa.struct([]), rest))) if rest else pa.string())

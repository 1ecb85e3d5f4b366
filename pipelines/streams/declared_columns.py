"""Which columns of a stream are worth remembering: those that the dataset declares.

What it does not declare is learned anew by each process, so that data in the names of fields cannot pile up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from ...schemas.dataset import EACH, Dataset, FieldPath
from ...transforms.nested_columns import is_list

__all__ = ["declared_columns"]


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

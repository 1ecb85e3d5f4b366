"""Which columns of a stream are worth remembering: those that the dataset declares.

What it does not declare is learned anew by each process, so that data in the names of fields cannot pile up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from ...schemas.dataset import EACH, Dataset, FieldPath, Step
from ...schemas.info_types import MaskRule, ScanRule, TokenizeRule
from ...schemas.policy import Policy
from ...transforms.nested_columns import is_list

__all__ = ["declared_columns", "text_paths", "with_text_at"]


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


def text_paths(policy: Policy, dataset: Dataset) -> tuple[FieldPath, ...]:
    """Returns the paths that hold text in a stream of JSON whatever comes first.

    Those are subject and event time, and what is tokenized, masked or searched: a token is one of digits and letters as
    they are written, and a single ``1.5`` must not make decimals, with other tokens, of all whole numbers behind it.
    """
    rules = {path: policy.info_types.get(name) for path, name in dataset.fields.items()}
    treated = (path for path, rule in rules.items() if isinstance(rule, TokenizeRule | MaskRule | ScanRule))
    return tuple(dict.fromkeys((dataset.subject, dataset.event_time, *treated)))


def with_text_at(columns: pa.Schema, *paths: FieldPath) -> pa.Schema:
    """Returns the columns with text at some paths where nothing is known yet.

    >>> with_text_at(pa.schema([("id", pa.int64())]), FieldPath.parse("id"), FieldPath.parse("items[].note"))
    id: int64
    items: list<item: struct<note: string>>
      child 0, item: struct<note: string>
          child 0, note: string
    """
    for path in paths:
        columns = pa.schema(list(_with_text(columns, path.steps)))
    return columns


def _with_text(fields: pa.Schema | pa.StructType, steps: Sequence[Step]) -> Iterator[pa.Field]:
    """Yields fields with text at a path that begins with one of their names."""
    first, known = steps[0], False
    for field in fields:
        known |= field.name == first
        yield pa.field(field.name, _text_in(field.type, steps[1:])) if field.name == first else field
    if not known:
        yield pa.field(str(first), _text_in(pa.null(), steps[1:]))


def _text_in(kind: pa.DataType, steps: Sequence[Step]) -> pa.DataType:
    """Returns a type with text at a path in it; a type of another shape stays as it is."""
    unknown = pa.types.is_null(kind)
    if not steps:
        return pa.string() if unknown else kind
    if steps[0] is EACH and (unknown or is_list(kind)):
        return pa.list_(_text_in(pa.null() if unknown else kind.value_type, steps[1:]))
    if steps[0] is not EACH and (unknown or pa.types.is_struct(kind)):
        return pa.struct(list(_with_text(pa.struct([]) if unknown else kind, steps)))
    return kind

"""What columns a stream has so far, and how they grow.

A file is surveyed before it is read; a stream cannot be. So what is known about a path stays, and records that do not
fit add only what takes nothing away from it: new fields, a type where there was none, ``float64`` where there were
whole numbers.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ...schemas.record_columns import POSITION, SOURCE_KEY
from ..column_types import conform, joint_schema, joint_type
from ..line_tables import Longs

__all__ = ["cells_limit", "count_paths", "grown", "plain_columns", "stream_batch"]

CELLS = 2**22
"""A batch has so many values at most, those that are null included: a column costs memory in every row."""


def grown(known: pa.Schema, found: pa.Schema) -> pa.Schema:
    """Returns the known columns with what ``found`` adds to them; where they contradict each other, the known counts.

    Args:
        known: May have any types.
        found: The same. What ``joint_type`` can widen is widened.

    >>> grown(pa.schema([("id", pa.string())]), pa.schema([("id", pa.int64()), ("paid", pa.bool_())]))
    id: string
    paid: bool
    """
    return pa.schema(list(_grown_struct(pa.struct(list(known)), pa.struct(list(found)))))


def _grown(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    # Objects without keys tell no more than null, and batches have them as null.
    if _tells_nothing(known) and not pa.types.is_null(found):
        return found
    if _tells_nothing(found):
        return known
    if pa.types.is_struct(known) and pa.types.is_struct(found):
        return _grown_struct(known, found)
    if pa.types.is_list(known) and pa.types.is_list(found):
        return pa.list_(_grown(known.value_type, found.value_type))
    return joint_type(known, found) or known


def _tells_nothing(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or (pa.types.is_struct(kind) and not kind.num_fields))


def _grown_struct(known: pa.StructType, found: pa.StructType) -> pa.StructType:
    types = {field.name: field.type for field in known}
    for field in found:
        types[field.name] = _grown(types.get(field.name, pa.null()), field.type)
    return pa.struct(list(types.items()))


def count_paths(fields: pa.Schema | pa.StructType) -> int:
    """Returns how many paths there are to fields and elements.

    >>> count_paths(pa.schema([("items", pa.list_(pa.struct([("sku", pa.string())])))]))
    3
    """
    return sum(_paths(field.type) for field in fields)


def _paths(kind: pa.DataType) -> int:
    if pa.types.is_struct(kind):
        return 1 + count_paths(kind)
    if pa.types.is_map(kind):
        return 2 + _paths(kind.item_type)
    return 1 + (_paths(kind.value_type) if pa.types.is_list(kind) else 0)


def cells_limit(columns: pa.Schema) -> int:
    """Returns how many rows of these columns a batch may have."""
    return max(CELLS // (1 + count_paths(columns)), 1)


def plain_columns(columns: pa.Schema) -> pa.Schema:
    """Returns the columns as batches have them: without reserved ones and structs without fields, ``POSITION`` last."""
    return joint_schema([("", columns)])


def stream_batch(partition: str, schema: pa.Schema, rows: pa.RecordBatch, positions: Longs) -> pa.RecordBatch:
    """Returns rows of a partition as a batch.

    Args:
        partition: Told in the schema's metadata.
        schema: Of ``plain_columns``.
        rows: As parsed.
        positions: ``int64``, one for each row.
    """
    names = {name: place for place, name in enumerate(rows.schema.names)}
    columns = [
        conform(rows.column(names[field.name]), field, rows.num_rows, partition)
        for field in schema
        if field.name != POSITION
    ]
    marked = schema.with_metadata({SOURCE_KEY: partition.encode()})
    return pa.RecordBatch.from_arrays([*columns, pa.array(np.asarray(positions, np.int64))], schema=marked)

"""Which columns of a Parquet file are worth a dictionary, told from the first rows.

Building a dictionary of values that hardly repeat, as tokens do, takes about as long as all the rest of writing them,
and Parquet then gives it up. A dictionary is worth its time where values come again and again.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ..transforms.nested_columns import is_list, open_list, open_struct

__all__ = ["repeating_columns"]

SAMPLE = 16_384
REPEATS = 4
"""A dictionary column has each of its values so often in the sample, on average."""


def repeating_columns(batch: pa.RecordBatch) -> list[str]:
    """Returns the Parquet paths of the leaf columns whose values repeat, as ``ParquetWriter`` takes them.

    Args:
        batch: The first rows of the file, of any schema.
    """
    return [
        path
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        for path, leaf in _leaves(name, column[:SAMPLE])
        if _repeats(leaf)
    ]


def _leaves(path: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    if pa.types.is_struct(column.type):
        for child, values in zip(column.type, open_struct(column), strict=True):
            yield from _leaves(f"{path}.{child.name}", values)
    elif is_list(column.type):
        yield from _leaves(f"{path}.list.element", open_list(column).values)
    else:
        yield path, column


def _repeats(column: pa.Array) -> bool:
    kind = column.type
    if not (pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind)):
        return True
    values = len(column) - column.null_count
    distinct: int = pc.count_distinct(column).as_py()
    return bool(distinct * REPEATS <= max(values, REPEATS))

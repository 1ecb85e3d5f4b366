"""The day that a protected row belongs to, by which the files of a stream are laid out.

It is read from the event time *as it leaves*: where the policy makes it coarser, so is the layout, and where the
policy hides it, the layout tells nothing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.dataset import EACH, FieldPath
from ...transforms.consent_decision import event_times
from ...transforms.nested_columns import column_at

__all__ = ["UNKNOWN", "event_dates"]

UNKNOWN = "unknown"
_COARSER = r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$"


def event_dates(rows: pa.RecordBatch, event_time: FieldPath) -> pa.StringArray:
    """Returns for each row ``2026-03-01``, ``2026-03`` or ``2026`` in UTC, and ``unknown`` where nothing is told.

    Args:
        rows: Protected.
        event_time: Path of the event time in the dataset.

    >>> rows = pa.record_batch({"at": ["2026-03-01T00:30:00+01:00", "2026", None]})
    >>> event_dates(rows, FieldPath.parse("at")).to_pylist()
    ['2026-02-28', '2026', 'unknown']
    """
    column = None if EACH in event_time.steps else column_at(rows, event_time)
    if column is None:
        return pa.array([UNKNOWN] * rows.num_rows, pa.string())
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    told = pa.nulls(rows.num_rows, pa.string())
    if pa.types.is_integer(kind) or pa.types.is_date(kind):
        told = column.cast(kind).cast(pa.string())
    elif pa.types.is_timestamp(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        times, _ = event_times(column.cast(kind), rows.num_rows)
        told = pc.strftime(times, "%Y-%m-%d")
        if not pa.types.is_timestamp(kind):
            told = pc.coalesce(told, column.cast(pa.string()))
    coarse = pc.fill_null(pc.match_substring_regex(told, _COARSER), False)
    return pc.if_else(coarse, told, UNKNOWN)

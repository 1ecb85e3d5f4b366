"""Names of what travels with a record batch inside the pipeline beside the customer's own columns.

Reserved columns carry one value per row; facts of the whole batch ride in the schema's metadata. None of them
is ever written: protection removes the columns, the sink the metadata.
"""

from __future__ import annotations

__all__ = ["EVENT_TIME", "POSITION", "RESERVED_PREFIX", "SOURCE_KEY", "SPLIT_KEY", "SUBJECT", "permits_column"]

RESERVED_PREFIX = "__consentry_"

POSITION = RESERVED_PREFIX + "position"
"""``int64``: line or row number in the source, from 1; never null."""

SUBJECT = RESERVED_PREFIX + "subject"
"""``fixed_size_binary(16)``: keyed subject reference; null where the record names no subject."""

EVENT_TIME = RESERVED_PREFIX + "event_time"
"""``timestamp[us, UTC]``; null where the record has none."""

SOURCE_KEY = b"consentry.source"
"""Schema metadata: the file that the batch came from."""

SPLIT_KEY = b"consentry.split"
"""Schema metadata: id of the split that the batch belongs to, decimal text."""


def permits_column(purpose: str) -> str:
    """Returns the reserved ``bool`` column that tells whether ``purpose`` permits a row, at event time and now."""
    return f"{RESERVED_PREFIX}permits:{purpose}"

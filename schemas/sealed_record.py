"""Records that wait for consent: sealed under their subjects' keys, part by part, as a state or a shuffle holds them.

Nothing of a record stands in clear but where it came from, a keyed reference to whose it is, and two instants.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["CLASSES_KEY", "SEALED_RECORD_SCHEMA"]

CLASSES_KEY = b"consentry.classes"
"""Schema metadata: JSON list of lists of purposes; a part's place in ``parts`` is its class's place here."""

SEALED_RECORD_SCHEMA = pa.schema(
    [
        pa.field("partition", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("subject", pa.binary(16)),
        pa.field("event_time", pa.timestamp("us", "UTC")),
        pa.field("read_at", pa.int64(), nullable=False),
        pa.field("period", pa.string()),
        pa.field("rest", pa.binary(), nullable=False),
        pa.field("parts", pa.list_(pa.binary()), nullable=False),
    ]
)
"""Columns: place in the source; subject reference and event time, null where there is none; when it was read, in
microseconds UTC; the period whose key seals the rest, null where the subject's does; what asks for no permission, and
the fields of each class of permissions, each an envelope, null where the record has none."""

"""A consent entry in its stored form, over which the ledger's chain runs.

Layout, integers big endian: effective at (int64), recorded at (int64), decision (uint8: 0 withdrawn, 1 granted,
2 erased), length of the purpose (uint16), event id (16 bytes), subject reference (16 bytes), purpose (UTF-8, empty
for an erasure), sealed source, evidence and id of the subject (to the tag; empty where they have no key), tag
(16 bytes).

The tag is AES-CMAC (SP 800-38B) of the position (int64) ‖ all before the tag, under a key of the vault set: who can
write the store, but has no keys, cannot make or change an entry, nor put it elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..crypto.cmac_columns import ColumnCmac
from .consent_columns import ConsentColumns

__all__ = ["EVENT_ID_AT", "SUBJECT_AT", "TAG_BYTES", "ConsentEntry", "columns_of", "tags_of"]

TAG_BYTES = 16

_HEAD = struct.Struct(">qqBH16s16s")
EVENT_ID_AT, SUBJECT_AT = 19, 35
"""Where the two begin that a row is also found by."""

_COLUMNS = np.dtype([("effective_at", ">i8"), ("recorded_at", ">i8"), ("decision", "u1"), ("length", ">u2"),
                     ("event_id", "V16"), ("subject", ">u8", 2)])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEntry:
    """One entry, unpacked.

    Attributes:
        event_id: 16 bytes, keyed and the same for events that are one.
        subject: 16 bytes, keyed reference.
        purpose: Name; empty for an erasure.
        decision: ``WITHDRAWN``, ``GRANTED`` or ``ERASED``.
        effective_at: Microseconds UTC.
        recorded_at: Microseconds UTC.
        sealed: Envelope of a JSON list: source, evidence or null, subject id.
    """

    event_id: bytes
    subject: bytes
    purpose: str
    decision: int
    effective_at: int
    recorded_at: int
    sealed: bytes

    def body(self) -> bytes:
        """Returns the stored form up to the tag."""
        name = self.purpose.encode()
        head = _HEAD.pack(self.effective_at, self.recorded_at, self.decision, len(name), self.event_id, self.subject)
        return head + name + self.sealed

    @classmethod
    def parse(cls, packed: bytes) -> ConsentEntry:
        """Returns the entry of a stored form that the chain has vouched for."""
        effective_at, recorded_at, decision, length, event_id, subject = _HEAD.unpack_from(packed)
        return cls(
            event_id=event_id,
            subject=subject,
            purpose=packed[_HEAD.size : _HEAD.size + length].decode(),
            decision=decision,
            effective_at=effective_at,
            recorded_at=recorded_at,
            sealed=packed[_HEAD.size + length : -TAG_BYTES],
        )


def tags_of(bodies: Sequence[bytes], first: int, cmac: ColumnCmac) -> list[bytes]:
    """Returns the tags of entries.

    Args:
        bodies: Stored forms up to the tag.
        first: Position of the first of them.
        cmac: Of the ledger's key.
    """
    placed = [place.to_bytes(8, "big") + body for place, body in enumerate(bodies, first)]
    digests = cmac.digest(pa.array(placed, pa.binary())).tobytes()
    return [digests[start : start + TAG_BYTES] for start in range(0, len(digests), TAG_BYTES)]


def columns_of(packed: Sequence[bytes], names: dict[bytes, int]) -> ConsentColumns:
    """Returns stored forms as columns.

    Args:
        packed: As the chain has vouched for them.
        names: Codes of the purposes met so far; new ones are added.
    """
    size = _HEAD.size
    heads = np.frombuffer(b"".join([entry[:size] for entry in packed]), _COLUMNS)
    ends = (heads["length"].astype(np.int64) + size).tolist()
    found = [entry[size:end] for entry, end in zip(packed, ends, strict=True)]
    for name in dict.fromkeys(found):
        names.setdefault(name, len(names))
    return ConsentColumns(
        subjects=heads["subject"].astype(np.uint64),
        purposes=np.array([names[name] for name in found], np.uint16),
        decisions=heads["decision"].copy(),
        effective_at=heads["effective_at"].astype(np.int64),
        names=tuple(name.decode() for name in names),
    )

"""Email addresses in canonical form: NFC, the domain in lower case, the local part as it is (RFC 5321, section 2.4).

Accepted is ``local@domain`` as people use it: one ``@``, a domain of two labels at least, no quoted local parts, no
comments, no address literals. Letters of any script may stand in both (RFC 6531); no name is looked up.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows, Int64s
from .canonical import Canonical, canonical_of, refuse
from .text_columns import composed, flag_bytes, read_text, trimmed

__all__ = ["canonical_email", "domains_of"]

LONGEST_LOCAL, LONGEST_DOMAIN = 64, 245
"""RFC 5321, section 4.5.3.1; a domain leaves room for ``.invalid``."""

FORBIDDEN = "".join(map(chr, range(33))) + '\x7f"(),:;<>[\\]'


def canonical_email(column: pa.Array) -> Canonical:
    """Returns email addresses with lower-case domain.

    Args:
        column: Text. Reasons: ``empty``, ``not_an_email``, ``wrong_type``, ``not_text``.
    """
    text = trimmed(composed(read_text(column), _lowered, InvalidReason.NOT_AN_EMAIL))
    rows = ByteRows.of(text.strings)
    refuse(text.reasons, rows.valid & (rows.lengths == 0), InvalidReason.EMPTY)
    ats = _ats(rows)
    refuse(text.reasons, rows.valid & (ats < 0), InvalidReason.NOT_AN_EMAIL)
    refuse(text.reasons, rows.any_of(flag_bytes(rows.data, FORBIDDEN)), InvalidReason.NOT_AN_EMAIL)
    refuse(text.reasons, _misformed(rows, ats), InvalidReason.NOT_AN_EMAIL)
    return canonical_of(_lower_domains(rows, ats), text.reasons)


def domains_of(values: pa.StringArray) -> pa.StringArray:
    """Returns what follows the ``@`` of canonical addresses; null where ``values`` is."""
    rows = ByteRows.of(values)
    starts = _ats(rows) + 1
    return rows.part(starts, np.where(rows.valid, rows.offsets[1:] - starts, 0)).to_strings()


def _lowered(value: str) -> str | None:
    """The address in NFC with lower-case domain; None where it holds white space or invisible characters."""
    local, at, domain = value.strip().rpartition("@")
    address = unicodedata.normalize("NFC", local + at + domain.lower())
    return address if address.isprintable() and " " not in address else None


def _ats(rows: ByteRows) -> Int64s:
    """Returns the place of the one ``@`` of each row, -1 where there is none or more than one."""
    places = np.flatnonzero(rows.data == ord("@"))
    owners = rows.owners(places)
    ats = np.full(len(rows), -1, np.int64)
    ats[owners] = places
    again = owners[1:][owners[1:] == owners[:-1]]
    ats[again] = -1
    return ats


def _misformed(rows: ByteRows, ats: Int64s) -> Bools:
    """Which addresses with an ``@`` have a part of wrong length, or a domain without dot or with an empty label."""
    ends = rows.offsets[1:]
    locals_, domains = ats - rows.starts, ends - ats - 1
    bad = (locals_ < 1) | (locals_ > LONGEST_LOCAL) | (domains > LONGEST_DOMAIN)
    dots = np.flatnonzero(rows.data == ord("."))
    owners = rows.owners(dots)
    inside = dots > ats[owners]
    dots, owners = dots[inside], owners[inside]
    # A dot is out of place after the "@" or another dot, or at the end.
    before = rows.data[dots - 1]
    misplaced = (before == ord("@")) | (before == ord(".")) | (dots == ends[owners] - 1)
    bad[owners[misplaced]] = True
    dotless = np.ones(len(rows), np.bool_)
    dotless[owners] = False
    return np.asarray(rows.valid & (ats >= 0) & (bad | dotless))


def _lower_domains(rows: ByteRows, ats: Int64s) -> ByteRows:
    places = np.flatnonzero(rows.data - ord("A") < 26)
    owners = rows.owners(places)
    places = places[(places > ats[owners]) & (ats[owners] >= 0)]
    if not len(places):
        return rows
    data = rows.data.copy()
    data[places] |= 0x20
    return ByteRows(data, rows.offsets, rows.valid)

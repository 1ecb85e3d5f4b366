"""Email addresses in canonical form: NFC, the domain in lower case, the local part as it is (RFC 5321, section 2.4).

Accepted is ``local@domain`` as people use it: one ``@``, a domain of two labels at least, no quoted local parts, no
comments, no address literals. Letters of any script may stand in both (RFC 6531); no name is looked up.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows
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
    ats = rows.data == ord("@")
    refuse(text.reasons, rows.valid & (rows.counts(ats) != 1), InvalidReason.NOT_AN_EMAIL)
    refuse(text.reasons, rows.any_of(flag_bytes(rows.data, FORBIDDEN)), InvalidReason.NOT_AN_EMAIL)
    rows = rows.only(text.reasons == 0) if text.reasons.any() else rows
    in_domain = _after_at(rows)
    refuse(text.reasons, _misformed(rows, in_domain), InvalidReason.NOT_AN_EMAIL)
    data = rows.data.copy()
    data[in_domain & (data - ord("A") < 26)] |= 0x20
    return canonical_of(ByteRows(data, rows.offsets, rows.valid), text.reasons)


def domains_of(values: pa.StringArray) -> pa.StringArray:
    """Returns what follows the ``@`` of canonical addresses; null where ``values`` is."""
    rows = ByteRows.of(values)
    return rows.without(~_after_at(rows)).to_strings()


def _lowered(value: str) -> str | None:
    """The address in NFC with lower-case domain; None where it holds white space or invisible characters."""
    local, at, domain = value.strip().rpartition("@")
    address = unicodedata.normalize("NFC", local + at + domain.lower())
    return address if address.isprintable() and " " not in address else None


def _after_at(rows: ByteRows) -> Bools:
    """Which bytes follow the one ``@`` of their row."""
    places = np.flatnonzero(rows.data == ord("@"))
    ats = np.repeat(places, rows.lengths[rows.valid]) if len(places) else places
    return np.asarray(np.arange(len(rows.data)) > ats)


def _misformed(rows: ByteRows, in_domain: Bools) -> Bools:
    """Which addresses have a local part or domain of wrong length, or a domain without dot or with an empty label."""
    domains = rows.counts(in_domain)
    locals_ = rows.lengths - domains - 1
    dots = in_domain & (rows.data == ord("."))
    # A dot is out of place after the "@" or another dot, or at the end.
    first = np.zeros(len(dots), np.bool_)
    first[1:] = dots[1:] & ((rows.data[:-1] == ord("@")) | dots[:-1])
    last = rows.offsets[1:][rows.valid] - 1
    first[last] |= dots[last]
    bad = (locals_ < 1) | (locals_ > LONGEST_LOCAL) | (domains > LONGEST_DOMAIN)
    return np.asarray(rows.valid & (bad | (rows.counts(dots) == 0) | rows.any_of(first)))

"""Phone numbers in canonical form: E.164, a plus sign and at most 15 digits.

Frequent shapes are settled by rules over the column; what they leave open goes to ``phonenumbers``, each distinct text
once. A number is taken if its length is possible in its country; whether it is in service is not judged. An extension
is no part of the number.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows, Bytes, Int64s
from .canonical import Canonical, canonical_of, refuse
from .digits import not_digits
from .phone_rules import CODE_LENGTHS, REGIONS, SHAPES, Region
from .text_columns import Text, flag_bytes, plain_digits, read_text, trimmed

__all__ = ["LONGEST", "SEPARATORS", "SHORTEST_NATIONAL", "canonical_phone", "code_lengths", "code_lengths_of"]

SEPARATORS = " \t\r\n-./()"
LONGEST = 15
"""Digits of an E.164 number (ITU-T E.164, section 6)."""

SHORTEST_NATIONAL = 6
"""Fewer digits after the calling code have under 10^6 values."""

HEAD = 8
CACHED = 65_536
POWERS = np.array([1, 10, 100, 1000])


def canonical_phone(column: pa.Array, *, region: str | None = None) -> Canonical:
    """Returns phone numbers in E.164.

    Args:
        column: Text with spaces, dashes, dots, slashes and brackets, or integers (national digits). Reasons: ``empty``,
            ``not_a_phone`` (also: a national number and no region), ``unknown_country`` (no such calling code),
            ``domain_too_small`` (under 6 digits after the calling code), ``wrong_type``, ``not_text``.
        region: Country of numbers without calling code, as ``US`` (ISO 3166-1).
    """
    text = trimmed(plain_digits(read_text(column)))
    empty = pc.fill_null(pc.equal(pc.binary_length(text.strings), 0), False).to_numpy(zero_copy_only=False)
    refuse(text.reasons, empty, InvalidReason.EMPTY)
    text = _canonical_text(text, region)
    rows = ByteRows.of(text.strings)
    _check(rows, text)
    return canonical_of(rows, text.reasons)


def code_lengths(rows: ByteRows) -> Int64s:
    """Returns how many digits after the plus of each E.164 row are the calling code; 0 where it is none."""
    return code_lengths_of(rows.heads(4))


def code_lengths_of(heads: Bytes) -> Int64s:
    """Returns the same for rows of four bytes or more."""
    leading, bad = _leading(heads[:, 1], heads[:, 2], heads[:, 3])
    return np.where(bad, 0, CODE_LENGTHS[leading])


def _leading(hundreds: Bytes, tens: Bytes, ones: Bytes) -> tuple[Int64s, Bools]:
    """The number that three characters spell, and which are not all digits; 0 there."""
    bad = not_digits(hundreds) | not_digits(tens) | not_digits(ones)
    spelled = hundreds.astype(np.int64) * 100 + tens.astype(np.int64) * 10 + ones - ord("0") * 111
    return np.where(bad, 0, spelled), bad


def _check(rows: ByteRows, text: Text) -> None:
    lengths = code_lengths(rows)
    refuse(text.reasons, rows.valid & (lengths == 0), InvalidReason.UNKNOWN_COUNTRY)
    refuse(text.reasons, rows.lengths > LONGEST + 1, InvalidReason.NOT_A_PHONE)
    refuse(text.reasons, rows.valid & (rows.lengths - 1 - lengths < SHORTEST_NATIONAL), InvalidReason.DOMAIN_TOO_SMALL)


def _canonical_text(text: Text, region: str | None) -> Text:
    """The text with every number that is one in E.164, and all others null with their reason."""
    rows = ByteRows.of(text.strings)
    if text.is_number:
        refuse(text.reasons, rows.any_of(not_digits(rows.data)), InvalidReason.NOT_A_PHONE)
    else:
        rows = rows.without(flag_bytes(rows.data, SEPARATORS))
    strange = (rows.heads(1)[:, 0] == ord("+")) & (rows.lengths > 3) & (code_lengths(rows) == 0)
    refuse(text.reasons, strange & (rows.counts(not_digits(rows.data)) == 1), InvalidReason.UNKNOWN_COUNTRY)
    skip, prefixes, settled = _settle(rows, REGIONS.get(region or ""))
    settled &= rows.valid & (text.reasons == 0) & ~_has_trunk_in_brackets(text.strings)
    joined = _joined(rows.only(settled), np.where(settled, skip, 0), prefixes)
    open_ = rows.valid & (text.reasons == 0) & ~settled
    if not open_.any():
        return Text(strings=joined, reasons=text.reasons)
    found = _looked_up(text.strings.filter(pa.array(open_)), region)
    strings = pc.replace_with_mask(joined, pa.array(open_), found)
    missing = open_ & pc.is_null(strings).to_numpy(zero_copy_only=False)
    refuse(text.reasons, missing, InvalidReason.NOT_A_PHONE)
    return Text(strings=strings, reasons=text.reasons)


def _has_trunk_in_brackets(strings: pa.Array) -> Bools:
    """Which numbers have the "(0)" that is dialled at home only."""
    return pc.fill_null(pc.match_substring(strings, "(0)"), False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _settle(rows: ByteRows, region: Region | None) -> tuple[Int64s, pa.StringArray, Bools]:
    """Judges each row by the rules.

    Returns:
        How many bytes to take off its start, what to put there instead, and whether the rules have settled it.
    """
    heads = rows.heads(HEAD)
    plus = heads[:, 0] == ord("+")
    clean = rows.counts(not_digits(rows.data)) == plus
    skip = plus.astype(np.int64)
    home = np.zeros(len(rows), np.bool_)
    settled = np.zeros(len(rows), np.bool_)
    if plus.any():
        settled |= plus & clean & _international(rows, heads, 1)
    if region is not None and not settled.all():
        for offset, national, judged in _at_home(rows, heads, region):
            chosen = judged & clean & ~plus & ~settled
            skip[chosen] = offset
            home |= chosen & national
            settled |= chosen
    prefixes = pa.array(["+", f"+{region.code}" if region is not None else "+"], pa.string())
    return skip, prefixes.take(pa.array(home.astype(np.int8))), settled


def _at_home(rows: ByteRows, heads: Bytes, region: Region) -> list[tuple[int, bool, Bools]]:
    """The ways to read a number inside a region: bytes to skip, whether what follows is national, which rows fit."""
    ways = []
    count = len(rows)
    abroad = np.zeros(count, np.bool_)
    if region.abroad:
        abroad = _begins(heads, region.abroad)
        if abroad.any():
            skip = len(region.abroad)
            ways.append((skip, False, abroad & _international(rows, heads, skip)))
    trunk = _begins(heads, region.trunk) if region.trunk else np.zeros(count, np.bool_)
    if region.trunk:
        ways.append((len(region.trunk), True, trunk & ~abroad & _national(rows, heads, region.code, len(region.trunk))))
    if region.bare:
        # A number that begins like its own calling code may be either.
        bare = ~(trunk | abroad | _begins(heads, str(region.code)))
        ways.append((0, True, bare & _national(rows, heads, region.code, 0)))
    return ways


def _begins(heads: Bytes, prefix: str) -> Bools:
    return np.asarray((heads[:, : len(prefix)] == np.frombuffer(prefix.encode(), np.uint8)).all(axis=1))


def _national(rows: ByteRows, heads: Bytes, code: int, skip: int) -> Bools:
    return _has_shape(np.full(len(rows), code), heads[:, skip], rows.lengths - skip)


def _international(rows: ByteRows, heads: Bytes, skip: int) -> Bools:
    """Which rows are a calling code and a settled national number, after ``skip`` bytes."""
    after = heads[:, skip : skip + 4]
    leading, bad = _leading(after[:, 0], after[:, 1], after[:, 2])
    width = CODE_LENGTHS[leading]
    first = np.where(width == 1, after[:, 1], np.where(width == 2, after[:, 2], after[:, 3]))
    fits = _has_shape(leading // POWERS[3 - width], first, rows.lengths - skip - width)
    return np.asarray(fits & ~bad & (width > 0))


def _has_shape(codes: Int64s, firsts: Bytes, lengths: Int64s) -> Bools:
    shapes = SHAPES[codes, np.minimum(firsts - ord("0"), 9)]
    return np.asarray((shapes >> np.clip(lengths, 0, 62) & 1 == 1) & ~not_digits(firsts))


def _joined(rows: ByteRows, skip: Int64s, prefixes: pa.StringArray) -> pa.StringArray:
    return pc.binary_join_element_wise(prefixes, rows.without_first(skip).to_strings(), "")


def _looked_up(strings: pa.Array, region: str | None) -> pa.StringArray:
    """E.164 of each text by ``phonenumbers``, or null; each distinct text once."""
    encoded = strings.cast(pa.string()).dictionary_encode()
    found = [_looked_up_one(value, region) for value in encoded.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(encoded.indices)


@lru_cache(maxsize=CACHED)
def _looked_up_one(value: str, region: str | None) -> str | None:
    if region is None and "+" not in value:
        return None
    import phonenumbers

    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))

"""Columns of any type as text: what can be read as text is, and the rest is refused by row with its reason."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import InvalidReason
from .byte_rows import Bools, ByteRows, Bytes
from .canonical import Reasons, refuse

__all__ = [
    "Text",
    "composed",
    "flag_bytes",
    "number_texts",
    "plain_digits",
    "read_text",
    "trimmed",
    "without_separators",
]

# People's spaces, dashes and full-width digits, in the spelling of ASCII.
PLAIN = str.maketrans(
    dict.fromkeys(
        "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
    )
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
    | dict(zip("０１２３４５６７８９（）．／＋", "0123456789()./+", strict=True))
)


LARGEST_WHOLE = 2.0**63
FEW = 8
"""Up to so many characters, comparing with each is faster than a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A column as text.

    Attributes:
        strings: ``string`` or ``large_string``; null where null or not readable as text.
        reasons: ``int8``; why a value is not readable, else 0. Belongs to the caller, who adds to it.
        is_number: The column held numbers, so its signs and points are no separators.
    """

    strings: pa.Array
    reasons: Reasons
    is_number: bool = False


def read_text(column: pa.Array) -> Text:
    """Returns a column as text.

    Args:
        column: Strings of any layout and dictionaries of them are taken as they are, integers and decimals as decimal
            text without trailing zeros after the point, binary where it is UTF-8 (else ``not_text``). Values of any
            other type, floats among them, are ``wrong_type``.
    """
    column = _unwrapped(column)
    kind = column.type
    reasons = np.zeros(len(column), np.int8)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Text(strings=column, reasons=reasons)
    if pa.types.is_string_view(kind):
        return Text(strings=column.cast(pa.large_string()), reasons=reasons)
    if pa.types.is_integer(kind):
        return Text(strings=column.cast(pa.string()), reasons=reasons, is_number=True)
    if pa.types.is_decimal(kind):
        return Text(strings=_decimal_text(column), reasons=reasons, is_number=True)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _decoded(column, reasons)
    refuse(reasons, pc.is_valid(column).to_numpy(zero_copy_only=False), InvalidReason.WRONG_TYPE)
    return Text(strings=pa.nulls(len(column), pa.string()), reasons=reasons)


def number_texts(column: pa.Array) -> pa.Array:
    """Returns numbers as the digits that people would read in them, without sign and zeros after the point.

    Args:
        column: Integers, decimals or floats; of floats only whole ones, as integers beside nulls often become, the
            others null.
    """
    if not pa.types.is_floating(column.type):
        return pc.utf8_ltrim(read_text(column).strings, "-")
    amounts = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    sizes = np.abs(np.nan_to_num(amounts, nan=0.5, posinf=0.5, neginf=0.5))
    whole = (sizes == np.floor(sizes)) & (sizes < LARGEST_WHOLE)
    return pa.array(np.where(whole, sizes, 0).astype(np.uint64), mask=~whole).cast(pa.string())


def plain_digits(text: Text) -> Text:
    """Returns the text with the spaces, dashes and full-width digits of Unicode as those of ASCII."""
    return _respelled(text, lambda value: value.translate(PLAIN), InvalidReason.NOT_TEXT)


def composed(
    text: Text, respell: Callable[[str], str | None] | None = None, refused: InvalidReason = InvalidReason.NOT_TEXT
) -> Text:
    """Returns the text in NFC (Unicode TR 15).

    Args:
        text: Of any spelling.
        respell: What else becomes of values with other characters than ASCII; None refuses the value.
        refused: The reason then.
    """

    def change(value: str) -> str | None:
        value = unicodedata.normalize("NFC", value)
        return value if respell is None else respell(value)

    return _respelled(text, change, refused)


def trimmed(text: Text) -> Text:
    """Returns the text without Unicode white space at its ends; call ``composed`` before, which checks UTF-8."""
    return Text(strings=pc.utf8_trim_whitespace(text.strings), reasons=text.reasons, is_number=text.is_number)


def without_separators(text: Text, separators: str) -> ByteRows:
    """Returns the rows without the separators, unless they are numbers, whose signs and points mean something."""
    rows = ByteRows.of(text.strings)
    # Mostly there are none, and one pass tells.
    if text.is_number or not len(rows.data) or int(rows.data.min()) > max(separators.encode("ascii")):
        return rows
    return rows.without(flag_bytes(rows.data, separators))


def flag_bytes(data: Bytes, characters: str) -> Bools:
    """Returns which bytes are one of some ASCII characters."""
    wanted = characters.encode("ascii")
    if len(wanted) > FEW:
        table = bytes(character in wanted for character in range(256))
        return np.frombuffer(data.tobytes().translate(table), np.bool_)
    flags = np.zeros(len(data), np.bool_)
    for character in wanted:
        flags |= data == character
    return flags


def _unwrapped(column: pa.Array) -> pa.Array:
    """The column without extension type, run-end or dictionary encoding."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_dictionary(column.type):
        column = _unwrapped(column.dictionary).take(column.indices)
    return column


def _decimal_text(column: pa.Array) -> pa.StringArray:
    text = column.cast(pa.string())
    if column.type.scale <= 0:
        return text
    short = pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".")
    # Arrow writes tiny numbers with an exponent, whose zeros count.
    return pc.if_else(pc.match_substring(text, "E"), text, short)


def _decoded(column: pa.Array, reasons: Reasons) -> Text:
    data = column.cast(pa.large_binary())
    strings = pa.Array.from_buffers(pa.large_string(), len(data), data.buffers(), offset=data.offset)
    return _respelled(Text(strings=strings, reasons=reasons), lambda value: value, InvalidReason.NOT_TEXT)


def _respelled(text: Text, respell: Callable[[str], str | None], refused: InvalidReason) -> Text:
    """Returns the text with the values that are not ASCII changed; bytes that are not UTF-8 are ``not_text``."""
    rows = ByteRows.of(text.strings)
    if not len(rows.data) or int(rows.data.max()) < 0x80:
        return text
    wide = rows.any_of(rows.data >= 0x80)
    places = np.flatnonzero(wide)
    changed: list[str | None] = []
    broken = np.zeros(len(rows), np.bool_)
    for place, start, end in zip(places, rows.offsets[places], rows.offsets[places + 1], strict=True):
        try:
            changed.append(respell(rows.data[start:end].tobytes().decode()))
        except UnicodeDecodeError:
            broken[place] = True
            changed.append(None)
    reasons = text.reasons
    refuse(reasons, broken, InvalidReason.NOT_TEXT)
    unfit = np.zeros(len(rows), np.bool_)
    unfit[places] = [value is None for value in changed]
    refuse(reasons, unfit, refused)
    strings = pc.replace_with_mask(text.strings, pa.array(wide), pa.array(changed, text.strings.type))
    return Text(strings=strings, reasons=reasons, is_number=text.is_number)

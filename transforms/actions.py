"""The actions of a policy that need no key, over columns: redact, mask, generalize.

Each takes a column and returns one of the same length; nulls stay null. What does not fit comes back null with a
reason, ``int8``: 0 is fine, else 1 + the place in ``InvalidReason``, as in ``values.canonical``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.info_types import Bucket, GeneralizeRule, InvalidReason, IpPrefix, MaskRule, Prefix
from .nested_columns import numpy_bools
from .values.canonical import reason_code

__all__ = [
    "REDACTED",
    "Coarser",
    "as_text",
    "generalize",
    "generalized_type",
    "is_text",
    "mask",
    "redact",
    "redacted_type",
]

REDACTED = "[redacted]"
MASK = "*"

Reasons = np.ndarray[Any, np.dtype[np.int8]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_DATE = r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])([Tt ][0-9]{2}:[0-9]{2}.*)?)?)?$"
_PRECISION = {"year": 4, "month": 7, "day": 10}
_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_EXACT = Context(prec=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarser:
    """A generalized column: ``values`` null where null or unfit, ``reasons`` why (None: all fit)."""

    values: pa.Array
    reasons: Reasons | None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text: strings of any layout, or a dictionary of them."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def as_text(column: pa.Array) -> pa.StringArray | None:
    """Returns a column of strings, numbers, bools or instants as ``string``; None for binary and nested types."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_dictionary(kind):
        words = as_text(column.dictionary)
        return None if words is None else words.take(column.indices)
    if is_text(kind) or pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    return None


def redacted_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type of a column that may hold ``[redacted]``: text loses its dictionary, others stay."""
    return kind.value_type if pa.types.is_dictionary(kind) and is_text(kind) else kind


def redact(column: pa.Array) -> pa.Array:
    """Returns ``[redacted]`` for each value of a text column, null for all others."""
    kind = redacted_type(column.type)
    if not is_text(kind) or column.null_count == len(column):
        return pa.nulls(len(column), kind)
    if not column.null_count:
        return pa.repeat(pa.scalar(REDACTED, kind), len(column))
    marks = pc.if_else(column.is_valid(), pa.scalar(REDACTED), pa.scalar(None, pa.string()))
    return marks if pa.types.is_string(kind) else marks.cast(kind)


def mask(column: pa.Array, rule: MaskRule) -> pa.StringArray:
    """Returns text with all but the first or last characters as ``*``.

    Lengths count code points. A value that is no longer than what may be shown is hidden whole, and a value that is
    no text (binary) becomes ``[redacted]``.
    """
    text = as_text(column)
    if text is None:
        return pc.if_else(column.is_valid(), REDACTED, pa.scalar(None, pa.string()))
    shown = rule.show_last if rule.show_last is not None else rule.show_first or 0
    lengths = pc.utf8_length(text)
    hidden = pc.if_else(pc.less_equal(lengths, shown), lengths, pc.subtract(lengths, shown))
    stars = pc.binary_repeat(MASK, hidden)
    if rule.show_last is not None:
        # From the start, because a negative start of -0 would show everything.
        return _joined(stars, _tail(text, shown))
    return _joined(_head(text, shown), stars)


def _joined(left: pa.Array, right: pa.Array) -> pa.StringArray:
    return pc.binary_join_element_wise(left, right, "")


def _tail(text: pa.StringArray, shown: int) -> pa.StringArray:
    if not shown:
        return pc.if_else(text.is_valid(), "", text)
    return pc.if_else(pc.greater(pc.utf8_length(text), shown), pc.utf8_slice_codeunits(text, start=-shown), "")


def _head(text: pa.StringArray, shown: int) -> pa.StringArray:
    if not shown:
        return pc.if_else(text.is_valid(), "", text)
    return pc.if_else(pc.greater(pc.utf8_length(text), shown), pc.utf8_slice_codeunits(text, 0, shown), "")


def generalized_type(kind: pa.DataType, rule: GeneralizeRule) -> pa.DataType:
    """Returns the type that ``generalize`` gives a column: instants, dates and numbers keep theirs, else ``string``."""
    if isinstance(rule.to, str):
        return kind if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else pa.string()
    if isinstance(rule.to, Bucket):
        if pa.types.is_integer(kind):
            return kind if _is_whole(rule.to.bucket) else pa.float64()
        return kind if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else pa.string()
    return pa.string()


def generalize(column: pa.Array, rule: GeneralizeRule) -> Coarser:
    """Returns a column made coarser.

    ``year``, ``month``, ``day``: instants and dates are floored, ISO 8601 text is shortened (``2026``, ``2026-03``).
    ``bucket``: numbers, also as text, floored to a multiple. ``prefix``: text cut after so many code points.
    ``ip_prefix``: addresses as their network, ``203.0.113.0/24``; IPv6 with twice the bits, IPv4-mapped as IPv4.
    """
    match rule.to:
        case str() as unit:
            return _floored_date(column, unit)
        case Bucket(bucket=width):
            return _floored_number(column, width)
        case Prefix(prefix=length):
            text = as_text(column)
            return _unfit(column) if text is None else _fit(pc.utf8_slice_codeunits(text, 0, length))
        case IpPrefix(ip_prefix=bits):
            return _each(column, lambda value: _network(value, bits), InvalidReason.NOT_AN_IP)
    raise TypeError("unknown generalization")


def _fit(values: pa.Array) -> Coarser:
    return Coarser(values=values, reasons=None)


def _unfit(column: pa.Array, kind: pa.DataType | None = None) -> Coarser:
    code = reason_code(InvalidReason.WRONG_TYPE)
    reasons = np.where(numpy_bools(column.is_valid()), code, 0).astype(np.int8)
    return Coarser(values=pa.nulls(len(column), kind or pa.string()), reasons=reasons)


def _judged(values: pa.Array, bad: np.ndarray[Any, Any], reason: InvalidReason) -> Coarser:
    if not bad.any():
        return _fit(values)
    values = pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
    return Coarser(values=values, reasons=np.where(bad, reason_code(reason), 0).astype(np.int8))


def _floored_date(column: pa.Array, unit: str) -> Coarser:
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _fit(pc.floor_temporal(column, unit=unit))
    if not is_text(column.type):
        return _unfit(column)
    text = pc.utf8_trim_whitespace(as_text(column))
    width = _PRECISION[unit]
    long_enough = pc.greater_equal(pc.binary_length(text), width)
    fits = numpy_bools(pc.and_(pc.match_substring_regex(text, _DATE), long_enough))
    fits &= _in_calendar(text, fits)
    return _judged(
        pc.utf8_slice_codeunits(text, 0, width), numpy_bools(text.is_valid()) & ~fits, InvalidReason.NOT_A_DATE
    )


def _in_calendar(text: pa.StringArray, fits: Bools) -> Bools:
    """Tells which dates exist, among those that ``fits`` says are written like one."""
    numbers = [_digits(text, fits, start, stop) for start, stop in ((0, 4), (5, 7), (8, 10))]
    year, month, day = numbers
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _DAYS[month] - ((month == 2) & ~leap)
    exists: Bools = (day <= last) | (month == 0)
    return exists


def _digits(text: pa.StringArray, fits: np.ndarray[Any, Any], start: int, stop: int) -> np.ndarray[Any, Any]:
    part = pc.utf8_slice_codeunits(text, start, stop)
    usable = pc.and_(pa.array(fits), pc.equal(pc.binary_length(part), stop - start))
    number = pc.if_else(pc.fill_null(usable, False), part, "0").cast(pa.int32())
    digits: np.ndarray[Any, Any] = pc.fill_null(number, 0).to_numpy(zero_copy_only=False)
    return digits


def _floored_number(column: pa.Array, width: float) -> Coarser:
    kind = column.type
    if pa.types.is_integer(kind):
        whole = _is_whole(width)
        return (
            _floored_integer(column, int(width))
            if whole
            else _floored_float(column.cast(pa.float64(), safe=False), width)
        )
    if pa.types.is_floating(kind):
        return _floored_float(column, width)
    exact = Decimal(repr(width))
    if pa.types.is_decimal(kind):
        return _each(column, lambda value: _floored_decimal(value, exact, kind), InvalidReason.NOT_A_NUMBER, kind)
    if is_text(kind):
        return _each(column, lambda value: _floored_text(value, exact), InvalidReason.NOT_A_NUMBER)
    return _unfit(column)


def _is_whole(width: float) -> bool:
    return width == int(width) and width < 2**62


def _floored_float(column: pa.Array, width: float) -> Coarser:
    numbers = pc.fill_null(column.cast(pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore", over="ignore"):
        floored = np.floor(numbers / width) * width
    values = pa.array(floored, mask=numpy_bools(column.is_null())).cast(column.type, safe=False)
    return _judged(values, ~np.isfinite(floored), InvalidReason.NOT_A_NUMBER)


def _floored_integer(column: pa.Array, width: int) -> Coarser:
    wide = np.uint64 if pa.types.is_unsigned_integer(column.type) else np.int64
    numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(wide)
    floored = numbers // wide(width) * wide(width)
    least = 0 if wide is np.uint64 else -(1 << (column.type.bit_width - 1))
    # Below the smallest integer there is no multiple: the product wraps or leaves the type.
    bad = (floored > numbers) | (floored < least)
    values = pa.array(np.where(bad, 0, floored).astype(wide), mask=numpy_bools(column.is_null())).cast(column.type)
    return _judged(values, bad, InvalidReason.NOT_A_NUMBER)


def _floored_text(value: str, width: Decimal) -> str | None:
    try:
        number = Decimal(value.strip())
        if not number.is_finite() or abs(number.adjusted()) > 300:
            return None
        floored = _multiple(number, width)
    except InvalidOperation:
        return None
    text = format(floored, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _floored_decimal(value: str, width: Decimal, kind: pa.DataType) -> str | None:
    text = _floored_text(value, width)
    whole, _, fraction = (text or "").lstrip("-").partition(".")
    return text if len(whole) <= kind.precision - kind.scale and len(fraction) <= kind.scale else None


def _multiple(number: Decimal, width: Decimal) -> Decimal:
    steps = _EXACT.divide_int(number, width)
    floored = _EXACT.multiply(steps, width)
    return floored if floored <= number else _EXACT.subtract(floored, width)


def _network(value: str, bits: int) -> str | None:
    try:
        address = ipaddress.ip_address(value.strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(address), min(2 * bits, 128)), strict=False))
        address = address.ipv4_mapped
    return str(ipaddress.IPv4Network((int(address), bits), strict=False))


def _each(
    column: pa.Array, change: Callable[[str], str | None], reason: InvalidReason, kind: pa.DataType | None = None
) -> Coarser:
    """Applies ``change`` once to each distinct value as text; what it answers with None does not fit."""
    text = as_text(column)
    if text is None:
        return _unfit(column, kind)
    distinct = text.dictionary_encode()
    changed = pa.array([change(value) for value in distinct.dictionary.to_pylist()], pa.string())
    values = changed.take(distinct.indices)
    if kind is not None:
        values = values.cast(kind)
    return _judged(values, numpy_bools(column.is_valid()) & numpy_bools(values.is_null()), reason)

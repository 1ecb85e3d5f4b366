"""Searches protected columns for values that are in clear, by what each column's marks say it must hold.

A tokenized column must hold tokens of its format, a redacted one nothing but ``[redacted]``; whatever else is there is
a leak, and is named if a detector knows it. All other columns, kept ones too, are searched like texts from anywhere,
with the tokens in them recognised. Tokens that look like values (``digits``, ``ssn``, ``phone``, ``alphanumeric``) are
not searched once their shape is right: a detector could not tell them from values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.info_types import Entity, Format
from .detectors.findings import Finding
from .detectors.free_text import find_in_texts
from .known_tokens import is_token_email, without_tokens
from .leaf_columns import Leaf
from .plain_identifiers import are_plain_identifiers
from .values.byte_rows import Bools
from .values.masking import masked_text
from .values.text_columns import number_texts, read_text
from .values.token_columns import are_tokens

__all__ = ["NOT_A_TOKEN", "NOT_REDACTED", "REDACTED", "Leaked", "find_leaks", "is_searched"]

NOT_A_TOKEN = "NOT_A_TOKEN"  # noqa: S105 - the name of a kind of leak
NOT_REDACTED = "NOT_REDACTED"
REDACTED = "[redacted]"

SMALLEST = 10**12
"""Numbers below have fewer digits than any card, and without words around them can be nothing else that is found."""

NETWORK = re.compile(r"/([0-9]{1,3})")

QUIET = (
    r"^(?:[0-9]{1,12}|[12][0-9]{3}-[01][0-9]-[0-3][0-9]"
    r"(?:[T ][0-2][0-9]:[0-5][0-9](?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?)$"
)
"""Values that are a short number or an instant and nothing else: without words around them, no detector knows them."""

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Leaked:
    """A value in clear: its place among the values of its column, what it is, and its form for reports."""

    place: int
    kind: str
    masked: str


def is_searched(kind: pa.DataType) -> bool:
    """Returns whether values of a type can be searched: text, binary that is text, and numbers that can be cards."""
    types = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind) or types.is_int64(kind) or types.is_uint64(kind)
        or types.is_decimal(kind) or types.is_float64(kind)
    )  # fmt: skip


def find_leaks(leaf: Leaf, formats: Mapping[str, Format]) -> Iterator[Leaked]:
    """Yields the values of a column that are in clear, in no particular order.

    Args:
        leaf: Of an output.
        formats: Of the tokens in texts, by info type.
    """
    action, format = leaf.marks.get("action"), leaf.marks.get("format")
    if action == "redact":
        yield from _must_be_redacted(leaf)
    elif action == "tokenize" and format in tuple(Format):
        yield from _must_be_tokens(leaf, Format(format))
    elif is_searched(leaf.values.type):
        texts = _texts(leaf.values)
        covered = without_tokens(texts, formats)
        for place, text, finding in _findings(texts, covered, np.arange(len(texts))):
            if not _is_network(text, finding):
                yield _leaked(place, text, finding)


def _must_be_redacted(leaf: Leaf) -> Iterator[Leaked]:
    values = leaf.values
    wrong = pc.is_valid(values).to_numpy(zero_copy_only=False)
    if is_searched(values.type) and not pa.types.is_primitive(values.type):
        texts = _texts(values)
        wrong &= ~pc.fill_null(pc.equal(texts, REDACTED), False).to_numpy(zero_copy_only=False)
        yield from _named(texts, wrong, NOT_REDACTED)
    else:
        yield from (Leaked(place, NOT_REDACTED, "***") for place in np.flatnonzero(wrong).tolist())


def _must_be_tokens(leaf: Leaf, format: Format) -> Iterator[Leaked]:
    values, version = leaf.values, leaf.marks.get("key_version", "")
    if not is_searched(values.type):
        places = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False)).tolist()
        yield from (Leaked(place, NOT_A_TOKEN, "***") for place in places)
        return
    texts = read_text(_plain(values)).strings
    unread = pc.is_valid(values).to_numpy(zero_copy_only=False) & pc.is_null(texts).to_numpy(zero_copy_only=False)
    fits = are_tokens(format, texts, key_version=int(version) if version.isdigit() else None)
    redacted = pc.fill_null(pc.equal(texts, REDACTED), False).to_numpy(zero_copy_only=False)
    wrong = pc.is_valid(texts).to_numpy(zero_copy_only=False) & ~fits & ~redacted
    yield from _named(texts, wrong | unread, NOT_A_TOKEN)


def _named(texts: pa.Array, wrong: Bools, kind: str) -> Iterator[Leaked]:
    """Yields wrong values by what they are found to be, those that no detector knows as ``kind``."""
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return
    chosen = texts.take(pa.array(rows))
    known = set()
    for place, text, finding in _findings(chosen, without_tokens(chosen, {}), rows):
        known.add(place)
        yield _leaked(place, text, finding)
    for place, text in zip(rows.tolist(), chosen.to_pylist(), strict=True):
        if place not in known:
            yield Leaked(place, kind, masked_text(text or "***"))


def _findings(texts: pa.Array, covered: pa.Array, places: Places) -> Iterator[tuple[int, str, Finding]]:
    """Yields place, text and finding, without addresses that are tokens."""
    for row, findings in _searched(covered):
        text = texts[row].as_py()
        for finding in findings:
            is_token = finding.entity is Entity.EMAIL and is_token_email(text[finding.start : finding.end])
            if not is_token:
                yield int(places[row]), text, finding


def _searched(texts: pa.Array) -> Iterator[tuple[int, list[Finding]]]:
    """Yields rows with findings; values that can hold none are passed over, and repeated ones searched once."""
    quiet = pc.fill_null(pc.match_substring_regex(texts, QUIET), False)
    texts = pc.if_else(quiet, pa.scalar(None, texts.type), texts)
    texts = pc.if_else(are_plain_identifiers(texts), pa.scalar(None, texts.type), texts)
    encoded = pc.dictionary_encode(texts)
    if 2 * len(encoded.dictionary) > len(texts):
        yield from find_in_texts(texts, tokens=False)
        return
    words = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    order = np.argsort(words, kind="stable")
    ordered = words[order]
    for word, findings in find_in_texts(encoded.dictionary, tokens=False):
        start, end = np.searchsorted(ordered, (word, word + 1))
        for row in order[start:end].tolist():
            yield row, findings


def _leaked(place: int, text: str, finding: Finding) -> Leaked:
    return Leaked(place, str(finding.entity), masked_text(text[finding.start : finding.end]))


def _is_network(text: str, finding: Finding) -> bool:
    """Whether an address is a network, as ``generalize`` leaves it, and nobody's own address."""
    size = NETWORK.match(text, finding.end)
    if finding.entity is not Entity.IP_ADDRESS or size is None:
        return False
    try:
        return ip_network(text[finding.start : size.end()]).num_addresses > 1
    except ValueError:
        return False


def _texts(values: pa.Array) -> pa.Array:
    """Values as text; numbers only where they can be cards, bytes where they are UTF-8, else null."""
    values = _plain(values)
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
        return read_text(values).strings
    texts = number_texts(values)
    return pc.if_else(pc.greater_equal(pc.binary_length(texts), len(str(SMALLEST))), texts, pa.scalar(None, texts.type))


def _plain(values: pa.Array) -> pa.Array:
    """Values of the layouts that can be read as text; bytes in strings that are no UTF-8 become U+FFFD."""
    kind = values.type
    if pa.types.is_fixed_size_binary(kind):
        return values.cast(pa.binary())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return values
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        data = values.cast(pa.large_binary()).to_pylist()
        return pa.array([None if each is None else each.decode("utf-8", "replace") for each in data], kind)
    return values

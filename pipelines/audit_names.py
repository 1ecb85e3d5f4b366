"""Tells names of columns, files and people in a report without telling a value.

A name can be a value: an object keyed by addresses has fields that are addresses, a file without a header has a first
record for one, and exports are called by whom they are about. What could be a value is told as hidden.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

__all__ = ["HIDDEN", "KEYS", "VALUES", "is_told_field", "keyed_fields", "looks_like_value", "told_file", "told_person"]

HIDDEN = "(hidden)"
KEYS = "(keys)"
VALUES = "(values)"

MANY_ALIKE = 50
SEVERAL_ALIKE = 8
SPARSE = 0.25
HALF = 0.5

_FIELD = re.compile(r"[^\W\d][\w$-]{0,63}")
_VALUE = re.compile(r"@|://|\d{5}|[^\W_]{24}|[^ -~\w]|[\x00-\x1f\x7f]")
_MANY_DIGITS = re.compile(r"(?:\d\D*){7}")
_PART = re.compile(r"[^\W_]{6,}")
_DIGITS = re.compile(r"\d+")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def looks_like_value(name: str) -> bool:
    """Returns whether a name has what values have: an @, many digits, a long run of letters, odd characters.

    >>> [looks_like_value(name) for name in ("Card number", "kim@example.com", "4111 1111 1111 1111")]
    [False, True, True]
    """
    if len(name) > 64 or _VALUE.search(name) or _MANY_DIGITS.search(name):
        return True
    return any(_is_random(part) for part in _PART.findall(name))


def _is_random(part: str) -> bool:
    """Whether digits and letters alternate as in keys, and not as in ``ipv4`` or ``Address2``."""
    runs = len(_DIGITS.findall(part))
    mixed = len(part) >= 10 and part.lower() != part != part.upper()
    return runs >= 3 or (runs == 2 and mixed)


def is_told_field(name: str) -> bool:
    """Returns whether a field of a nested record is told: a word as a developer writes it, without a number in it."""
    return bool(_FIELD.fullmatch(name)) and not looks_like_value(name)


def keyed_fields(kind: pa.StructType, filled: Sequence[float]) -> frozenset[str]:
    """Returns the fields whose names seem to be values: several of one type, of which a record has but a few.

    Args:
        kind: Of the object.
        filled: The share of values in each field.
    """
    alike: dict[pa.DataType, list[int]] = {}
    for place, field in enumerate(kind):
        alike.setdefault(field.type, []).append(place)
    found: set[str] = set()
    for places in alike.values():
        share = sum(filled[place] for place in places) / len(places)
        if share <= (SPARSE if len(places) < MANY_ALIKE else HALF) and len(places) >= SEVERAL_ALIKE:
            found |= {kind.field(place).name for place in places}
    return frozenset(found)


def told_file(name: str) -> str:
    """Returns the name of a file without its folders, or only its extension.

    >>> told_file("exports/2026/orders-2026-03.parquet"), told_file("kim@example.com.csv")
    ('orders-2026-03.parquet', '(hidden).csv')
    """
    last = re.split(r"[/\\]", name)[-1]
    if _FILE.fullmatch(last) and not looks_like_value(last):
        return last
    extension = re.search(r"(\.[a-z]{2,7}){1,2}$", last.lower())
    known = extension and re.search(r"\.(parquet|pq|csv|tsv|jsonl|ndjson|json)(\.gz)?$", extension[0])
    return HIDDEN + (known[0] if known else "")


def told_person(name: str) -> str:
    """Returns who is named in the access log, of an address only what tells colleagues apart.

    >>> told_person("ana"), told_person("ana.b@shop.example"), told_person("4111111111111111")
    ('ana', 'ana.b@…', '(hidden)')
    """
    local, at, _ = name.partition("@")
    if looks_like_value(local) or not local:
        return HIDDEN
    return f"{local}@…" if at else name

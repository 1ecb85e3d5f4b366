"""Treats what detection finds in columns: spans in texts, numbers, kept columns that hold what they should not.

Plain functions over columns. What stands for a value comes from the caller, for all values of an entity at once, so
that tokens are made in whole columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.column_type import ColumnKind
from ..schemas.info_types import Entity
from ..schemas.text_tokens import BRACKETED, Replacement, escaped, escaped_around
from .actions import is_text
from .detectors.column_types import column_type
from .detectors.free_text import find_in_texts
from .detectors.recognizers import Recognizer
from .detectors.skeletons import folded
from .detectors.whole_values import is_whole, proven_entity
from .nested_columns import numpy_bools
from .values.byte_rows import ByteRows
from .values.text_columns import number_texts

__all__ = ["Replaced", "contradicting", "found_in_numbers", "is_number", "replaced_spans"]

SAMPLE = 128
"""Values of a batch by which a kept column is judged."""

UNKNOWN = "UNKNOWN"
"""Name of what is no entity of ours."""

Rows = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


Replacing = Callable[[Entity | None, pa.StringArray, Rows], Sequence[tuple[str, bool]]]
"""Called with an entity (None: no known one), values as they stand in the texts, and the place of each one's text in
the column; returns for each value the text that takes its place, and whether that is a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A column of texts after replacing.

    Attributes:
        texts: ``string``; the nulls of the input.
        found: How many spans of each entity were replaced.
    """

    texts: pa.StringArray
    found: Mapping[Entity, int]


@dataclass(slots=True)
class _Spans:
    """Spans of one entity in many texts."""

    rows: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)


def replaced_spans(
    column: pa.Array, replacing: Replacing, *, whole: Entity | None = None, recognizers: Sequence[Recognizer] = ()
) -> Replaced:
    """Returns texts with what was found in them replaced, and text that looks like a token escaped.

    Args:
        column: Strings of any layout.
        replacing: Gives what stands for the values.
        whole: What each text is as a whole, unless something is found in it; a text that is not is replaced, too.
        recognizers: Detectors of other makers that are asked, too.
    """
    texts = column.cast(pa.string())
    found = {
        row: [(each.start, each.end, each.entity) for each in findings] for row, findings in _found(texts, recognizers)
    }
    if whole is not None:
        lengths = pc.utf8_length(texts).to_pylist()
        left = [row for row, length in enumerate(lengths) if length and row not in found]
        values = texts.take(pa.array(left, pa.int64())).to_pylist()
        for row, value in zip(left, values, strict=True):
            found[row] = [(0, lengths[row], whole if is_whole(whole, folded(value).strip()) else None)]
    changed = np.union1d(np.fromiter(found, np.int64, len(found)), _looking_like_tokens(texts))
    if not len(changed):
        return Replaced(texts=texts, found={})
    originals = dict(zip(changed.tolist(), texts.take(pa.array(changed)).to_pylist(), strict=True))
    spans = _by_entity(found, originals)
    made = _escaped_and_replaced(originals, _replacements(spans, replacing))
    mask = np.zeros(len(texts), np.bool_)
    mask[changed] = True
    result = pc.replace_with_mask(texts, pa.array(mask), pa.array(made, pa.string()))
    counts = {entity: len(each.rows) for entity, each in spans.items() if entity is not None}
    return Replaced(texts=result, found=counts)


def found_in_numbers(column: pa.Array, header: str) -> Bools:
    """Returns which numbers are, as they stand, something sensitive.

    Args:
        column: Integers, decimals or floats.
        header: Its name; where it promises an entity and the values fit, all of them are.
    """
    texts = number_texts(column)
    if column_type(texts, header).kind in (ColumnKind.ENTITY, ColumnKind.MIXED):
        return numpy_bools(column.is_valid())
    hidden = np.zeros(len(texts), np.bool_)
    hidden[[row for row, _ in _found(texts)]] = True
    return hidden


def contradicting(column: pa.Array, permitted: Collection[Entity]) -> Entity | None:
    """Returns the entity that values of a kept column prove themselves to be, against their declaration.

    Judges by an even sample of the batch; a tenth of it is enough.

    Args:
        column: Of any type; other than texts and numbers are never an entity.
        permitted: Entities that the column may hold.
    """
    texts = _sampled(column)
    return None if texts is None else proven_entity(texts, permitted)


def is_number(kind: pa.DataType) -> bool:
    """Returns whether a type is of numbers whose digits may be a value."""
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind))


def _sampled(column: pa.Array) -> list[bytes] | None:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (is_number(kind) or is_text(kind)):
        return None
    filled = len(column) - column.null_count
    places = np.unique(np.linspace(0, max(filled - 1, 0), min(SAMPLE, filled)).astype(np.int64))
    if column.null_count:
        places = np.flatnonzero(numpy_bools(column.is_valid()))[places]
    sample = column.take(pa.array(places)).cast(kind)
    texts = number_texts(sample) if is_number(kind) else sample
    return [folded(text).strip() for text in texts.to_pylist() if text is not None]


def _found(texts: pa.StringArray, recognizers: Sequence[Recognizer] = ()) -> Any:
    return find_in_texts(texts, recognizers, tokens=False)


def _looking_like_tokens(texts: pa.StringArray) -> Rows:
    """Returns the rows in which text may look like a token."""
    rows = ByteRows.of(texts)
    bracketed = np.flatnonzero(rows.any_of(rows.data == ord("[")))
    looking = pc.match_substring_regex(texts.take(pa.array(bracketed)), BRACKETED)
    found: Rows = bracketed[numpy_bools(looking)]
    return found


def _by_entity(
    found: Mapping[int, Sequence[tuple[int, int, Entity | None]]], originals: Mapping[int, str]
) -> dict[Entity | None, _Spans]:
    spans: dict[Entity | None, _Spans] = defaultdict(_Spans)
    for row, places in found.items():
        text = originals[row]
        for start, end, entity in places:
            each = spans[entity]
            each.rows.append(row)
            each.places.append((start, end))
            each.values.append(text[start:end])
    return spans


def _replacements(spans: Mapping[Entity | None, _Spans], replacing: Replacing) -> dict[int, list[Replacement]]:
    found: dict[int, list[Replacement]] = defaultdict(list)
    for entity, each in spans.items():
        made = replacing(entity, pa.array(each.values, pa.string()), np.array(each.rows, np.int64))
        name = UNKNOWN if entity is None else entity.value
        for row, (start, end), (text, is_token) in zip(each.rows, each.places, made, strict=True):
            found[row].append(Replacement(start, end, name, text, is_token))
    return found


def _escaped_and_replaced(originals: Mapping[int, str], replacements: Mapping[int, Sequence[Replacement]]) -> list[str]:
    """Returns what becomes of texts of which each holds something, or looks like a token."""
    made = dict(originals)
    made.update({row: escaped(text) for row, text in originals.items() if row not in replacements})
    if replacements:
        from .prepared_spans import with_replacements  # takes a process a second; most find nothing

        texts = [escaped_around(originals[row], each) for row, each in replacements.items()]
        made.update(zip(replacements, with_replacements(texts), strict=True))
    return list(made.values())

"""Opens the rows of a sample down to columns of values, and looks at each: how much there is, and what it is.

Values are looked at as text, whatever their type: card numbers come as integers too. Nothing that leaves this module
quotes one: examples and evidence of detection are checked against the values that they were made from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.audit import Found, FoundLeak, Volume
from ..schemas.column_type import ColumnKind, ColumnType
from ..schemas.dataset import EACH, FieldPath
from ..transforms.nested_columns import is_list, open_list, open_struct
from ..transforms.plain_layouts import python_values
from .audit_names import HIDDEN, KEYS, VALUES, is_told_field, keyed_fields, looks_like_value

__all__ = ["DetectColumn", "SampledColumn", "found_in", "sampled_columns"]

DetectColumn = Callable[[pa.Array, str], ColumnType]
"""Says what a column is: its values as text, which may repeat and be null, and the last name of its path."""

EXAMPLES = 3
EXAMPLE_WIDTH = 40
QUOTABLE = 4
"""A shorter text is part of any sentence by chance."""

_UNMASKED = re.compile(r"(?:\d[ .-]?){8}|[\w.+-]{2,}@[\w-]+\.\w")
_WORD = re.compile(r"[a-z][a-z0-9]*(?:[_.-][a-z0-9]+)*|[a-z]+(?:[A-Z][a-z0-9]*)+")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampledColumn:
    """The values of one column, or of one path into nested records.

    Attributes:
        path: As it is, for the policy; may hold names that are not told.
        told: As the report names it.
        named: Whether ``told`` is the path, so that lines for the policy can name it.
        kind: Type of the values.
        texts: ``string``, the values as text.
        loose: Whether the places of the values say nothing of their rows, so that they cannot be compared.
    """

    path: FieldPath
    told: str
    named: bool
    kind: pa.DataType
    texts: pa.StringArray
    loose: bool = False

    @property
    def header(self) -> str:
        """The last name of the path, for detection; empty where it is not told."""
        names = [step for step in self.path.steps if step is not EACH]
        return str(names[-1]) if self.named and names else ""

    @property
    def type_name(self) -> str:
        """The type; of a time zone, which can be any text, only that there is one."""
        if pa.types.is_timestamp(self.kind):
            return f"timestamp[{self.kind.unit}{', time zone' if self.kind.tz else ''}]"
        return str(self.kind)

    @property
    def volume(self) -> Volume:
        """How much there is."""
        values = self._values()
        return Volume(
            places=len(self.texts), nulls=len(self.texts) - len(values), distinct=len(pc.unique(values))
        )  # fmt: skip

    def digest(self) -> tuple[FieldPath, bytes]:
        """Returns what is equal for two columns whose values are equal row by row."""
        depth = max((place + 1 for place, step in enumerate(self.path.steps) if step is EACH), default=0)
        filled = pc.fill_null(self.texts, "\0")
        offsets = np.frombuffer(filled.buffers()[1], np.int32, len(filled) + 1, 4 * filled.offset)
        data = memoryview(filled.buffers()[2] or b"")[offsets[0] : offsets[-1]]
        digest = hashlib.blake2b(np.diff(offsets).tobytes())
        digest.update(data)
        return FieldPath(self.path.steps[:depth]), digest.digest()

    def _values(self) -> pa.Array:
        present = self.texts.drop_null()
        return present.filter(pc.not_equal(pc.utf8_trim_whitespace(present), ""))


def sampled_columns(
    batches: Sequence[pa.RecordBatch],
    schema: pa.Schema,
    *,
    declared: Collection[FieldPath],
    headers: bool = False,
    keys: bool = False,
) -> list[SampledColumn]:
    """Returns the columns of a sample, nested ones opened, in the order of the input.

    Args:
        batches: Of ``schema``, in plain layouts.
        schema: Of the input.
        declared: Paths that a policy names; their names are told whatever they look like.
        headers: Whether the names may come from a first line of a file, which need not be one of names.
        keys: Whether they may come from the keys of objects, which need not be names either.
    """
    named = {path.steps[:depth] for path in declared for depth in range(1, len(path.steps) + 1)}
    strangers = [name for name in schema.names if (name,) not in named]
    hidden = set(strangers) if headers and any(map(looks_like_value, strangers)) else set()
    if keys:
        hidden |= keyed_fields(pa.struct(list(schema)), _filled(batches, schema)) & set(strangers)
    opened = _Opener(named)
    for place, field in enumerate(schema):
        path = FieldPath((field.name,))
        told = path.steps in named or not (field.name in hidden or looks_like_value(field.name))
        values = _joined([batch.column(place) for batch in batches], field.type)
        opened.column(values, path, str(path) if told else f"(column {place + 1})", told)
    return [_careful(column) for column in opened.columns()]


class _Opener:
    """Goes down into nested columns and gathers their leaves by the name that is told of them."""

    def __init__(self, named: Collection[tuple[str | None, ...]]) -> None:
        self._named = named
        self._found: dict[str, list[SampledColumn]] = {}

    def columns(self) -> Iterator[SampledColumn]:
        """Yields one column for each told name; those of hidden names are one, since their names are values."""
        for told, parts in self._found.items():
            first = parts[0]
            texts = pa.concat_arrays([part.texts for part in parts])
            yield first if len(parts) == 1 else replace(first, told=told, texts=texts, loose=True)

    def column(self, values: pa.Array, path: FieldPath, told: str, named: bool) -> None:
        kind = values.type
        if pa.types.is_dictionary(kind):
            self.column(values.dictionary_decode(), path, told, named)
        elif pa.types.is_struct(kind) and kind.num_fields:
            self._struct(values, path, told, named)
        elif is_list(kind):
            self.column(open_list(values).values, path.child(EACH), f"{told}[]", named)
        elif pa.types.is_map(kind):
            self._leaf(values.keys, path, f"{told}.{KEYS}", named=False)
            self.column(values.items, path, f"{told}.{VALUES}", named=False)
        else:
            self._leaf(values, path, told, named)

    def _struct(self, values: pa.StructArray, path: FieldPath, told: str, named: bool) -> None:
        children = open_struct(values)
        filled = [1 - child.null_count / max(len(child), 1) for child in children]
        keyed = keyed_fields(values.type, filled)
        keys = []
        for child, field in zip(children, values.type, strict=True):
            below = path.child(field.name)
            plain = below.steps in self._named or (field.name not in keyed and is_told_field(field.name))
            if not plain:
                keys.append(field.name)
            name = str(FieldPath((field.name,))) if plain else HIDDEN
            self.column(child, below, f"{told}.{name}", named and plain)
        if keys:
            self._leaf(pa.array(keys, pa.string()), path, f"{told}.{KEYS}", named=False)

    def _leaf(self, values: pa.Array, path: FieldPath, told: str, named: bool) -> None:
        column = SampledColumn(
            path=path, told=told, named=named, kind=values.type, texts=_texts(values), loose=not named
        )  # fmt: skip
        self._found.setdefault(told, []).append(column)


def _careful(column: SampledColumn) -> SampledColumn:
    """Hides the name of a column that has the name for a value, unless a developer would write it so."""
    name = column.path.steps[0]
    alone = column.named and len(column.path.steps) == 1
    if not alone or name is None or _WORD.fullmatch(name) or not pc.any(pc.equal(column.texts, name)).as_py():
        return column
    return replace(column, told="(a column named like one of its values)", named=False)


def _filled(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> list[float]:
    rows = max(sum(batch.num_rows for batch in batches), 1)
    nulls = [sum(batch.column(place).null_count for batch in batches) for place in range(len(schema))]
    return [1 - count / rows for count in nulls]


def _joined(chunks: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    if not chunks:
        return pa.nulls(0, kind)
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _texts(values: pa.Array) -> pa.StringArray:
    """Returns values as text; what is no UTF-8 with U+FFFD, what has no text of its own as Python writes it."""
    if pa.types.is_floating(values.type):
        values = _whole(values)
    try:
        texts = values.cast(pa.string())
        texts.validate(full=True)  # Parquet does not say whether its strings are UTF-8
    except pa.ArrowException:
        found = python_values(values.cast(pa.binary()) if _is_string(values.type) else values)
        return pa.array([None if value is None else _decoded(value) for value in found], pa.string())
    return texts


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _whole(values: pa.Array) -> pa.Array:
    """Returns floats that are all whole numbers as integers, whose digits can be looked at."""
    values = values.cast(pa.float64())
    held = pc.and_(pc.is_finite(values), pc.less(pc.abs(values), 2.0**63))
    whole = pc.and_kleene(held, pc.equal(pc.floor(values), values))
    return values.cast(pa.int64(), safe=False) if pc.all(whole).as_py() else values


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def found_in(column: SampledColumn, detect: DetectColumn) -> Found:
    """Returns what detection finds in a column, without any text that is one of its values."""
    if column.texts.null_count == len(column.texts):
        return Found(kind=ColumnKind.EMPTY.value, evidence="There is no value to judge by.")
    verdict = detect(column.texts, column.header)
    values = {text for text in pc.unique(column.texts).to_pylist() if text and len(text.strip()) >= QUOTABLE}
    examples = [text for text in verdict.examples if not _tells(text, values)] or _shapes(column.texts)
    return Found(
        kind=verdict.kind.value,
        entity=verdict.entity.value if verdict.entity else None,
        share=verdict.share,
        chance=verdict.chance,
        sample=verdict.sample,
        evidence="" if _tells(verdict.evidence, values) else verdict.evidence,
        examples=tuple(text[:EXAMPLE_WIDTH] for text in examples[:EXAMPLES]),
        leaks=tuple(FoundLeak(entity=leak.entity.value, count=leak.count, share=leak.share) for leak in verdict.leaks),
    )


def _tells(text: str, values: Collection[str]) -> bool:
    """Whether a text holds one of the values, or what could be a part of one that nobody masked."""
    return bool(_UNMASKED.search(text)) or any(value.strip() in text for value in values)


def _shapes(texts: pa.StringArray) -> list[str]:
    """Returns the most frequent shapes: letters as a and A, digits as 9.

    >>> _shapes(pa.array(["c-00114", "c-00002", "Zürich"]))
    ['a-99999', 'Aaaaaa']
    """
    shapes = texts.slice(0, 2000).drop_null()
    shapes = pc.replace_substring_regex(pc.utf8_slice_codeunits(shapes, 0, EXAMPLE_WIDTH), r"\p{Nd}", "9")
    shapes = pc.replace_substring_regex(shapes, r"[\p{Ll}\p{Lo}\p{Lm}\p{M}]", "a")
    shapes = pc.replace_substring_regex(shapes, r"[\p{Lu}\p{Lt}]", "A")
    shapes = pc.replace_substring_regex(shapes, r"[^ -~]", "·")
    counts = pc.value_counts(shapes).to_pylist()
    ordered = sorted(counts, key=lambda each: (-each["counts"], each["values"]))
    return [each["values"] for each in ordered[:EXAMPLES] if each["values"].strip()]

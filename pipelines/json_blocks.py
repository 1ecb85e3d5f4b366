"""Has Arrow parse those lines of a block of JSON Lines that it can be trusted with.

Arrow's parser is fast and lenient: it takes several objects on a line, NaN, and bytes that are no UTF-8, stops at a
NUL, and rounds whole numbers to floats. All that is checked around it. It is always given an explicit schema, for what
it infers is no good either: text becomes timestamps, long whole numbers become floats, and inference recurses once for
each level of nesting until the stack ends.

One bad line fails all that are parsed with it. Arrow mostly names the row, so the lines behind it are parsed next, and
those before all of these rows once more together: a block with some bad lines is parsed twice. Lines whose value
contradicts the type of a column are sorted out by a look at their text, and where nothing is named, by halving. All
this only decides who reads a line; what becomes of it does not depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from .json_quoting import quoted, text_columns
from .json_records import EXACT_IN_FLOAT
from .line_tables import Bools, LineTable, Longs

__all__ = ["BY_LINE", "Part", "parsed_parts"]

BY_LINE = 64
"""So many lines are left to be read one by one rather than divided again."""

NEAR = 8
"""Where bad lines are closer together, asking Arrow again costs more than looking at them."""

PART_LINES = 1024
"""Among so many lines the bad ones are looked for by halving."""

_CONFLICT = re.compile(r"Column\(.*/([^/\[\]]+)(/\[\])?\) changed from (?!null)(\w+) to (\w+) in row")
_ROW = re.compile(r"in row ([0-9]{1,9})$")
_LONG_NUMBER = re.compile(r"couldn't parse:-?[0-9]{19,}$")
_BEGINS = {"number": rb"[-0-9]", "string": rb'"', "boolean": rb"[tf]", "array": rb"\[", "object": rb"\{"}
_SEVERAL_OBJECTS = rb"\}[ \t\r]*\{"
_NINETEEN_DIGITS = rb"[:,\[][ \t\r]*-?[0-9]{19}"


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of a block.

    Attributes:
        places: In the table of lines, ascending.
        rows: One for each line; None where each needs a look of its own.
        quoted: By the name of a column of text, the places of lines whose value is a whole number; also of lines that
            are not in this part.
    """

    places: Longs
    rows: pa.RecordBatch | None
    quoted: Mapping[str, Longs]


def parsed_parts(lines: LineTable, schema: Callable[[], pa.Schema]) -> Iterator[Part]:
    """Yields all sound lines in parts.

    Args:
        lines: Of one block.
        schema: Gives the schema for the next part.
    """
    search = _Search(lines)
    while (places := search.next_lines()) is not None:
        current = schema()
        rows = _parsed(search.text_for(current).span(places), len(places), current)
        if isinstance(rows, pa.RecordBatch):
            search.done(places)
            yield Part(places, rows, search.quoted)
            continue
        alone = search.sort_out(places, rows, current)
        if len(alone):
            search.done(alone)
            yield Part(alone, None, {})


@dataclass(frozen=True, slots=True)
class _Complaint:
    """Why Arrow's rows of some lines cannot be used: its words, or which of the rows."""

    words: str = ""
    rows: Longs | None = None


@dataclass(slots=True)
class _Search:
    """Narrows down which lines of a block need a look of their own.

    Attributes:
        lines: As they are.
        text: As Arrow is given them: lines that are done with are blank, so that others need not be joined again.
        quoted: As in ``Part``.
        left: Whether a line is not done with.
        waiting: Lines to be parsed, the next ones last.
        passed: Lines that Arrow went over before it complained of another.
        looked: Whether lines with several objects were looked for.
        walking: Whether the rows that Arrow names are believed. Where lines that passed fail all the same, they are
            halved.
        stride: How many lines are given up at once; more, the closer together bad ones are.
    """

    lines: LineTable
    text: LineTable = field(init=False)
    quoted: dict[str, Longs] = field(default_factory=dict)
    left: Bools = field(init=False)
    waiting: list[Longs] = field(init=False)
    passed: list[Longs] = field(default_factory=list)
    looked: bool = False
    walking: bool = True
    stride: int = 1
    _schema: pa.Schema | None = None

    def __post_init__(self) -> None:
        self.text = self.lines
        self.left = self.lines.sound.copy()
        self.waiting = [np.flatnonzero(self.left)]
        self._blank(~self.left)

    def next_lines(self) -> Longs | None:
        """Returns the places of lines that are to be parsed together; None at the end."""
        while self.waiting:
            places = self.waiting.pop()
            if len(places):
                return places
        if not self.passed:
            return None
        places, self.passed, self.walking = np.sort(np.concatenate(self.passed)), [], False
        return places if len(places) else None

    def text_for(self, schema: pa.Schema) -> LineTable:
        """Returns the lines, quoted as the schema allows, which may have got another column of the name since."""
        if self.quoted and schema is not self._schema and not self.quoted.keys() <= text_columns(schema):
            self.text, self.quoted = self.lines, {}
            self._blank(~self.left)
        self._schema = schema
        return self.text

    def done(self, places: Longs) -> None:
        """Takes lines out of those that are parsed."""
        self.left[places] = False
        if self.left.any():
            self._blank(places)

    def _blank(self, which: Longs | Bools) -> None:
        starts, ends = self.text.starts[which].tolist(), self.text.ends[which].tolist()
        if not starts:
            return
        data = self.text.data
        if not isinstance(data, bytearray):
            data = bytearray(data)
            self.text = replace(self.text, data=data)
        for start, end in zip(starts, ends, strict=True):
            data[start:end] = b" " * (end - start)

    def sort_out(self, places: Longs, complaint: _Complaint, schema: pa.Schema) -> Longs:
        """Divides lines that could not be parsed together, and returns which of them need a look of their own."""
        if self._quote(complaint.words, schema):
            self.waiting.append(places)
            return places[:0]
        odd = self._odd(places, complaint)
        if not len(odd) and not self.looked:
            # Several objects on a line shift the rows that Arrow names.
            self.looked, odd = True, self._like(places, _SEVERAL_OBJECTS)
        if len(odd):
            self.waiting.append(np.setdiff1d(places, odd, assume_unique=True))
            return odd
        named = _ROW.search(complaint.words) if self.walking else None
        if named is not None and int(named[1]) < len(places):
            return self._walk(places, int(named[1]))
        if len(places) <= BY_LINE:
            return places
        size = PART_LINES if len(places) > PART_LINES else (len(places) + 1) // 2
        self.waiting += [places[at : at + size] for at in range(0, len(places), size)][::-1]
        return places[:0]

    def _walk(self, places: Longs, row: int) -> Longs:
        self.stride = min(2 * self.stride, BY_LINE) if row < NEAR else 1
        behind = row + self.stride
        self.passed.append(places[:row])
        self.waiting.append(places[behind:])
        return places[row:behind]

    def _quote(self, words: str, schema: pa.Schema) -> bool:
        """Quotes the whole numbers that Arrow found in a column of text; returns False where that cannot be done."""
        found = _CONFLICT.search(words)
        if found is None or found.group(2, 3, 4) != (None, "string", "number"):
            return False
        name = found[1]
        if name in self.quoted or name not in text_columns(schema):
            return False
        self.text, self.quoted[name] = quoted(self.text, name)
        return True

    def _odd(self, places: Longs, complaint: _Complaint) -> Longs:
        """Returns the lines that seem to hold what is complained of; none where it has no looks of its own."""
        if complaint.rows is not None:
            return places[complaint.rows]
        pattern = _looks_of(complaint.words)
        return places[:0] if pattern is None else self._like(places, pattern)

    def _like(self, places: Longs, pattern: bytes) -> Longs:
        """Returns the lines with a pattern, unless there are so many that it tells nothing."""
        hits = np.array([hit.start() for hit in re.finditer(pattern, self.text.span(places))], np.int64)
        odd = np.intersect1d(self.text.places_of(hits + self.text.starts[places[0]]), places)
        return odd if len(odd) <= max(len(places) // 2, 1) else odd[:0]


def _looks_of(words: str) -> bytes | None:
    """Returns a pattern of what Arrow complains of, in the text of a line; None where that has no looks of its own."""
    if _LONG_NUMBER.search(words):
        return _NINETEEN_DIGITS
    found = _CONFLICT.search(words)
    if found is None or found[4] not in _BEGINS:
        return None
    name, element = re.escape(found[1].encode()), rb"\[(?:[^\]]*,)?[ \t]*" if found[2] else b""
    return rb'"%b"[ \t]*:[ \t]*%b%b' % (name, element, _BEGINS[found[4]])


def _parsed(text: memoryview, count: int, schema: pa.Schema) -> pa.RecordBatch | _Complaint:
    """Returns the rows of ``count`` lines, between which others may be blank, or what is wrong with them.

    Each line is between braces, and a line break in a string is no JSON; so as many rows as lines are one on each.
    """
    try:
        table = pj.read_json(
            pa.BufferReader(text),
            pj.ReadOptions(use_threads=False, block_size=len(text) + 1),
            pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid as error:
        return _Complaint(str(error))
    except UnicodeDecodeError:
        return _Complaint()
    if table.num_rows != count:
        return _Complaint()
    rows = pa.RecordBatch.from_struct_array(table.to_struct_array().combine_chunks())
    inexact = np.unique(np.concatenate([np.empty(0, np.int64), *map(_inexact, rows.columns)]))
    return _Complaint(rows=inexact) if len(inexact) else rows


def _inexact(column: pa.Array) -> Longs:
    """Returns the rows with a float so large that a whole number may have been rounded, or that is no number at all."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.num_fields:
        return np.concatenate([_inexact(column.field(place)) for place in range(kind.num_fields)])
    if pa.types.is_list(kind):
        parents: Longs = pc.list_parent_indices(column).to_numpy()
        return parents[_inexact(column.flatten())]
    if not pa.types.is_floating(kind):
        return np.empty(0, np.int64)
    exact = pc.less(pc.abs(column), float(EXACT_IN_FLOAT))
    return np.flatnonzero(~exact.fill_null(True).to_numpy(zero_copy_only=False))

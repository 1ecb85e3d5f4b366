"""Makes record batches of messages that are one JSON object each.

All messages of a block are parsed together with the columns that are known; only those that do not fit are looked at
one by one. What most of these have at a path that was not known becomes its type, and they are read with the grown
columns. So no message is parsed again that was well, and what is known is never taken back by a single record.

Data in the names of fields must not make the columns grow without end. Where there would be too many, what was learned
since the start is forgotten, fields that only few messages have are left out, and those messages are rejected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import orjson
import pyarrow as pa

from ...schemas.errors import SecretError
from ...schemas.record_columns import POSITION
from ..json_lines import LineParser, in_order
from ..json_records import JsonFault, Record, load_record, record_fitter
from ..json_types import MAX_PATHS, JsonTypes
from ..line_tables import Longs, lines_of
from ..splits import ReadBatch, RejectedLine, joined
from ..text_blocks import BLOCK_BYTES
from .sources import Messages
from .stream_columns import cells_limit, count_paths, grown, plain_columns, stream_batch

__all__ = ["JsonMessages", "message_record"]

LONGEST = 64 * 2**20
"""Bytes of a message, as of a line."""


class JsonMessages:
    """A ``MessageReader``; used by one thread.

    Args:
        columns: What is known from the start, of the kinds that ``JsonTypes`` gives; may be empty.
    """

    def __init__(self, columns: pa.Schema) -> None:
        self._start = pa.schema([pa.field(each.name, _parsed_as(each.type)) for each in columns])
        self._know(self._start)

    @property
    def columns(self) -> pa.Schema:
        """The columns that it knows by now, as batches have them, without ``POSITION``."""
        return self._columns

    def _know(self, columns: pa.Schema) -> None:
        self._known = columns
        self._parser = LineParser(columns)
        self._plain = plain_columns(columns)
        self._columns = pa.schema([each for each in self._plain if each.name != POSITION])
        self._most = cells_limit(columns)

    def read(self, messages: Messages) -> Iterator[ReadBatch]:
        """Yields the rows of messages, ``POSITION`` being their offset, and what could not become one.

        Batches hold what was known when they were parsed: those of messages that brought something new come behind
        the others of their block, and have more columns.
        """
        at = 0
        while at < len(messages.values):
            end = self._end_of_block(messages.values, at)
            yield from self._read_block(_Block.of(messages, at, end))
            at = end

    def _end_of_block(self, values: Sequence[bytes | None], start: int) -> int:
        """Returns the place behind the last message that is parsed together with that at ``start``."""
        size, stop = 0, min(start + self._most, len(values))
        for place in range(start, stop):
            size += len(values[place] or b"")
            if size > BLOCK_BYTES:
                return max(place, start + 1)
        return stop

    def _read_block(self, block: _Block) -> Iterator[ReadBatch]:
        lines = lines_of(block.data, 0) if block.data else lines_of(b"\n", 0)
        if len(self._known):
            batches, places, alone = self._parser.together(lines)
        else:
            batches, places, alone = [], np.empty(0, np.int64), np.arange(len(lines.numbers))
        look = _Look(block)
        # Blank messages, and those that no line could be made of, are not in the table.
        missing = np.setdiff1d(np.arange(len(block.values)), lines.numbers, assume_unique=True)
        look.at(np.sort(np.concatenate([lines.numbers[alone], missing])), self._parser)
        rows = joined([*batches, self._parser.rows(look.fitting)], self._known)
        rows, numbers = in_order(rows, np.concatenate([lines.numbers[places], np.array(look.places, np.int64)]))
        if rows.num_rows:
            yield self._batch(block, rows, numbers)
        yield from self._learn(block, look)
        if look.rejected:
            yield self._rejected(block, look)

    def _batch(self, block: _Block, rows: pa.RecordBatch, numbers: Longs) -> ReadBatch:
        return ReadBatch(batch=stream_batch(block.partition, self._plain, rows, block.offsets[numbers]))

    def _rejected(self, block: _Block, look: _Look) -> ReadBatch:
        none = stream_batch(block.partition, self._plain, self._parser.rows([]), np.empty(0, np.int64))
        look.rejected.sort(key=lambda line: line.position)
        return ReadBatch(batch=none, rejected=look.rejected)

    def _learn(self, block: _Block, look: _Look) -> Iterator[ReadBatch]:
        """Yields the rows of messages that did not fit, where more columns can hold them."""
        if not look.misfits:
            return
        types = JsonTypes()
        for place, record in look.misfits:
            types.add(record, place)
        all_found = grown(self._known, types.arrow_schema())
        found, least = all_found, 1
        while count_paths(found) > MAX_PATHS:
            least *= 2
            found = grown(self._start, types.common(least).arrow_schema()) if least < 2**40 else self._start
        if found != self._known:
            self._know(found)
        records, places = look.again(self._parser, record_fitter(all_found) if least > 1 else None)
        for at in range(0, len(records), self._most):
            part = slice(at, at + self._most)
            yield self._batch(block, self._parser.rows(records[part]), np.array(places[part], np.int64))


@dataclass(frozen=True, slots=True)
class _Block:
    """Some messages that are parsed together; holds raw values.

    Attributes:
        partition: Where they come from.
        values: As they are.
        offsets: ``int64``, as many.
        data: One line for each, blank where it can be none.
    """

    partition: str
    values: Sequence[bytes | None] = field(repr=False)
    offsets: Longs
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, messages: Messages, start: int, end: int) -> _Block:
        values = messages.values[start:end]
        return cls(messages.partition, values, messages.offsets[start:end], _lines(values))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("messages hold raw values and cannot be copied")


def _lines(values: Sequence[bytes | None]) -> bytes:
    """Returns messages as one line each; those that cannot be one are blank."""
    if None not in values:
        data = b"\n".join(values)  # type: ignore[arg-type]
        if data.count(b"\n") == len(values) - 1 and len(data) <= LONGEST:
            return data
    return b"\n".join([_line(value or b"") for value in values])


def _line(value: bytes) -> bytes:
    if len(value) > LONGEST:
        return b""
    return value if b"\n" not in value else _without_breaks(value)


def _without_breaks(value: bytes) -> bytes:
    """Returns a message with spaces for line breaks; blank where it is no JSON, as with a line break in a string."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            # Of what orjson does not take, numbers of many digits are to become records all the same.
            json.loads(value.decode(), parse_int=str)
        except (ValueError, RecursionError):
            return b""
    return value.replace(b"\n", b" ").replace(b"\r", b" ")


class _Look:
    """What a look at single messages of a block has found.

    Attributes:
        fitting: Records of the known columns.
        places: Of ``fitting``, in the block.
        misfits: Records that do not fit them, with their places.
        rejected: What is no record, or fits no columns.
    """

    __slots__ = ("_block", "fitting", "misfits", "places", "rejected")

    def __init__(self, block: _Block) -> None:
        self._block = block
        self.fitting: list[Record] = []
        self.places: list[int] = []
        self.misfits: list[tuple[int, Record]] = []
        self.rejected: list[RejectedLine] = []

    def at(self, places: Longs, parser: LineParser) -> None:
        """Looks at the messages at some places, ascending."""
        for place in places.tolist():
            record = message_record(self._block.values[place])
            if isinstance(record, JsonFault):
                self._reject(place, record, None)
                continue
            fitted = parser.fitted(record)
            if isinstance(fitted, JsonFault):
                self.misfits.append((place, record))
            else:
                self.fitting.append(fitted)
                self.places.append(place)

    def again(
        self, parser: LineParser, unbounded: Callable[[Record], Record | JsonFault] | None
    ) -> tuple[list[Record], list[int]]:
        """Returns the misfits that fit other columns, and their places; rejects the rest.

        Args:
            parser: Of the columns.
            unbounded: Fits records to the columns that there would be without a bound; None: to the same.
        """
        records, places = [], []
        for place, record in self.misfits:
            fitted = parser.fitted(record)
            if not isinstance(fitted, JsonFault):
                records.append(fitted)
                places.append(place)
                continue
            many = unbounded is not None and not isinstance(unbounded(record), JsonFault)
            self._reject(place, JsonFault.TOO_MANY_FIELDS if many else fitted, record)
        return records, places

    def _reject(self, place: int, fault: JsonFault, record: Record | None) -> None:
        raw, offset = self._block.values[place] or b"", int(self._block.offsets[place])
        self.rejected.append(RejectedLine(position=offset, reason=fault.value, raw=raw, parsed=record))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("messages hold raw values and cannot be copied")


def message_record(value: bytes | None) -> Record | JsonFault:
    """Returns the object that a message holds, or what is wrong with it."""
    value = value or b""
    if len(value) > LONGEST:
        return JsonFault.TOO_LONG
    return load_record((_without_breaks(value) or value) if b"\n" in value else value)


def _parsed_as(kind: pa.DataType) -> pa.DataType:
    """Returns a type of batches as it is parsed: elements without values are structs without fields."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(each.name, _parsed_as(each.type)) for each in kind])
    if pa.types.is_list(kind):
        element = _parsed_as(kind.value_type)
        return pa.list_(pa.struct([]) if pa.types.is_null(element) else element)
    return kind

"""Makes record batches of messages that are one Avro record each.

With a schema registry, messages begin with a byte 0 and the id of their schema in four bytes, and the schema is
fetched once. Messages without that, and all of them where there is no registry, are of the schema that is given.
Each batch holds records of one schema. Columns grow as those of JSON do, and what contradicts them is rejected.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from fastavro import schemaless_reader

from ...schemas.errors import ConfigError, InputError, SecretError
from ...schemas.record_columns import POSITION, RESERVED_PREFIX
from ..json_records import JsonFault
from ..splits import ReadBatch, RejectedLine
from ..text_blocks import BLOCK_BYTES
from .avro_columns import AvroSchema, MisfitError, UnsupportedSchemaError, fitter, too_many
from .schema_registry import SchemaRegistry
from .sources import Messages
from .stream_columns import cells_limit, grown, plain_columns, stream_batch

__all__ = ["AvroFault", "AvroMessages", "avro_reader_maker"]

MAGIC = 0
HEADER = 5


class AvroFault(StrEnum):
    """Why a message cannot become a row."""

    INVALID_AVRO = "invalid_avro"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNSUPPORTED_SCHEMA = "unsupported_schema"
    WRONG_TYPE = JsonFault.WRONG_TYPE.value
    OUT_OF_RANGE = JsonFault.OUT_OF_RANGE.value
    TOO_MANY_FIELDS = JsonFault.TOO_MANY_FIELDS.value


def avro_reader_maker(schema: Path | None, registry: str | None) -> Callable[[pa.Schema], AvroMessages]:
    """Returns what makes readers that know some columns; they share what is fetched.

    Args:
        schema: File (``.avsc``) of the writer's schema of messages without a header.
        registry: URL of the schema registry of messages with one.

    Raises:
        ConfigError: The file cannot be read or makes no columns, or the URL is none.
    """
    given = None if schema is None else _read_schema(schema)
    shared = None if registry is None else SchemaRegistry(registry)
    return lambda columns: AvroMessages(given, shared, columns)


def _read_schema(path: Path) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        AvroSchema(found)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    except UnsupportedSchemaError as error:
        problem = str(error)
    except (ValueError, RecursionError):
        problem = "is no JSON"
    else:
        return found
    raise ConfigError(f"{path.name}: {problem}; name a file with the Avro schema of the messages")


class AvroMessages:
    """A ``MessageReader``; used by one thread.

    Args:
        schema: The writer's, as JSON, of messages without a header; None: there are none.
        registry: Where a registry is given, messages that begin with a byte 0 have a header.
        columns: What is known from the start; may be empty.

    Raises:
        InputError: The schema makes no columns.
    """

    def __init__(self, schema: Any | None, registry: SchemaRegistry | None, columns: pa.Schema) -> None:
        self._registry = registry
        self._given = None if schema is None else _given(schema)
        self._schemas: dict[int, AvroSchema | AvroFault] = {}
        self._know(columns)

    def _know(self, columns: pa.Schema) -> None:
        self._known = columns
        self._plain = plain_columns(columns)
        self._columns = pa.schema([each for each in self._plain if each.name != POSITION])
        self._most = cells_limit(columns)
        self._decoders: dict[int | None, _Decoder | AvroFault] = {}

    @property
    def columns(self) -> pa.Schema:
        """The columns that it knows by now, as batches have them, without ``POSITION``."""
        return self._columns

    def read(self, messages: Messages) -> Iterator[ReadBatch]:
        """Yields the rows of messages, ``POSITION`` being their offset, and what could not become one.

        Raises:
            RunError: The registry cannot be reached.
        """
        places: dict[int | None, list[int]] = {}
        rejected: list[RejectedLine] = []
        for place, value in enumerate(messages.values):
            found = self._schema_of(value)
            if isinstance(found, AvroFault):
                rejected.append(_rejected(messages, place, found))
            else:
                places.setdefault(found, []).append(place)
        for schema_id, members in places.items():
            yield from self._read_one(messages, schema_id, members, rejected)
        if rejected:
            struct = pa.array([], pa.struct(list(self._known)))
            rows = pa.RecordBatch.from_struct_array(struct)
            none = stream_batch(messages.partition, self._plain, rows, np.empty(0, np.int64))
            rejected.sort(key=lambda line: line.position)
            yield ReadBatch(batch=none, rejected=rejected)

    def _schema_of(self, value: bytes | None) -> int | AvroFault | None:
        """Returns the id of a message's schema; None for the one that is given."""
        if value is None:
            return AvroFault.INVALID_AVRO
        if self._registry is not None and value[:1] == b"\0":
            return AvroFault.INVALID_AVRO if len(value) < HEADER else int.from_bytes(value[1:HEADER], "big")
        return AvroFault.INVALID_AVRO if self._given is None else None

    def _read_one(
        self, messages: Messages, schema_id: int | None, members: list[int], rejected: list[RejectedLine]
    ) -> Iterator[ReadBatch]:
        decoder = self._decoder(schema_id)
        if isinstance(decoder, AvroFault):
            rejected += [_rejected(messages, place, decoder) for place in members]
            return
        kept = _Rows()
        for place in members:
            value = messages.values[place] or b""
            if len(kept.places) >= self._most or kept.size + len(value) > BLOCK_BYTES:
                yield self._batch(messages, kept)
                kept = _Rows()
            found = decoder.row(value, 0 if schema_id is None else HEADER)
            if isinstance(found, _Misfit):
                rejected.append(_rejected(messages, place, found.fault, found.record))
            else:
                kept.add(found, place, len(value))
        if kept.places:
            yield self._batch(messages, kept)

    def _batch(self, messages: Messages, kept: _Rows) -> ReadBatch:
        rows = pa.RecordBatch.from_struct_array(pa.array(kept.records, pa.struct(list(self._known))))
        offsets = messages.offsets[np.array(kept.places, np.int64)]
        return ReadBatch(batch=stream_batch(messages.partition, self._plain, rows, offsets))

    def _decoder(self, schema_id: int | None) -> _Decoder | AvroFault:
        known = self._decoders.get(schema_id)
        if known is not None:
            return known
        schema = self._given if schema_id is None else self._fetched(schema_id)
        if schema is None or isinstance(schema, AvroFault):
            return schema or AvroFault.INVALID_AVRO
        columns = grown(self._known, _unreserved(schema.columns))
        if too_many(columns):
            return AvroFault.TOO_MANY_FIELDS
        if columns != self._known:
            self._know(columns)
        decoder = self._decoders[schema_id] = _Decoder(schema, columns)
        return decoder

    def _fetched(self, schema_id: int) -> AvroSchema | AvroFault:
        if schema_id not in self._schemas:
            found = None if self._registry is None else self._registry.answer(schema_id)
            if found is None:
                return AvroFault.UNKNOWN_SCHEMA
            self._schemas[schema_id] = _from_registry(found)
        return self._schemas[schema_id]


def _given(schema: Any) -> AvroSchema:
    try:
        return AvroSchema(schema)
    except UnsupportedSchemaError as error:
        problem = str(error)
    raise InputError(f"Avro schema: {problem}")


def _from_registry(answer: dict[str, Any]) -> AvroSchema | AvroFault:
    if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
        return AvroFault.UNSUPPORTED_SCHEMA
    try:
        return AvroSchema(json.loads(answer["schema"]))
    except (UnsupportedSchemaError, ValueError, RecursionError):
        return AvroFault.UNSUPPORTED_SCHEMA


def _unreserved(columns: pa.Schema) -> pa.Schema:
    return pa.schema([each for each in columns if not each.name.startswith(RESERVED_PREFIX)])


def _rejected(messages: Messages, place: int, fault: AvroFault, record: dict[str, Any] | None = None) -> RejectedLine:
    raw = messages.values[place] or b""
    return RejectedLine(position=int(messages.offsets[place]), reason=fault.value, raw=raw, parsed=record)


@dataclass(slots=True)
class _Rows:
    """Decoded records that wait to become a batch."""

    records: list[dict[str, Any]] = field(default_factory=list, repr=False)
    places: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, record: dict[str, Any], place: int, size: int) -> None:
        self.records.append(record)
        self.places.append(place)
        self.size += size

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("records hold raw values and cannot be copied")


@dataclass(frozen=True, slots=True)
class _Misfit:
    fault: AvroFault
    record: dict[str, Any] | None = field(default=None, repr=False)


class _Decoder:
    """Decodes messages of one schema for some columns."""

    def __init__(self, schema: AvroSchema, columns: pa.Schema) -> None:
        self._plain = schema.plain
        self._fitted: Callable[[dict[str, Any]], dict[str, Any]] = fitter(schema, columns)

    def row(self, value: bytes, start: int) -> dict[str, Any] | _Misfit:
        """Returns the record in a message behind its header, as ``pyarrow.array`` takes it."""
        stream = io.BytesIO(value)
        stream.seek(start)
        try:
            record: Any = schemaless_reader(stream, self._plain, None)
        except (EOFError, LookupError, ValueError, TypeError, OverflowError, MemoryError):
            return _Misfit(AvroFault.INVALID_AVRO)
        if stream.tell() != len(value):
            return _Misfit(AvroFault.INVALID_AVRO)
        try:
            return self._fitted(record)
        except MisfitError as error:
            return _Misfit(AvroFault.WRONG_TYPE if error.in_range else AvroFault.OUT_OF_RANGE, record)

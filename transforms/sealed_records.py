"""Seals records before they wait for consent, and opens of them what consent has let survive.

A record is sealed under the data key of its subject, each part of it (see ``record_parts``) in an envelope of its own:
a part that no purpose permits to collect is thrown away sealed, and so is a whole record that may not be collected.
Erasing the subject makes all of it noise. Without a subject, or of an erased one, there is only the rest, under a key
of the day, for nothing that asks for a permission could survive.

Associated data binds tenant, dataset, place, subject, event time and the part's purposes: nothing can be moved to where
more is permitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.errors import SecretError
from ..schemas.sealed_record import CLASSES_KEY, SEALED_RECORD_SCHEMA
from .crypto.envelope import associated_data, bytes_field, number_field, open_many, seal, seal_many, text_field
from .dead_letters import key_period
from .nested_columns import numpy_bools
from .record_parts import PartedRecord, RecordParts, whole_record

__all__ = ["KeysOfRecords", "OpenedRecords", "PlacedRecords", "RecordSealer", "open_records", "part_classes"]

USE = "waiting-record"
NO_TIME = -(2**63)

Bools = np.ndarray[Any, np.dtype[np.bool_]]


class KeysOfRecords(Protocol):
    """What is needed of the data keys."""

    def keys_for(self, refs: Sequence[bytes], *, create: bool) -> Mapping[bytes, bytes]:
        """Returns the keys of subjects; none for the erased."""
        ...

    def day_key(self, day: str, *, expires_at: int) -> bytes:
        """Returns the key of a period, made when it is first asked for."""
        ...

    def find_day_key(self, day: str, *, at: int) -> bytes | None:
        """Returns the key of a period, or None where it is destroyed or over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlacedRecords:
    """Raw records of one partition, with whose they are and when they happened; never a Beam element.

    Attributes:
        partition: Name of the partition.
        offsets: ``int64 (n,)``.
        records: As ``load_record`` gives them; used up by sealing.
        subjects: ``fixed_size_binary(16)``, null where a record names nobody.
        event_times: ``timestamp[us, UTC]``, null where there is none.
    """

    partition: str
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    records: Sequence[dict[str, Any]]
    subjects: pa.FixedSizeBinaryArray
    event_times: pa.TimestampArray

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("records hold raw values and cannot be copied before they are sealed")


class RecordSealer:
    """Seals records of one dataset.

    Args:
        parts: Takes them apart.
        data_keys: The subjects' and the days'.
        tenant: Bound into the envelopes.
        dataset: Likewise.
        retain: How long the rest of a record without a subject may be opened at most.
    """

    def __init__(
        self, parts: RecordParts, data_keys: KeysOfRecords, *, tenant: str, dataset: str, retain: timedelta
    ) -> None:
        self._parts = parts
        self._data_keys = data_keys
        self._tenant = tenant
        self._dataset = dataset
        self._retain = retain
        classes = json.dumps(parts.classes, ensure_ascii=False).encode()
        self._schema = SEALED_RECORD_SCHEMA.with_metadata({CLASSES_KEY: classes})

    def seal(self, placed: PlacedRecords, *, read_at: int) -> pa.RecordBatch:
        """Returns records sealed, of ``SEALED_RECORD_SCHEMA``.

        Args:
            placed: Raw.
            read_at: When they were read, microseconds UTC.

        Raises:
            StoreError: The data keys cannot be used.
            IntegrityError: A data key was changed.
        """
        refs = placed.subjects.to_pylist()
        keys = self._data_keys.keys_for([each for each in refs if each is not None], create=True)
        unknown = any(each is None or each not in keys for each in refs)
        period, day_key = self._day(read_at) if unknown else ("", b"")
        times = pc.fill_null(placed.event_times.cast(pa.int64()), NO_TIME).to_pylist()
        bound = _Bound(self._tenant, self._dataset, placed.partition)
        classes = [text_field(_told(purposes)) for purposes in self._parts.classes]
        periods: list[str | None] = []
        rests: list[bytes] = []
        parts: list[list[bytes | None]] = []
        for record, offset, ref, time in zip(placed.records, placed.offsets.tolist(), refs, times, strict=True):
            parted: PartedRecord = self._parts.parted(record)
            place = bound.to(offset, ref, time)
            key = None if ref is None else keys.get(ref)
            periods.append(period if key is None else None)
            if key is None:
                rests.append(seal(day_key, parted.rest, place))
                parts.append([None] * len(classes))
                continue
            plain, bounds = [parted.rest], [place]
            for part, which in zip(parted.parts, classes, strict=True):
                if part is not None:
                    plain.append(part)
                    bounds.append(place + which)
            envelopes = iter(seal_many(key, plain, bounds))
            rests.append(next(envelopes))
            parts.append([None if part is None else next(envelopes) for part in parted.parts])
        count = len(refs)
        columns = [
            pa.array([placed.partition] * count, pa.string()),
            pa.array(placed.offsets, pa.int64()),
            placed.subjects,
            placed.event_times,
            pa.array([read_at] * count, pa.int64()),
            pa.array(periods, pa.string()),
            pa.array(rests, pa.binary()),
            pa.array(parts, pa.list_(pa.binary())),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _day(self, now: int) -> tuple[str, bytes]:
        period, expires_at = key_period(now, self._retain)
        name = f"stream {period}"
        return name, self._data_keys.day_key(name, expires_at=expires_at)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OpenedRecords:
    """What came of sealed records; raw.

    Attributes:
        lines: JSON of each record that survives; None where it does not.
        erased: Which do not because their keys are gone: the subject was erased while they waited.
    """

    lines: Sequence[bytes | None] = field(repr=False)
    erased: Bools

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("opened records are raw and cannot be copied")


def part_classes(sealed: pa.RecordBatch) -> tuple[tuple[str, ...], ...]:
    """Returns the purposes of each part of sealed records."""
    return tuple(tuple(purposes) for purposes in json.loads((sealed.schema.metadata or {})[CLASSES_KEY]))


def open_records(
    sealed: pa.RecordBatch,
    survives: Bools,
    collected: Sequence[Bools],
    data_keys: KeysOfRecords,
    *,
    tenant: str,
    dataset: str,
    at: int,
) -> OpenedRecords:
    """Returns the records that survive, each with those of its parts that may be collected.

    Args:
        sealed: Of ``SEALED_RECORD_SCHEMA``.
        survives: ``(n,)``, which may be collected as a whole.
        collected: ``(n,)`` for each of ``part_classes``.
        data_keys: As they were sealed with.
        tenant: Of the project.
        dataset: Of the records.
        at: The time now, microseconds UTC.

    Raises:
        IntegrityError: An envelope, or what it is bound to, was changed.
        StoreError: The data keys cannot be read.
    """
    chosen = np.flatnonzero(survives)
    rows = sealed.take(pa.array(chosen))
    refs, periods = rows["subject"].to_pylist(), rows["period"].to_pylist()
    own = [ref for ref, period in zip(refs, periods, strict=True) if period is None and ref is not None]
    keys = data_keys.keys_for(own, create=False)
    days = {period: data_keys.find_day_key(period, at=at) for period in set(periods) if period is not None}
    times = pc.fill_null(rows["event_time"].cast(pa.int64()), NO_TIME).to_pylist()
    classes = [text_field(_told(purposes)) for purposes in part_classes(sealed)]
    open_parts = [numpy_bools(pa.array(each[chosen])).tolist() for each in collected]
    bounds = {name: _Bound(tenant, dataset, name) for name in set(rows["partition"].to_pylist())}
    lines: list[bytes | None] = [None] * sealed.num_rows
    erased = np.zeros(sealed.num_rows, np.bool_)
    columns = (rows["partition"], rows["offset"], rows["rest"], rows["parts"])
    for place, (partition, offset, rest, parts) in enumerate(zip(*(each.to_pylist() for each in columns), strict=True)):
        ref, period = refs[place], periods[place]
        key = days[period] if period is not None else keys.get(ref)
        if key is None:
            erased[chosen[place]] = True
            continue
        bound = bounds[partition].to(offset, ref, times[place])
        wanted = [number for number, part in enumerate(parts) if part is not None and open_parts[number][place]]
        envelopes = [rest, *(parts[number] for number in wanted)]
        plain = open_many(key, envelopes, [bound, *(bound + classes[number] for number in wanted)])
        lines[chosen[place]] = whole_record(plain[0], dict(zip(wanted, plain[1:], strict=True)))
    return OpenedRecords(lines=lines, erased=erased)


def _told(purposes: Sequence[str]) -> str:
    return " ".join(purposes)


class _Bound:
    """What the envelopes of one partition are bound to."""

    def __init__(self, tenant: str, dataset: str, partition: str) -> None:
        self._start = associated_data(USE, tenant, dataset, partition)

    def to(self, offset: int, subject: bytes | None, event_time: int) -> bytes:
        return self._start + number_field(offset) + bytes_field(subject or b"") + number_field(event_time)

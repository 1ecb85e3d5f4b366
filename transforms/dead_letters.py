"""Seals records that could not be processed, so that only place and reason of a failure stand in clear.

A letter is sealed under a key of the day, which is destroyed in time, and where its subject is known under the
subject's data key as well, so that either the end of ``retain`` or erasing the subject makes it unreadable. Fields that
the policy drops by name are taken out before.

A seal is: layout version (1 byte, 1) ‖ length of the day's name (1 byte) ‖ name ‖ length of the subject reference
(1 byte, 0 or 16) ‖ reference ‖ envelope. Its associated data binds tenant, dataset, stage, reason, source, position
and the keys' names, so letters cannot be moved or relabelled. The plaintext is ``j`` ‖ the record as JSON, or ``r`` ‖
the line as it was, where it could not be parsed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

import pyarrow as pa

from ..schemas.consent import format_instant
from ..schemas.dataset import EACH, FieldPath, Step
from ..schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter, LetterKeys
from ..schemas.errors import IntegrityError
from ..schemas.record_columns import POSITION, RESERVED_PREFIX, SOURCE_KEY, SUBJECT
from .crypto.envelope import associated_data, joint_key, open_sealed, seal
from .crypto.subject_references import REFERENCE_BYTES
from .plain_layouts import python_values

__all__ = ["LineOfSource", "Rejected", "Sealer", "key_period", "letter_keys", "open_letter"]

LAYOUT = 1
KEY_USE = "dead letter"
DEEPEST = 100
JSON_RECORD = b"j"
RAW_LINE = b"r"
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Rows that a stage refused, with their reserved columns, and a reason code for each. Never a Beam element."""

    rows: pa.RecordBatch
    stage: str
    reasons: tuple[str, ...]


class LineOfSource(Protocol):
    """A line or row that a source could not make a record of."""

    @property
    def position(self) -> int | None:
        """From 1; None where the source has no places."""
        ...

    @property
    def reason(self) -> str:
        """Stable code."""
        ...

    @property
    def raw(self) -> bytes:
        """The bytes as they were."""
        ...

    @property
    def parsed(self) -> dict[str, Any] | None:
        """The record, where it could be parsed."""
        ...


class KeysOfLetters(Protocol):
    """What the sealer needs of the data keys."""

    def keys_for(self, refs: Sequence[bytes], *, create: bool) -> Mapping[bytes, bytes]:
        """Returns the keys of subjects; none for the erased."""
        ...

    def day_key(self, day: str, *, expires_at: int) -> bytes:
        """Returns the key of a period, made when it is first asked for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    stage: str
    reason: str
    source: str | None
    position: int | None
    subject: bytes | None
    plaintext: bytes


class Sealer:
    """Makes dead letters of one dataset.

    Args:
        data_keys: Where the keys of subjects and days are.
        tenant: Bound into the seals.
        dataset: Name of the dataset.
        subject: Path of the subject's id, for lines that the source could parse but not use.
        dropped: Paths that are taken out before sealing.
        retain: How long a letter may be opened at most.
        now: Microseconds UTC: when the letters are written.
        reference: Gives the subject reference of an id, None for a blank one.
    """

    def __init__(
        self,
        data_keys: KeysOfLetters,
        *,
        tenant: str,
        dataset: str,
        subject: FieldPath,
        dropped: Iterable[FieldPath],
        retain: timedelta,
        now: int,
        reference: Callable[[str], bytes | None],
    ) -> None:
        self._data_keys = data_keys
        self._tenant = tenant
        self._dataset = dataset
        self._subject = subject
        self._dropped = tuple(path.steps for path in dropped)
        self._period, self._expires_at = key_period(now, retain)
        self._reference = reference

    def seal_rejected(self, rejected: Rejected) -> pa.RecordBatch:
        """Returns the dead letters of refused rows, of ``DEAD_LETTER_SCHEMA``."""
        rows = rejected.rows
        records = _records(rows)
        positions = rows[POSITION].to_pylist() if POSITION in rows.schema.names else [None] * len(records)
        subjects = rows[SUBJECT].to_pylist() if SUBJECT in rows.schema.names else self._subjects(records)
        source = _source_of(rows.schema)
        return self._sealed(
            [
                _Letter(
                    stage=rejected.stage,
                    reason=reason,
                    source=source,
                    position=position,
                    subject=subject,
                    plaintext=self._as_json(record),
                )
                for record, reason, position, subject in zip(
                    records, rejected.reasons, positions, subjects, strict=True
                )
            ]
        )

    def seal_lines(self, lines: Iterable[LineOfSource], source: str | None, *, stage: str = "read") -> pa.RecordBatch:
        """Returns the dead letters of lines that a source refused, of ``DEAD_LETTER_SCHEMA``."""
        return self._sealed(
            [
                _Letter(
                    stage=stage,
                    reason=str(line.reason),
                    source=source,
                    position=line.position,
                    subject=None if line.parsed is None else self._subjects([line.parsed])[0],
                    plaintext=RAW_LINE + line.raw if line.parsed is None else self._as_json(line.parsed),
                )
                for line in lines
            ]
        )

    def seal_again(
        self, letter: DeadLetter, record: Mapping[str, Any], *, stage: str, reason: str, day_key: bytes,
        subject_key: bytes | None,
    ) -> DeadLetter:  # fmt: skip
        """Returns a letter that failed again, under its new reason and its first keys: it can be opened no longer.

        Args:
            letter: As it was opened.
            record: What it holds; fields that the policy drops by now are taken out.
            stage: That refused it this time.
            reason: Why.
            day_key: The key of the day that ``letter_keys`` names.
            subject_key: The data key of the subject that it names. Where it names none because the line could not be
                parsed, it gets the key of whom the record names.
        """
        names = letter_keys(letter)
        subject = names.subject or self._subjects([record])[0]
        if names.subject is None and subject is not None:
            subject_key = self._data_keys.keys_for([subject], create=True).get(subject)
        again = _Letter(
            stage=stage,
            reason=reason,
            source=letter.source,
            position=letter.position,
            subject=subject,
            plaintext=self._as_json(record),
        )
        return replace(letter, stage=stage, reason=reason, sealed=self._seal(again, names.day, day_key, subject_key))

    def subject_of(self, record: Mapping[str, Any]) -> bytes | None:
        """Returns the reference to whom a record names; None: nobody."""
        return self._subjects([record])[0]

    def _subjects(self, records: Iterable[Mapping[str, Any]]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for record in records:
            value: Any = record
            for step in self._subject.steps:
                value = value.get(step) if isinstance(value, Mapping) else None
            found.append(self._reference_of(value))
        return found

    def _reference_of(self, value: Any) -> bytes | None:
        """Returns the reference of an id; None where it can name nobody, as half of a character."""
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        try:
            return self._reference(str(value))
        except ValueError:
            return None

    def _as_json(self, record: Mapping[str, Any]) -> bytes:
        for steps in self._dropped:
            record = _without(record, steps)
        try:
            text = json.dumps(record, ensure_ascii=False, default=_plain)
        except (TypeError, ValueError, RecursionError):
            text = json.dumps(_spelled(record), ensure_ascii=False)
        return JSON_RECORD + text.encode("utf-8", "backslashreplace")

    def _sealed(self, letters: Sequence[_Letter]) -> pa.RecordBatch:
        known = sorted({letter.subject for letter in letters if letter.subject is not None})
        keys = self._data_keys.keys_for(known, create=True) if known else {}
        day_key = self._data_keys.day_key(self._period, expires_at=self._expires_at)
        sealed = [
            self._seal(letter, self._period, day_key, None if letter.subject is None else keys.get(letter.subject))
            for letter in letters
        ]
        columns = {
            "stage": [letter.stage for letter in letters],
            "reason": [letter.reason for letter in letters],
            "source": [letter.source for letter in letters],
            "position": [letter.position for letter in letters],
            "dataset": [self._dataset] * len(letters),
            "sealed": sealed,
        }
        return pa.RecordBatch.from_pydict(columns, schema=DEAD_LETTER_SCHEMA)

    def _seal(self, letter: _Letter, period: str, day_key: bytes, subject_key: bytes | None) -> bytes:
        key, subject = day_key, b""
        if subject_key is not None and letter.subject is not None:
            subject, key = letter.subject, joint_key(key, subject_key, use=KEY_USE)
        day = period.encode()
        header = bytes([LAYOUT, len(day)]) + day + bytes([len(subject)]) + subject
        bound = _bound(self._tenant, self._dataset, letter.stage, letter.reason, letter.source, letter.position, header)
        return header + seal(key, letter.plaintext, bound)


def key_period(now: int, retain: timedelta) -> tuple[str, int]:
    """Returns the name of the key that seals at ``now``, and when it must be destroyed.

    A key serves a day, or half of ``retain`` where that is shorter; it expires ``retain`` after its period began, so
    no letter can be opened for longer.

    >>> key_period(1_767_225_600_000_000 + 5, timedelta(days=7))
    ('2026-01-01T00:00:00Z', 1767830400000000)
    """
    length = min(DAY, retain / 2) // MICROSECOND
    start = now // length * length
    return format_instant(start), start + retain // MICROSECOND


def letter_keys(letter: DeadLetter) -> LetterKeys:
    """Returns which keys sealed a letter.

    Raises:
        IntegrityError: The seal is damaged.
    """
    return _opened_header(letter.sealed)[0]


def open_letter(letter: DeadLetter, *, day_key: bytes | None, subject_key: bytes | None, tenant: str) -> bytes:
    """Returns ``j`` and the record as JSON, or ``r`` and the line as it was.

    Args:
        letter: As it stands in a file.
        day_key: The key of the day that ``letter_keys`` names; None: destroyed.
        subject_key: The data key of the subject that it names; None where it names none, or the key is destroyed.
        tenant: Of the project.

    Raises:
        IntegrityError: The letter was changed, moved or relabelled, or a key is another or destroyed.
    """
    names, header = _opened_header(letter.sealed)
    if day_key is None or (subject_key is None) != (names.subject is None):
        raise IntegrityError("a dead letter's key is destroyed: its time is over, or its subject was erased")
    key = day_key if subject_key is None else joint_key(day_key, subject_key, use=KEY_USE)
    bound = _bound(tenant, letter.dataset, letter.stage, letter.reason, letter.source, letter.position, header)
    return open_sealed(key, letter.sealed[len(header) :], bound)


def _opened_header(sealed: bytes) -> tuple[LetterKeys, bytes]:
    """Returns the names of the keys, and the bytes that name them."""
    damaged = IntegrityError("a dead letter is damaged; restore it from a backup")
    try:
        day_end = 2 + sealed[1]
        end = day_end + 1 + sealed[day_end]
        day, subject = sealed[2:day_end].decode("ascii"), sealed[day_end + 1 : end]
    except (IndexError, UnicodeDecodeError):
        raise damaged from None
    if sealed[0] != LAYOUT or len(subject) not in (0, REFERENCE_BYTES) or len(sealed) < end:
        raise damaged
    return LetterKeys(day=day, subject=subject or None), sealed[:end]


def _bound(
    tenant: str, dataset: str, stage: str, reason: str, source: str | None, position: int | None, header: bytes
) -> bytes:
    place = (b"" if source is None else source, b"" if position is None else position)
    return associated_data("dead-letter", tenant, dataset, stage, reason, *place, header)


def _source_of(schema: pa.Schema) -> str | None:
    source = (schema.metadata or {}).get(SOURCE_KEY)
    return None if source is None else source.decode()


def _records(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    names = [name for name in rows.schema.names if not name.startswith(RESERVED_PREFIX)]
    columns = [python_values(rows.column(rows.schema.get_field_index(name))) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] or [{}] * rows.num_rows


def _without(value: Any, steps: tuple[Step, ...]) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step is EACH:
        return [_without(each, rest) for each in value if rest] if isinstance(value, list) else value
    if not isinstance(value, Mapping) or step not in value:
        return value
    if not rest:
        return {name: each for name, each in value.items() if name != step}
    return {**value, step: _without(value[step], rest)}


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _spelled(value: Any, depth: int = 0) -> Any:
    """Returns what JSON can hold of a value that it cannot hold as it is."""
    if depth > DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {_word(name): _spelled(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(each, depth + 1) for each in value]
    if value is None or isinstance(value, bool | float | str):
        return value
    return _word(value)


def _word(value: Any) -> str:
    """Returns a value as text; of numbers with more digits than Python prints, the hexadecimal ones."""
    return hex(value) if isinstance(value, int) and abs(value) >= 1 << 64 else _plain(value)

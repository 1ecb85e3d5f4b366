"""What may be told of dead letters: which there are, which can still be opened, and what one looks like. Never a value.

Listing needs no key, only public ones; showing the shape of a record opens it in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ..schemas.consent import format_instant
from ..schemas.dataset import EACH, Dataset, FieldPath, Step
from ..schemas.dead_letter import LetterKeys
from ..schemas.errors import ConfigError
from ..schemas.policy import Policy
from ..schemas.project import Project
from ..transforms.failures import guarded
from ..transforms.protection_plan import told_path
from ..transforms.stores.data_keys import DataKeys, DataKeyTable
from ..transforms.stores.open_tables import open_data_key_table
from .json_records import Digits
from .letter_reasons import meaning_of
from .letters import ID_DIGITS, OpenedLetter, StoredLetter, open_stored

__all__ = ["LetterAccess", "LetterList", "LetterState", "list_letters", "show_letter"]

MOST_FIELDS = 1000
"""Fields told of one record at most."""


class LetterAccess(StrEnum):
    """Whether a letter can be opened."""

    OPENABLE = "openable"
    TIME_OVER = "time_over"
    ERASED = "subject_erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterState:
    """Whether a letter can be opened, and until when (microseconds UTC; None: no more)."""

    access: LetterAccess
    until: int | None


class _KeyStates:
    """Tells which keys of letters are there, without opening any."""

    def __init__(self, table: DataKeyTable, now: int) -> None:
        self._table = table
        self._now = now
        self._days: dict[str, int | None] = {}

    def of(self, letters: Sequence[StoredLetter]) -> list[LetterState]:
        """Returns the state of each letter."""
        subjects = {each.keys.subject for each in letters if each.keys.subject is not None}
        wrapped = self._table.subject_keys(sorted(subjects)) if subjects else {}
        return [self._state(each.keys, wrapped) for each in letters]

    def _state(self, keys: LetterKeys, wrapped: Mapping[bytes, bytes | None]) -> LetterState:
        until = self._until(keys.day)
        if until is None or until <= self._now:
            return LetterState(access=LetterAccess.TIME_OVER, until=None)
        if keys.subject is not None and wrapped.get(keys.subject) is None:
            return LetterState(access=LetterAccess.ERASED, until=None)
        return LetterState(access=LetterAccess.OPENABLE, until=until)

    def _until(self, day: str) -> int | None:
        if day not in self._days:
            found = self._table.day_key(day)
            self._days[day] = None if found is None else found[0]
        return self._days[day]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterList:
    """Letters of an output with their states."""

    letters: tuple[tuple[StoredLetter, LetterState], ...]

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``dead-letters list --json``."""
        access = Counter(state.access for _, state in self.letters)
        return {
            "total": len(self.letters),
            **{each.value: access[each] for each in LetterAccess},
            "groups": self.groups(),
            "letters": [{"id": each.id, **_place(each), **_state_json(state)} for each, state in self.letters],
        }

    def groups(self) -> list[dict[str, Any]]:
        """Returns the counts by stage, reason and source, most letters first."""
        found: dict[tuple[str, str, str | None], list[tuple[StoredLetter, LetterState]]] = {}
        for each, state in self.letters:
            found.setdefault((each.letter.stage, each.letter.reason, each.letter.source), []).append((each, state))
        return [_group(key, letters) for key, letters in sorted(found.items(), key=lambda item: -len(item[1]))]


def _group(key: tuple[str, str, str | None], letters: Sequence[tuple[StoredLetter, LetterState]]) -> dict[str, Any]:
    days = sorted(each.keys.day for each, _ in letters)
    ends = [state.until for _, state in letters if state.until is not None]
    return {
        "stage": key[0],
        "reason": key[1],
        "source": key[2],
        "letters": len(letters),
        "oldest": days[0],
        "newest": days[-1],
        "openable": len(ends),
        "until": format_instant(max(ends)) if ends else None,
    }


def _place(stored: StoredLetter) -> dict[str, Any]:
    letter = stored.letter
    return {
        "stage": letter.stage,
        "reason": letter.reason,
        "source": letter.source,
        "position": letter.position,
        "dataset": letter.dataset,
        "sealed_since": stored.keys.day,
    }


def _state_json(state: LetterState) -> dict[str, Any]:
    return {"access": state.access.value, "until": None if state.until is None else format_instant(state.until)}


def list_letters(letters: Iterable[list[StoredLetter]], project: Project, *, now: int) -> LetterList:
    """Returns the letters of an output. No key set is unwrapped.

    Args:
        letters: All of it, some at a time.
        project: Says where the data keys are.
        now: Microseconds UTC.

    Raises:
        PrivacyError: The letters or the store cannot be read, or were changed.
    """
    with closing(open_data_key_table(project.data_keys)) as table:
        states = _KeyStates(table, now)
        found = [
            (_unsealed(stored), state) for each in letters for stored, state in zip(each, states.of(each), strict=True)
        ]
    return LetterList(letters=tuple(found))


def _unsealed(stored: StoredLetter) -> StoredLetter:
    """Returns a letter without its seal, which may be long: all of them are held at a time."""
    return replace(stored, letter=replace(stored.letter, sealed=b""))


def show_letter(
    letters: Iterable[list[StoredLetter]],
    letter_id: str,
    project: Project,
    policy: Policy,
    data_keys: DataKeys,
    *,
    now: int,
) -> Any:
    """Returns what may be told of one letter, as the document of ``dead-letters show --json``.

    Args:
        letters: All of an output, some at a time.
        letter_id: The first twelve digits of it, or more.
        project: Of the output.
        policy: Names the paths.
        data_keys: Open the letter, to tell the shape of its record.
        now: Microseconds UTC.

    Raises:
        ConfigError: There is no such letter, or more than one.
    """
    stored = _the_one(letters, letter_id)
    with closing(open_data_key_table(project.data_keys)) as table:
        (state,) = _KeyStates(table, now).of([stored])
    openable = state.access is LetterAccess.OPENABLE
    opened = open_stored([stored], data_keys, project.tenant, at=now)[0] if openable else None
    meaning = meaning_of(stored.letter.stage, stored.letter.reason)
    return {
        "id": stored.id,
        **_place(stored),
        **_state_json(state),
        "says": meaning.says,
        "next": meaning.next_of(holds_record=opened is None or opened.record is not None),
        "holds": None if opened is None else "a line that is no record" if opened.record is None else "a record",
        "shape": None if opened is None else _shape_of(opened, policy),
    }


def _the_one(letters: Iterable[list[StoredLetter]], letter_id: str) -> StoredLetter:
    asked = letter_id.strip().lower()
    if len(asked) < ID_DIGITS or set(asked) - set("0123456789abcdef"):
        raise ConfigError(f"ID: write {ID_DIGITS} hexadecimal digits, as `consentry dead-letters list --json` does")
    found = {each.digest: each for some in letters for each in some if each.digest.startswith(asked)}
    if not found:
        raise ConfigError("ID: the output has no such dead letter; see `consentry dead-letters list --json`")
    if len(found) > 1:
        raise ConfigError(f"ID: is ambiguous; write more digits of one of {', '.join(sorted(found))}")
    return next(iter(found.values()))


@guarded("show dead letters")
def _shape_of(opened: OpenedLetter, policy: Policy) -> list[dict[str, str]] | None:
    """Returns paths and kinds of values, never a value; None where the letter holds no record."""
    dataset = policy.datasets.get(opened.stored.letter.dataset)
    if opened.record is None:
        return None
    kinds: dict[tuple[str, str], None] = {}
    for path, kind in _leaves(opened.record, ()):
        kinds[(_told(path, dataset), kind)] = None
        if len(kinds) >= MOST_FIELDS:
            break
    return [{"path": path, "type": kind} for path, kind in kinds]


def _leaves(value: Any, path: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], str]]:
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from _leaves(child, (*path, name))
    elif isinstance(value, list) and value:
        for child in value:
            yield from _leaves(child, (*path, EACH))
    else:
        yield path, _kind(value)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int | float | Digits):  # Digits are text, too
        return "number"
    if isinstance(value, str):
        return "text"
    return "object" if isinstance(value, dict) else "list"


def _told(path: tuple[Step, ...], dataset: Dataset | None) -> str:
    """Returns a path; of its steps those that the policy does not name are hidden where they could be values."""
    declared = () if dataset is None else (*dataset.fields, dataset.subject, dataset.event_time)
    known = max((_common(path, each.steps) for each in declared), default=0)
    told = FieldPath.parse(told_path(FieldPath(path[known:]))).steps if path[known:] else ()
    return str(FieldPath((*path[:known], *told)))


def _common(path: tuple[Step, ...], other: tuple[Step, ...]) -> int:
    """Returns how many first steps two paths share."""
    count = 0
    for one, two in zip(path, other, strict=False):
        if one != two:
            break
        count += 1
    return count

"""A slow reading of what protection does, value by value over Python records: the oracle for ``protect_batch``.

It knows the input's types, the declared treatments and the permissions of a row, and nothing of the product.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa

REDACTED = "[redacted]"
ABSENT = object()

Steps = tuple[str | None, ...]


class Treatment(NamedTuple):
    """What becomes of a value: ``keep``, ``drop``, ``redact``, ``scan``, ``mask`` (of which the last one shows),
    ``year``, ``token`` or ``strict`` (a token, or the row is refused); without ``collect`` it asks for no permission.
    """

    action: str
    collect: tuple[str, ...] = ()
    distribute: tuple[str, ...] = ()


@dataclass
class Row:
    """What came of one record."""

    record: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    drift: set[Steps] = field(default_factory=set)
    counts: Counter[tuple[Steps, str]] = field(default_factory=Counter)
    vaulted: list[tuple[Steps, str, str]] = field(default_factory=list)


class Model:
    """One dataset over one schema.

    Args:
        rules: Treatments by declared path.
        schema: The customer's columns.
        drift_refuses: Whether a row with an undeclared value is refused.
    """

    def __init__(self, rules: dict[Steps, Treatment], schema: pa.Schema, *, drift_refuses: bool = False) -> None:
        self.rules = rules
        self.schema = schema
        self.drift_refuses = drift_refuses
        self._permits: dict[str, bool] = {}
        self._row = Row()

    def row(self, record: dict[str, Any], permits: dict[str, bool]) -> Row:
        """Returns what comes of a record; with ``reasons`` it may not leave."""
        self._permits, self._row = permits, Row()
        for column in self.schema:
            value = self._value(record[column.name], column.type, (column.name,))
            if value is not ABSENT:
                self._row.record[column.name] = value
        if not any(self.leaves(column.type, (column.name,)) for column in self.schema):
            self._row.reasons.append("nothing_declared")
        if self._row.drift and self.drift_refuses:
            self._row.reasons.append("undeclared_field")
        return self._row

    def class_of(self, permits: dict[str, bool], *, has_subject: bool) -> str:
        """Returns under which word a row that leaves is counted."""
        if not has_subject:
            return "no_subject"
        asking = [rule for rule in self._treatments() if rule.collect]
        given = [rule for rule in asking if _one(permits, rule.collect)]
        if any(_one(permits, rule.distribute) for rule in given):
            return "distributable"
        return "token_only" if given or not asking else "redacted"

    def leaves(self, kind: pa.DataType, path: Steps) -> bool:
        """Whether anything of a column is in the output."""
        rule, below = self._rule(path), self._below(path)
        if self._whole(path) or not (pa.types.is_struct(kind) or is_list(kind)):
            contradicting = below and not pa.types.is_null(kind)
            return rule is not None and rule.action != "drop" and not contradicting
        if self._contradicts(path, is_list(kind)):
            return False
        if is_list(kind):
            return self.leaves(kind.value_type, (*path, None))
        return any(self.leaves(child.type, (*path, child.name)) for child in kind)

    def _treatments(self) -> Iterator[Treatment]:
        pending: list[tuple[pa.DataType, Steps]] = [(column.type, (column.name,)) for column in self.schema]
        while pending:
            kind, path = pending.pop()
            if not self.leaves(kind, path):
                continue
            if self._whole(path) or not (pa.types.is_struct(kind) or is_list(kind)):
                rule = self._rule(path)
                assert rule is not None
                yield rule
            elif is_list(kind):
                pending.append((kind.value_type, (*path, None)))
            else:
                pending += [(child.type, (*path, child.name)) for child in kind]

    def _value(self, value: Any, kind: pa.DataType, path: Steps) -> Any:
        if not self.leaves(kind, path):
            self._note_drift(value, kind, path)
            return ABSENT
        if self._whole(path):
            return self._treated(value, kind, path)
        if pa.types.is_struct(kind):
            return self._struct(value, kind, path)
        if is_list(kind):
            return self._list(value, kind, path)
        return self._treated(value, kind, path)

    def _struct(self, value: Any, kind: pa.DataType, path: Steps) -> Any:
        children = dict.fromkeys(child.name for child in kind) if value is None else value
        found = {child.name: self._value(children[child.name], child.type, (*path, child.name)) for child in kind}
        return None if value is None else {name: each for name, each in found.items() if each is not ABSENT}

    def _list(self, value: Any, kind: pa.DataType, path: Steps) -> Any:
        elements = value
        if value is None:  # a list of fixed size has places even then
            elements = [None] * (kind.list_size if pa.types.is_fixed_size_list(kind) else 0)
        found = [self._value(each, kind.value_type, (*path, None)) for each in elements]
        return None if value is None else found

    def _treated(self, value: Any, kind: pa.DataType, path: Steps) -> Any:
        rule = self._rule(path)
        assert rule is not None
        if value is None:
            return self._counted(path, "null", None)
        if rule.collect and not _one(self._permits, rule.collect):
            return self._counted(path, "redacted_no_permission", REDACTED if _text_after(rule, kind) else None)
        match rule.action:
            case "keep":
                return self._counted(path, "kept", value)
            case "scan" if is_text(kind):
                return self._counted(path, "scanned", value)
            case "redact" | "scan":
                return self._counted(path, "redacted", REDACTED if is_text(kind) else None)
            case "mask":
                return self._counted(path, "masked", _masked(value))
            case "year":
                return self._year(value, path)
            case "token" | "strict":
                return self._token(value, path, rule)
        raise AssertionError(rule)

    def _year(self, value: Any, path: Steps) -> Any:
        if isinstance(value, date):
            return self._counted(path, "generalized", date(value.year, 1, 1))
        if not isinstance(value, str):
            return self._counted(path, "redacted_invalid:wrong_type", REDACTED)
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return self._counted(path, "generalized", value[:4])
        return self._counted(path, "redacted_invalid:not_a_date", REDACTED)

    def _token(self, value: Any, path: Steps, rule: Treatment) -> Any:
        text = _spelt(value)
        unfit = "wrong_type" if text is None else "wrong_characters" if "x" in text else None
        if unfit is None:
            assert text is not None
            if _one(self._permits, rule.distribute):
                self._row.vaulted.append((path, f"t:{text}", text))
            return self._counted(path, "tokenized", f"t:{text}")
        if rule.action == "strict":
            self._row.reasons.append(unfit)
        return self._counted(path, f"redacted_invalid:{unfit}", REDACTED)

    def _counted(self, path: Steps, outcome: str, value: Any) -> Any:
        self._row.counts[path, outcome] += 1
        return value

    def _note_drift(self, value: Any, kind: pa.DataType, path: Steps) -> None:
        """Notes a value at a path that nothing declares, or that is declared with another shape."""
        rule, below = self._rule(path), self._below(path)
        if value is None or (rule is not None and not below):
            return
        nested = pa.types.is_struct(kind) or is_list(kind)
        if not nested or not (below or rule) or self._contradicts(path, is_list(kind)):
            self._row.drift.add(path)
        elif is_list(kind):
            for each in value:
                self._note_drift(each, kind.value_type, (*path, None))
        else:
            for child in kind:
                self._note_drift(value[child.name], child.type, (*path, child.name))

    def _rule(self, path: Steps) -> Treatment | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.rules:
                return self.rules[path[:length]]
        return None

    def _below(self, path: Steps) -> list[Steps]:
        return [declared for declared in self.rules if len(declared) > len(path) and declared[: len(path)] == path]

    def _contradicts(self, path: Steps, listed: bool) -> bool:
        below = self._below(path)
        return bool(below) and all((declared[len(path)] is None) != listed for declared in below)

    def _whole(self, path: Steps) -> bool:
        rule = self._rule(path)
        return not self._below(path) and rule is not None and rule.action in ("keep", "drop")


def is_list(kind: pa.DataType) -> bool:
    """Whether ``[]`` enters values of this type."""
    return isinstance(
        kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType | pa.ListViewType | pa.LargeListViewType
    ) and not pa.types.is_map(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return plain in (pa.string(), pa.large_string(), pa.string_view())


def _text_after(rule: Treatment, kind: pa.DataType) -> bool:
    if rule.action == "year":
        return not pa.types.is_date(kind)
    return rule.action in ("token", "strict", "mask") or is_text(kind)


def _spelt(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict | bytes):
        return None
    return value.isoformat() if isinstance(value, date) else str(value)


def _masked(value: Any) -> str:
    text = _spelt(value)
    if text is None:
        return REDACTED
    return "*" * (len(text) - 1) + text[-1] if len(text) > 1 else "*" * len(text)


def _one(permits: dict[str, bool], purposes: Sequence[str]) -> bool:
    return any(permits[purpose] for purpose in purposes)

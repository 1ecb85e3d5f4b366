"""A slow reading of what protection does, value by value over Python records: the oracle for ``protect_batch``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

REDACTED = "[redacted]"
ABSENT = object()


@dataclass
class Model:
    """One dataset: ``rules`` maps step tuples to a treatment; ``permits`` is of the row at hand."""

    rules: dict[tuple[str | None, ...], Any]
    vaulted: list[tuple[str, str]] = field(default_factory=list)
    refused: str | None = None
    drifted: bool = False
    permits: dict[str, bool] = field(default_factory=dict)

    def row(self, record: dict[str, Any], schema: pa.Schema, permits: dict[str, bool]) -> dict[str, Any] | None:
        """Returns the protected record, or None where it may not leave; see ``refused``, ``drifted``, ``vaulted``."""
        self.permits, self.refused, self.drifted, self.vaulted = permits, None, False, []
        found: dict[str, Any] = {}
        for column in schema:
            value = self._value(record[column.name], column.type, (column.name,))
            if value is not ABSENT:
                found[column.name] = value
        return None if self.refused else found

    def leaves(self, kind: pa.DataType, path: tuple[str | None, ...]) -> bool:
        """Whether anything of a column is in the output."""
        if self._whole(path):
            return self._rule(path)[0] != "drop"
        if pa.types.is_struct(kind):
            return not self._contradicts(path, False) and any(
                self.leaves(child.type, (*path, child.name)) for child in kind
            )
        if _is_list(kind):
            return not self._contradicts(path, True) and self.leaves(kind.value_type, (*path, None))
        return not self._below(path) and self._rule(path) is not None and self._rule(path)[0] != "drop"

    def _value(self, value: Any, kind: pa.DataType, path: tuple[str | None, ...]) -> Any:
        if not self.leaves(kind, path):
            self._note_drift(value, kind, path)
            return ABSENT
        if self._whole(path):
            return self._treated(value, kind, path)
        if pa.types.is_struct(kind):
            return self._struct(value, kind, path)
        if _is_list(kind):
            if value is None:
                return None
            return [self._value(each, kind.value_type, (*path, None)) for each in value]
        return self._treated(value, kind, path)

    def _struct(self, value: Any, kind: pa.DataType, path: tuple[str | None, ...]) -> Any:
        if value is None:
            return None
        found = {child.name: self._value(value[child.name], child.type, (*path, child.name)) for child in kind}
        return {name: each for name, each in found.items() if each is not ABSENT}

    def _treated(self, value: Any, kind: pa.DataType, path: tuple[str | None, ...]) -> Any:
        rule = self._rule(path)
        if value is None:
            return None
        text = pa.types.is_string(kind)
        match rule:
            case ("keep",):
                return value
            case ("redact",):
                return REDACTED if text else None
            case (action, purpose):
                if not self.permits[purpose]:
                    return REDACTED if text or action in ("token", "mask") else None
                if action == "keep_if":
                    return value
                if action == "scan":
                    return REDACTED if text else None
                if action == "mask":
                    shown = str(value)
                    return "*" * (len(shown) - 1) + shown[-1:] if len(shown) > 1 else "*" * len(shown)
            case (action, purpose, distribute):
                if not self.permits[purpose]:
                    return REDACTED
                if "x" in str(value):
                    if action == "strict":
                        self.refused = "wrong_characters"
                    return REDACTED
                if self.permits[distribute]:
                    self.vaulted.append((f"t:{value}", str(value)))
                return f"t:{value}"
        raise AssertionError(rule)

    def _note_drift(self, value: Any, kind: pa.DataType, path: tuple[str | None, ...]) -> None:
        """Notes a value at a path that nothing declares."""
        if value is None:
            return
        rule, below = self._rule(path), self._below(path)
        if not below and rule is not None:
            return
        if pa.types.is_struct(kind) and (below or rule) and not self._contradicts(path, False):
            for child in kind:
                self._note_drift(value[child.name], child.type, (*path, child.name))
        elif _is_list(kind) and (below or rule) and not self._contradicts(path, True):
            for each in value:
                self._note_drift(each, kind.value_type, (*path, None))
        else:
            self.drifted = True

    def _rule(self, path: tuple[str | None, ...]) -> Any:
        for length in range(len(path), 0, -1):
            if path[:length] in self.rules:
                return self.rules[path[:length]]
        return None

    def _below(self, path: tuple[str | None, ...]) -> list[tuple[str | None, ...]]:
        return [declared for declared in self.rules if len(declared) > len(path) and declared[: len(path)] == path]

    def _contradicts(self, path: tuple[str | None, ...], is_list: bool) -> bool:
        below = self._below(path)
        return bool(below) and all((declared[len(path)] is None) != is_list for declared in below)

    def _whole(self, path: tuple[str | None, ...]) -> bool:
        rule = self._rule(path)
        return not self._below(path) and rule is not None and rule[0] in ("keep", "drop", "keep_if")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

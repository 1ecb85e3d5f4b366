"""Datasets: which record is whose, when it happened, and what each path holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, PlainSerializer, field_validator
from pydantic_core import CoreSchema, core_schema

from .info_types import Name, OnDrift, Written

__all__ = ["EACH", "Dataset", "FieldPath", "FieldRule", "Plain", "Step"]

EACH: Final = None
"""The step into every element of a list."""

Step = str | None


class Plain(StrEnum):
    """Treatments that a path may name without an info type; they need no permission of their own."""

    KEEP = "keep"
    DROP = "drop"
    REDACT = "redact"


FieldRule = Plain | str
"""A ``Plain``, or the name of an info type."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A place in a nested record: names of fields, and ``EACH`` for the elements of a list.

    >>> FieldPath.parse("items[].gift_note").steps
    ('items', None, 'gift_note')
    >>> str(FieldPath(("a.b", None)))
    'a\\\\.b[]'
    """

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> FieldPath:
        """Reads a path: ``.`` enters a struct, ``[]`` a list, a backslash escapes ``.``, ``[``, ``]`` and itself.

        Raises:
            ValueError: Empty, or with an empty name, a lone bracket or a trailing backslash.
        """
        return cls(tuple(_steps(text)))

    def __str__(self) -> str:
        text = ""
        for step in self.steps:
            text += "[]" if step is EACH else f"{'.' if text else ''}{_escaped(step)}"
        return text

    @property
    def parent(self) -> FieldPath:
        """The path one step above; the root's parent is the root."""
        return FieldPath(self.steps[:-1])

    @property
    def is_scalar(self) -> bool:
        """Whether the path passes no list, so that a record has one value there."""
        return EACH not in self.steps

    def is_under(self, other: FieldPath) -> bool:
        """Whether ``other`` is this path or one above it."""
        return self.steps[: len(other.steps)] == other.steps

    def child(self, step: Step) -> FieldPath:
        """The path one step below."""
        return FieldPath((*self.steps, step))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _read_path,
            serialization=core_schema.plain_serializer_function_ser_schema(str),
            json_schema_input_schema=core_schema.str_schema(),
        )


def _read_path(value: Any) -> FieldPath:
    if isinstance(value, FieldPath):
        return value
    if not isinstance(value, str):
        raise ValueError("is no path; write it as customer.email")
    return FieldPath.parse(value)


def _sound_path(value: Any) -> FieldPath | None:
    try:
        return _read_path(value)
    except ValueError:
        return None


def _escaped(name: str) -> str:
    for mark in "\\.[]":
        name = name.replace(mark, "\\" + mark)
    return name


def _steps(text: str) -> Iterator[Step]:
    name, started, at, after_list = "", False, 0, False
    while at < len(text):
        character = text[at]
        if after_list and character not in ".[":
            raise ValueError("a path has a name right after []; put a dot between, as items[].sku")
        if character == "\\":
            if at + 1 == len(text):
                raise ValueError("a path ends with a backslash; write two for one")
            name, started, at = name + text[at + 1], True, at + 2
        elif text.startswith("[]", at):
            if started:
                yield name
            elif not after_list:
                raise ValueError("a path has [] without a list before it; write it as items[]")
            yield EACH
            name, started, after_list, at = "", False, True, at + 2
        elif character == ".":
            if not started and not after_list:
                raise ValueError("a path has an empty name; put a backslash before a dot that belongs to a name")
            if started:
                yield name
            name, started, after_list, at = "", False, False, at + 1
            if at == len(text):
                raise ValueError("a path ends with a dot; take it out, or put a backslash before it")
        elif character in "[]":
            raise ValueError("a path has a lone bracket; write [] for a list, or put a backslash before it")
        else:
            name, started, at = name + character, True, at + 1
    if started:
        yield name
    elif not after_list:
        raise ValueError("a path is empty; name a column")


def _read_rule(value: Any) -> FieldRule:
    if not isinstance(value, str):
        raise ValueError("is no treatment; write the name of an info type, or keep, drop or redact")
    return Plain(value) if value in tuple(Plain) else value


class Dataset(Written):
    """One kind of record, under ``datasets`` in the policy."""

    subject: FieldPath = Field(description="Path of the data subject's id.")
    event_time: FieldPath = Field(description="Path of the instant at which consent is asked.")
    collect: tuple[Name, ...] = Field(
        default=(), description="Purposes of which one must permit, else the record is dropped whole, and counted."
    )
    fields: dict[
        FieldPath,
        Annotated[str, BeforeValidator(_read_rule), PlainSerializer(str, return_type=str)],
    ] = Field(
        description="Path to info type, or keep, drop, redact. What is not named is dropped.",
    )
    on_drift: OnDrift = Field(default=OnDrift.DROP, description="Undeclared columns and contradicting values.")

    @field_validator("fields", mode="before")
    @classmethod
    def _one_line_for_a_path(cls, fields: Any) -> Any:
        # Two spellings of a path would be one key after reading, and the last would win in silence.
        spelt: dict[FieldPath, Any] = {}
        for key in fields if isinstance(fields, dict) else ():
            path = _sound_path(key)
            if path is not None and spelt.setdefault(path, key) != key:
                raise ValueError(f"two lines mean the path '{path}'; keep one of them")
        return fields

    def rule_for(self, path: FieldPath) -> FieldRule | None:
        """Returns the rule of the longest declared path that covers ``path``, or None."""
        for length in range(len(path.steps), 0, -1):
            rule = self.fields.get(FieldPath(path.steps[:length]))
            if rule is not None:
                return Plain(rule) if rule in tuple(Plain) else rule
        return None

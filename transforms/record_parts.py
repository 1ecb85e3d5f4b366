"""Takes a record apart by the permissions that its fields ask for, and puts together again what may be known of it.

All fields that the same purposes permit to collect are one part. What is left is the rest: fields that ask for no
permission, and for each of the others a hole of the same kind. So whoever opens the rest and some parts has the
record as it was, where a field of a part that stays closed is empty text, 0, or false.

    {"order": 7, "card": "4111…", "email": "ann@…"}  ─►  rest {"order": 7, "card": "", "email": ""}
                                                        part of (fulfilment): ["4111…"]
                                                        part of (fulfilment, support): ["ann@…"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from ..schemas.dataset import EACH, FieldPath, Plain, Step
from ..schemas.errors import SecretError
from ..schemas.info_types import DropRule
from ..schemas.policy import Policy
from .protection_plan import dataset_of

__all__ = ["PartedRecord", "RecordParts", "whole_record"]

OPEN, GONE = -1, -2
"""In place of a class: fields that ask for no permission, and fields that the policy drops by name."""

MOST_DIGITS = 18
"""That an integer of 64 bits surely holds."""

HOLES: Mapping[type, Any] = {str: "", int: 0, float: 0.0, bool: False}


@dataclass(frozen=True, slots=True, repr=False)
class PartedRecord:
    """A record in parts; raw.

    Attributes:
        rest: JSON; only ``whole_record`` reads it.
        parts: JSON, by class; None where the record has no such field.
    """

    rest: bytes
    parts: tuple[bytes | None, ...]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("the parts of a record are raw and cannot be copied before they are sealed")


@dataclass(slots=True)
class _Place:
    """What the policy says at a path: the class of its fields, None where a path above decides; and what is below."""

    belongs: int | None = None
    below: dict[Step, _Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A step to something that is in a class, or dropped, from a place whose own fields ask for nothing."""

    step: Step
    own: int
    place: _Place
    below: tuple[_Asking, ...]


def _asking(place: _Place) -> tuple[_Asking, ...]:
    found = []
    for step, each in place.below.items():
        below, own = _asking(each), OPEN if each.belongs is None else each.belongs
        if below or own != OPEN:
            found.append(_Asking(step, own, each, below))
    return tuple(found)


class RecordParts:
    """Takes records of one dataset apart.

    Args:
        policy: Names for each field the purposes that permit to collect it.
        dataset_name: Of the records.

    Attributes:
        classes: Purposes of each part.
    """

    def __init__(self, policy: Policy, dataset_name: str) -> None:
        dataset = dataset_of(policy, dataset_name)
        rules = {path: policy.info_types.get(name) for path, name in dataset.fields.items()}
        collects = {path: () if rule is None or isinstance(rule, DropRule) else rule.collect
                    for path, rule in rules.items()}  # fmt: skip
        self.classes: tuple[tuple[str, ...], ...] = tuple(sorted({each for each in collects.values() if each}))
        self._root = _Place(OPEN)
        for path, name in dataset.fields.items():
            dropped = name == Plain.DROP or isinstance(rules[path], DropRule)
            belongs = GONE if dropped else self.classes.index(collects[path]) if collects[path] else OPEN
            self._at(path).belongs = belongs
        self._asking = _asking(self._root)

    def _at(self, path: FieldPath) -> _Place:
        place = self._root
        for step in path.steps:
            place = place.below.setdefault(step, _Place())
        return place

    def parted(self, record: dict[str, Any]) -> PartedRecord:
        """Returns a record in parts, without what the policy drops by name.

        Args:
            record: As ``load_record`` gives it; it is used up.
        """
        walk = _Walk(len(self.classes))
        walk.through(record, self._asking, ())
        parts = tuple(walk.dumped(values) if values else None for values in walk.values)
        rest = walk.dumped(record)
        told = b",true]" if walk.odd else b",false]"
        return PartedRecord(b"".join((b"[", rest, b",", _dumped(walk.holes), told)), parts)


class _Walk:
    """Goes through one record and empties what belongs to a class."""

    __slots__ = ("holes", "odd", "values")

    def __init__(self, classes: int) -> None:
        self.values: list[list[Any]] = [[] for _ in range(classes)]
        self.holes: list[list[Any]] = []
        self.odd = False

    def through(self, value: Any, asking: Sequence[_Asking], steps: tuple[Any, ...]) -> None:
        """Goes to what asks for something, below a value that itself asks for nothing."""
        found: list[tuple[Any, Any, _Asking]]
        if type(value) is dict:
            found = [(each.step, value[each.step], each) for each in asking if each.step in value]
        else:
            found = [(step, child, each) for each in asking if each.step is EACH for step, child in enumerate(value)]
        gone = []
        for step, child, each in found:
            own = each.own
            kind = type(child)
            if kind is dict or kind is list:
                if own == OPEN:
                    self.through(child, each.below, (*steps, step))
                else:
                    self.into(child, each.place, own, (*steps, step))
            elif own == GONE:
                gone.append(step)
            elif own != OPEN:
                self._leaf(value, step, child, own, steps)
        for step in reversed(gone):
            del value[step]

    def dumped(self, value: Any) -> bytes:
        """Returns a value as JSON, and notes if a number was in it that only its spelling holds."""
        return orjson.dumps(value, self._spelled, orjson.OPT_PASSTHROUGH_SUBCLASS)

    def _spelled(self, number: Any) -> Any:
        self.odd = True
        return orjson.Fragment(number.encode())

    def into(self, value: Any, place: _Place | None, belongs: int, steps: tuple[Any, ...]) -> None:
        is_object = type(value) is dict
        each = None if place is None or is_object else place.below.get(EACH)
        gone = []
        children: list[tuple[Any, Any]] = list(value.items() if is_object else enumerate(value))
        for step, child in children:
            below = each if not is_object or place is None else place.below.get(step)
            own = belongs if below is None or below.belongs is None else below.belongs
            kind = type(child)
            if kind is dict or kind is list:
                if own == GONE and below is None:
                    gone.append(step)
                else:
                    self.into(child, below, own, (*steps, step))
            elif own == GONE:
                gone.append(step)
            else:
                self._leaf(value, step, child, own, steps)
        for step in reversed(gone):
            del value[step]

    def _leaf(self, parent: Any, step: Any, value: Any, own: int, steps: tuple[Any, ...]) -> None:
        kind = type(value)
        if kind is not str and isinstance(value, str):  # a number that only its spelling holds
            kind = int
        if own >= 0 and value is not None:
            parent[step] = HOLES[kind]
            self.holes.append([own, *steps, step])
            self.values[own].append(value)


def whole_record(rest: bytes, parts: Mapping[int, bytes]) -> bytes:
    """Returns a record as one line of JSON, with those of its parts that are open.

    Args:
        rest: Of a ``PartedRecord``.
        parts: By class.
    """
    odd = rest.endswith(b",true]")
    record, holes, _ = _loaded(rest, odd)
    values: dict[int, Iterator[Any]] = {number: iter(_loaded(part, odd)) for number, part in parts.items()}
    for belongs, *steps in holes:
        if belongs in values:
            parent = record
            for step in steps[:-1]:
                parent = parent[step]
            parent[steps[-1]] = next(values[belongs])
    return _dumped(record)


def _loaded(data: bytes, odd: bool) -> Any:
    """Returns what JSON holds; of odd numbers, which Python would not spell so again, the spelling."""
    return json.loads(data, parse_int=_as_spelled) if odd else orjson.loads(data)


def _as_spelled(text: str) -> Any:
    return orjson.Fragment(text.encode()) if text == "-0" or len(text) > MOST_DIGITS else int(text)


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value)

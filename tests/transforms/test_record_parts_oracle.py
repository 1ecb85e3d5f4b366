"""Records in parts, against a slow oracle that looks up for every leaf what the policy says of its path."""

from __future__ import annotations

import copy
import json
from typing import Any

from consentry.pipelines.json_records import Digits, JsonFault, load_record
from consentry.schemas.policy import Policy
from consentry.transforms.record_parts import RecordParts, whole_record
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["a", "b", "c"]
RULES = ["keep", "drop", "redact", "one", "two", "both"]
KEPT: dict[str, tuple[str, ...]] = {"one": ("p",), "two": ("q",), "both": ("p", "q")}
PATHS = [f"{first}{below}" for first in NAMES for below in ("", "[]", "[].a", ".a", ".b", ".b.c", ".c[]")]
LONG = "123456789012345678901"
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-2, 2), st.text("xyz", max_size=2),
                   st.builds(Digits, st.sampled_from([LONG, "-0"])))  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "new"]), inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.sampled_from([*NAMES, "new"]), VALUES, max_size=4)


def policy_of(fields: dict[str, str]) -> Policy:
    types = {name: {"action": "redact", "collect": list(purposes)} for name, purposes in KEPT.items()}
    purposes = {name: {"basis": "consent", "says": "Why."} for name in ("p", "q")}
    dataset = {"subject": "id", "event_time": "at", "fields": {"id": "keep", "at": "keep", **fields}}
    document = {"version": 1, "purposes": purposes, "info_types": types, "datasets": {"d": dataset}}
    return Policy.model_validate(document)


def rule_at(fields: dict[str, str], path: tuple[Any, ...]) -> str:
    """The rule of the longest declared path that covers a place; ``[]`` stands for any index."""
    best, rule = -1, "keep"
    for text, each in fields.items():
        steps = tuple(part for piece in text.replace("[]", ".[]").split(".") if (part := piece))
        fits = len(steps) <= len(path) and all(
            (step == "[]") == isinstance(there, int) and step in ("[]", there)
            for step, there in zip(steps, path, strict=False)
        )
        if fits and len(steps) > best:
            best, rule = len(steps), each
    return rule


def declared_below(fields: dict[str, str], path: tuple[Any, ...]) -> bool:
    """Whether a declared path is at a place or leads through it."""
    here = "".join("[]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return any(text == here or text.startswith((f"{here}.", f"{here}[")) for text in fields)


def seen(value: Any, fields: dict[str, str], is_open: set[tuple[str, ...]], path: tuple[Any, ...] = ()) -> Any:
    """What is to be known of a record where some classes are open."""
    kept: list[tuple[Any, Any]] = []
    for step, child in value.items() if isinstance(value, dict) else enumerate(value):
        own = (*path, step)
        rule = rule_at(fields, own)
        if isinstance(child, (dict, list)):
            if rule != "drop" or declared_below(fields, own):
                kept.append((step, seen(child, fields, is_open, own)))
        elif rule != "drop":
            kept.append((step, child if child is None or KEPT.get(rule, ()) in {(), *is_open} else hole(child)))
    return dict(kept) if isinstance(value, dict) else [child for _, child in kept]


def hole(value: Any) -> Any:
    return 0 if isinstance(value, Digits) else type(value)()


def spelled(value: Any) -> Any:
    """Numbers as their spelling is, so that 0, 0.0, false and -0 differ."""
    if isinstance(value, dict):
        return {key: spelled(child) for key, child in value.items()}
    if isinstance(value, list):
        return [spelled(child) for child in value]
    return f"number {value}" if isinstance(value, Digits) or type(value) in (int, float) else value


def read(line: bytes) -> Any:
    return json.loads(line, parse_int=lambda text: f"number {text}", parse_float=lambda text: f"number {float(text)}")


@given(
    fields=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(RULES), max_size=6),
    record=RECORDS,
    opened=st.sets(st.sampled_from(sorted(KEPT.values()))),
)
def test_of_a_record_is_known_what_open_parts_hold_and_nothing_of_the_others(
    fields: dict[str, str], record: dict[str, Any], opened: set[tuple[str, ...]]
) -> None:
    parts = RecordParts(policy_of(fields), "d")
    wanted = seen(copy.deepcopy(record), fields, opened)
    parted = parts.parted(record)
    given_parts = {
        number: part for number, part in enumerate(parted.parts) if part is not None and parts.classes[number] in opened
    }
    assert read(whole_record(parted.rest, given_parts)) == spelled(wanted)


def test_what_is_closed_or_dropped_is_in_no_other_part() -> None:
    parts = RecordParts(policy_of({"a": "one", "b[].a": "two", "c": "drop", "c.b": "keep"}), "d")
    record = load_record(b'{"a": {"x": "AAA"}, "b": [{"a": "BBB", "b": "CCC"}], "c": {"a": "DDD", "b": "EEE"}}')
    assert not isinstance(record, JsonFault)
    parted = parts.parted(record)
    by_class = dict(zip(parts.classes, parted.parts, strict=True))
    assert by_class == {("p",): b'["AAA"]', ("q",): b'["BBB"]'}
    assert [text in parted.rest for text in (b"AAA", b"BBB", b"CCC", b"DDD", b"EEE")] == [
        False,
        False,
        True,
        False,
        True,
    ]

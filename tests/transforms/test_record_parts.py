from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from consentry.pipelines.json_records import load_record
from consentry.pipelines.streams.json_messages import JsonMessages
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.policy import Policy
from consentry.schemas.record_columns import EVENT_TIME, POSITION, SUBJECT, permits_column
from consentry.transforms.protection import Protected, protect_batch
from consentry.transforms.protection_plan import plan_protection
from consentry.transforms.record_parts import RecordParts, whole_record
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PolicyOf = Callable[..., Policy]
RULES = ("keep", "drop", "redact", "gone", "hidden", "token", "strict", "mask", "keep_if", "either", "year")
DROPPING = ("drop", "gone")
PATHS = ("a", "b", "b.c", "b.d", "b.d.e", "l", "l[]", "m[].x", "m[].y.z", "m[].w[]", "n[][]")
PURPOSES = ("use", "give", "other")
SLOW = settings(deadline=None, max_examples=examples(80), suppress_health_check=[HealthCheck.function_scoped_fixture])

fields_of_policy = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(RULES), min_size=1)


def leaves_of(kind: str) -> st.SearchStrategy[Any]:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(max_size=6) | st.sampled_from(["[redacted]", "ü\u2028\x00", "11111111111111111111"]),
        "int": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(allow_nan=False, allow_infinity=False),
        "bool": st.booleans(),
    }
    return st.none() | kinds[kind]


@st.composite
def records_of(draw: st.DrawFn, *, steady: bool) -> list[dict[str, Any]]:
    """Records over the paths above; of a steady type at each place, or of any."""
    kind = st.sampled_from(["text", "int", "float", "bool"])
    kinds = {path: draw(kind) for path in PATHS}

    def leaf(path: str) -> st.SearchStrategy[Any]:
        return leaves_of(kinds[path]) if steady else kind.flatmap(leaves_of)

    inner = st.fixed_dictionaries(
        {}, optional={"c": leaf("b.c"), "d": st.none() | st.fixed_dictionaries({}, optional={"e": leaf("b.d.e")})}
    )
    item = st.fixed_dictionaries(
        {},
        optional={
            "x": leaf("m[].x"),
            "y": st.none() | st.fixed_dictionaries({}, optional={"z": leaf("m[].y.z")}),
            "w": st.lists(leaf("m[].w[]"), max_size=2),
        },
    )
    record = st.fixed_dictionaries(
        {"id": st.integers(0, 99)},
        optional={
            "a": leaf("a"),
            "b": st.none() | inner,
            "l": st.none() | st.lists(leaf("l[]"), max_size=3),
            "m": st.none() | st.lists(st.none() | item, max_size=3),
            "n": st.none() | st.lists(st.lists(leaf("n[][]"), max_size=2), max_size=2),
        },
    )
    return draw(st.lists(record, min_size=1, max_size=5))


def policy_or_none(policy_of: PolicyOf, fields: dict[str, str]) -> Policy | None:
    """The policy, or None where its paths contradict each other."""
    try:
        return policy_of({"id": "keep", **fields}, subject="id", event_time="id2")
    except ValueError:
        return None


def spelled(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def loaded(line: bytes) -> dict[str, Any]:
    record = load_record(line)
    assert isinstance(record, dict), record
    return record


Steps = tuple[Any, ...]


def leaf_places(value: Any, steps: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Every place that is neither an object nor a list, with what is there."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaf_places(child, (*steps, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from leaf_places(child, (*steps, number))
    else:
        yield steps, value


def rule_at(fields: dict[str, str], steps: Steps) -> str | None:
    """The rule of the longest path of the policy that leads to a place."""
    best, found = -1, None
    for path, rule in fields.items():
        names = [part for name in path.split(".") for part in name.replace("[]", " []").split()]
        told = ["[]" if isinstance(step, int) else step for step in steps]
        if told[: len(names)] == names and len(names) > best:
            best, found = len(names), rule
    return found


def class_of(policy: Policy, parts: RecordParts, rule: str | None) -> int | None:
    """The class of what a rule asks for; None where it asks for nothing."""
    collect = getattr(policy.info_types.get(rule or "keep"), "collect", ())
    return parts.classes.index(collect) if collect else None


def hole(value: Any) -> Any:
    return None if value is None else {str: "", int: 0, float: 0.0, bool: False}[type(value)]


@SLOW
@given(records=records_of(steady=False), fields=fields_of_policy, closed=st.sets(st.integers(0, 4)))
def test_open_parts_give_the_record_back_and_closed_ones_leave_holes(
    policy_of: PolicyOf, records: list[dict[str, Any]], fields: dict[str, str], closed: set[int]
) -> None:
    policy = policy_or_none(policy_of, fields)
    if policy is None:
        return
    parts = RecordParts(policy, "data")
    for record in records:
        line = spelled(record)
        original = dict(leaf_places(loaded(line)))
        parted = parts.parted(loaded(line))
        opened = {number: part for number, part in enumerate(parted.parts) if part is not None and number not in closed}
        found = dict(leaf_places(loaded(whole_record(parted.rest, opened))))
        for steps, value in original.items():
            rule = rule_at(fields, steps)
            if rule in DROPPING:
                continue
            place = _shifted(fields, loaded(line), steps)
            if class_of(policy, parts, rule) in closed:
                assert found[place] == hole(value), (fields, steps)
                assert type(found[place]) is type(hole(value))
            else:
                assert found[place] == value and type(found[place]) is type(value), (fields, steps)
        assert len(found) == sum(rule_at(fields, steps) not in DROPPING for steps in original)


def _shifted(fields: dict[str, str], record: Any, steps: Steps) -> Steps:
    """Where a place is once elements of lists that the policy drops are gone."""
    shifted: list[Any] = []
    parent = record
    for depth, step in enumerate(steps):
        if isinstance(parent, list):
            before = [
                number for number in range(step)
                if isinstance(parent[number], dict | list) or rule_at(fields, (*steps[:depth], number)) not in DROPPING
            ]  # fmt: skip
            shifted.append(len(before))
        else:
            shifted.append(step)
        parent = parent[step]
    return tuple(shifted)


@SLOW
@given(fields=fields_of_policy, depth=st.integers(1, 3), closed=st.sets(st.integers(0, 4)))
def test_no_value_of_a_closed_class_is_in_the_bytes_of_anything_that_opens(
    policy_of: PolicyOf, fields: dict[str, str], depth: int, closed: set[int]
) -> None:
    policy = policy_or_none(policy_of, fields)
    if policy is None:
        return
    numbers = count()

    def canary() -> str:
        return f"<canary-{next(numbers):04d}>"

    record = {
        "id": 1, "a": canary(), "b": {"c": canary(), "d": {"e": canary()}}, "l": [canary() for _ in range(depth)],
        "m": [{"x": canary(), "y": {"z": canary()}, "w": [canary()]} for _ in range(depth)], "n": [[canary()]],
    }  # fmt: skip
    parts = RecordParts(policy, "data")
    parted = parts.parted(orjson.loads(orjson.dumps(record)))
    readable = [parted.rest, *(part for number, part in enumerate(parted.parts) if part and number not in closed)]
    for steps, value in leaf_places(record):
        rule = rule_at(fields, steps)
        hidden = rule in DROPPING or class_of(policy, parts, rule) in closed
        if isinstance(value, str):
            assert hidden == (not any(value.encode() in data for data in readable)), (fields, steps)


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "18446744073709551616", "-99999999999999999999", "9223372036854775807", "123456789012345678",
     "1234567890123456789", "1e5", "1.10", "-0.0", "1E400", "0.1", "5e-324", "true", "null"],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["token", "keep"])
def test_a_number_is_what_it_was_when_its_part_is_opened(policy_of: PolicyOf, number: str, rule: str) -> None:
    line = b'{"id": 11111111111111111111, "a": ' + number.encode() + b', "l": [-0, 7]}'
    record = load_record(line)
    if not isinstance(record, dict):
        return  # 1E400 is no number that a record may hold
    parted = RecordParts(policy_of({"id": "keep", "a": rule, "l[]": "token"}), "data").parted(record)
    opened = whole_record(parted.rest, {number: part for number, part in enumerate(parted.parts) if part})
    again = loaded(opened)
    original = loaded(line)
    assert again == original
    assert repr(again) == repr(original)
    assert [type(value) for _, value in leaf_places(again)] == [type(value) for _, value in leaf_places(original)]


def test_a_longer_path_decides_against_a_shorter_one(policy_of: PolicyOf) -> None:
    policy = policy_of({"b": "gone", "b.c": "token", "m": "token", "m[].x": "keep", "m[].y.z": "drop"})
    record = {"b": {"c": "kept", "d": "gone", "e": {"f": 1}}, "m": [{"x": 1, "y": {"z": 2, "q": 3}}]}
    parted = RecordParts(policy, "data").parted(record)
    assert json.loads(whole_record(parted.rest, {})) == {"b": {"c": ""}, "m": [{"x": 1, "y": {"q": 0}}]}
    assert json.loads(whole_record(parted.rest, {0: parted.parts[0] or b""})) == {
        "b": {"c": "kept"}, "m": [{"x": 1, "y": {"q": 3}}],
    }  # fmt: skip


# ---- protecting what was opened again is protecting the original


def protected(
    policy: Policy, reader: JsonMessages, lines: list[bytes], permits: list[dict[str, bool]], tokenizers: Any
) -> tuple[dict[int, Any], dict[int, str], list[Any], dict[Any, int]]:
    """Rows and reasons by offset, candidates, and counts."""
    rows: dict[int, Any] = {}
    reasons: dict[int, str] = {}
    candidates: list[Any] = []
    counts: dict[Any, int] = {}
    for read in reader.read(Messages("o/0", lines, np.arange(len(lines), dtype=np.int64))):
        reasons |= {line.position: line.reason for line in read.rejected if line.position is not None}
        if not read.batch.num_rows:
            continue
        batch = _decided(read.batch, permits)
        plan = plan_protection(policy, "data", batch.schema, key_version=3)
        found: Protected = protect_batch(batch, plan, tokenizers, positions=True)
        for row in found.batch.to_pylist():
            rows[row.pop(POSITION)] = repr(_filled(row))
        if found.rejected is not None:
            places = found.rejected.rows.column(POSITION).to_pylist()
            reasons |= dict(zip(places, found.rejected.reasons, strict=True))
        for each in found.candidates:
            columns = (
                each.tokens.to_pylist(),
                each.values.to_pylist(),
                each.refs.to_pylist(),
                each.event_times.tolist(),
            )
            candidates += [(each.domain, *values) for values in zip(*columns, strict=True)]
        for key, number in found.tally.counts.items():
            counts[key] = counts.get(key, 0) + number
    return rows, reasons, sorted(candidates), counts


def _filled(value: Any) -> Any:
    """A row without what is null: of an object all of whose fields are dropped, a column without values may be left."""
    if isinstance(value, dict):
        found = {key: _filled(child) for key, child in value.items()}
        return {key: child for key, child in found.items() if child not in (None, {})} or None
    return [_filled(child) for child in value] if isinstance(value, list) else value


def _decided(batch: pa.RecordBatch, permits: list[dict[str, bool]]) -> pa.RecordBatch:
    offsets = batch.column(POSITION).to_pylist()
    batch = batch.append_column(SUBJECT, pa.array([bytes([place]) * 16 for place in offsets], pa.binary(16)))
    times = pa.array(offsets, pa.int64()).cast(pa.timestamp("us", "UTC"))
    batch = batch.append_column(EVENT_TIME, times)
    for purpose in PURPOSES:
        allowed = pa.array([permits[place][purpose] for place in offsets], pa.bool_())
        batch = batch.append_column(permits_column(purpose), allowed)
    return batch


@SLOW
@given(
    records=records_of(steady=True),
    fields=fields_of_policy,
    permitting=st.lists(st.fixed_dictionaries({name: st.booleans() for name in PURPOSES}), min_size=5, max_size=5),
)
def test_protecting_an_opened_record_is_protecting_the_original(
    policy_of: PolicyOf, tokenizers: Any,
    records: list[dict[str, Any]], fields: dict[str, str], permitting: list[dict[str, bool]],
) -> None:  # fmt: skip
    policy = policy_or_none(policy_of, fields)
    if policy is None:
        return
    parts = RecordParts(policy, "data")
    lines = [spelled(record) for record in records]
    again = []
    for line, permits in zip(lines, permitting, strict=False):
        parted = parts.parted(loaded(line))
        opened = {
            number: part for number, part in enumerate(parted.parts)
            if part is not None and any(permits[purpose] for purpose in parts.classes[number])
        }  # fmt: skip
        again.append(whole_record(parted.rest, opened))
    none = pa.schema([])
    wanted = protected(policy, JsonMessages(none), lines, permitting, tokenizers)
    found = protected(policy, JsonMessages(none), again, permitting, tokenizers)
    assert found[0] == wanted[0]
    assert found[1:3] == wanted[1:3]
    assert _told(found[3], fields) == _told(wanted[3], fields)


def _told(counts: dict[Any, int], fields: dict[str, str]) -> dict[Any, int]:
    """Counts without those of what is dropped; and of objects that are left without any field, which are no columns.

    Such an object may be null then, and a row whose only column with tokens it was is told as one without.
    """
    objects = {path.rpartition(".")[0] for path, rule in fields.items() if rule in DROPPING} - {""}
    return {
        key: number
        for key, number in counts.items()
        if key[-1] != "dropped" and not (key[-1] == "null" and key[1] in objects) and not (objects and key[0] == "rows")
    }

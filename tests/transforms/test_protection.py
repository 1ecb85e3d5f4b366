from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.schemas.dataset import FieldPath
from consentry.schemas.policy import Policy
from consentry.schemas.record_columns import POSITION, RESERVED_PREFIX, SUBJECT
from consentry.transforms.arrow_coder import RecordBatchCoder
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.protection import Protected, protect_batch
from consentry.transforms.protection_plan import plan_protection
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.protect_model import Model, Row, Steps, Treatment, is_list

PolicyOf = Callable[..., Policy]
DecidedOf = Callable[..., pa.RecordBatch]
Protecting = Callable[..., Protected]

PURPOSES = ("use", "give", "other")
TREATMENTS = {
    "keep": Treatment("keep"),
    "drop": Treatment("drop"),
    "redact": Treatment("redact"),
    "gone": Treatment("drop"),
    "hidden": Treatment("redact"),
    "keep_if": Treatment("keep", ("other",)),
    "scan": Treatment("scan", ("use",)),
    "mask": Treatment("mask", ("use",)),
    "year": Treatment("year", ("use",)),
    "token": Treatment("token", ("use",), ("give",)),
    "strict": Treatment("strict", ("use",), ("give",)),
    "either": Treatment("token", ("use", "other"), ("give", "other")),
}
DOMAINS = {"token": "d", "strict": "s", "either": "e"}


@pytest.fixture(scope="session")
def protected(policy_of: PolicyOf, decided: DecidedOf, tokenizers: Any) -> Protecting:
    """Protects columns (a dict of lists or arrays, or a batch) by the given fields."""

    def protect(
        columns: Any,
        fields: dict[str, str],
        *,
        permits: dict[str, list[bool]] | None = None,
        tokenizers: Any = tokenizers,
        **dataset: Any,
    ) -> Protected:
        batch = columns if isinstance(columns, pa.RecordBatch) else pa.record_batch(columns)
        batch = decided(batch, **(permits or {}))
        plan = plan_protection(policy_of(fields, **dataset), "data", batch.schema, key_version=3)
        return protect_batch(batch, plan, tokenizers)

    return protect


# ---- against the model


@dataclass
class Case:
    """Records of a random schema, a random policy for them, and what the ledger says of each."""

    schema: pa.Schema
    rules: dict[Steps, str]
    records: list[dict[str, Any]]
    permits: list[dict[str, bool]]
    subjects: list[bytes | None]
    before: int
    after: int
    collect: list[str]
    on_drift: str


TEXTS = ("", "a", "x", "né", "2024-02-29", "1985-07-03", "longer than a view holds", "\U0001f600b")
LEAVES: dict[pa.DataType, Callable[[Random], Any]] = {
    pa.string(): lambda rng: rng.choice(TEXTS),
    pa.large_string(): lambda rng: rng.choice(TEXTS),
    pa.dictionary(pa.int8(), pa.string()): lambda rng: rng.choice(TEXTS),
    pa.dictionary(pa.int32(), pa.large_string()): lambda rng: rng.choice(TEXTS),
    pa.int64(): lambda rng: rng.choice((0, -3, 42, 2**53)),
    pa.dictionary(pa.int8(), pa.int64()): lambda rng: rng.randrange(9),
    pa.bool_(): lambda rng: rng.choice((False, True)),
    pa.date32(): lambda rng: date(rng.randint(1970, 2030), 1, rng.randint(1, 28)),
    pa.map_(pa.string(), pa.string()): lambda rng: [(rng.choice(TEXTS), "x")] * rng.randrange(3),
    pa.null(): lambda rng: None,
    pa.string_view(): lambda rng: rng.choice(TEXTS),
}
LISTS: tuple[Callable[[pa.DataType], pa.DataType], ...] = (
    pa.list_,
    pa.large_list,
    pa.list_view,
    pa.large_list_view,
    lambda kind: pa.list_(kind, 2),
    lambda kind: pa.list_(kind, 0),
)


def a_kind(rng: Random, depth: int, views: bool) -> pa.DataType:
    way = rng.choice(("leaf", "leaf", "struct", "list")) if depth else "leaf"
    if way == "struct":
        names = rng.sample("abc", rng.randint(1, 3))
        return pa.struct([(name, a_kind(rng, depth - 1, views)) for name in names])
    if way == "list":
        return rng.choice(LISTS[:4] if views else LISTS)(a_kind(rng, depth - 1, views))
    return rng.choice([kind for kind in LEAVES if views or kind != pa.string_view()])


def a_value(rng: Random, kind: pa.DataType) -> Any:
    if rng.random() < 0.2:
        return None
    if pa.types.is_struct(kind):
        return {child.name: a_value(rng, child.type) for child in kind}
    if is_list(kind):
        size = kind.list_size if pa.types.is_fixed_size_list(kind) else rng.randrange(4)
        return [a_value(rng, kind.value_type) for _ in range(size)]
    return LEAVES[kind](rng)


def paths(kind: pa.DataType, path: Steps) -> Iterator[Steps]:
    """The paths of a column."""
    yield path
    if pa.types.is_struct(kind):
        for child in kind:
            yield from paths(child.type, (*path, child.name))
    elif is_list(kind):
        yield from paths(kind.value_type, (*path, None))


def a_case(rng: Random) -> Case:
    # Arrow has no kernel that takes rows out of view strings (see the tests below): where there are any, no row is
    # refused and no list has places under a null.
    views = rng.random() < 0.2
    columns = {name: a_kind(rng, 3, views) for name in rng.sample("abc", rng.randint(1, 3))}
    known = [path for name, kind in columns.items() for path in paths(kind, (name,))]
    another_shape = [(*path, step) for path in known for step in ("zz", None)]
    names = [name for name in TREATMENTS if not (views and name in ("strict", "keep_if"))]
    rules = {(name,): rng.choice(names) for name in columns if rng.random() < 0.7}
    rules |= {rng.choice(known * 4 + another_shape): rng.choice(names) for _ in range(rng.randrange(5))}
    if views or not rules:
        columns["id"] = pa.int64()
        rules["id",] = "keep"
    size, before, after = rng.randrange(6), rng.randrange(3), rng.randrange(3)
    rows = range(size + before + after)
    return Case(
        schema=pa.schema(list(columns.items())),
        rules=rules,
        records=[{name: a_value(rng, kind) for name, kind in columns.items()} for _ in rows],
        permits=[{purpose: rng.random() < 0.6 for purpose in PURPOSES} for _ in rows],
        subjects=[bytes([row]) * 16 if rng.random() < 0.9 else None for row in rows],
        before=before,
        after=after,
        collect=[] if views else rng.choice(([], [], ["use"], ["give", "other"])),
        on_drift="drop" if views else rng.choice(("drop", "drop", "dead_letter")),
    )


def decided_case(case: Case, decided: DecidedOf) -> pa.RecordBatch:
    columns = [pa.array([record[field.name] for record in case.records], field.type) for field in case.schema]
    for number, subject in enumerate(case.subjects):
        if subject is None:
            case.permits[number] = dict.fromkeys(PURPOSES, False)
    permits = {purpose: [row[purpose] for row in case.permits] for purpose in PURPOSES}
    batch = decided(pa.RecordBatch.from_arrays(columns, schema=case.schema), **permits)
    place = batch.schema.get_field_index(SUBJECT)
    batch = batch.set_column(place, batch.schema.field(place), pa.array(case.subjects, pa.binary(16)))
    return batch.slice(case.before, len(case.records) - case.before - case.after)


def text_of(steps: Steps) -> str:
    return str(FieldPath(steps))


@given(rng=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_batches_come_out_as_the_model_says(
    rng: Random, policy_of: PolicyOf, decided: DecidedOf, tokenizers: Any
) -> None:
    check_case(a_case(rng), policy_of, decided, tokenizers)


@pytest.mark.parametrize("seed", range(24))
def test_many_batches_come_out_as_the_model_says(
    seed: int, policy_of: PolicyOf, decided: DecidedOf, tokenizers: Any
) -> None:
    rng = Random(seed)  # spreads wider than the property does, which stays near what it has found
    for _ in range(60):
        check_case(a_case(rng), policy_of, decided, tokenizers)


def check_case(case: Case, policy_of: PolicyOf, decided: DecidedOf, tokenizers: Any) -> None:
    batch = decided_case(case, decided)
    policy = policy_of(
        {text_of(path): rule for path, rule in case.rules.items()}, collect=case.collect, on_drift=case.on_drift
    )
    plan = plan_protection(policy, "data", batch.schema, key_version=3)
    model = Model(
        {path: TREATMENTS[rule] for path, rule in case.rules.items()},
        case.schema,
        drift_refuses=case.on_drift == "dead_letter",
    )
    shown = range(case.before, len(case.records) - case.after)
    collected = [
        row for row in shown if not case.collect or any(case.permits[row][purpose] for purpose in case.collect)
    ]
    expected = {row: model.row(case.records[row], case.permits[row]) for row in collected}
    leaving = {row: found for row, found in expected.items() if not found.reasons}

    found = protect_batch(batch, plan, tokenizers)

    found.batch.validate(full=is_valid(batch))
    assert found.batch.schema.names == plan.schema.names
    assert found.batch.schema.metadata == batch.schema.metadata
    # A batch without columns still has rows, but no way to show them.
    assert found.batch.num_rows == len(leaving)
    if plan.columns:
        assert found.batch.to_pylist() == [row.record for row in leaving.values()]
    check_refused(found, {row: each for row, each in expected.items() if each.reasons})
    check_candidates(found, case, leaving)
    check_tally(found, case, model, expected, leaving, dropped=len(shown) - len(collected))
    without = protect_batch(batch, plan, tokenizers, with_vault=False)
    assert without.candidates == ()
    assert without.batch.equals(found.batch)
    placed = protect_batch(batch, plan, tokenizers, positions=True).batch
    positions = dict(zip(shown, batch.column(POSITION).to_pylist(), strict=True))
    assert placed.column(POSITION).to_pylist() == [positions[row] for row in leaving]
    assert placed.drop_columns([POSITION]).equals(found.batch, check_metadata=True)


def is_valid(batch: pa.RecordBatch) -> bool:
    """Whether Arrow made a sound batch: it leaves an index into an empty dictionary under the null of a struct."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def check_refused(found: Protected, refused: dict[int, Row]) -> None:
    if not refused:
        assert found.rejected is None
        return
    assert found.rejected is not None
    assert found.rejected.stage == "protect"
    # ``decided`` numbers rows from 1 before they are sliced.
    assert found.rejected.rows[POSITION].to_pylist() == [row + 1 for row in refused]
    for reason, row in zip(found.rejected.reasons, refused.values(), strict=True):
        assert reason in row.reasons


def check_candidates(found: Protected, case: Case, leaving: dict[int, Row]) -> None:
    expected = Counter(
        (DOMAINS[rule_of(case, steps)], token, value, case.subjects[number], number)
        for number, row in leaving.items()
        for steps, token, value in row.vaulted
    )
    assert all(len(each.tokens) for each in found.candidates)
    assert {each.key_version for each in found.candidates} <= {3}
    actual = Counter(
        (each.domain, *row)
        for each in found.candidates
        for row in zip(
            each.tokens.to_pylist(),
            each.values.to_pylist(),
            each.refs.to_pylist(),
            each.event_times.tolist(),
            strict=True,
        )
    )
    assert actual == expected


def rule_of(case: Case, steps: Steps) -> str:
    return next(case.rules[steps[:length]] for length in range(len(steps), 0, -1) if steps[:length] in case.rules)


def check_tally(
    found: Protected, case: Case, model: Model, expected: dict[int, Row], leaving: dict[int, Row], dropped: int
) -> None:
    counts: Counter[tuple[str, ...]] = Counter()
    counts["rows", "dropped"] = dropped
    for row in expected.values():
        counts.update({("drift", text_of(path)) for path in row.drift})
    for number, row in leaving.items():
        counts["rows", model.class_of(case.permits[number], has_subject=case.subjects[number] is not None)] += 1
        counts.update({("field", text_of(path), outcome): count for (path, outcome), count in row.counts.items()})
        counts.update(("field", text_of(path), "vault_candidate") for path, _, _ in row.vaulted)
    assert dict(found.tally.counts) == {key: count for key, count in counts.items() if count}
    assert sum(count for (what,), count in found.tally.under("rows").items() if what != "dropped") == len(leaving)


# ---- one treatment after the other

ALLOWED = {"use": [True, True], "give": [True, True], "other": [True, True]}
DENIED = {"use": [False, True], "give": [True, True], "other": [False, True]}


@pytest.mark.parametrize(
    ("rule", "kind", "expected", "outcome"),
    [
        ("keep", pa.string(), ["1985-07-03", None], "kept"),
        ("keep", pa.dictionary(pa.int8(), pa.string()), ["1985-07-03", None], "kept"),
        ("keep_if", pa.string(), ["1985-07-03", None], "kept"),
        ("redact", pa.string(), ["[redacted]", None], "redacted"),
        ("hidden", pa.large_string(), ["[redacted]", None], "redacted"),
        ("scan", pa.string_view(), ["1985-07-03", None], "scanned"),
        ("mask", pa.string(), ["*********3", None], "masked"),
        ("year", pa.string(), ["1985", None], "generalized"),
        ("token", pa.string_view(), ["t:1985-07-03", None], "tokenized"),
        ("strict", pa.large_string(), ["t:1985-07-03", None], "tokenized"),
    ],
)
def test_each_action_is_done_and_counted(
    protected: Protecting, rule: str, kind: pa.DataType, expected: list[Any], outcome: str
) -> None:
    found = protected({"a": pa.array(["1985-07-03", None], kind)}, {"a": rule})
    assert found.batch["a"].to_pylist() == expected
    given = {("a", "vault_candidate"): 1} if outcome == "tokenized" else {}
    assert found.tally.under("field") == {("a", outcome): 1, ("a", "null"): 1} | given


@pytest.mark.parametrize("rule", ["keep_if", "scan", "mask", "year", "token", "strict"])
@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_text_without_permission_is_redacted_whatever_the_action(
    protected: Protecting, rule: str, kind: pa.DataType
) -> None:
    found = protected({"a": pa.array(["xyz", None], kind)}, {"a": rule}, permits=DENIED)
    assert found.batch["a"].to_pylist() == ["[redacted]", None]
    assert found.rejected is None
    assert found.candidates == ()
    assert found.tally.under("field") == {("a", "redacted_no_permission"): 1, ("a", "null"): 1}


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        (pa.array([7, 8]), "keep_if"),
        (pa.array([7, 8]).dictionary_encode(), "keep_if"),
        (pa.array([7.5, 8.5]), "scan"),
        (pa.array([datetime(1985, 7, 3, tzinfo=UTC)] * 2), "year"),
        (pa.array([{"b": "raw"}, {"b": "kept"}]), "keep_if"),
        (pa.array([["raw"], ["kept"]]), "keep_if"),
        (pa.array([b"raw", b"kept"]), "keep_if"),
    ],
)
def test_what_is_no_text_becomes_null_without_permission_and_keeps_its_type(
    protected: Protecting, column: pa.Array, rule: str
) -> None:
    found = protected({"a": column}, {"a": rule}, permits=DENIED)
    assert found.batch["a"].type == column.type
    assert found.batch["a"].is_null().to_pylist() == [True, rule == "scan"]
    assert found.tally[("field", "a", "redacted_no_permission")] == 1


def test_one_purpose_of_several_is_enough_to_collect_and_one_to_distribute(protected: Protecting) -> None:
    permits = {"use": [True, False, False], "other": [False, True, False], "give": [False, False, True]}
    found = protected({"a": ["p", "q", "r"]}, {"a": "either"}, permits=permits)
    assert found.batch["a"].to_pylist() == ["t:p", "t:q", "[redacted]"]
    (given,) = found.candidates
    assert given.values.to_pylist() == ["q"]


def test_a_value_goes_to_the_vault_only_where_distributing_is_permitted(protected: Protecting) -> None:
    rows = {"a": [["p", "q"], None, ["r", "x", None], ["s"]]}
    permits = {"use": [True, True, True, False], "give": [True, True, True, True]}
    found = protected(rows, {"a[]": "token"}, permits=permits)
    (given,) = found.candidates
    assert (given.domain, given.key_version) == ("d", 3)
    assert given.tokens.to_pylist() == ["t:p", "t:q", "t:r"]
    assert given.values.to_pylist() == ["p", "q", "r"]
    assert given.refs.to_pylist() == [b"\0" * 16, b"\0" * 16, b"\2" * 16]
    assert given.event_times.tolist() == [0, 0, 2]
    assert protected(rows, {"a[]": "token"}, permits={"give": [False] * 4}).candidates == ()


def test_an_invalid_value_is_redacted_and_counted_by_reason(protected: Protecting) -> None:
    found = protected({"a": ["1985", "never", None]}, {"a": "year"})
    assert found.batch["a"].to_pylist() == ["1985", "[redacted]", None]
    assert found.tally.under("field", "a") == {
        ("generalized",): 1, ("redacted_invalid:not_a_date",): 1, ("null",): 1,
    }  # fmt: skip
    nested = pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string()))
    found = protected({"a": nested}, {"a": "token"})
    assert found.batch["a"].to_pylist() == ["[redacted]", None]
    assert found.tally.under("field", "a") == {("redacted_invalid:wrong_type",): 1, ("null",): 1}


def test_one_invalid_value_in_a_list_refuses_its_row_and_no_other(protected: Protecting) -> None:
    rows = {"id": [1, 2, 3], "a": [["p"], ["q", "x", "x"], None]}
    found = protected(rows, {"id": "keep", "a[]": "strict"})
    assert found.batch.to_pylist() == [{"id": 1, "a": ["t:p"]}, {"id": 3, "a": None}]
    assert found.rejected is not None
    assert found.rejected.reasons == ("wrong_characters",)
    assert found.rejected.rows["id"].to_pylist() == [2]
    assert [each.values.to_pylist() for each in found.candidates] == [["p"]]
    assert found.tally.under("field") == {
        ("id", "kept"): 2, ("a[]", "tokenized"): 1, ("a[]", "vault_candidate"): 1,
    }  # fmt: skip


def test_the_first_reason_of_a_row_is_its_reason(protected: Protecting) -> None:
    fields = {"a": "strict", "b": "strict"}
    odd = pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string()))
    rows = {"a": odd, "b": ["x", "x"], "new": [None, 1]}
    found = protected(rows, fields, on_drift="dead_letter")
    assert found.rejected is not None
    assert found.rejected.reasons == ("wrong_type", "undeclared_field")


def test_undeclared_values_are_left_out_and_counted_by_row(protected: Protecting) -> None:
    rows = {"a": ["p", "q", "r"], "new": [1, None, 2], "deep": [[{"k": None}, {"k": 1}], [{"k": None}], []]}
    found = protected(rows, {"a": "keep", "deep[].known": "keep"})
    assert found.batch.to_pylist() == [{"a": "p"}, {"a": "q"}, {"a": "r"}]
    assert found.tally.under("drift") == {("new",): 2, ("deep[].k",): 1}
    assert found.rejected is None


def test_names_that_could_be_values_are_not_told(protected: Protecting) -> None:
    rows = {"a": [1, 2], "ann@example.com": [1, None], "new": [{"4111111111111111": 1}, None]}
    found = protected(rows, {"a": "keep", "new.known": "keep"})
    assert found.tally.under("drift") == {("(hidden)",): 1, ("new.(hidden)",): 1}


def test_a_row_with_two_names_that_are_told_as_one_is_one_row(protected: Protecting) -> None:
    found = protected({"a": [1], "ann@example.com": [1], "bob@example.com": [1]}, {"a": "keep"})
    assert found.tally.under("drift") == {("(hidden)",): 1}


def test_undeclared_values_send_their_rows_to_the_dead_letters_if_told_to(protected: Protecting) -> None:
    rows = {"a": ["p", "q", "r"], "deep": [[{"k": None}, {"k": 1}], [{"k": None}], []]}
    found = protected(rows, {"a": "keep", "deep[].known": "keep"}, on_drift="dead_letter")
    assert found.batch["a"].to_pylist() == ["q", "r"]
    assert found.rejected is not None
    assert found.rejected.reasons == ("undeclared_field",)
    assert found.rejected.rows["a"].to_pylist() == ["p"]
    assert found.tally.counts == {("drift", "deep[].k"): 1, ("field", "a", "kept"): 2, ("rows", "token_only"): 2}


def test_a_batch_of_which_nothing_is_declared_is_refused_whole(protected: Protecting) -> None:
    found = protected({"b": [1, 2]}, {"a": "keep"})
    assert (found.batch.num_rows, found.batch.num_columns) == (0, 0)
    assert found.rejected is not None
    assert found.rejected.reasons == ("nothing_declared",) * 2
    assert protected({"b": pa.array([], pa.int64())}, {"a": "keep"}).rejected is None


def test_rows_that_may_not_be_collected_leave_nothing_but_a_count(protected: Protecting) -> None:
    permits = {"use": [True, False, False], "other": [False, False, True]}
    found = protected({"a": ["p", "x", "q"]}, {"a": "strict"}, permits=permits, collect=["use", "other"])
    assert found.batch["a"].to_pylist() == ["t:p", "[redacted]"]
    assert found.rejected is None
    assert found.tally.under("rows") == {("dropped",): 1, ("distributable",): 1, ("redacted",): 1}
    assert sum(found.tally.under("field", "a").values()) == 3  # one of them a vault candidate


def test_rows_are_counted_by_the_most_that_their_permissions_allow(
    policy_of: PolicyOf, decided: DecidedOf, tokenizers: Any
) -> None:
    batch = pa.record_batch({"a": ["p"] * 5, "b": ["q"] * 5})
    permits = {
        "use": [True, True, False, False, False],
        "give": [True, False, True, False, False],
        "other": [False, False, False, True, False],
    }
    batch = decided(batch, **permits)
    place = batch.schema.get_field_index(SUBJECT)
    batch = batch.set_column(place, batch.schema.field(place), pa.array([b"s" * 16] * 4 + [None], pa.binary(16)))
    plan = plan_protection(policy_of({"a": "token", "b": "keep_if"}), "data", batch.schema, key_version=3)
    assert protect_batch(batch, plan, tokenizers).tally.under("rows") == {
        ("distributable",): 1, ("token_only",): 2, ("redacted",): 1, ("no_subject",): 1,
    }  # fmt: skip


def test_reserved_columns_and_undeclared_ones_never_leave(protected: Protecting) -> None:
    found = protected({"a": [1], "b": [2]}, {"a": "keep"})
    assert found.batch.schema.names == ["a"]
    assert not any(name.startswith(RESERVED_PREFIX) for name in found.batch.schema.names)


def test_tokens_are_those_of_the_tokenizer_of_the_domain(protected: Protecting, surrogates: dict[str, Any]) -> None:
    rows = {"a": ["kim"], "b": ["kim"], "c": pa.array([" kim"], pa.string_view())}
    fields = {"a": "token", "b": "either", "c": "token"}
    (row,) = protected(rows, fields, tokenizers=surrogates).batch.to_pylist()
    assert row["a"] == row["c"] == surrogates["d"].tokenize(pa.array(["kim"])).tokens[0].as_py()
    assert row["b"] == surrogates["e"].tokenize(pa.array(["kim"])).tokens[0].as_py()
    assert "kim" not in row.values()


# ---- nothing raw in any buffer

RAW = "CANARY-%s-of-a-customer"
DICTIONARY = pa.dictionary(pa.int8(), pa.string())
NUMBER = 0x5941_414E_4143
TEXT_COLUMNS: dict[str, tuple[str, Callable[[list[str]], pa.Array]]] = {
    "string": ("a", pa.array),
    "large_string": ("a", lambda texts: pa.array(texts, pa.large_string())),
    "dictionary": ("a", lambda texts: pa.array(texts).dictionary_encode()),
    "binary": ("a", lambda texts: pa.array([text.encode() for text in texts])),
    "struct": ("a", lambda texts: pa.array([{"b": text, "c": text} for text in texts])),
    "struct of dictionaries": (
        "a.b",
        lambda texts: pa.array(
            [{"b": text} for text in texts], pa.struct({"b": pa.dictionary(pa.int8(), pa.string())})
        ),
    ),
    "list": ("a[]", lambda texts: pa.array([[text, text] for text in texts])),
    "list_view": ("a[]", lambda texts: pa.array([[text, text] for text in texts], pa.list_view(pa.string()))),
    "fixed_size_list": ("a[]", lambda texts: pa.array([[text, text] for text in texts], pa.list_(pa.string(), 2))),
    "list of structs of lists": ("a[].b[]", lambda texts: pa.array([[{"b": [text, text]}] for text in texts])),
    "map": ("a", lambda texts: pa.array([[(text, text)] for text in texts], pa.map_(pa.string(), pa.string()))),
}
"""By layout: the path of the texts, and what makes a column of them in which every row holds its own."""


def encoded(batch: pa.RecordBatch) -> bytes:
    return RecordBatchCoder().encode(batch)


@pytest.fixture(scope="session")
def surrogates(policy_of: PolicyOf) -> dict[str, Any]:
    """Real tokenizers, whose tokens show nothing."""
    keys = TokenKeys(tenant="shop", secrets={3: bytes(range(32))}, primary=3, root=bytes(32))
    types = policy_of({"a": "keep"}).info_types
    return {domain: open_tokenizer(types[name], keys, version=3) for name, domain in DOMAINS.items()}


@pytest.mark.parametrize("name", TEXT_COLUMNS)
@pytest.mark.parametrize("rule", ["redact", "mask", "year", "token"])
def test_no_raw_value_is_in_the_buffers_of_what_is_changed(
    protected: Protecting, surrogates: dict[str, Any], name: str, rule: str
) -> None:
    path, column = TEXT_COLUMNS[name]
    found = protected({"a": column([RAW % number for number in range(6)])}, {path: rule}, tokenizers=surrogates)
    assert found.batch.num_rows == 6
    assert b"CANARY" not in encoded(found.batch)


@pytest.mark.parametrize("name", TEXT_COLUMNS)
def test_no_value_without_permission_is_in_the_buffers_of_what_is_kept(protected: Protecting, name: str) -> None:
    _, column = TEXT_COLUMNS[name]
    rows = {"a": column([RAW % "given", RAW % "denied", RAW % "given"])}
    data = encoded(protected(rows, {"a": "keep_if"}, permits={"other": [True, False, True]}).batch)
    assert b"given" in data
    assert b"denied" not in data


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([1, NUMBER, 3]), id="int64"),
        pytest.param(pa.array([1, NUMBER, 3]).dictionary_encode(), id="dictionary"),
        pytest.param(pa.array([{"n": 1}, {"n": NUMBER}, {"n": 3}]), id="struct"),
        pytest.param(pa.array([[1], [NUMBER], [3]]), id="list"),
    ],
)
def test_no_number_without_permission_is_in_the_buffers_of_what_is_kept(
    protected: Protecting, column: pa.Array
) -> None:
    found = protected({"a": column}, {"a": "keep_if"}, permits={"other": [True, False, True]})
    assert found.batch["a"].is_null().to_pylist() == [False, True, False]
    assert NUMBER.to_bytes(8, "little") not in encoded(found.batch)


@pytest.mark.parametrize("name", TEXT_COLUMNS)
def test_no_value_of_a_row_that_does_not_leave_is_in_the_buffers(protected: Protecting, name: str) -> None:
    """Rows outside of the slice, dropped whole, refused for a value, refused for drift."""
    _, column = TEXT_COLUMNS[name]
    words = ("outside", "leaves", "dropped", "refused", "drifting", "leaves", "outside")
    batch = pa.record_batch(
        {
            "a": column([RAW % word for word in words]),
            "b": ["x", "b", "b", "x", "b", "b", "x"],
            "new": [1, None, None, None, 1, None, 1],
        }
    )
    permits = {"give": [True, False, True, True, True]}
    fields = {"a": "keep", "b": "strict"}
    found = protected(batch.slice(1, 5), fields, permits=permits, collect=["give"], on_drift="dead_letter")
    assert found.batch.num_rows == 2
    assert found.rejected is not None
    assert found.rejected.reasons == ("wrong_characters", "undeclared_field")
    data = encoded(found.batch)
    assert b"leaves" in data
    for word in words:
        assert word == "leaves" or word.encode() not in data, word


def test_no_value_of_a_dropped_row_is_written_with_the_others(protected: Protecting) -> None:
    rows = {"a": pa.array([RAW % "leaves", RAW % "dropped"]).dictionary_encode()}
    found = protected(rows, {"a": "keep"}, permits={"use": [True, False]}, collect=["use"])
    assert found.batch["a"].to_pylist() == [RAW % "leaves"]
    written = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([found.batch]), written, compression="none")
    assert b"dropped" not in written.getvalue().to_pybytes()


def hidden(column: pa.Array, mask: list[bool]) -> pa.Array:
    """The column with nulls laid over its values, which stay in its buffers."""
    kind = column.type
    validity = pa.array([not each for each in mask]).buffers()[1]
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(hidden(column.indices, mask), column.dictionary)
    children, own = [], column.buffers()[1:]
    if pa.types.is_struct(kind):
        children, own = [column.field(place) for place in range(kind.num_fields)], []
    elif is_list(kind):
        layout = {pa.types.is_fixed_size_list: 0, pa.types.is_list_view: 2}
        count = next((count for is_so, count in layout.items() if is_so(kind)), 1)
        children, own = [column.values], own[:count]
    return pa.Array.from_buffers(kind, len(column), [validity, *own], children=children)


COVERED = [name for name in TEXT_COLUMNS if name != "map"]
"""Layouts that can hide a value under a null."""


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("rule", ["redact", "mask", "token", "keep"])
def test_what_hides_under_a_null_is_not_in_the_buffers(
    protected: Protecting, surrogates: dict[str, Any], rule: str, name: str
) -> None:
    path, column = TEXT_COLUMNS[name]
    nulled = hidden(column([RAW % "shown", RAW % "hidden", RAW % "shown"]), [False, True, False])
    assert nulled.is_null().to_pylist() == [False, True, False]
    found = protected({"a": nulled}, {path: rule}, tokenizers=surrogates)
    found.batch.validate(full=True)
    assert b"hidden" not in encoded(found.batch)


def test_view_strings_are_protected_where_no_row_is_taken_out(protected: Protecting) -> None:
    column = pa.array(["x" * 20, "short", None], pa.string_view())
    found = protected({"a": column, "b": column, "c": column}, {"a": "keep", "b": "mask", "c": "token"})
    assert found.batch.to_pylist() == [
        {"a": "x" * 20, "b": "*" * 19 + "x", "c": "[redacted]"},
        {"a": "short", "b": "****t", "c": "t:short"},
        {"a": None, "b": None, "c": None},
    ]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view(), pa.list_(pa.string_view())], ids=str)
def test_rows_of_view_columns_can_be_dropped(protected: Protecting, kind: pa.DataType) -> None:
    column = pa.array([["a"], ["b"]] if is_list(kind) else ["a", "b"], kind)
    found = protected({"a": column}, {"a": "keep"}, permits={"use": [True, False]}, collect=["use"])
    assert found.batch.num_rows == 1


@pytest.mark.parametrize("kind", [pa.list_(pa.string_view()), pa.struct({"b": pa.string_view()})], ids=str)
def test_nested_view_columns_are_kept_where_permitted(protected: Protecting, kind: pa.DataType) -> None:
    column = pa.array([["a"], ["b"]] if is_list(kind) else [{"b": "a"}, {"b": "b"}], kind)
    found = protected({"a": column}, {"a": "keep_if"}, permits={"other": [True, False]})
    assert found.batch["a"].is_null().to_pylist() == [False, True]


def test_view_strings_in_lists_of_fixed_size_are_protected(protected: Protecting) -> None:
    column = pa.array([None, [{"b": "a"}]], pa.list_(pa.struct({"b": pa.string_view()}), 1))
    assert protected({"a": column}, {"a[].b": "mask"}).batch["a"].to_pylist() == [None, [{"b": "*"}]]

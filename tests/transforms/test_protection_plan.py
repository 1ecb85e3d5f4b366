from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from consentry.schemas.dataset import FieldPath
from consentry.schemas.errors import ConfigError
from consentry.schemas.policy import Policy
from consentry.transforms.protection_plan import (
    ProtectionPlan,
    check_dataset_columns,
    dropped_paths,
    needed_purposes,
    plan_protection,
)

PolicyOf = Callable[..., Policy]
ORDER = pa.schema(
    {
        "id": pa.int64(),
        "customer": pa.struct({"id": pa.string(), "email": pa.string(), "shoe": pa.int64()}),
        "items": pa.list_(pa.struct({"sku": pa.string(), "note": pa.string()})),
        "extra": pa.struct({"a": pa.string()}),
    }
)


@pytest.fixture
def plan_of(policy_of: PolicyOf) -> Callable[..., ProtectionPlan]:
    def build(fields: dict[str, str], schema: pa.Schema = ORDER) -> ProtectionPlan:
        return plan_protection(policy_of(fields), "data", schema, key_version=2)

    return build


def text(paths: tuple[FieldPath, ...]) -> list[str]:
    return [str(path) for path in paths]


def test_declared_paths_leave_and_all_else_is_drift(plan_of: Callable[..., ProtectionPlan]) -> None:
    plan = plan_of({"id": "keep", "customer.email": "token", "items[].note": "scan"})
    assert plan.schema.names == ["id", "customer", "items"]
    assert plan.schema.field("customer").type == pa.struct({"email": pa.string()})
    assert plan.schema.field("items").type == pa.list_(pa.struct({"note": pa.string()}))
    assert text(plan.drift) == ["customer.id", "customer.shoe", "items[].sku", "extra"]
    assert plan.contradictions == () and plan.absent == ()


def test_fields_say_what_was_done_to_them(plan_of: Callable[..., ProtectionPlan]) -> None:
    plan = plan_of({"id": "keep", "customer.email": "token", "items[].note": "scan"})
    assert plan.schema.field("id").metadata == {b"consentry.action": b"keep"}
    assert plan.schema.field("customer").type.field("email").metadata == {
        b"consentry.action": b"tokenize", b"consentry.info_type": b"token", b"consentry.format": b"surrogate",
        b"consentry.domain": b"d", b"consentry.key_version": b"2",
    }  # fmt: skip
    note = plan.schema.field("items").type.value_type.field("note")
    assert note.metadata == {b"consentry.action": b"scan", b"consentry.info_type": b"scan"}


def test_a_path_covers_what_lies_below_unless_a_longer_one_says_otherwise(
    plan_of: Callable[..., ProtectionPlan],
) -> None:
    plan = plan_of({"customer": "token", "customer.shoe": "drop", "items": "keep", "items[].note": "redact"})
    assert plan.schema.field("customer").type == pa.struct({"id": pa.string(), "email": pa.string()})
    assert [leaf.path for leaf in plan.tokenized()] == ["customer.id", "customer.email"]
    assert plan.schema.field("items").type == ORDER.field("items").type
    assert text(plan.drift) == ["id", "extra"]


def test_a_struct_with_nothing_left_is_left_out(plan_of: Callable[..., ProtectionPlan]) -> None:
    assert plan_of({"id": "keep", "extra.a": "drop"}).schema.names == ["id"]
    assert plan_of({"id": "keep", "extra.a": "gone"}).schema.names == ["id"]


def test_declared_paths_that_the_input_lacks_are_absent(plan_of: Callable[..., ProtectionPlan]) -> None:
    plan = plan_of({"id": "keep", "customer.phone": "token", "nothing[].x": "drop"})
    assert text(plan.absent) == ["customer.phone", "nothing[].x"]


@pytest.mark.parametrize("path", ["id.deeper", "customer[].id", "items.sku"])
def test_another_shape_than_declared_is_a_contradiction(plan_of: Callable[..., ProtectionPlan], path: str) -> None:
    plan = plan_of({path: "keep", "extra": "keep"})
    top = path.replace("[]", ".").split(".")[0]
    assert text(plan.contradictions) == [top]
    assert top in text(plan.drift)
    assert top not in plan.schema.names


def test_a_column_of_nulls_contradicts_nothing(plan_of: Callable[..., ProtectionPlan]) -> None:
    plan = plan_of({"a.b": "keep", "c": "keep"}, pa.schema({"a": pa.null(), "c": pa.int64()}))
    assert plan.contradictions == () and plan.drift == ()
    assert text(plan.absent) == ["a.b"]


def test_names_with_dots_and_brackets_are_told_apart(plan_of: Callable[..., ProtectionPlan]) -> None:
    schema = pa.schema({"a.b": pa.string(), "a": pa.struct({"b": pa.string()})})
    plan = plan_of({"a\\.b": "token"}, schema)
    assert plan.schema.names == ["a.b"]
    assert text(plan.drift) == ["a"]


def test_an_unknown_dataset_is_refused_by_name(policy_of: PolicyOf) -> None:
    with pytest.raises(ConfigError, match="no dataset 'orders'; it has: data"):
        plan_protection(policy_of({"a": "keep"}), "orders", ORDER, key_version=1)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.date32(), pa.int64()])
def test_an_event_time_that_is_no_instant_is_refused(policy_of: PolicyOf, kind: pa.DataType) -> None:
    dataset = policy_of({"when": "keep"}).datasets["data"]
    with pytest.raises(ConfigError, match=r"datasets\.data\.event_time: column 'when' has type .*time zone"):
        check_dataset_columns(pa.schema({"when": kind}), dataset, "data")


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.date32()])
def test_a_subject_that_names_nobody_is_refused(policy_of: PolicyOf, kind: pa.DataType) -> None:
    dataset = policy_of({"when": "keep"}).datasets["data"]
    with pytest.raises(ConfigError, match=r"datasets\.data\.subject: column 'who' has type"):
        check_dataset_columns(pa.schema({"who": kind}), dataset, "data")


def test_readable_columns_pass(policy_of: PolicyOf) -> None:
    dataset = policy_of({"when": "keep"}).datasets["data"]
    for time in (pa.string(), pa.timestamp("ns", "Europe/Paris"), pa.null(), pa.dictionary(pa.int8(), pa.string())):
        check_dataset_columns(pa.schema({"who": pa.decimal128(9), "when": time}), dataset, "data")
    check_dataset_columns(pa.schema({"other": pa.int64()}), dataset, "data")


def test_only_purposes_that_decide_are_asked(policy_of: PolicyOf) -> None:
    assert needed_purposes(policy_of({"a": "mask"}), "data") == ("use",)
    assert needed_purposes(policy_of({"a": "keep"}, collect=["other"]), "data") == ("other",)
    assert needed_purposes(policy_of({"a": "token"}), "data") == ("use", "give")


def test_paths_dropped_by_name_are_known(policy_of: PolicyOf) -> None:
    policy = policy_of({"a": "drop", "b": "gone", "c": "redact", "d": "keep"})
    assert dropped_paths(policy, "data") == {FieldPath.parse("a"), FieldPath.parse("b")}

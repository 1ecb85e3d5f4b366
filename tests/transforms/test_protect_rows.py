# Beam's type hints do not know `X | None`.
# ruff: noqa: UP045
from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import registry
from apache_beam.typehints import Sequence as ListOf
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp
from consentry.pipelines.scaffold import write_project
from consentry.schemas.errors import ConfigError
from consentry.transforms.protect_rows import ProtectRows
from consentry.transforms.row_types import columns_of, plain_value, row_value, type_hint
from hypothesis import given
from hypothesis import strategies as st

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
NOW = 1_793_000_000_000_000
AT = "2026-10-26T00:00:00Z"
CARD = "4111111111111111"
MAIL = "kim@canary.example"
LETTERS = {"output": "dead_letters"}
POLICY = """
version: 1
purposes: {fulfilment: {basis: contract, says: "To deliver."}}
roles: {agent: {purposes: [fulfilment]}}
info_types:
  customer: {action: tokenize, format: surrogate, domain: customer, collect: [fulfilment]}
  card: {action: tokenize, format: pan, domain: card, collect: [fulfilment], on_invalid: dead_letter}
  email: {action: tokenize, format: email, domain: email, collect: [fulfilment]}
datasets:
  orders:
    subject: customer.id
    event_time: placed_at
    fields:
      order_id: keep
      placed_at: keep
      amount: keep
      customer.id: customer
      customer.email: email
      cards[].number: card
      cards[].cvv: drop
      secret: drop
"""
ORDER = RowTypeConstraint.from_fields(
    [
        ("order_id", str),
        ("placed_at", Timestamp),
        ("amount", Optional[float]),
        ("customer", RowTypeConstraint.from_fields([("id", str), ("email", Optional[str])])),
        ("cards", ListOf[RowTypeConstraint.from_fields([("number", str), ("cvv", str)])]),
        ("secret", str),
        ("unasked", str),
    ]
)


def order(number: int, card: str = CARD) -> beam.Row:
    return beam.Row(
        order_id=f"o-{number}",
        placed_at=Timestamp(1_772_000_000 + number),
        amount=None if number % 2 else 1.5,
        customer=beam.Row(id=f"c-{number}", email=MAIL),
        cards=[beam.Row(number=card, cvv="675")],
        secret="s3cret",
        unasked="unasked",
    )


class Write(beam.DoFn):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def process(self, element: Any) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(pickle.dumps(plain_value(element)))


def ran(rows: list[beam.Row], kind: Any, transform: beam.PTransform[Any, Any], folder: Path) -> dict[str, list[Any]]:
    """What each output has, after a shuffle that encodes every row by the schema that is promised."""
    outputs: Mapping[str, Any]
    with beam.Pipeline(FN_API) as pipeline:
        outputs = pipeline | beam.Create(rows).with_output_types(kind) | transform
        for name, output in outputs.items():
            (folder / name).mkdir()
            coder = registry.get_coder(output.element_type)
            assert "Row" in type(coder).__name__, coder
            _ = output | f"Shuffle_{name}" >> beam.Reshuffle() | f"Write_{name}" >> beam.ParDo(Write(folder / name))
    return {name: [pickle.loads(file.read_bytes()) for file in (folder / name).iterdir()] for name in outputs}


@pytest.fixture
def config(tmp_path: Path) -> Iterator[str]:
    shop = tmp_path / "shop"
    write_project(shop, tenant="shop", now=NOW)
    (shop / "policy.yaml").write_text(POLICY, encoding="utf-8")
    yield str(shop / "consentry.yaml")


def test_typed_rows_leave_protected_and_typed(config: str, tmp_path: Path) -> None:
    transform = ProtectRows(config, "orders", LETTERS, at=AT)
    found = ran([order(1), order(2)], ORDER, transform, tmp_path)
    assert found["dead_letters"] == []
    rows = sorted(found["good"], key=lambda row: str(row["order_id"]))
    assert [list(row) for row in rows] == [["order_id", "placed_at", "amount", "customer", "cards"]] * 2
    assert [row["amount"] for row in rows] == [None, 1.5]
    assert rows[0]["placed_at"] == plain_value(Timestamp(1_772_000_001))
    assert len(rows[0]["customer"]["id"]) == 16
    assert rows[0]["customer"]["email"].endswith(".invalid")
    assert [list(card) for card in rows[0]["cards"]] == [["number"]]
    assert rows[0]["cards"][0]["number"][-4:] == "1111" != rows[0]["cards"][0]["number"][:4]
    for canary in (CARD, MAIL, "675", "s3cret", "unasked"):
        assert canary not in repr(rows)


def test_columns_of_any_type_are_protected_by_what_their_values_are(config: str, tmp_path: Path) -> None:
    kind = RowTypeConstraint.from_fields(
        [("order_id", str), ("placed_at", str), ("customer", Any), ("secret", Any), ("unasked", Any)]
    )
    row = beam.Row(
        order_id="o-1",
        placed_at="2026-03-01T09:00:00Z",
        customer={"id": "c-1", "email": MAIL},
        secret={"a": "s3cret"},
        unasked=["unasked"],
    )
    found = ran([row], kind, ProtectRows(config, "orders", LETTERS, at=AT), tmp_path)
    (protected,) = found["good"]
    assert list(protected) == ["order_id", "placed_at", "customer"]
    assert protected["customer"]["email"].endswith(".invalid")
    assert MAIL not in repr(found) and "s3cret" not in repr(found)


def test_lines_of_json_leave_as_lines_of_json(config: str, tmp_path: Path) -> None:
    good = {"order_id": "o-1", "placed_at": "2026-03-01T09:00:00Z", "customer": {"id": "c-1", "email": MAIL}}
    bad = f'{{"email": "{MAIL}", NaN'
    rows = [beam.Row(line=json.dumps(good)), beam.Row(line=bad), beam.Row(line='{"amount": NaN}'), beam.Row(line="7")]
    rows += [beam.Row(line='{"amount": 1e999}'), beam.Row(line=f'{{"amount": 1, "amount": "{MAIL}"}}')]
    kind = RowTypeConstraint.from_fields([("line", str)])
    found = ran(rows, kind, ProtectRows(config, "orders", LETTERS, json_field="line", at=AT), tmp_path)
    (line,) = [json.loads(row["line"]) for row in found["good"]]
    assert set(line) == {"order_id", "placed_at", "customer"} and len(line["customer"]["id"]) == 16
    assert sorted(letter["reason"] for letter in found["dead_letters"]) == ["not_an_object"] * 5
    assert MAIL not in repr(found)


def test_payloads_of_topics_are_lines_too(config: str, tmp_path: Path) -> None:
    class Message(NamedTuple):
        payload: bytes

    line = json.dumps({"order_id": "o-1", "placed_at": "2026-03-01T09:00:00Z", "customer": {"id": "c-1"}})
    rows = [Message(line.encode()), Message(b"\xff\xfe")]
    kind = RowTypeConstraint.from_fields([("payload", bytes)])
    found = ran(
        [beam.Row(payload=row.payload) for row in rows],
        kind,
        ProtectRows(config, "orders", LETTERS, json_field="payload", at=AT),
        tmp_path,
    )
    assert len(found["good"]) == len(found["dead_letters"]) == 1


def test_what_cannot_be_protected_is_a_sealed_dead_letter(config: str, tmp_path: Path) -> None:
    found = ran(
        [order(1), order(2, "4111111111111112")], ORDER, ProtectRows(config, "orders", LETTERS, at=AT), tmp_path
    )
    assert [row["order_id"] for row in found["good"]] == ["o-1"]
    (letter,) = found["dead_letters"]
    assert (letter["stage"], letter["dataset"], type(letter["sealed"])) == ("protect", "orders", bytes)
    assert "4111111111111112" not in repr(letter) and MAIL not in repr(letter)


@pytest.mark.parametrize("handling", [None, {}, {"output": ""}, {"output": "good"}, {"output": 7}])
def test_dead_letters_must_have_a_place_to_go(config: str, handling: Any) -> None:
    with pytest.raises(ConfigError, match=r"write error_handling: \{output: dead_letters\}"):
        ProtectRows(config, "orders", handling)


def test_an_input_without_a_schema_is_refused_while_the_pipeline_is_built(config: str) -> None:
    with pytest.raises(ConfigError, match="no collection of rows with a schema"):
        _ = beam.Pipeline(FN_API) | beam.Create([{"a": 1}]) | ProtectRows(config, "orders", LETTERS)


def test_an_input_of_which_nothing_is_declared_is_refused(config: str) -> None:
    rows = beam.Create([beam.Row(other=1)]).with_output_types(RowTypeConstraint.from_fields([("other", int)]))
    with pytest.raises(ConfigError, match="no column of its input is declared for dataset 'orders'"):
        _ = beam.Pipeline(FN_API) | rows | ProtectRows(config, "orders", LETTERS)


def test_a_field_of_json_that_is_not_there_is_refused(config: str) -> None:
    rows = beam.Create([beam.Row(line="{}")]).with_output_types(RowTypeConstraint.from_fields([("line", str)]))
    with pytest.raises(ConfigError, match="no field of the name that json_field gives"):
        _ = beam.Pipeline(FN_API) | rows | ProtectRows(config, "orders", LETTERS, json_field="text")


LEAVES = st.sampled_from([pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary()])
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda each: pa.struct([(f"f{n}", kind) for n, kind in enumerate(each)])
        ),
    ),
    max_leaves=5,
)


@given(TYPES)
def test_types_come_back_from_rows_as_they_went(kind: pa.DataType) -> None:
    row = RowTypeConstraint.from_fields([("field", type_hint(kind))])
    (found,) = columns_of(row).values()
    assert found == kind


def test_rows_come_back_as_the_values_that_they_were_made_of() -> None:
    kind = pa.struct([("id", pa.string()), ("items", pa.list_(pa.struct([("sku", pa.string()), ("n", pa.int64())])))])
    value = {"id": "a", "items": [{"sku": "TEA", "n": 2}, {"sku": None, "n": None}]}
    assert plain_value(row_value(value, kind)) == value
    assert plain_value(row_value({"id": "a"}, kind)) == {"id": "a", "items": None}

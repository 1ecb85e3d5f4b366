"""Tokens of an earlier run do not become tokens of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from consentry.pipelines.sources import plan_sources
from consentry.pipelines.tokenized_inputs import check_untokenized, tokenized_paths
from consentry.schemas.errors import InputError
from consentry.schemas.policy import Policy
from hypothesis import given
from hypothesis import strategies as st
from oracles.shop_commands import Shop

TOKENIZED = {"consentry.action": "tokenize", "consentry.info_type": "card"}
POLICY = """
version: 1
purposes: {fulfilment: {basis: contract, says: "To deliver."}}
info_types:
  card: {action: tokenize, format: pan, domain: card, collect: [fulfilment]}
  shown: {action: mask, show_last: 4, collect: [fulfilment]}
  kept: {action: keep, collect: [fulfilment]}
  gone: {action: drop}
  hidden: {action: redact}
datasets:
  orders:
    subject: customer
    event_time: placed_at
    fields: {customer: keep, placed_at: keep}
"""


def policy_with(fields: dict[str, str]) -> Policy:
    document = yaml.safe_load(POLICY)
    document["datasets"]["orders"]["fields"] |= fields
    return Policy.model_validate(document)


def token_field(name: str, kind: pa.DataType | None = None, **marks: str) -> pa.Field:
    return pa.field(name, kind or pa.string(), metadata={**TOKENIZED, **marks})


def written(folder: Path, name: str, *fields: pa.Field) -> Path:
    folder.mkdir(exist_ok=True)
    rows = pa.Table.from_arrays([pa.nulls(2, field.type) for field in fields], schema=pa.schema(list(fields)))
    pq.write_table(rows, folder / name)
    return folder


NESTED = (
    pa.field("payment", pa.struct([token_field("card"), pa.field("sum", pa.float64())])),
    pa.field("numbers", pa.list_(token_field("element"))),
    pa.field("items", pa.list_(pa.field("element", pa.struct([token_field("a.b")])))),
    pa.field("plain", pa.string(), metadata={"consentry.action": "mask"}),
)


def test_tokens_are_found_at_every_depth_of_a_file_that_was_written(tmp_path: Path) -> None:
    sources = plan_sources([str(written(tmp_path / "in", "a.parquet", token_field("card"), *NESTED))])
    found = [str(path) for path in tokenized_paths(sources.splits[0].columns)]
    assert found == ["card", "payment.card", "numbers[]", "items[].a\\.b"]


@pytest.mark.parametrize("rule", ["card", "shown"])
def test_tokens_that_would_be_treated_as_raw_values_are_refused(tmp_path: Path, rule: str) -> None:
    folder = written(tmp_path / "in", "a.parquet", token_field("card"), *NESTED)
    policy = policy_with({"card": rule, "payment": rule, "items[].a\\.b": rule, "plain": rule})
    with pytest.raises(InputError) as caught:
        check_untokenized(plan_sources([str(folder)]), policy, "orders")
    assert str(caught.value) == (
        f"{folder}/a.parquet: holds tokens of an earlier run in card, payment.card, items[].a\\.b; protect the raw "
        "source, or, to pass them as they are, declare them keep in datasets.orders.fields"
    )
    assert (caught.value.exit_code, caught.value.reason) == (2, "input_tokenized")


@pytest.mark.parametrize("rule", ["keep", "drop", "redact", "kept", "gone", "hidden", None])
def test_tokens_that_stay_or_go_as_they_are_may_come(tmp_path: Path, rule: str | None) -> None:
    folder = written(tmp_path / "in", "a.parquet", token_field("card"), *NESTED)
    fields = {} if rule is None else {"card": rule, "payment.card": rule, "numbers": rule, "items": rule}
    check_untokenized(plan_sources([str(folder)]), policy_with(fields), "orders")


def test_one_such_file_among_others_is_the_one_that_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", "a.parquet", pa.field("card", pa.string()))
    written(folder, "b.parquet", token_field("card"))
    (folder / "c.csv").write_text("card\n4111111111111111\n")
    with pytest.raises(InputError, match=r"in/b\.parquet: holds tokens of an earlier run in card;"):
        check_untokenized(plan_sources([str(folder)]), policy_with({"card": "card"}), "orders")


@given(action=st.text(max_size=9).filter(lambda text: text != "tokenize"))
def test_no_other_mark_means_tokens(action: str) -> None:
    field = pa.field("card", pa.string(), metadata={"consentry.action": action, "action": "tokenize"})
    assert list(tokenized_paths(pa.schema([field]))) == []


# ---- from the command line


def declared(shop: Shop, **changes: str) -> None:
    path = shop.folder / "policy.yaml"
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    document["datasets"]["orders"]["fields"] |= changes
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def test_an_output_of_its_own_is_no_input_and_nothing_is_done(shop: Shop) -> None:
    before = shop.visible(), shop.stored()
    done = shop.run("protect", shop.out, "--dataset", "orders", "--out", shop.place / "deep" / "new", "--json")
    assert (done.code, done.out) == (2, "")
    assert f"consentry: {shop.out}/data/part-" in done.err
    assert ".parquet: holds tokens of an earlier run in customer.id, customer.email, payment.card.number;" in done.err
    assert (shop.visible(), shop.stored()) == before


def test_tokens_that_are_kept_come_out_as_they_were(shop: Shop) -> None:
    declared(shop, **dict.fromkeys(("customer.id", "customer.email", "payment.card.number"), "keep"))
    again = shop.place / "again"
    done = shop.run("protect", shop.out, "--dataset", "orders", "--out", again, "--json")
    assert done.code == 0, done.err
    rows, kept = shop.rows(), shop.rows(again)
    assert {name: row["payment"] for name, row in kept.items()} == {name: row["payment"] for name, row in rows.items()}
    assert {name: row["customer"]["email"] for name, row in kept.items()} == {
        name: row["customer"]["email"] for name, row in rows.items()
    }
    assert shop.run("verify", again).code == 0

"""The stage without code: a Beam YAML pipeline that really runs."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from consentry.pipelines.scaffold import write_project
from oracles.needles import contents, leaks

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "beam_yaml"
EXAMPLE = HERE / "protect_orders.yaml"
NOW = 1_793_000_000_000_000
FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
OFFSET = re.compile(r"(Z|[+-]\d\d:\d\d)$")
MISSPELT = '{"order_id": "o-broken", "customer": {"email": "kim@canary.example"}'


def beam_yaml() -> Any:
    """Beam YAML's own entry point, or a loud skip that names what is missing."""
    try:
        import_module("jsonschema")
        return import_module("apache_beam.yaml.main")
    except ModuleNotFoundError as error:
        pytest.skip(f"NOT RUN: Beam YAML needs '{error.name}', which is not installed: pip install -e '.[yaml]'")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    write_project(folder, tenant="shop", now=NOW)
    shutil.copy(ROOT / "examples" / "orders" / "policy.yaml", folder / "policy.yaml")
    return folder


def readable(data: bytes) -> list[str]:
    """The lines of a file but those that Beam's reader of text stumbles over."""
    found = []
    for line in data.splitlines():
        try:
            found += [line.decode()] if line.strip() else []
        except UnicodeDecodeError:
            continue
    return found


def record_in(line: str) -> dict[str, Any] | None:
    """The record of a line; None where it is no object, or one that cannot be written down again as it is."""
    twice: list[Any] = []

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(pairs[len(dict(pairs)) :])
        return dict(pairs)

    try:
        found = json.loads(line, object_pairs_hook=fields)
        json.dumps(found, allow_nan=False)
    except ValueError:
        return None
    return found if isinstance(found, dict) and not twice else None


def test_orders_leave_a_pipeline_of_yaml_protected_and_none_is_lost(shop: Path, tmp_path: Path) -> None:
    main = beam_yaml()
    lines = readable((ROOT / "examples" / "orders" / "orders.jsonl").read_bytes())[:1000]
    orders, out = tmp_path / "orders.jsonl", tmp_path / "out"
    orders.write_text("\n".join([*lines, MISSPELT]) + "\n", encoding="utf-8")
    given = {"project": str(shop / "consentry.yaml"), "orders": str(orders), "out": str(out)}
    main.run([f"--yaml_pipeline_file={EXAMPLE}", f"--jinja_variables={json.dumps(given)}", f"--runner={FN_API}"])

    written = [json.loads(line) for file in out.glob("orders*") for line in file.read_text("utf-8").splitlines()]
    letters = [row for file in out.glob("dead_letters*") for row in pq.read_table(file).to_pylist()]
    records = [record for line in lines if (record := record_in(line)) is not None]
    # An order that names nobody is dropped, as the policy says; one without an instant to ask consent at is set aside.
    named = [record for record in records if record["customer"].get("id")]
    timed = [record for record in named if OFFSET.search(record["placed_at"])]
    assert len(timed) < len(named) < len(records)
    assert sorted(row["order_id"] for row in written) == sorted(record["order_id"] for record in timed)
    untimed = [("decide", "event_time_invalid")] * (len(named) - len(timed))
    unusable = [("build", "not_an_object")] * (len(lines) + 1 - len(records))
    assert sorted((letter["stage"], letter["reason"]) for letter in letters) == [*unusable, *untimed]
    assert all(len(row["customer"]["id"]) == 16 for row in written)
    cards = [row["payment"].get("card") for row in written]
    assert any(cards) and all("cvv" not in card for card in cards if card)
    canaries = {record["customer"].get("email") for record in records} | {"kim@canary.example"}
    canaries |= {record["payment"]["card"]["number"] for record in records if record["payment"].get("card")}
    assert leaks(sorted(str(each) for each in canaries if each)[::10], contents(out)) == []


def test_dead_letters_that_nothing_reads_are_refused_before_the_pipeline_runs(shop: Path, tmp_path: Path) -> None:
    main = beam_yaml()
    pipeline = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    pipeline["pipeline"]["transforms"] = [
        each for each in pipeline["pipeline"]["transforms"] if each["name"] != "DeadLetters"
    ]
    text = (
        yaml.safe_dump(pipeline)
        .replace("include: providers.yaml", f"include: {HERE / 'providers.yaml'}")
        .replace("{{ project }}", str(shop / "consentry.yaml"))
        .replace("{{ orders }}", "orders.jsonl")
        .replace("{{ out }}", str(tmp_path / "out"))
    )
    with pytest.raises(ValueError, match="Unconsumed error output"):
        main.run([f"--yaml_pipeline={text}", f"--runner={FN_API}"])
    assert not (tmp_path / "out").exists()


def test_rows_with_a_schema_are_protected_without_code(shop: Path, tmp_path: Path) -> None:
    main = beam_yaml()
    text = f"""
providers:
  - include: {HERE / "providers.yaml"}
pipeline:
  transforms:
    - type: Create
      config:
        elements:
          - refund_id: r-1
            refunded_at: "2026-03-01T09:00:00Z"
            customer_id: customer-0001
            card_number: "4111111111111111"
            amount: 2.5
    - type: ConsentryProtect
      input: Create
      config:
        project: {shop / "consentry.yaml"}
        dataset: refunds
        error_handling: {{output: dead_letters}}
    - type: WriteToParquet
      name: Rows
      input: ConsentryProtect
      config: {{path: {tmp_path / "out" / "rows"}}}
    - type: WriteToParquet
      name: Letters
      input: ConsentryProtect.dead_letters
      config: {{path: {tmp_path / "out" / "letters"}}}
"""
    main.run([f"--yaml_pipeline={text}", f"--runner={FN_API}"])
    (row,) = pq.read_table(next((tmp_path / "out").glob("rows*"))).to_pylist()
    assert list(row) == ["refund_id", "refunded_at", "customer_id", "card_number", "amount"]
    assert (row["refund_id"], row["amount"], row["card_number"][-4:]) == ("r-1", 2.5, "1111")
    assert leaks(["4111111111111111", "customer-0001"], contents(tmp_path / "out")) == []


def test_the_listing_names_a_transform_that_exists() -> None:
    (listing,) = yaml.safe_load((HERE / "providers.yaml").read_text(encoding="utf-8"))
    assert listing["type"] == "python"
    for place in listing["transforms"].values():
        module, _, name = place.rpartition(".")
        assert getattr(import_module(module), name).__name__ == name

"""The metadata of the Flex Template against the command that it starts, and against what Dataflow reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from consentry.pipelines.cli import app

ROOT = Path(__file__).parents[2]
METADATA: dict[str, Any] = json.loads((ROOT / "deploy" / "flex_template" / "metadata.json").read_text("utf-8"))
PARAMETERS = {parameter["name"]: parameter for parameter in METADATA["parameters"]}

# As Dataflow documents TemplateMetadata, ParameterMetadata and ParameterType (v1b3).
TEMPLATE_FIELDS = {
    "name": str,
    "description": str,
    "parameters": list,
    "streaming": bool,
    "supportsAtLeastOnce": bool,
    "supportsExactlyOnce": bool,
    "defaultStreamingMode": str,
}
PARAMETER_FIELDS = {
    "name": str,
    "label": str,
    "helpText": str,
    "isOptional": bool,
    "regexes": list,
    "paramType": str,
    "defaultValue": str,
    "enumOptions": list,
    "groupName": str,
    "parentName": str,
    "parentTriggerValues": list,
    "customMetadata": dict,
}
PARAMETER_TYPES = {
    "DEFAULT", "TEXT", "GCS_READ_BUCKET", "GCS_WRITE_BUCKET", "GCS_READ_FILE", "GCS_WRITE_FILE", "GCS_READ_FOLDER",
    "GCS_WRITE_FOLDER", "PUBSUB_TOPIC", "PUBSUB_SUBSCRIPTION", "BIGQUERY_TABLE", "JAVASCRIPT_UDF_FILE",
    "SERVICE_ACCOUNT", "MACHINE_TYPE", "KMS_KEY_NAME", "WORKER_REGION", "WORKER_ZONE", "BOOLEAN", "ENUM", "NUMBER",
    "KAFKA_TOPIC", "KAFKA_READ_TOPIC", "KAFKA_WRITE_TOPIC",
}  # fmt: skip
GIVEN_BY_DATAFLOW = {"runner", "project", "region", "job_name", "temp_location", "staging_location", "subnetwork"}
DEMANDED = {"dataset", "from", "out"}


def options() -> dict[str, Any]:
    """The options of ``consentry stream`` by their name without dashes."""
    command: Any = typer.main.get_command(app)
    stream = command.commands["stream"]
    return {name.removeprefix("--"): option for option in stream.params for name in option.opts if name[:2] == "--"}


def test_the_template_has_the_fields_that_dataflow_knows() -> None:
    assert {"name", "parameters"} <= set(METADATA) <= set(TEMPLATE_FIELDS)
    assert all(isinstance(value, TEMPLATE_FIELDS[name]) for name, value in METADATA.items())
    assert len(PARAMETERS) == len(METADATA["parameters"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_has_the_fields_that_dataflow_knows(name: str) -> None:
    parameter = PARAMETERS[name]
    assert {"name", "label", "helpText"} <= set(parameter) <= set(PARAMETER_FIELDS)
    assert all(isinstance(value, PARAMETER_FIELDS[field]) for field, value in parameter.items())
    assert parameter.get("paramType", "DEFAULT") in PARAMETER_TYPES
    assert re.fullmatch(r"[a-zA-Z][-_a-zA-Z0-9]*", name)
    assert parameter["helpText"].endswith(".") and len(parameter["helpText"]) > len(parameter["label"])


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_an_option_of_the_command(name: str) -> None:
    option = options()[name]
    assert name not in GIVEN_BY_DATAFLOW and not option.is_flag
    default = PARAMETERS[name].get("defaultValue")
    assert default is None or default == option.default


def test_what_the_command_demands_is_demanded() -> None:
    demanded = {name for name, parameter in PARAMETERS.items() if not parameter.get("isOptional", False)}
    assert demanded == DEMANDED | {"config"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_rules_of_a_parameter_are_whole_and_can_be_read(name: str) -> None:
    for rule in PARAMETERS[name]["regexes"]:
        assert rule.startswith("^") and rule.endswith("$") and re.compile(rule)


TOPICS = ["pubsub://tea-shop/orders", "kafka://broker:9092/orders", "kafka://a.b:9092,c.d:9092/o_1?group=consentry"]


def accepts(name: str, value: str) -> bool:
    return all(re.search(rule, value) for rule in PARAMETERS[name]["regexes"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dataset", ["orders", "orders_2026"]),
        ("config", ["/project/consentry.yaml"]),
        ("from", TOPICS),
        ("consents", ["", *TOPICS]),
        ("out", ["kafka://broker:9092/protected", "kafka://a.b:9092,c.d:9092/protected"]),
        ("wait", ["0", "30", "2.5"]),
    ],
)
def test_a_rule_accepts_what_the_command_takes(name: str, values: list[str]) -> None:
    assert all(accepts(name, value) for value in values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dataset", ["", "a b", "--config=x", "orders\nx"]),
        ("config", ["consentry.yaml", "gs://bucket/consentry.yaml", "/keyring.json"]),
        ("from", ["", "dir://inbox", "kafka://user:secret@broker:9092/orders", "kafka://broker/orders", "pubsub://x"]),
        ("consents", ["kafka://user:secret@broker:9092/orders"]),
        ("out", ["", "/tmp/orders", "gs://bucket/orders", "kafka://user:secret@broker:9092/orders"]),
        ("wait", ["", "-1", "soon"]),
    ],
)
def test_a_rule_refuses_what_would_fail_or_hold_a_password(name: str, values: list[str]) -> None:
    assert not any(accepts(name, value) for value in values)


def test_no_parameter_asks_for_a_key_or_a_password() -> None:
    assert not [name for name in PARAMETERS if re.search(r"(?i)pass|secret|key|token|kek", name)]

"""The policy guide: its examples are sound policies, and it names every key and word of the language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from consentry.schemas.info_types import Basis, Entity, Format, OnDrift, OnInvalid, Sight
from consentry.schemas.policy_file import policy_json_schema

GUIDE = (Path(__file__).parents[2] / "docs" / "policy-guide.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def _keys(schema: dict[str, Any]) -> set[str]:
    models = [schema, *schema["$defs"].values()]
    return {key for model in models for key in model.get("properties", {})}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_guide_is_a_sound_policy(read, number):
    assert read(EXAMPLES[number]).version == 1


def test_the_examples_use_every_key_but_the_one_that_excludes_another():
    used = set(re.findall(r"([a-z_]+):", "\n".join(EXAMPLES)))
    assert _keys(policy_json_schema()) - used == {"keep_last", "show_first"}


def test_the_guide_names_every_key_and_every_word():
    words = _keys(policy_json_schema())
    words |= {member.value for names in (Basis, Format, Sight, OnInvalid, OnDrift) for member in names}
    assert {word for word in words if f"`{word}`" not in GUIDE and f"`{word}:" not in GUIDE} <= {
        "bucket",
        "prefix",
        "ip_prefix",
    }
    for entity in Entity:
        assert entity.value in GUIDE


def test_a_path_with_an_escaped_dot_and_a_longer_path_are_read_as_the_guide_says(read):
    orders = next(read(text) for text in EXAMPLES if "weight" in text).datasets["orders"]
    texts = {str(path) for path in orders.fields}
    assert {"weight\\.kg", "shipping", "shipping.street"} <= texts

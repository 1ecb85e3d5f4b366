"""Turns pydantic's complaints about a document into the language of the people who wrote it.

Values are repeated only where they stand for a name of the language and look like one: a pasted secret does not
come back in a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from .policy_checks import Finding, nearest
from .yaml_document import Place

__all__ = ["UNKNOWN_KEY", "complaints"]

UNKNOWN_KEY = "unknown key"
"""The rule of a finding whose key can be left out without loss to the other checks."""

ACTIONS = ("drop", "generalize", "keep", "mask", "redact", "scan", "tokenize")
GUIDE = "docs/policy-guide.md has an example"
# What stands below these keys is not named by the key itself.
KINDS = {"see": "sight", "finds": "entity", "kek": "key set"}
SHAPES = {
    "model_type": ("is no mapping", "write keys below it"),
    "model_attributes_type": ("is no mapping", "write keys below it, 'action' among them"),
    "dict_type": ("is no mapping", "write names below it"),
    "tuple_type": ("is no list", "write it in brackets, as [support]"),
    "path_type": ("is no path", "write the name of a file"),
    "string_type": ("is no text", "put it in quotes"),
    "int_type": ("is no whole number", "write digits without quotes"),
    "float_type": ("is no number", "write digits without quotes"),
}


def complaints(error: ValidationError, document: Any, model: type[BaseModel]) -> tuple[Finding, ...]:
    """Returns the complaints of ``error`` as findings.

    Args:
        error: Of validating ``document`` as ``model``.
        document: Plain values.
        model: Its schema names the keys that an unknown key could have meant.
    """
    details = error.errors(include_url=False)
    return tuple(_finding(detail, document, model) for detail in details)


def _finding(detail: Any, document: Any, model: type[BaseModel]) -> Finding:
    place = _place(detail["loc"], document)
    kind, context = detail["type"], detail.get("ctx", {})
    key = str(place[-1]) if place else ""
    match kind:
        case "extra_forbidden":
            return Finding(place, UNKNOWN_KEY, nearest(key, _siblings(detail["loc"], model)))
        case "missing":
            return Finding(place, "is missing", f"add '{key}'")
        case "union_tag_not_found":
            return Finding((*place, "action"), "is missing", f"write one of: {', '.join(ACTIONS)}")
        case "union_tag_invalid":
            rule = f"unknown action '{_short(context.get('tag'))}'"
            return Finding((*place, "action"), rule, f"write one of: {', '.join(ACTIONS)}")
        case "enum" | "literal_error":
            written = key if detail["loc"][-1] == "[key]" else _at(document, place)
            rule = f"unknown {_kind(place)} '{_short(written)}'"
            return Finding(place, rule, f"write one of: {_choices(context.get('expected'))}")
        case "string_pattern_mismatch":
            hint = "write two capitals, as US" if key == "region" else "write letters, digits, _ and -, a letter first"
            return Finding(place, "is no plain name", hint)
        case "too_short" | "string_too_short":
            return Finding(place, "is empty", "name one at least" if kind == "too_short" else "write a sentence")
        case _ if kind in SHAPES:
            return Finding(place, *SHAPES[kind])
        case _:
            text = str(context["error"]) if kind == "value_error" else detail["msg"]
            rule, _, hint = text.partition("; ")
            return Finding(place, rule[:1].lower() + rule[1:], hint or GUIDE)


def _kind(place: Place) -> str:
    above = next((KINDS[step] for step in place[:-1][::-1] if step in KINDS), None)
    name = next((step for step in reversed(place) if isinstance(step, str)), "value")
    return above or name


def _short(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z][A-Za-z_ -]{0,30}", text) else "…"


def _choices(expected: Any) -> str:
    names = re.findall(r"'([^']+)'", str(expected)) or [str(expected)]
    return ", ".join(sorted(names))


def _at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step] if _holds(document, step) else None
    return document


def _place(location: tuple[Any, ...], document: Any) -> Place:
    """Takes out of pydantic's location what is no key of the document: union tags, ``[key]``."""
    place: list[str | int] = []
    here, held = document, False
    for step in location:
        held = _holds(here, step)
        if held:
            here = here[step]
            place.append(step)
    if not held and isinstance(here, Mapping) and location and location[-1] not in (*ACTIONS, "[key]"):
        place.append(location[-1])
    return tuple(place)


def _holds(container: Any, step: Any) -> bool:
    if isinstance(container, list):
        return isinstance(step, int) and step < len(container)
    return isinstance(container, Mapping) and step in container


def _siblings(location: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Keys that the model at ``location`` knows, read off the JSON Schema."""
    schema = _schema(model)
    node: Any = schema
    for step in location[:-1]:
        node = _below(_resolved(node, schema), step)
        if node is None:
            return []
    return sorted(_resolved(node, schema).get("properties", {}))


@lru_cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _resolved(node: Any, schema: dict[str, Any]) -> dict[str, Any]:
    while isinstance(node, dict) and "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node if isinstance(node, dict) else {}


def _below(node: dict[str, Any], step: Any) -> Any:
    if step in node.get("properties", {}):
        return node["properties"][step]
    mapping = node.get("discriminator", {}).get("mapping", {})
    if step in mapping:
        return {"$ref": mapping[step]}
    return next(_members(node), None)


def _members(node: dict[str, Any]) -> Iterator[Any]:
    """Schemas of what a mapping or list may hold under any key or index."""
    yield from node.get("patternProperties", {}).values()
    for key in ("additionalProperties", "items"):
        if isinstance(node.get(key), dict):
            yield node[key]

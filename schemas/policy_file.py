"""Reads policies and other documents of people, and reports every problem at once with file, line, path, rule, hint.

First the spelling (``yaml_document``), then the parts (the models), then what they say of each other
(``policy_checks``). A part that is not sound does not keep the others from being checked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .complaints import UNKNOWN_KEY, complaints
from .errors import PolicyError
from .policy import Policy
from .policy_checks import Finding, check_policy
from .yaml_document import Place, Problem, YamlDocument

__all__ = ["Problem", "policy_json_schema", "read_document", "read_policy"]

Model = TypeVar("Model", bound=BaseModel)


def read_policy(path: Path) -> Policy:
    """Returns the policy that ``path`` holds.

    Raises:
        PolicyError: With all problems of the document.
    """
    return read_document(Path(path), Policy, check_policy, repair=_with_placeholders)


def read_document(
    path: Path,
    model: type[Model],
    check: Callable[[Model], Iterable[Finding]],
    *,
    repair: Callable[[Any, Iterable[Finding]], Any] | None = None,
) -> Model:
    """Returns the YAML document of ``path`` as ``model``.

    Args:
        path: UTF-8, 1 MiB at most.
        model: What its parts must be.
        check: What its parts must be to each other.
        repair: Makes of a document and what is wrong with its parts one whose sound parts can be checked.

    Raises:
        PolicyError: With all problems; values are quoted only where they name things of the language.
    """
    document = YamlDocument.load(path)
    found: tuple[Finding, ...]
    try:
        read = model.model_validate(document.value)
    except ValidationError as error:
        found = complaints(error, document.value, model)
        if repair is not None:
            found += _rest(repair(document.value, found), model, check)
    else:
        found = tuple(check(read))
        if not found and not document.problems:
            return read
    problems = {*document.problems, *(document.problem(item.place, item.rule, item.hint) for item in found)}
    ordered = tuple(sorted(problems, key=lambda problem: (problem.line, problem.path, problem.rule)))
    raise PolicyError("\n".join(map(str, ordered)), problems=ordered)


def policy_json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the policy language, for editors."""
    schema = Policy.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Consentry policy"
    return schema


def _rest(repaired: Any, model: type[Model], check: Callable[[Model], Iterable[Finding]]) -> tuple[Finding, ...]:
    try:
        return tuple(check(model.model_validate(repaired)))
    except ValidationError:
        return ()


def _with_placeholders(document: Any, found: Iterable[Finding]) -> Any:
    """Puts a harmless part of the same name in the place of each broken one, so that it counts as defined."""
    if not isinstance(document, dict):
        return document
    sound: dict[str, Any] = copy.deepcopy(document)
    placeholders: dict[str, Any] = {
        "purposes": {"basis": "contract", "says": "-"},
        "roles": {"purposes": list(sound["purposes"])[:1]} if isinstance(sound.get("purposes"), dict) else None,
        "info_types": {"action": "drop"},
        "datasets": None,
    }
    for item in found:
        section, name = (*map(str, item.place[:2]), "", "")[:2]
        if item.rule == UNKNOWN_KEY:
            _leave_out(sound, item.place)
            continue
        members = sound.get(section)
        if not name or section not in placeholders or not isinstance(members, dict):
            sound.pop(section, None)
        elif placeholders[section] is None:
            members.pop(name, None)
        else:
            members[name] = placeholders[section]
    sound["version"] = 1
    return sound


def _leave_out(document: Any, place: Place) -> None:
    for step in place[:-1]:
        document = document.get(step) if isinstance(document, dict) else None
    if isinstance(document, dict):
        document.pop(place[-1], None)

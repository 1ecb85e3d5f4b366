"""Reads policies and other YAML documents, and reports every problem at once with file, line, path, rule and hint.

The reader is made for documents of unknown origin: it bounds size, depth and nodes, knows no tags and no aliases,
and refuses repeated keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import PolicyError
from .policy import Policy
from .policy_checks import Finding, check_policy, nearest

__all__ = ["Problem", "policy_json_schema", "read_document", "read_policy"]

LARGEST = 1 << 20
DEEPEST = 32
MOST_NODES = 100_000

Model = TypeVar("Model", bound=BaseModel)
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a document; its text is ``file:line: path: rule; hint``."""

    file: str
    line: int
    path: str
    rule: str
    hint: str

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {path}{self.rule}; {self.hint}"


def read_policy(path: Path) -> Policy:
    """Returns the policy that ``path`` holds.

    Raises:
        PolicyError: With all problems of the document.
    """
    return read_document(Path(path), Policy, check_policy)


def read_document(path: Path, model: type[Model], check: Callable[[Model], Iterable[Finding]]) -> Model:
    """Returns the YAML document of ``path`` as ``model``.

    Args:
        path: UTF-8, 1 MiB at most.
        model: What its parts must be.
        check: What its parts must be to each other; runs once the parts are sound.

    Raises:
        PolicyError: With all problems; values are quoted only where they name things of the language.
    """
    document = _Document.load(path)
    try:
        read = model.model_validate(document.value)
    except ValidationError as error:
        found = [_finding(detail, document.value) for detail in error.errors(include_url=False, include_context=True)]
    except RecursionError:
        found = [Finding((), "is nested too deeply", f"stay within {DEEPEST} levels")]
    else:
        found = list(check(read))
        if not found and not document.problems:
            return read
    problems = {*document.problems, *(document.problem(finding) for finding in found)}
    ordered = tuple(sorted(problems, key=lambda problem: (problem.line, problem.path, problem.rule)))
    raise PolicyError("\n".join(map(str, ordered)), problems=ordered)


def policy_json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the policy language, for editors."""
    schema = Policy.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Consentry policy"
    return schema


class _Document:
    """A YAML document as plain values, with the line of every place and the problems of its spelling."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: Any = None
        self.lines: dict[Place, int] = {(): 1}
        self.problems: list[Problem] = []
        self._nodes = 0

    @classmethod
    def load(cls, path: Path) -> _Document:
        document = cls(str(path))
        try:
            with path.open("rb") as file:
                raw = file.read(LARGEST + 1)
        except OSError as error:
            raise document.refused(1, f"cannot be read ({error.strerror})", "name a readable file") from None
        if len(raw) > LARGEST:
            raise document.refused(1, "is larger than 1 MiB", "split it, or take out what is no policy")
        try:
            node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise document.refused(line, "is not UTF-8", "save the file as UTF-8") from None
        except yaml.YAMLError as error:
            raise document.refused(_line_of(error), "is not valid YAML", _hint_of(error)) from None
        except (RecursionError, ValueError):
            raise document.refused(1, "is not valid YAML", f"stay within {DEEPEST} levels and plain values") from None
        if node is None:
            raise document.refused(1, "is empty", "run `consentry init DIR` for a first one")
        document.value = document._plain(node, (), 0)
        return document

    def refused(self, line: int, rule: str, hint: str) -> PolicyError:
        problem = Problem(self.file, line, "", rule, hint)
        return PolicyError(str(problem), problems=(problem,))

    def problem(self, finding: Finding) -> Problem:
        """Places a finding at the nearest line that the document has for it."""
        place = finding.place
        while place not in self.lines:
            place = place[:-1]
        return Problem(self.file, self.lines[place], _dotted(finding.place), finding.rule, finding.hint)

    def _plain(self, node: yaml.Node, place: Place, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self._nodes += 1
        # Aliases make one node stand at many places: counting visits bounds what they can unfold to.
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise self.refused(line, "is too large or too deep", f"stay within {DEEPEST} levels; avoid aliases")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*place, index), depth + 1) for index, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            line = key_node.start_mark.line + 1
            if not isinstance(key, str) or key_node.tag == "tag:yaml.org,2002:merge":
                self.problems.append(Problem(self.file, line, _dotted(place), "a key is no plain name", "write a name"))
                continue
            below = (*place, key)
            if key in found:
                self.problems.append(
                    Problem(self.file, line, _dotted(below), "stands twice", "keep one of them; the second would win")
                )
            self.lines[below] = line
            found[key] = self._plain(value_node, below, depth + 1)
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, KeyError):
            self._complain(node, place, "is no plain value", "write text, a number, true or false")
            return None
        if value is not None and not isinstance(value, str | int | float | bool):
            self._complain(node, place, "is no plain value", "put it in quotes")
            return None
        return value

    def _complain(self, node: yaml.Node, place: Place, rule: str, hint: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, _dotted(place), rule, hint))


def _line_of(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark is not None else 1


def _hint_of(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    # PyYAML quotes single characters and tag names in its problem, never whole values.
    return f"{problem}" if isinstance(problem, str) and problem else "check indentation, quotes and brackets"


def _dotted(place: Place) -> str:
    return ".".join(str(step) for step in place)


def _finding(detail: Any, document: Any) -> Finding:
    """Turns one complaint of pydantic into the language of the policy."""
    place = _real_place(detail["loc"], document)
    kind, context = detail["type"], detail.get("ctx", {})
    parent = _at(document, place[:-1])
    key = str(place[-1]) if place else ""
    match kind:
        case "extra_forbidden":
            known = _siblings(detail["loc"])
            return Finding(place, "unknown key", nearest(key, known) if known else "take it out")
        case "missing":
            return Finding(place, "is missing", f"add '{key}'")
        case "union_tag_not_found":
            return Finding((*place, "action"), "is missing", f"write one of: {_choices(context.get('expected_tags'))}")
        case "union_tag_invalid":
            rule = f"unknown action '{_short(context.get('tag'))}'"
            return Finding((*place, "action"), rule, f"write one of: {', '.join(sorted(ACTIONS))}")
        case "enum" | "literal_error":
            written = _at(document, place)
            rule = f"unknown {key if isinstance(parent, dict) else 'name'} '{_short(written)}'"
            return Finding(place, rule, f"write one of: {_choices(context.get('expected'))}")
        case "string_pattern_mismatch":
            return Finding(place, "is no plain name", "start with a letter; then letters, digits and _, 64 at most")
        case "value_error":
            rule, _, hint = str(context.get("error", "is not valid")).partition("; ")
            return Finding(place, rule, hint or "see the policy guide")
        case "too_short":
            return Finding(place, "is empty", "name one at least")
        case _:
            return Finding(place, _lowered(detail["msg"]), "see the policy guide")


ACTIONS = ("tokenize", "redact", "mask", "generalize", "drop", "keep", "scan")


def _short(value: Any) -> str:
    """A written name for a message; longer or stranger ones could be pasted values and are not repeated."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z][A-Za-z_ -]{0,30}", text) else "…"


def _choices(expected: Any) -> str:
    names = re.findall(r"'([^']+)'", str(expected)) or [str(expected)]
    return ", ".join(sorted(names))


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _at(document: Any, place: Place) -> Any:
    for step in place:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _real_place(location: tuple[Any, ...], document: Any) -> Place:
    """Takes out of pydantic's location what is no key of the document: union tags, model names, ``[key]``."""
    place: list[str | int] = []
    here = document
    for index, step in enumerate(location):
        last = index == len(location) - 1
        if _holds(here, step):
            here = here[step]
        elif not (last and isinstance(here, Mapping) and not _is_marker(step)):
            continue
        place.append(step)
    return tuple(place)


def _holds(container: Any, step: Any) -> bool:
    if isinstance(container, list):
        return isinstance(step, int) and step < len(container)
    return isinstance(container, Mapping) and step in container


def _is_marker(step: Any) -> bool:
    return not isinstance(step, str) or step == "[key]" or step in ACTIONS or "[" in step or step[:1].isupper()


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """Keys that the model at ``location`` knows, read off the JSON Schema."""
    schema = _schema()
    node: Any = schema
    for step in location[:-1]:
        node = _below(_resolved(node, schema), step, schema)
        if node is None:
            return []
    return sorted(_resolved(node, schema).get("properties", {}))


def _schema() -> dict[str, Any]:
    return json.loads(json.dumps(policy_json_schema()))  # type: ignore[no-any-return]


def _resolved(node: Any, schema: dict[str, Any]) -> dict[str, Any]:
    while isinstance(node, dict) and "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node if isinstance(node, dict) else {}


def _below(node: dict[str, Any], step: Any, schema: dict[str, Any]) -> Any:
    if step in node.get("properties", {}):
        return node["properties"][step]
    mapping = node.get("discriminator", {}).get("mapping", {})
    if step in mapping:
        return {"$ref": mapping[step]}
    if isinstance(node.get("additionalProperties"), dict):
        return node["additionalProperties"]
    for pattern in node.get("patternProperties", {}).values():
        return pattern
    return node.get("items")

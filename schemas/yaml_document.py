"""Reads YAML documents of unknown origin into plain values, and remembers the line of every place.

The reader bounds size, depth and nodes, knows no tags but YAML's plain ones, and notes repeated keys. It never
constructs anything but mappings, lists, text, numbers and truth values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import PolicyError

__all__ = ["Place", "Problem", "YamlDocument", "dotted"]

LARGEST = 1 << 20
DEEPEST = 32
MOST_NODES = 100_000
# Control characters and lone surrogates can forge lines of a report or fail to be written at all.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Place = tuple[str | int, ...]
"""Keys and indices from the root of a document."""


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


def dotted(place: Place) -> str:
    """Returns a place as people write it, as ``roles.clerk.purposes.0``."""
    return ".".join(str(step) for step in place)


class YamlDocument:
    """A document as plain values, with the line of every place and the problems of its spelling.

    Attributes:
        file: Its name, for messages.
        value: Mappings, lists and scalars; None where a scalar could not be read.
        problems: What is wrong with its spelling: repeated keys, odd keys, odd values.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: Any = None
        self.problems: list[Problem] = []
        self._lines: dict[Place, int] = {(): 1}
        self._nodes = 0
        self._loader = yaml.SafeLoader("")

    @classmethod
    def load(cls, path: Path) -> YamlDocument:
        """Reads a file of UTF-8, 1 MiB at most.

        Raises:
            PolicyError: It cannot be read, is too large or deep, or is no YAML.
        """
        document = cls(str(path))
        node = document._composed(document._text(path))
        if node is None:
            raise document._refused(1, "is empty", "run `consentry init DIR` for a first one")
        document.value = document._plain(node, (), 0)
        return document

    def problem(self, place: Place, rule: str, hint: str) -> Problem:
        """Returns a problem at the nearest line that the document has for ``place``."""
        known = place
        while known not in self._lines:
            known = known[:-1]
        return Problem(self.file, self._lines[known], dotted(place), rule, hint)

    def _text(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                raw = file.read(LARGEST + 1)
        except OSError as error:
            raise self._refused(1, f"cannot be read ({error.strerror})", "name a readable file") from None
        except ValueError:
            raise self._refused(1, "is no name of a file", "name a readable file") from None
        if len(raw) > LARGEST:
            raise self._refused(1, "is larger than 1 MiB", "split it, or take out what does not belong here")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self._refused(line, "is not UTF-8", "save the file as UTF-8") from None

    def _composed(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise self._refused(_line_of(error), "is not valid YAML", _hint_of(error)) from None
        except (RecursionError, ValueError, IndexError, AttributeError, TypeError):
            # PyYAML's scanner has let each of these through for some malformed document.
            raise self._refused(1, "is not valid YAML", f"stay within {DEEPEST} levels and plain values") from None

    def _refused(self, line: int, rule: str, hint: str) -> PolicyError:
        problem = Problem(self.file, line, "", rule, hint)
        return PolicyError(str(problem), problems=(problem,))

    def _plain(self, node: yaml.Node, place: Place, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        self._nodes += 1
        # Aliases make one node stand at many places: counting visits bounds what they can unfold to.
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise self._refused(line, "is too large or too deep", f"stay within {DEEPEST} levels; avoid aliases")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*place, index), depth + 1) for index, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            line = key_node.start_mark.line + 1
            if key is None:
                self._complain(line, place, "a key is no plain name", "write a name")
                continue
            below = (*place, key)
            if key in found:
                self._complain(line, below, "stands twice", "keep one of them")
            self._lines[below] = line
            found[key] = self._plain(value_node, below, depth + 1)
        return found

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, KeyError, IndexError):
            self._complain(line, place, "is no plain value", "write text, a number, true or false")
            return None
        if value is not None and not isinstance(value, str | int | float | bool):
            self._complain(line, place, "is no plain value", "put it in quotes")
            return None
        if isinstance(value, str) and UNPRINTABLE.search(value):
            self._complain(line, place, "holds characters that cannot be printed", "take them out")
            return None
        return value

    def _complain(self, line: int, place: Place, rule: str, hint: str) -> None:
        self.problems.append(Problem(self.file, line, dotted(place), rule, hint))


def _key(node: yaml.Node) -> str | None:
    """The text of a key as it is spelled, so that ``on`` and ``1`` are names like others."""
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:merge":
        return None
    text = str(node.value)
    return None if UNPRINTABLE.search(text) or "\n" in text or "\t" in text else text


def _line_of(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark is not None else 1


def _hint_of(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    if not isinstance(problem, str) or not problem:
        return "check indentation, quotes and brackets"
    # PyYAML quotes names of anchors and tags; what was pasted by mistake must not come back in a message.
    return re.sub(r"'[^'\s<\\]{2,}'", "'…'", problem)

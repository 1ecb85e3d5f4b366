"""What the fields of an existing output are, by their metadata and by the policy in force, which must agree.

An output was written under a policy of its time. What it holds can only be judged anew where today's policy still says
of each field what the output was made by; otherwise the inputs have to be protected again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from ..schemas.dataset import EACH, FieldPath, Plain
from ..schemas.errors import ConfigError
from ..schemas.info_types import TokenizeRule
from ..schemas.policy import Policy
from .actions import is_text
from .leaf_columns import marks_of
from .nested_columns import is_list
from .protection_plan import dataset_of

__all__ = ["OutputMarks"]

NOTHING: Mapping[str, str] = {}
SILENT = ("redact", "drop")
"""Actions that leave no value behind, so that no permission matters."""


class OutputMarks:
    """The fields of one output.

    Args:
        policy: In force.
        dataset_name: Of the output.

    Attributes:
        dataset: Of the policy.

    Raises:
        ConfigError: The policy has no such dataset.
    """

    def __init__(self, policy: Policy, dataset_name: str) -> None:
        self.dataset = dataset_of(policy, dataset_name)
        self._policy = policy
        self._permissions: tuple[pa.Schema, frozenset[tuple[tuple[str, ...], tuple[str, ...]]]] | None = None

    def check(self, schema: pa.Schema) -> None:
        """Refuses an output whose fields the policy treats in another way by now.

        Raises:
            ConfigError: Names the first such field.
        """
        for path, marks in _marked(schema):
            if {name: marks.get(name) for name in _COMPARED} != self._expected(path, marks):
                raise ConfigError(
                    f"field {path}: was written as {_told(marks)}, and the policy says otherwise by now; give it back "
                    "what it said, or protect the inputs again; nothing was changed",
                    reason="schema_changed",
                )

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Returns the schema after a redaction: a kept subject column that is no text may become null."""
        return pa.schema([self.field(each, FieldPath((each.name,))) for each in schema], schema.metadata)

    def field(self, field: pa.Field, path: FieldPath) -> pa.Field:
        """Returns a field after a redaction."""
        subject, kind = self.dataset.subject, field.type
        if not subject.is_under(path):
            return field
        if path == subject:
            return field if is_text(kind) else field.with_nullable(True)
        if not pa.types.is_struct(kind):
            return field
        return field.with_type(pa.struct([self.field(child, path.child(child.name)) for child in kind]))

    def collect(self, marks: Mapping[str, str]) -> tuple[str, ...] | None:
        """Returns the purposes of which one must permit keeping a field; None where it asks for none."""
        return None if marks.get("action") in SILENT else self.collect_of(marks.get("info_type"))

    def collect_of(self, info_type: str | None) -> tuple[str, ...] | None:
        """Returns the purposes of which one must permit keeping an info type; none at all where it is unknown."""
        if info_type is None:
            return None
        rule = self._policy.info_types.get(info_type)
        return () if rule is None else rule.collect

    def domain_of(self, info_type: str) -> str:
        """Returns the token domain of an info type; empty where it has none."""
        rule = self._policy.info_types.get(info_type)
        return rule.domain if isinstance(rule, TokenizeRule) else ""

    def permissions(self, schema: pa.Schema) -> frozenset[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Returns the purposes to collect and to distribute of all fields that ask for a permission."""
        if self._permissions is None or self._permissions[0] is not schema:
            found = set()
            for _, marks in _marked(schema):
                rule = self._policy.info_types.get(marks.get("info_type", ""))
                if rule is not None and rule.collect:
                    found.add((rule.collect, rule.distribute if isinstance(rule, TokenizeRule) else ()))
            self._permissions = schema, frozenset(found)
        return self._permissions[1]

    def subject_marks(self, schema: pa.Schema) -> Mapping[str, str]:
        """Returns the metadata of the subject column, none where there is no such column."""
        return _marks_at(schema, self.dataset.subject)

    def subject_collect(self, schema: pa.Schema) -> tuple[str, ...] | None:
        """Returns the purposes of which one must permit keeping the subject column; None where it asks for none."""
        return self.collect(self.subject_marks(schema))

    def tells_subjects(self, schema: pa.Schema) -> bool:
        """Whether rows tell whose they are."""
        return self.subject_marks(schema).get("action") in ("keep", "tokenize")

    def keeps_event_time(self, schema: pa.Schema) -> bool:
        """Whether rows tell when they happened, whatever is permitted."""
        marks = _marks_at(schema, self.dataset.event_time)
        return marks.get("action") == "keep" and "info_type" not in marks

    def _expected(self, path: FieldPath, marks: Mapping[str, str]) -> dict[str, str | None]:
        """Returns the marks that the policy gives a field now."""
        rule = self.dataset.rule_for(path)
        found: dict[str, str | None] = dict.fromkeys(_COMPARED)
        if rule is None:
            return found | {"action": "protect_as_found"}
        if isinstance(rule, Plain):
            return found | {"action": rule.value}
        info_type = self._policy.info_types[rule]
        found |= {"action": info_type.action, "info_type": rule}
        if isinstance(info_type, TokenizeRule):
            found |= {"format": info_type.format.value, "domain": info_type.domain}
        return found


_COMPARED = ("action", "info_type", "format", "domain")


def _told(marks: Mapping[str, str]) -> str:
    return " ".join(marks[name] for name in _COMPARED if name in marks)


def _marks_at(schema: pa.Schema, path: FieldPath) -> Mapping[str, str]:
    """Returns the marks of the field at a path through structs, or of the nearest above that has any."""
    kind: Any = schema
    marks = NOTHING
    for step in path.steps:
        place = -1 if step is EACH else kind.get_field_index(step)
        if place < 0:
            return NOTHING
        field = kind.field(place)
        marks, kind = marks_of(field) or marks, field.type
        if not pa.types.is_struct(kind):
            kind = pa.struct([])
    return marks


def _marked(schema: pa.Schema) -> Iterator[tuple[FieldPath, dict[str, str]]]:
    """Yields the fields that bear marks."""
    for field in schema:
        yield from _marked_below(field, FieldPath((field.name,)))


def _marked_below(field: pa.Field, path: FieldPath) -> Iterator[tuple[FieldPath, dict[str, str]]]:
    kind, marks = field.type, marks_of(field)
    if marks:
        yield path, marks
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _marked_below(child, path.child(child.name))
    elif is_list(kind):
        yield from _marked_below(kind.value_field, path.child(EACH))

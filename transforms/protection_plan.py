"""Settles once, from policy, dataset and input schema, what becomes of every column and nested field.

The plan is a tree in the shape of the input: structs and lists down to leaves, each leaf with its treatment. It holds
no secret and no value, so that the launcher and all workers can settle it alike. What the dataset does not declare is
not in the tree and thereby left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import pyarrow as pa

from ..schemas.dataset import EACH, Dataset, FieldPath, Plain
from ..schemas.errors import ConfigError
from ..schemas.info_types import (
    DropRule,
    Entity,
    Format,
    GeneralizeRule,
    InfoType,
    KeepRule,
    MaskRule,
    OnDrift,
    RedactRule,
    ScanRule,
    TokenizeRule,
)
from ..schemas.policy import Policy
from ..schemas.record_columns import RESERVED_PREFIX
from .actions import generalized_type, redacted_type
from .nested_columns import is_list, list_type, type_at
from .plain_layouts import plain_schema

__all__ = [
    "AsFound",
    "ColumnPlan",
    "Finder",
    "LeafPlan",
    "ListPlan",
    "ProtectionPlan",
    "StructPlan",
    "check_dataset_columns",
    "dataset_domains",
    "dataset_of",
    "dropped_paths",
    "field_rules",
    "finders_of",
    "leaves",
    "needed_purposes",
    "plan_protection",
    "told_path",
]


LOOKS: Mapping[str, frozenset[Entity]] = {
    Format.PHONE: frozenset({Entity.PHONE}),
    Format.SSN: frozenset({Entity.US_SSN, Entity.US_ITIN}),
    Format.ALPHANUMERIC: frozenset({Entity.PHONE, Entity.US_SSN, Entity.US_ITIN, Entity.UK_NINO, Entity.IP_ADDRESS}),
}
"""What tokens look like; those of other formats prove themselves to be none."""
HIDDEN = "(hidden)"
PLAIN_NAME = re.compile(r"[^\W\d][\w$-]{0,63}")
LONG_NUMBER = re.compile(r"\d{5}")


class AsFound(Enum):
    """Treatment of what the dataset does not declare, where ``on_drift`` says ``protect_as_found``."""

    PROTECT_AS_FOUND = "protect_as_found"


class Finder(NamedTuple):
    """The info type that treats what detection finds of an entity."""

    info_type: str
    rule: InfoType


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafPlan:
    """What becomes of one column of values.

    Attributes:
        place: Place among the children of its parent in the input.
        path: The path as text, for books and messages.
        info_type: Name of the info type; None for a plain ``keep`` or ``redact``.
        rule: Its rule; ``Plain`` where the dataset names no info type, ``AsFound`` where it does not name the field.
        field: Field of the output.
        token_format: Of tokens of an earlier run, where the input's metadata says that the values are such.
    """

    place: int
    path: str
    info_type: str | None
    rule: InfoType | Plain | AsFound
    field: pa.Field
    token_format: str | None = None

    @property
    def collect(self) -> tuple[str, ...]:
        """Purposes of which one must permit keeping anything; empty for a plain treatment, which asks for none."""
        return () if isinstance(self.rule, Plain | AsFound) else self.rule.collect

    @property
    def may_hold(self) -> frozenset[Entity]:
        """What a kept column may prove to hold: what its info type finds, and what tokens look like that it kept."""
        finds = self.rule.finds if isinstance(self.rule, KeepRule) else ()
        return LOOKS.get(self.token_format or "", frozenset()) | frozenset(finds)

    @property
    def distribute(self) -> tuple[str, ...]:
        """Purposes of which one must permit vaulting; empty where nothing goes to the vault."""
        return self.rule.distribute if isinstance(self.rule, TokenizeRule) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StructPlan:
    """A struct of which ``children`` leave; the other fields are left out."""

    place: int
    field: pa.Field
    children: tuple[ColumnPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlan:
    """A list whose elements are treated as ``element``."""

    place: int
    field: pa.Field
    element: ColumnPlan


ColumnPlan = LeafPlan | StructPlan | ListPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectionPlan:
    """The plan of one input schema.

    Attributes:
        dataset: Name of the dataset.
        columns: In the order of the input.
        collect: The dataset's own: purposes of which one must permit, else the row is dropped; empty asks for none.
        on_drift: What becomes of rows with a value at one of ``drift``.
        drift: Paths of the input that the dataset does not declare, or that contradict it; topmost ones.
        contradictions: Those of ``drift`` that are declared, but with another shape (a struct that is text, …).
        absent: Declared paths that the input does not have; they are left out of the output.
        schema: The output's, without metadata of the batch.
        key_version: Version of the ``token`` key set that makes the tokens.
        finders: What treats each entity that detection finds; what is not in it is redacted.
    """

    dataset: str
    columns: tuple[ColumnPlan, ...]
    collect: tuple[str, ...]
    on_drift: OnDrift
    drift: tuple[FieldPath, ...]
    contradictions: tuple[FieldPath, ...]
    absent: tuple[FieldPath, ...]
    schema: pa.Schema
    key_version: int
    finders: Mapping[Entity, Finder]

    @property
    def searches(self) -> bool:
        """Whether values may be treated as what detection finds in them."""
        scanned = any(isinstance(leaf.rule, ScanRule | AsFound) for leaf in leaves(self.columns))
        return scanned or self.on_drift is OnDrift.PROTECT_AS_FOUND

    def domains(self) -> Mapping[str, TokenizeRule]:
        """Returns the token domains that rows may need, each with a rule of it."""
        rules = [leaf.rule for leaf in leaves(self.columns)]
        if self.searches:
            rules += [finder.rule for finder in self.finders.values()]
        return {rule.domain: rule for rule in rules if isinstance(rule, TokenizeRule)}

    def tokenized(self) -> tuple[LeafPlan, ...]:
        """Returns the leaves that get tokens."""
        return tuple(leaf for leaf in leaves(self.columns) if isinstance(leaf.rule, TokenizeRule))


def dataset_of(policy: Policy, name: str) -> Dataset:
    """Returns a dataset of the policy.

    Raises:
        ConfigError: The policy has none of this name.
    """
    if name not in policy.datasets:
        known = ", ".join(sorted(policy.datasets)) or "none"
        raise ConfigError(f"the policy has no dataset '{name}'; it has: {known}")
    return policy.datasets[name]


def plan_protection(policy: Policy, dataset_name: str, schema: pa.Schema, *, key_version: int) -> ProtectionPlan:
    """Returns what becomes of each column of ``schema``.

    Args:
        policy: Read and checked.
        dataset_name: One of the policy's.
        schema: Of the input; reserved columns are passed over, views are planned as plain columns.
        key_version: Goes into the metadata of tokenized fields.

    Raises:
        ConfigError: No such dataset.
    """
    dataset = dataset_of(policy, dataset_name)
    planner = _Planner(policy, dataset, key_version)
    columns = tuple(
        plan
        for place, field in enumerate(plain_schema(schema))
        if not field.name.startswith(RESERVED_PREFIX)
        and (plan := planner.column(place, field, FieldPath((field.name,)))) is not None
    )
    return ProtectionPlan(
        dataset=dataset_name,
        columns=columns,
        collect=dataset.collect,
        on_drift=dataset.on_drift,
        drift=tuple(planner.drift),
        contradictions=tuple(planner.contradictions),
        absent=tuple(path for path in dataset.fields if path not in planner.found),
        schema=pa.schema([plan.field for plan in columns]),
        key_version=key_version,
        finders=finders_of(policy),
    )


def finders_of(policy: Policy) -> Mapping[Entity, Finder]:
    """Returns which info type treats what detection finds of each entity."""
    return {entity: Finder(name, rule) for name, rule in policy.info_types.items() for entity in rule.finds}


class _Planner:
    """Walks a schema beside a dataset and notes what is found, undeclared or contradicting."""

    def __init__(self, policy: Policy, dataset: Dataset, key_version: int) -> None:
        self._policy = policy
        self._dataset = dataset
        self._version = key_version
        self.found: set[FieldPath] = set()
        self.drift: list[FieldPath] = []
        self.contradictions: list[FieldPath] = []

    def column(self, place: int, field: pa.Field, path: FieldPath) -> ColumnPlan | None:
        if path in self._dataset.fields:
            self.found.add(path)
        rule = self._rule(path)
        below = self._declared_below(path)
        if not below and (rule in (Plain.KEEP, Plain.DROP) or isinstance(rule, KeepRule | DropRule)):
            return None if rule is Plain.DROP or isinstance(rule, DropRule) else self._leaf(place, field, path)
        kind = field.type
        if pa.types.is_struct(kind):
            return self._struct(place, field, path)
        if is_list(kind):
            return self._list(place, field, path)
        if below and not pa.types.is_null(kind):
            self.contradictions.append(path)
            self.drift.append(path)
            return None
        if rule is None:
            return None if below else self._undeclared(place, field, path)
        return None if rule is Plain.DROP or isinstance(rule, DropRule) else self._leaf(place, field, path)

    def _rule(self, path: FieldPath) -> InfoType | Plain | None:
        rule = self._dataset.rule_for(path)
        return rule if rule is None or isinstance(rule, Plain) else self._policy.info_types[rule]

    def _declared_below(self, path: FieldPath) -> bool:
        return any(declared != path and declared.is_under(path) for declared in self._dataset.fields)

    def _struct(self, place: int, field: pa.Field, path: FieldPath) -> StructPlan | None:
        if self._wrong_shape(path, is_list=False):
            return None
        if self._is_undeclared(path) and not self._noted(path):
            return None
        children = tuple(
            plan
            for at, child in enumerate(field.type)
            if (plan := self.column(at, child, path.child(child.name))) is not None
        )
        if not children:
            return None
        kind = pa.struct([child.field for child in children])
        return StructPlan(place=place, field=pa.field(field.name, kind, field.nullable), children=children)

    def _list(self, place: int, field: pa.Field, path: FieldPath) -> ListPlan | None:
        if self._wrong_shape(path, is_list=True):
            return None
        if self._is_undeclared(path) and not self._noted(path):
            return None
        element = self.column(0, field.type.value_field, path.child(EACH))
        if element is None:
            return None
        kind = list_type(field.type, element.field)
        return ListPlan(place=place, field=pa.field(field.name, kind, field.nullable), element=element)

    def _wrong_shape(self, path: FieldPath, *, is_list: bool) -> bool:
        """Whether the dataset steps into this column, but always in the other way: as a list, or as a struct."""
        depth = len(path.steps)
        below = [
            declared for declared in self._dataset.fields if len(declared.steps) > depth and declared.is_under(path)
        ]
        wrong = bool(below) and all((declared.steps[depth] is EACH) != is_list for declared in below)
        if wrong:
            self.contradictions.append(path)
            self.drift.append(path)
        return wrong

    def _is_undeclared(self, path: FieldPath) -> bool:
        return self._rule(path) is None and not self._declared_below(path)

    def _noted(self, path: FieldPath) -> bool:
        """Notes an undeclared path, once for all below it; returns whether what lies there is protected as found.

        Names that could be values themselves are left out in any case: they would stand in the output's schema.
        """
        if not any(path.is_under(other) for other in self.drift):
            self.drift.append(path)
        plain = path.steps[-1] is EACH or _is_plain(str(path.steps[-1]))
        return self._dataset.on_drift is OnDrift.PROTECT_AS_FOUND and plain

    def _undeclared(self, place: int, field: pa.Field, path: FieldPath) -> LeafPlan | None:
        if not self._noted(path):
            return None
        metadata = {"consentry.action": AsFound.PROTECT_AS_FOUND.value}
        output = pa.field(field.name, _found_type(field.type), metadata=metadata)
        return LeafPlan(place=place, path=str(path), info_type=None, rule=AsFound.PROTECT_AS_FOUND, field=output)

    def _leaf(self, place: int, field: pa.Field, path: FieldPath) -> LeafPlan:
        named = self._dataset.rule_for(path)
        info_type = None if named is None or isinstance(named, Plain) else str(named)
        rule = self._rule(path)
        assert rule is not None
        kind = _output_type(field.type, rule)
        nullable = field.nullable or rule is not Plain.KEEP
        output = pa.field(field.name, kind, nullable, metadata=_metadata(rule, info_type, self._version))
        return LeafPlan(
            place=place,
            path=str(path),
            info_type=info_type,
            rule=rule,
            field=output,
            token_format=_token_format(field),
        )


def leaves(columns: tuple[ColumnPlan, ...]) -> Iterator[LeafPlan]:
    """Yields the leaves of a plan, depth first."""
    for column in columns:
        match column:
            case LeafPlan():
                yield column
            case StructPlan():
                yield from leaves(column.children)
            case ListPlan():
                yield from leaves((column.element,))


def needed_purposes(policy: Policy, dataset_name: str) -> tuple[str, ...]:
    """Returns the purposes that decide about records of a dataset, in the policy's order."""
    dataset = dataset_of(policy, dataset_name)
    used = set(dataset.collect)
    for rule in dataset.fields.values():
        if rule in policy.info_types:
            used |= {*policy.info_types[rule].collect, *policy.info_types[rule].distribute}
    if _may_search(policy, dataset):
        used |= {
            purpose for each in finders_of(policy).values() for purpose in (*each.rule.collect, *each.rule.distribute)
        }
    return tuple(purpose for purpose in policy.purposes if purpose in used)


def dataset_domains(policy: Policy, dataset_name: str) -> frozenset[str]:
    """Returns the token domains that records of a dataset may have tokens of, whatever columns they have."""
    dataset = dataset_of(policy, dataset_name)
    rules = [policy.info_types.get(rule) for rule in dataset.fields.values()]
    if _may_search(policy, dataset):
        rules += [finder.rule for finder in finders_of(policy).values()]
    return frozenset(rule.domain for rule in rules if isinstance(rule, TokenizeRule))


def _may_search(policy: Policy, dataset: Dataset) -> bool:
    scanned = any(isinstance(policy.info_types.get(rule), ScanRule) for rule in dataset.fields.values())
    return scanned or dataset.on_drift is OnDrift.PROTECT_AS_FOUND


def field_rules(policy: Policy, dataset_name: str) -> dict[str, str]:
    """Returns what marks each declared field in an output, by path; fields of one output are marked alike."""
    found = {}
    for path, name in dataset_of(policy, dataset_name).fields.items():
        rule = policy.info_types.get(name)
        marks = [str(name)] if rule is None else [str(name), rule.action]
        if isinstance(rule, TokenizeRule):
            marks += [rule.format.value, rule.domain]
        found[str(path)] = " ".join(marks)
    return found


def dropped_paths(policy: Policy, dataset_name: str) -> frozenset[FieldPath]:
    """Returns the paths that the policy drops by name: they never leave, not even sealed."""
    return frozenset(
        path
        for path, rule in dataset_of(policy, dataset_name).fields.items()
        if rule == Plain.DROP or isinstance(policy.info_types.get(rule), DropRule)
    )


def told_path(path: FieldPath) -> str:
    """Returns an undeclared path as manifests and counts tell it, without names that could be values.

    A JSON object keyed by addresses has names that are addresses; all such names of one place are told as one.

    >>> told_path(FieldPath(("customer", "ann@example.com")))
    'customer.(hidden)'
    """
    return str(FieldPath(tuple(step if step is EACH or _is_plain(step) else HIDDEN for step in path.steps)))


def check_dataset_columns(schema: pa.Schema, dataset: Dataset, dataset_name: str) -> None:
    """Refuses a schema whose subject or event time could not be understood; missing ones permit nothing.

    Raises:
        ConfigError: The event time is no text and no instant with a time zone, or the subject's type names nobody.
    """
    time = type_at(schema, dataset.event_time)
    zoned = time is not None and pa.types.is_timestamp(time) and time.tz is not None
    if time is not None and not (zoned or pa.types.is_null(time) or _is_words(time)):
        raise ConfigError(
            f"datasets.{dataset_name}.event_time: column '{dataset.event_time}' has type {time}, which is no instant; "
            "use a timestamp with a time zone, or RFC 3339 text with an offset"
        )
    subject = type_at(schema, dataset.subject)
    if subject is not None and not _names_people(subject):
        raise ConfigError(
            f"datasets.{dataset_name}.subject: column '{dataset.subject}' has type {subject}, which cannot name "
            "people; use a text, integer or decimal column"
        )


def _is_plain(name: str) -> bool:
    """Whether a name looks like one that a developer gave: a word, without a longer number."""
    return bool(PLAIN_NAME.fullmatch(name)) and not LONG_NUMBER.search(name)


def _is_words(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _names_people(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(_is_words(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


def _token_format(field: pa.Field) -> str | None:
    marks = field.metadata or {}
    format = marks.get(b"consentry.format") if marks.get(b"consentry.action") == b"tokenize" else None
    return None if format is None else format.decode("utf-8", "replace")


def _found_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type of what is protected as found: text may get tokens, all else stays or is null."""
    return pa.string() if _is_words(kind) else kind


def _output_type(kind: pa.DataType, rule: InfoType | Plain) -> pa.DataType:
    match rule:
        case Plain.KEEP:
            return kind
        case TokenizeRule() | MaskRule():
            return pa.string()
        case GeneralizeRule():
            return generalized_type(kind, rule)
        case ScanRule():
            return pa.string() if _is_words(kind) else redacted_type(kind)
        case Plain.REDACT | RedactRule() | KeepRule():
            return redacted_type(kind)
    raise TypeError("a dropped field has no type")


def _metadata(rule: InfoType | Plain, info_type: str | None, version: int) -> dict[str, str]:
    action: str = rule.value if isinstance(rule, Plain) else rule.action
    found = {"consentry.action": action}
    if info_type is not None:
        found["consentry.info_type"] = info_type
    if isinstance(rule, TokenizeRule):
        found |= {
            "consentry.format": rule.format.value,
            "consentry.domain": rule.domain,
            "consentry.key_version": str(version),
        }
        if rule.parameters is not None:
            found["consentry.parameters"] = rule.parameters
    return found

"""Proposes a dataset for an input that none is declared for, and with it a whole first policy where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..schemas.audit import Change, Found, Suggestion
from ..schemas.dataset import FieldPath, Plain
from ..schemas.policy import Policy
from .audit_columns import SampledColumn
from .audit_suggestions import (
    STARTING_POLICY,
    PolicyLines,
    Proposed,
    proposed_for,
    proposed_subject,
    yaml_lines,
)

__all__ = ["PROPOSED_DATASET", "Looked", "proposed_policy"]

PROPOSED_DATASET = "records"
NO_SUBJECT = "customer_id"
NO_TIME = "event_time"

_SUBJECT = re.compile(
    r"(customer|client|user|member|account|patient|subject|person|guest|buyer|holder)[._-]?(id|no|nr|number|ref|key)$",
    re.IGNORECASE,
)
_TIME = re.compile(r"((?:^|[_.])(?:at|on|ts)|At|time|timestamp|date)$")

Looked = tuple[SampledColumn, Found, bool]
"""A column, what was found in it, and whether nobody seems to need it."""


def proposed_policy(policy: Policy, looked: Sequence[Looked], *, lines: PolicyLines | None) -> tuple[Suggestion, ...]:
    """Returns lines that declare all columns whose names are told.

    Args:
        policy: Whose info types and purposes are used.
        looked: The columns, in order.
        lines: Writes for the policy file; None where there is none yet, and a whole policy is proposed.
    """
    subject, time = _subject(looked), _time(looked)
    info_types: dict[str, Mapping[str, Any]] = {}
    fields: dict[str, str] = {}
    for column, found, unneeded in looked:
        proposed = _proposed(policy, column, found, unneeded, subject=subject, time=time)
        info_types |= proposed.info_types
        fields[str(column.path)] = proposed.rule
    dataset = {"subject": str(subject or NO_SUBJECT), "event_time": str(time or NO_TIME), "fields": fields}
    if lines is None:
        kinds = {"info_types": info_types} if info_types else {}
        document = {**STARTING_POLICY, **kinds, "datasets": {PROPOSED_DATASET: dataset}}
        says = "A first policy. Name your purposes, and check subject and event time."
        return (Suggestion(place="policy.yaml", change=Change.CREATE, lines=_document(document), says=says),)
    added = [lines.add(("info_types",), info_types, "Says how these are treated.")] if info_types else []
    says = "Declares the input. Choose a name for it, and check subject and event time."
    name = PROPOSED_DATASET if PROPOSED_DATASET not in policy.datasets else f"{PROPOSED_DATASET}_found"
    return (*added, lines.add(("datasets",), {name: dataset}, says, depth=2))


def _document(document: Mapping[str, Any]) -> str:
    lines = []
    for key, value in document.items():
        depth = 3 if key == "datasets" else 1
        lines.append(yaml_lines({key: value}, 0, depth=depth))
    return "\n".join(lines)


def _proposed(
    policy: Policy, column: SampledColumn, found: Found, unneeded: bool, *, subject: FieldPath | None,
    time: FieldPath | None,
) -> Proposed:  # fmt: skip
    if column.path == subject:
        return proposed_subject(policy, ())
    if column.path == time:
        return Proposed(rule=Plain.KEEP.value, info_types={})
    if unneeded and not found.entities:
        return Proposed(rule=Plain.DROP.value, info_types={})
    return proposed_for(policy, (), column.path, found)


def _scalars(looked: Sequence[Looked]) -> Iterator[SampledColumn]:
    for column, found, _ in looked:
        if column.path.is_scalar and not found.entities:
            yield column


def _subject(looked: Sequence[Looked]) -> FieldPath | None:
    return next((column.path for column in _scalars(looked) if _SUBJECT.search(str(column.path))), None)


def _time(looked: Sequence[Looked]) -> FieldPath | None:
    zoned = (column for column in _scalars(looked) if str(column.kind).startswith("timestamp") and column.kind.tz)
    named = (column for column in _scalars(looked) if _TIME.search(str(column.path)) and str(column.kind) == "string")
    first = next(zoned, None) or next(named, None)
    return None if first is None else first.path

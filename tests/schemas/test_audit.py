"""The audit as a document: plain JSON, and what it says of its columns."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import orjson
import pytest
from consentry.schemas.audit import (
    Audit,
    AuditColumn,
    AuditInputs,
    AuditSampling,
    Change,
    Found,
    FoundLeak,
    Reason,
    Suggestion,
    Treatment,
    Verdict,
    VerdictKind,
    Volume,
)


def column(path: str, *verdicts: Verdict, found: Found | None = None) -> AuditColumn:
    return AuditColumn(
        path=path,
        type="string",
        volume=Volume(places=10, nulls=4, distinct=3),
        found=found or Found(kind="ORDINARY"),
        treatment=None,
        verdicts=verdicts or (Verdict(verdict=VerdictKind.DECLARED),),
    )


def audit(*columns: AuditColumn) -> Audit:
    return Audit(
        made_at="2026-06-01T00:00:00Z",
        dataset="orders",
        policy="ab" * 32,
        inputs=AuditInputs(files=(), file_count=0, bytes=0, rows=10, rows_exact=True, sampled=10, unreadable=0),
        sampling=AuditSampling(
            seed=0, parts=1, parts_total=1, complete=True, frequency=0.001, seen_with=1.0, missed_below=0.0, says=()
        ),
        columns=columns,
    )


LINE = Suggestion(place="datasets.orders.fields", change=Change.ADD, lines="      note: drop", line=7)
UNDECLARED = Verdict(verdict=VerdictKind.UNDECLARED, reason=Reason.SENSITIVE, suggestions=(LINE,))
ORDINARY = Verdict(verdict=VerdictKind.UNDECLARED, reason=Reason.ORDINARY)
CONTRADICTED = Verdict(verdict=VerdictKind.CONTRADICTED, reason=Reason.STRAY_VALUES)
LEAKING = Found(kind="ORDINARY", leaks=(FoundLeak(entity="EMAIL", count=1, share=0.1),))


def test_its_json_is_plain_and_keeps_codes_as_they_are() -> None:
    document = json.loads(orjson.dumps(audit(column("note", UNDECLARED, found=LEAKING)).as_json()))
    assert document["audit"] == 1
    (found,) = document["columns"]
    assert found["found"]["leaks"] == [{"entity": "EMAIL", "count": 1, "share": 0.1}]
    assert found["verdicts"] == [
        {
            "verdict": "undeclared",
            "reason": "sensitive",
            "says": "",
            "other": None,
            "suggestions": [
                {
                    "place": "datasets.orders.fields",
                    "change": "add",
                    "lines": "      note: drop",
                    "line": 7,
                    "says": "",
                }
            ],
        }
    ]
    assert document["accesses"] is document["coverage"] is None


def test_what_is_sensitive_and_not_declared_as_such_is_exposed() -> None:
    mixed = Found(kind="MIXED")
    made = audit(
        column("declared", found=Found(kind="ENTITY", entity="IBAN")),
        column("undeclared", UNDECLARED, found=LEAKING),
        column("plain", ORDINARY),
        column("wrong", CONTRADICTED, found=mixed),
    )
    assert [each.path for each in made.sensitive] == ["declared", "undeclared", "wrong"]
    assert [each.path for each in made.exposed] == ["undeclared", "wrong"]
    assert [each.path for each in made.having(VerdictKind.UNDECLARED)] == ["undeclared", "plain"]


def test_an_entity_and_its_own_leak_are_one_entity() -> None:
    leaks = (FoundLeak(entity="EMAIL", count=1, share=0.1), FoundLeak(entity="IBAN", count=1, share=0.1))
    assert Found(kind="ENTITY", entity="EMAIL", leaks=leaks).entities == ("EMAIL", "IBAN")


def test_the_share_of_places_with_a_value_is_known_for_none_at_all() -> None:
    assert Volume(places=10, nulls=4, distinct=3).filled == 0.6
    assert Volume(places=0, nulls=0, distinct=0).filled == 0.0


def test_what_flows_does_not_change() -> None:
    treatment = Treatment(info_type=None, action="keep", see={})
    with pytest.raises(FrozenInstanceError):
        treatment.action = "drop"  # type: ignore[misc]

"""Rows are told by what their subject column holds; all who share a token must permit; the erased are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.errors import ConfigError, KeyringError
from consentry.schemas.info_types import Basis, TokenizeRule
from consentry.schemas.policy import Policy
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.row_owners import OwnerFinder, Owners
from consentry.transforms.subject_marks import SubjectMarks, marked_rules
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from oracles.consent_oracle import Said
from oracles.store_place import Place, event_of

KEYS = TokenKeys(tenant="shop", secrets={1: b"\x01" * 32, 2: b"\x02" * 32}, primary=2, root=b"\x03" * 32)
FORMATS = ("surrogate", "email", "alphanumeric")
IDS = {"email": "{}@example.com", "surrogate": "{}-000001", "alphanumeric": "{}-000001"}


def policy(format: str) -> Policy:
    return Policy.model_validate(
        {
            "version": 1,
            "purposes": {"support": {"basis": "consent", "says": "To help."}},
            "info_types": {
                "who": {"action": "tokenize", "format": format, "domain": "who", "collect": ["support"]},
            },
            "datasets": {"orders": {"subject": "id", "event_time": "at", "fields": {"id": "who", "at": "keep"}}},
        }
    )


def tokenizer(rule: TokenizeRule, version: int) -> Any:
    return open_tokenizer(rule, KEYS, version=version)


def tokens(format: str, version: int, *ids: str | None) -> pa.StringArray:
    rule = policy(format).token_domains["who"].rule
    return tokenizer(rule, version).tokenize(pa.array(ids, pa.string())).tokens


class Office:
    def __init__(self, place: Place, format: str) -> None:
        self.place = place
        self.format = format
        self.ledger = place.ledger()
        self.marks: set[bytes] = set()

    def says(self, subject: str, decision: str = "granted") -> None:
        self.ledger.append([event_of(Said(subject, "support", decision, 10))], now=10)

    def erase(self, subject: str, version: int = 1) -> None:
        self.ledger.record_erasure(self.place.reference(subject), 20)
        self.place.data_keys().destroy([self.place.reference(subject)])
        rules = marked_rules(policy(self.format))
        self.marks |= SubjectMarks(self.place.keys).of_subject(subject, rules, version, tokenizer)

    def finder(self) -> OwnerFinder:
        return OwnerFinder(
            policy(self.format),
            snapshot=self.ledger.snapshot(),
            reference_key=self.place.keys.reference_key,
            known=self.ledger.known_subjects(),
            marks=SubjectMarks(self.place.keys, self.marks),
            open_tokenizer=tokenizer,
        )

    def owners(self, column: pa.Array, version: int = 1, action: str = "tokenize") -> Owners:
        marks = {"action": action, "domain": "who", "key_version": str(version)}
        return self.finder().of(column, marks, len(column))

    def permitted(self, owners: Owners) -> list[bool]:
        rows = len(owners.erased)
        times, timed = np.full(rows, 15, np.int64), np.ones(rows, np.bool_)
        snapshot = self.ledger.snapshot()
        return owners.permit(snapshot, [("support", Basis.CONSENT)], times, timed, 15).tolist()


@pytest.fixture(params=FORMATS)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    with Place("sqlite", tmp_path) as place:
        yield Office(place, request.param)


def named(office: Office, name: str) -> str:
    return IDS[office.format].format(name)


def test_a_token_is_told_by_the_subjects_of_the_ledger(office: Office) -> None:
    office.says(named(office, "ana"))
    office.says(named(office, "bob"), "withdrawn")
    column = tokens(office.format, 1, *(named(office, each) for each in ("ana", "bob", "zoe", "ana")), None)
    owners = office.owners(column)
    assert office.permitted(owners) == [True, False, False, True, False]
    assert owners.untold.tolist() == [False, False, False, False, True] and not owners.erased.any()


def test_a_hidden_subject_is_nobody_s(office: Office) -> None:
    owners = office.owners(pa.array(["[redacted]", None]))
    assert owners.untold.all() and not owners.erased.any()
    nothing = office.finder().of(None, {}, 3)
    assert nothing.untold.tolist() == [True] * 3 and office.permitted(nothing) == [False] * 3
    masked = office.owners(pa.array(["***"]), action="mask")
    assert masked.untold.all()


def test_the_erased_are_known_by_their_marks_with_and_without_events(office: Office) -> None:
    office.says(named(office, "ana"))
    office.erase(named(office, "ana"))
    office.erase(named(office, "zoe"))
    office.says(named(office, "bob"))
    owners = office.owners(tokens(office.format, 1, *(named(office, each) for each in ("ana", "zoe", "bob", "eve"))))
    assert owners.erased.tolist() == [True, True, False, False]
    assert office.permitted(owners) == [False, False, True, False]


@pytest.mark.parametrize(("marked", "written"), [(1, 2), (2, 1)])
def test_the_erased_are_known_in_every_version_of_their_tokens(office: Office, marked: int, written: int) -> None:
    office.erase(named(office, "ana"), marked)
    column = tokens(office.format, written, *(named(office, each) for each in ("ana", "bob")))
    assert office.owners(column, version=written).erased.tolist() == [True, False]


def test_a_kept_id_is_told_by_itself(office: Office) -> None:
    office.says("17")
    office.erase("18")
    owners = office.owners(pa.array([17, 18, 19, None]), action="keep")
    assert office.permitted(owners) == [True, False, False, False]
    assert owners.erased.tolist() == [False, True, False, False]
    assert owners.untold.tolist() == [False, False, False, True]


def test_subjects_who_share_a_token_must_all_permit(tmp_path: Path) -> None:
    with Place("sqlite", tmp_path) as place:
        office = Office(place, "email")
        office.says("ana@Example.com")
        column = tokens("email", 1, "ana@example.com", "bob@example.com")
        assert office.permitted(office.owners(column)) == [True, False]
        office.says("ana@example.COM", "withdrawn")
        owners = office.owners(column)
        assert owners.rows.tolist() == [0, 0, 1] and office.permitted(owners) == [False, False]


def test_a_version_or_a_domain_that_is_gone_is_refused(office: Office) -> None:
    with pytest.raises(KeyringError):
        office.owners(pa.array(["x"]), version=3)
    with pytest.raises(ConfigError, match="no token domain 'other'"):
        office.finder().of(pa.array(["x"]), {"action": "tokenize", "domain": "other", "key_version": "1"}, 1)

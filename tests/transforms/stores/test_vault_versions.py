"""Entries of one key version are sealed anew for another, beside the old ones, and the old ones go when told."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from consentry.schemas.errors import ConfigError, IntegrityError
from consentry.transforms.stores import vault_versions
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.consent_oracle import Said
from oracles.store_place import NewPlace, Place, candidates_of, event_of, rules_of, spellings
from oracles.vault_oracle import Row

BASES = {"support": "consent", "fraud": "legal_obligation"}
RULES = rules_of({"card": ["support"], "phone": ["fraud"]}, BASES)
NOW = 1_000


class Move:
    """Tokens ``1-…`` become ``2-…``; others are none of the version. A token ends as its value does."""

    def moved(self, tokens: pa.StringArray) -> pa.StringArray:
        ours = pc.starts_with(tokens, "1-")
        return pc.if_else(ours, pc.replace_substring_regex(tokens, "^1-", "2-"), None)

    def check(self, tokens: pa.StringArray, values: pa.StringArray) -> None:
        ends = [text.rpartition(" ")[2] for text in values.to_pylist()]
        if [f"1-{end}" for end in ends] != tokens.to_pylist():
            raise ConfigError("tokens are made in another way now")


def row(number: int, subject: str = "ana", *, at: int = 10, domain: str = "card", version: int = 1) -> Row:
    return Row(domain, version, f"{version}-{number}", f"value {domain} {number}", subject, at)


class Office:
    def __init__(self, place: Place) -> None:
        self.place, self.ledger, self.vault = place, place.ledger(), place.vault()

    def hear(self, decision: str, at: int, subject: str = "ana") -> None:
        self.ledger.append([event_of(Said(subject, "support", decision, at, "form"))], now=1)

    def write(self, *rows: Row) -> None:
        self.vault.write(candidates_of(rows, self.place), ledger=self.ledger, rules=RULES, now=NOW)

    def copy(self) -> int:
        return self.vault.copy_version("card", 1, 2, Move())

    def replace(self, *, needed: bool = False) -> tuple[int, int]:
        return self.vault.replace_version("card", 1, 2, Move(), is_needed=lambda: needed)

    def held(self, version: int, domain: str = "card") -> dict[tuple[str, bytes], tuple[str, int]]:
        asked = "SELECT DISTINCT token FROM entries WHERE domain = ?"
        return {
            (entry.token, entry.subject_ref): (self.vault.open_value(entry), entry.event_time)
            for (token,) in self.place.rows("vault", asked, domain)
            for entry in self.vault.find(domain, token, version)
        }


@pytest.fixture
def office(place: Place) -> Office:
    opened = Office(place)
    for subject in ("ana", "bob"):
        opened.hear("granted", 1, subject)
    return opened


def test_copies_hold_the_same_values_for_the_same_people_under_the_new_tokens(office: Office) -> None:
    office.write(row(1), row(1, "bob", at=12), row(2), row(7, domain="phone"))
    before = office.held(1)
    assert office.copy() == 3
    assert office.held(1) == before
    assert office.held(2) == {(f"2{token[1:]}", subject): value for (token, subject), value in before.items()}
    assert office.vault.counts() == {("card", 1): 3, ("card", 2): 3, ("phone", 1): 1}


def test_copying_again_adds_what_is_missing_and_only_that(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_versions, "PORTION", 3)
    office.write(*[row(number) for number in range(10)])
    assert office.copy() == 10
    office.write(row(3, at=50), row(11))
    assert office.copy() == 1
    assert office.held(2)["2-3", office.place.reference("ana")] == ("value card 3", 50)
    assert office.copy() == 0


def test_what_was_withdrawn_is_purged_in_both_versions_and_never_copied_back(office: Office) -> None:
    office.write(row(1), row(1, "bob"))
    office.copy()
    office.hear("withdrawn", 20)
    assert office.vault.follow(office.ledger, RULES, NOW) == 2
    assert office.copy() == 0
    assert {subject for _, subject in office.held(2)} == {office.place.reference("bob")}


def test_what_is_noise_after_an_erasure_is_not_carried_on(office: Office) -> None:
    office.write(row(1), row(2, "bob"))
    office.place.data_keys().destroy([office.place.reference("ana")])
    assert office.copy() == 1
    assert office.vault.counts() == {("card", 1): 2, ("card", 2): 1}


def test_dropped_entries_leave_no_byte_and_are_written_again_if_they_come_again(office: Office) -> None:
    office.write(row(123456789), row(2))
    assert office.replace() == (2, 2)
    assert office.replace() == (0, 0)
    assert office.vault.counts() == {("card", 2): 2}
    if office.place.backend == "sqlite":
        at_rest = office.place.at_rest("vault")
        assert not [found for found in spellings("1-123456789") if found in at_rest]
    office.write(row(2))
    assert office.vault.counts() == {("card", 1): 1, ("card", 2): 2}


def test_entries_that_somebody_needs_after_all_stay_beside_their_copies(office: Office) -> None:
    office.write(row(1), row(2))
    assert office.replace(needed=True) == (2, 0)
    assert office.vault.counts() == {("card", 1): 2, ("card", 2): 2}


def test_tokens_that_are_not_those_of_their_values_stop_the_move(office: Office) -> None:
    office.write(Row("card", 1, "1-5", "value card 6", "ana", 10), row(1))
    with pytest.raises(ConfigError, match="in another way"):
        office.copy()
    assert office.vault.counts() == {("card", 1): 2}


def test_an_entry_whose_token_is_none_of_the_version_is_told_without_it(office: Office) -> None:
    office.write(Row("card", 1, "foreign-77", "value", "ana", 10), row(1))
    with pytest.raises(IntegrityError, match="domain 'card' has an entry whose token is none of key version 1") as told:
        office.copy()
    assert "foreign" not in str(told.value)
    assert office.vault.counts() == {("card", 1): 2}


@settings(max_examples=examples(25), deadline=None)
@given(
    numbers=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["ana", "bob"]), st.integers(2, 30)), max_size=25),
    portion=st.integers(1, 5),
)
def test_portions_of_any_size_copy_everything(
    new_place: NewPlace, numbers: list[tuple[int, str, int]], portion: int
) -> None:
    with new_place() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault_versions, "PORTION", portion)
        office = Office(place)
        for subject in ("ana", "bob"):
            office.hear("granted", 1, subject)
        office.write(*[row(number, subject, at=at) for number, subject, at in numbers])
        office.copy()
        expected = {(f"2{token[1:]}", subject): value for (token, subject), value in office.held(1).items()}
        assert office.held(2) == expected

"""The vault holds a value only while a purpose permits it, whoever writes, in whatever order, how often ever."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from consentry.schemas.errors import IntegrityError, StoreError
from consentry.schemas.vault_entry import VaultEntry
from consentry.transforms.stores import vault_writing
from consentry.transforms.stores.consent_ledger import ConsentLedger
from consentry.transforms.stores.vault import Written
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.consent_oracle import Entry, Erased, Said
from oracles.store_place import NewPlace, Place, candidates_of, event_of, rules_of, spellings, vault_keys
from oracles.vault_oracle import Row, VaultModel

BASES = {
    "support": "consent",
    "news": "consent",
    "fraud": "legal_obligation",
    "research": "legitimate_interest",
}
RULES = {"card": ["support", "news"], "email": ["research"], "phone": ["fraud"]}
OTHER_RULES = {"card": ["news"], "email": ["support", "research"]}
"""The phone is given out for nothing any more."""

SUBJECTS = ["ana", "bob", "Zoë"]
LONG = ["customer-of-ours@example.com"]


def row(token: str = "t1", subject: str = "ana", event_time: int = 10, domain: str = "card", version: int = 1) -> Row:
    return Row(domain, version, token, f"value of {domain} {token}", subject, event_time)


def said(decision: str, at: int, subject: str = "ana", purpose: str = "support", source: str = "form") -> Said:
    return Said(subject, purpose, decision, at, source)


class Office:
    """A vault that follows a ledger, over connections of their own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.ledger = place.ledger()
        self.vault = place.vault()
        self.data_keys = place.data_keys()
        self.subjects = {place.reference(subject): subject for subject in [*SUBJECTS, *LONG]}

    def hear(self, *entries: Entry, ledger: ConsentLedger | None = None) -> None:
        for entry in entries:
            if isinstance(entry, Erased):
                self.data_keys.destroy([self.place.reference(entry.subject)])
                (ledger or self.ledger).record_erasure(self.place.reference(entry.subject), at=1)
            else:
                (ledger or self.ledger).append([event_of(entry)], now=1)

    def write(
        self, *rows: Row, now: int, clock: int | None = None, rules: dict[str, list[str]] = RULES, ledger: Any = None
    ) -> Written:
        candidates = candidates_of(rows, self.place)
        return self.vault.write(
            candidates, ledger=ledger or self.ledger, rules=rules_of(rules, BASES), now=now, clock=clock
        )

    def follow(self, now: int, rules: dict[str, list[str]] = RULES, ledger: ConsentLedger | None = None) -> int:
        return self.vault.follow(ledger or self.ledger, rules_of(rules, BASES), now)

    def held(self) -> set[Row]:
        """All entries, with their values opened."""
        return {self.opened(entry) for entry in self.entries()}

    def entries(self) -> list[VaultEntry]:
        tokens = self.place.rows("vault", "SELECT DISTINCT domain, token FROM entries")
        return [entry for domain, token in tokens for entry in self.vault.find(domain, token)]

    def opened(self, entry: VaultEntry) -> Row:
        try:
            value = self.vault.open_value(entry)
        except IntegrityError as error:
            assert "the data key of an entry's subject is gone" in str(error)
            value = "[erased]"
        subject = self.subjects[entry.subject_ref]
        return Row(entry.domain, entry.key_version, entry.token, value, subject, entry.event_time)


@pytest.fixture
def office(place: Place) -> Office:
    return Office(place)


@pytest.fixture
def file_office(file_place: Place) -> Office:
    """Over files: SQLite alone promises that nothing is left in them of what was removed."""
    return Office(file_place)


# As the slow reading of the contract has it

ROWS = st.builds(
    row,
    token=st.sampled_from(["t1", "t2", "t3"]),
    subject=st.sampled_from(SUBJECTS),
    event_time=st.integers(0, 40),
    domain=st.sampled_from(["card", "card", "email", "phone", "nothing"]),
    version=st.sampled_from([1, 1, 2]),
)
SAYINGS = st.builds(
    said,
    decision=st.sampled_from(["granted", "granted", "withdrawn"]),
    at=st.integers(0, 60),
    subject=st.sampled_from(SUBJECTS),
    purpose=st.sampled_from(["support", "support", "news", "research"]),
)
WHICH = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(st.just("hear"), WHICH, st.lists(SAYINGS, min_size=1, max_size=4)),
    st.tuples(st.just("hear"), WHICH, st.lists(SAYINGS, min_size=1, max_size=4)),
    st.tuples(
        st.just("write"), WHICH, st.lists(ROWS, max_size=10), st.integers(1, 4), st.sampled_from([-20, 0, 0, 20])
    ),
    st.tuples(
        st.just("write"), WHICH, st.lists(ROWS, max_size=10), st.integers(1, 4), st.sampled_from([-20, 0, 0, 20])
    ),
    st.tuples(st.just("again"), WHICH),
    st.tuples(st.just("follow"), WHICH),
    st.tuples(st.just("rules")),
    st.tuples(st.just("erase"), WHICH, st.sampled_from(SUBJECTS)),
)


class Played:
    """The same steps on the product, through two vaults on one store, and on the model."""

    def __init__(self, place: Place) -> None:
        self.offices = [Office(place), Office(place)]
        self.model = VaultModel(BASES)
        self.rules = RULES
        self.written: list[Row] = []
        self.judged_at: int | None = None

    def play(self, step: tuple[Any, ...], clock: int) -> None:
        kind, *rest = step
        if kind == "rules":
            self.rules = OTHER_RULES if self.rules is RULES else RULES
            return
        office = self.offices[rest[0]]
        if kind == "hear":
            self.model.hear(rest[1])
            office.hear(*rest[1])
        elif kind == "erase":
            self.model.hear([Erased(rest[1])])
            office.hear(Erased(rest[1]))
        elif kind == "follow":
            assert office.follow(clock, self.rules) == self.model.follow(self.rules, clock)
            self.settle(clock)
        elif kind == "again":
            self.write(office, self.written, 1, clock, clock)
        else:
            self.written = [*self.written, *rest[1]][-30:]
            self.write(office, rest[1], rest[2], clock + rest[3], clock)

    def write(self, office: Office, rows: Sequence[Row], portions: int, now: int, clock: int) -> None:
        self.model.follow(self.rules, clock)
        for start in range(portions):
            portion = rows[start::portions]
            new = self.model.write(portion, self.rules, now=now, clock=clock)
            result = office.write(*portion, now=now, clock=clock, rules=self.rules)
            self.settle(clock)
            assert result.written == new
            assert result.written + result.refreshed + result.present + result.refused == len(portion)

    def settle(self, clock: int) -> None:
        """Where nothing came into effect until the clock, the vault need not note that it was told it."""
        noted = self.offices[0].place.rows("vault", "SELECT at FROM applied")
        assert self.judged_at is None or noted[0][0] in (self.judged_at, max(self.judged_at, clock))
        self.model.present = self.judged_at = noted[0][0] if noted else None

    def same(self) -> None:
        erased = {entry.subject for entry in self.model.history if isinstance(entry, Erased)}
        wanted = {replace(each, value="[erased]") if each.subject in erased else each for each in self.model.held}
        assert self.offices[0].held() == wanted


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(st.tuples(STEPS, st.integers(1, 12)), max_size=12), st.sampled_from([1, 3, vault_writing.MANY]))
def test_the_vault_holds_what_the_oracle_holds_after_every_step(
    new_place: NewPlace, steps: list[tuple[tuple[Any, ...], int]], many: int
) -> None:
    with new_place() as place, mock.patch.object(vault_writing, "MANY", many):
        played, clock = Played(place), 10
        for step, passed in steps:
            clock += passed
            played.play(step, clock)
            played.same()


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(st.tuples(STEPS, st.integers(-15, 15)), max_size=10), st.sampled_from([1, 3, vault_writing.MANY]))
def test_clocks_that_differ_among_programs_change_nothing(
    new_place: NewPlace, steps: list[tuple[tuple[Any, ...], int]], many: int
) -> None:
    with new_place() as place, mock.patch.object(vault_writing, "MANY", many):
        played, clock = Played(place), 30
        for step, passed in steps:
            clock += passed
            played.play(step, clock)
            played.same()


# Writing


def test_a_permitted_value_is_held_and_opens_to_itself(office: Office) -> None:
    office.hear(said("granted", 5))
    assert office.write(row(), now=20) == Written(written=1)
    (entry,) = office.vault.find("card", "t1")
    assert office.vault.open_value(entry) == "value of card t1"
    assert (entry.event_time, entry.subject_ref) == (10, office.place.reference("ana"))
    assert office.vault.find("card", "t1", 1) == [entry]
    assert (
        office.vault.find("card", "t1", 2) == office.vault.find("email", "t1") == office.vault.find("card", "t") == []
    )


@pytest.mark.parametrize(
    ("granted", "event_time", "now"), [(11, 10, 20), (10, 9, 20), (10, 12, 9)], ids=["before", "just before", "not now"]
)
def test_a_value_without_permission_never_enters(office: Office, granted: int, event_time: int, now: int) -> None:
    office.hear(said("granted", granted))
    assert office.write(row(event_time=event_time), now=now) == Written(refused=1)
    assert office.entries() == []


def test_writing_nothing_is_nothing(office: Office) -> None:
    assert office.write(now=1) == Written()
    empty = candidates_of([row()], office.place)[0]
    empty = replace(empty, tokens=empty.tokens[:0], values=empty.values[:0], refs=empty.refs[:0],
                    event_times=empty.event_times[:0])  # fmt: skip
    full = candidates_of([row(domain="phone")], office.place)
    rules = rules_of(RULES, BASES)
    assert office.vault.write([empty], ledger=office.ledger, rules=rules, now=1) == Written()
    assert office.vault.write([empty, *full, empty], ledger=office.ledger, rules=rules, now=1) == Written(written=1)


def test_writing_again_in_any_order_leaves_one_entry(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    rows = [row(t, s, time) for t in ("t1", "t2") for s in ("ana", "bob") for time in (10, 12, 11)]
    assert office.write(*rows, now=20) == Written(written=4, present=8)
    wanted = {row(t, s, 12) for t in ("t1", "t2") for s in ("ana", "bob")}
    for again in (rows, rows[::-1], rows[3:7], rows):
        assert office.write(*again, now=20).written == 0
        assert Office(office.place).write(*again, now=20).refreshed == 0
        assert office.held() == wanted


def test_many_strangers_are_recalled_at_once_and_not_asked_for(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.hear(*(said("granted", 1, subject) for subject in SUBJECTS))
    rows = [row(f"t{number}", SUBJECTS[number % 3], 10) for number in range(30)]
    office.write(*rows, now=20)
    monkeypatch.setattr(vault_writing, "MANY", 30)
    again = Office(office.place)
    monkeypatch.setattr(again.vault._table, "event_times", lambda keys: pytest.fail("asked") if keys else [])
    assert again.write(*rows, now=20) == Written(present=30)
    assert again.write(row("t3", event_time=11), now=20) == Written(refreshed=1)


@pytest.mark.parametrize("change", ["token = 't' || char(31) || '9'", "event_time = 'x'"])
def test_entries_that_were_changed_are_not_recalled(
    office: Office, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    office.hear(said("granted", 1))
    office.write(*(row(f"t{number}") for number in range(4)), now=20)
    monkeypatch.setattr(vault_writing, "MANY", 1)
    if office.place.on_a_server and "'x'" in change:
        return  # which no server lets in
    with office.place.raw("vault") as connection:
        connection.execute(f"UPDATE entries SET {change} WHERE token = 't0'")
    again = Office(office.place)
    assert list(again.vault._table.some(9)) == []
    assert again.write(row("t1"), row("t2"), now=20) == Written(present=2)


def test_a_later_permitted_time_refreshes_and_an_earlier_one_does_not(office: Office) -> None:
    office.hear(said("granted", 1))
    assert office.write(row(event_time=10), now=20) == Written(written=1)
    assert office.write(row(event_time=12), now=20) == Written(refreshed=1)
    assert office.write(row(event_time=11), now=20) == Written(present=1)
    assert Office(office.place).write(row(event_time=11), now=20) == Written(present=1)
    assert office.held() == {row(event_time=12)}


def test_a_later_time_without_permission_does_not_move_an_entry(office: Office) -> None:
    office.hear(said("granted", 1), said("withdrawn", 15), said("granted", 30))
    assert office.write(row(event_time=10), now=40) == Written(written=1)
    assert office.write(row(event_time=20), now=40) == Written(refused=1)
    assert office.held() == {row(event_time=10)}


def test_the_latest_permitted_of_several_times_in_one_call_counts(office: Office) -> None:
    office.hear(said("granted", 1), said("withdrawn", 15), said("granted", 30))
    office.write(row(event_time=10), row(event_time=20), now=40)
    assert office.held() == {row(event_time=10)}


def test_a_shared_card_is_held_for_each_of_its_people(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    assert office.write(row(), row(subject="bob"), row(subject="Zoë"), now=20) == Written(written=2, refused=1)
    office.hear(said("withdrawn", 15))
    assert office.follow(20) == 1
    assert office.held() == {row(subject="bob")}


def test_one_token_is_kept_apart_by_domain_and_version(office: Office) -> None:
    office.hear(said("granted", 1))
    rows = [row(), row(version=2), row(domain="email"), row(domain="phone", version=2)]
    assert office.write(*rows, now=20) == Written(written=4)
    assert office.write(*rows, now=20) == Written(present=4)
    assert office.held() == set(rows)
    assert [entry.key_version for entry in office.vault.find("card", "t1", 2)] == [2]


def test_candidates_may_be_slices(office: Office) -> None:
    office.hear(*(said("granted", 1, subject) for subject in SUBJECTS))
    rows = [row(f"t{number}", SUBJECTS[number % 3], 1 + number) for number in range(9)]
    (whole,) = candidates_of(rows, office.place)
    part = replace(whole, tokens=whole.tokens[4:7], values=whole.values[4:7], refs=whole.refs[4:7],
                   event_times=whole.event_times[4:7])  # fmt: skip
    rules = rules_of(RULES, BASES)
    assert office.vault.write([part], ledger=office.ledger, rules=rules, now=20) == Written(written=3)
    assert office.held() == set(rows[4:7])
    assert office.vault.write([whole], ledger=office.ledger, rules=rules, now=20) == Written(written=6, present=3)
    assert office.held() == set(rows)


def test_thousands_of_candidates_in_many_parts_are_each_held_once(office: Office) -> None:
    subjects = [f"s{number}" for number in range(40)]
    office.ledger.append([event_of(said("granted", 1, subject)) for subject in subjects[:30]], now=1)
    rows = [row(f"t{number % 700}", subjects[number % 40], number, version=1 + number % 2) for number in range(6000)]
    distinct = {each.key: each for each in rows}
    result = office.write(*rows, now=7000)
    permitted = sum(int(each.subject[1:]) < 30 for each in rows)
    written = sum(int(key[3][1:]) < 30 for key in distinct)
    refused = len(rows) - permitted
    assert result == Written(written=written, present=permitted - written, refused=refused)
    stored = office.place.rows("vault", "SELECT domain, key_version, token, event_time FROM entries")
    kept = [each for key, each in distinct.items() if int(key[3][1:]) < 30]
    assert sorted(stored) == sorted((each.domain, each.version, each.token, each.event_time) for each in kept)
    assert office.write(*rows, now=7000) == Written(present=permitted, refused=refused)


def test_subjects_erased_between_decision_and_write_get_no_entry_and_no_key(office: Office) -> None:
    office.data_keys.destroy([office.place.reference("ana")])
    before = office.place.rows("data_keys", "SELECT * FROM subject_keys")
    office.hear(said("granted", 1))
    assert office.write(row(), row(domain="phone"), now=20) == Written(refused=2)
    assert office.entries() == [] and office.place.rows("data_keys", "SELECT * FROM subject_keys") == before


def test_values_are_any_text(office: Office) -> None:
    office.hear(said("granted", 1))
    rows = [replace(row(f"t{n}"), value=value) for n, value in enumerate(["", "ü🔑", "\0", "x" * 100_000])]
    office.write(*rows, now=20)
    assert office.held() == set(rows)


# Following the ledger


def test_a_withdrawal_purges_what_lost_its_last_permission(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, purpose="news"), said("granted", 1, "bob"))
    office.write(row(), row("t2", "bob"), row(domain="phone"), now=20)
    office.hear(said("withdrawn", 25))
    assert office.follow(24) == 0 and len(office.held()) == 3
    assert office.follow(25) == 0
    office.hear(said("withdrawn", 26, purpose="news"))
    assert office.follow(26) == 1
    assert office.held() == {row("t2", "bob"), row(domain="phone")}


def test_a_late_withdrawal_purges_records_of_that_time_too(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 30))
    office.write(row(event_time=10), row("t2", event_time=35), now=40)
    office.hear(said("withdrawn", 5))
    assert office.follow(40) == 1
    assert office.held() == {row("t2", event_time=35)}


def test_a_withdrawal_dated_ahead_purges_when_it_takes_effect(office: Office) -> None:
    office.hear(said("granted", 1), said("withdrawn", 100))
    office.write(row(), now=20)
    assert [office.follow(now) for now in (21, 99, 100, 101)] == [0, 0, 1, 0]
    assert office.entries() == []


def test_a_write_purges_first_what_took_effect(office: Office) -> None:
    office.hear(said("granted", 1), said("withdrawn", 100), said("granted", 1, "bob"))
    office.write(row(), now=20)
    assert office.write(row("t2", "bob", 90), now=100) == Written(written=1)
    assert office.held() == {row("t2", "bob", 90)}


def test_a_withdrawal_between_decision_and_write_counts(office: Office) -> None:
    office.hear(said("granted", 1))
    office.hear(said("withdrawn", 8), ledger=office.place.ledger())
    assert office.write(row(), now=20) == Written(refused=1)
    assert office.entries() == []


def test_a_late_grant_brings_nothing_back(office: Office) -> None:
    office.hear(said("granted", 1))
    office.write(row(), now=20)
    office.hear(said("withdrawn", 15))
    office.follow(20)
    office.hear(said("granted", 18), said("granted", 2))
    for now in (20, 30):
        assert office.follow(now) == 0 and office.entries() == []


@pytest.mark.parametrize("second", [False, True], ids=["by the same vault", "by another vault"])
def test_what_was_purged_is_written_anew_when_it_is_permitted_again(office: Office, second: bool) -> None:
    office.hear(said("granted", 1))
    assert office.write(row(), now=20) == Written(written=1)
    assert office.write(row(), now=20) == Written(present=1)
    purging = Office(office.place) if second else office
    purging.hear(said("withdrawn", 22))
    assert purging.follow(22) == 1
    assert office.write(row(), now=23) == Written(refused=1)
    purging.hear(said("granted", 24))
    assert office.write(row(), now=24) == Written(written=1)
    assert office.held() == purging.held() == {row()}


def test_new_rules_purge_what_they_do_not_give_out(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob", "news"))
    office.write(row(), row("t2", "bob"), row(domain="phone"), now=20)
    assert office.follow(20, OTHER_RULES) == 2
    assert office.held() == {row("t2", "bob")}
    assert office.follow(20, {}) == 1


def test_a_changed_basis_is_a_changed_rule(office: Office) -> None:
    office.write(row(domain="phone"), now=20)
    rules = rules_of(RULES, {**BASES, "fraud": "consent"})
    assert office.vault.follow(office.ledger, rules, 20) == 1


def test_rules_that_change_there_and_back_leave_no_memory_of_purged_entries(office: Office) -> None:
    office.write(row(domain="phone"), now=20)
    other = Office(office.place)
    assert (other.follow(20, {}), other.follow(20, RULES)) == (1, 0)
    assert office.write(row(domain="phone"), now=20) == Written(written=1)
    assert office.held() == {row(domain="phone")}


def test_an_erasure_purges_all_that_is_held_for_the_subject(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    office.write(row(), row(domain="phone"), row(domain="email"), row(subject="bob"), now=20)
    entry = office.vault.find("phone", "t1")[0]
    office.hear(Erased("ana"))
    with pytest.raises(IntegrityError, match="the data key of an entry's subject is gone, so its value cannot be"):
        office.vault.open_value(entry)
    assert office.follow(20) == 3
    assert office.write(row(), row(domain="phone"), now=20) == Written(refused=2)
    assert office.held() == {row(subject="bob")}


def test_a_sweep_removes_what_is_older_than_its_domain_keeps(office: Office) -> None:
    office.hear(said("granted", 1))
    rows = [row(event_time=9), row("t2", event_time=10), row(event_time=9, domain="phone"), row("t2", domain="email")]
    office.write(*rows, now=20)
    assert office.vault.sweep({"card": 10, "email": 10}) == 1
    assert office.vault.sweep({"card": 10, "email": 10}) == office.vault.sweep({}) == 0
    assert office.held() == set(rows[1:])


def test_of_swept_entries_nothing_sealed_is_left_in_the_files(file_office: Office) -> None:
    file_office.write(row(domain="phone"), now=20)
    purged = {file_office.vault.find("phone", "t1")[0].sealed}
    assert file_office.vault.sweep({"phone": 11}) == 1
    assert left_of(purged, file_office.place.at_rest("vault")) == 0


def test_what_was_swept_is_not_remembered_as_held(office: Office) -> None:
    office.write(row(domain="phone"), now=20)
    for sweeping in (office, Office(office.place)):
        assert sweeping.vault.sweep({"phone": 11}) == 1
        assert office.write(row(domain="phone"), now=20) == Written(written=1)
        assert office.held() == {row(domain="phone")}


@pytest.mark.parametrize(("now", "clock"), [(50, 20), (20, 50)], ids=["a run in the future", "a run in the past"])
def test_a_value_enters_only_if_permitted_at_the_runs_instant_and_by_the_clock(
    office: Office, now: int, clock: int
) -> None:
    office.hear(
        said("granted", 1), said("withdrawn", 30), said("granted", 30, "bob"), said("granted", 1, "Zoë"),
    )  # fmt: skip
    rows = [row(event_time=10), row(subject="bob", event_time=40), row(subject="Zoë")]
    assert office.write(*rows, now=now, clock=clock) == Written(written=1, refused=2)
    assert office.held() == {row(subject="Zoë")}


def test_a_run_in_the_past_or_future_purges_by_the_clock_alone(office: Office) -> None:
    office.hear(said("granted", 15), said("withdrawn", 60), said("granted", 1, "bob"))
    office.write(row(event_time=16), now=20)
    office.write(row("t2", "bob"), now=1, clock=30)
    office.write(row("t3", "bob"), now=90, clock=40)
    assert {each.token for each in office.held()} == {"t1", "t2", "t3"}


def test_a_clock_that_lags_lets_nothing_in_that_was_withdrawn_meanwhile(office: Office) -> None:
    office.hear(said("granted", 1), said("withdrawn", 90))
    office.write(row(), now=20)
    assert office.follow(100) == 1
    assert office.write(row(), now=80) == Written(refused=1)
    office.follow(110)
    assert office.entries() == []


def test_a_clock_that_lags_takes_nothing_away_that_is_permitted_now(office: Office) -> None:
    office.hear(said("granted", 50))
    office.write(row(event_time=60), now=100)
    office.hear(said("granted", 99, purpose="research"))
    assert office.follow(40) == 0
    assert office.held() == {row(event_time=60)}


def test_a_clock_that_was_ahead_does_not_hide_later_withdrawals(office: Office) -> None:
    office.hear(said("granted", 1))
    office.write(row(), now=20)
    office.follow(10_000)
    office.hear(said("withdrawn", 30))
    assert office.follow(31) == 1


@pytest.mark.parametrize("moment", ["as old", "older"])
def test_a_ledger_put_back_to_an_older_state_is_refused(office: Office, moment: str) -> None:
    office.hear(said("granted", 1))
    office.place.copy("ledger", "older")
    office.hear(said("withdrawn", 15, "bob"), said("granted", 2, "bob"))
    office.write(row(), row("t2", "bob", 3), now=20)
    held = office.held()
    older = office.place.ledger("older")
    if moment == "as old":
        older.append([event_of(said("granted", 2, "bob")), event_of(said("granted", 3, "bob"))], now=1)
        assert older.position() == office.ledger.position()
    refuses(office, older)
    older.append([event_of(said("granted", time, "bob")) for time in (4, 5, 6)], now=1)
    refuses(office, older)
    assert office.held() == held


@pytest.mark.parametrize("entries", [0, 1, 2, 3])
def test_another_ledger_is_refused_however_long_it_is(office: Office, entries: int) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    office.write(row(), now=20)
    other = office.place.ledger("other")
    other.append([event_of(said("granted", 1 + number)) for number in range(entries)], now=1)
    refuses(office, other)
    assert office.write(row("t2"), now=20) == Written(written=1)


def refuses(office: Office, ledger: ConsentLedger) -> None:
    says = "vault: has followed another ledger than this, or a newer state of it; restore the newest ledger"
    for opened in (office, Office(office.place)):
        with pytest.raises(IntegrityError, match=says) as caught:
            opened.follow(20, ledger=ledger)
        assert caught.value.reason == "ledger_rolled_back"
        with pytest.raises(IntegrityError, match=says):
            opened.write(row("t9"), now=20, ledger=ledger)


def test_a_ledger_that_cannot_be_read_stops_every_act(office: Office) -> None:
    office.hear(said("granted", 1))
    office.write(row(), now=20)
    with office.place.raw("ledger") as connection:
        connection.execute("DROP TABLE entries")
    for attempt in (lambda: office.follow(30), lambda: office.write(row("t2"), now=20)):
        with pytest.raises(StoreError, match="the ledger failed"):
            attempt()
    assert office.held() == {row()}


# Integrity

PLACES = {
    "another token": (row(), row("t2")),
    "another domain": (row(), replace(row(domain="phone"), token="t1")),
    "another version": (row(), row(version=2)),
    "another subject": (row(), row(subject="bob")),
}


@pytest.mark.parametrize("places", PLACES)
def test_sealed_values_open_in_their_own_place_only(office: Office, places: str) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    one, two = PLACES[places]
    office.write(one, two, now=20)
    with office.place.raw("vault") as connection:
        sealed = connection.execute("SELECT sealed FROM entries").fetchall()
        assert len(sealed) == 2
        connection.execute("UPDATE entries SET sealed = CASE sealed WHEN ? THEN ? ELSE ? END",
                           (*sealed[0], *sealed[1], *sealed[0]))  # fmt: skip
    for entry in office.entries():
        with pytest.raises(IntegrityError, match="do not open"):
            office.vault.open_value(entry)


@pytest.mark.parametrize("column", ["domain", "token", "key_version", "subject", "sealed"])
def test_an_entry_that_was_changed_does_not_open(office: Office, column: str) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"))
    office.write(row(), row("t2", "bob"), now=20)
    changed = {"domain": "phone", "token": "t3", "key_version": 2, "subject": office.place.reference("bob")}
    sealed = bytearray(office.vault.find("card", "t1")[0].sealed)
    sealed[-1] ^= 1
    with office.place.raw("vault") as connection:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE token = 't1'", (changed.get(column, bytes(sealed)),))
    (entry,) = [entry for entry in office.entries() if entry.token != "t2"]
    with pytest.raises(IntegrityError, match="do not open"):
        office.vault.open_value(entry)


def test_entries_open_after_the_vault_keys_are_rotated(office: Office) -> None:
    office.hear(said("granted", 1))
    office.write(row(), now=20)
    both = office.place.vault(vault_keys(1, 2))
    (entry,) = both.find("card", "t1")
    assert both.open_value(entry) == "value of card t1"
    ledger = office.place.ledger(keys=vault_keys(1, 2))
    ledger.append([event_of(said("granted", 1, "bob"))], now=1)
    candidates = candidates_of([row(), row("t2", "bob")], office.place)
    assert both.write(candidates, ledger=ledger, rules=rules_of(RULES, BASES), now=20) == Written(written=1, present=1)
    (entry,) = both.find("card", "t2")
    assert both.open_value(entry) == "value of card t2"
    with pytest.raises(IntegrityError, match="vault key version 2, which this keyring cannot use"):
        office.vault.open_value(entry)
    assert len(office.entries()) == 2


# At rest


def test_values_and_subjects_are_not_in_the_files(office: Office) -> None:
    secret = replace(row("a-token-of-a-card", LONG[0]), value="4111 1111 1111 1111 and more")
    office.hear(said("granted", 1, LONG[0]))
    office.write(secret, now=20)
    assert office.held() == {secret}
    for closed in (False, True):
        if closed:
            office.place.close()
        stored = office.place.at_rest("vault", "data_keys", "ledger").lower()
        assert b"a-token-of-a-card" in stored
        for text in (LONG[0], secret.value, "4111111111111111"):
            for spelled in spellings(text):
                assert spelled.lower() not in stored


@pytest.mark.parametrize("count", [3, 3000])
def test_of_purged_entries_nothing_sealed_is_left_in_the_files(file_office: Office, count: int) -> None:
    subjects = [*SUBJECTS, *(f"s{number}" for number in range(20))]
    file_office.ledger.append([event_of(said("granted", 1, subject)) for subject in subjects], now=1)
    rows = [row(f"t{number * 7919 % count}", subjects[number % len(subjects)]) for number in range(count)]
    for start in range(0, count, 500):
        file_office.write(*rows[start : start + 500], now=20)
    gone = [subject for number, subject in enumerate(subjects) if number % 3]
    purged = {sealed for (sealed,) in sealed_of(file_office.place, gone)}
    kept = {sealed for (sealed,) in sealed_of(file_office.place, set(subjects) - set(gone))}
    file_office.ledger.append([event_of(said("withdrawn", 15, subject)) for subject in gone], now=1)
    assert file_office.follow(20) == len(purged) > 0
    assert {sealed for (sealed,) in sealed_of(file_office.place, subjects)} == kept
    assert left_of(purged, file_office.place.at_rest("vault")) == 0


def test_what_a_write_purges_itself_is_not_left_in_the_files_either(file_office: Office) -> None:
    file_office.hear(said("granted", 1), said("granted", 1, "bob"))
    file_office.write(row(), now=20)
    purged = {sealed for (sealed,) in sealed_of(file_office.place, ["ana"])}
    beside = file_office.place.ledger()

    class Hears(ConsentLedger):
        """Another program appends just before the vault reads the ledger within its transaction."""

        def __init__(self) -> None:
            self.__dict__.update(file_office.ledger.__dict__)

        def snapshot(self, position: int | None = None) -> Any:
            file_office.hear(said("withdrawn", 15), ledger=beside)
            return super().snapshot(position)

    assert file_office.write(row("t2", "bob"), now=20, ledger=Hears()) == Written(written=1)
    assert file_office.held() == {row("t2", "bob")}
    assert left_of(purged, file_office.place.at_rest("vault")) == 0


@pytest.mark.usefixtures("impatient")
def test_what_a_reader_kept_in_the_log_goes_with_the_next_act(file_place: Place) -> None:
    office, place = Office(file_place), file_place
    office.hear(said("granted", 1))
    office.write(row(), now=20)
    purged = {sealed for (sealed,) in sealed_of(place, ["ana"])}
    with place.reader("vault", "entries"):
        office.hear(said("withdrawn", 15))
        assert office.follow(20) == 1
    office.follow(21)
    assert left_of(purged, place.at_rest("vault")) == 0


def sealed_of(place: Place, subjects: Sequence[str] | set[str]) -> list[tuple[bytes]]:
    found = place.rows("vault", "SELECT subject, sealed FROM entries")
    wanted = {place.reference(subject) for subject in subjects}
    return [(sealed,) for subject, sealed in found if subject in wanted]


def left_of(secrets: set[bytes], stored: bytes) -> int:
    """How many of the secrets, or halves of them, are in the bytes."""
    parts = {part for secret in secrets for part in (secret[:16], secret[-16:], secret[len(secret) // 2 :][:16])}
    found = {stored[start : start + 16] for start in range(len(stored) - 15)} & parts
    return len(found)


def test_candidates_and_entries_hide_what_they_hold(office: Office) -> None:
    office.hear(said("granted", 1))
    office.write(row("secret-token"), now=20)
    candidates = candidates_of([row("secret-token")], office.place)
    shown = repr(candidates) + repr(office.entries()) + str(candidates[0]) + f"{office.entries()[0]}"
    assert "card" in shown
    assert not any(text in shown for text in ("secret-token", "value of", "ana", office.place.reference("ana").hex()))
    assert repr(office.place.reference("ana"))[2:-1] not in shown


# At once


def test_threads_on_one_vault_leave_each_entry_once(office: Office) -> None:
    office.hear(*(said("granted", 1, subject) for subject in SUBJECTS))
    rows = [row(f"t{number % 40}", SUBJECTS[number % 3], number % 17) for number in range(240)]
    results: list[Written] = []

    def write(start: int) -> None:
        for shift in range(0, 240, 40):
            mine = rows[(start + shift) % 240 :][:40]
            results.append(office.write(*mine, now=30))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 0, 80, 160)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latest = {each.key: each for each in sorted(rows, key=lambda each: each.event_time)}
    assert office.held() == set(latest.values())
    assert sum(result.written for result in results) == len(latest)


def test_programs_that_write_the_same_at_once_leave_each_entry_once(office: Office, programs: Any) -> None:
    office.hear(*(said("granted", 1, subject) for subject in SUBJECTS))
    rows = [row(f"t{number % 90}", SUBJECTS[number % 3], number % 17) for number in range(360)]
    plain = [[each.domain, each.version, each.token, each.value, each.subject, each.event_time] for each in rows]
    batches = [plain[start : start + 30] for start in range(0, 360, 30)]
    asked = {"do": "write", "rules": RULES, "bases": BASES, "now": 30}
    one, two = programs.do(office.place, {**asked, "batches": batches}, {**asked, "batches": batches[::-1]})
    assert "error" not in one and "error" not in two
    latest = {each.key: each for each in sorted(rows, key=lambda each: each.event_time)}
    assert office.held() == set(latest.values())
    assert one["written"] + two["written"] == len(latest)


# When the disk fails


@contextmanager
def no_room() -> Iterator[None]:
    """Files of this process cannot grow beyond some pages, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_did_not_reach_the_disk_is_not_taken_for_held(file_office: Office) -> None:
    file_office.hear(said("granted", 1))
    file_office.write(row("t0"), now=20)
    with no_room(), pytest.raises(StoreError, match="the vault"):
        file_office.write(*(row(f"t{number}") for number in range(1, 9)), now=20)
    assert file_office.held() == {row("t0")}
    assert file_office.write(*(row(f"t{number}") for number in range(9)), now=20) == Written(written=8, present=1)
    assert file_office.held() == {row(f"t{number}") for number in range(9)}


# Many at once


def by_token(entries: Iterable[VaultEntry]) -> dict[str, list[VaultEntry]]:
    found: dict[str, list[VaultEntry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.key_version, entry.subject_ref)):
        found.setdefault(entry.token, []).append(entry)
    return found


def test_many_tokens_are_found_as_each_by_itself(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"), said("granted", 1, "Zoë"))
    rows = [row(f"t{n}", subject) for n in range(1300) for subject in SUBJECTS[: 1 + n % 2]]
    office.write(*rows, row("t1", version=2), row("t1", domain="email"), now=20)
    tokens = [f"t{n}" for n in range(1250, -50, -1)]
    for version in (None, 1, 2, 3):
        found = office.vault.find_many("card", tokens, version)
        singly = {token: office.vault.find("card", token, version) for token in tokens}
        in_order = {
            token: sorted(entries, key=lambda entry: (entry.key_version, entry.subject_ref))
            for token, entries in singly.items()
            if entries
        }
        assert by_token(found) == in_order
    assert len(office.vault.find_many("card", [])) == len(office.vault.find_many("nothing", tokens)) == 0


def test_many_values_open_as_each_by_itself_and_one_that_does_not_hinders_no_other(office: Office) -> None:
    office.hear(said("granted", 1), said("granted", 1, "bob"), said("granted", 1, "Zoë"))
    office.write(*(row(f"t{n}", SUBJECTS[n % 3]) for n in range(9)), now=20)
    entries = [office.vault.find("card", f"t{n}")[0] for n in range(9)]
    assert office.vault.open_values(entries) == [office.vault.open_value(entry) for entry in entries]
    assert office.vault.open_values([]) == []
    entries[0] = entries[0]._replace(token="t1")
    office.data_keys.destroy([entries[1].subject_ref])
    with office.place.raw("data_keys") as connection:
        connection.execute("UPDATE subject_keys SET wrapped = ? WHERE subject = ?", (bytes(62), entries[2].subject_ref))
    assert office.vault.open_values(entries) == [
        None if n == 0 or n % 3 else f"value of card t{n}" for n in range(9)
    ]  # fmt: skip

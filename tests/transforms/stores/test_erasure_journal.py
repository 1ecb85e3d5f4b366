"""The journal of erasures keeps the states, names nobody, and leaves nothing of what it held."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from consentry.schemas.errors import ConfigError, StoreError
from consentry.schemas.info_types import Basis
from consentry.transforms.stores.erasure_journal import (
    ErasureCase,
    ErasureJournal,
    ErasureState,
    HeldBack,
    open_erasures,
)
from consentry.transforms.stores.leftovers import forget_removed
from oracles.store_place import Place, candidates_of
from oracles.vault_oracle import Row

ONE, TWO = b"\x01" * 16, b"\x02" * 16


@pytest.fixture
def journal(tmp_path: Path) -> ErasureJournal:
    return open_erasures(f"sqlite:{tmp_path / 'erasures.db'}", create=True)


def case(subject: bytes = ONE, **changes: object) -> ErasureCase:
    made = ErasureCase(id=f"e-{subject.hex()[:2]}", subject=subject, state=ErasureState.REQUESTED, requested_at=5)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_case_is_found_by_its_subject_as_it_was_put_last(journal: ErasureJournal) -> None:
    assert journal.case_of(ONE) is None and journal.cases() == [] and journal.marks() == {}
    journal.put(case(TWO, requested_at=3))
    journal.put(case())
    later = case(state=ErasureState.FROZEN, account={"outputs": ["a"]}, certificate="text")
    assert journal.put(later) == later == journal.case_of(ONE)
    assert [each.subject for each in journal.cases()] == [TWO, ONE]
    assert later.outputs == ("a",) and later.has_reached(ErasureState.FROZEN)
    assert not later.has_reached(ErasureState.SHREDDED)


def test_marks_add_up_and_stay(journal: ErasureJournal) -> None:
    journal.put(case(), marks=[b"a" * 16, b"b" * 16])
    journal.put(case(), marks=[b"b" * 16])
    journal.put(case(TWO), marks=[b"b" * 16])
    assert journal.marks() == {ONE: {b"a" * 16, b"b" * 16}, TWO: {b"b" * 16}}


def test_what_is_held_back_is_replaced_as_a_whole_and_leaves_no_byte(journal: ErasureJournal, tmp_path: Path) -> None:
    sealed = b"held back bytes that must go"
    journal.put(case(), held=[HeldBack(domain="card", until=9, sealed=sealed)])
    journal.put(case(state=ErasureState.FROZEN))
    assert journal.held(ONE) == [HeldBack(domain="card", until=9, sealed=sealed)] and journal.held(TWO) == []
    journal.put(case(), held=[])
    assert journal.held(ONE) == []
    assert not [path.name for path in tmp_path.iterdir() if sealed in path.read_bytes()]


def test_a_journal_is_only_made_when_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        open_erasures(f"sqlite:{tmp_path / 'erasures.db'}")
    with pytest.raises(ConfigError):
        open_erasures("postgresql://somewhere")


def test_the_vault_s_entries_of_a_subject_go_for_good_and_no_others(place: Place) -> None:
    vault, ledger = place.vault(), place.ledger()
    rows = [Row("card", 1, f"t{n}", f"value-{n}", subject, 5) for n, subject in enumerate(("ana", "bob", "ana"))]
    rules = {"card": (("fraud", Basis.LEGAL_OBLIGATION),)}
    vault.write(candidates_of(rows, place), ledger=ledger, rules=rules, now=10)
    ana, bob = place.reference("ana"), place.reference("bob")
    sealed = [entry.sealed for entry in vault.entries_of(ana)]
    assert sorted(entry.token for entry in vault.entries_of(ana)) == ["t0", "t2"]
    assert vault.remove_subject(ana) == 2 and vault.remove_subject(ana) == 0
    assert vault.entries_of(ana) == [] and [entry.token for entry in vault.entries_of(bob)] == ["t1"]
    forget_removed(place.uri("vault"), "vault")
    held = [path.read_bytes() for path in place.folder.iterdir()]
    assert not any(each in data for each in sealed for data in held)


def test_what_a_reader_still_sees_is_not_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consentry.transforms.stores.sqlite_database.PATIENCE_SECONDS", 0.2)
    with Place("sqlite", tmp_path) as place:
        place.data_keys().keys_for([ONE], create=True)
        with closing(sqlite3.connect(place.file("data_keys"), isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM subject_keys").fetchall()
            place.data_keys().keys_for([TWO], create=True)
            with pytest.raises(StoreError, match="is locked by another program"):
                forget_removed(place.uri("data_keys"), "data_keys")
        forget_removed(place.uri("data_keys"), "data_keys")


def test_a_server_is_left_to_clean_up_by_itself() -> None:
    forget_removed("postgresql://somewhere", "vault")

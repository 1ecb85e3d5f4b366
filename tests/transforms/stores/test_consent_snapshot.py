"""The one permission rule, at every position of every ledger, against a slow reading of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.info_types import Basis
from consentry.transforms.stores import consent_columns, consent_ledger
from consentry.transforms.stores.consent_columns import ERASED, GRANTED, WITHDRAWN, ConsentColumns, GrowingColumns
from consentry.transforms.stores.consent_snapshot import NOBODY, STRANGER, ConsentSnapshot
from effort import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.consent_oracle import Entry, Erased, Said, permits, permits_one_of, permits_record, without_repeats
from oracles.store_place import NewPlace, Place, event_of

BASES = {
    "support": "consent",
    "news": "consent",
    "delivery": "contract",
    "fraud": "legal_obligation",
    "analytics": "legitimate_interest",
    "research": "legitimate_interest",
    "never_said": "consent",
    "never_objected": "legitimate_interest",
}
SUBJECTS = ["ana", "bob", "Zoë", "c-17"]
ASKED: list[str | None] = [*SUBJECTS, "stranger", None]
DAY = 86_400_000_000
INSTANTS = [-DAY, 0, 1, 2, DAY - 1, DAY, DAY + 1, 2**62]
"""What events are effective at; -DAY lies before 1970."""

PURPOSES = ["support", "news", "delivery", "fraud", "analytics", "research", "of_no_policy"]
SAID = st.builds(
    Said,
    subject=st.sampled_from(SUBJECTS),
    purpose=st.sampled_from(PURPOSES) | st.just("support"),
    decision=st.sampled_from(["granted", "withdrawn"]),
    effective_at=st.sampled_from(INSTANTS),
    source=st.sampled_from(["form", "call"]),
)
ENTRIES: st.SearchStrategy[Entry] = st.integers(0, 11).flatmap(
    lambda one: st.builds(Erased, st.sampled_from(SUBJECTS)) if one == 0 else SAID
)


def said(decision: str, at: int, **parts: Any) -> Said:
    return Said(**{"subject": "ana", "purpose": "support", "decision": decision, "effective_at": at, **parts})


def append(place: Place, ledger: Any, entries: Sequence[Entry]) -> None:
    """Offers entries to a ledger one after the other."""
    for entry in entries:
        if isinstance(entry, Erased):
            ledger.record_erasure(place.reference(entry.subject), at=5)
        else:
            ledger.append([event_of(entry)], now=5)


def references(subjects: Sequence[str | None], words: dict[str, bytes]) -> pa.FixedSizeBinaryArray:
    return pa.array([None if subject is None else words[subject] for subject in subjects], pa.binary(16))


def assert_as_the_oracle(snapshot: ConsentSnapshot, history: Sequence[Entry], words: dict[str, bytes]) -> None:
    """Asks everything of everybody at every instant, event time and now."""
    times: list[int | None] = [*sorted({at + step for at in INSTANTS for step in (-1, 0)} | {3 * DAY}), None]
    rows = list(product(ASKED, times))
    located = snapshot.locate(references([subject for subject, _ in rows], words))
    at = np.array([77 if time is None else time for _, time in rows], np.int64)
    has_time = np.array([time is not None for _, time in rows], np.bool_)
    expected: dict[tuple[str, str | None, int | None], bool] = {}
    for purpose, basis in BASES.items():
        found = snapshot.permits(purpose, Basis(basis), located, at, has_time)
        for (subject, time), answer in zip(rows, found.tolist(), strict=True):
            expected[purpose, subject, time] = permits(BASES, history, subject, purpose, time)
            assert answer is expected[purpose, subject, time], (purpose, subject, time, history)
        for now in (-DAY - 1, 1, DAY):
            found = snapshot.permits_record(purpose, Basis(basis), located, at, has_time, now)
            for (subject, time), answer in zip(rows, found.tolist(), strict=True):
                wanted = expected[purpose, subject, time] and permits(BASES, history, subject, purpose, now)
                assert answer is wanted, (purpose, subject, time, now, history)


@settings(deadline=None, max_examples=examples(40))
@given(st.lists(ENTRIES, max_size=14))
@example([said("granted", 1), said("withdrawn", 1)])
@example([said("withdrawn", 1), said("granted", 1)])
@example([said("granted", DAY), said("withdrawn", 1), said("withdrawn", DAY, source="call")])
@example([said("withdrawn", 1, purpose="analytics"), said("granted", 1, purpose="analytics"), Erased("bob")])
def test_every_position_permits_what_the_oracle_permits(new_place: NewPlace, offered: list[Entry]) -> None:
    with new_place() as place:
        words = {subject: place.reference(subject) for subject in ASKED if subject is not None}
        ledger = place.ledger()
        append(place, ledger, offered)
        history = without_repeats(offered)
        assert ledger.position() == len(history)
        for position in range(len(history) + 1):
            snapshot = ledger.snapshot(position)
            assert snapshot.position == position
            assert_as_the_oracle(snapshot, history[:position], words)


@settings(deadline=None, max_examples=examples(150))
@given(
    history=st.lists(ENTRIES, max_size=20),
    asked=st.lists(st.tuples(st.sampled_from(ASKED), st.sampled_from(INSTANTS)), max_size=8),
    purposes=st.lists(st.sampled_from(list(BASES)), max_size=3),
    now=st.sampled_from(INSTANTS),
)
@example([said("granted", 0), said("withdrawn", DAY), said("granted", DAY, purpose="news")], [("ana", 1)],
         ["support", "news"], DAY)  # fmt: skip
def test_one_and_the_same_purpose_must_permit_at_event_time_and_now(
    history: list[Entry], asked: list[tuple[str | None, int]], purposes: list[str], now: int
) -> None:
    words = {subject: subject.encode().ljust(16, b".") for subject in ASKED if subject is not None}
    found = ConsentSnapshot(columns(history, words)).permits_one_of(
        [(purpose, Basis(BASES[purpose])) for purpose in purposes],
        references([subject for subject, _ in asked], words),
        np.array([time for _, time in asked], np.int64),
        now,
    )
    wanted = [permits_one_of(BASES, history, subject, purposes, time, now) for subject, time in asked]
    assert found.tolist() == wanted


def columns(history: Sequence[Entry], words: dict[str, bytes]) -> ConsentColumns:
    """Entries as columns, built by hand, so that references can be chosen."""
    names = ["", *dict.fromkeys(entry.purpose for entry in history if isinstance(entry, Said))]
    codes = {"granted": GRANTED, "withdrawn": WITHDRAWN}
    said_by = [words[entry.subject] for entry in history]
    return ConsentColumns(
        subjects=np.array([[int.from_bytes(word[:8], "big"), int.from_bytes(word[8:], "big")] for word in said_by],
                          np.uint64).reshape(-1, 2),
        purposes=np.array([names.index(e.purpose) if isinstance(e, Said) else 0 for e in history], np.uint16),
        decisions=np.array([codes[e.decision] if isinstance(e, Said) else ERASED for e in history], np.uint8),
        effective_at=np.array([e.effective_at if isinstance(e, Said) else 5 for e in history], np.int64),
        names=tuple(names),
    )  # fmt: skip


ALIKE = {
    "ana": b"\x80" * 8 + b"\x00" * 8,
    "bob": b"\x80" * 8 + b"\x00" * 7 + b"\x01",
    "Zoë": b"\x80" * 8 + b"\xff" * 8,
    "c-17": b"\x80" * 7 + b"\x81" + b"\x00" * 8,
    "stranger": b"\x80" * 8 + b"\x00" * 7 + b"\x02",
}
ENDS = {"ana": bytes(16), "bob": b"\xff" * 16, "Zoë": b"\xff" * 8 + bytes(8), "c-17": bytes(8) + b"\xff" * 8,
        "stranger": b"\xff" * 15 + b"\xfe"}  # fmt: skip


@pytest.mark.parametrize("words", [ALIKE, ENDS], ids=["alike", "ends"])
@settings(deadline=None, max_examples=examples(25))
@given(st.lists(ENTRIES, max_size=10))
def test_references_that_share_a_word_are_different_people(words: dict[str, bytes], history: list[Entry]) -> None:
    assert_as_the_oracle(ConsentSnapshot(columns(history, words)), history, words)


def test_many_references_with_one_first_word_are_told_apart() -> None:
    words = {f"s{number}": b"\x11" * 8 + number.to_bytes(8, "big") for number in range(0, 400, 2)}
    history = [said("granted" if number % 4 else "withdrawn", 1, subject=f"s{number}") for number in range(0, 400, 2)]
    random.Random(1).shuffle(history)
    snapshot = ConsentSnapshot(columns(history, words))
    asked = pa.array([b"\x11" * 8 + number.to_bytes(8, "big") for number in range(400)], pa.binary(16))
    found = snapshot.permits_one_of([("support", Basis.CONSENT)], asked, np.full(400, 1, np.int64), 1)
    assert found.tolist() == [number % 4 == 2 for number in range(400)]


def test_an_empty_ledger_permits_what_needs_no_word(place: Place) -> None:
    snapshot = place.ledger().snapshot()
    assert snapshot.position == 0
    assert_as_the_oracle(snapshot, [], {name: place.reference(name) for name in ASKED if name is not None})


def test_columns_of_references_may_be_slices_with_nulls() -> None:
    words = {subject: subject.encode().ljust(16, b".") for subject in ASKED if subject is not None}
    snapshot = ConsentSnapshot(columns([said("granted", 1), said("granted", 1, subject="bob")], words))
    whole = references([None, "bob", "ana", None, "stranger", "bob", None, "Zoë", "ana"], words)
    for start in range(len(whole)):
        for length in range(len(whole) - start + 1):
            part = whole.slice(start, length)
            alone = pa.array(part.to_pylist(), pa.binary(16))
            assert snapshot.locate(part).tolist() == snapshot.locate(alone).tolist()
    found = snapshot.locate(whole.slice(3, 4)).tolist()
    assert (found[0], found[1], found[3]) == (NOBODY, STRANGER, NOBODY) and found[2] >= 0


def test_a_column_of_nulls_names_nobody() -> None:
    words = {"ana": b"a" * 16}
    for column in (pa.nulls(3, pa.binary(16)), pa.array([None] * 3, pa.binary(16)), pa.array([], pa.binary(16))):
        for history in ([], [said("granted", 1)]):
            snapshot = ConsentSnapshot(columns(history, words))
            assert snapshot.locate(column).tolist() == [NOBODY] * len(column)
            found = snapshot.permits_one_of([("d", Basis.CONTRACT)], column, np.zeros(len(column), np.int64), 0)
            assert found.tolist() == [False] * len(column)


def test_no_purpose_permits_nothing() -> None:
    snapshot = ConsentSnapshot(columns([], {}))
    assert snapshot.permits_one_of([], pa.array([b"a" * 16], pa.binary(16)), np.zeros(1, np.int64), 0).tolist() == [
        False
    ]


def test_thousands_of_subjects_are_decided_as_the_oracle_does() -> None:
    chance = random.Random(7)
    subjects = [f"s{number}" for number in range(3000)]
    words = {subject: chance.randbytes(16) for subject in [*subjects, "x", "y"]}
    history: list[Entry] = [
        Erased(chance.choice(subjects))
        if chance.random() < 0.01
        else Said(
            chance.choice(subjects), chance.choice(PURPOSES), chance.choice(["granted", "withdrawn"]),
            chance.randrange(100), str(number),
        )
        for number in range(20_000)
    ]  # fmt: skip
    of_subject: dict[str | None, list[Entry]] = {}
    for entry in history:
        of_subject.setdefault(entry.subject, []).append(entry)
    snapshot = ConsentSnapshot(columns(history, words))
    asked = [(chance.choice([*subjects, "x", "y", None]), chance.randrange(-2, 102)) for _ in range(8000)]
    refs = references([subject for subject, _ in asked], words)
    at = np.array([time for _, time in asked], np.int64)
    permitted = 0
    for purpose, basis in BASES.items():
        found = snapshot.permits_record(purpose, Basis(basis), snapshot.locate(refs), at, np.ones(8000, np.bool_), 50)
        wanted = [permits_record(BASES, of_subject.get(who, []), who, purpose, time, 50) for who, time in asked]
        assert found.tolist() == wanted
        permitted += sum(wanted)
    assert 20_000 < permitted < 40_000


@settings(deadline=None, max_examples=examples(100))
@given(
    history=st.lists(ENTRIES, max_size=12), after=st.integers(0, 13), since=st.sampled_from(INSTANTS),
    until=st.sampled_from(INSTANTS),
)  # fmt: skip
@example(history=[said("granted", 1)], after=1, since=0, until=1)
@example(history=[said("granted", 1)], after=1, since=1, until=2)
@example(history=[said("granted", 2)], after=1, since=0, until=1)
@example(history=[said("granted", 0)], after=0, since=1, until=1)
def test_subjects_with_news_are_those_of_new_entries_and_of_entries_that_took_effect(
    history: list[Entry], after: int, since: int, until: int
) -> None:
    words = {subject: subject.encode().ljust(16, b".") for subject in SUBJECTS}
    found = columns(history, words).changed_subjects(after=after, since=since, until=until)
    news = history[after:] + [
        entry for entry in history if since < (entry.effective_at if isinstance(entry, Said) else 5) <= until
    ]
    assert found == {words[entry.subject] for entry in news}


# ---- layers


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(ENTRIES, max_size=14), st.integers(0, 14))
@example([said("granted", 1), said("withdrawn", 1)], 1)
@example([said("withdrawn", 1), said("granted", 1)], 1)
@example([said("granted", DAY), said("withdrawn", 1)], 1)
@example([said("withdrawn", 1, subject="bob"), said("granted", DAY), Erased("bob")], 2)
@example([Erased("ana"), said("granted", 1)], 1)
def test_a_snapshot_that_builds_on_another_answers_as_one_of_all_entries(history: list[Entry], size: int) -> None:
    for words in (ALIKE, ENDS):
        everything = columns(history, words)
        base = ConsentSnapshot(everything.upto(size))
        between = ConsentSnapshot(everything.upto((size + len(history) + 1) // 2), base=base)
        for each in (base, between):
            assert_as_the_oracle(ConsentSnapshot(everything, base=each), history, words)
        assert_as_the_oracle(base, history[:size], words)


@pytest.mark.parametrize(("share", "least"), [(2, 0), (1, 3), (32, 1_000)])
@settings(deadline=None, max_examples=examples(15))
@given(st.lists(st.tuples(st.lists(ENTRIES, max_size=4), st.lists(st.floats(0, 1), max_size=2)), max_size=6))
def test_a_ledger_that_grows_answers_at_any_position_what_the_oracle_says(
    new_place: NewPlace, share: int, least: int, portions: list[tuple[list[Entry], list[float]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch, new_place() as place:
        patch.setattr(consent_ledger, "SHARE", share)
        patch.setattr(consent_ledger, "LEAST_NEWER", least)
        words = {subject: place.reference(subject) for subject in ASKED if subject is not None}
        ledger, offered = place.ledger(), []
        for entries, places in portions:
            append(place, ledger, entries)
            history = without_repeats(offered := [*offered, *entries])
            for position in [len(history), *(int(part * len(history)) for part in places), len(history)]:
                snapshot = ledger.snapshot(position)
                assert snapshot.position == position
                assert_as_the_oracle(snapshot, history[:position], words)


@settings(deadline=None, max_examples=examples(100))
@given(
    portions=st.lists(st.lists(ENTRIES, max_size=5), max_size=6), after=st.integers(0, 20),
    since=st.sampled_from(INSTANTS), until=st.sampled_from(INSTANTS), least=st.sampled_from([0, 3, 1_000]),
)  # fmt: skip
def test_columns_that_grow_know_the_news_and_change_nothing_that_was_given_out(
    portions: list[list[Entry]], after: int, since: int, until: int, least: int
) -> None:
    words = {subject: subject.encode().ljust(16, b".") for subject in SUBJECTS}
    history = [entry for portion in portions for entry in portion]
    everything, growing = columns(history, words), GrowingColumns()
    given_out: list[ConsentColumns] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consent_columns, "LEAST_UNSORTED", least)
        for portion in portions:
            end = len(growing) + len(portion)
            growing.extend(everything.upto(end).behind(len(growing)))
            given_out.append(growing.columns())
            wanted = everything.upto(end).changed_subjects(after=after, since=since, until=until)
            assert growing.changed_subjects(after=after, since=since, until=until) == wanted
    for each in given_out:
        for name in ("subjects", "purposes", "decisions", "effective_at"):
            assert np.array_equal(getattr(each, name), getattr(everything.upto(len(each)), name))

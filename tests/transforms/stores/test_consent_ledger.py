"""The ledger takes each event once and whole appends only, proves its chain, and tells nobody who its subjects are."""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.errors import InputError, IntegrityError, PrivacyError, StoreError
from consentry.schemas.info_types import Basis
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.stores import consent_ledger
from consentry.transforms.stores.consent_ledger import Appended, ConsentLedger
from consentry.transforms.stores.hash_chain import START
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.consent_oracle import Said, without_repeats
from oracles.store_place import NewPlace, Place, event_of, spellings

SAID = Said("ana", "support", "granted", 10)
OTHERS = [
    Said("bob", "support", "granted", 10),
    Said("ana", "news", "granted", 10),
    Said("ana", "support", "withdrawn", 10),
    Said("ana", "support", "granted", 11),
    Said("ana", "support", "granted", 10, "call"),
]
MANY = 41_000


def events(count: int, *, start: int = 0) -> Iterator[ConsentEvent]:
    """Different events of 500 subjects."""
    for number in range(start, start + count):
        yield event_of(Said(f"s{number % 500}", "support", ("granted", "withdrawn")[number % 2], number))


def permitted(ledger: ConsentLedger, place: Place, subject: str, at: int, position: int | None = None) -> bool:
    refs = pa.array([place.reference(subject)], pa.binary(16))
    found = ledger.snapshot(position).permits_one_of([("support", Basis.CONSENT)], refs, np.array([at], np.int64), at)
    return bool(found[0])


def told(ledger: ConsentLedger, subject: str) -> list[tuple[Any, ...]]:
    return [(e.purpose, e.decision.value, e.effective_at, e.source) for e in ledger.events_of(subject)]


# What is one event


def test_each_of_five_parts_makes_another_event(place: Place) -> None:
    ledger = place.ledger()
    assert ledger.append(map(event_of, [SAID, *OTHERS]), now=1) == Appended(added=6, known=0)
    assert ledger.position() == 6


@pytest.mark.parametrize("ways", [1, 2, 3], ids=["in one append", "in two appends", "after reopening"])
def test_an_event_alike_in_five_parts_is_known(new_place: NewPlace, ways: int) -> None:
    again = [event_of(said, recorded_at=99, evidence="another scan") for said in (SAID, *OTHERS)]
    first = [event_of(said, recorded_at=5, evidence="a scan") for said in (SAID, *OTHERS)]
    with new_place() as place:
        ledger = place.ledger()
        if ways == 1:
            assert ledger.append([*first, *again, *first], now=1) == Appended(added=6, known=12)
        else:
            assert ledger.append(first, now=1) == Appended(added=6, known=0)
            ledger = place.ledger() if ways == 3 else ledger
            assert ledger.append(again, now=2) == Appended(added=0, known=6)
        assert (ledger.position(), ledger.verify().entries) == (6, 6)
        assert {(event.recorded_at, event.evidence) for event in ledger.events_of("ana")} == {(5, "a scan")}


@settings(deadline=None, max_examples=examples(25))
@given(st.lists(st.lists(st.sampled_from([SAID, *OTHERS]), max_size=6), max_size=4))
def test_appends_in_any_portions_keep_each_event_once_in_order(new_place: NewPlace, portions: list[list[Said]]) -> None:
    with new_place() as place:
        ledger = place.ledger()
        for number, portion in enumerate(portions):
            before = without_repeats(list(itertools.chain(*portions[:number])))
            after = without_repeats(list(itertools.chain(*portions[: number + 1])))
            added = len(after) - len(before)
            result = ledger.append(map(event_of, portion), now=1)
            assert result == Appended(added=added, known=len(portion) - added)
        for subject in ("ana", "bob"):
            mine = [said for said in without_repeats(list(itertools.chain(*portions))) if said.subject == subject]
            assert told(ledger, subject) == [(s.purpose, s.decision, s.effective_at, s.source) for s in mine]


def test_a_subject_is_one_however_their_id_is_spelled(place: Place) -> None:
    ledger = place.ledger()
    spelled = ["Zoë", " Zoë\t", "Zoe\u0308"]
    appended = ledger.append([event_of(Said(name, "support", "granted", 1)) for name in spelled], now=1)
    assert appended == Appended(added=1, known=2)
    assert len(ledger.events_of("\u3000Zoë")) == 1


def test_parts_of_an_event_cannot_be_cut_in_two_ways(place: Place) -> None:
    pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a\0b", "c"), ("a", "\0bc")]
    appended = place.ledger().append([event_of(Said("ana", p, "granted", 1, s)) for p, s in pairs], now=1)
    assert appended == Appended(added=6, known=0)


def test_times_of_recording_are_set_where_an_event_names_none(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(SAID), event_of(OTHERS[1], recorded_at=3)], now=77)
    assert [event.recorded_at for event in ledger.events_of("ana")] == [77, 3]


@pytest.mark.parametrize("instant", [-62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999])
def test_all_instants_of_the_calendar_are_kept(place: Place, instant: int) -> None:
    ledger = place.ledger()
    ledger.append([event_of(Said("ana", "support", "granted", instant), recorded_at=instant)], now=0)
    (event,) = ledger.events_of("ana")
    assert (event.effective_at, event.recorded_at) == (instant, instant)
    assert not permitted(place.ledger(), place, "ana", instant - 1) and permitted(place.ledger(), place, "ana", instant)


def test_source_and_evidence_are_any_text(place: Place) -> None:
    texts = ["", "ünïcode 🔑", 'quo"te\\', "\0", "\ud800 half", "x" * 70_000]
    ledger = place.ledger()
    ledger.append([event_of(Said("ana", "support", "granted", n, t), evidence=t) for n, t in enumerate(texts)], now=1)
    assert [(event.source, event.evidence) for event in ledger.events_of("ana")] == [(text, text) for text in texts]


@pytest.mark.parametrize("part", ["subject", "purpose"])
def test_what_is_no_text_is_refused_in_plain_words(place: Place, part: str) -> None:
    with pytest.raises(PrivacyError):
        place.ledger().append([event_of(replace(SAID, **{part: "half a character \ud800"}))], now=1)


# All or nothing


@pytest.mark.parametrize("blank", ["", " \t\u3000"])
def test_a_blank_subject_anywhere_refuses_the_whole_append(place: Place, blank: str) -> None:
    ledger = place.ledger()
    ledger.append([event_of(SAID)], now=1)
    faulty = itertools.chain(events(20_500), [event_of(Said(blank, "support", "granted", 1))], events(10, start=30_000))
    with pytest.raises(InputError, match="subject: is blank in a consent event"):
        ledger.append(faulty, now=1)
    assert (ledger.position(), ledger.verify().entries) == (1, 1)
    assert ledger.append(events(3), now=1) == Appended(added=3, known=0)
    assert place.ledger().verify().entries == 4


def test_a_source_of_events_that_fails_midway_leaves_nothing(place: Place) -> None:
    def failing() -> Iterator[ConsentEvent]:
        yield from events(20_500)
        raise RuntimeError("the network is gone")

    ledger = place.ledger()
    ledger.append([event_of(SAID)], now=1)
    with pytest.raises(RuntimeError, match="the network is gone"):
        ledger.append(failing(), now=1)
    assert (ledger.position(), ledger.snapshot().position, ledger.verify().entries) == (1, 1, 1)
    assert ledger.append(events(3), now=1) == Appended(added=3, known=0)
    assert (place.ledger().verify().entries, ledger.snapshot().position) == (4, 4)


def test_appending_nothing_is_nothing(place: Place) -> None:
    assert place.ledger().append([], now=1) == Appended(added=0, known=0)
    verified = place.ledger().verify()
    assert (verified.entries, verified.head) == (0, START)


# Positions


def test_many_events_keep_their_order_over_all_chunks(place: Place) -> None:
    ledger = place.ledger()
    assert ledger.append(events(MANY), now=1) == Appended(added=MANY, known=0)
    assert ledger.append(events(MANY), now=1) == Appended(added=0, known=MANY)
    other = place.ledger()
    assert other.verify().entries == other.snapshot().position == ledger.position() == MANY
    assert [at for _, _, at, _ in told(other, "s7")] == list(range(7, MANY, 500))
    for position in (0, 8, 19_999, 20_000, 20_001, MANY):
        snapshot = other.snapshot(position)
        located = snapshot.locate(pa.array([place.reference("s499"), place.reference("s6")], pa.binary(16)))
        assert (located >= 0).tolist() == [position >= 500, position >= 7]


def test_a_position_beyond_the_end_is_refused(place: Place) -> None:
    ledger = place.ledger()
    ledger.append(events(2), now=1)
    with pytest.raises(StoreError, match=r"ledger: has 2 entries, not 3; restore the newest one"):
        ledger.snapshot(3)


def test_heads_at_all_positions_are_those_of_the_chain(place: Place) -> None:
    writing, reading = place.ledger(), place.ledger()
    heads = [START]
    for number in range(6):
        writing.append(events(1, start=number), now=1)
        heads.append(writing.verify().head)
    assert len(set(heads)) == 7
    for position in (3, 6, 1, 0, 5, 2, 4):
        assert reading.head(position) == writing.head(position) == heads[position]
    assert reading.head(7) is None


def test_links_that_a_process_remembers_are_few_however_long_it_reads(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent_ledger, "KEPT_HEADS", 3)
    ledger: Any = place.ledger()
    heads = [ledger.head(0)]
    for number in range(8):
        ledger.append(events(1, start=number), now=1)
        heads.append(ledger.head(number + 1))
    assert len(ledger._heads) == 3
    assert [ledger.head(position) for position in range(9)] == heads


def test_what_another_connection_adds_is_seen(place: Place) -> None:
    one, two = place.ledger(), place.ledger()
    for number in range(1, 6):
        one.append([event_of(Said("ana", "support", ("withdrawn", "granted")[number % 2], number))], now=1)
        assert two.position() == two.snapshot().position == number
        assert permitted(two, place, "ana", 9) is (number % 2 == 1)
        assert two.changed_subjects(after=number - 1, since=9, until=9) == {place.reference("ana")}
        assert two.changed_subjects(after=number, since=9, until=9) == set()
        assert two.verify() == one.verify()


def test_a_snapshot_stays_as_it_was(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(SAID)], now=1)
    before = ledger.snapshot()
    ledger.append([event_of(Said("ana", "support", "withdrawn", 11))], now=1)
    refs = pa.array([place.reference("ana")], pa.binary(16))
    asked = ([("support", Basis.CONSENT)], refs, np.array([10], np.int64), 20)
    assert before.permits_one_of(*asked).tolist() == [True]
    assert ledger.snapshot().permits_one_of(*asked).tolist() == [False]


def test_threads_on_one_ledger_add_each_event_once(place: Place) -> None:
    ledger, results = place.ledger(), []

    def add() -> None:
        for number in range(0, 60, 3):
            results.append(ledger.append(events(6, start=number), now=1))
            assert ledger.snapshot().position <= ledger.position()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60 and sum(result.added for result in results) == 63
    assert (ledger.verify().entries, place.ledger().snapshot().position) == (63, 63)


def test_programs_that_append_at_once_leave_one_chain_with_every_event_once(place: Place, programs: Any) -> None:
    place.ledger()
    chunks = [[[f"s{n}", "support", "granted", n, "form"] for n in range(c, c + 40)] for c in range(0, 600, 20)]
    answers = programs.do(place, {"do": "append", "chunks": chunks}, {"do": "append", "chunks": list(reversed(chunks))})
    assert sum(answer["added"] for answer in answers) == 620
    assert all(answer["added"] + answer["known"] == 1200 for answer in answers)
    assert place.ledger().verify().entries == 620
    assert len(place.rows("ledger", "SELECT DISTINCT event_id FROM entries")) == 620


# Integrity


@pytest.fixture
def chained(place: Place) -> Place:
    """A ledger of five entries, the fourth an erasure."""
    ledger = place.ledger()
    ledger.append(map(event_of, [SAID, Said("bob", "news", "withdrawn", 12), OTHERS[3]]), now=1)
    ledger.record_erasure(place.reference("cid"), at=13)
    ledger.append([event_of(Said("dan", "news", "granted", 14))], now=1)
    return place


def refused(place: Place, entry: int) -> None:
    """Both ways of reading the whole ledger name the entry."""
    for read in (ConsentLedger.snapshot, ConsentLedger.verify):
        with pytest.raises(IntegrityError, match=rf"ledger: entry {entry} was changed, moved or taken out") as caught:
            read(place.ledger())
        assert caught.value.reason == "chain_broken"


def some_of(value: bytes, place: Place) -> range:
    """Places of bytes: all, and of a server, which takes longer to open and tells them apart no better, some."""
    return range(0, len(value), 9 if place.on_a_server else 1)


def changed_values(value: Any) -> list[Any]:
    if isinstance(value, bytes):
        return [
            bytes([value[0] ^ 1]) + value[1:] if value else b"\0",
            value[:-1] + bytes([value[-1] ^ 0x80]) if value else b"\0\0",
            value[:-1], value + b"\0", b"",
        ]  # fmt: skip
    raise AssertionError(value)


COLUMNS = ["event_id", "subject", "entry", "chain"]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("entry", [1, 3, 4, 5])
def test_a_change_of_any_column_of_any_entry_is_found(chained: Place, column: str, entry: int) -> None:
    assert chained.columns("ledger") == ["position", *COLUMNS]
    ((value,),) = chained.rows("ledger", f"SELECT {column} FROM entries WHERE position = ?", entry)
    chained.ledger().verify()
    for changed in changed_values(value):
        if changed == value:
            continue
        with chained.raw("ledger") as connection:
            connection.execute(f"UPDATE entries SET {column} = ? WHERE position = ?", (changed, entry))
        refused(chained, entry)
    with chained.raw("ledger") as connection:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE position = ?", (value, entry))
    assert chained.ledger().verify().entries == 5


@pytest.mark.parametrize("column", ["entry", "chain"])
@pytest.mark.parametrize("changed", ["hex(entry)", "7", "1.5"])
def test_bytes_replaced_by_another_type_are_found(file_place: Place, column: str, changed: str) -> None:
    place = file_place  # a server lets no other type in
    place.ledger().append(events(5), now=1)
    with place.raw("ledger") as connection:
        connection.execute(f"UPDATE entries SET {column} = {changed} WHERE position = 3")
    refused(place, 3)


def test_every_flipped_byte_of_an_entry_is_found(chained: Place) -> None:
    ((value,),) = chained.rows("ledger", "SELECT entry FROM entries WHERE position = 2")
    for place_of_byte in some_of(value, chained):
        changed = bytearray(value)
        changed[place_of_byte] ^= 1
        with chained.raw("ledger") as connection:
            connection.execute("UPDATE entries SET entry = ? WHERE position = 2", (bytes(changed),))
        with pytest.raises(IntegrityError, match="ledger: entry 2 was changed"):
            chained.ledger().verify()


MOVES = {
    "the first is taken out": ("DELETE FROM entries WHERE position = 1", 1),
    "one in the middle is taken out": ("DELETE FROM entries WHERE position = 3", 3),
    "one in the middle is taken out and the rest moves up": (
        "DELETE FROM entries WHERE position = 3; UPDATE entries SET position = position - 1 WHERE position = 4;"
        "UPDATE entries SET position = position - 1 WHERE position = 5", 3,
    ),
    "two are swapped": (
        "UPDATE entries SET position = 99 WHERE position = 2; UPDATE entries SET position = 2 WHERE position = 3;"
        "UPDATE entries SET position = 3 WHERE position = 99", 2,
    ),
    "the last is moved": ("UPDATE entries SET position = 7 WHERE position = 5", 5),
    "the first is moved before the beginning": ("UPDATE entries SET position = 0 WHERE position = 1", 1),
    "one is repeated": (
        "INSERT INTO entries SELECT 6, zeroblob(16), subject, entry, chain FROM entries WHERE position = 5", 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_an_entry_that_was_moved_is_found(chained: Place, move: str) -> None:
    script, entry = MOVES[move]
    with chained.raw("ledger") as connection:
        for statement in script.split(";"):
            connection.execute(statement)
    refused(chained, entry)


def test_an_end_cut_off_after_it_was_read_is_refused(chained: Place) -> None:
    ledger = chained.ledger()
    ledger.snapshot()
    with chained.raw("ledger") as connection:
        connection.execute("DELETE FROM entries WHERE position > 3")
    for read in (ledger.snapshot, lambda: ledger.snapshot(2), lambda: ledger.head(1)):
        with pytest.raises(IntegrityError, match="ledger: entry 5 was changed, moved or taken out"):
            read()
    with pytest.raises(IntegrityError, match="ledger: entry 5 was"):
        ledger.changed_subjects(after=0, since=0, until=9)


def test_an_end_cut_off_after_it_was_read_does_not_verify(chained: Place) -> None:
    ledger = chained.ledger()
    ledger.snapshot()
    with chained.raw("ledger") as connection:
        connection.execute("DELETE FROM entries WHERE position > 3")
    with pytest.raises(IntegrityError, match="was changed, moved or taken out"):
        ledger.verify()


@pytest.mark.parametrize("more", [1, 2], ids=["as long", "longer"])
def test_an_end_replaced_after_it_was_read_is_refused(chained: Place, more: int) -> None:
    ledger = chained.ledger()
    ledger.snapshot()
    with chained.raw("ledger") as connection:
        connection.execute("DELETE FROM entries WHERE position = 5")
    chained.ledger().append(events(more), now=1)
    with pytest.raises(IntegrityError, match="was changed, moved or taken out"):
        ledger.snapshot()


def test_nothing_is_permitted_by_a_ledger_that_cannot_be_read(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(SAID)], now=1)
    ledger.snapshot()
    with place.raw("ledger") as connection:
        connection.execute("DROP TABLE entries")
    with pytest.raises(StoreError, match="the ledger failed"):
        ledger.snapshot()


def test_entries_cannot_be_changed_or_deleted_by_programs(chained: Place) -> None:
    statements = ["UPDATE entries SET position = 9", "UPDATE entries SET chain = chain", "DELETE FROM entries"]
    with chained.beside("ledger") as connection:
        for statement in [*statements, "TRUNCATE entries"] if chained.on_a_server else statements:
            with pytest.raises(chained.refusals, match="append-only"):
                connection.execute(statement)
    assert chained.ledger().verify().entries == 5


def rewritten(place: Place, entries: list[bytes]) -> None:
    """Puts other entries into the ledger, with look-ups and the whole chain made to fit, as who has no keys could."""
    head = START
    with place.raw("ledger") as connection:
        connection.execute("DELETE FROM entries")
        for position, entry in enumerate(entries, 1):
            head = hashlib.sha256(head + entry).digest()
            row = (position, entry[19:35], entry[35:51], entry, head)
            connection.execute(
                "INSERT INTO entries (position, event_id, subject, entry, chain) VALUES (?, ?, ?, ?, ?)", row
            )


def test_sealed_parts_cannot_be_exchanged_among_the_events_of_one_subject(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(Said("ana", "support", "granted", n, f"form-{n}"), evidence="e") for n in (1, 2)], now=1)
    (one,), (two,) = place.rows("ledger", "SELECT entry FROM entries ORDER BY position")
    # Head of 51 bytes and purpose, sealed source, evidence and id, tag of 16 bytes.
    start, end = 51 + len("support"), len(one) - 16
    assert end - start == 28 + len('["form-1", "e", "ana"]') and one[start:end] != two[start:end]
    rewritten(place, [one[:start] + two[start:end] + one[end:], two[:start] + one[start:end] + two[end:]])
    refused(place, 1)
    with pytest.raises(IntegrityError):
        place.ledger().events_of("ana")


def test_who_has_no_keys_cannot_write_an_entry(chained: Place) -> None:
    entries = [entry for (entry,) in chained.rows("ledger", "SELECT entry FROM entries ORDER BY position")]
    for place_of_byte in (0, 7, 15, 16, 18, 19, 35, 50, 51, len(entries[1]) - 1):
        changed = bytearray(entries[1])
        changed[place_of_byte] ^= 1
        rewritten(chained, [entries[0], bytes(changed), *entries[2:]])
        refused(chained, 2)
    for moved in ([0, 2, 1, 3, 4], [0, 4, 2, 3, 1], [0, 2, 3, 4]):
        rewritten(chained, [entries[number] for number in moved])
        refused(chained, 2)
    rewritten(chained, entries)
    assert chained.ledger().verify().entries == 5


def test_who_has_no_keys_cannot_change_what_one_customer_said(place: Place) -> None:
    place.ledger().append([event_of(SAID)], now=1)
    ((entry,),) = place.rows("ledger", "SELECT entry FROM entries")
    for place_of_byte in some_of(entry, place):
        changed = bytearray(entry)
        changed[place_of_byte] ^= 1
        rewritten(place, [bytes(changed)])
        if not 35 <= place_of_byte < 51:  # else it is an event of somebody else, as far as a look-up goes
            with pytest.raises(IntegrityError):
                place.ledger().events_of("ana")
        refused(place, 1)


def test_threads_may_read_in_all_ways_at_once(place: Place) -> None:
    place.ledger().append(events(4000), now=1)
    failures: list[BaseException] = []
    ledger = place.ledger()

    def read(number: int) -> None:
        try:
            for turn in range(8):
                ledger.append(events(1, start=5000 + 10 * number + turn), now=1)
                assert len(ledger.events_of(f"s{100 + number}")) == 8
                assert ledger.snapshot().position >= ledger.verify().entries - 24
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert place.ledger().verify().entries == 4024


# Pseudonymity and erasure

SECRET = ["customer-of-ours@example.com", "Wohnungsnummer 0815-4711", "signed in shop nr. 77 by hand"]


def test_who_said_it_where_and_with_what_proof_is_not_in_the_files(place: Place) -> None:
    subject, source, evidence = SECRET
    ledger = place.ledger()
    ledger.append([event_of(Said(subject, "support", "granted", 1, source), evidence=evidence)], now=1)
    ledger.append([event_of(Said(subject, "news", "withdrawn", 2, source), evidence=None)], now=1)
    ledger.record_erasure(place.reference(subject), at=3)
    assert [event.source for event in ledger.events_of(subject)] == [source, source]
    for closed in (False, True):
        if closed:
            place.close()
        stored = place.at_rest("ledger", "data_keys").lower()
        assert b"support" in stored
        for text in SECRET:
            for spelled in spellings(text):
                assert spelled.lower() not in stored
            for part in (text[:12], text[-12:]):
                assert part.encode().lower() not in stored


def test_the_search_for_spellings_finds_them() -> None:
    for prefix in ("", "a", "ab"):
        text = base64.b64encode(f"{prefix}customer-of-ours and more".encode())
        assert any(spelled in text for spelled in spellings("customer-of-ours"))


def test_a_ledger_of_another_tenant_key_knows_nobody(place: Place) -> None:
    place.ledger().append([event_of(SAID)], now=1)
    other = place.ledger(keys=VaultKeys(tenant="shop", secrets={1: b"\x01" * 32}, primary=1, root=b"\x09" * 32))
    assert other.events_of("ana") == []


def test_evidence_is_noise_once_the_data_key_is_destroyed(place: Place) -> None:
    ledger, data_keys = place.ledger(), place.data_keys()
    ledger.append([event_of(SAID, evidence="a scan"), event_of(OTHERS[0], evidence="b scan")], now=1)
    assert ledger.events_of("ana")[0].evidence == "a scan"
    head = ledger.verify().head
    data_keys.destroy([place.reference("ana")])
    for reading in (ledger, place.ledger()):
        (event,) = reading.events_of("ana")
        assert (event.source, event.evidence, event.decision) == ("[erased]", None, Decision.GRANTED)
        assert reading.events_of("bob")[0].evidence == "b scan"
        assert (reading.verify().entries, reading.verify().head) == (2, head)


def test_events_of_the_erased_are_taken_without_source_and_evidence(place: Place) -> None:
    ledger = place.ledger()
    place.data_keys().destroy([place.reference("ana")])
    ledger.record_erasure(place.reference("ana"), at=5)
    before = place.rows("data_keys", "SELECT * FROM subject_keys")
    assert ledger.append([event_of(SAID, evidence="a scan")], now=1) == Appended(added=1, known=0)
    assert ledger.append([event_of(SAID, evidence="a scan")], now=1) == Appended(added=0, known=1)
    assert told(ledger, "ana") == [("support", "granted", 10, "[erased]")]
    assert not permitted(ledger, place, "ana", 20)
    assert place.rows("data_keys", "SELECT * FROM subject_keys") == before
    assert place.ledger().verify().entries == 2


def test_an_erasure_is_recorded_once(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(SAID), event_of(OTHERS[0])], now=1)
    for at in (5, 5, 6):
        place.ledger().record_erasure(place.reference("ana"), at=at)
        ledger.record_erasure(place.reference("ana"), at=at)
    assert ledger.position() == ledger.verify().entries == 3
    assert permitted(ledger, place, "ana", 10, position=2) and not permitted(ledger, place, "ana", 10)
    assert permitted(ledger, place, "bob", 10)
    assert len(ledger.events_of("ana")) == 1


def test_a_blank_subject_said_nothing(place: Place) -> None:
    assert place.ledger().events_of(" ") == []


def test_a_ledger_says_nothing_of_its_events_in_repr() -> None:
    event = event_of(Said("customer-of-ours", "support", "granted", 1, "secret-source"), evidence="proof")
    assert not any(text in repr(event) for text in ("customer-of-ours", "secret-source", "proof"))

"""The access log keeps every answer in order, proves it, and says so when it cannot be written."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from importlib import resources
from typing import Any

import pytest
from consentry.schemas.errors import AccessLogError, IntegrityError, PrivacyError, StoreError
from consentry.transforms.stores import sqlite_database
from consentry.transforms.stores.access_log import AccessLog, open_access_log
from consentry.transforms.stores.access_records import linked_runs, runs_of
from consentry.transforms.stores.hash_chain import START
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.store_place import NewPlace, Place, record_of, spellings

COLUMNS = ["at", "actor", "role", "purpose", "domain", "token_ref", "subject_ref", "decision", "rule", "shown", "chain"]


def test_records_are_kept_in_order_over_several_appends(place: Place) -> None:
    log = place.access_log()
    records = [record_of(number) for number in range(30)]
    log.append([])
    log.append(records[:1])
    log.append(records[1:20])
    place.access_log().append(records[20:])
    assert list(log.records()) == list(place.access_log().records()) == records
    assert log.verify().entries == 30


def test_an_empty_log_is_whole(place: Place) -> None:
    verified = place.access_log().verify()
    assert (verified.entries, verified.head) == (0, START)
    assert list(place.access_log().records()) == []


def test_more_records_than_are_read_at_once_are_kept_in_order(place: Place) -> None:
    log = place.access_log()
    log.append([record_of(number) for number in range(20_500)])
    assert [record.at for record in log.records()] == [record_of(number).at for number in range(20_500)]
    assert log.verify().entries == 20_500


@settings(deadline=None, max_examples=examples(20))
@given(st.lists(st.lists(st.integers(0, 50), max_size=4), max_size=5))
def test_the_head_depends_on_the_records_and_not_on_the_portions(
    new_place: NewPlace, portions: list[list[int]]
) -> None:
    with new_place() as one, new_place() as two:
        for portion in portions:
            one.access_log().append([record_of(number) for number in portion])
        two.access_log().append([record_of(number) for portion in portions for number in portion])
        assert one.access_log().verify() == two.access_log().verify()


KINDS = [("allowed", "permitted", "full"), ("refused", "no_entry", None), ("allowed", "permitted", "masked")]


@settings(deadline=None, max_examples=examples(20))
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3), st.integers(1, 5)), max_size=4))
def test_runs_are_logged_as_their_records_would_be_one_by_one(
    new_place: NewPlace, shapes: list[tuple[int, int, int]]
) -> None:
    runs = [
        [
            record_of(7, token_ref=bytes([at]) * 16, subject_ref=bytes([at, number]) * 8 if number % known else None)
            ._replace(**dict(zip(("decision", "rule", "shown"), KINDS[number % kinds], strict=True)))
            for number in range(size)
        ]
        for at, (size, kinds, known) in enumerate(shapes)
    ]  # fmt: skip
    records = [record for run in runs for record in run]
    with new_place() as one, new_place() as two:
        log = one.access_log()
        assert log.append_runs([columns for run in runs for columns in runs_of(run)]) == len(records)
        for record in records:
            two.access_log().append([record])
        assert list(log.records()) == list(two.access_log().records()) == records
        assert log.verify() == two.access_log().verify()


def logged(place: Place, count: int = 5) -> AccessLog:
    log = place.access_log()
    log.append([record_of(number) for number in range(count)])
    return log


def changed_values(value: Any) -> list[Any]:
    if value is None:
        return ["full", bytes(16), 0]
    if isinstance(value, bytes):
        return [bytes([value[0] ^ 1]) + value[1:], value[:-1], value + b"\0", b"", value.hex(), None]
    if isinstance(value, int):
        return [value + 1, -value, str(value) + "x", b"x"]
    return [value + "x", value[:-1], "", value.encode(), None]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("entry", [1, 2, 3, 5])
def test_a_change_of_any_column_of_any_entry_is_found(place: Place, column: str, entry: int) -> None:
    log = logged(place)
    assert place.columns("access_log") == ["position", *COLUMNS]
    ((value,),) = place.rows("access_log", f"SELECT {column} FROM entries WHERE position = ?", entry)
    for changed in changed_values(value):
        try:
            with place.raw("access_log") as connection:
                connection.execute(f"UPDATE entries SET {column} = ? WHERE position = ?", (changed, entry))
        except place.refusals:
            # A server lets no value in either that is of another type than its column.
            assert changed is None or place.on_a_server
            continue
        for reading in (log, place.access_log()):
            with pytest.raises(IntegrityError, match=f"access_log: entry {entry} was changed, moved or taken out"):
                reading.verify()


@pytest.mark.parametrize(("column", "empty"), [("shown", "''"), ("subject_ref", "x''")])
def test_nothing_replaced_by_an_empty_value_is_found(place: Place, column: str, empty: str) -> None:
    log = place.access_log()
    log.append([record_of(2)])
    with place.raw("access_log") as connection:
        connection.execute(f"UPDATE entries SET {column} = {empty} WHERE {column} IS NULL")
    with pytest.raises(IntegrityError, match="access_log: entry 1 was changed"):
        log.verify()


def test_a_change_of_an_entry_that_cannot_be_chained_names_the_entry(place: Place) -> None:
    log = logged(place)
    with place.raw("access_log") as connection:
        connection.execute("UPDATE entries SET at = 1.5 WHERE position = 4")
    with pytest.raises(IntegrityError, match="access_log: entry 4 was changed"):
        log.verify()


MOVES = {
    "the first is taken out": ("DELETE FROM entries WHERE position = 1", 1),
    "one in the middle is taken out": ("DELETE FROM entries WHERE position = 3", 3),
    "two are swapped": (
        "UPDATE entries SET position = 99 WHERE position = 2; UPDATE entries SET position = 2 WHERE position = 3;"
        "UPDATE entries SET position = 3 WHERE position = 99", 2,
    ),
    "the last is moved": ("UPDATE entries SET position = 7 WHERE position = 5", 5),
    "the first is moved before the beginning": ("UPDATE entries SET position = -1 WHERE position = 1", 1),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_an_entry_that_was_moved_is_found(place: Place, move: str) -> None:
    log = logged(place)
    script, entry = MOVES[move]
    with place.raw("access_log") as connection:
        for statement in script.split(";"):
            connection.execute(statement)
    with pytest.raises(IntegrityError, match=f"access_log: entry {entry} was changed, moved or taken out"):
        log.verify()


def test_entries_cannot_be_changed_or_deleted_by_programs(place: Place) -> None:
    log = logged(place)
    statements = ["UPDATE entries SET actor = 'x'", "DELETE FROM entries"]
    with place.beside("access_log") as connection:
        for statement in [*statements, "TRUNCATE entries"] if place.on_a_server else statements:
            with pytest.raises(place.refusals, match="append-only"):
                connection.execute(statement)
    assert log.verify().entries == 5


def test_a_log_of_the_first_version_is_brought_up_to_date_and_stays_whole(file_place: Place) -> None:
    script = resources.files(sqlite_database.__package__).joinpath("migrations", "sqlite_access_log_1.sql")
    with closing(sqlite3.connect(file_place.file("access_log"))) as old:
        old.executescript(script.read_text())
        old.execute(f"PRAGMA application_id = {sqlite_database.APPLICATION_IDS['access_log']}")
        old.execute("PRAGMA user_version = 1")
        records = [record_of(number) for number in range(40)]
        old.executemany(
            f"INSERT INTO entries VALUES ({', '.join('?' * 12)})",
            [(entry.position, *entry.record, entry.chain) for entry in linked_runs(runs_of(records), 0, START)],
        )
        old.commit()
    logs = [open_access_log(file_place.uri("access_log"), create=create) for create in (False, True, False)]
    assert [log.append([record_of(40 + number)]) for number, log in enumerate(logs)] == [41, 42, 43]
    assert list(logs[0].records())[:40] == records and logs[1].verify().entries == 43
    made = file_place.rows("access_log", "SELECT type, name FROM sqlite_master ORDER BY name")
    assert made == [("table", "entries"), ("trigger", "entries_remain"), ("trigger", "entries_stay")]
    assert file_place.rows("access_log", "PRAGMA user_version") == [(2,)]
    for log in logs:
        log.close()


# A log that cannot be written


def refuses(log: AccessLog, says: str) -> None:
    with pytest.raises(AccessLogError, match=f"{says}.*; without a written log nothing is shown") as caught:
        log.append([record_of(number) for number in range(100)])
    assert caught.value.reason == "access_log_failed"


@pytest.mark.usefixtures("impatient")
def test_a_locked_log_is_refused_and_nothing_is_written(place: Place) -> None:
    log = logged(place)
    with place.raw("access_log"):
        refuses(log, "the access log is locked by another program; try again when it is done")
    assert log.verify().entries == 5
    log.append([record_of(9)])
    assert log.verify().entries == 6


def test_a_read_only_log_is_refused_and_nothing_is_written(file_place: Place) -> None:
    log = logged(file_place)
    log._table._database._connection.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]
    refuses(log, "the access log cannot be opened for writing; check its permissions")
    assert log.verify().entries == 5


def test_a_full_log_is_refused_and_nothing_is_written(file_place: Place) -> None:
    log = logged(file_place)
    connection = log._table._database._connection  # type: ignore[attr-defined]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    refuses(log, "no space is left for the access log; make room and run again")
    assert log.verify().entries == 5
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    log.append([record_of(number) for number in range(100)])
    assert log.verify().entries == 105


def test_a_damaged_log_is_refused(place: Place) -> None:
    log = logged(place)
    with place.raw("access_log") as connection:
        connection.execute("DROP TABLE entries")
    refuses(log, "the access log failed")
    with pytest.raises(StoreError, match="the access log failed"):
        log.verify()


def test_a_record_the_log_cannot_keep_takes_its_whole_append_with_it(place: Place) -> None:
    log = logged(place)
    for changes in ({"token_ref": b"short"}, {"subject_ref": b"short"}, {"decision": "perhaps"}):
        with pytest.raises(AccessLogError, match="the access log failed"):
            log.append([record_of(7), record_of(8, **changes), record_of(9)])
        assert log.verify().entries == 5


def test_a_record_the_log_cannot_keep_takes_the_run_around_it_with_it(place: Place) -> None:
    log = logged(place)
    for changes in ({"token_ref": b"short"}, {"subject_ref": bytes(17)}, {"decision": "perhaps"}):
        records = [record_of(8) for _ in range(40)]
        records[20] = record_of(8, **changes)
        with pytest.raises(AccessLogError, match="the access log failed"):
            log.append(records)
        assert log.verify().entries == 5


def test_references_that_are_too_long_and_too_short_do_not_make_up_for_each_other(place: Place) -> None:
    log = logged(place)
    records = [record_of(8, token_ref=bytes(15 + 2 * (number % 2))) for number in range(40)]
    with pytest.raises(AccessLogError, match="the access log failed"):
        log.append(records)
    assert log.verify().entries == 5


def test_an_actor_that_is_no_text_is_refused_in_plain_words(place: Place) -> None:
    log = logged(place)
    with pytest.raises(PrivacyError):
        log.append([record_of(7, actor="\udcff")])
    assert log.verify().entries == 5


# At once


def test_threads_leave_one_whole_chain(place: Place) -> None:
    logs = [place.access_log(), place.access_log()]

    def add(log: AccessLog, actor: str) -> None:
        for number in range(15):
            log.append([record_of(number, actor=actor), record_of(number, actor=actor)])

    threads = [threading.Thread(target=add, args=(logs[number % 2], f"a{number}")) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_each_in_pairs(place, [f"a{number}" for number in range(4)], 15)


def test_programs_leave_one_whole_chain(place: Place, programs: Any) -> None:
    assert programs.do(
        place, {"do": "log", "actor": "ana", "count": 60}, {"do": "log", "actor": "bob", "count": 60}
    ) == [{}, {}]
    assert_each_in_pairs(place, ["ana", "bob"], 60)


def assert_each_in_pairs(place: Place, actors: list[str], count: int) -> None:
    """An append's records stand together, and each actor's in their order."""
    records = list(place.access_log().records())
    assert place.access_log().verify().entries == len(records) == 2 * count * len(actors)
    pairs = list(zip(records[::2], records[1::2], strict=True))
    assert all(one == two for one, two in pairs)
    for actor in actors:
        assert [one for one, _ in pairs if one.actor == actor] == [record_of(n, actor=actor) for n in range(count)]


def test_the_log_holds_references_and_no_ids(place: Place) -> None:
    log = place.access_log()
    log.append([record_of(1, subject_ref=place.reference("customer-of-ours@example.com"))])
    stored = place.at_rest("access_log").lower()
    assert place.reference("customer-of-ours@example.com").lower() in stored
    assert not any(spelled.lower() in stored for spelled in spellings("customer-of-ours@example.com"))


def test_an_append_tells_where_it_ends_and_links_are_those_of_the_chain(place: Place) -> None:
    log, table = place.access_log(), place.access_log()._table
    assert (table.last(), table.link(1), log.append([])) == (None, None, 0)
    assert [log.append([record_of(number)] * 2) for number in range(3)] == [2, 4, 6]
    assert table.last() == (6, log.verify().head)
    chains = [link for (link,) in place.rows("access_log", "SELECT chain FROM entries ORDER BY position")]
    assert [table.link(position) for position in range(8)] == [None, *chains, None]
    behind = [entry.position for entries in table.entries(4) for entry in entries]
    assert behind == [5, 6] and list(table.entries(6)) == []

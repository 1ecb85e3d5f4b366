"""Sealed messages: read again until they are forgotten, never stored twice, and never in clear on the disk."""

from __future__ import annotations

import pickle
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams import received
from consentry.pipelines.streams.received import RECEIVED, RETAIN, Received, ReceivedStore, received_in
from consentry.schemas.errors import IntegrityError, RecordsGoneError, SecretError, StoreError
from consentry.schemas.project import Project, read_project
from hypothesis import given, settings
from hypothesis import strategies as st

CANARY = b"4111111111111111 kim@example.com"
NOW = 1_790_000_000_000_000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("shop")
    write_project(folder, tenant="shop", now=time.time_ns() // 1000)
    return read_project(folder / "consentry.yaml")


@pytest.fixture
def store(project: Project, tmp_path: Path) -> Iterator[ReceivedStore]:
    opened = received_in(project, str(tmp_path))("p-1/orders")
    yield opened
    opened.close()


def some(numbers: range) -> list[Received]:
    return [Received(f"m{number}", b"%d %s" % (number, CANARY)) for number in numbers]


def numbers_in(store: ReceivedStore, start: int, end: int) -> list[int]:
    return [int(value.split()[0]) for part in store.read(start, end) for value in part.values if value is not None]


def database(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "_stream" / RECEIVED, isolation_level=None)


def test_what_was_added_is_read_in_order_as_often_as_asked(store: ReceivedStore) -> None:
    store.add(some(range(5)))
    store.add(some(range(5, 12)))
    assert (store.first, store.end) == (0, 12)
    assert numbers_in(store, 3, 11) == numbers_in(store, 3, 11) == list(range(3, 11))
    (part,) = store.read(3, 11)
    assert part.partition == "p-1/orders"
    assert part.offsets.tolist() == list(range(3, 11))


def test_a_message_that_comes_again_is_not_stored_again_even_when_it_is_forgotten(store: ReceivedStore) -> None:
    store.add([*some(range(5)), *some(range(2))])
    store.forget(5)
    store.add(some(range(3, 7)))
    assert (store.first, store.end) == (5, 7)
    assert numbers_in(store, 5, 7) == [5, 6]


def test_the_memory_of_ids_has_an_end(project: Project, tmp_path: Path) -> None:
    opener = received_in(project, str(tmp_path))
    opener("p-1/orders").close()
    first = opener("p-1/orders")
    small = ReceivedStore(
        tmp_path / "_stream" / RECEIVED, subscription="p-1/orders", tenant="shop", data_keys=first._data_keys,
        clock=lambda: NOW, kept_ids=10,
    )  # fmt: skip
    small.add(some(range(30)))
    small.forget(30)
    connection = database(tmp_path)
    assert connection.execute("SELECT count(*) FROM taken").fetchone() == (10,)
    connection.close()
    small.close()
    first._database.close()


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.lists(st.integers(0, 40), max_size=12), st.integers(0, 12)), max_size=8))
def test_after_any_history_of_repeats_each_message_has_one_number(
    project: Project, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[int], int]]
) -> None:
    opener = received_in(project, str(tmp_path_factory.mktemp("out")))
    known: list[int] = []
    done = 0
    for came, processed in steps:
        store = opener("p-1/orders")
        store.add([Received(f"m{number}", b"%d" % number) for number in came])
        known += [number for number in dict.fromkeys(came) if number not in known]
        assert (store.first, store.end) == (done, len(known))
        assert numbers_in(store, done, len(known)) == known[done:]
        done = min(done + processed, len(known))
        store.forget(done)
        store.close()


def test_two_subscriptions_share_a_file_and_nothing_else(project: Project, tmp_path: Path) -> None:
    opener = received_in(project, str(tmp_path))
    orders, consents = opener("p-1/orders"), opener("p-1/consents")
    orders.add(some(range(4)))
    consents.add(some(range(2)))
    orders.forget(4)
    assert numbers_in(consents, 0, 2) == [0, 1]
    assert (orders.first, consents.first) == (4, 0)
    orders.close()
    consents.close()


def test_no_payload_is_in_clear_on_the_disk_or_there_at_all_once_forgotten(project: Project, tmp_path: Path) -> None:
    store = received_in(project, str(tmp_path))("p-1/orders")
    store.add(some(range(100)))
    connection = database(tmp_path)
    ((sealed,),) = connection.execute("SELECT sealed FROM payloads WHERE sequence = 7").fetchall()
    connection.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "_stream").iterdir())
    assert CANARY not in written
    assert sealed in written
    store.forget(100)
    assert sealed not in b"".join(path.read_bytes() for path in (tmp_path / "_stream").iterdir())
    store.close()


def test_an_envelope_that_was_moved_or_changed_is_refused(store: ReceivedStore, tmp_path: Path) -> None:
    store.add(some(range(3)))
    connection = database(tmp_path)
    connection.execute(
        "UPDATE payloads SET sealed = (SELECT sealed FROM payloads WHERE sequence = 2) WHERE sequence = 1"
    )
    connection.close()
    assert numbers_in(store, 0, 1) == [0]
    with pytest.raises(IntegrityError, match="do not open: they were changed or moved"):
        numbers_in(store, 1, 2)


def test_a_message_that_is_missing_is_told_and_not_passed_over(store: ReceivedStore, tmp_path: Path) -> None:
    store.add(some(range(3)))
    connection = database(tmp_path)
    connection.execute("DELETE FROM payloads WHERE sequence = 1")
    connection.close()
    with pytest.raises(RecordsGoneError, match=r"p-1/orders: message 1 is no longer in received.db; restore"):
        numbers_in(store, 0, 3)


def test_after_its_time_a_message_can_be_read_by_nobody(project: Project, tmp_path: Path) -> None:
    store = received_in(project, str(tmp_path), clock=lambda: NOW)("p-1/orders")
    store.add(some(range(3)))
    micros = timedelta(microseconds=1)
    store._data_keys.sweep(NOW + (RETAIN - timedelta(days=1)) // micros)  # type: ignore[attr-defined]
    assert numbers_in(store, 0, 3) == [0, 1, 2]
    store._data_keys.sweep(NOW + RETAIN // micros)  # type: ignore[attr-defined]
    with pytest.raises(RecordsGoneError, match="message 0 waited for 31 days, and its key is destroyed"):
        numbers_in(store, 0, 3)
    store.close()


def test_days_that_follow_each_other_are_read_together(project: Project, tmp_path: Path) -> None:
    days = [NOW]
    store = received_in(project, str(tmp_path), clock=lambda: days[-1])("p-1/orders")
    store.add(some(range(3)))
    days.append(NOW + 86_400_000_000)
    store.add(some(range(3, 6)))
    assert numbers_in(store, 1, 6) == [1, 2, 3, 4, 5]
    store.close()


def test_big_messages_are_read_a_few_at_a_time_and_fill_the_store(store: ReceivedStore) -> None:
    big = 10 << 20
    for number in range(8):
        store.add([Received(f"m{number}", bytes([number]) * big)])
    parts = [[None if value is None else (value[0], len(value)) for value in part.values] for part in store.read(0, 8)]
    assert [value for part in parts for value in part] == [(number, big) for number in range(8)]
    assert len(parts) > 1
    assert store.has_room
    for number in range(8, 8 + received.MOST_BYTES // big):
        store.add([Received(f"m{number}", bytes(big))])
    assert not store.has_room
    store.forget(8)
    assert store.has_room


def test_messages_refuse_to_be_copied_or_shown() -> None:
    message = Received("m1", CANARY)
    assert "4111" not in repr(message)
    with pytest.raises(SecretError):
        pickle.dumps(message)


def test_a_file_of_something_else_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "_stream").mkdir()
    with sqlite3.connect(tmp_path / "_stream" / RECEIVED) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(StoreError, match="is no store of received messages of Consentry"):
        received_in(project, str(tmp_path))("p-1/orders")

"""Data keys: one for each subject for good, until it is destroyed for good; one for each day until it expires."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from consentry.schemas.errors import ConfigError, IntegrityError, StoreError
from consentry.transforms.crypto.key_sets import VaultKeys, wrapping_version
from consentry.transforms.stores import data_keys as module
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.store_place import NewPlace, Place, vault_keys

ANA, BOB, CID = b"a" * 16, b"b" * 16, b"c" * 16
DAY = "2026-01-01T00:00:00Z"


@pytest.fixture
def data_keys(place: Place) -> DataKeys:
    return place.data_keys()


def wrapped(place: Place) -> dict[bytes, bytes | None]:
    return dict(place.rows("data_keys", "SELECT subject, wrapped FROM subject_keys"))


def test_a_subject_has_one_key_on_every_call_and_after_reopening(place: Place, data_keys: DataKeys) -> None:
    keys = data_keys.keys_for([ANA, BOB, ANA], create=True)
    assert set(keys) == {ANA, BOB} and all(len(key) == 32 for key in keys.values())
    assert data_keys.keys_for([BOB, ANA], create=True) == keys
    assert place.data_keys().keys_for([ANA, BOB], create=False) == keys
    assert place.data_keys().keys_for([ANA, CID], create=True)[ANA] == keys[ANA]


def test_subjects_have_different_keys(data_keys: DataKeys) -> None:
    refs = [number.to_bytes(16, "big") for number in range(1500)]
    keys = data_keys.keys_for(refs, create=True)
    assert set(keys) == set(refs) and len(set(keys.values())) == 1500
    assert data_keys.keys_for(refs[::-1], create=False) == keys


def test_unknown_subjects_have_no_key_unless_one_is_made(place: Place, data_keys: DataKeys) -> None:
    assert data_keys.keys_for([ANA], create=False) == {} == data_keys.keys_for([], create=True)
    assert wrapped(place) == {}
    data_keys.keys_for([ANA], create=True)
    assert set(data_keys.keys_for([ANA, BOB], create=False)) == {ANA}


@pytest.mark.parametrize("known", [True, False], ids=["had a key", "had none"])
def test_a_destroyed_key_stays_destroyed(place: Place, data_keys: DataKeys, known: bool) -> None:
    if known:
        data_keys.keys_for([ANA], create=True)
    bob = data_keys.keys_for([BOB], create=True)
    data_keys.destroy([ANA])
    data_keys.destroy([ANA])
    for keys in (data_keys, place.data_keys()):
        for create in (True, False):
            assert keys.keys_for([ANA, BOB], create=create) == bob
    assert wrapped(place)[ANA] is None


OPERATIONS = st.tuples(
    st.sampled_from(["make", "make", "find", "destroy"]), st.lists(st.sampled_from([ANA, BOB, CID]), max_size=3)
)


@settings(deadline=None, max_examples=examples(30))
@given(st.lists(st.tuples(OPERATIONS, st.integers(0, 1)), max_size=12))
def test_keys_appear_once_and_go_for_good(
    new_place: NewPlace, steps: list[tuple[tuple[str, list[bytes]], int]]
) -> None:
    with new_place() as place:
        stores = [place.data_keys(), place.data_keys()]
        known: dict[bytes, bytes] = {}
        destroyed: set[bytes] = set()
        for (operation, refs), which in steps:
            if operation == "destroy":
                stores[which].destroy(refs)
                destroyed |= set(refs)
                continue
            found = stores[which].keys_for(refs, create=operation == "make")
            expected = {ref for ref in refs if ref not in destroyed and (operation == "make" or ref in known)}
            assert set(found) == expected
            for ref, key in found.items():
                assert known.setdefault(ref, key) == key
        assert len(set(known.values())) == len(known)


def test_threads_that_race_get_one_key(place: Place) -> None:
    refs = [number.to_bytes(16, "big") for number in range(60)]
    stores = [place.data_keys(), place.data_keys()]
    found: list[dict[bytes, bytes]] = []
    barrier = threading.Barrier(4)

    def ask(keys: DataKeys, order: int) -> None:
        mine: dict[bytes, bytes] = {}
        barrier.wait()
        for ref in refs[::order]:
            mine |= keys.keys_for([ref], create=True)
        found.append(mine)

    threads = [threading.Thread(target=ask, args=(keys, order)) for keys in stores for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(mine == found[0] for mine in found)


def test_programs_that_race_get_one_key(place: Place, programs: Any) -> None:
    refs = [number.to_bytes(16, "big").hex() for number in range(80)]
    asked = {"do": "keys", "references": refs, "expires_at": 9}
    place.data_keys()
    one, two = programs.do(place, asked, {**asked, "references": refs[::-1]})
    assert one == two and len(one["keys"]) == 80
    kept = place.data_keys()
    assert kept.keys_for([bytes.fromhex(ref) for ref in refs], create=False) == {
        bytes.fromhex(ref): bytes.fromhex(key) for ref, key in one["keys"].items()
    }
    day_key = kept.find_day_key("2026-01-01", at=0)
    assert day_key is not None and day_key.hex() == one["day"]


def test_a_key_that_another_program_made_meanwhile_is_taken(place: Place) -> None:
    other = place.data_keys()
    first: dict[bytes, bytes] = {}

    def random(count: int) -> bytes:
        first.update(other.keys_for([ANA], create=True))
        return bytes(count)

    table = place.data_keys()._table
    keys = DataKeys(table, place.keys, random=random).keys_for([ANA, BOB], create=True)
    assert keys == {**first, BOB: bytes(32)} and first[ANA] != bytes(32)


def test_a_subject_erased_while_their_key_is_made_gets_none(place: Place) -> None:
    other = place.data_keys()

    def random(count: int) -> bytes:
        other.destroy([ANA])
        return bytes(count)

    assert DataKeys(place.data_keys()._table, place.keys, random=random).keys_for([ANA], create=True) == {}


# Integrity


def test_wrapped_keys_cannot_be_exchanged_among_subjects(place: Place, data_keys: DataKeys) -> None:
    data_keys.keys_for([ANA, BOB], create=True)
    stored = wrapped(place)
    with place.raw("data_keys") as connection:
        connection.execute("UPDATE subject_keys SET wrapped = ? WHERE subject = ?", (stored[BOB], ANA))
        connection.execute("UPDATE subject_keys SET wrapped = ? WHERE subject = ?", (stored[ANA], BOB))
    for ref in (ANA, BOB):
        for create in (True, False):
            with pytest.raises(IntegrityError, match="do not open"):
                data_keys.keys_for([ref], create=create)


def test_a_flipped_bit_of_a_wrapped_key_is_found(place: Place, data_keys: DataKeys) -> None:
    data_keys.keys_for([ANA], create=True)
    original = wrapped(place)[ANA]
    assert original is not None
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        with place.raw("data_keys") as connection:
            connection.execute("UPDATE subject_keys SET wrapped = ?", (bytes(changed),))
        with pytest.raises(IntegrityError):
            data_keys.keys_for([ANA], create=False)


def test_keys_of_another_tenant_do_not_open(place: Place, data_keys: DataKeys) -> None:
    data_keys.keys_for([ANA], create=True)
    other = VaultKeys(tenant="shop2", secrets={1: b"\x01" * 32}, primary=1, root=bytes(range(32)))
    with pytest.raises(IntegrityError, match="do not open"):
        place.data_keys(other).keys_for([ANA], create=False)


def test_keys_stay_after_a_rotation_of_what_wraps_them(place: Place, data_keys: DataKeys) -> None:
    old = data_keys.keys_for([ANA], create=True)
    both = place.data_keys(vault_keys(1, 2))
    assert both.keys_for([ANA], create=True) == old
    new = both.keys_for([BOB], create=True)
    assert [key[:2] for key in wrapped(place).values() if key] == [b"\0\1", b"\0\2"]
    with pytest.raises(IntegrityError, match="vault key version 2, which this keyring cannot use"):
        data_keys.keys_for([BOB], create=False)
    with pytest.raises(IntegrityError, match="vault key version 1, which this keyring cannot use"):
        place.data_keys(vault_keys(2)).keys_for([ANA], create=False)
    assert place.data_keys(vault_keys(2)).keys_for([BOB], create=False) == new


# At rest


@pytest.mark.parametrize("count", [1, 4000])
def test_of_destroyed_keys_nothing_is_left_in_the_files(place: Place, data_keys: DataKeys, count: int) -> None:
    beside = place.data_keys()
    refs = [(number * 7919 % 65_521).to_bytes(2, "big") * 8 for number in range(count)]
    for start in range(0, count, 700):
        keys = beside.keys_for(refs[start : start + 700], create=True)
        assert not any(key in place.at_rest("data_keys") for key in list(keys.values())[:3])
    gone = {ref: key for ref, key in wrapped(place).items() if count == 1 or ref[0] % 2}
    data_keys.destroy(list(gone))
    assert set(beside.keys_for(refs, create=False)) == set(refs) - set(gone)
    assert left_of([key for key in gone.values() if key], place.at_rest("data_keys")) == 0
    assert len(wrapped(place)) == len(set(refs))


def left_of(secrets: list[bytes], stored: bytes) -> int:
    parts = {part for secret in secrets for part in (secret[2:18], secret[-16:])}
    return sum(stored[start : start + 16] in parts for start in range(len(stored) - 15))


def test_of_an_expired_day_key_nothing_is_left_in_the_files(place: Place, data_keys: DataKeys) -> None:
    data_keys.day_key(DAY, expires_at=100)
    ((stored,),) = place.rows("data_keys", "SELECT wrapped FROM day_keys")
    assert left_of([stored], place.at_rest("data_keys")) > 0
    data_keys.sweep(100)
    assert left_of([stored], place.at_rest("data_keys")) == 0


@pytest.mark.usefixtures("impatient")
def test_a_destruction_that_a_reader_holds_up_does_not_pass_for_done(place: Place) -> None:
    data_keys = place.data_keys()
    data_keys.keys_for([ANA], create=True)
    secret = wrapped(place)[ANA]
    assert secret is not None
    with place.reader("data_keys", "subject_keys"):
        with pytest.raises(StoreError, match="the store of data keys is locked by another program"):
            data_keys.destroy([ANA])
        assert data_keys.keys_for([ANA], create=True) == {}
    data_keys.destroy([ANA])
    assert left_of([secret], place.at_rest("data_keys")) == 0


@pytest.mark.usefixtures("impatient")
def test_a_sweep_that_a_reader_held_up_is_made_up_for_by_the_next(place: Place) -> None:
    data_keys = place.data_keys()
    data_keys.day_key(DAY, expires_at=100)
    ((stored,),) = place.rows("data_keys", "SELECT wrapped FROM day_keys")
    with (
        place.reader("data_keys", "day_keys"),
        pytest.raises(StoreError, match="the store of data keys is locked by another program"),
    ):
        data_keys.sweep(100)
    data_keys.sweep(100)
    assert left_of([stored], place.at_rest("data_keys")) == 0


@pytest.mark.usefixtures("impatient")
def test_a_sweep_that_was_held_up_is_made_up_for_by_another_program(place: Place) -> None:
    place.data_keys().keys_for([ANA], create=True)  # stays open, so that closing the others empties nothing
    sweeping = open_data_keys(place.uri("data_keys"), place.keys)
    sweeping.day_key(DAY, expires_at=100)
    ((stored,),) = place.rows("data_keys", "SELECT wrapped FROM day_keys")
    with place.reader("data_keys", "day_keys"):
        with pytest.raises(StoreError, match="the store of data keys is locked by another program"):
            sweeping.sweep(100)
        sweeping.close()
    place.data_keys().sweep(100)
    assert left_of([stored], place.at_rest("data_keys")) == 0


# Keys of days


def test_a_day_has_one_key_for_all_who_ask(place: Place, data_keys: DataKeys) -> None:
    assert data_keys.find_day_key(DAY, at=0) is None
    key = data_keys.day_key(DAY, expires_at=100)
    assert len(key) == 32
    assert data_keys.day_key(DAY, expires_at=100) == key == data_keys.find_day_key(DAY, at=0)
    assert place.data_keys().day_key(DAY, expires_at=200) == key
    assert place.rows("data_keys", "SELECT day, expires_at FROM day_keys") == [(DAY, 100)]
    assert data_keys.day_key("2026-01-02T00:00:00Z", expires_at=100) != key


def test_the_shortest_time_that_was_asked_for_a_day_holds(place: Place, data_keys: DataKeys) -> None:
    key = data_keys.day_key(DAY, expires_at=100)
    ((stored,),) = place.rows("data_keys", "SELECT wrapped FROM day_keys")
    for expires_at, holds in ((100, 100), (50, 50), (70, 50), (49, 49)):
        assert place.data_keys().day_key(DAY, expires_at=expires_at) == key == data_keys.find_day_key(DAY, at=0)
        assert place.rows("data_keys", "SELECT expires_at FROM day_keys") == [(holds,)]
    assert (data_keys.sweep(48), data_keys.sweep(49), data_keys.find_day_key(DAY, at=0)) == (0, 1, None)
    assert left_of([stored], place.at_rest("data_keys")) == 0


@pytest.mark.parametrize(("at", "left"), [(99, 3), (100, 1), (101, 1), (150, 0)])
def test_keys_of_days_are_destroyed_when_they_expire(place: Place, data_keys: DataKeys, at: int, left: int) -> None:
    keys = [data_keys.day_key(day, expires_at=expires) for day, expires in (("a", 100), ("b", 100), ("c", 150))]
    ana = data_keys.keys_for([ANA], create=True)
    assert data_keys.sweep(at) == 3 - left
    assert data_keys.sweep(at) == 0
    found = [place.data_keys().find_day_key(day, at=0) for day in ("a", "b", "c")]
    assert found == [None] * (3 - left) + keys[3 - left :]
    assert data_keys.keys_for([ANA], create=False) == ana


def test_the_key_of_a_day_whose_time_is_over_is_not_found_though_nobody_has_swept(
    place: Place, data_keys: DataKeys
) -> None:
    key = data_keys.day_key(DAY, expires_at=100)
    assert [data_keys.find_day_key(DAY, at=at) for at in (99, 100, 101)] == [key, None, None]
    with place.raw("data_keys") as connection:
        connection.execute("UPDATE day_keys SET expires_at = 1000")
    with pytest.raises(IntegrityError):
        data_keys.find_day_key(DAY, at=200)


@pytest.mark.parametrize("change", ["expires_at = expires_at + 1", "day = 'other'", "wrapped = zeroblob(62)"])
def test_a_changed_row_of_a_day_is_found(place: Place, data_keys: DataKeys, change: str) -> None:
    data_keys.day_key(DAY, expires_at=100)
    with place.raw("data_keys") as connection:
        connection.execute(f"UPDATE day_keys SET {change}")
    day = "other" if "other" in change else DAY
    with pytest.raises(IntegrityError):
        data_keys.find_day_key(day, at=0)
    with pytest.raises(IntegrityError):
        data_keys.day_key(day, expires_at=100)


def test_a_subject_key_does_not_pass_for_a_day_key(place: Place, data_keys: DataKeys) -> None:
    data_keys.keys_for([ANA], create=True)
    with place.raw("data_keys") as connection:
        connection.execute("INSERT INTO day_keys SELECT ?, 100, wrapped FROM subject_keys", (DAY,))
    with pytest.raises(IntegrityError, match="do not open"):
        data_keys.find_day_key(DAY, at=0)


# Opening


@pytest.mark.parametrize("uri", ["mysql://user:pass@host/db", "sqlite:", "", "data_keys.db"])
def test_another_kind_of_store_is_refused_without_quoting_it(uri: str) -> None:
    with pytest.raises(
        ConfigError, match=r"data_keys: unknown kind of store; write sqlite:FILE or postgresql://…"
    ) as caught:
        open_data_keys(uri, vault_keys(), create=True)
    assert "pass@host" not in str(caught.value)


# Wrapped anew


def wrappings(place: Place) -> set[int]:
    rows = place.rows("data_keys", "SELECT wrapped FROM subject_keys WHERE wrapped IS NOT NULL")
    rows += place.rows("data_keys", "SELECT wrapped FROM day_keys")
    return {wrapping_version(wrapped) for (wrapped,) in rows}


def test_after_rewrapping_the_same_keys_open_without_the_version_before(place: Place, data_keys: DataKeys) -> None:
    refs = [number.to_bytes(16, "big") for number in range(1, 60)]
    before = data_keys.keys_for(refs, create=True)
    day = data_keys.day_key("2026-01-01", expires_at=10**15)
    data_keys.destroy(refs[:7])
    rotated = place.data_keys(vault_keys(1, 2))
    newest = rotated.keys_for([bytes(16)], create=True)
    done = rotated.rewrap()
    assert (done.version, done.keys, done.rewrapped, done.unopened, done.clean) == (2, 54, 53, {}, True)
    assert wrappings(place) == {2}
    alone = place.data_keys(vault_keys(2))
    assert alone.keys_for([*refs, bytes(16)], create=True) == {ref: before[ref] for ref in refs[7:]} | newest
    assert alone.find_day_key("2026-01-01", at=0) == day
    assert alone.rewrap().rewrapped == 0


def test_rewrapping_that_was_interrupted_goes_on(
    place: Place, data_keys: DataKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PORTION", 10)
    refs = [number.to_bytes(16, "big") for number in range(1, 36)]
    before = data_keys.keys_for(refs, create=True)
    rotated = place.data_keys(vault_keys(1, 2))

    def stop(done: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotated.rewrap(progress=stop)
    assert wrappings(place) == {1, 2}
    assert place.data_keys(vault_keys(1, 2)).keys_for(refs, create=False) == before
    assert rotated.rewrap().rewrapped == 15
    assert place.data_keys(vault_keys(2)).keys_for(refs, create=False) == before


def test_a_key_destroyed_while_it_is_rewrapped_stays_destroyed(place: Place, data_keys: DataKeys) -> None:
    refs = [bytes([number]) * 16 for number in range(1, 4)]
    data_keys.keys_for(refs, create=True)
    rotated, erasing = place.data_keys(vault_keys(1, 2)), place.data_keys()
    read = rotated._table.wrapped_subjects

    def erased_behind(after: bytes, most: int) -> list[tuple[bytes, bytes]]:
        rows = read(after, most)
        erasing.destroy(refs[:1])
        return rows

    rotated._table.wrapped_subjects = erased_behind  # type: ignore[method-assign]
    assert rotated.rewrap().rewrapped == 2
    assert refs[0] not in place.data_keys(vault_keys(2)).keys_for(refs, create=True)


def test_a_key_that_does_not_open_is_counted_and_hinders_no_other(place: Place, data_keys: DataKeys) -> None:
    refs = [bytes([number]) * 16 for number in range(1, 6)]
    before = data_keys.keys_for(refs, create=True)
    with place.raw("data_keys") as connection:
        ((wrapped,),) = connection.execute("SELECT wrapped FROM subject_keys WHERE subject = ?", refs[:1]).fetchall()
        changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        connection.execute("UPDATE subject_keys SET wrapped = ? WHERE subject = ?", (changed, refs[0]))
    done = place.data_keys(vault_keys(1, 2)).rewrap()
    assert (done.rewrapped, done.unopened) == (4, {1: 1})
    assert place.rows("data_keys", "SELECT wrapped FROM subject_keys WHERE subject = ?", refs[0]) == [(changed,)]
    assert place.data_keys(vault_keys(2)).keys_for(refs[1:], create=False) == {ref: before[ref] for ref in refs[1:]}


def test_of_old_wrappings_nothing_is_left_in_the_files(place: Place, data_keys: DataKeys) -> None:
    refs = [number.to_bytes(16, "big") for number in range(1, 300)]
    data_keys.keys_for(refs, create=True)
    old = [wrapped for (wrapped,) in place.rows("data_keys", "SELECT wrapped FROM subject_keys")]
    assert all(each in place.at_rest("data_keys") for each in old[:3])
    assert place.data_keys(vault_keys(1, 2)).rewrap().clean
    stored = place.at_rest("data_keys")
    assert not any(each in stored for each in old)

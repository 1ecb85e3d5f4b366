"""A copied store is the store, byte by byte, or it is refused; a copy that was broken off goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from consentry.schemas.errors import IntegrityError, PrivacyError, StoreError
from consentry.schemas.store_uri import STORES, told_store
from consentry.transforms.stores import postgres_vault, sqlite_vault
from consentry.transforms.stores.copying import Copied, copy_store
from oracles.consent_oracle import Said
from oracles.store_place import Place, candidates_of, event_of, record_of, rules_of
from oracles.vault_oracle import Row
from servers.postgres import Postgres

RULES = rules_of({"card": ["support"], "email": ["support"]}, {"support": "consent"})
WAYS = ["sqlite to postgresql", "postgresql to sqlite", "sqlite to sqlite", "postgresql to postgresql"]
DAY = "2026-01-01T00:00:00Z"


@pytest.fixture(params=WAYS)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """A place with stores in use, and an empty one."""
    kinds = request.param.split(" to ")
    with ExitStack() as opened:
        found = []
        for number, kind in enumerate(kinds):
            folder = tmp_path / str(number)
            folder.mkdir()
            backend = kind
            if kind == "postgresql":
                server: Postgres = request.getfixturevalue("postgres")
                database = server.new_database()
                opened.callback(server.drop_database, database)
                backend = server.uri(database)
            found.append(opened.enter_context(Place(backend, folder)))
        use(found[0])
        yield found[0], found[1]


def test_a_vault_that_somebody_works_with_during_the_copy_is_refused(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has judged meanwhile, a withdrawal for one, must not be brought back by the rest of the copy."""
    source, target = places
    for module, name in ((sqlite_vault, "SqliteVaultTable"), (postgres_vault, "PostgresVaultTable")):
        table = getattr(module, name)
        read = table.event_times

        def followed_meanwhile(self: Any, keys: Any, read: Any = read) -> Any:
            found = read(self, keys)
            applied = self.applied()
            self.set_applied(applied._replace(purges=applied.purges + 1))
            return found

        monkeypatch.setattr(table, "event_times", followed_meanwhile)
    with pytest.raises(StoreError):
        copy_store("vault", source.uri("vault"), target.uri("vault"))


def use(place: Place, *subjects: str) -> None:
    """Consents, values, an erasure, a key of a day, accesses."""
    names = subjects or ("ana", "bob", "Zoë", "gone")
    ledger, vault, data_keys = place.ledger(), place.vault(), place.data_keys()
    ledger.append([event_of(Said(name, "support", "granted", 1, "form"), evidence="e") for name in names], now=1)
    rows = [Row(domain, v, f"t{n}-ü", f"value {n}", name, n)
            for name in names for n in range(5, 9) for domain in ("card", "email") for v in (1, 2)]  # fmt: skip
    vault.write(candidates_of(rows, place), ledger=ledger, rules=RULES, now=20)
    data_keys.day_key(DAY, expires_at=100)
    if "gone" in names:
        data_keys.destroy([place.reference("gone")])
        ledger.record_erasure(place.reference("gone"), at=5)
        vault.follow(ledger, RULES, 30)
    place.access_log().append([record_of(number) for number in range(7)])


def copy(places: tuple[Place, Place], store: str) -> Copied:
    return copy_store(store, places[0].uri(store), places[1].uri(store))


def contents(place: Place, store: str) -> list[list[tuple[Any, ...]]]:
    tables = {"vault": ["entries", "applied"], "data_keys": ["subject_keys", "day_keys"]}.get(store, ["entries"])
    return [sorted(place.rows(store, f"SELECT * FROM {table}"), key=repr) for table in tables]


@pytest.mark.parametrize("store", STORES)
def test_a_copy_holds_the_same_bytes(places: tuple[Place, Place], store: str) -> None:
    done = copy(places, store)
    assert contents(places[1], store) == contents(places[0], store) != [[]]
    assert done.copied == done.entries > 0
    assert copy(places, store) == Copied(entries=done.entries, copied=0, digest=done.digest)


def test_stores_go_on_where_they_were_copied_to(places: tuple[Place, Place]) -> None:
    digests = {store: copy(places, store).digest for store in STORES}
    source, target = places
    ledger, vault = target.ledger(), target.vault()
    assert ledger.verify() == source.ledger().verify() and ledger.verify().head.hex() == digests["ledger"]
    assert target.access_log().verify().head.hex() == digests["access_log"]
    assert vault.follow(ledger, RULES, 30) == 0
    (entry,) = [each for each in vault.find("card", "t7-ü", 2) if each.subject_ref == target.reference("Zoë")]
    assert vault.open_value(entry) == "value 7"
    assert target.data_keys().keys_for([target.reference("gone")], create=True) == {}
    assert target.data_keys().day_key(DAY, expires_at=100) == source.data_keys().day_key(DAY, expires_at=100)
    ledger.append([event_of(Said("ana", "support", "withdrawn", 2, "form"))], now=1)
    assert vault.follow(ledger, RULES, 40) == 16
    assert [event.evidence for event in ledger.events_of("bob")] == ["e"]


def test_what_came_in_after_a_copy_follows_with_the_next(places: tuple[Place, Place]) -> None:
    for store in STORES:
        copy(places, store)
    use(places[0], "new", "newer")
    places[0].data_keys().destroy([places[0].reference("bob")])
    places[0].data_keys().day_key(DAY, expires_at=90)
    copied = {store: copy(places, store).copied for store in STORES}
    assert copied == {"vault": 32, "data_keys": 2, "ledger": 2, "access_log": 7}
    for store in STORES:
        assert contents(places[1], store) == contents(places[0], store)


class BrokenOffError(Exception):
    """What ended a copy."""


def test_a_copy_that_was_broken_off_goes_on(places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_vault, postgres_vault):
        monkeypatch.setattr(module, "CHUNK", 10)
    kind, calls = type(places[1].vault()._table), []
    insert = kind.insert

    def breaks(table: Any, entries: Any) -> Any:
        calls.append(entries)
        if len(calls) == 3:
            raise BrokenOffError
        return insert(table, entries)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "insert", breaks)
        with pytest.raises(BrokenOffError):
            copy(places, "vault")
    assert places[1].rows("vault", "SELECT count(*) FROM entries") == [(20,)]
    # Whoever uses half a copy judges what it holds by what is newer.
    applied = "SELECT position, at FROM applied"
    assert places[1].rows("vault", applied) == places[0].rows("vault", applied)
    assert copy(places, "vault").copied == 48 - 20
    assert contents(places[1], "vault") == contents(places[0], "vault")


@pytest.mark.parametrize("store", STORES)
def test_a_copy_in_the_wrong_direction_is_refused_and_destroys_nothing(places: tuple[Place, Place], store: str) -> None:
    for each in STORES:
        copy(places, each)
    use(places[1], "new")
    before = contents(places[1], store), contents(places[0], store)
    with pytest.raises(PrivacyError, match=r"TO has gone on by itself|they are not the same"):
        copy(places, store)
    assert (contents(places[1], store), contents(places[0], store)) == before


@pytest.mark.parametrize("store", STORES)
def test_a_source_that_is_not_there_is_not_made(places: tuple[Place, Place], store: str) -> None:
    with pytest.raises(StoreError, match=f"the {told_store(store)} is missing"):
        copy_store(store, places[1].uri(store), places[0].uri(store))


@pytest.mark.parametrize("store", ["ledger", "access_log"])
def test_a_chain_that_was_changed_is_not_copied(places: tuple[Place, Place], store: str) -> None:
    column = "entry" if store == "ledger" else "token_ref"
    with places[0].raw(store) as connection:
        changed = bytes(80 if store == "ledger" else 16)
        connection.execute(f"UPDATE entries SET {column} = ? WHERE position = 3", (changed,))
    with pytest.raises(IntegrityError, match=f"{store}: entry 3 was changed"):
        copy(places, store)


def test_a_target_that_was_changed_meanwhile_is_not_taken_for_the_same(places: tuple[Place, Place]) -> None:
    copy(places, "vault")
    with places[1].raw("vault") as connection:
        connection.execute("UPDATE entries SET sealed = zeroblob(40) WHERE token = 't7-ü'")
    with pytest.raises(IntegrityError, match="vault: FROM has 48 entries and TO 48, and they are not the same"):
        copy(places, "vault")

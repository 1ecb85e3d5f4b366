"""A place with the stores of one tenant, for tests: opens them, and reaches around them to what is stored."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import psycopg
import pyarrow as pa
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.info_types import Basis
from consentry.schemas.store_uri import STORES, of_tenant
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference, subject_references
from consentry.transforms.stores.access_log import AccessLog, AccessRecord, open_access_log
from consentry.transforms.stores.consent_ledger import ConsentLedger, open_ledger
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys
from consentry.transforms.stores.postgres_schema import lock_key
from consentry.transforms.stores.vault import Candidates, Vault, open_vault
from oracles.consent_oracle import Said
from oracles.vault_oracle import Row

SECRETS = {1: b"\x01" * 32, 2: b"\x02" * 32}


def vault_keys(*versions: int) -> VaultKeys:
    """Keys with these versions, the last of them primary; all have one root."""
    used = versions or (1,)
    secrets = {version: SECRETS[version] for version in used}
    return VaultKeys(tenant="shop", secrets=secrets, primary=used[-1], root=bytes(range(32)))


class Place:
    """Stores in one place; each call of an opener is a connection of its own.

    Args:
        backend: ``sqlite``, or the URI of an empty database of PostgreSQL.
        folder: Of files.
    """

    def __init__(self, backend: str, folder: Path | str) -> None:
        self.backend = backend
        self.folder = Path(folder)
        self.keys = vault_keys()
        self.refusals: tuple[type[Exception], ...] = (sqlite3.IntegrityError, psycopg.Error)
        self._closing = ExitStack()
        self._data_keys: DataKeys | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.close()
        self._data_keys = None

    @property
    def on_a_server(self) -> bool:
        return self.backend != "sqlite"

    def uri(self, store: str) -> str:
        return of_tenant(self.backend, self._tenant(store)) if self.on_a_server else f"sqlite:{self.file(store)}"

    def file(self, store: str) -> Path:
        assert not self.on_a_server
        return self.folder / f"{store}.db"

    def data_keys(self, keys: VaultKeys | None = None) -> DataKeys:
        return self._kept(open_data_keys(self.uri("data_keys"), keys or self.keys, create=True))

    def ledger(self, name: str = "ledger", keys: VaultKeys | None = None) -> ConsentLedger:
        return self._kept(open_ledger(self.uri(name), keys or self.keys, self._beside_others(keys), create=True))

    def vault(self, keys: VaultKeys | None = None) -> Vault:
        return self._kept(open_vault(self.uri("vault"), keys or self.keys, self._beside_others(keys), create=True))

    def _beside_others(self, keys: VaultKeys | None) -> DataKeys:
        """Data keys for other stores: with the keys of the place, the same ones for all."""
        if keys is not None:
            return self.data_keys(keys)
        self._data_keys = self._data_keys or self.data_keys()
        return self._data_keys

    def access_log(self) -> AccessLog:
        return self._kept(open_access_log(self.uri("access_log"), create=True))

    def reference(self, subject: str) -> bytes:
        reference = subject_reference(subject, self.keys.reference_key)
        assert reference is not None
        return reference

    @contextmanager
    def raw(self, store: str) -> Iterator[Any]:
        """A connection behind the store's back, past its triggers and checks; commits at the end."""
        with self.beside(store) as connection:
            if self.on_a_server:
                connection.execute(WITHOUT_TRIGGERS_AND_CHECKS)
            else:
                for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                    connection.execute(f"DROP TRIGGER {name}")
                connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("BEGIN" if self.on_a_server else "BEGIN IMMEDIATE")
            if self.on_a_server:
                schema = f"consentry_{STORE_OF.get(store, store)}_{self._tenant(store)}"
                connection.execute(f"SELECT pg_advisory_xact_lock({lock_key(schema)})")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def beside(self, store: str) -> Iterator[Any]:
        """A connection of another program, which takes SQL as SQLite has it."""
        if not self.on_a_server:
            with closing(sqlite3.connect(self.file(store), isolation_level=None)) as connection:
                yield connection
            return
        with psycopg.connect(self.backend, autocommit=True) as server:
            server.execute(f'SET search_path = "consentry_{STORE_OF.get(store, store)}_{self._tenant(store)}"'.encode())
            yield Translating(server)

    def rows(self, store: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.beside(store) as connection:
            return [tuple(row) for row in connection.execute(query, parameters).fetchall()]

    def columns(self, store: str) -> list[str]:
        """The names of the columns of its entries."""
        if not self.on_a_server:
            return [row[1] for row in self.rows(store, "PRAGMA table_info(entries)")]
        asked = "SELECT attname FROM pg_attribute WHERE attrelid = 'entries'::regclass AND attnum > 0 ORDER BY attnum"
        return [name for (name,) in self.rows(store, asked)]

    def copy(self, store: str, name: str) -> None:
        """Copies a ledger as it is now."""
        if self.on_a_server:
            self.ledger(name)
            rows = self.rows(store, "SELECT * FROM entries ORDER BY position")
            with self.beside(name) as target:
                for row in rows:
                    target.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", row)
            return
        with closing(sqlite3.connect(self.file(store))) as source, closing(sqlite3.connect(self.file(name))) as target:
            source.backup(target)

    @contextmanager
    def reader(self, store: str, table: str) -> Iterator[None]:
        """Somebody who has begun to read a table and does not end."""
        with self.beside(store) as connection:
            connection.execute("BEGIN")
            connection.execute(f"SELECT * FROM {table}").fetchall()
            yield
            connection.execute("ROLLBACK")

    def at_rest(self, *stores: str) -> bytes:
        """All bytes that stores keep on the disk, of the files beside the main one too.

        Of a server: the files of the database, without the write-ahead log of the server, after a checkpoint.
        """
        if self.on_a_server:
            with psycopg.connect(self.backend, autocommit=True) as server:
                server.execute("CHECKPOINT")
                row = server.execute(
                    "SELECT current_setting('data_directory'), oid::text FROM pg_database "
                    "WHERE datname = current_database()"
                ).fetchone()
            assert row is not None
            names = sorted(Path(row[0], "base", row[1]).iterdir())
        else:
            names = [name for store in stores for name in sorted(self.folder.glob(f"{store}.db*"))]
        assert names
        return b"".join(name.read_bytes() for name in names)

    def _kept(self, store: Any) -> Any:
        self._closing.callback(store.close)
        return store

    def _tenant(self, store: str) -> str:
        return "shop" if store in STORES else store


STORE_OF = {"older": "ledger", "other": "ledger"}
"""Names under which tests keep further ledgers."""

WITHOUT_TRIGGERS_AND_CHECKS = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT conrelid::regclass AS place, conname FROM pg_constraint WHERE contype = 'c'
        AND connamespace = current_schema()::regnamespace AND conislocal LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.place, found.conname);
    END LOOP;
    FOR found IN SELECT oid::regclass AS place FROM pg_class WHERE relkind IN ('r', 'p')
        AND relnamespace = current_schema()::regnamespace LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER USER', found.place);
    END LOOP;
END $$
"""


class Translating:
    """A connection to PostgreSQL that takes what tests write for SQLite."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, query: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        query = query.replace("char(31)", "chr(31)").replace("x''", "''::bytea")
        query = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", query)
        query = query.replace("SELECT ?, 100, wrapped", "SELECT ?::text, 100, wrapped")
        if parameters:
            query = query.replace("?", "%s")
        return self._connection.execute(query.encode(), parameters or None)


NewPlace = Callable[[], AbstractContextManager[Place]]


def event_of(said: Said, *, recorded_at: int | None = None, evidence: str | None = None) -> ConsentEvent:
    return ConsentEvent(
        subject=said.subject,
        purpose=said.purpose,
        decision=Decision(said.decision),
        effective_at=said.effective_at,
        source=said.source,
        recorded_at=recorded_at,
        evidence=evidence,
    )


def rules_of(rules: dict[str, list[str]], bases: dict[str, str]) -> dict[str, tuple[tuple[str, Basis], ...]]:
    return {domain: tuple((name, Basis(bases[name])) for name in names) for domain, names in rules.items()}


def candidates_of(rows: Sequence[Row], place: Place) -> list[Candidates]:
    """One batch of candidates for each domain and version among the rows."""
    return [
        Candidates(
            domain=domain,
            key_version=version,
            tokens=pa.array([row.token for row in chosen], pa.string()),
            values=pa.array([row.value for row in chosen], pa.string()),
            refs=subject_references(pa.array([row.subject for row in chosen], pa.string()), place.keys.reference_key),
            event_times=np.array([row.event_time for row in chosen], np.int64),
        )
        for domain, version in sorted({(row.domain, row.version) for row in rows})
        if (chosen := [row for row in rows if (row.domain, row.version) == (domain, version)])
    ]


def record_of(number: int, **changes: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "at": 1_793_000_000_000_000 + number,
        "actor": "ana",
        "role": "support_agent",
        "purpose": "support",
        "domain": "card",
        "token_ref": number.to_bytes(16, "big"),
        "subject_ref": bytes(15) + b"\x07" if number % 2 else None,
        "decision": "refused" if number % 3 else "allowed",
        "rule": "no_entry" if number % 3 else "permitted",
        "shown": None if number % 3 else "full",
    }
    return AccessRecord(**{**values, **changes})


def spellings(text: str) -> list[bytes]:
    """A text as bytes in the ways in which it may stand somewhere without being meant to."""
    plain = text.encode()
    found = [plain, plain[::-1], text.encode("utf-16-le"), text.encode("utf-16-be")]
    found += [plain.hex().encode(), plain.hex().upper().encode()]
    for shift in range(3):
        # Where base64 begins inside a longer text, its first and last characters depend on what is around.
        encoded = base64.b64encode(bytes(shift) + plain + bytes(3))
        start = -(-shift * 8 // 6)
        found.append(encoded[start : start + len(plain) * 8 // 6 - 1])
    return found

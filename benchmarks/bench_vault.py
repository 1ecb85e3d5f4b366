"""First load and rerun of the vault, in SQLite and in PostgreSQL, by one writer and by four at the same time.

A writer is a process. It makes a data key for each customer, seals a card for each and stores both; a rerun, by new
processes, stores nothing. The limit is a bulk insert of the same bytes in the same run, without keys, index or
look-up: ``executemany`` into one table of SQLite, ``COPY`` into one table of PostgreSQL. Both put each commit on the
disk. Set CONSENTRY_BENCH_ENTRIES=10000000 for ten million entries, which takes as many times longer.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from consentry.schemas.info_types import Basis
from consentry.schemas.store_uri import STORES, of_tenant
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_references
from consentry.transforms.stores.consent_ledger import open_ledger
from consentry.transforms.stores.data_keys import open_data_keys
from consentry.transforms.stores.open_tables import open_vault_table
from consentry.transforms.stores.vault import Candidates, open_vault
from consentry.transforms.vaulting import MOST_ROWS

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers.postgres import postgres_programs, postgres_server

ENTRIES = int(os.environ.get("CONSENTRY_BENCH_ENTRIES", "1000000"))
WRITERS = (1, 4)
BATCH = MOST_ROWS
"""Candidates that are stored at once: as many as a run gathers."""
NOW = 1_790_000_000_000_000
RULES = {"card": (("fraud_review", Basis.LEGAL_OBLIGATION),)}
KEYS = {"tenant": "bench", "secrets": {1: bytes(32)}, "primary": 1, "root": bytes(range(32))}
LIMITS = {"SQLite": "executemany of the same bytes", "PostgreSQL": "COPY of the same bytes"}
COLUMNS = "domain, token, key_version, subject, event_time, sealed"

Uris = dict[str, str]


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row per store, act and number of writers: its rate, its limit's rate, their ratio."""
    entries = max(1000, int(ENTRIES * scale))
    rows: list[dict[str, Any]] = []
    for kind, places in {"SQLite": _files, "PostgreSQL": _databases}.items():
        if kind == "PostgreSQL" and postgres_programs() is None:
            print("NOT MEASURED: PostgreSQL: initdb and postgres are not installed")
            continue
        with places() as new_place:
            rows += _measured(kind, new_place, entries)
    return rows


def _measured(kind: str, new_place: Callable[[], Uris], entries: int) -> list[dict[str, Any]]:
    rows, limit = [], 0.0
    for writers in WRITERS:
        uris = new_place()
        first, again = (_rate(uris, entries, writers) for _ in range(2))
        limit = limit or entries / _bulk_seconds(uris["vault"])
        name = f"{kind}, {entries:,} entries, {writers} writer{'s' * (writers > 1)}"
        compared = {"limit": LIMITS[kind], "limit_rate": limit, "ratio": first / limit}
        rows.append({"name": f"{name}, first load", "rate_per_s": first, **compared})
        rows.append({"name": f"{name}, rerun by new processes", "rate_per_s": again})
        print(f"measured so far: {name}: {first:,.0f}/s, {again:,.0f}/s; limit {limit:,.0f}/s", file=sys.stderr)
    return rows


@contextmanager
def _files() -> Iterator[Callable[[], Uris]]:
    with ExitStack() as opened:

        def new_place() -> Uris:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="consentry-bench-"))
            return {store: f"sqlite:{folder}/{store}.db" for store in STORES}

        yield new_place


@contextmanager
def _databases() -> Iterator[Callable[[], Uris]]:
    with postgres_server(fsync="on", synchronous_commit="on", shared_buffers="512MB") as server:
        yield lambda: dict.fromkeys(STORES, of_tenant(server.uri(server.new_database()), "bench"))


def _rate(uris: Uris, entries: int, writers: int) -> float:
    """Returns how many entries a second all writers store together, each its own share of the customers."""
    _open(uris, create=True).close()
    edges = [entries * number // writers for number in range(writers + 1)]
    with ProcessPoolExecutor(writers, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(writers)))  # all have started
        ready = [pool.submit(_write, uris, *share) for share in pairwise(edges)]
        spans = [each.result() for each in ready]
    return entries / (max(end for _, end in spans) - min(start for start, _ in spans))


def _open(uris: Uris, *, create: bool = False) -> Any:
    keys = VaultKeys(**KEYS)
    data_keys = open_data_keys(uris["data_keys"], keys, create=create)
    ledger = open_ledger(uris["ledger"], keys, data_keys, create=create)
    vault = open_vault(uris["vault"], keys, data_keys, create=create)
    return _Opened(vault, ledger, data_keys, keys)


class _Opened:
    def __init__(self, *parts: Any) -> None:
        self.vault, self.ledger, self.data_keys, self.keys = parts

    def close(self) -> None:
        for store in (self.vault, self.ledger, self.data_keys):
            store.close()


def _write(uris: Uris, start: int, stop: int) -> tuple[float, float]:
    """Writes the cards of some customers, and returns when it began and ended."""
    began = time.time()
    with closing(_open(uris)) as stores:
        for first in range(start, stop, BATCH):
            numbers = range(first, min(first + BATCH, stop))
            cards = pa.array([f"{number * 7919 % 10**9:016d}" for number in numbers], pa.string())
            refs = subject_references(pa.array([f"c-{number:09d}" for number in numbers]), stores.keys.reference_key)
            part = Candidates(
                domain="card",
                key_version=1,
                tokens=cards,
                values=cards,
                refs=refs,
                event_times=np.full(len(numbers), NOW - 1, np.int64),
            )
            stores.vault.write([part], ledger=stores.ledger, rules=RULES, now=NOW)
    return began, time.time()


def _bulk_seconds(uri: str) -> float:
    """Returns how long the same bytes take without keys, index or look-up."""
    with closing(open_vault_table(uri)) as table:
        rows = ((*key, event_time, sealed) for part in table.stored() for key, event_time, sealed in part)
        if uri.startswith("sqlite:"):
            return _bulk_sqlite(Path(uri.removeprefix("sqlite:")).with_name("bulk.db"), rows)
        return _bulk_postgres(uri.partition("&tenant=")[0], rows)


def _bulk_sqlite(path: Path, rows: Iterator[tuple[Any, ...]]) -> float:
    spent = 0.0
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"CREATE TABLE bulk ({COLUMNS})")
        while portion := list(islice(rows, BATCH)):
            started = time.perf_counter()
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO bulk VALUES (?, ?, ?, ?, ?, ?)", portion)
            connection.execute("COMMIT")
            spent += time.perf_counter() - started
    return spent


def _bulk_postgres(uri: str, rows: Iterator[tuple[Any, ...]]) -> float:
    spent = 0.0
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("CREATE TABLE bulk (domain text, token text, key_version int4, subject bytea, "
                           "event_time int8, sealed bytea)")  # fmt: skip
        while portion := list(islice(rows, BATCH)):
            started = time.perf_counter()
            with connection.cursor() as cursor, cursor.copy("COPY bulk FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text", "int4", "bytea", "int8", "bytea"])
                for row in portion:
                    copy.write_row(row)
            spent += time.perf_counter() - started
    return spent

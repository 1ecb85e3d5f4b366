"""Ten thousand random tampers with either log before its last checkpoint, by who can write the store: all found.

Nobody tells the check what was done. It has the store, the exported checkpoints and public keys.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.checkpoint_folder import open_checkpoint_folder
from consentry.pipelines.checkpoint_note import CheckpointNote
from consentry.pipelines.checkpoints import Checkpoints
from consentry.pipelines.desk import open_stores
from consentry.pipelines.log_verification import check_log, read_checkpoints
from consentry.pipelines.scaffold import write_project
from consentry.schemas.checkpoint import LOGS, Checkpoint, LogName
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.envelope import associated_data
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.stores.access_log import open_access_log
from consentry.transforms.stores.chained_log import ChainedLog, open_chained_log
from oracles.store_place import record_of

NOW = 1_793_000_000_000_000
ENTRIES, COVERED = 24, 20
PARTS, TAMPERS = 4, 2_500
"""In each part, and with each of the two logs: ten thousand with each."""

Row = tuple[Any, ...]


@dataclass
class Store:
    """A log with 24 entries, of which 20 are covered by four checkpoints, open for its check and for a tamperer."""

    name: LogName
    log: ChainedLog
    known: list[Checkpoint]
    raw: sqlite3.Connection
    columns: list[str]
    pristine: list[Row]

    def rewrite(self, rows: list[Row]) -> None:
        marks = ", ".join("?" * len(self.columns))
        self.raw.execute("BEGIN IMMEDIATE")
        self.raw.execute("DELETE FROM entries")
        self.raw.executemany(f"INSERT INTO entries ({', '.join(self.columns)}) VALUES ({marks})", rows)
        self.raw.execute("COMMIT")


def made_logs(folder: Path) -> Project:
    write_project(folder, tenant="shop", now=NOW)
    project = read_project(folder / "consentry.yaml")
    access_log = open_access_log(project.access_log)
    clock = [NOW]
    with open_stores(project) as stores, Checkpoints(project, clock=lambda: clock[0]) as checkpoints:
        for number in range(ENTRIES):
            event = ConsentEvent(
                subject=f"c-{number % 5}", purpose="support", decision=Decision.GRANTED, effective_at=NOW + number,
                source="form",
            )  # fmt: skip
            stores.ledger.append([event], now=NOW)
            access_log.append([record_of(number)])
            if (number + 1) % 5 == 0 and number < COVERED:
                for name in LOGS:
                    checkpoints.export(name)
    access_log.close()
    return project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(made_logs(tmp_path_factory.mktemp("logs") / "shop").root)


@pytest.fixture(params=LOGS)
def store(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Iterator[Store]:
    folder = Path(shutil.copytree(made, tmp_path / "shop"))
    project, name = read_project(folder / "consentry.yaml"), request.param
    trust = PublicKeys.load(project.trust)
    known, problems = read_checkpoints(open_checkpoint_folder(str(folder / "checkpoints")), trust, CheckpointNote())
    assert problems == [] and len(known) == 8
    raw = sqlite3.connect(getattr(project, name).removeprefix("sqlite:"), isolation_level=None)
    raw.execute("PRAGMA synchronous = OFF")
    raw.execute("PRAGMA ignore_check_constraints = ON")
    for (trigger,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {trigger}")
    columns = [row[1] for row in raw.execute("PRAGMA table_info(entries)")]
    pristine = raw.execute(f"SELECT {', '.join(columns)} FROM entries ORDER BY position").fetchall()
    with open_chained_log(name, getattr(project, name)) as log:
        mine = [each for each in known if each.store == name]
        yield Store(name, log, mine, raw, columns, pristine)
    raw.close()


def flipped(value: Any, dice: random.Random) -> Any:
    """The value with one bit of another kind, or another in its place."""
    if isinstance(value, bytes):
        at = dice.randrange(len(value)) if value else 0
        return bytes([*value[:at], value[at] ^ (1 << dice.randrange(8)), *value[at + 1 :]]) if value else b"\0"
    if isinstance(value, int):
        return value ^ (1 << dice.randrange(40))
    if isinstance(value, str):
        at = dice.randrange(len(value) + 1)
        return value[:at] + dice.choice("abx\0é") + value[at + dice.randrange(2) :] + ("" if value[at:] else "y")
    return dice.choice(["full", b"\0" * 16, 0])


def flip(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    at, column = dice.randrange(COVERED), dice.randrange(1, len(store.columns))
    changed = list(rows[at])
    changed[column] = flipped(changed[column], dice)
    return [*rows[:at], tuple(changed), *rows[at + 1 :]]


def drop(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    gone = set(dice.sample(range(COVERED), dice.randint(1, 4)))
    kept = [row for at, row in enumerate(rows) if at not in gone]
    return renumbered(kept) if dice.random() < 0.5 else kept


def reorder(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    one, other = dice.sample(range(COVERED), 2)
    order = list(range(len(rows)))
    if dice.random() < 0.5:
        order[one], order[other] = order[other], order[one]
    else:
        order.insert(other, order.pop(one))
    return renumbered([rows[at] for at in order])


def truncate(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    return rows[: dice.randrange(COVERED)]


def fork(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    """Any of the others, but for a flip of a link, with all links computed anew."""
    while True:
        changed = dice.choice([flip, drop, reorder, doubled, swapped_references])(rows, store, dice)
        chained = rechained(renumbered(changed), store)
        if chained is not None and chained[:COVERED] != rows[:COVERED]:
            return chained if dice.random() < 0.7 else [*chained[:COVERED], *rows[COVERED:]]


def doubled(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    at = dice.randrange(COVERED)
    return [*rows[:at], rows[at], *rows[at:]] if store.name == "access_log" else drop(rows, store, dice)


def swapped_references(rows: list[Row], store: Store, dice: random.Random) -> list[Row]:
    """What a row is found by beside its entry, exchanged between two rows."""
    column = store.columns.index("subject" if store.name == "ledger" else "subject_ref")
    one, other = dice.sample(range(COVERED), 2)
    changed = [list(row) for row in rows]
    changed[one][column], changed[other][column] = changed[other][column], changed[one][column]
    return [tuple(row) for row in changed]


def renumbered(rows: list[Row]) -> list[Row]:
    return [(position, *row[1:]) for position, row in enumerate(rows, 1)]


def rechained(rows: list[Row], store: Store) -> list[Row] | None:
    """The rows with the links that a log of these entries has, as who knows the code can compute them."""
    link, found = bytes(32), []
    for row in rows:
        named = dict(zip(store.columns, row, strict=True))
        try:
            link = hashlib.sha256(link + entry_of(named, store.name)).digest()
        except (TypeError, UnicodeEncodeError, OverflowError):
            return None  # no such entry can be chained, and it is found without any checkpoint
        found.append((*row[:-1], link))
    return found


def entry_of(row: dict[str, Any], name: LogName) -> bytes:
    if name == "ledger":
        entry: bytes = row["entry"]
        return entry
    fields: list[Any] = []
    for column, value in row.items():
        if column != "chain":
            optional = column in ("subject_ref", "shown")
            fields += ([0] if value is None else [1, value]) if optional else [value]
    return associated_data(*fields)


TAMPER: dict[str, Callable[[list[Row], Store, random.Random], list[Row]]] = {
    "flip": flip, "drop": drop, "reorder": reorder, "truncate": truncate, "fork": fork,
    "swap references": swapped_references,
}  # fmt: skip


def test_the_logs_as_they_are_hold(store: Store) -> None:
    assert check_log(store.log, store.known).ok
    store.rewrite(store.pristine)
    assert check_log(store.log, store.known).ok
    assert rechained(store.pristine, store) == store.pristine, "the tamperer knows how links are made"
    store.rewrite(store.pristine[:COVERED])
    assert check_log(store.log, store.known).ok, "what came after the last checkpoint is not covered"


@pytest.mark.parametrize("part", range(PARTS))
def test_every_tamper_before_the_last_checkpoint_is_found(store: Store, part: int) -> None:
    dice, tried = random.Random(part), dict.fromkeys(TAMPER, 0)
    while sum(tried.values()) < TAMPERS:
        name = dice.choice(list(TAMPER))
        rows = TAMPER[name](list(store.pristine), store, dice)
        if rows[:COVERED] == store.pristine[:COVERED]:
            continue  # nothing was changed
        try:
            store.rewrite(rows)
        except sqlite3.IntegrityError:
            store.raw.execute("ROLLBACK")
            continue  # such a row cannot be stored
        tried[name] += 1
        found = check_log(store.log, store.known)
        assert not found.ok, (name, rows)
        assert found.detail.startswith(f"{store.name}: "), "and its place is named"
    assert all(tried.values())

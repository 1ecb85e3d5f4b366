"""The journal of a stream: which offsets make up which epoch, and what all epochs came to; one SQLite file.

An epoch is *open* from before it reads until its files are complete, *sealed* while they are moved to where readers
find them, and then *done*. Sealing is one transaction: offsets, files and counts move together. So after a crash an
open epoch is done again from its settled plan, and a sealed one is only moved.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...schemas.errors import ConfigError
from ...transforms.stores.sqlite_database import SqliteDatabase
from ...transforms.tally import Tally
from ..outcome import Outcome
from ..sinks import Receipt
from .epochs import Epoch, EpochAccount, EpochState, ends_of
from .sources import Offsets

__all__ = ["KEY_VERSION", "Journal", "Merge", "Replay", "Topic", "open_journal"]

STORE = "journal"
KEPT_EPOCHS = 1_000
COLUMNS = "columns"
KEY_VERSION = "key_version"
MERGE = "merge"
REPLAY = "replay"
REPLAYED = "replayed"
NO_COLUMNS = pa.schema([])


class Topic(StrEnum):
    """What offsets are of."""

    RECORDS = "records"
    CONSENTS = "consents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Files of one folder that become one.

    Attributes:
        folder: Below the output.
        gone: Paths of the files that it takes the place of.
        made: The new file.
    """

    folder: str
    gone: tuple[str, ...]
    made: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Dead letters that were tried again.

    Attributes:
        gone: Paths of the files of letters that others take the place of.
        made: Files of recovered rows, and of the letters that remain.
    """

    gone: tuple[str, ...]
    made: tuple[Receipt, ...]


class Journal:
    """The journal of one output.

    Args:
        database: Open.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def settle(self, name: str, value: Any) -> Any:
        """Returns what was settled under a name before, or settles it now.

        Args:
            name: Of the setting.
            value: Anything that JSON holds.
        """
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, json.dumps(value)))
            ((text,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchall()
        return json.loads(text)

    def check(self, name: str, value: Any, *, option: str, settle: bool = True) -> None:
        """Settles a value, or refuses another one than was settled before.

        Args:
            name: Of the setting.
            value: Anything that JSON holds.
            option: That brought it, for the error.
            settle: Whether a value is settled where none was; if not, any is right there.

        Raises:
            ConfigError: It is another.
        """
        settled = self.settle(name, value) if settle else self.setting(name)
        if settled is not None and settled != value:
            raise ConfigError(f"{option}: this output belongs to '{settled}'; go on with that, or name a new --out")

    def columns(self) -> pa.Schema:
        """Returns the columns of records as far as they are known."""
        found = self.setting(COLUMNS)
        return NO_COLUMNS if found is None else pa.ipc.read_schema(pa.py_buffer(base64.b64decode(found)))

    def last(self) -> tuple[Epoch, EpochState] | None:
        """Returns the newest epoch and how far it is; None where there is none yet."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT plan, state FROM epochs ORDER BY number DESC LIMIT 1").fetchone()
        return None if found is None else (Epoch.loads(found[0]), EpochState(found[1]))

    def last_sealed(self) -> Epoch | None:
        """Returns the newest epoch that is sealed; None where there is none yet."""
        query = "SELECT plan FROM epochs WHERE state != ? ORDER BY number DESC LIMIT 1"
        with self._database.reading() as connection:
            found = connection.execute(query, (EpochState.OPEN,)).fetchone()
        return None if found is None else Epoch.loads(found[0])

    def offsets(self, topic: Topic) -> Offsets:
        """Returns where the next epoch begins, by partition."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT partition, next FROM offsets WHERE topic = ?", (topic,)).fetchall()
        return dict(rows)

    def begin(self, epoch: Epoch) -> None:
        """Writes an epoch down before anything of it is done."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO epochs (number, state, plan) VALUES (?, ?, ?)",
                (epoch.number, EpochState.OPEN, epoch.dumps()),
            )

    def abandon(self, epoch: Epoch) -> None:
        """Forgets an open epoch."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM epochs WHERE number = ? AND state = ?", (epoch.number, EpochState.OPEN))

    def skip(self, topic: Topic, offsets: Offsets) -> None:
        """Moves offsets past what is processed without an epoch."""
        with self._database.writing() as connection:
            _move(connection, topic, offsets)

    def seal(self, epoch: Epoch, outcome: Outcome, columns: pa.Schema, account: EpochAccount) -> None:
        """Notes in one transaction all that an epoch came to.

        Args:
            epoch: The open one.
            outcome: What was counted, and the files, complete and on the disk.
            columns: Of records, as they are known now.
            account: To be looked at.
        """
        encoded = json.dumps(base64.b64encode(columns.serialize().to_pybytes()).decode())
        receipts = [(receipt.path, _receipt_text(receipt), epoch.number) for receipt in outcome.receipts]
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (COLUMNS, encoded))
            connection.executemany("INSERT INTO files VALUES (?, ?, ?)", receipts)
            _count(connection, outcome.tally)
            _move(connection, Topic.RECORDS, ends_of(epoch.parts))
            _move(connection, Topic.CONSENTS, ends_of(epoch.consents))
            connection.execute(
                "UPDATE epochs SET state = ?, files = ?, account = ? WHERE number = ? AND state = ?",
                (
                    EpochState.SEALED,
                    json.dumps([text for _, text, _ in receipts]),
                    json.dumps(asdict(account)),
                    epoch.number,
                    EpochState.OPEN,
                ),
            )

    def sealed_files(self, epoch: Epoch) -> tuple[Receipt, ...]:
        """Returns the files of an epoch that is sealed."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT files FROM epochs WHERE number = ?", (epoch.number,)).fetchone()
        return tuple(map(_receipt_of, json.loads(found[0])))

    def accounts(self, most: int) -> list[EpochAccount]:
        """Returns what the newest epochs that are sealed came to, the newest first."""
        query = "SELECT account FROM epochs WHERE account IS NOT NULL ORDER BY number DESC LIMIT ?"
        with self._database.reading() as connection:
            rows = connection.execute(query, (most,)).fetchall()
        return [EpochAccount(**json.loads(text)) for (text,) in rows]

    def setting(self, name: str) -> Any:
        """Returns what was settled under a name; None where nothing was."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def finish(self, epoch: Epoch) -> None:
        """Notes that readers find the files of an epoch."""
        with self._database.writing() as connection:
            connection.execute("UPDATE epochs SET state = ? WHERE number = ?", (EpochState.DONE, epoch.number))
            connection.execute("DELETE FROM epochs WHERE number <= ?", (epoch.number - KEPT_EPOCHS,))

    def count(self, tally: Tally) -> None:
        """Adds counts that belong to no epoch."""
        if tally.counts:
            with self._database.writing() as connection:
                _count(connection, tally)

    def seal_merge(self, merge: Merge) -> None:
        """Notes in one transaction that a file holds now what others held, and that this is not to be seen yet."""
        text = json.dumps({"folder": merge.folder, "gone": merge.gone, "made": _receipt_text(merge.made)})
        with self._database.writing() as connection:
            _exchange(connection, merge.gone, (merge.made,))
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (MERGE, text))

    def sealed_merge(self) -> Merge | None:
        """Returns the merge that is sealed and may not be seen yet."""
        found = self.setting(MERGE)
        if found is None:
            return None
        return Merge(folder=found["folder"], gone=tuple(found["gone"]), made=_receipt_of(found["made"]))

    def finish_merge(self) -> None:
        """Notes that readers find the merged file."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM settings WHERE name = ?", (MERGE,))

    def seal_replay(
        self, replay: Replay, tally: Tally, *, now: int, ledger_position: int, key_version: int | None = None
    ) -> None:
        """Notes in one transaction what a replay of dead letters came to, and that this is not to be seen yet.

        Args:
            replay: Its files, complete and on the disk.
            tally: What it adds to the counts, of letters that are none any more a negative number.
            now: Microseconds UTC, the instant of its decisions.
            ledger_position: The last consent event that they know.
            key_version: Of the tokens from now on; None: as before.
        """
        text = json.dumps({"gone": replay.gone, "made": [_receipt_text(receipt) for receipt in replay.made]})
        decided = json.dumps([now, ledger_position])
        with self._database.writing() as connection:
            _exchange(connection, replay.gone, replay.made)
            _count(connection, tally)
            connection.execute("DELETE FROM counts WHERE total = 0")
            connection.execute(
                "INSERT OR REPLACE INTO settings VALUES (?, ?), (?, ?)", (REPLAY, text, REPLAYED, decided)
            )
            if key_version is not None:
                asked = "UPDATE settings SET value = ? WHERE name = ?"
                connection.execute(asked, (json.dumps(key_version), KEY_VERSION))

    def sealed_replay(self) -> Replay | None:
        """Returns the replay that is sealed and may not be seen yet."""
        found = self.setting(REPLAY)
        if found is None:
            return None
        return Replay(gone=tuple(found["gone"]), made=tuple(map(_receipt_of, found["made"])))

    def finish_replay(self) -> None:
        """Notes that readers find what the replay made, and nothing else."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM settings WHERE name = ?", (REPLAY,))

    def replayed(self) -> tuple[int, int] | None:
        """Returns instant and ledger position of the last replay that is sealed; None where there was none."""
        found = self.setting(REPLAYED)
        return None if found is None else (found[0], found[1])

    def outcome(self) -> Outcome:
        """Returns what all sealed epochs came to: counts, and the files that there are."""
        with self._database.reading() as connection:
            counts = connection.execute("SELECT counted, total FROM counts").fetchall()
            files = connection.execute("SELECT receipt FROM files ORDER BY path").fetchall()
        tally = Tally({tuple(json.loads(key)): total for key, total in counts})
        return Outcome(tally, tuple(_receipt_of(text) for (text,) in files))


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Yields the journal in a file, which is made where there is none.

    Raises:
        StoreError: The file is damaged, locked, or no journal.
    """
    journal = Journal(SqliteDatabase(path, store=STORE, create=True))
    try:
        yield journal
    finally:
        journal.close()


def _exchange(connection: Any, gone: Iterable[str], made: Iterable[Receipt]) -> None:
    """Has files of no epoch take the place of others."""
    connection.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in gone])
    connection.executemany(
        "INSERT INTO files VALUES (?, ?, 0)", [(receipt.path, _receipt_text(receipt)) for receipt in made]
    )


def _move(connection: Any, topic: Topic, offsets: Offsets) -> None:
    connection.executemany(
        "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
        [(topic, partition, offset) for partition, offset in offsets.items()],
    )


def _count(connection: Any, tally: Tally) -> None:
    connection.executemany(
        "INSERT INTO counts VALUES (?, ?) ON CONFLICT DO UPDATE SET total = total + excluded.total",
        [(json.dumps(key), count) for key, count in tally.counts.items()],
    )


def _receipt_text(receipt: Receipt) -> str:
    reasons = [[list(key), count] for key, count in receipt.reasons.items()]
    return json.dumps({**asdict(receipt), "reasons": reasons})


def _receipt_of(text: str) -> Receipt:
    found: Mapping[str, Any] = json.loads(text)
    return Receipt(**{**found, "reasons": {tuple(key): count for key, count in found["reasons"]}})

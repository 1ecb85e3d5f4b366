"""The journal of a stream: what is sealed moves together, and what is open is known with its plan."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from consentry.pipelines.outcome import Outcome
from consentry.pipelines.sinks import Receipt
from consentry.pipelines.streams.epochs import Epoch, EpochAccount, EpochState
from consentry.pipelines.streams.journal import KEPT_EPOCHS, Journal, Merge, Topic, open_journal
from consentry.pipelines.streams.sources import Part
from consentry.schemas.errors import ConfigError, StoreError
from consentry.transforms.tally import Tally

COLUMNS = pa.schema([("order_id", pa.string()), ("customer", pa.struct([("id", pa.string())]))])
RECEIPT = Receipt(
    path="data/event_date=2026-03-01/part-1.parquet", sha256="0" * 64, rows=3, bytes=17, reasons={("read", "x"): 1}
)


ACCOUNT = EpochAccount(number=1, records=4, out=3, dropped=0, dead_lettered=1, lag=0, seconds=0.5, sealed_at=9)


def epoch(number: int, *, end: int = 5) -> Epoch:
    return Epoch(
        number=number,
        parts=(Part(partition="orders/0", start=0, end=end),),
        consents=(Part(partition="consents/0", start=0, end=2),),
        now=7,
        ledger_position=3,
        key_version=1,
        started_at=8,
    )


def outcome() -> Outcome:
    return Outcome(Tally({("in",): 4, ("rejected", "read", "x"): 1}), (RECEIPT,))


def test_an_open_epoch_is_known_with_all_that_it_settled(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        assert journal.last() is None
        journal.begin(epoch(1))
    with open_journal(tmp_path / "journal.db") as journal:
        assert journal.last() == (epoch(1), EpochState.OPEN)
        assert journal.offsets(Topic.RECORDS) == journal.offsets(Topic.CONSENTS) == {}
        assert journal.outcome() == Outcome()


def test_sealing_moves_offsets_counts_files_and_columns_together(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin(epoch(1))
        journal.seal(epoch(1), outcome(), COLUMNS, ACCOUNT)
        assert journal.last() == (epoch(1), EpochState.SEALED)
        assert journal.sealed_files(epoch(1)) == (RECEIPT,)
        assert (journal.offsets(Topic.RECORDS), journal.offsets(Topic.CONSENTS)) == ({"orders/0": 5}, {"consents/0": 2})
        assert journal.columns() == COLUMNS
        assert journal.accounts(5) == [ACCOUNT]
        assert journal.outcome() == outcome()
        journal.finish(epoch(1))
        assert journal.last() == (epoch(1), EpochState.DONE)


def test_what_fails_to_be_sealed_leaves_nothing_behind(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin(epoch(1))
        journal.seal(epoch(1), outcome(), COLUMNS, ACCOUNT)
        journal.finish(epoch(1))
        journal.begin(epoch(2, end=9))
        with pytest.raises(StoreError):  # a file of this name is there already
            journal.seal(epoch(2, end=9), outcome(), pa.schema([]), ACCOUNT)
        assert journal.last() == (epoch(2, end=9), EpochState.OPEN)
        assert journal.offsets(Topic.RECORDS) == {"orders/0": 5}
        assert journal.columns() == COLUMNS
        assert journal.outcome() == outcome()


def test_counts_of_all_epochs_add_up(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        for number in (1, 2):
            journal.begin(epoch(number))
            journal.seal(epoch(number), Outcome(Tally({("in",): 4})), COLUMNS, ACCOUNT)
            journal.finish(epoch(number))
        journal.count(Tally({("vault", "purged"): 2}))
        assert journal.outcome().tally == Tally({("in",): 8, ("vault", "purged"): 2})


def test_a_sealed_merge_is_known_until_it_is_finished(tmp_path: Path) -> None:
    made = Receipt(path="data/event_date=2026-03-01/part-9.parquet", sha256="1" * 64, rows=3, bytes=9)
    merge = Merge(folder="data/event_date=2026-03-01", gone=(RECEIPT.path,), made=made)
    with open_journal(tmp_path / "journal.db") as journal:
        journal.begin(epoch(1))
        journal.seal(epoch(1), outcome(), COLUMNS, ACCOUNT)
        assert journal.sealed_merge() is None
        journal.seal_merge(merge)
        assert journal.outcome() == Outcome(outcome().tally, (made,))
    with open_journal(tmp_path / "journal.db") as journal:
        assert journal.sealed_merge() == merge
        journal.finish_merge()
        assert journal.sealed_merge() is None


def test_an_output_belongs_to_one_stream(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        journal.check("source", "kafka:orders", option="--from")
        journal.check("source", "kafka:orders", option="--from")
        with pytest.raises(ConfigError, match="--from: this output belongs to 'kafka:orders'; go on"):
            journal.check("source", "kafka:others", option="--from")


def test_old_epochs_are_forgotten_and_their_counts_are_not(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        for number in (1, KEPT_EPOCHS + 1):
            journal.begin(epoch(number))
            journal.seal(epoch(number), Outcome(Tally({("in",): 1})), COLUMNS, ACCOUNT)
            journal.finish(epoch(number))
        assert journal.outcome().tally == Tally({("in",): 2})
    connection = sqlite3.connect(tmp_path / "journal.db")
    assert connection.execute("SELECT number FROM epochs").fetchall() == [(KEPT_EPOCHS + 1,)]
    connection.close()


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"no journal" * 1000)
    with pytest.raises(StoreError, match="the journal of the stream is damaged"), open_journal(tmp_path / "journal.db"):
        pass


def test_only_the_owner_reads_a_journal(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal.db") as journal:
        assert isinstance(journal, Journal)
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600

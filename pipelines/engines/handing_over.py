"""Hands the output of a stream on an engine over when it is closed, with a journal like that of one on one machine.

So whatever rewrites the outputs of streams finds there what it needs. What shards noted is one epoch in it, the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...schemas.manifest import Manifest
from ...transforms.tally import merge
from ..durable import sync_folder
from ..outcome import Outcome
from ..publication import STREAM
from ..streams.epochs import Epoch, EpochAccount
from ..streams.journal import KEY_VERSION, Journal, Topic, open_journal
from ..streams.output import JOURNAL
from .settings import EngineSettings
from .shard_notes import ShardNote, ends_of, joint_columns

__all__ = ["hand_over"]


def hand_over(
    root: Path,
    settings: EngineSettings,
    notes: Sequence[ShardNote],
    manifest: Manifest,
    *,
    clock: int,
) -> None:
    """Makes the journal of an output where it has none.

    Args:
        root: Folder of the output.
        settings: Of the output.
        notes: All that shards have published.
        manifest: Signed, of the same.
        clock: Microseconds UTC.
    """
    place = root / STREAM / JOURNAL
    if place.exists():
        return
    made = place.with_name(f"handed-over-{JOURNAL}")
    for left in made.parent.glob(f"{made.name}*"):
        left.unlink()  # of a program that died here
    with open_journal(made) as journal:
        _settle(journal, settings)
        epoch = Epoch(
            number=len(notes),
            parts=(),
            now=max(note.now for note in notes),
            ledger_position=max(note.ledger_position for note in notes),
            key_version=settings.key_version,
            started_at=settings.started_at,
        )
        outcome = Outcome(
            merge(note.outcome.tally for note in notes), tuple(each for note in notes for each in note.outcome.receipts)
        )
        journal.begin(epoch)
        journal.seal(epoch, outcome, joint_columns(notes), _account(epoch, manifest, clock))
        journal.skip(Topic.RECORDS, ends_of(notes))
        journal.finish(epoch)
    made.rename(place)
    sync_folder(place.parent)


def _settle(journal: Journal, settings: EngineSettings) -> None:
    known = {
        "tenant": settings.tenant,
        "dataset": settings.dataset,
        "source": settings.source,
        "run": settings.run,
        "started_at": settings.started_at,
        KEY_VERSION: settings.key_version,
        **{f"field {path}": rule for path, rule in settings.fields.items()},
    }
    for name, value in known.items():
        journal.settle(name, value)


def _account(epoch: Epoch, manifest: Manifest, clock: int) -> EpochAccount:
    books = manifest.books
    return EpochAccount(
        number=epoch.number,
        records=books.in_,
        out=books.out,
        dropped=books.dropped,
        dead_lettered=books.dead_lettered,
        lag=0,
        seconds=max(clock - epoch.started_at, 0) / 1_000_000,
        sealed_at=clock,
    )

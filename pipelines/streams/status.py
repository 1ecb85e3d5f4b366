"""How far a stream is, read from its journal while it runs or not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...schemas.consent import format_instant
from ...schemas.errors import ConfigError
from ..outcome import READ
from ..publication import DATA, FILE_SCHEME, STREAM
from .epochs import EpochAccount, EpochState
from .journal import Journal, Topic, open_journal
from .output import JOURNAL, LOCK

__all__ = ["StreamStatus", "stream_status"]

RECENT = 20
"""Epochs by which a rate is told."""
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """How far a stream is.

    Attributes:
        running: Whether a process has the output.
        dataset: Of the records.
        source: What people call where they come from.
        last: The newest epoch that is sealed; None: there is none yet.
        held: Records of an epoch that was begun and is not sealed: it runs, or waits for another start.
        rate: Records a second of the newest epochs, from the first one's sealing to the last one's.
        books: Of all epochs: ``in``, ``out``, ``dropped``, ``dead_lettered``.
        reasons: Dead letters by reason.
        corrections: Vault entries removed because of what was learned later.
        offsets: Where the next epoch begins, by partition.
    """

    running: bool
    dataset: str
    source: str
    last: EpochAccount | None
    held: int
    rate: float
    books: Mapping[str, int]
    reasons: Mapping[str, int]
    corrections: int
    offsets: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``stream status --json``."""
        last = self.last
        return {
            "running": self.running,
            "dataset": self.dataset,
            "source": self.source,
            "epoch": 0 if last is None else last.number,
            "last_sealed_at": None if last is None else format_instant(last.sealed_at),
            "lag": None if last is None else last.lag,
            "held": self.held,
            "records_per_second": round(self.rate, 1),
            "books": dict(self.books),
            "reasons": dict(self.reasons),
            "corrections": self.corrections,
            "offsets": dict(self.offsets),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Returns the same for people."""
        last = self.last
        return [
            ("dataset", self.dataset),
            ("source", self.source),
            ("epoch", "none yet" if last is None else f"{last.number:,}"),
            ("last sealed at", "-" if last is None else format_instant(last.sealed_at)),
            ("lag at its beginning", "-" if last is None else f"{last.lag:,}"),
            ("held in an open epoch", f"{self.held:,}"),
            ("records a second", f"{self.rate:,.0f}"),
            *((name.replace("_", "-"), f"{count:,}") for name, count in self.books.items()),
            ("corrections", f"{self.corrections:,}"),
        ]


def stream_status(out: str) -> StreamStatus:
    """Returns how far the stream of an output is.

    Raises:
        ConfigError: There is no stream's output.
        StoreError: The journal cannot be read.
    """
    folder = Path(out.removeprefix(FILE_SCHEME)) / STREAM
    if not (folder / JOURNAL).exists():
        raise ConfigError(f"{out}: is no output of a stream; name the --out of `consentry stream`")
    with open_journal(folder / JOURNAL) as journal:
        outcome, accounts = journal.outcome(), journal.accounts(RECENT)
        reasons: dict[str, int] = {}
        for (_, reason), count in outcome.tally.under("rejected").items():
            reasons[reason] = reasons.get(reason, 0) + count
        return StreamStatus(
            running=_is_locked(folder / LOCK),
            dataset=journal.setting("dataset") or "-",
            source=journal.setting("source") or "-",
            last=accounts[0] if accounts else None,
            held=_held(journal),
            rate=_rate(accounts),
            books={
                "in": outcome.tally[READ],
                "out": sum(file.rows for file in outcome.receipts if file.path.startswith(DATA)),
                "dropped": outcome.tally[("rows", "dropped")],
                "dead_lettered": sum(reasons.values()),
            },
            reasons=reasons,
            corrections=outcome.tally[("vault", "purged")],
            offsets=journal.offsets(Topic.RECORDS),
        )


def _held(journal: Journal) -> int:
    last = journal.last()
    if last is None or last[1] is not EpochState.OPEN:
        return 0
    return sum(part.end - part.start for part in last[0].parts)


def _rate(accounts: list[EpochAccount]) -> float:
    if len(accounts) < 2:
        return 0.0
    seconds = (accounts[0].sealed_at - accounts[-1].sealed_at) / MICROSECONDS
    return sum(account.records for account in accounts[:-1]) / seconds if seconds > 0 else 0.0


def _is_locked(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False

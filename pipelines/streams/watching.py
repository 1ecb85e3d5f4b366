"""Who watches a stream: a line on a terminal, records for a log, figures for a monitor. No value, no id of a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from ...schemas.consent import format_instant
from ...schemas.errors import PrivacyError
from .run import Observer
from .stream import EpochReport

__all__ = ["JsonLog", "ProgressLine", "Watchers"]


class Watchers:
    """Tells several observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def epoch(self, report: EpochReport) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.epoch(report)

    def failed(self, failure: PrivacyError, pause: float) -> None:
        """Passes it on."""
        for observer in self._observers:
            observer.failed(failure, pause)


class JsonLog:
    """One JSON object a line for each epoch and each failure.

    Args:
        to: A text stream.
    """

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = sys.stderr if to is None else to

    def epoch(self, report: EpochReport) -> None:
        """Writes what the epoch came to."""
        account = report.account
        self._write(
            {
                "event": "epoch",
                "at": format_instant(account.sealed_at),
                "epoch": account.number,
                "in": account.records,
                "out": account.out,
                "dropped": account.dropped,
                "dead_lettered": account.dead_lettered,
                "lag": account.lag,
                "seconds": round(account.seconds, 3),
                "ledger_position": report.epoch.ledger_position,
            }
        )

    def failed(self, failure: PrivacyError, pause: float) -> None:
        """Writes what went wrong and when it is tried again."""
        at = format_instant(time.time_ns() // 1000)
        self._write(
            {"event": "failed", "at": at, "reason": failure.reason, "says": str(failure), "again_in_seconds": pause}
        )

    def _write(self, record: dict[str, object]) -> None:
        self._to.write(json.dumps(record) + "\n")
        self._to.flush()


class ProgressLine:
    """One line that is written over, with what all epochs of this process came to.

    Args:
        to: A terminal.
    """

    def __init__(self, to: TextIO | None = None) -> None:
        self._to = sys.stderr if to is None else to
        self._began = time.monotonic()
        self._in = self._out = self._dropped = self._letters = 0

    def epoch(self, report: EpochReport) -> None:
        """Writes the line."""
        account = report.account
        self._in += account.records
        self._out += account.out
        self._dropped += account.dropped
        self._letters += account.dead_lettered
        rate = self._in / max(time.monotonic() - self._began, 1e-3)
        self._to.write(
            f"\r\x1b[Kepoch {account.number:,}: {self._in:,} in, {self._out:,} out, {self._dropped:,} dropped, "
            f"{self._letters:,} dead letters, lag {account.lag:,}, {rate:,.0f} a second"
        )
        self._to.flush()

    def failed(self, failure: PrivacyError, pause: float) -> None:
        """Writes a line of its own."""
        self._to.write(f"\r\x1b[K{failure}; again in {pause:.1f} s\n")
        self._to.flush()

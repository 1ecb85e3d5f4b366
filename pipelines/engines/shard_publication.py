"""What a step of a shard has to publish, and what it needs of the place where it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from ...transforms.consent_join import NOTHING_KNOWN, Watermark
from ...transforms.tally import Tally
from ..manifest_file import balanced_books
from ..outcome import Outcome
from ..sinks import Receipt
from .shard_notes import Published, Resumption, ShardNote

__all__ = ["Publication", "ShardPlace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What belongs together: to be seen as a whole, or not at all.

    Attributes:
        rows: Protected, each batch of one partition, with ``POSITION``.
        letters: Sealed.
        tally: Counts of both.
        offsets: By partition, the offset behind the last record in it.
        letter_ends: By partition, the offset behind the last message in it that could not become a record.
        columns: Of records, as far as they are known.
        watermark: By which it was decided.
        launch: Id of the launch.
        clock: Microseconds UTC.
    """

    rows: tuple[pa.RecordBatch, ...]
    letters: tuple[pa.RecordBatch, ...]
    tally: Tally
    offsets: Mapping[str, int]
    letter_ends: Mapping[str, int]
    columns: pa.Schema
    watermark: Watermark
    launch: str
    clock: int

    def note(self, receipts: Iterable[Receipt]) -> ShardNote:
        """Returns what it comes to.

        Args:
            receipts: Of what was written.

        Raises:
            RunError: The books do not balance.
        """
        outcome = Outcome(self.tally, tuple(receipts))
        was_told = self.watermark.instant > NOTHING_KNOWN.instant  # else all of it was given up
        balanced_books(outcome)
        return ShardNote(
            outcome=outcome,
            launch=self.launch,
            offsets=self.offsets,
            letters=self.letter_ends,
            columns=self.columns,
            now=self.watermark.instant if was_told else self.clock,
            ledger_position=self.watermark.position,
            published_at=self.clock,
        )


class ShardPlace(Protocol):
    """Where one shard publishes; used by one thread."""

    def resumption(self, number: int, lot: str) -> Resumption | None:
        """Returns what is published that a state does not know of and that stays; None: nothing is.

        Args:
            number: Of the state's next publication.
            lot: Of its last one.

        Raises:
            RunError: The place cannot be used, or is another launch's.
        """
        ...

    def publish(self, number: int, lot: str, publication: Publication) -> Published:
        """Publishes what a step comes to, and returns it.

        Args:
            number: As the state has it; the next publication has the next one.
            lot: Of the publication before, as the state has it.
            publication: What there is.

        Raises:
            RunError: Another worker has the shard, or the place refused; nothing of it is to be seen, or all.
        """
        ...

    def close(self) -> None:
        """Lets go of the place."""
        ...

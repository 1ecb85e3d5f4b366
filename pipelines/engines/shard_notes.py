"""What the publications of a shard come to, as it is noted beside them: counts, and how far each partition is."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import pyarrow as pa

from ...transforms.tally import Tally, merge
from ..column_types import joint_schema
from ..outcome import Outcome
from ..sinks import Receipt
from .topic_chains import ChainEnd

__all__ = ["Published", "Resumption", "ShardNote", "common_ends", "ends_of", "furthest", "joint_columns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNote:
    """What one publication of a shard comes to.

    Attributes:
        outcome: Counts and files.
        launch: Id of the launch that wrote it.
        offsets: By partition, the offset behind the last record in it.
        letters: By partition, the offset behind the last message in it that could not become a record.
        columns: Of records, as far as they are known.
        now: Instant of its decisions, microseconds UTC.
        ledger_position: Of its decisions.
        published_at: By the clock, microseconds UTC.
        publications: How many it is of.
        chains: Of the messages, by ``TOPIC/PARTITION/SHARD``; none of files.
    """

    outcome: Outcome
    launch: str
    offsets: Mapping[str, int]
    letters: Mapping[str, int]
    columns: pa.Schema
    now: int
    ledger_position: int
    published_at: int
    publications: int = 1
    chains: Mapping[str, ChainEnd] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Returns it as what JSON holds."""
        receipts = [
            {**asdict(receipt), "reasons": [[list(key), count] for key, count in receipt.reasons.items()]}
            for receipt in self.outcome.receipts
        ]
        return {
            "files": receipts,
            "tally": [[list(key), count] for key, count in self.outcome.tally.counts.items()],
            "launch": self.launch,
            "offsets": dict(self.offsets),
            "letters": dict(self.letters),
            "columns": base64.b64encode(self.columns.serialize().to_pybytes()).decode("ascii"),
            "now": self.now,
            "ledger_position": self.ledger_position,
            "published_at": self.published_at,
            "publications": self.publications,
            "chains": dict(self.chains),
        }

    def after(self, before: ShardNote) -> ShardNote:
        """Returns one note of both, of what follows an earlier publication of the same shard."""
        tally = merge((before.outcome.tally, self.outcome.tally))
        receipts = _summed((*before.outcome.receipts, *self.outcome.receipts))
        return replace(
            self,
            outcome=Outcome(tally, receipts),
            offsets=furthest(before.offsets, self.offsets),
            letters=furthest(before.letters, self.letters),
            columns=joint_columns((before, self)),
            now=max(before.now, self.now),
            ledger_position=max(before.ledger_position, self.ledger_position),
            published_at=max(before.published_at, self.published_at),
            publications=before.publications + self.publications,
            chains={**before.chains, **self.chains},
        )

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ShardNote:
        """Returns what ``document`` gave.

        Raises:
            ValueError: It is damaged.
        """
        try:
            receipts = tuple(
                Receipt(**{**each, "reasons": {tuple(key): count for key, count in each["reasons"]}})
                for each in document["files"]
            )
            return cls(
                outcome=Outcome(Tally({tuple(key): count for key, count in document["tally"]}), receipts),
                launch=document["launch"],
                offsets=document["offsets"],
                letters=document["letters"],
                columns=pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["columns"]))),
                now=document["now"],
                ledger_position=document["ledger_position"],
                published_at=document["published_at"],
                publications=document.get("publications", 1),
                chains={place: ChainEnd(*end) for place, end in document.get("chains", {}).items()},
            )
        except (KeyError, TypeError, AttributeError, pa.ArrowException):
            raise ValueError("is no note of a shard") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """Where a shard goes on behind what is published, and its state does not know of.

    Attributes:
        number: Of its next publication.
        lot: Of the last one, where a state has to know it.
        columns: Of records, where more of them may be known than the state does; None: nothing is told.
        offsets: By partition, behind the last record that it has published.
        letters: By partition, behind the last message that it has published as a dead letter.
    """

    number: int
    lot: str = ""
    columns: pa.Schema | None = None
    offsets: Mapping[str, int]
    letters: Mapping[str, int]


class Published(NamedTuple):
    """A publication, and the lot that was drawn for it."""

    note: ShardNote
    lot: str


def _summed(receipts: Sequence[Receipt]) -> tuple[Receipt, ...]:
    """Returns one receipt for each path."""
    found: dict[str, Receipt] = {}
    for each in receipts:
        if (known := found.get(each.path)) is not None:
            reasons = dict(Counter(known.reasons) + Counter(each.reasons))
            each = replace(each, rows=known.rows + each.rows, bytes=known.bytes + each.bytes, reasons=reasons)
        found[each.path] = each
    return tuple(found.values())


def furthest(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Returns the further offset of each partition."""
    return {**before, **{name: max(end, before.get(name, 0)) for name, end in after.items()}}


def ends_of(notes: Iterable[ShardNote]) -> dict[str, int]:
    """Returns by partition the offset behind the last record that any of the notes has."""
    ends: dict[str, int] = {}
    for note in notes:
        ends = furthest(ends, note.offsets)
    return ends


def common_ends(shards: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Returns by partition the offset before which all shards have all records; none where one has nothing.

    Args:
        shards: How far each is, by partition.
    """
    everywhere = set.intersection(*map(set, shards)) if shards else set()
    return {partition: min(each[partition] for each in shards) for partition in sorted(everywhere)}


def joint_columns(notes: Iterable[ShardNote]) -> pa.Schema:
    """Returns the columns of records, as far as any of the notes knows them."""
    distinct = {note.columns.to_string(): note.columns for note in notes}
    joint = joint_schema([("", each) for each in distinct.values()])
    names = {name for each in distinct.values() for name in each.names}
    return pa.schema([field for field in joint if field.name in names])

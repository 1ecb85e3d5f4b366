"""Settles sealed records whose consents are known: decides, opens what survives, protects it, and writes the vault.

Between the key that opens a record and the vault, all happens in one call in the memory of one worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ...schemas.errors import ConfigError, RunError
from ...schemas.record_columns import POSITION
from ...schemas.sealed_record import CLASSES_KEY
from ...transforms.consent_decision import decisions, with_decisions
from ...transforms.consent_join import Decidable, Watermark
from ...transforms.protection import protect_batch
from ...transforms.protection_plan import ProtectionPlan, check_dataset_columns
from ...transforms.sealed_records import OpenedRecords, open_records, part_classes
from ...transforms.stage import SharedStage, Stage
from ...transforms.stores.vault import Candidates
from ...transforms.tally import Key, Tally, merge
from ...transforms.tokens.tokenizer import Tokenizer
from ..json_records import JsonFault, Record, load_record
from ..outcome import READ
from ..splits import ReadBatch, RejectedLine, source_of
from ..streams.declared_columns import declared_columns, text_paths, with_text_at
from ..streams.json_messages import JsonMessages
from ..streams.sources import WRONG_TYPE, Messages, refused

__all__ = ["Settled", "Settlement"]

UNKNOWN_CONSENT = "consent_unknown"
DECIDE = "decide"
DROPPED = ("rows", "dropped")
ERASED = ("removed", "rows_erased_while_waiting")

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of some sealed records; nothing of it is raw, and the vault has what it is to hold.

    Attributes:
        rows: Protected, with ``POSITION``, each batch of one partition.
        letters: Of ``DEAD_LETTER_SCHEMA``.
        tally: Of all of them.
    """

    rows: tuple[pa.RecordBatch, ...]
    letters: tuple[pa.RecordBatch, ...]
    tally: Tally


class Settlement:
    """Settles the records of one shard; used by one thread.

    Args:
        shared: As it was settled when the graph was launched.
        columns: What is known of the records' columns.
    """

    def __init__(self, shared: SharedStage, columns: pa.Schema) -> None:
        self._shared = shared
        config = shared.config
        self._stage: Stage = shared.open()
        paths = text_paths(config.policy, self._stage.dataset)
        self._reader = JsonMessages(with_text_at(columns, *paths))
        self._recognizers = self._stage.recognizers()
        self._planned: dict[pa.Schema, tuple[ProtectionPlan, Mapping[str, Tokenizer]]] = {}

    @property
    def columns(self) -> pa.Schema:
        """The declared columns that it knows by now, for the state of the shard."""
        return declared_columns(self._reader.columns, self._stage.dataset)

    def settle(self, decidable: Sequence[Decidable], given_up: Sequence[pa.RecordBatch], *, clock: int) -> Settled:
        """Returns what comes of records; doing it again, after a crash, leaves the vault as once.

        Args:
            decidable: Whose consents are known.
            given_up: Whose are not, and who waited too long.
            clock: The time now, microseconds UTC.

        Raises:
            PrivacyError: A store or a key cannot be used; nothing of it counts.
        """
        parts = [self._settled(each, clock) for each in _together(decidable)]
        parts += [self._given_up(each, clock) for each in given_up]
        return Settled(
            rows=tuple(rows for part in parts for rows in part.rows),
            letters=tuple(letters for part in parts for letters in part.letters),
            tally=merge(part.tally for part in parts),
        )

    def _settled(self, decidable: Decidable, clock: int) -> Settled:
        sealed, watermark = decidable
        self._stage = stage = self._shared.settled_anew(
            replace(
                self._shared.config, now=watermark.instant, ledger_position=watermark.position, started_at=clock
            )
        ).open()  # fmt: skip
        permits = decisions(
            sealed["subject"], sealed["event_time"], stage.config.policy, stage.snapshot, stage.config.now,
            purposes=stage.purposes,
        )  # fmt: skip
        survives = _one_of(permits, stage.dataset.collect, sealed.num_rows)
        collected = [_one_of(permits, purposes, sealed.num_rows) for purposes in part_classes(sealed)]
        opened = self._opened(sealed, survives, collected, clock)
        counts: dict[Key, int] = {READ: sealed.num_rows}
        lost = int(opened.erased.sum())
        counts[DROPPED] = int((~survives).sum()) + lost
        counts[ERASED] = lost
        parts = list(self._protected(sealed, permits, opened.lines))
        return _joined(parts, Tally({key: count for key, count in counts.items() if count}))

    def _opened(self, sealed: pa.RecordBatch, survives: Bools, collected: Sequence[Bools], clock: int) -> OpenedRecords:
        config = self._stage.config
        return open_records(
            sealed,
            survives,
            collected,
            self._stage.stores.data_keys,
            tenant=config.project.tenant,
            dataset=config.dataset,
            at=clock,
        )

    def _protected(
        self, sealed: pa.RecordBatch, permits: Mapping[str, Bools], lines: Sequence[bytes | None]
    ) -> Iterable[Settled]:
        alive = np.array([line is not None for line in lines], np.bool_)
        partitions = np.array(sealed["partition"].to_pylist(), object)
        offsets = sealed["offset"].to_numpy()
        for partition in dict.fromkeys(partitions[alive].tolist()):
            rows = np.flatnonzero(alive & (partitions == partition))
            rows = rows[np.argsort(offsets[rows], kind="stable")]
            messages = Messages(partition, [lines[row] for row in rows.tolist()], offsets[rows])
            for read in self._reader.read(messages):
                places = rows[np.searchsorted(offsets[rows], read.batch.column(POSITION).to_numpy())]
                yield self._treated(self._usable(read), sealed.take(pa.array(places)), permits, places)

    def _usable(self, read: ReadBatch) -> ReadBatch:
        try:
            check_dataset_columns(read.batch.schema, self._stage.dataset, self._stage.config.dataset)
        except ConfigError:
            return refused(read, WRONG_TYPE)
        return read

    def _treated(self, read: ReadBatch, sealed: pa.RecordBatch, permits: Mapping[str, Bools], places: Any) -> Settled:
        stage, letters = self._stage, []
        if read.rejected:
            letters.append(stage.sealer.seal_lines(read.rejected, source_of(read.batch.schema)))
        if not read.batch.num_rows:
            return _joined([Settled(rows=(), letters=tuple(letters), tally=_refusals(letters))], Tally())
        decided = with_decisions(
            read.batch,
            sealed["subject"],
            sealed["event_time"],
            {purpose: each[places] for purpose, each in permits.items()},
        )
        plan, tokenizers = self._plan(decided.schema)
        protected = protect_batch(
            decided,
            plan,
            tokenizers,
            with_vault=stage.config.with_vault,
            recognizers=self._recognizers,
            positions=True,
        )
        if protected.rejected is not None:
            letters.append(stage.sealer.seal_rejected(protected.rejected))
        kept = self._kept(protected.candidates)
        rows = (protected.batch,) if protected.batch.num_rows else ()
        tally = merge((protected.tally, kept, _refusals(letters)))
        return Settled(rows=rows, letters=tuple(letters), tally=tally)

    def _kept(self, candidates: Sequence[Candidates]) -> Tally:
        return self._stage.keep(candidates)

    def _plan(self, schema: pa.Schema) -> tuple[ProtectionPlan, Mapping[str, Tokenizer]]:
        plain = schema.remove_metadata()
        if plain not in self._planned:
            self._planned.clear()
            plan = self._stage.plan(plain)
            self._planned[plain] = plan, self._stage.tokenizers(plan)
        return self._planned[plain]

    def _given_up(self, sealed: pa.RecordBatch, clock: int) -> Settled:
        """Seals as dead letters, whole, records whose consents nobody can tell."""
        everything = np.ones(sealed.num_rows, np.bool_)
        opened = self._opened(sealed, everything, [everything] * len(part_classes(sealed)), clock)
        partitions, offsets = sealed["partition"].to_pylist(), sealed["offset"].to_pylist()
        letters = []
        for partition in dict.fromkeys(partitions):
            lines = [
                RejectedLine(position=offset, reason=UNKNOWN_CONSENT, raw=b"", parsed=_record(line))
                for own, offset, line in zip(partitions, offsets, opened.lines, strict=True)
                if own == partition and line is not None
            ]
            if lines:
                letters.append(self._stage.sealer.seal_lines(lines, partition, stage=DECIDE))
        lost = int(opened.erased.sum())
        counts = {READ: sealed.num_rows, DROPPED: lost, ERASED: lost}
        tally = Tally({key: count for key, count in counts.items() if count})
        return Settled(rows=(), letters=tuple(letters), tally=merge((tally, _refusals(letters))))


def _together(decidable: Sequence[Decidable]) -> Iterator[Decidable]:
    """Yields records that are decided alike as one batch: to open a stage and a transaction costs the same for any."""
    groups: dict[tuple[Watermark, pa.Schema, bytes], list[pa.RecordBatch]] = {}
    for records, watermark in decidable:
        classes = (records.schema.metadata or {}).get(CLASSES_KEY, b"")
        groups.setdefault((watermark, records.schema, classes), []).append(records)
    for (watermark, _, _), batches in groups.items():
        yield Decidable(batches[0] if len(batches) == 1 else pa.concat_batches(batches), watermark)


def _record(line: bytes) -> Record:
    record = load_record(line)
    if isinstance(record, JsonFault):
        raise RunError(f"a sealed record is no JSON object ({record.value}); report it")
    return record


def _one_of(permits: Mapping[str, Bools], purposes: Sequence[str], rows: int) -> Bools:
    """Returns which rows one of the purposes permits; all, where none is named."""
    found = np.full(rows, not purposes)
    for purpose in purposes:
        found |= permits[purpose]
    return found


def _refusals(letters: Iterable[pa.RecordBatch]) -> Tally:
    return merge(
        Tally({("rejected", stage, reason): 1})
        for batch in letters
        for stage, reason in zip(batch["stage"].to_pylist(), batch["reason"].to_pylist(), strict=True)
    )


def _joined(parts: Sequence[Settled], tally: Tally) -> Settled:
    return Settled(
        rows=tuple(rows for part in parts for rows in part.rows),
        letters=tuple(letters for part in parts for letters in part.letters),
        tally=merge((tally, *(part.tally for part in parts))),
    )

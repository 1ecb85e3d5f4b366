"""Tries dead letters again: opens them in memory, and decides about, protects and vaults what they hold, as of now.

Where rows go that are recovered, and how a new state becomes visible, is the matter of who replays. Values reach the
vault before rows are written, as in every run.

Nobody sees a raw value: letters are opened in this process, and whatever fails here leaves without a message of its
own. What fails again keeps the keys of its first sealing, so that a replay never lengthens how long it can be opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from ..schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter
from ..schemas.manifest import Manifest
from ..schemas.record_columns import POSITION
from ..transforms.consent_decision import decide_batch
from ..transforms.crypto.key_sets import VaultKeys
from ..transforms.dead_letters import Rejected
from ..transforms.failures import guarded
from ..transforms.protection import protect_batch
from ..transforms.protection_plan import ProtectionPlan, check_dataset_columns, dropped_paths
from ..transforms.stage import Stage, StageConfig, open_stage
from ..transforms.tally import Tally, merge
from ..transforms.tokens.tokenizer import Tokenizer
from .letter_records import record_batches
from .letters import CONSENT_STAGE, LetterOutput, OpenedLetter, StoredLetter, open_stored, stored_letters
from .outcome import Outcome
from .publication import DEAD_LETTERS
from .retention import sweep_expired
from .sinks import FileWriter, Receipt

__all__ = ["LetterTrial", "ReplayReport", "RowTaker", "by_clock", "opened_stage"]

STAGE = "replay"
READ_STAGE = "read"
PROTECT_STAGE = "protect"
MOST_PLANS = 64
"""Kept at a time: data in the names of fields must not pile up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        tried: Letters that were opened.
        recovered: Rows that are in the output now.
        dropped: Records whose subject permits nothing now.
        failed: Letters that failed again.
        waiting: Letters with a declared field that the stream has not met yet.
        closed: Letters that nobody can open any more.
        skipped: Letters that hold no record, or not all that a decision needs.
        manifest: Of the output as it stands now.
        changed: Whether a new state was published.
    """

    tried: int
    recovered: int
    dropped: int
    failed: int
    waiting: int
    closed: int
    skipped: int
    manifest: Manifest
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``dead-letters replay --json``."""
        names = ("changed", *_Counts.__dataclass_fields__)
        return {**{name: getattr(self, name) for name in names}, "manifest": self.manifest.as_json()}


class RowTaker(Protocol):
    """Where rows go that are recovered; it has one schema."""

    @property
    def columns(self) -> pa.Schema | None:
        """Columns that records are brought to, as ``record_batches`` takes them."""
        ...

    def takes(self, plan: ProtectionPlan) -> bool:
        """Whether rows of a plan can be written; if not, their letters stay as they are.

        Raises:
            ConfigError: The policy would write other rows, whatever the records.
        """
        ...

    def write(self, rows: pa.RecordBatch, plan: ProtectionPlan) -> None:
        """Takes rows, at least one."""
        ...

    def finish(self) -> Sequence[Receipt]:
        """Completes the files."""
        ...


@contextmanager
def opened_stage(config: StageConfig, vault_keys: VaultKeys) -> Iterator[Stage]:
    """Yields the open stage, with expired keys and values gone.

    Args:
        config: What the replay has settled on.
        vault_keys: The project's.
    """
    stage = open_stage(config, vault_keys)
    stores = stage.stores
    with ExitStack() as opened:
        for store in (stores.data_keys, stores.ledger, stores.vault):
            if store is not None:
                opened.enter_context(closing(store))
        sweep_expired(stores.data_keys, stores.vault, config.policy, by_clock(config))
        yield stage


def by_clock(config: StageConfig) -> int:
    """Returns when a replay began by the clock, whatever the instant of its decisions."""
    return config.now if config.started_at is None else config.started_at


@dataclass(slots=True)
class _Counts:
    tried: int = 0
    recovered: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    closed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A plan with tokenizers for rows of one schema; ``taken`` tells whether they can be written."""

    plan: ProtectionPlan
    tokenizers: Mapping[str, Tokenizer]
    taken: bool


@dataclass(slots=True)
class _Remaining:
    """Letters of one go that stay, by their place: with a new stage and reason, or waiting, as they are."""

    refused: dict[int, tuple[str, str]] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)

    def refuse(self, rejected: Rejected | None) -> None:
        if rejected is not None:
            for place, reason in zip(rejected.rows[POSITION].to_pylist(), rejected.reasons, strict=True):
                self.refused[place] = (rejected.stage, reason)


class LetterTrial:
    """Works off the letters of an output, some at a time, into files of rows and of the letters that remain.

    Args:
        output: Signed and checked.
        stage: Settled for the replay.
        rows: Takes those that are recovered.
        place: Folder below which ``dead_letters`` is, for the letters that remain.
        run: Part of the names of their files.
        reason: Only letters of this reason are tried; None: all.
    """

    def __init__(
        self, output: LetterOutput, stage: Stage, rows: RowTaker, *, place: str, run: str, reason: str | None
    ) -> None:
        self._output = output
        self._stage = stage
        self._rows = rows
        self._reason = reason
        self._letters = FileWriter(place, DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=run)
        self._recognizers = stage.recognizers()
        self._prepared: dict[pa.Schema, _Prepared] = {}
        self._tallies: list[Tally] = []
        self._resealed = 0
        self._counts = _Counts()
        self.outcome = Outcome()

    @property
    def changed(self) -> bool:
        """Whether the output would be another than before."""
        return bool(self._counts.recovered or self._counts.dropped or self._resealed)

    def report(self, manifest: Manifest) -> ReplayReport:
        """Returns what came of it."""
        numbers = {name: getattr(self._counts, name) for name in _Counts.__dataclass_fields__}
        return ReplayReport(**numbers, manifest=manifest, changed=self.changed)

    @guarded(STAGE)
    def work_off(self) -> None:
        """Tries all letters, and writes rows and remaining letters; ``outcome`` has counts and files.

        Raises:
            PrivacyError: Something failed; what was written is no part of anything.
        """
        for stored in stored_letters(self._output):
            opened = list(self._opened(stored))
            kept = {place: each.letter for place, each in enumerate(stored)}
            for protect_stage in (False, True):
                some = [
                    (at, each) for at, each in opened if (each.stored.letter.stage == PROTECT_STAGE) is protect_stage
                ]
                for at, letter in self._tried(some, met_drift=protect_stage):
                    if letter is None:
                        del kept[at]
                    else:
                        kept[at] = letter
            self._keep(list(kept.values()))
        self.outcome = Outcome(merge(self._tallies), (*self._rows.finish(), *self._letters.finish()))

    def _opened(self, stored: Sequence[StoredLetter]) -> Iterator[tuple[int, OpenedLetter]]:
        """Yields the letters that can be tried, with their places."""
        wanted = [
            (place, each)
            for place, each in enumerate(stored)
            if self._reason is None or each.letter.reason == self._reason
        ]
        tenant, data_keys = self._stage.config.project.tenant, self._stage.stores.data_keys
        letters = [each for _, each in wanted]
        found = open_stored(letters, data_keys, tenant, at=by_clock(self._stage.config))
        for (place, _), opened in zip(wanted, found, strict=True):
            if opened is None:
                self._counts.closed += 1
            elif opened.record is None or not self._is_complete(opened):
                self._counts.skipped += 1
            else:
                self._counts.tried += 1
                yield place, opened

    def _is_complete(self, opened: OpenedLetter) -> bool:
        """Whether it is a record that still has what a decision needs: fields that the policy drops were not sealed."""
        letter, subject, dataset = opened.stored.letter, opened.stored.keys.subject, self._stage.dataset
        if letter.stage == CONSENT_STAGE or letter.dataset != self._stage.config.dataset:
            return False
        if subject is not None and self._stage.sealer.subject_of(opened.record or {}) != subject:
            return False
        dropped = dropped_paths(self._stage.config.policy, self._stage.config.dataset)
        return not any(dataset.event_time.is_under(path) for path in dropped)

    def _tried(
        self, letters: Sequence[tuple[int, OpenedLetter]], *, met_drift: bool
    ) -> Iterator[tuple[int, DeadLetter | None]]:
        """Yields what remains of letters: None where one was recovered or dropped, else the letter to keep."""
        remaining = _Remaining()
        records = [each.record or {} for _, each in letters]
        for found in record_batches(records, self._rows.columns, self._check_columns):
            if isinstance(found, pa.RecordBatch):
                self._protected(found, remaining, met_drift=met_drift)
            else:
                remaining.refused[found[0]] = (READ_STAGE, found[1].value)
        for number, (place, opened) in enumerate(letters):
            again = remaining.refused.get(number)
            if again is not None:
                yield place, self._refused(opened, *again)
            elif number not in remaining.waiting:
                yield place, None

    def _check_columns(self, schema: pa.Schema) -> None:
        check_dataset_columns(schema, self._stage.dataset, self._stage.config.dataset)

    def _protected(self, rows: pa.RecordBatch, remaining: _Remaining, *, met_drift: bool) -> None:
        """Decides about rows, protects them, and writes the vault and then what leaves."""
        stage, config = self._stage, self._stage.config
        decided = decide_batch(
            rows, stage.dataset, config.policy, stage.snapshot, stage.reference_key, config.now, purposes=stage.purposes
        )
        remaining.refuse(decided.rejected)
        if not decided.batch.num_rows:
            return
        prepared = self._prepare(decided.batch.schema)
        if not prepared.taken:
            self._counts.waiting += decided.batch.num_rows
            remaining.waiting.update(decided.batch[POSITION].to_pylist())
            return
        protected = protect_batch(
            decided.batch, prepared.plan, prepared.tokenizers, with_vault=True, recognizers=self._recognizers
        )
        remaining.refuse(protected.rejected)
        counts = {key: count for key, count in protected.tally.counts.items() if not (met_drift and key[0] == "drift")}
        self._tallies += [Tally(counts), stage.keep(protected.candidates)]
        self._counts.dropped += protected.tally[("rows", "dropped")]
        self._counts.recovered += protected.batch.num_rows
        if protected.batch.num_rows:
            self._rows.write(protected.batch, prepared.plan)

    def _prepare(self, schema: pa.Schema) -> _Prepared:
        if schema not in self._prepared:
            plan = self._stage.plan(schema)
            if len(self._prepared) >= MOST_PLANS:
                self._prepared.clear()
            self._prepared[schema] = _Prepared(plan, self._stage.tokenizers(plan), self._rows.takes(plan))
        return self._prepared[schema]

    def _refused(self, opened: OpenedLetter, stage: str, reason: str) -> DeadLetter:
        self._counts.failed += 1
        letter = opened.stored.letter
        if (letter.stage, letter.reason) == (stage, reason):
            return letter
        self._resealed += 1
        return self._stage.sealer.seal_again(
            letter, opened.record or {}, stage=stage, reason=reason, day_key=opened.day_key,
            subject_key=opened.subject_key,
        )  # fmt: skip

    def _keep(self, letters: Sequence[DeadLetter]) -> None:
        if letters:
            rows = [{name: getattr(each, name) for name in DEAD_LETTER_SCHEMA.names} for each in letters]
            self._letters.write(pa.RecordBatch.from_pylist(rows, schema=DEAD_LETTER_SCHEMA))

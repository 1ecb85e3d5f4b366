"""A stream: takes what is new of consents and records, an epoch at a time, and can be killed at any moment.

An epoch is written into the journal before it is done and sealed there when its files are complete; see ``journal``.
Consents are drained when the records of an epoch have arrived, so that whatever was there before them governs it: the
rule of ``consent_join``, as engines keep it. The vault follows the ledger as it
is: when consents arrive, with every write, and before every publication.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from ...schemas.dead_letter import DEAD_LETTER_SCHEMA
from ...schemas.errors import RecordsGoneError, RunError
from ...schemas.info_types import OnDrift
from ...transforms.consent_join import Watermark
from ...transforms.crypto.key_sets import ProofKeys, VaultKeys
from ...transforms.failures import guarded
from ...transforms.stage import SharedStage, Stage, StageConfig
from ...transforms.tally import Tally, merge
from ..letters import CONSENT_STAGE
from ..manifest_file import balanced_books
from ..outcome import READ, Outcome
from ..pipeline_runs import cores
from ..publication import DEAD_LETTERS
from ..retention import sweep_expired
from ..sinks import FileWriter
from .arrivals import Arrivals, Ready
from .compaction import mergeable
from .consent_feed import ConsentFeed, FeedResult
from .declared_columns import declared_columns
from .epoch_pipeline import EpochPipeline, EpochWork, Lane
from .epochs import Epoch, EpochAccount, EpochState, ends_of
from .journal import Journal, Topic
from .message_source import MessageTopic, Unread
from .output import StreamOutput
from .record_sink import RecordSink
from .sources import Part, StreamSource, lane_of
from .stream_manifest import PURGED, StreamState
from .stream_publication import StreamPublication

__all__ = ["EpochReport", "Stream"]

MANY = 50_000
"""Records from which it is worth to start threads that read side by side."""
MOST_ATTEMPTS = 8
"""How often an epoch is begun anew because its lanes took a new field for different things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """What an epoch came to, for whoever watches.

    Attributes:
        epoch: As it was settled.
        outcome: Counts and files; of a recovered epoch that was sealed, the files alone.
        account: In numbers.
    """

    epoch: Epoch
    outcome: Outcome
    account: EpochAccount


class Stream:
    """One stream into one output; used by one thread.

    Args:
        config: Of the stream; instant and ledger position are those of each epoch.
        state: Of the stream.
        source: Where records come from.
        consents: The topic of consent events; None: consents come by other ways.
        journal: Of the output.
        output: Locked.
        keys: Sign the manifest.
        vault_keys: The project's.
        clock: Microseconds UTC.
        sink: Takes protected records besides the output; None: nobody does.
        wait: Microseconds that records wait for consents that arrive a little later.
    """

    def __init__(
        self,
        config: StageConfig,
        state: StreamState,
        *,
        source: StreamSource,
        consents: MessageTopic | None,
        journal: Journal,
        output: StreamOutput,
        keys: ProofKeys,
        vault_keys: VaultKeys,
        clock: Callable[[], int],
        sink: RecordSink | None = None,
        wait: int = 0,
    ) -> None:
        self._shared = SharedStage(config)
        self._lent = self._shared.lend(vault_keys)
        self._stage: Stage = self._shared.open()
        self._source = source
        self._consents = consents
        self._new_consents = None if consents is None else Unread(consents)
        self._journal = journal
        self._output = output
        self._clock = clock
        self._sink = sink
        self._publication = StreamPublication(config, state, journal=journal, output=output, keys=keys, clock=clock)
        self._threads = cores()
        self._pipelines: dict[int, EpochPipeline] = {}
        self._feed = ConsentFeed(self._stage.stores.ledger, config.policy)
        self._source.know(journal.columns())
        self._arrivals = Arrivals(source, clock=clock, wait=wait)
        self._done = dict(journal.offsets(Topic.RECORDS))

    def recover(self) -> EpochReport | None:
        """Brings what was interrupted to its end, and returns what the last epoch came to if it is among that."""
        self._arrivals.forget()
        self._publication.recover()
        last = self._journal.last()
        if last is None or last[1] is EpochState.DONE:
            return None
        epoch, state = last
        began = time.monotonic()
        if state is EpochState.OPEN:
            return self._done_again(epoch, began)
        outcome = Outcome(receipts=self._journal.sealed_files(epoch))
        self._reveal(epoch, outcome)
        return EpochReport(epoch=epoch, outcome=outcome, account=self._journal.accounts(1)[0])

    def _done_again(self, epoch: Epoch, began: float) -> EpochReport | None:
        try:
            return self._processed(epoch, began, lag=0)
        except RecordsGoneError:
            # Nobody has seen anything of it. What it was to read is taken anew, as far as it is there.
            self._journal.abandon(epoch)
            return None

    def step(self, most: int) -> EpochReport | None:
        """Sees which records there are, takes the consents that there are then, and makes an epoch; None: of nothing.

        Args:
            most: Records that an epoch may have.

        Raises:
            PrivacyError: A topic, a store or the disk cannot be used; the epoch, if one was begun, stays open.
        """
        began = time.monotonic()
        try:
            lag = self._arrivals.look(self._done, most)
        finally:  # consents count while records cannot be reached
            instant = self._clock() + 1  # what was seen now was there before
            consents = self._taken_consents()
        ready = self._arrivals.ready(Watermark(instant, self._stage.stores.ledger.position()), most)
        if not ready.parts and not consents:
            return None
        epoch = self._settled(ready, consents)
        self._journal.begin(epoch)
        self._arrivals.take(ready)
        return self._processed(epoch, began, lag=lag + self._arrivals.waiting)

    @property
    def is_waiting(self) -> bool:
        """Whether records have arrived that wait for their consents."""
        return self._arrivals.waiting > 0

    def compact(self) -> bool:
        """Merges some small files, if there are many, and returns whether there were.

        Raises:
            RunError: A file cannot be read, or the disk refused.
        """
        merge = self._output.merged(chosen) if (chosen := mergeable(self._journal.outcome().receipts)) else None
        if merge is None:
            return False
        self._journal.seal_merge(merge)
        self._publication.show_merge(merge)
        return True

    def tidy(self) -> None:
        """Rebuilds the vault's files if they owe that, which may take a while."""
        if (vault := self._stage.stores.vault) is not None:
            vault.rebuild_owed()

    def sweep(self, now: int) -> None:
        """Destroys keys of dead letters and values of the vault whose time is over.

        Args:
            now: Microseconds UTC.
        """
        stores = self._stage.stores
        sweep_expired(stores.data_keys, stores.vault, self._stage.config.policy, now)

    @guarded(CONSENT_STAGE)
    def _taken_consents(self) -> tuple[Part, ...]:
        """Appends new consents to the ledger, and returns the parts that hold faulty ones, for the epoch to seal."""
        if self._consents is None or self._new_consents is None:
            self._follow()
            return ()
        parts, _ = self._new_consents.take(self._journal.offsets(Topic.CONSENTS))
        faulty = sum(len(each.faulty) for each in self._fed(parts)) if parts else 0
        self._follow()
        if faulty:
            return parts
        if parts:
            self._journal.skip(Topic.CONSENTS, ends_of(parts))
            self._consents.commit(ends_of(parts))
        return ()

    def _fed(self, parts: Sequence[Part]) -> Iterator[FeedResult]:
        assert self._consents is not None
        now = self._clock()
        return (self._feed.take(messages, now=now) for messages in self._consents.messages(0, parts))

    def _follow(self) -> None:
        purged = self._stage.follow_ledger(self._clock())
        self._journal.count(Tally({PURGED: purged} if purged else {}))

    def _settled(self, ready: Ready, consents: tuple[Part, ...]) -> Epoch:
        last, clock = self._journal.last(), self._clock()
        return Epoch(
            number=1 if last is None else last[0].number + 1,
            parts=ready.parts,
            consents=consents,
            now=clock if last is None else max(clock, last[0].now),
            ledger_position=ready.position,
            key_version=self._stage.config.key_version,
            started_at=clock,
        )

    def _processed(self, epoch: Epoch, began: float, *, lag: int) -> EpochReport:
        stage = self._shared.settled_anew(
            replace(
                self._stage.config,
                now=epoch.now,
                ledger_position=epoch.ledger_position,
                key_version=epoch.key_version,
                started_at=epoch.started_at,
            )
        )
        outcome, columns = self._carried_out(epoch, stage)
        books = balanced_books(outcome)
        self._follow()
        self._output.sync_staging()
        account = EpochAccount(
            number=epoch.number,
            records=books.in_,
            out=books.out,
            dropped=books.dropped,
            dead_lettered=books.dead_lettered,
            lag=lag,
            seconds=time.monotonic() - began,
            sealed_at=self._clock(),
        )
        self._journal.seal(epoch, outcome, columns, account)
        self._reveal(epoch, outcome)
        return EpochReport(epoch=epoch, outcome=outcome, account=account)

    def _carried_out(self, epoch: Epoch, stage: SharedStage) -> tuple[Outcome, pa.Schema]:
        """Returns what an epoch comes to, and the columns to remember."""
        for _ in range(MOST_ATTEMPTS):
            self._output.clear_staging()
            work = self._work(epoch, stage)
            outcome = self._read_and_written(epoch, work)
            columns, agreed = self._source.learned()
            self._source.know(columns)
            if agreed:
                work.send()
                return outcome, self._remembered(columns)
        raise RunError(f"epoch {epoch.number}: its partitions do not agree about the type of a new field; report it")

    def _read_and_written(self, epoch: Epoch, work: EpochWork) -> Outcome:
        letters = self._letters_of_consents(epoch, work.stage.open()) if epoch.consents else Outcome()
        if not epoch.parts:
            return letters
        threads = len(work.shares)
        if threads not in self._pipelines:
            self._pipelines[threads] = EpochPipeline(threads)
        found = self._pipelines[threads].run(work)
        return Outcome(merge((letters.tally, found.tally)), (*letters.receipts, *found.receipts))

    def _work(self, epoch: Epoch, stage: SharedStage) -> EpochWork:
        lanes = _lanes(epoch.parts, self._threads)
        few = sum(part.end - part.start for part in epoch.parts) < MANY
        return EpochWork(
            shares=[lanes] if few else [[lane] for lane in lanes],
            source=self._source,
            stage=stage,
            event_time=self._stage.dataset.event_time,
            place=str(self._output.staging),
            name=epoch.name,
            sink=self._sink,
        )

    @guarded(CONSENT_STAGE)
    def _letters_of_consents(self, epoch: Epoch, stage: Stage) -> Outcome:
        """Seals the faulty events among the consents of an epoch; those that are sound are known already."""
        writer = FileWriter(str(self._output.staging), DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=f"{epoch.name}-consents")
        counts: Counter[tuple[str, ...]] = Counter()
        for part in epoch.consents:
            for fed in self._fed([part]):
                letters = stage.sealer.seal_lines(fed.faulty, part.partition, stage=CONSENT_STAGE)
                writer.write(letters)
                counts[READ] += letters.num_rows
                counts.update(("rejected", CONSENT_STAGE, reason) for reason in letters["reason"].to_pylist())
        return Outcome(Tally(counts), tuple(writer.finish()))

    def _remembered(self, columns: pa.Schema) -> pa.Schema:
        if self._stage.dataset.on_drift is OnDrift.PROTECT_AS_FOUND:
            return columns
        return declared_columns(columns, self._stage.dataset)

    def _reveal(self, epoch: Epoch, outcome: Outcome) -> None:
        """Shows readers a sealed epoch, and tells the topics how far it came."""
        self._publication.show_epoch(epoch, outcome.receipts)
        self._done.update(ends_of(epoch.parts))
        self._source.commit(ends_of(epoch.parts))
        if self._consents is not None and epoch.consents:
            self._consents.commit(ends_of(epoch.consents))


def _lanes(parts: Sequence[Part], count: int) -> list[Lane]:
    """Returns the parts in lanes; a partition is in the same one each time."""
    lanes: dict[int, list[Part]] = defaultdict(list)
    for part in parts:
        lanes[lane_of(part.partition, count)].append(part)
    return [Lane(number, tuple(lanes[number])) for number in sorted(lanes)]

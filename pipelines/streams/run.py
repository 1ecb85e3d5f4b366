"""Runs a stream until it is told to stop: settles it, recovers it, and steps, faster or slower as records come."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

from ...schemas.errors import OutputError, PrivacyError, RunError, StoreError
from ...schemas.policy import Policy
from ...schemas.policy_file import read_policy
from ...schemas.project import Project
from ...transforms.protection_plan import dataset_domains, dataset_of, field_rules
from ...transforms.stage import StageConfig, settle_stage
from ..checkpoints import Checkpoints
from ..desk import check_stores
from ..keyring_files import open_proof_keys, open_vault_keys
from ..known_outputs import KnownOutput, open_known_outputs, place_of
from ..manifest_file import key_versions_of
from ..outcome import READ, READ_BYTES
from .epoch_sizes import EpochSizes
from .journal import KEY_VERSION, Journal, open_journal
from .message_source import MessageTopic
from .output import check_no_engine, open_stream_output
from .record_sink import RecordSink
from .sources import StreamSource
from .stream import EpochReport, Stream
from .stream_manifest import StreamState

__all__ = ["Observer", "StreamOptions", "known_stream", "note_stream", "run_stream", "settled_state"]

IDLE_SECONDS = 0.02
IDLE_ENOUGH = 0.5
"""Seconds without anything new after which nothing is left, for what is on its way takes some."""
SWEEP_SECONDS = 60.0
EPOCHS_BETWEEN_MERGES = 32
"""Where a stream is never idle."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a failed step is tried again."""
LASTING = frozenset({"store_damaged", "books_unbalanced", "records_gone"})
"""Reasons of failures that trying again does not help."""


class Observer(Protocol):
    """Who is told what a stream does; nothing of it is a value or an id."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch is done."""
        ...

    def failed(self, failure: PrivacyError, pause: float) -> None:
        """A step failed, and is tried again after some seconds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How a stream runs.

    Attributes:
        dataset: The dataset of the policy that records belong to.
        out: Folder of the output.
        latency: Seconds that an epoch may take.
        memory: Bytes that the records of an epoch may take.
        wait: Seconds that records wait for consents that arrive a little later.
        patient: Whether a step that fails is tried again until it succeeds; else the stream ends with its error.
    """

    dataset: str
    out: str
    latency: float = 0.3
    memory: int = 1 << 30
    wait: float = 0.0
    patient: bool = True


def run_stream(
    project: Project,
    options: StreamOptions,
    *,
    source: StreamSource,
    consents: MessageTopic | None,
    observer: Observer,
    stop: threading.Event,
    until_idle: bool = False,
    sink: RecordSink | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> None:
    """Streams records into an output until it is told to stop; then the epoch that has begun is finished first.

    Args:
        project: Names policy, keys and stores.
        options: How to run.
        source: Where records come from.
        consents: The topic of consent events; None: they come by other ways.
        observer: Told what happens.
        stop: Set from outside.
        until_idle: Whether to stop when nothing is left to read, nor to merge.
        sink: Takes protected records besides the output; None: nobody does.
        clock: Microseconds UTC.

    Raises:
        ConfigError: Policy, dataset or the output do not fit; nothing was done.
        OutputError: The output cannot be used, or another stream writes to it.
        PrivacyError: What trying again does not help: a damaged store, a key, records that are gone.
    """
    policy = read_policy(project.policy)
    dataset_of(policy, options.dataset)
    check_no_engine(options.out)
    keys = open_proof_keys(project)
    check_stores(project)
    with (
        open_stream_output(options.out) as output,
        open_journal(output.journal) as journal,
        Checkpoints(project, clock=clock) as checkpoints,
    ):
        started_at = clock()
        vault_keys = open_vault_keys(project)
        config = settle_stage(
            project, policy, options.dataset, now=started_at, started_at=started_at, vault_keys=vault_keys
        )
        config = replace(config, key_version=journal.settle(KEY_VERSION, config.key_version))
        fresh = StreamState.of(key_versions_of(config), started_at)
        state = settled_state(journal, project, policy, options.dataset, source.name, fresh, begins=True)
        note_stream(project, known_stream(config, state, options.out, started_at))
        stream = Stream(
            config,
            state,
            source=source,
            consents=consents,
            journal=journal,
            output=output,
            keys=keys,
            vault_keys=vault_keys,
            clock=clock,
            sink=sink,
            wait=round(options.wait * 1_000_000),
        )
        stream.tidy()
        _Loop(stream, options, observer, stop, clock, checkpoints).run(until_idle)


def known_stream(config: StageConfig, state: StreamState, out: str, started_at: int) -> KnownOutput:
    """Returns what the project is to know of a stream's output: it may come to have all tokens of its dataset."""
    domains = sorted(dataset_domains(config.policy, config.dataset))
    return KnownOutput(
        place=place_of(out),
        run=state.run,
        dataset=config.dataset,
        published=True,
        versions=dict.fromkeys(domains, config.key_version),
        noted_at=started_at,
    )


def note_stream(project: Project, fresh: KnownOutput) -> None:
    """Notes which tokens an output may have, besides those that the stream was known to have before."""
    with closing(open_known_outputs(project)) as known:
        before = [each.needs for each in known.all() if (each.place, each.run) == (fresh.place, fresh.run)]
        known.note(replace(fresh, also=frozenset().union(*before)))


def settled_state(
    journal: Journal, project: Project, policy: Policy, dataset: str, source: str, fresh: StreamState, *, begins: bool
) -> StreamState:
    """Returns what stands of the stream of an output, and refuses to go on with another one's.

    Args:
        journal: Of the output.
        project: Of the stream.
        policy: As it is now.
        dataset: Of the records.
        source: What people call where they come from.
        fresh: What stands of a stream that begins now.
        begins: Whether the stream begins or goes on, so that the treatment of fields that are new in the policy is
            settled from now on.

    Raises:
        ConfigError: Tenant, dataset, source, or how a field is treated is another than it was.
    """
    journal.check("tenant", project.tenant, option="--config")
    journal.check("dataset", dataset, option="--dataset")
    journal.check("source", source, option="--from")
    for path, rule in field_rules(policy, dataset).items():
        journal.check(f"field {path}", rule, option=f"policy: fields.{path}", settle=begins)
    run = journal.settle("run", f"stream-{secrets.token_hex(8)}")
    return replace(fresh, run=run, source=source, started_at=journal.settle("started_at", fresh.started_at))


@dataclass(slots=True)
class _Loop:
    """Steps until it is told to stop."""

    stream: Stream
    options: StreamOptions
    observer: Observer
    stop: threading.Event
    clock: Callable[[], int]
    checkpoints: Checkpoints
    pause: float = FIRST_PAUSE
    swept: float = float("-inf")

    def run(self, until_idle: bool) -> None:
        sizes = EpochSizes(latency=self.options.latency, memory=self.options.memory)
        recovered, idle = False, 0.0
        while not self.stop.is_set():
            try:
                self._sweep()
                report = self.stream.step(sizes.most) if recovered else self.stream.recover()
            except (RunError, StoreError, OutputError) as failure:
                if not self._waits(failure):
                    raise
                recovered = False
                continue
            self.pause = FIRST_PAUSE
            self.checkpoints.look()
            if report is not None:
                idle = 0.0
                self._noted(report, sizes)
                if report.account.number % EPOCHS_BETWEEN_MERGES == 0:
                    self.stream.compact()
            elif recovered and not self.stream.compact():
                waits = self.stream.is_waiting
                idle = 0.0 if waits else idle + IDLE_SECONDS
                if until_idle and not waits and idle >= IDLE_ENOUGH:
                    return
                self.stop.wait(IDLE_SECONDS)
            recovered = True

    def _noted(self, report: EpochReport, sizes: EpochSizes) -> None:
        tally, account = report.outcome.tally, report.account
        sizes.note(records=tally[READ], read_bytes=tally[READ_BYTES], seconds=account.seconds, lag=account.lag)
        self.observer.epoch(report)

    def _waits(self, failure: PrivacyError) -> bool:
        """Waits before the next attempt, longer each time; returns False where trying again is no use."""
        if not self.options.patient or failure.reason in LASTING:
            return False
        self.observer.failed(failure, self.pause)
        self.stop.wait(self.pause)
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        return True

    def _sweep(self) -> None:
        """Now and then destroys keys and values whose time is over."""
        if time.monotonic() - self.swept < SWEEP_SECONDS:
            return
        self.stream.sweep(self.clock())
        self.swept = time.monotonic()

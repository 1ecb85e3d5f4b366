"""Protects files: settles a run, has a runner do it, balances its books, and publishes what it wrote."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import apache_beam as beam

from ..schemas.manifest import Inputs, Manifest
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.protection_plan import check_dataset_columns, dataset_of, plan_protection
from ..transforms.stage import SharedStage, StageConfig, settle_stage
from .checkpoints import Checkpoints
from .desk import check_stores, distribution_rules, open_stores
from .file_systems import check_file_system
from .fitting_inputs import check_some_column_leaves, check_some_header
from .graph import ProtectFiles, RunWatch, SharedWatch
from .keyring_files import open_proof_keys
from .known_outputs import KnownOutput, noted_run, place_of
from .manifest_file import SettledRun, balanced_books, key_versions_of, manifest_of_run, sign_manifest
from .outcome import Outcome, read_outcome
from .pipeline_runs import LOCAL_RUNNER, open_pipeline, run_pipeline
from .publication import Publication, open_publication
from .retention import sweep_expired
from .sinks import write_empty
from .sources import Sources, plan_sources
from .tokenized_inputs import check_untokenized

__all__ = ["Progress", "run_protect"]

POLL_SECONDS = 0.2

Progress = Callable[[int, int], None]
"""Called with (done, total) while a run goes on; a total of 0 means unknown."""


def run_protect(
    project: Project,
    inputs: Sequence[str],
    dataset: str,
    out: str,
    *,
    now: int,
    replace: bool = False,
    runner: str = LOCAL_RUNNER,
    beam_args: Sequence[str] = (),
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Manifest:
    """Protects files into an output that appears whole, and returns its manifest.

    Args:
        project: Names policy, keys and stores.
        inputs: Files, folders or globs, local or of any Beam file system.
        dataset: The dataset of the policy that they hold.
        out: The output's folder; see ``publication``.
        now: Microseconds UTC: the one instant of all decisions.
        replace: Whether an earlier output may be exchanged.
        runner: ``FnApiRunner``, threads on this machine, or the name of any other Beam runner.
        beam_args: Options of the runner, as ``--name=value``.
        progress: Called with (done, total), from another thread.
        stop: Set to end the run before its time; heard where workers are threads of this process.
        clock: Microseconds UTC; for what the manifest says of the run, and for the vault and day keys.

    Returns:
        The signed manifest, as it stands in ``out``.

    Raises:
        ConfigError: Policy, dataset, inputs or options do not fit; nothing was done.
        InputError: An input cannot be read, or holds tokens of an earlier run; nothing was done.
        OutputError: ``out`` cannot be used; nothing was done.
        RunError: The run failed, or its books do not balance; nothing became visible.
        StoppedError: The run was told to stop before it was published; nothing became visible.
        PrivacyError: Keys or stores cannot be used.
    """
    started_at = clock()
    policy = read_policy(project.policy)
    dataset_of(policy, dataset)
    keys = open_proof_keys(project)  # before anything: what could not be signed is not begun
    check_stores(project)
    check_file_system(out)
    pipeline = open_pipeline(runner, beam_args)
    sources = _fitting_sources(inputs, policy, dataset)
    run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started_at // 1_000_000))}-{secrets.token_hex(4)}"
    with open_publication(out, run=run, replace=replace) as publication, open_stores(project) as stores:
        sweep_expired(stores.data_keys, stores.vault, policy, started_at)
        stores.vault.follow(stores.ledger, distribution_rules(policy), started_at)
        stores.vault.rebuild_owed()
        config = settle_stage(project, policy, dataset, now=now, started_at=started_at, vault_keys=stores.keys)
        settled = _settled(run, config, sources, started_at)
        stage = SharedStage(config)
        with noted_run(project, _known(settled, out)):
            lent = stage.lend(stores.keys)  # workers that are threads of this process use them, too
            outcome = _carried_out(pipeline, sources, settled, stage, publication, progress, stop)
            del lent
            books = balanced_books(outcome)
            # The vault follows the ledger before every publication: a withdrawal during the run counts.
            purged = stores.vault.follow(stores.ledger, distribution_rules(policy), clock())
            manifest = manifest_of_run(settled, outcome, books=books, purged=purged, finished_at=clock())
            signed = sign_manifest(manifest, keys)
            publication.publish([file.path for file in signed.files], signed.dumps())
    with Checkpoints(project, clock=clock) as checkpoints:
        checkpoints.look()
    return signed


def _fitting_sources(inputs: Sequence[str], policy: Policy, dataset: str) -> Sources:
    """Returns the sources, or refuses what the dataset cannot be."""
    sources = plan_sources(inputs)
    check_some_header(sources)
    check_dataset_columns(sources.schema, dataset_of(policy, dataset), dataset)
    check_some_column_leaves(sources.schema, policy, dataset)
    check_untokenized(sources, policy, dataset)
    return sources


def _settled(run: str, config: StageConfig, sources: Sources, started_at: int) -> SettledRun:
    return SettledRun(
        id=run,
        config=config,
        plan=plan_protection(config.policy, config.dataset, sources.schema, key_version=config.key_version),
        inputs=Inputs(files=len(sources.files), bytes=sources.total_bytes),
        key_versions=key_versions_of(config),
        started_at=started_at,
    )


def _known(run: SettledRun, out: str) -> KnownOutput:
    return KnownOutput(
        place=place_of(out),
        run=run.id,
        dataset=run.config.dataset,
        published=False,
        versions=dict.fromkeys(run.plan.domains(), run.config.key_version),
        noted_at=run.started_at,
    )


def _carried_out(
    pipeline: beam.Pipeline,
    sources: Sources,
    run: SettledRun,
    stage: SharedStage,
    publication: Publication,
    progress: Progress | None,
    stop: threading.Event | None,
) -> Outcome:
    shared = SharedWatch()
    watch = shared.open(stop)
    pipeline | "ProtectFiles" >> ProtectFiles(
        sources.splits,
        schema=sources.schema,
        written=run.plan.schema,
        stage=stage,
        place=publication.place,
        notes=publication.notes,
        run=run.id,
        watch=shared,
    )
    with _reported(watch, progress):
        run_pipeline(pipeline)
    watch.go_on()
    return _with_columns(read_outcome(publication.notes), publication, run)


@contextmanager
def _reported(watch: RunWatch, progress: Progress | None) -> Iterator[None]:
    """Calls ``progress`` now and then while the block runs."""
    if progress is None:
        yield
        return
    done = threading.Event()

    def report() -> None:
        while not done.wait(POLL_SECONDS):
            progress(watch.count, 0)

    reporter = threading.Thread(target=report, name="consentry-progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
    progress(watch.count, watch.count)


def _with_columns(outcome: Outcome, publication: Publication, run: SettledRun) -> Outcome:
    """Returns the outcome with a file of no rows where there was none, so that the output has its columns."""
    if any(receipt.path.startswith("data/") for receipt in outcome.receipts) or not run.plan.columns:
        return outcome
    return Outcome(outcome.tally, (*outcome.receipts, write_empty(publication.place, run.plan.schema, run=run.id)))

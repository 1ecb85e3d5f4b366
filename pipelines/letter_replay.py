"""Replays the dead letters of a run's output, as policy and ledger are now, and publishes a new state.

The new state of the output has the old data files as they were (hard links), the recovered rows in files of their own,
the letters that remain, and a signed manifest whose books balance. It takes the place of the old state by one
exchange of folders. How letters are tried is told in ``letter_trial``; the output of a stream is replayed by
``streams.stream_replay``.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.errors import ConfigError, OutputError
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.protection_plan import ProtectionPlan
from ..transforms.stage import Stage, settle_stage
from .desk import check_stores
from .keyring_files import open_proof_keys, open_vault_keys
from .known_outputs import note_output
from .letter_manifest import data_files, manifest_after_replay
from .letter_records import first_difference, record_columns
from .letter_trial import LetterTrial, ReplayReport, opened_stage
from .letters import LetterOutput
from .manifest_file import SettledRun, key_versions_of
from .output_state import alone_in, exchange_state, sound_output
from .output_versions import known_output
from .publication import DATA, LocalPublication, is_local, open_publication
from .sinks import FileWriter, Receipt

__all__ = ["ReplayReport", "replay_letters"]


def replay_letters(
    project: Project,
    out: str,
    *,
    now: int,
    reason: str | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> ReplayReport:
    """Replays the dead letters of an output, and publishes its new state if there is one.

    Args:
        project: Names policy, keys and stores.
        out: A local output of ``protect``.
        now: Microseconds UTC: the one instant of all decisions.
        reason: Only letters of this reason; None: all.
        clock: Microseconds UTC; for the manifest, the vault and day keys.

    Raises:
        ConfigError: The output is none of this project, or the policy would write other fields; nothing was done.
        OutputError: ``out`` cannot be exchanged; nothing was done.
        IntegrityError: The output is not as it was signed; nothing was done.
        RunError: The replay failed; the output is as it was.
        PrivacyError: Keys or stores cannot be used.
    """
    started_at = clock()
    _check_local(out)
    policy = read_policy(project.policy)
    keys = open_proof_keys(project)
    check_stores(project)
    with alone_in(out):
        output = _replayable(project, out)
        vault_keys = open_vault_keys(project)
        config = settle_stage(
            project, policy, output.manifest.dataset, now=now, started_at=started_at, vault_keys=vault_keys
        )
        # The tokens of an output are of one version, whatever has been rotated since.
        config = replace(config, key_version=output.manifest.key_versions.token)
        run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started_at // 1_000_000))}-{secrets.token_hex(4)}"
        with open_publication(out, run=run, replace=True) as publication, opened_stage(config, vault_keys) as stage:
            assert isinstance(publication, LocalPublication)
            stage.follow_ledger(started_at)
            rows = _OneSchema(output, stage, place=publication.place, run=run)
            trial = LetterTrial(output, stage, rows, place=publication.place, run=run, reason=reason)
            trial.work_off()
            if not trial.changed:
                return trial.report(output.manifest)
            purged = stage.follow_ledger(clock())
            settled = SettledRun(
                id=run,
                config=config,
                plan=rows.plan,
                inputs=output.manifest.inputs,
                key_versions=key_versions_of(config),
                started_at=started_at,
            )
            manifest = manifest_after_replay(
                output.manifest, settled, trial.outcome, purged=purged, finished_at=clock()
            )
            # Before anybody sees them: rows that were recovered may have tokens of domains that the output had none of.
            note_output(project, known_output(manifest, policy, out, noted_at=clock()))
            signed = exchange_state(publication, output, manifest, keys, kept=data_files(output.manifest))
            return trial.report(signed)


def _check_local(out: str) -> None:
    if not is_local(out):
        raise OutputError(
            f"{out}: dead letters are replayed in a local output only; copy the output to a disk, replay it there, "
            "and copy it back, or protect the inputs again"
        )


def _replayable(project: Project, out: str) -> LetterOutput:
    """Returns an output that is as it was signed, and no stream's."""
    output = sound_output(project, out)
    if output.manifest.stream is not None:
        raise ConfigError(
            f"{out}: is the output of a stream without its journal, so its letters can be listed and shown alone; "
            "replay them where the stream writes"
        )
    return output


class _OneSchema:
    """Takes recovered rows for an output whose files all have one schema.

    Args:
        output: Signed and checked.
        stage: Settled for the replay.
        place: Folder of the new state.
        run: Part of the files' names.

    Attributes:
        plan: Of the rows; ``absent`` are the paths that no record had.

    Raises:
        ConfigError: The policy would write other fields.
    """

    def __init__(self, output: LetterOutput, stage: Stage, *, place: str, run: str) -> None:
        self._name = output.name
        self._place = place
        self._run = run
        self._written = _data_schema(output)
        self._rows: FileWriter | None = None
        self.plan = stage.plan(pa.schema([]) if self._written is None else record_columns({}, self._written))
        self._check_same(self.plan)  # before anything is done

    @property
    def columns(self) -> pa.Schema | None:
        """Those of the data files; None where there is none yet."""
        return self._written

    def takes(self, plan: ProtectionPlan) -> bool:
        """Returns True.

        Raises:
            ConfigError: The policy would write other fields.
        """
        self._check_same(plan)
        self.plan = replace(plan, absent=tuple({*self.plan.absent} & {*plan.absent}))
        return True

    def _check_same(self, plan: ProtectionPlan) -> None:
        """Refuses a policy that would write other fields: an output has one schema."""
        different = None if self._written is None else first_difference(self._written, plan.schema)
        if different is not None:
            path, how = different
            raise ConfigError(
                f"{self._name}: field {path}: {how}, and one output has one schema; protect the inputs anew "
                "with --replace, or give the policy back what it said of this field; the output is as it was",
                reason="schema_changed",
            )

    def write(self, rows: pa.RecordBatch, plan: ProtectionPlan) -> None:
        """Writes rows to a data file."""
        if self._rows is None:
            self._rows = FileWriter(self._place, DATA, plan.schema, run=self._run)
            self._written = plan.schema if self._written is None else self._written
        self._rows.write(rows)

    def finish(self) -> Sequence[Receipt]:
        """Completes the files."""
        return () if self._rows is None else self._rows.finish()


def _data_schema(output: LetterOutput) -> pa.Schema | None:
    """Returns the columns of the output's data files, which are the same in all; None where it has no file."""
    for file in output.manifest.files:
        if file.kind == "data":
            with output.folder.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
                return parquet.schema_arrow
    return None

"""Replays the dead letters of a stream's output, while the stream is stopped.

The recovered rows become files by day, as in an epoch. One transaction of the journal takes the old files of letters
out, puts rows and remaining letters in, and moves the counts; from there on the replay is shown, if need be by the next
program that starts (``stream_publication``). Until then nothing of it is there, except what the vault was permitted.

The columns are those that the journal knows. What a field is that the stream has not met yet, its source alone can
tell, so letters with a declared one wait until it has.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from ...schemas.errors import ConfigError, IntegrityError
from ...schemas.manifest import Manifest
from ...schemas.policy_file import read_policy
from ...schemas.project import Project
from ...transforms.crypto.key_sets import PublicKeys, VaultKeys
from ...transforms.nested_columns import is_list, list_type
from ...transforms.protection_plan import ProtectionPlan, leaves
from ...transforms.stage import Stage, StageConfig, settle_stage
from ...transforms.tally import Tally, merge
from ..desk import check_stores
from ..keyring_files import open_proof_keys, open_vault_keys
from ..letter_records import record_columns
from ..letter_trial import LetterTrial, ReplayReport, opened_stage
from ..letters import LetterOutput, open_letter_output
from ..manifest_file import balanced_books, key_versions_of
from ..outcome import Outcome
from ..publication import DEAD_LETTERS
from ..sinks import Receipt
from .dated_files import DatedFiles
from .epochs import EpochState
from .journal import KEY_VERSION, Journal, Replay, open_journal
from .output import StreamOutput, is_stream_output, open_stream_output
from .run import known_stream, note_stream, settled_state
from .stream_manifest import PURGED, StreamState
from .stream_publication import StreamPublication

__all__ = ["finish_interrupted", "replay_stream_letters", "settled_stream"]


def replay_stream_letters(
    project: Project,
    out: str,
    *,
    now: int,
    reason: str | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> ReplayReport:
    """Replays the dead letters of a stream that is stopped; what was interrupted is brought to its end first.

    Args:
        project: Names policy, keys and stores.
        out: The output of a stream.
        now: Microseconds UTC: the one instant of all decisions; that of the last epoch where this is later.
        reason: Only letters of this reason; None: all.
        clock: Microseconds UTC; for the manifest, the vault and day keys.

    Raises:
        ConfigError: The output is no stream's of this project, or the policy treats fields otherwise; nothing was done.
        OutputError: The stream runs, or another replay; nothing was done.
        IntegrityError: The letters are not as they were signed; nothing was done.
        PrivacyError: The replay failed, or keys or stores cannot be used. Run it again; what it had sealed is shown
            then, or when the stream starts.
    """
    if not is_stream_output(out):
        raise ConfigError(f"{out}: is no output of a stream; name the --out of `consentry stream`")
    keys = open_proof_keys(project)
    check_stores(project)
    with open_stream_output(out) as output, open_journal(output.journal) as journal:
        vault_keys = open_vault_keys(project)
        config, state = settled_stream(journal, project, out, vault_keys, now, clock())
        note_stream(project, known_stream(config, state, out, clock()))
        publication = StreamPublication(config, state, journal=journal, output=output, keys=keys, clock=clock)
        finish_interrupted(publication, journal)
        found = _sound_letters(journal, out, PublicKeys.load(project.trust))
        with opened_stage(_not_before_last_epoch(config, journal), vault_keys) as stage:
            replay = _StreamReplay(found, stage, journal=journal, output=output, clock=clock)
            return replay.carried_out(publication, reason=reason)


def settled_stream(
    journal: Journal, project: Project, out: str, vault_keys: VaultKeys, now: int, started_at: int
) -> tuple[StageConfig, StreamState]:
    """Returns what stands of the stream, as when it starts again, with the instant of the replay."""
    dataset, source = journal.setting("dataset"), journal.setting("source")
    if dataset is None or source is None:
        raise ConfigError(f"{out}: its stream never began, so there is nothing to replay; start the stream")
    policy = read_policy(project.policy)
    config = settle_stage(project, policy, dataset, now=now, started_at=started_at, vault_keys=vault_keys)
    config = replace(config, key_version=journal.settle(KEY_VERSION, config.key_version))
    fresh = StreamState.of(key_versions_of(config), started_at)
    return config, settled_state(journal, project, policy, dataset, source, fresh, begins=False)


def finish_interrupted(publication: StreamPublication, journal: Journal) -> None:
    """Shows what is sealed; an epoch that is open is left to the stream, which can read it."""
    publication.recover()
    last = journal.last()
    if last is not None and last[1] is EpochState.SEALED:
        publication.show_epoch(last[0], journal.sealed_files(last[0]))


def _not_before_last_epoch(config: StageConfig, journal: Journal) -> StageConfig:
    last = journal.last_sealed()
    return config if last is None else replace(config, now=max(config.now, last.now))


def _sound_letters(journal: Journal, out: str, trust: PublicKeys) -> LetterOutput:
    """Returns the output, if its letters are those that the journal knows: what takes their place is vouched for."""
    output = open_letter_output(out, trust)
    listed = {(file.path, file.sha256) for file in output.manifest.files if file.kind == DEAD_LETTERS}
    known = {(receipt.path, receipt.sha256) for receipt in _letter_files(journal.outcome())}
    if listed != known:
        raise IntegrityError(
            f"{out}: its manifest is not of the state that the stream remembers, so nothing was replayed; restore the "
            "output with its _stream folder, or start the stream, which writes a new manifest with its next epoch"
        )
    return output


def _letter_files(outcome: Outcome) -> list[Receipt]:
    return [receipt for receipt in outcome.receipts if receipt.path.startswith(f"{DEAD_LETTERS}/")]


class _StreamReplay:
    """One replay, between the letters as they were found and the journal."""

    def __init__(
        self, found: LetterOutput, stage: Stage, *, journal: Journal, output: StreamOutput, clock: Callable[[], int]
    ) -> None:
        self._found = found
        self._stage = stage
        self._journal = journal
        self._output = output
        self._clock = clock

    def carried_out(self, publication: StreamPublication, *, reason: str | None) -> ReplayReport:
        """Tries the letters, seals what came of it, and shows it."""
        self._follow()
        self._output.clear_staging()
        place, run = str(self._output.staging), f"replay-{secrets.token_hex(4)}"
        rows = _KnownColumns(self._stage, self._journal.columns(), place=place, run=run)
        trial = LetterTrial(self._found, self._stage, rows, place=place, run=run, reason=reason)
        trial.work_off()
        self._follow()
        manifest = self._shown(trial.outcome, publication) if trial.changed else self._found.manifest
        self._output.clear_staging()
        return trial.report(manifest)

    def _follow(self) -> None:
        purged = self._stage.follow_ledger(self._clock())
        self._journal.count(Tally({PURGED: purged} if purged else {}))

    def _shown(self, made: Outcome, publication: StreamPublication) -> Manifest:
        before = self._journal.outcome()
        gone = _letter_files(before)
        tally = merge((made.tally, _moved(gone, _letter_files(made))))
        replay = Replay(gone=tuple(receipt.path for receipt in gone), made=made.receipts)
        kept = [receipt for receipt in before.receipts if not receipt.path.startswith(f"{DEAD_LETTERS}/")]
        balanced_books(Outcome(merge((before.tally, tally)), (*kept, *made.receipts)))
        self._output.sync_staging()
        config = self._stage.config
        self._journal.seal_replay(replay, tally, now=config.now, ledger_position=config.ledger_position)
        return publication.show_replay(replay)


def _moved(gone: Sequence[Receipt], made: Sequence[Receipt]) -> Tally:
    """Returns how many letters there are more of each stage and reason, or less, which is negative."""
    counts: Counter[tuple[str, ...]] = Counter()
    for receipts, sign in ((made, 1), (gone, -1)):
        for receipt in receipts:
            for (stage, reason), count in receipt.reasons.items():
                counts["rejected", stage, reason] += sign * count
    return Tally(counts)


class _KnownColumns:
    """Takes recovered rows of the columns that a stream knows, into files by day.

    Args:
        stage: Settled for the replay.
        known: Columns of records, as the journal has them.
        place: Where files are made.
        run: Part of their names.
    """

    def __init__(self, stage: Stage, known: pa.Schema, *, place: str, run: str) -> None:
        self._known = pa.schema(list(_met(known)))
        self._paths = _paths(stage.plan(record_columns({}, self._known)))
        self._files = DatedFiles(place, run=run, event_time=stage.dataset.event_time)

    @property
    def columns(self) -> pa.Schema:
        """The known ones that had a value."""
        return self._known

    def takes(self, plan: ProtectionPlan) -> bool:
        """Whether the stream has met all fields that would leave."""
        return _paths(plan) <= self._paths

    def write(self, rows: pa.RecordBatch, plan: ProtectionPlan) -> None:
        """Writes rows to the files of their days."""
        self._files.write(rows)

    def finish(self) -> Sequence[Receipt]:
        """Completes the files."""
        return self._files.finish()


def _paths(plan: ProtectionPlan) -> frozenset[str]:
    return frozenset(leaf.path for leaf in leaves(plan.columns))


def _met(fields: pa.Schema | pa.StructType) -> Iterator[pa.Field]:
    """Yields fields without those of which nothing but null was seen, whose type is not known therefore."""
    for field in fields:
        kind = _met_type(field.type)
        if kind is not None:
            yield field.with_type(kind)


def _met_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        fields = list(_met(kind))
        return pa.struct(fields) if fields else None
    if is_list(kind):
        element = _met_type(kind.value_type)
        return None if element is None else list_type(kind, kind.value_field.with_type(element))
    return None if pa.types.is_null(kind) else kind

"""Replays dead letters: opens them in memory, protects them as policy and ledger are now, and publishes a new state.

The new state of the output has the old data files as they were (hard links), the recovered rows in files of their own,
the letters that remain, and a signed manifest whose books balance. It takes the place of the old state by one
exchange of folders. Values reach the vault before rows reach the output, as in every run.

Nobody sees a raw value: letters are opened in this process, and whatever fails here leaves without a message of its
own. What fails again keeps the keys of its first sealing, so that a replay never lengthens how long it can be opened.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter
from ..schemas.errors import ConfigError, IntegrityError, OutputError, RunError
from ..schemas.manifest import MANIFEST_NAME, Manifest
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..schemas.record_columns import POSITION, SOURCE_KEY
from ..transforms.consent_decision import decide_batch
from ..transforms.crypto.key_sets import ProofKeys, PublicKeys
from ..transforms.dead_letters import Rejected
from ..transforms.failures import guarded
from ..transforms.protection import protect_batch
from ..transforms.protection_plan import ProtectionPlan, check_dataset_columns, dropped_paths
from ..transforms.stage import Stage, StageConfig, open_stage, settle_stage
from ..transforms.stores.data_keys import DataKeys
from ..transforms.tally import Tally, merge
from ..transforms.tokens.tokenizer import Tokenizer
from .desk import check_stores, oldest_kept
from .exchange import exchange_folders
from .keyring_files import open_proof_keys
from .letter_manifest import data_files, manifest_after_replay
from .letter_records import first_difference, record_batches, record_columns
from .letters import LetterOutput, OpenedLetter, StoredLetter, open_letter_output, open_stored, stored_letters
from .manifest_file import SettledRun, key_versions_of, sign_manifest
from .outcome import Outcome
from .publication import DATA, DEAD_LETTERS, FILE_SCHEME, LocalPublication, is_local, open_publication
from .sinks import FileWriter
from .splits import ReadBatch, RejectedLine
from .verify import verify_output

__all__ = ["ReplayReport", "opened_records", "replay_letters"]

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
        closed: Letters that nobody can open any more.
        skipped: Letters that hold no record, or not all that a decision needs.
        manifest: Of the output as it stands now.
        changed: Whether a new state was published.
    """

    tried: int
    recovered: int
    dropped: int
    failed: int
    closed: int
    skipped: int
    manifest: Manifest
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``dead-letters replay --json``."""
        names = ("changed", "tried", "recovered", "dropped", "failed", "closed", "skipped")
        return {**{name: getattr(self, name) for name in names}, "manifest": self.manifest.as_json()}


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
    with _alone(out):
        output = _sound_output(project, out)
        config = settle_stage(project, policy, output.manifest.dataset, now=now, started_at=started_at)
        run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started_at // 1_000_000))}-{secrets.token_hex(4)}"
        with open_publication(out, run=run, replace=True) as publication, _open(config) as stage:
            assert isinstance(publication, LocalPublication)
            replay = _Replay(output, stage, publication.place, run, reason)
            replay.work_off()
            if not replay.changed:
                return replay.report(output.manifest)
            purged = stage.follow_ledger(clock())
            manifest = manifest_after_replay(
                output.manifest, replay.settled(started_at), replay.outcome, purged=purged, finished_at=clock()
            )
            return replay.report(_published(publication, output, manifest, keys))


def _check_local(out: str) -> None:
    if not is_local(out):
        raise OutputError(
            f"{out}: dead letters are replayed in a local output only; copy the output to a disk, replay it there, "
            "and copy it back, or protect the inputs again"
        )


def _folder(out: str) -> Path:
    return Path(out.removeprefix(FILE_SCHEME)).resolve()


@contextmanager
def _alone(out: str) -> Iterator[None]:
    """Keeps two replays of one output apart."""
    try:
        lock = os.open(_folder(out), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be read ({error.strerror}); name an output of `consentry protect`") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{out}: another replay is at work there; wait until it is done") from None
        yield
    finally:
        os.close(lock)


def _sound_output(project: Project, out: str) -> LetterOutput:
    """Returns an output that is as it was signed: what a new manifest vouches for must be true before."""
    trust = PublicKeys.load(project.trust)
    report = verify_output(out, trust)
    failed = [check.check for check in report.checks if not check.ok]
    if failed:
        raise IntegrityError(
            f"{out}: is not as its run left it ({', '.join(failed)}), so nothing was replayed; see `consentry verify`, "
            "and restore the output or protect the inputs again"
        )
    output = open_letter_output(out, trust)
    if output.manifest.stream is not None:
        raise ConfigError(f"{out}: is the output of a stream, whose letters this version cannot replay")
    return output


@contextmanager
def _open(config: StageConfig) -> Iterator[Stage]:
    """Yields the open stage, with expired keys and values gone and the vault as the ledger says."""
    stage = open_stage(config)
    stores = stage.stores
    with ExitStack() as opened:
        for store in (stores.data_keys, stores.ledger, stores.vault):
            if store is not None:
                opened.enter_context(closing(store))
        started_at = config.now if config.started_at is None else config.started_at
        stores.data_keys.sweep(started_at)
        if stores.vault is not None:
            stores.vault.sweep(oldest_kept(config.policy, started_at))
        stage.follow_ledger(started_at)
        yield stage


@dataclass(slots=True)
class _Counts:
    tried: int = 0
    recovered: int = 0
    dropped: int = 0
    failed: int = 0
    closed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A plan with tokenizers for rows of one schema."""

    plan: ProtectionPlan
    tokenizers: Mapping[str, Tokenizer]


@dataclass(slots=True)
class _Refusals:
    """Letters of one go that failed again, by their place, with stage and reason."""

    found: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, rejected: Rejected | None) -> None:
        if rejected is not None:
            for place, reason in zip(rejected.rows[POSITION].to_pylist(), rejected.reasons, strict=True):
                self.found[place] = (rejected.stage, reason)


class _Replay:
    """Works off the letters of an output, some at a time."""

    def __init__(self, output: LetterOutput, stage: Stage, place: str, run: str, reason: str | None) -> None:
        self._output = output
        self._stage = stage
        self._reason = reason
        self._place = place
        self._run = run
        self._written = _data_schema(output)
        self._rows: FileWriter | None = None
        self._letters = FileWriter(place, DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=run)
        self._recognizers = stage.recognizers()
        self._prepared: dict[pa.Schema, _Prepared] = {}
        self._tallies: list[Tally] = []
        self._resealed = 0
        self._plan = stage.plan(pa.schema([]) if self._written is None else record_columns({}, self._written))
        self.counts = _Counts()
        self.outcome = Outcome()

    @property
    def changed(self) -> bool:
        """Whether the output would be another than before."""
        return bool(self.counts.recovered or self.counts.dropped or self._resealed)

    def settled(self, started_at: int) -> SettledRun:
        """Returns what stands of the replay; in its plan, absent is what no record had."""
        config, inputs = self._stage.config, self._output.manifest.inputs
        return SettledRun(
            id=self._run,
            config=config,
            plan=self._plan,
            inputs=inputs,
            key_versions=key_versions_of(config),
            started_at=started_at,
        )

    def report(self, manifest: Manifest) -> ReplayReport:
        """Returns what came of it."""
        numbers = {name: getattr(self.counts, name) for name in _Counts.__dataclass_fields__}
        return ReplayReport(**numbers, manifest=manifest, changed=self.changed)

    @guarded(STAGE)
    def work_off(self) -> None:
        """Tries all letters, and writes rows and remaining letters."""
        self._check_same(self._plan)  # before anything is done
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
        receipts = (*(() if self._rows is None else self._rows.finish()), *self._letters.finish())
        self.outcome = Outcome(merge(self._tallies), receipts)

    def _opened(self, stored: Sequence[StoredLetter]) -> Iterator[tuple[int, OpenedLetter]]:
        """Yields the letters that can be tried, with their places."""
        wanted = [
            (place, each)
            for place, each in enumerate(stored)
            if self._reason is None or each.letter.reason == self._reason
        ]
        tenant, data_keys = self._stage.config.project.tenant, self._stage.stores.data_keys
        for (place, _), opened in zip(
            wanted, open_stored([each for _, each in wanted], data_keys, tenant), strict=True
        ):  # fmt: skip
            if opened is None:
                self.counts.closed += 1
            elif opened.record is None or not self._is_complete(opened):
                self.counts.skipped += 1
            else:
                self.counts.tried += 1
                yield place, opened

    def _is_complete(self, opened: OpenedLetter) -> bool:
        """Whether the record still has what a decision needs: fields that the policy drops were not sealed."""
        subject, dataset = opened.stored.keys.subject, self._stage.dataset
        if opened.stored.letter.dataset != self._stage.config.dataset:
            return False
        if subject is not None and self._stage.sealer.subject_of(opened.record or {}) != subject:
            return False
        dropped = dropped_paths(self._stage.config.policy, self._stage.config.dataset)
        return not any(dataset.event_time.is_under(path) for path in dropped)

    def _tried(
        self, letters: Sequence[tuple[int, OpenedLetter]], *, met_drift: bool
    ) -> Iterator[tuple[int, DeadLetter | None]]:
        """Yields what remains of letters: None where one was recovered or dropped, else the letter to keep."""
        refused = _Refusals()
        for found in record_batches([each.record or {} for _, each in letters], self._written, self._check_columns):
            if isinstance(found, pa.RecordBatch):
                self._protected(found, refused, met_drift=met_drift)
            else:
                refused.found[found[0]] = (READ_STAGE, found[1].value)
        for number, (place, opened) in enumerate(letters):
            again = refused.found.get(number)
            yield place, None if again is None else self._refused(opened, *again)

    def _check_columns(self, schema: pa.Schema) -> None:
        check_dataset_columns(schema, self._stage.dataset, self._stage.config.dataset)

    def _protected(self, rows: pa.RecordBatch, refused: _Refusals, *, met_drift: bool) -> None:
        """Decides about rows, protects them, and writes the vault and then what leaves."""
        stage, config = self._stage, self._stage.config
        decided = decide_batch(
            rows, stage.dataset, config.policy, stage.snapshot, stage.reference_key, config.now, purposes=stage.purposes
        )
        refused.add(decided.rejected)
        if not decided.batch.num_rows:
            return
        prepared = self._prepare(decided.batch.schema)
        protected = protect_batch(
            decided.batch, prepared.plan, prepared.tokenizers, with_vault=True, recognizers=self._recognizers
        )
        refused.add(protected.rejected)
        counts = {key: count for key, count in protected.tally.counts.items() if not (met_drift and key[0] == "drift")}
        self._tallies += [Tally(counts), stage.keep(protected.candidates)]
        self.counts.dropped += protected.tally[("rows", "dropped")]
        self.counts.recovered += protected.batch.num_rows
        if protected.batch.num_rows:
            self._writer(prepared.plan).write(protected.batch)

    def _prepare(self, schema: pa.Schema) -> _Prepared:
        if schema not in self._prepared:
            plan = self._stage.plan(schema)
            self._check_same(plan)
            self._plan = replace(plan, absent=tuple({*self._plan.absent} & {*plan.absent}))
            if len(self._prepared) >= MOST_PLANS:
                self._prepared.clear()
            self._prepared[schema] = _Prepared(plan, self._stage.tokenizers(plan))
        return self._prepared[schema]

    def _check_same(self, plan: ProtectionPlan) -> None:
        """Refuses a policy that would write other fields: an output has one schema."""
        different = None if self._written is None else first_difference(self._written, plan.schema)
        if different is not None:
            path, how = different
            raise ConfigError(
                f"{self._output.name}: field {path}: {how}, and one output has one schema; protect the inputs anew "
                "with --replace, or give the policy back what it said of this field; the output is as it was",
                reason="schema_changed",
            )

    def _writer(self, plan: ProtectionPlan) -> FileWriter:
        if self._rows is None:
            self._rows = FileWriter(self._place, DATA, plan.schema, run=self._run)
            self._written = plan.schema if self._written is None else self._written
        return self._rows

    def _refused(self, opened: OpenedLetter, stage: str, reason: str) -> DeadLetter:
        self.counts.failed += 1
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


def _data_schema(output: LetterOutput) -> pa.Schema | None:
    """Returns the columns of the output's data files, which are the same in all; None where it has no file."""
    for file in output.manifest.files:
        if file.kind == "data":
            with output.folder.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
                return parquet.schema_arrow
    return None


def _published(publication: LocalPublication, output: LetterOutput, manifest: Manifest, keys: ProofKeys) -> Manifest:
    """Makes the new state the output, if it still is the one that was read."""
    signed = sign_manifest(manifest, keys)
    _check_still(output)
    for file in data_files(output.manifest):
        _link(_folder(output.name) / file.path, Path(publication.place) / file.path, output)
    _check_still(output)
    publication.publish([file.path for file in signed.files], signed.dumps())
    if not _is_state(Path(publication.place), output):
        # Another run came in between after all: what was exchanged is its output, which gets its place back.
        exchange_folders(Path(publication.place), _folder(output.name))
        _check_still(output)
    return signed


def _is_state(folder: Path, output: LetterOutput) -> bool:
    """Whether a folder is the state of the output that was read."""
    try:
        return (folder / MANIFEST_NAME).read_bytes() == output.text
    except OSError:
        return False


def _check_still(output: LetterOutput) -> None:
    """Refuses to take the place of another state than the one that was read."""
    if not _is_state(_folder(output.name), output):
        raise RunError(f"{output.name}: was replaced by another run meanwhile, and stays as that left it; replay again")


def _link(file: Path, place: Path, output: LetterOutput) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        raise RunError(
            f"{output.name}: its files cannot be linked ({error.strerror}); the output is as it was; move it to a file "
            "system with hard links"
        ) from None


@guarded("open dead letters")
def opened_records(output: LetterOutput, data_keys: DataKeys, *, tenant: str) -> Iterator[ReadBatch]:
    """Yields the records of an output's dead letters that can be opened, raw, as a source yields them.

    Whoever protects them in a way of their own must see to what ``replay_letters`` sees to: letters that fail again are
    sealed under the keys that they had (``Sealer.seal_again``), and values never leave the process.

    Args:
        output: Signed and checked, from ``open_letter_output``.
        data_keys: Of the project.
        tenant: Of the project.

    Returns:
        Batches of one source each, with its name in the schema's metadata, and the letters' own positions (0 where one
        has none) in ``POSITION``. Records that fit no columns are in ``rejected``. Letters whose keys are destroyed,
        and those that hold no record, are left out.
    """
    written = _data_schema(output)
    for stored in stored_letters(output):
        by_source: dict[str | None, list[OpenedLetter]] = {}
        for opened in open_stored(stored, data_keys, tenant):
            if opened is not None and opened.record is not None:
                by_source.setdefault(opened.stored.letter.source, []).append(opened)
        for source, letters in by_source.items():
            yield from _read_batches(source, letters, written)


def _read_batches(
    source: str | None, letters: Sequence[OpenedLetter], written: pa.Schema | None
) -> Iterator[ReadBatch]:
    metadata = {} if source is None else {SOURCE_KEY: source.encode()}
    places = [each.stored.letter.position or 0 for each in letters]
    for found in record_batches([each.record or {} for each in letters], written, lambda _: None):
        if isinstance(found, pa.RecordBatch):
            at = found.schema.get_field_index(POSITION)
            own = pa.array([places[place] for place in found[POSITION].to_pylist()], pa.int64())
            rows = found.set_column(at, found.schema.field(at), own)
            yield ReadBatch(batch=rows.replace_schema_metadata(metadata))
        else:
            place, fault = found
            line = RejectedLine(position=places[place], reason=fault.value, raw=b"", parsed=letters[place].record)
            empty = pa.RecordBatch.from_pylist([], pa.schema([(POSITION, pa.int64())], metadata=metadata))
            yield ReadBatch(batch=empty, rejected=(line,))

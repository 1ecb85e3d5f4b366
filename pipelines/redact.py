"""``redact``: rewrites an output to what is permitted now, erased subjects included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError, StoreError
from ..schemas.info_types import TokenizeRule
from ..schemas.manifest import ConsentOutcomes, FieldTreatment, Manifest, PolicyUsed
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.access.detokenize import distribution_rules
from ..transforms.crypto.key_sets import ProofKeys, PublicKeys, TokenKeys
from ..transforms.output_marks import OutputMarks
from ..transforms.redaction import FieldLoss, Redaction
from ..transforms.row_owners import OwnerFinder
from ..transforms.stores.consent_ledger import KnownSubjects
from ..transforms.stores.erasure_journal import erasures_exist, open_erasures
from ..transforms.subject_marks import SubjectMarks
from ..transforms.tally import Key, Tally
from ..transforms.text_redaction import Needles
from ..transforms.tokens.open_tokenizer import open_tokenizer
from ..transforms.tokens.tokenizer import Tokenizer
from .desk import Stores, open_stores
from .keyring_files import open_proof_keys, open_token_keys
from .letters import open_letter_output
from .output_rewrite import rewrite_output
from .streams.output import is_stream_output

__all__ = ["RedactReport", "Redactor", "check_redactable", "known_marks", "open_redactor", "redact_output"]

HIDDEN = ("redacted_no_permission", "redacted")
ACTED = {
    "keep": ("kept",),
    "tokenize": ("tokenized",),
    "mask": ("masked",),
    "generalize": ("generalized",),
    "scan": ("scanned",),
    "protect_as_found": ("scanned", "kept"),
}
"""By action: the outcomes of values that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactReport:
    """What came of an output.

    Attributes:
        manifest: Of its state now.
        changed: Whether anything was removed.
        removed: Rows and values that went, by reason.
        event_times: Whether rows were judged at their own event times too; if not, by the present alone.
    """

    manifest: Manifest
    changed: bool
    removed: Mapping[str, int]
    event_times: bool

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``redact --json``."""
        return {
            "changed": self.changed,
            "removed": dict(self.removed),
            "judged_at_event_time": self.event_times,
            "manifest": self.manifest.as_json(),
        }


def redact_output(
    project: Project,
    out: str,
    *,
    now: int,
    all_rows: bool = False,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> RedactReport:
    """Rewrites an output to what is permitted now.

    Args:
        project: Names policy, keys and stores.
        out: An output of ``protect`` or of a stream that is stopped.
        now: Microseconds UTC: the one instant of all decisions, beside each row's event time.
        all_rows: Whether an output that does not tell whose its rows are is redacted wholly.
        clock: Microseconds UTC; for the manifest.

    Raises:
        ConfigError: No output of this project; the policy treats its fields otherwise by now; or it does not tell whose
            its rows are. Nothing was done.
        OutputError: Another command or a stream is at work there; nothing was done.
        IntegrityError: It is not as it was signed; nothing was done.
        PrivacyError: Keys or stores cannot be used, or the rewriting failed; the output is as it was.
    """
    with open_redactor(project, now=now, clock=clock) as redactor:
        return redactor.redact(out, all_rows=all_rows)


def check_redactable(project: Project, policy: Policy, out: str, *, all_rows: bool = False) -> None:
    """Refuses an output that could not be redacted.

    Raises:
        ConfigError: No output of this project; the policy treats its fields otherwise by now; or it does not tell whose
            its rows are.
        IntegrityError: It is not signed by a trusted key.
    """
    output = open_letter_output(out, PublicKeys.load(project.trust))
    marks = OutputMarks(policy, output.manifest.dataset)
    for file in output.manifest.files:
        if file.kind == "data":
            with output.folder.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
                _check_schema(out, output.manifest, marks, parquet.schema_arrow, all_rows)


def _check_schema(out: str, manifest: Manifest, marks: OutputMarks, schema: pa.Schema, all_rows: bool) -> None:
    marks.check(schema)
    if not marks.tells_subjects(schema) and not all_rows:
        raise ConfigError(
            f"{out}: does not tell whose its rows are (datasets.{manifest.dataset}.subject is neither kept nor "
            "tokenized), so only all of them can be redacted; add --all-rows if that is what you want, or protect the "
            "inputs again; nothing was changed",
            reason="subjects_not_told",
        )


@contextmanager
def open_redactor(
    project: Project, *, now: int, clock: Callable[[], int] = lambda: time.time_ns() // 1000
) -> Iterator[Redactor]:
    """Yields what redacts outputs of a project, with keys and stores open.

    Raises:
        PrivacyError: Keys or stores cannot be used.
    """
    policy = read_policy(project.policy)
    token_keys, proof_keys = open_token_keys(project), open_proof_keys(project)
    with open_stores(project) as stores:
        stores.vault.follow(stores.ledger, distribution_rules(policy), clock())
        snapshot = stores.ledger.snapshot()
        known = stores.ledger.known_subjects()
        opener = _Tokenizers(token_keys)
        finder = OwnerFinder(
            policy,
            snapshot=snapshot,
            reference_key=stores.keys.reference_key,
            known=known,
            marks=known_marks(project, stores, known),
            open_tokenizer=opener,
        )
        yield Redactor(project, policy, finder, proof_keys, now=now, clock=clock)


def known_marks(project: Project, stores: Stores, known: KnownSubjects) -> SubjectMarks:
    """Returns the marks of all erased subjects.

    Raises:
        StoreError: The journal of erasures is not that of the ledger: it lacks an erased subject.
    """
    if not known.erased:
        return SubjectMarks(stores.keys)
    marks: dict[bytes, set[bytes]] = {}
    if erasures_exist(project.erasures):
        with closing(open_erasures(project.erasures)) as journal:
            marks = journal.marks()
    missing = sum(reference not in marks for reference in known.erased)
    if missing:
        raise StoreError(
            f"{project.erasures}: the journal of erasures lacks {missing} of {len(known.erased)} erased subjects of "
            "the ledger, so their rows cannot be told; restore the newest one, or erase them again, by name, with "
            "`consentry subject erase`"
        )
    return SubjectMarks(stores.keys, frozenset(mark for each in marks.values() for mark in each))


class _Tokenizers:
    """Opens each tokenizer once."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._opened: dict[tuple[str, str, int], Tokenizer] = {}

    def __call__(self, rule: TokenizeRule, version: int) -> Tokenizer:
        name = (rule.domain, rule.format.value, version)
        if name not in self._opened:
            self._opened[name] = open_tokenizer(rule, self._keys, version=version)
        return self._opened[name]


class Redactor:
    """Redacts outputs of a project at one instant; make it with ``open_redactor``.

    Args:
        project: Of the outputs.
        policy: In force.
        finder: Tells whose rows are.
        keys: Sign manifests.
        now: Microseconds UTC.
        clock: Microseconds UTC.
    """

    def __init__(
        self,
        project: Project,
        policy: Policy,
        finder: OwnerFinder,
        keys: ProofKeys,
        *,
        now: int,
        clock: Callable[[], int],
    ) -> None:
        self._project = project
        self._policy = policy
        self._finder = finder
        self._keys = keys
        self._now = now
        self._clock = clock

    def redact(self, out: str, *, all_rows: bool = False, needles: Needles | None = None) -> RedactReport:
        """Redacts an output; see ``redact_output``.

        Args:
            out: The output.
            all_rows: As there.
            needles: Names one erased subject, whose id and tokens go wherever they stand.
        """
        made: list[_OutputRedaction] = []

        def make(manifest: Manifest) -> _OutputRedaction:
            made.append(self._redaction(out, manifest, all_rows, needles))
            return made[-1]

        manifest = self._rewritten(out, make)
        removed = made[-1].removed
        return RedactReport(
            manifest=manifest, changed=bool(removed), removed=removed, event_times=made[-1].judges_event_times
        )

    def _rewritten(self, out: str, make: Callable[[Manifest], _OutputRedaction]) -> Manifest:
        if not is_stream_output(out):
            return rewrite_output(self._project, out, make, keys=self._keys, clock=self._clock)
        from .streams.stream_rewrite import rewrite_stream_output

        return rewrite_stream_output(
            self._project,
            out,
            make,
            keys=self._keys,
            now=self._now,
            ledger_position=self._finder.snapshot.position,
            clock=self._clock,
        )

    def _redaction(self, out: str, manifest: Manifest, all_rows: bool, needles: Needles | None) -> _OutputRedaction:
        marks = OutputMarks(self._policy, manifest.dataset)
        redaction = Redaction(self._policy, marks, self._finder, self._now, needles=needles)
        return _OutputRedaction(out, manifest, self._policy, marks, redaction, all_rows=all_rows, now=self._now)


class _OutputRedaction:
    """The rewriting of one output: redaction of its batches, and what its manifest says then."""

    def __init__(
        self,
        out: str,
        manifest: Manifest,
        policy: Policy,
        marks: OutputMarks,
        redaction: Redaction,
        *,
        all_rows: bool,
        now: int,
    ) -> None:
        self._out = out
        self._old = manifest
        self._policy = policy
        self._marks = marks
        self._redaction = redaction
        self._all_rows = all_rows
        self._now = now
        self.judges_event_times = True

    @property
    def removed(self) -> dict[str, int]:
        """Rows and values that went, by reason."""
        return {reason: count for reason, count in sorted(self._redaction.losses.removed.items()) if count}

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Returns the schema after it, once the file's fields are known to be what the policy says."""
        _check_schema(self._out, self._old, self._marks, schema, self._all_rows)
        self.judges_event_times &= self._marks.keeps_event_time(schema)
        return self._marks.schema(schema)

    def rewrite(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the rows that stay."""
        return self._redaction.redacted(batch)

    def tally(self) -> Tally:
        """Returns what the counts change by."""
        losses = self._redaction.losses
        counts: dict[Key, int] = {("removed", reason): count for reason, count in self.removed.items()}
        for name in ConsentOutcomes.model_fields:
            counts["rows", name] = losses.rows[name] - getattr(self._old.consent, name)
        for path, loss in losses.fields.items():
            for outcome, change in _outcome_changes(self._old.fields[path], loss).items():
                counts["field", path, outcome] = change
        return Tally({key: count for key, count in counts.items() if count})

    def outdated(self, manifest: Manifest) -> bool:
        return False

    def before_shown(self) -> None:
        """Nothing: what is removed needs nothing to be there first."""

    def told(self, manifest: Manifest) -> Manifest:
        """Returns the manifest with what the rows were judged by."""
        return manifest.model_copy(
            update={
                "now": format_instant(self._now),
                "ledger_position": self._redaction.finder.snapshot.position,
                "policy": PolicyUsed(version=self._policy.version, digest=self._policy.digest),
            }
        )


def _outcome_changes(old: FieldTreatment, loss: FieldLoss) -> dict[str, int]:
    """Returns by how much the outcomes of a field change.

    A value that is hidden does not say which way it came to be so; of those in dropped rows, the ones hidden for want
    of permission are taken first. The sum is right in any case.
    """
    left = dict(old.outcomes)
    shown, invalid = ACTED.get(old.action, ("redacted",)), sorted(name for name in left if name.startswith("redacted_"))
    _take(left, (*shown, *HIDDEN), loss.hidden)
    left["redacted_no_permission"] = left.get("redacted_no_permission", 0) + loss.hidden
    _take(left, (*shown, *HIDDEN, *invalid), loss.dropped_shown)
    _take(left, (*HIDDEN, *invalid), loss.dropped_hidden)
    _take(left, ("null", *HIDDEN, *invalid), loss.dropped_null)
    return {name: change for name in left if (change := left[name] - old.outcomes.get(name, 0))}


def _take(left: dict[str, int], names: tuple[str, ...], count: int) -> None:
    for name in names:
        taken = min(count, left.get(name, 0))
        if taken:
            left[name] -= taken
            count -= taken

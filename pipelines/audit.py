"""Audits an input: what it holds, why, who used it, what nobody needs, and what nobody declared.

Works on any number of rows by a seeded sample with stated bounds. Policy, access log and consent ledger are looked at
where there is a project; what of it cannot be opened is noted, and the rest is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..schemas.audit import (
    Audit,
    AuditColumn,
    AuditedFile,
    AuditInputs,
    AuditSampling,
    Suggestion,
    VerdictKind,
)
from ..schemas.audit_use import (
    AccessUse,
    ConsentCoverage,
)
from ..schemas.consent import format_instant
from ..schemas.dataset import Dataset, FieldPath
from ..schemas.errors import InputError, PrivacyError
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.protection_plan import dataset_of
from .audit_columns import DetectColumn, SampledColumn, found_in, sampled_columns
from .audit_names import told_file
from .audit_proposal import PROPOSED_DATASET, proposed_policy
from .audit_sample import SAMPLE_ROWS, Progress, Sample, draw_sample, sampling_of
from .audit_suggestions import PolicyLines, starting_policy
from .audit_usage import access_use, consent_coverage, purpose_uses
from .audit_verdicts import Judge
from .sources import Sources, plan_sources
from .splits import FileFormat

__all__ = ["run_audit"]

FILES = 50

T = TypeVar("T")


def run_audit(
    inputs: Sequence[str],
    *,
    detect: DetectColumn,
    now: int,
    project: Project | None = None,
    dataset: str | None = None,
    rows: int = SAMPLE_ROWS,
    progress: Progress | None = None,
) -> Audit:
    """Returns the audit of an input.

    Args:
        inputs: Files, folders or globs, local or of any Beam file system.
        detect: Says what a column is.
        now: Microseconds UTC: the instant of the audit, and the last at which consent is asked.
        project: Names policy, access log and ledger; None: nothing is declared.
        dataset: The dataset of the policy that the input holds; None: nothing is declared.
        rows: How many rows to draw, about.
        progress: Called with rows drawn and rows wanted.

    Raises:
        ConfigError: The policy breaks its rules, or has no such dataset; nothing was read.
        InputError: A file is missing, cannot be read, or contradicts another; or there is no record in any.
        RunError: A file is damaged inside, or changed meanwhile.
    """
    policy = None if project is None else read_policy(project.policy)
    rules = None if policy is None or dataset is None else dataset_of(policy, dataset)
    sources = plan_sources(inputs)
    sample = draw_sample(sources, rows=rows, progress=progress)
    if not sample.drawn:
        raise InputError("no record was found in the input; name files that hold some")
    notes: list[str] = []
    accesses, coverage = _used(project, policy, rules, sample, now, notes)
    looked = [(column, found_in(column, detect)) for column in _opened(sources, sample, rules)]
    judge = Judge(
        policy=policy or starting_policy(),
        dataset=rules,
        name=dataset or PROPOSED_DATASET,
        lines=PolicyLines(None if project is None else project.policy.read_text(encoding="utf-8-sig")),
        given_out=frozenset(accesses.allowed) if accesses is not None and accesses.entries else None,
        since=None if accesses is None else accesses.since,
    )
    columns = tuple(judge.judged(looked))
    notes += _names_hidden([column for column, _ in looked])
    return Audit(
        made_at=format_instant(now),
        dataset=dataset if rules is not None else None,
        policy=None if policy is None else policy.digest,
        inputs=_inputs(sources, sample),
        sampling=_with_judged(sampling_of(sample), columns),
        columns=columns,
        purposes=() if policy is None else purpose_uses(policy, accesses, **_held_for(columns, rules)),
        accesses=accesses,
        coverage=coverage,
        proposal=_proposal(judge, [column for column, _ in looked], columns, policy),
        notes=tuple(notes),
    )


def _used(
    project: Project | None, policy: Policy | None, rules: Dataset | None, sample: Sample, now: int, notes: list[str]
) -> tuple[AccessUse | None, ConsentCoverage | None]:
    """Returns what access log and ledger tell; None without a project, and where one cannot be opened."""
    if project is None or policy is None:
        return None, None
    subject = None if rules is None else rules.subject
    accesses = _asked("access log", notes, lambda: access_use(project, policy))
    coverage = _asked(
        "consent ledger",
        notes,
        lambda: consent_coverage(project, policy, batches=sample.batches, subject=subject, now=now),
    )
    return accesses, coverage


def _opened(sources: Sources, sample: Sample, rules: Dataset | None) -> list[SampledColumn]:
    declared: set[FieldPath] = set() if rules is None else {rules.subject, rules.event_time, *rules.fields}
    formats = {file.format for file in sources.files}
    return sampled_columns(
        sample.batches,
        sample.schema,
        declared=declared,
        headers=bool(formats & {FileFormat.CSV, FileFormat.TSV}),
        keys=FileFormat.JSON_LINES in formats,
    )


def _asked(what: str, notes: list[str], ask: Callable[[], T]) -> T | None:
    """Returns what a store answers; where it cannot be opened, None, and a note says so."""
    try:
        return ask()
    except PrivacyError as error:
        notes.append(f"The {what} could not be looked at ({error.reason}), so the report tells nothing of it.")
        return None


def _inputs(sources: Sources, sample: Sample) -> AuditInputs:
    return AuditInputs(
        files=tuple(
            AuditedFile(name=told_file(file.name), format=file.format.value, bytes=file.size)
            for file in sources.files[:FILES]
        ),
        file_count=len(sources.files),
        bytes=sources.total_bytes,
        rows=sample.rows,
        rows_exact=sample.rows_exact,
        sampled=sample.drawn,
        unreadable=sample.unreadable,
    )


def _with_judged(sampling: AuditSampling, columns: Sequence[AuditColumn]) -> AuditSampling:
    """Returns how rows were drawn, and what it means where detection judged only some of a column's values."""
    counts = [column.found.sample for column in columns if 0 < column.found.sample < column.volume.distinct]
    if not counts:
        return sampling
    least = min(counts)
    told = (
        f"In {len(counts):,} of {len(columns):,} columns, those with the most different values, not all of these were "
        f"judged, but {least:,} at least. A kind of value that is in 1 % of them was judged with a probability of "
        f"1 − (1 − 0.01)^{least:,} ≥ {math.floor(min(1 - 0.99**least, 0.99999) * 100_000) / 1000:.3f} %."
    )
    return replace(sampling, says=(*sampling.says, told))


def _held_for(columns: Sequence[AuditColumn], rules: Dataset | None) -> Mapping[str, Any]:
    """Returns by purpose the paths that it lets be kept, and those that it lets be given out."""
    collects: dict[str, list[str]] = {}
    distributes: dict[str, list[str]] = {}
    for column in columns:
        treatment = column.treatment
        if treatment is None or treatment.action in ("drop", "redact"):
            continue
        for purpose in treatment.collect or (rules.collect if rules is not None else ()):
            collects.setdefault(purpose, []).append(column.path)
        for purpose in treatment.distribute:
            distributes.setdefault(purpose, []).append(column.path)
    return {"collects": collects, "distributes": distributes}


def _names_hidden(columns: Sequence[SampledColumn]) -> Iterator[str]:
    hidden = sum(not column.named for column in columns)
    if hidden:
        yield (
            f"{hidden} of the names in the input could be values, and are not told. Where a file has no line of names, "
            "give it one."
        )


def _proposal(
    judge: Judge, sampled: Sequence[SampledColumn], columns: Sequence[AuditColumn], policy: Policy | None
) -> tuple[Suggestion, ...]:
    """Returns the dataset that would declare an input, and with it a whole policy where there is none."""
    if judge.dataset is not None:
        return ()
    unneeded = {column.path for column in columns if column.verdict(VerdictKind.NOT_NEEDED)}
    found = {column.path: column.found for column in columns}
    return proposed_policy(
        judge.policy,
        [(column, found[column.told], column.told in unneeded) for column in sampled if column.named],
        lines=None if policy is None else judge.lines,
    )

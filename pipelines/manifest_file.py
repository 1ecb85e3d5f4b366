"""Makes and signs the manifest of a run from what its parts counted."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..schemas.consent import format_instant
from ..schemas.dataset import Plain
from ..schemas.errors import RunError
from ..schemas.manifest import (
    Books,
    ConsentOutcomes,
    FieldTreatment,
    Inputs,
    KeyVersions,
    Manifest,
    OutputFile,
    PolicyUsed,
    SignatureText,
    SoftwareUsed,
    VaultWrites,
    signed_bytes,
)
from ..schemas.policy import Policy
from ..transforms.crypto.key_sets import ProofKeys, SignatureContext
from ..transforms.crypto.keyring import KeyState
from ..transforms.protection_plan import ProtectionPlan, dataset_of, dropped_paths, leaves, told_path
from ..transforms.stage import StageConfig
from .keyring_files import open_keyring
from .outcome import READ, Outcome

__all__ = [
    "SettledRun",
    "balanced_books",
    "consent_outcomes",
    "drift_of",
    "field_treatments",
    "key_versions_of",
    "manifest_of_run",
    "output_files",
    "reasons_of",
    "sign_manifest",
    "software_used",
    "vault_writes",
]

ROOMS = ("schemas", "transforms", "pipelines")
PARTS = ("consentry", "apache-beam", "pyarrow", "numpy", "cryptography", "phonenumbers", "presidio-anonymizer")
METADATA_PREFIX = b"consentry."


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRun:
    """What stands of a run before its pipeline begins.

    Attributes:
        id: Of the run.
        config: Project, policy, dataset, instant and ledger position.
        plan: What becomes of each column.
        inputs: How many files and bytes it reads.
        key_versions: That it works with.
        started_at: Microseconds UTC, by the clock.
    """

    id: str
    config: StageConfig
    plan: ProtectionPlan
    inputs: Inputs
    key_versions: KeyVersions
    started_at: int


def manifest_of_run(run: SettledRun, outcome: Outcome, *, books: Books, purged: int, finished_at: int) -> Manifest:
    """Returns the manifest of a run, not yet signed.

    Args:
        run: As it was settled.
        outcome: What its parts counted and wrote.
        books: Of ``outcome``, balanced.
        purged: Vault entries that went before the publication.
        finished_at: Microseconds UTC, by the clock.
    """
    config, plan, policy = run.config, run.plan, run.config.policy
    return Manifest(
        run=run.id,
        tenant=config.project.tenant,
        dataset=config.dataset,
        now=format_instant(config.now),
        ledger_position=config.ledger_position,
        started_at=format_instant(run.started_at),
        finished_at=format_instant(finished_at),
        policy=PolicyUsed(version=policy.version, digest=policy.digest),
        software=software_used(),
        key_versions=run.key_versions,
        inputs=run.inputs,
        books=books,
        reasons=reasons_of(outcome),
        consent=consent_outcomes(outcome),
        fields=field_treatments(outcome, plan, policy),
        drift=drift_of(outcome, plan),
        absent=tuple(sorted(map(str, plan.absent))),
        vault=vault_writes(outcome, purged=purged),
        removed={reason: count for (reason,), count in sorted(outcome.tally.under("removed").items())} or None,
        files=output_files(outcome),
    )


def key_versions_of(config: StageConfig) -> KeyVersions:
    """Returns the versions that a run works with: the primary ones, and of tokens the settled one.

    Raises:
        KeyringError: The keyring cannot be read.
    """
    primary = {
        status.key_set.value: status.version
        for status in open_keyring(config.project).status()
        if status.state is KeyState.PRIMARY
    }
    return KeyVersions(**{**primary, "token": config.key_version})


def balanced_books(outcome: Outcome) -> Books:
    """Returns the books of a run: each number as counted by the part that had the records in hand.

    Raises:
        RunError: They do not balance, or two parts disagree about the dead letters: records were lost or doubled.
    """
    books = Books(
        in_=outcome.tally[READ],
        out=sum(receipt.rows for receipt in outcome.receipts if receipt.path.startswith("data/")),
        dropped=outcome.tally[("rows", "dropped")],
        dead_lettered=sum(receipt.rows for receipt in outcome.receipts if receipt.path.startswith("dead_letters/")),
    )
    if not books.balanced:
        counted = f"in {books.in_}, out {books.out}, dropped {books.dropped}, dead-lettered {books.dead_lettered}"
        raise RunError(f"the books do not balance ({counted}), so nothing was published", reason="books_unbalanced")
    if _written_letters(outcome) != Counter(outcome.tally.under("rejected")):
        raise RunError(
            "the dead letters written are not those that the stages refused, so nothing was published",
            reason="books_unbalanced",
        )
    if consent_outcomes(outcome).total != books.out:
        raise RunError(
            "the rows written are not those that protection let out, so nothing was published",
            reason="books_unbalanced",
        )
    return books


def reasons_of(outcome: Outcome) -> dict[str, int]:
    """Returns how many dead letters were written for each reason."""
    reasons: Counter[str] = Counter()
    for (_, reason), count in _written_letters(outcome).items():
        reasons[reason] += count
    return dict(sorted(reasons.items()))


def consent_outcomes(outcome: Outcome) -> ConsentOutcomes:
    """Returns the records that left, by the most that their permissions allow."""
    counts = outcome.tally.under("rows")
    return ConsentOutcomes(**{name: counts.get((name,), 0) for name in ConsentOutcomes.model_fields})


def vault_writes(outcome: Outcome, *, purged: int) -> VaultWrites:
    """Returns the vault entries of a run."""
    counts = {key[0]: count for key, count in outcome.tally.under("vault").items()}
    return VaultWrites(**counts, purged=purged)


def drift_of(outcome: Outcome, plan: ProtectionPlan) -> dict[str, int]:
    """Returns the undeclared paths, as they may be told, and the contradicted ones, with the records that it met."""
    counts = outcome.tally.under("drift")
    names = {told_path(path) for path in plan.drift} | {name for (name, *_) in counts}
    return {name: counts.get((name,), 0) for name in sorted(names)}


def field_treatments(outcome: Outcome, plan: ProtectionPlan, policy: Policy) -> dict[str, FieldTreatment]:
    """Returns what became of each declared field that the input has, in the order of the output; dropped ones last."""
    counts = outcome.tally.under("field")
    found = {}
    for leaf in leaves(plan.columns):
        marks = {
            name.removeprefix(METADATA_PREFIX).decode(): value.decode()
            for name, value in (leaf.field.metadata or {}).items()
            if name.startswith(METADATA_PREFIX)
        }
        outcomes = {key[1]: count for key, count in sorted(counts.items()) if key[0] == leaf.path and count}
        key_version = marks.pop("key_version", None)
        found[leaf.path] = FieldTreatment(
            **marks, key_version=None if key_version is None else int(key_version), outcomes=outcomes
        )
    dataset = dataset_of(policy, plan.dataset)
    for path in sorted(dropped_paths(policy, plan.dataset) - set(plan.absent), key=str):
        rule = dataset.fields[path]
        found[str(path)] = FieldTreatment(action="drop", info_type=None if rule in tuple(Plain) else rule)
    return found


def output_files(outcome: Outcome) -> tuple[OutputFile, ...]:
    """Returns the files of the output, by path."""
    return tuple(
        OutputFile(path=receipt.path, sha256=receipt.sha256, rows=receipt.rows, bytes=receipt.bytes)
        for receipt in sorted(outcome.receipts, key=lambda receipt: receipt.path)
        if receipt.sha256
    )


@cache
def software_used() -> SoftwareUsed:
    """Returns versions of the installed parts, and one digest over all installed files of Consentry."""
    versions = {"python": platform.python_version()}
    for part in PARTS:
        try:
            versions[part] = version(part)
        except PackageNotFoundError:
            versions[part] = "unknown"
    return SoftwareUsed(digest=_digest(_sources()), versions=versions)


def sign_manifest(manifest: Manifest, keys: ProofKeys) -> Manifest:
    """Returns the manifest with a signature over the RFC 8785 form of everything else in it."""
    signature = keys.sign(SignatureContext.MANIFEST, signed_bytes(manifest.as_json()))
    return manifest.signed_with(SignatureText(key_id=signature.key_id, value=signature.value.hex()))


def _written_letters(outcome: Outcome) -> Counter[tuple[str, ...]]:
    written: Counter[tuple[str, ...]] = Counter()
    for receipt in outcome.receipts:
        written.update(receipt.reasons)
    return written


def _sources() -> Mapping[str, Path]:
    package = (__package__ or "").rpartition(".")[0]
    found = {}
    for room in ROOMS:
        for folder in import_module(f"{package}.{room}").__path__:
            root = Path(folder)
            for path in root.rglob("*"):
                if path.is_file() and path.suffix != ".pyc":
                    found[f"{room}/{path.relative_to(root).as_posix()}"] = path
    return found


def _digest(sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for line in _lines(sources):
        digest.update(line)
    return digest.hexdigest()


def _lines(sources: Mapping[str, Path]) -> Iterable[bytes]:
    for name in sorted(sources):
        yield f"{hashlib.sha256(sources[name].read_bytes()).hexdigest()}  {name}\n".encode()

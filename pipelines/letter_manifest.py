"""The manifest of an output after a replay of its dead letters: the old one, with what the replay counted added.

``in`` stays as it was; letters that are none any more are ``out`` or ``dropped`` now. Instant, ledger position, policy
and software are those of the replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..schemas.consent import format_instant
from ..schemas.errors import RunError
from ..schemas.manifest import Books, ConsentOutcomes, FieldTreatment, Manifest, OutputFile, PolicyUsed, VaultWrites
from ..transforms.tally import Tally
from .manifest_file import (
    SettledRun,
    consent_outcomes,
    field_treatments,
    output_files,
    reasons_of,
    software_used,
    vault_writes,
)
from .outcome import Outcome

__all__ = ["data_files", "manifest_after_replay"]


def manifest_after_replay(
    old: Manifest, run: SettledRun, outcome: Outcome, *, purged: int, finished_at: int
) -> Manifest:
    """Returns the manifest of the new state, not yet signed.

    Args:
        old: Of the state before.
        run: The replay; of its plan, ``absent`` are the paths that no record had.
        outcome: Counts of what was tried, and receipts of the rows that were recovered and of all letters that remain.
        purged: Vault entries that went before the publication.
        finished_at: Microseconds UTC, by the clock.

    Raises:
        RunError: Its books do not balance.
    """
    config, made = run.config, output_files(outcome)
    return old.model_copy(
        update={
            "run": run.id,
            "now": format_instant(config.now),
            "ledger_position": config.ledger_position,
            "started_at": format_instant(run.started_at),
            "finished_at": format_instant(finished_at),
            "policy": PolicyUsed(version=config.policy.version, digest=config.policy.digest),
            "software": software_used(),
            "key_versions": run.key_versions,
            "books": _books(old, made, outcome.tally),
            "reasons": reasons_of(outcome),
            "consent": _consent(old.consent, consent_outcomes(outcome)),
            "fields": _fields(old.fields, field_treatments(outcome, run.plan, config.policy)),
            "drift": _added(old.drift, {path[0]: count for path, count in outcome.tally.under("drift").items()}),
            "absent": tuple(sorted({*old.absent} & {str(path) for path in run.plan.absent})),
            "vault": _vault(old.vault, vault_writes(outcome, purged=purged)),
            "files": tuple(sorted((*data_files(old), *made), key=lambda file: file.path)),
            "signature": None,
        }
    )


def data_files(manifest: Manifest) -> list[OutputFile]:
    """Returns the files of rows."""
    return [file for file in manifest.files if file.kind == "data"]


def _books(old: Manifest, made: Sequence[OutputFile], tally: Tally) -> Books:
    """Returns the books: each number as counted by who had the records in hand."""
    books = Books(
        in_=old.books.in_,
        out=old.books.out + sum(file.rows for file in made if file.kind == "data"),
        dropped=old.books.dropped + tally[("rows", "dropped")],
        dead_lettered=sum(file.rows for file in made if file.kind == "dead_letters"),
    )
    if not books.balanced:
        raise RunError("the books do not balance, so the output is as it was; report it", reason="books_unbalanced")
    return books


def _consent(old: ConsentOutcomes, new: ConsentOutcomes) -> ConsentOutcomes:
    return ConsentOutcomes(**{name: getattr(old, name) + getattr(new, name) for name in ConsentOutcomes.model_fields})


def _vault(old: VaultWrites, new: VaultWrites) -> VaultWrites:
    return VaultWrites(**{name: getattr(old, name) + getattr(new, name) for name in VaultWrites.model_fields})


def _fields(old: Mapping[str, FieldTreatment], new: Mapping[str, FieldTreatment]) -> dict[str, FieldTreatment]:
    """Returns the fields with the outcomes of the new rows added, and those that the policy drops by now."""
    found = {
        path: each.model_copy(update={"outcomes": _added(each.outcomes, new[path].outcomes)}) if path in new else each
        for path, each in old.items()
    }
    return found | {path: each for path, each in new.items() if path not in found}


def _added(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    return {name: old.get(name, 0) + new.get(name, 0) for name in sorted({*old, *new})}

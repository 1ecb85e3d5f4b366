"""Rewrites the rows of a stream's output, while the stream is stopped.

One transaction of the journal takes the old files out, puts their new form in, and moves the counts; from there on the
rewriting is shown, if need be by the next program that starts. Readers who go by the manifest see the old state or the
new one; who lists folders may for a moment see files of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ...schemas.errors import IntegrityError
from ...schemas.manifest import Manifest
from ...schemas.project import Project
from ...transforms.crypto.key_sets import ProofKeys
from ...transforms.tally import Tally, merge
from ..keyring_files import open_vault_keys
from ..manifest_file import balanced_books
from ..outcome import Outcome
from ..output_rewrite import MakeRewriting, rewrite_files, run_name
from ..output_state import sound_output
from .epochs import EpochState
from .journal import Journal, Replay, open_journal
from .output import StreamOutput, open_stream_output
from .stream_publication import StreamPublication
from .stream_replay import finish_interrupted, settled_stream

__all__ = ["rewrite_stream_output"]


def rewrite_stream_output(
    project: Project,
    out: str,
    make: MakeRewriting,
    *,
    keys: ProofKeys,
    now: int,
    ledger_position: int,
    key_version: int | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Manifest:
    """Rewrites the rows of a stream that is stopped, and returns the manifest; the old one where nothing changed.

    Args:
        project: Names policy, keys and stores.
        out: The output of a stream.
        make: Makes what rewrites the rows.
        keys: Sign the new manifest.
        now: Microseconds UTC, the instant of the rewriting's decisions.
        ledger_position: The last consent event that they know.
        key_version: Of all tokens afterwards, also of those that the stream makes when it goes on; None: as before.
        clock: Microseconds UTC; for the manifest.

    Raises:
        ConfigError: The output is no stream's of this project, or the policy treats fields otherwise; nothing was done.
        OutputError: The stream runs; nothing was done.
        IntegrityError: The output is not as it was signed; nothing was done.
        PrivacyError: The rewriting failed. What it had sealed is shown when it is run again, or when the stream starts.
    """
    with open_stream_output(out) as output, open_journal(output.journal) as journal:
        vault_keys = open_vault_keys(project)
        config, state = settled_stream(journal, project, out, vault_keys, now, clock())
        publication = StreamPublication(config, state, journal=journal, output=output, keys=keys, clock=clock)
        finish_interrupted(publication, journal)
        _abandon_open(journal)
        found = sound_output(project, out)
        _check_known(found.manifest, journal, out)
        output.clear_staging()
        rewriting = make(found.manifest)
        files = rewrite_files(
            found.folder, found.manifest, rewriting, place=str(output.staging), run=f"rewritten-{run_name(clock())}"
        )
        manifest = found.manifest
        if files.gone or rewriting.outdated(manifest):
            tally = merge((rewriting.tally(), Tally({("rows", "dropped"): files.dropped})))
            sealed = Replay(gone=tuple(file.path for file in files.gone), made=files.made)
            rewriting.before_shown()
            decided = _Decided(now=now, ledger_position=ledger_position, key_version=key_version)
            _seal(journal, output, sealed, tally, decided)
            if key_version is not None:
                config, state = settled_stream(journal, project, out, vault_keys, now, clock())
                publication = StreamPublication(config, state, journal=journal, output=output, keys=keys, clock=clock)
            manifest = publication.show_replay(sealed)
        output.clear_staging()
        return manifest


def _abandon_open(journal: Journal) -> None:
    """Forgets an epoch that is not sealed: done again, it would go by the consents of when it began."""
    last = journal.last()
    if last is not None and last[1] is EpochState.OPEN:
        journal.abandon(last[0])


def _check_known(manifest: Manifest, journal: Journal, out: str) -> None:
    """Refuses an output that is not the state that the journal knows: what takes its place is vouched for."""
    listed = {(file.path, file.sha256) for file in manifest.files}
    if listed != {(receipt.path, receipt.sha256) for receipt in journal.outcome().receipts}:
        raise IntegrityError(
            f"{out}: its manifest is not of the state that the stream remembers, so nothing was rewritten; restore the "
            "output with its _stream folder, or start the stream, which writes a new manifest with its next epoch"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """By what a rewriting decided: arguments of ``rewrite_stream_output``."""

    now: int
    ledger_position: int
    key_version: int | None


def _seal(journal: Journal, output: StreamOutput, rewritten: Replay, tally: Tally, decided: _Decided) -> None:
    before = journal.outcome()
    kept = [receipt for receipt in before.receipts if receipt.path not in rewritten.gone]
    balanced_books(Outcome(merge((before.tally, tally)), (*kept, *rewritten.made)))
    output.sync_staging()
    journal.seal_replay(
        rewritten,
        tally,
        now=decided.now,
        ledger_position=decided.ledger_position,
        key_version=decided.key_version,
    )

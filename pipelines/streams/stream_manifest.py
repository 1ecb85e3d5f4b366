"""The manifest of a stream's output: that of a run over all epochs so far, and how far they have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from ...schemas.dataset import EACH, FieldPath
from ...schemas.manifest import ABSENT, FieldTreatment, Inputs, KeyVersions, Manifest, StreamProgress
from ...transforms.protection_plan import plan_protection
from ...transforms.stage import StageConfig
from ...transforms.tally import Tally
from ..manifest_file import SettledRun, balanced_books, manifest_of_run
from ..outcome import READ_BYTES, Outcome
from .sources import Offsets

__all__ = ["PURGED", "StreamState", "stream_manifest"]

PURGED = ("vault", "purged")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What stands of a stream, whatever the epoch.

    Attributes:
        run: Id of the stream.
        source: What people call its source.
        key_versions: That it works with.
        started_at: Microseconds UTC, by the clock.
    """

    run: str
    source: str
    key_versions: KeyVersions
    started_at: int

    @classmethod
    def of(cls, key_versions: KeyVersions, started_at: int) -> StreamState:
        """Returns the state of a stream that has no name yet."""
        return cls(run="", source="", key_versions=key_versions, started_at=started_at)


def stream_manifest(
    state: StreamState,
    config: StageConfig,
    outcome: Outcome,
    *,
    columns: pa.Schema,
    epochs: int,
    offsets: Offsets,
    finished_at: int,
) -> Manifest:
    """Returns the manifest, not yet signed.

    Args:
        state: Of the stream.
        config: Of the last epoch.
        outcome: Of all epochs.
        columns: Of records, as far as they are known.
        epochs: How many there were.
        offsets: Behind the last record of each partition.
        finished_at: Microseconds UTC, by the clock.

    Raises:
        RunError: The books do not balance.
    """
    purged = outcome.tally[PURGED]
    tally = Tally({key: count for key, count in outcome.tally.counts.items() if key != PURGED})
    outcome = Outcome(tally, outcome.receipts)
    run = SettledRun(
        id=state.run,
        config=config,
        plan=plan_protection(config.policy, config.dataset, columns, key_version=config.key_version),
        inputs=Inputs(files=len(offsets), bytes=outcome.tally[READ_BYTES]),
        key_versions=state.key_versions,
        started_at=state.started_at,
    )
    books = balanced_books(outcome)
    manifest = manifest_of_run(run, outcome, books=books, purged=purged, finished_at=finished_at)
    progress = StreamProgress(source=state.source, epochs=epochs, offsets=dict(offsets), corrections=purged)
    return manifest.model_copy(update={"fields": _with_absent(manifest.fields, books.out), "stream": progress})


def _with_absent(fields: Mapping[str, FieldTreatment], rows: int) -> dict[str, FieldTreatment]:
    """Returns the fields with a count of the rows that have no such field at all."""
    return {path: _counted(path, treatment, rows) for path, treatment in fields.items()}


def _counted(path: str, treatment: FieldTreatment, rows: int) -> FieldTreatment:
    if treatment.action == "drop" or EACH in FieldPath.parse(path).steps:
        return treatment
    if treatment.values == rows:
        return treatment
    return treatment.model_copy(update={"outcomes": {**treatment.outcomes, ABSENT: rows - treatment.values}})

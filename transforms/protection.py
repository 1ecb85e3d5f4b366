"""Treats every field of a batch as the policy says for its info type and the decision on its row.

``protect_batch`` is the whole logic: columns in, columns out, no Beam and no store. A row leaves fully protected or is
set aside whole. What it returns as candidates for the vault is raw: whoever calls it hands them to the vault before
the protected batch goes on, in the same bundle, so that raw values never travel.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from ..schemas.dataset import FieldPath
from ..schemas.info_types import (
    InvalidReason,
    OnDrift,
)
from ..schemas.record_columns import POSITION, SUBJECT
from .dead_letters import Rejected
from .detectors.recognizers import Recognizer
from .failures import guarded
from .nested_columns import numpy_bools, open_list, open_struct
from .outputs import StageOutputs, counted, refusals, stage_outputs
from .plain_layouts import plain_batch
from .protection_plan import ProtectionPlan, leaves, told_path
from .stage import StageFn, StageOpener
from .stores.vault import Candidates
from .tally import Key, Tally
from .tokens.tokenizer import Tokenizer
from .treatment import Treatment, permitted
from .vaulting import WaitingBatches

__all__ = ["Protect", "Protected", "protect_batch"]

STAGE = "protect"
UNDECLARED = "undeclared_field"
NOTHING_DECLARED = "nothing_declared"
REASONS = ("", *(reason.value for reason in InvalidReason))

Rows = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What came of a batch.

    Attributes:
        batch: The rows that leave, of the plan's schema with the metadata of the input batch.
        candidates: Raw values that the vault may hold, one object for each tokenized field that has any.
        rejected: Rows for the dead letters; None: none.
        tally: Counts of ``rows``, ``field`` and ``drift``; refused rows are counted where they are sealed.
    """

    batch: pa.RecordBatch
    candidates: tuple[Candidates, ...]
    rejected: Rejected | None
    tally: Tally


def protect_batch(
    batch: pa.RecordBatch,
    plan: ProtectionPlan,
    tokenizers: Mapping[str, Tokenizer],
    *,
    with_vault: bool = True,
    recognizers: Sequence[Recognizer] = (),
    positions: bool = False,
) -> Protected:
    """Returns the batch as the plan says.

    Args:
        batch: Of the schema that was planned, with the columns that ``decide_batch`` adds.
        plan: Of that schema.
        tokenizers: By token domain; not shared with other threads.
        with_vault: Whether to gather candidates.
        recognizers: Detectors of other makers for free text.
        positions: Whether the rows keep their position in the source, as the reserved last column.

    Returns:
        Rows without permission for the dataset are left out and counted; rows with a value that ``on_invalid`` or
        ``on_drift`` sends to the dead letters are set aside. The order of the others stays.
    """
    counts: dict[Key, int] = {}
    batch = _collected(plain_batch(batch), plan, counts)
    reasons: list[str | None] | None = _drift_reasons(batch, plan, counts)
    if not plan.columns and batch.num_rows:
        reasons = [NOTHING_DECLARED] * batch.num_rows
    pieces = Treatment(batch, plan, tokenizers, with_vault, recognizers)
    columns = pieces.columns()
    reasons = pieces.add_reasons(reasons)
    counts |= {key: count for key, count in pieces.counts.items() if key[0] == "drift"}
    rejected: Rejected | None = None
    if reasons is not None:
        bad = np.array([reason is not None for reason in reasons], np.bool_)
        codes = tuple(reason for reason in reasons if reason is not None)
        rejected = Rejected(rows=batch.filter(pa.array(bad)), stage=STAGE, reasons=codes)
        # Once more without them, so that nothing of a refused row is counted, kept or made a candidate.
        batch = batch.filter(pa.array(~bad))
        pieces = Treatment(batch, plan, tokenizers, with_vault, recognizers)
        columns = pieces.columns()
    counts |= pieces.counts
    _count_rows(batch, plan, counts)
    schema = plan.schema.with_metadata(batch.schema.metadata)
    protected = pa.RecordBatch.from_arrays(columns, schema=schema)
    if positions:
        protected = protected.append_column(POSITION, batch.column(POSITION))
    tally = Tally({key: count for key, count in counts.items() if count})
    return Protected(batch=protected, candidates=tuple(pieces.candidates), rejected=rejected, tally=tally)


def _collected(batch: pa.RecordBatch, plan: ProtectionPlan, counts: dict[Key, int]) -> pa.RecordBatch:
    allowed = permitted(batch, plan.collect)
    if allowed is None:
        return batch
    counts[("rows", "dropped")] = int(len(allowed) - allowed.sum())
    return batch.filter(pa.array(allowed))


def _drift_reasons(batch: pa.RecordBatch, plan: ProtectionPlan, counts: dict[Key, int]) -> list[str | None] | None:
    """Counts the rows with a value at an undeclared path, and returns the reason for those that are to be refused."""
    told: dict[str, Bools] = {}
    for path in plan.drift:
        name, present = told_path(path), _present(batch, path)
        told[name] = told[name] | present if name in told else present
    refused = np.zeros(batch.num_rows, np.bool_)
    for name, present in told.items():
        counts[("drift", name)] = int(present.sum())
        refused |= present
    if plan.on_drift is not OnDrift.DEAD_LETTER or not refused.any():
        return None
    return [UNDECLARED if bad else None for bad in refused.tolist()]


def _present(batch: pa.RecordBatch, path: FieldPath) -> Bools:
    """Returns which rows have a value at a path, through lists too."""
    column: pa.Array = batch.column(batch.schema.get_field_index(str(path.steps[0])))
    rows: Rows | None = None
    for step in path.steps[1:]:
        if step is None:
            elements = open_list(column)
            rows, column = elements.owners(rows), elements.values
        else:
            column = open_struct(column)[column.type.get_field_index(step)]
    valid = numpy_bools(column.is_valid())
    if rows is None:
        return valid
    found = np.zeros(batch.num_rows, np.bool_)
    found[rows[valid]] = True
    return found


def _count_rows(batch: pa.RecordBatch, plan: ProtectionPlan, counts: dict[Key, int]) -> None:
    """Counts each row that leaves under the most that its permissions allow."""
    total = batch.num_rows
    nobody = numpy_bools(batch.column(SUBJECT).is_null())
    asking = [leaf for leaf in leaves(plan.columns) if leaf.collect]
    some = np.full(total, not asking)
    vaulted = np.zeros(total, np.bool_)
    for collect, distribute in {(leaf.collect, leaf.distribute) for leaf in asking}:
        collected = permitted(batch, collect)
        allowed = np.ones(total, np.bool_) if collected is None else collected
        some |= allowed
        if distribute:
            given = permitted(batch, distribute)
            vaulted |= allowed if given is None else allowed & given
    some, vaulted = some & ~nobody, vaulted & ~nobody
    counts[("rows", "no_subject")] = int(nobody.sum())
    counts[("rows", "distributable")] = int(vaulted.sum())
    counts[("rows", "token_only")] = int((some & ~vaulted).sum())
    counts[("rows", "redacted")] = int((~some & ~nobody).sum())


class Protect(beam.PTransform[pa.RecordBatch, StageOutputs]):
    """Protects decided batches and writes the vault, in one step; refused rows become dead letters.

    Args:
        shared: Opened in ``setup``; all steps of a pipeline take the same one.
        positions: Whether protected rows keep their position in the source; who takes them removes it.
    """

    def __init__(self, shared: StageOpener, *, positions: bool = False) -> None:
        super().__init__()
        self._shared = shared
        self._positions = positions

    def expand(self, input_or_inputs: beam.PCollection[pa.RecordBatch]) -> StageOutputs:
        """Returns protected batches, sealed dead letters and tallies."""
        return stage_outputs(input_or_inputs, "ProtectBatch", _ProtectFn(self._shared, self._positions))


class _ProtectFn(StageFn):
    def __init__(self, shared: StageOpener, positions: bool) -> None:
        super().__init__(shared)
        self._positions = positions

    def setup(self) -> None:
        super().setup()
        self._recognizers = self.stage.recognizers()
        self._schema: pa.Schema | None = None

    def start_bundle(self) -> None:
        self._waiting = WaitingBatches(self.stage)

    @guarded(STAGE)
    def process(
        self, element: pa.RecordBatch, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        stage = self.stage
        self._settle(element.schema)
        protected = protect_batch(
            element,
            self._plan,
            self._tokenizers,
            with_vault=stage.config.with_vault,
            recognizers=self._recognizers,
            positions=self._positions,
        )
        if protected.rejected is not None:
            yield from refusals(stage.sealer.seal_rejected(protected.rejected))
        yield counted(protected.tally)
        if protected.candidates:
            self._waiting.add(protected.batch, protected.candidates, timestamp, (window,))
        elif protected.batch.num_rows:
            yield protected.batch
        if self._waiting.full:
            yield from self._waiting.release()

    @guarded(STAGE)
    def finish_bundle(self) -> Iterator[Any]:
        yield from self._waiting.release()

    def _settle(self, schema: pa.Schema) -> None:
        """Plans anew only where the schema changes: in a run over files that is once."""
        if self._schema is None or not schema.equals(self._schema):
            self._plan: ProtectionPlan = self.stage.plan(schema)
            self._tokenizers: Mapping[str, Tokenizer] = self.stage.tokenizers(self._plan)
            self._schema = schema

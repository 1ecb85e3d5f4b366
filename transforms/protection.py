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
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput

from ..schemas.dataset import FieldPath, Plain
from ..schemas.info_types import (
    GeneralizeRule,
    InfoType,
    InvalidReason,
    KeepRule,
    MaskRule,
    OnDrift,
    OnInvalid,
    RedactRule,
    ScanRule,
    TokenizeRule,
)
from ..schemas.record_columns import EVENT_TIME, SUBJECT, permits_column
from .actions import REDACTED, generalize, is_text, mask, redact, redacted_type
from .dead_letters import Rejected
from .failures import guarded
from .nested_columns import close_list, close_struct, masked_nulls, numpy_bools, open_list, open_struct
from .outputs import TALLY, StageOutputs, refusals, stage_outputs
from .plain_layouts import compact, plain_batch
from .protection_plan import ColumnPlan, LeafPlan, ListPlan, ProtectionPlan, StructPlan, leaves, told_path
from .stage import SharedStage, StageFn
from .stores.vault import Candidates
from .tally import Key, Tally
from .tokens.tokenizer import Tokenizer
from .values.canonical import reason_code
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
) -> Protected:
    """Returns the batch as the plan says.

    Args:
        batch: Of the schema that was planned, with the columns that ``decide_batch`` adds.
        plan: Of that schema.
        tokenizers: By token domain; not shared with other threads.
        with_vault: Whether to gather candidates.

    Returns:
        Rows without permission for the dataset are left out and counted; rows with a value that ``on_invalid`` or
        ``on_drift`` sends to the dead letters are set aside. The order of the others stays.
    """
    counts: dict[Key, int] = {}
    batch = _collected(plain_batch(batch), plan, counts)
    reasons: list[str | None] | None = _drift_reasons(batch, plan, counts)
    if not plan.columns and batch.num_rows:
        reasons = [NOTHING_DECLARED] * batch.num_rows
    pieces = _Fields(batch, plan, tokenizers, with_vault)
    columns = pieces.columns()
    reasons = pieces.add_reasons(reasons)
    rejected: Rejected | None = None
    if reasons is not None:
        bad = np.array([reason is not None for reason in reasons], np.bool_)
        codes = tuple(reason for reason in reasons if reason is not None)
        rejected = Rejected(rows=batch.filter(pa.array(bad)), stage=STAGE, reasons=codes)
        # Once more without them, so that nothing of a refused row is counted, kept or made a candidate.
        batch = batch.filter(pa.array(~bad))
        pieces = _Fields(batch, plan, tokenizers, with_vault)
        columns = pieces.columns()
    counts |= pieces.counts
    _count_rows(batch, plan, counts)
    schema = plan.schema.with_metadata(batch.schema.metadata)
    protected = pa.RecordBatch.from_arrays(columns, schema=schema)
    tally = Tally({key: count for key, count in counts.items() if count})
    return Protected(batch=protected, candidates=tuple(pieces.candidates), rejected=rejected, tally=tally)


def _permitted(batch: pa.RecordBatch, purposes: Sequence[str]) -> Bools | None:
    """Returns which rows one of the purposes permits; None where all are permitted."""
    found: Bools | None = None
    for purpose in purposes:
        permits = numpy_bools(batch.column(permits_column(purpose)))
        found = permits if found is None else found | permits
    return None if found is None or found.all() else found


def _collected(batch: pa.RecordBatch, plan: ProtectionPlan, counts: dict[Key, int]) -> pa.RecordBatch:
    permitted = _permitted(batch, plan.collect)
    if permitted is None:
        return batch
    counts[("rows", "dropped")] = int(len(permitted) - permitted.sum())
    return batch.filter(pa.array(permitted))


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
        permitted = _permitted(batch, collect)
        allowed = np.ones(total, np.bool_) if permitted is None else permitted
        some |= allowed
        if distribute:
            given = _permitted(batch, distribute)
            vaulted |= allowed if given is None else allowed & given
    some, vaulted = some & ~nobody, vaulted & ~nobody
    counts[("rows", "no_subject")] = int(nobody.sum())
    counts[("rows", "distributable")] = int(vaulted.sum())
    counts[("rows", "token_only")] = int((some & ~vaulted).sum())
    counts[("rows", "redacted")] = int((~some & ~nobody).sum())


class _Fields:
    """Walks the plan over one batch; keeps counts, candidates and the rows that may not leave."""

    def __init__(
        self, batch: pa.RecordBatch, plan: ProtectionPlan, tokenizers: Mapping[str, Tokenizer], with_vault: bool
    ) -> None:
        self._batch = batch
        self._plan = plan
        self._tokenizers = tokenizers
        self._with_vault = with_vault
        self._permits: dict[tuple[str, ...], Bools | None] = {}
        self._invalid: list[tuple[Rows, np.ndarray[Any, np.dtype[np.int8]]]] = []
        self.counts: dict[Key, int] = {}
        self.candidates: list[Candidates] = []

    def columns(self) -> list[pa.Array]:
        """Returns the columns of the output."""
        return [self._column(plan, self._batch.column(plan.place), None) for plan in self._plan.columns]

    def add_reasons(self, reasons: list[str | None] | None) -> list[str | None] | None:
        """Returns the reasons with those of invalid values added; the first reason of a row stays."""
        for rows, codes in self._invalid:
            reasons = [None] * self._batch.num_rows if reasons is None else reasons
            for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
                reasons[row] = reasons[row] or REASONS[code]
        return reasons

    def _column(self, plan: ColumnPlan, column: pa.Array, rows: Rows | None) -> pa.Array:
        match plan:
            case LeafPlan():
                return self._leaf(plan, column, rows)
            case StructPlan():
                opened = open_struct(column)
                children = [self._column(child, opened[child.place], rows) for child in plan.children]
                return close_struct([child.field for child in plan.children], children, column)
            case ListPlan():
                elements = open_list(column)
                values = self._column(plan.element, elements.values, elements.owners(rows))
                return close_list(plan.element.field, elements, values, column)

    def _leaf(self, plan: LeafPlan, column: pa.Array, rows: Rows | None) -> pa.Array:
        nulls = column.null_count
        self._count(plan, "null", nulls)
        permitted = self._permitted(plan.collect, rows)
        if permitted is None or nulls == len(column):
            return self._treated(plan, plan.rule, column, rows, len(column) - nulls)
        refused = ~permitted & numpy_bools(column.is_valid())
        denied = int(refused.sum())
        self._count(plan, "redacted_no_permission", denied)
        allowed = masked_nulls(column, refused) if denied else column
        treated = self._treated(plan, plan.rule, allowed, rows, len(column) - nulls - denied)
        return _with_redacted(treated, refused) if denied else treated

    def _treated(
        self, plan: LeafPlan, rule: InfoType | Plain, column: pa.Array, rows: Rows | None, values: int
    ) -> pa.Array:
        """Applies the rule to the values of a column that may be kept; ``values`` of them are not null."""
        match rule:
            case Plain.KEEP | KeepRule():
                self._count(plan, "kept", values)
                kept = compact(column)
                return kept if kept.type == plan.field.type else kept.cast(plan.field.type)
            case Plain.REDACT | RedactRule() | ScanRule():
                self._count(plan, "redacted", values)
                return redact(column)
            case MaskRule():
                self._count(plan, "masked", values)
                return mask(column, rule)
            case GeneralizeRule():
                coarser = generalize(column, rule)
                return self._judged(plan, coarser.values, coarser.reasons, rule.on_invalid, rows, "generalized", values)
            case TokenizeRule():
                return self._tokenized(plan, rule, column, rows, values)
        raise TypeError(f"{plan.path}: no such action")

    def _tokenized(
        self, plan: LeafPlan, rule: TokenizeRule, column: pa.Array, rows: Rows | None, values: int
    ) -> pa.Array:
        if pa.types.is_nested(column.type):
            valid = numpy_bools(column.is_valid())
            reasons = np.where(valid, reason_code(InvalidReason.WRONG_TYPE), 0).astype(np.int8)
            tokens = pa.nulls(len(column), pa.string())
            return self._judged(plan, tokens, reasons, rule.on_invalid, rows, "tokenized", values)
        tokenizer = self._tokenizers[rule.domain]
        result = tokenizer.tokenize(column)
        if self._with_vault and rule.distribute:
            self._gather(plan, rule, tokenizer.key_version, result.tokens, result.values, rows)
        return self._judged(plan, result.tokens, result.reasons, rule.on_invalid, rows, "tokenized", values)

    def _judged(
        self,
        plan: LeafPlan,
        column: pa.Array,
        reasons: np.ndarray[Any, np.dtype[np.int8]] | None,
        on_invalid: OnInvalid,
        rows: Rows | None,
        outcome: str,
        values: int,
    ) -> pa.Array:
        """Returns the column with ``[redacted]`` or null for what did not fit, or notes its rows to be refused."""
        if reasons is None or not reasons.any():
            self._count(plan, outcome, values)
            return column
        bad = np.flatnonzero(reasons)
        self._count(plan, outcome, values - len(bad))
        if on_invalid is OnInvalid.DEAD_LETTER:
            self._invalid.append((bad if rows is None else rows[bad], reasons[bad]))
            return column
        for code, count in zip(*np.unique(reasons[bad], return_counts=True), strict=True):
            self._count(plan, f"redacted_invalid:{REASONS[code]}", int(count))
        return _with_redacted(column, reasons != 0)

    def _gather(
        self,
        plan: LeafPlan,
        rule: TokenizeRule,
        key_version: int,
        tokens: pa.StringArray,
        values: pa.StringArray,
        rows: Rows | None,
    ) -> None:
        permitted = self._permitted(rule.distribute, rows)
        kept = numpy_bools(tokens.is_valid()) if tokens.null_count else None
        if permitted is not None:
            kept = permitted if kept is None else kept & permitted
        refs, times = self._batch.column(SUBJECT), self._batch.column(EVENT_TIME)
        if rows is not None:
            refs, times = refs.take(pa.array(rows)), times.take(pa.array(rows))
        if kept is not None:
            chosen = pa.array(kept)
            tokens, values, refs, times = (part.filter(chosen) for part in (tokens, values, refs, times))
        self._count(plan, "vault_candidate", len(tokens))
        if len(tokens):
            self.candidates.append(
                Candidates(
                    domain=rule.domain,
                    key_version=key_version,
                    tokens=tokens,
                    values=values,
                    refs=refs,
                    event_times=times.cast(pa.int64()).to_numpy(zero_copy_only=False),
                )
            )

    def _permitted(self, purposes: tuple[str, ...], rows: Rows | None) -> Bools | None:
        if purposes not in self._permits:
            self._permits[purposes] = _permitted(self._batch, purposes)
        permitted = self._permits[purposes]
        return permitted if permitted is None or rows is None else permitted[rows]

    def _count(self, plan: LeafPlan, outcome: str, count: int) -> None:
        key = ("field", plan.path, outcome)
        self.counts[key] = self.counts.get(key, 0) + count


def _with_redacted(column: pa.Array, hidden: Bools) -> pa.Array:
    """Returns the column with ``[redacted]`` where ``hidden`` if it is text; others are null there already."""
    if not is_text(redacted_type(column.type)):
        return column
    if pa.types.is_string_view(column.type):
        return _with_redacted(column.cast(pa.string()), hidden).cast(column.type)
    return pc.if_else(pa.array(hidden), pa.scalar(REDACTED, column.type), column)


class Protect(beam.PTransform[pa.RecordBatch, StageOutputs]):
    """Protects decided batches and writes the vault, in one step; refused rows become dead letters.

    Args:
        shared: Opened in ``setup``; all steps of a pipeline take the same one.
    """

    def __init__(self, shared: SharedStage) -> None:
        super().__init__()
        self._shared = shared

    def expand(self, input_or_inputs: beam.PCollection[pa.RecordBatch]) -> StageOutputs:
        """Returns protected batches, sealed dead letters and tallies."""
        return stage_outputs(input_or_inputs, "ProtectBatch", _ProtectFn(self._shared))


class _ProtectFn(StageFn):
    def setup(self) -> None:
        super().setup()
        self._schema: pa.Schema | None = None

    def start_bundle(self) -> None:
        self._waiting = WaitingBatches(self.stage)

    @guarded(STAGE)
    def process(
        self, element: pa.RecordBatch, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        stage = self.stage
        self._settle(element.schema)
        protected = protect_batch(element, self._plan, self._tokenizers, with_vault=stage.config.with_vault)
        if protected.rejected is not None:
            yield from refusals(stage.sealer.seal_rejected(protected.rejected))
        yield TaggedOutput(TALLY, protected.tally)
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

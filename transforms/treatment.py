"""Walks a plan over one batch and treats each column as its rule says; keeps counts and candidates for the vault.

What a row may not leave with is noted by row, so that the caller can set the row aside whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.column_type import ColumnKind
from ..schemas.dataset import Plain
from ..schemas.info_types import (
    Entity,
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
from ..schemas.text_tokens import spelled
from .actions import REDACTED, generalize, is_text, mask, redact, redacted_type
from .detection import contradicting, found_in_numbers, is_number, replaced_spans
from .detectors.column_types import column_type
from .detectors.headers import promised
from .detectors.recognizers import Recognizer
from .nested_columns import close_list, close_struct, masked_nulls, numpy_bools, open_list, open_struct
from .plain_layouts import compact
from .protection_plan import AsFound, ColumnPlan, Finder, LeafPlan, ListPlan, ProtectionPlan, StructPlan
from .stores.vault import Candidates
from .tally import Key
from .tokens.tokenizer import Tokenizer
from .values.canonical import reason_code

__all__ = ["Treatment", "permitted"]

REASONS = ("", *(reason.value for reason in InvalidReason))
CONTRADICTING = "contradicting_value"

Rows = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


def permitted(batch: pa.RecordBatch, purposes: Sequence[str]) -> Bools | None:
    """Returns which rows one of the purposes permits; None where all are permitted."""
    found: Bools | None = None
    for purpose in purposes:
        permits = numpy_bools(batch.column(permits_column(purpose)))
        found = permits if found is None else found | permits
    return None if found is None or found.all() else found


class Treatment:
    """What becomes of the columns of a batch.

    Args:
        batch: Of the plan's schema, with the columns that ``decide_batch`` adds.
        plan: Of that schema.
        tokenizers: By token domain; not shared with other threads.
        with_vault: Whether to gather candidates.
        recognizers: Detectors of other makers for free text.

    Attributes:
        counts: By field and outcome, and of drift.
        candidates: Raw values that the vault may hold.
    """

    def __init__(
        self,
        batch: pa.RecordBatch,
        plan: ProtectionPlan,
        tokenizers: Mapping[str, Tokenizer],
        with_vault: bool,
        recognizers: Sequence[Recognizer] = (),
    ) -> None:
        self._batch = batch
        self._plan = plan
        self._tokenizers = tokenizers
        self._with_vault = with_vault
        self._recognizers = recognizers
        self._permits: dict[tuple[str, ...], Bools | None] = {}
        self._contradicting: list[Rows] = []
        self._invalid: list[tuple[Rows, np.ndarray[Any, np.dtype[np.int8]]]] = []
        self.counts: dict[Key, int] = {}
        self.candidates: list[Candidates] = []

    def columns(self) -> list[pa.Array]:
        """Returns the columns of the output."""
        return [self._column(plan, self._batch.column(plan.place), None) for plan in self._plan.columns]

    def add_reasons(self, reasons: list[str | None] | None) -> list[str | None] | None:
        """Returns the reasons with those of invalid values added; the first reason of a row stays."""
        for rows in self._contradicting:
            reasons = [None] * self._batch.num_rows if reasons is None else reasons
            for row in rows.tolist():
                reasons[row] = reasons[row] or CONTRADICTING
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
        self, plan: LeafPlan, rule: InfoType | Plain | AsFound, column: pa.Array, rows: Rows | None, values: int
    ) -> pa.Array:
        """Applies the rule to the values of a column that may be kept; ``values`` of them are not null."""
        match rule:
            case Plain.KEEP | KeepRule():
                entity = contradicting(column, plan.may_hold)
                if entity is not None:
                    return self._contradicted(plan, entity, column, rows)
                return self._kept(plan, column, values)
            case AsFound.PROTECT_AS_FOUND:
                return self._as_found(plan, column, rows, values)
            case ScanRule() if is_text(column.type):
                return self._scanned(plan, column, rows)
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

    def _kept(self, plan: LeafPlan, column: pa.Array, values: int) -> pa.Array:
        self._count(plan, "kept", values)
        kept = compact(column)
        return kept if kept.type == plan.field.type else kept.cast(plan.field.type)

    def _contradicted(self, plan: LeafPlan, entity: Entity, column: pa.Array, rows: Rows | None) -> pa.Array:
        """Treats a column that was to be kept and holds an entity in this batch, as ``on_drift`` says."""
        valid = np.flatnonzero(numpy_bools(column.is_valid()))
        present = valid if rows is None else np.unique(rows[valid])
        key = ("drift", plan.path)
        self.counts[key] = self.counts.get(key, 0) + len(present)
        if self._plan.on_drift is OnDrift.DEAD_LETTER:
            self._contradicting.append(present)
            return redact(column).cast(plan.field.type)
        if self._plan.on_drift is OnDrift.PROTECT_AS_FOUND and is_text(column.type):
            return self._scanned(plan, column, rows, whole=entity).cast(plan.field.type)
        self._count(plan, "redacted", len(valid))
        return redact(column).cast(plan.field.type)

    def _as_found(self, plan: LeafPlan, column: pa.Array, rows: Rows | None, values: int) -> pa.Array:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if is_text(kind):
            found = column_type(column.cast(pa.string()), plan.field.name)
            most = found.leaks[0].entity if found.kind is ColumnKind.MIXED and found.leaks else found.entity
            return self._scanned(plan, column, rows, whole=most or contradicting(column, ()))
        if Entity.DATE_OF_BIRTH not in promised(plan.field.name):
            if is_number(kind):
                hidden = found_in_numbers(column, plan.field.name)
                self._count(plan, "redacted", int(hidden.sum()))
                return self._kept(plan, masked_nulls(column, hidden), values - int(hidden.sum()))
            if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
                return self._kept(plan, column, values)
        self._count(plan, "redacted", values)
        return pa.nulls(len(column), plan.field.type)

    def _scanned(
        self, plan: LeafPlan, column: pa.Array, rows: Rows | None, *, whole: Entity | None = None
    ) -> pa.StringArray:
        """Replaces what is found in texts, each span as its own info type."""

        def replacing(entity: Entity | None, values: pa.StringArray, places: Rows) -> Sequence[tuple[str, bool]]:
            return self._replacements(plan, entity, values, places if rows is None else rows[places])

        self._count(plan, "scanned", len(column) - column.null_count)
        replaced = replaced_spans(column, replacing, whole=whole, recognizers=self._recognizers)
        for entity, count in replaced.found.items():
            self._count(plan, f"found:{entity.value}", count)
        return replaced.texts

    def _replacements(
        self, plan: LeafPlan, entity: Entity | None, values: pa.StringArray, rows: Rows
    ) -> Sequence[tuple[str, bool]]:
        """Returns what stands for values found in texts of some rows: ``[redacted]``, or as their info type says."""
        finder = None if entity is None else self._plan.finders.get(entity)
        made = [(REDACTED, False)] * len(values)
        if finder is None:
            return made
        allowed = self._permitted(finder.rule.collect, rows)
        chosen = np.arange(len(values)) if allowed is None else np.flatnonzero(allowed)
        texts, is_token = self._as_info_type(plan, finder, values.take(pa.array(chosen)), rows[chosen])
        for place, text in zip(chosen.tolist(), texts.to_pylist(), strict=True):
            if text is not None:
                made[place] = (text, is_token)
        return made

    def _as_info_type(
        self, plan: LeafPlan, finder: Finder, values: pa.StringArray, rows: Rows
    ) -> tuple[pa.StringArray, bool]:
        """Returns values as an info type treats them, null where they are redacted, and whether these are tokens."""
        match finder.rule:
            case TokenizeRule() as rule:
                tokenizer = self._tokenizers[rule.domain]
                result = tokenizer.tokenize(values)
                if self._with_vault and rule.distribute:
                    self._gather(plan, rule, tokenizer.key_version, result.tokens, result.values, rows)
                version = tokenizer.key_version
                texts = [None if token is None else spelled(finder.info_type, version, token)
                         for token in result.tokens.to_pylist()]  # fmt: skip
                return pa.array(texts, pa.string()), True
            case MaskRule() as rule:
                return mask(values, rule), False
            case GeneralizeRule() as rule:
                return generalize(values, rule).values.cast(pa.string()), False
            case KeepRule():
                return values, False
        return pa.nulls(len(values), pa.string()), False

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
            self._permits[purposes] = permitted(self._batch, purposes)
        found = self._permits[purposes]
        return found if found is None or rows is None else found[rows]

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

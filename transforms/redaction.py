"""Takes out of written rows what is permitted no more; it only ever removes.

For each row every field is decided anew, at the row's event time and at ``now``, as ``protect`` decided it. A row whose
dataset permits nothing is dropped. A row of an erased subject, or of which nobody can tell whose it is, loses every
field that asks for a permission; so does one whose subject column goes. Of the erased, what names them goes wherever it
stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.dataset import EACH, FieldPath
from ..schemas.info_types import Basis
from ..schemas.policy import Policy
from ..schemas.text_tokens import TextToken
from .actions import REDACTED, as_text, is_text
from .consent_decision import event_times
from .leaf_columns import marks_of
from .nested_columns import (
    close_list,
    close_struct,
    column_at,
    is_list,
    masked_nulls,
    numpy_bools,
    open_list,
    open_struct,
)
from .output_marks import OutputMarks
from .row_owners import OwnerFinder, Owners
from .text_redaction import Needles, changed_texts, without_tokens

__all__ = ["FieldLoss", "Losses", "Redaction"]

TEXTS = ("keep", "scan", "protect_as_found")
"""Actions whose columns may hold tokens inside of texts."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(slots=True)
class FieldLoss:
    """What a field lost: values that were shown and are hidden now, and of dropped rows the values of each kind."""

    hidden: int = 0
    dropped_shown: int = 0
    dropped_hidden: int = 0
    dropped_null: int = 0


@dataclass(slots=True)
class Losses:
    """What came of some rows.

    Attributes:
        removed: Rows and values that went, by reason.
        rows: Rows that stay, by the most that their permissions allow, as in ``transforms.tally``.
        fields: What each lost, by path.
    """

    removed: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    fields: dict[str, FieldLoss] = field(default_factory=dict)


class Redaction:
    """Redacts the batches of one output.

    Args:
        policy: In force.
        marks: What the fields of the output are, by that policy.
        finder: Tells whose rows are.
        now: Microseconds UTC, one instant for all rows.
        needles: Names one erased subject, whose id and tokens go wherever they stand; None: nobody's.

    Attributes:
        losses: Of all batches so far.
    """

    def __init__(
        self, policy: Policy, marks: OutputMarks, finder: OwnerFinder, now: int, *, needles: Needles | None = None
    ) -> None:
        self.policy = policy
        self.marks = marks
        self.finder = finder
        self.needles = needles
        self.losses = Losses()
        self._now = now

    def redacted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the rows that stay, without what is permitted no more; the same object where nothing goes."""
        decisions = self._decided(batch)
        collect = self.marks.dataset.collect
        kept = decisions.owners_permit(collect) if collect else np.ones(batch.num_rows, np.bool_)
        if not kept.all():
            self._count_dropped(batch.filter(pa.array(~kept)))
            batch = batch.filter(pa.array(kept))
            decisions = self._decided(batch)
        self._count_rows(batch, decisions)
        columns = _Walk(self, decisions).columns(batch)
        if columns is None:
            return batch
        return pa.RecordBatch.from_arrays(columns, schema=self.marks.schema(batch.schema))

    def loss(self, path: FieldPath) -> FieldLoss:
        """Returns what a field has lost so far."""
        return self.losses.fields.setdefault(str(path), FieldLoss())

    def _decided(self, batch: pa.RecordBatch) -> _Decisions:
        marks, rows = self.marks, batch.num_rows
        column = column_at(batch, marks.dataset.subject) if marks.dataset.subject.is_scalar else None
        owners = self.finder.of(column, marks.subject_marks(batch.schema), rows)
        times, has_time = np.full(rows, self._now, np.int64), np.ones(rows, np.bool_)
        if marks.keeps_event_time(batch.schema):
            found, _ = event_times(column_at(batch, marks.dataset.event_time), rows)
            times = pc.fill_null(found.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
            has_time = numpy_bools(found.is_valid())
        decisions = _Decisions(self.policy, self.finder, owners, times, has_time, self._now)
        own = marks.subject_collect(batch.schema)
        decisions.wholly |= np.zeros(rows, np.bool_) if own is None else ~decisions.owners_permit(own)
        return decisions

    def _count_dropped(self, dropped: pa.RecordBatch) -> None:
        self.losses.removed["rows_no_permission"] += dropped.num_rows
        for path, column in _marked(dropped):
            loss = self.loss(path)
            shown = int(_shown(column).sum())
            loss.dropped_shown += shown
            loss.dropped_null += column.null_count
            loss.dropped_hidden += len(column) - column.null_count - shown

    def _count_rows(self, batch: pa.RecordBatch, decisions: _Decisions) -> None:
        """Counts each row that stays under the most that its permissions allow, as ``protect`` does."""
        asking = self.marks.permissions(batch.schema)
        some = np.full(batch.num_rows, not asking)
        given = np.zeros(batch.num_rows, np.bool_)
        for collect, distribute in asking:
            allowed = decisions.permit(collect)
            some |= allowed
            if distribute:
                given |= allowed & decisions.permit(distribute)
        nobody = decisions.owners.untold
        some, given = some & ~nobody, given & ~nobody
        self.losses.rows["no_subject"] += int(nobody.sum())
        self.losses.rows["distributable"] += int(given.sum())
        self.losses.rows["token_only"] += int((some & ~given).sum())
        self.losses.rows["redacted"] += int((~some & ~nobody).sum())


class _Decisions:
    """What is permitted of some rows.

    Args:
        policy: Says what basis a purpose has.
        finder: Has the snapshot.
        owners: Whose the rows are.
        times: Event times.
        has_time: Where there is one.
        now: Microseconds UTC.

    Attributes:
        owners: Whose the rows are.
        wholly: Rows that lose all that asks for a permission.
    """

    def __init__(
        self, policy: Policy, finder: OwnerFinder, owners: Owners, times: Rows, has_time: Bools, now: int
    ) -> None:
        self.owners = owners
        self.wholly: Bools = owners.erased | owners.untold
        self._policy = policy
        self._finder = finder
        self._judged_by = (times, has_time, now)
        self._permits: dict[tuple[str, ...], Bools] = {}
        self._kept: dict[tuple[str, ...], Bools] = {}

    def owners_permit(self, purposes: Sequence[str]) -> Bools:
        """Returns which rows one of some purposes permits."""
        name = tuple(purposes)
        if name not in self._permits:
            bases: list[tuple[str, Basis]] = [(purpose, self._policy.basis(purpose)) for purpose in name]
            self._permits[name] = self.owners.permit(self._finder.snapshot, bases, *self._judged_by)
        return self._permits[name]

    def permit(self, purposes: Sequence[str]) -> Bools:
        """Returns which rows keep what one of some purposes must permit; asked once ``wholly`` is settled."""
        name = tuple(purposes)
        if name not in self._kept:
            self._kept[name] = self.owners_permit(name) & ~self.wholly
        return self._kept[name]


class _Walk:
    """Walks the columns of a batch and hides what is permitted no more."""

    def __init__(self, redaction: Redaction, decisions: _Decisions) -> None:
        self._redaction = redaction
        self._policy = redaction.policy
        self._decisions = decisions

    def columns(self, batch: pa.RecordBatch) -> list[pa.Array] | None:
        """Returns the columns after it; None where all stay."""
        made = [
            self._field(field, column, FieldPath((field.name,)), None, {})
            for field, column in zip(batch.schema, batch.columns, strict=True)
        ]
        return None if all(one is other for one, other in zip(made, batch.columns, strict=True)) else made

    def _field(
        self, field: pa.Field, column: pa.Array, path: FieldPath, rows: Rows | None, above: Mapping[str, str]
    ) -> pa.Array:
        marks = marks_of(field)
        if not marks:
            return self._below(column, path, rows, above)
        made = self._below(self._permitted(marks, column, rows), path, rows, marks)
        if made is not column:
            self._redaction.loss(path).hidden += int((_shown(column) & ~_shown(made)).sum())
        return made

    def _below(self, column: pa.Array, path: FieldPath, rows: Rows | None, marks: Mapping[str, str]) -> pa.Array:
        kind = column.type
        if pa.types.is_struct(kind):
            opened = open_struct(column)
            made = [self._field(child, each, path.child(child.name), rows, marks)
                    for child, each in zip(kind, opened, strict=True)]  # fmt: skip
            if all(one is other for one, other in zip(made, opened, strict=True)):
                return column
            fields = [self._redaction.marks.field(child, path.child(child.name)) for child in kind]
            return close_struct(fields, made, column)
        if is_list(kind):
            elements = open_list(column)
            owners = elements.owners(rows)
            values = self._field(kind.value_field, elements.values, path.child(EACH), owners, marks)
            return column if values is elements.values else close_list(kind.value_field, elements, values, column)
        return self._leaf(column, path, rows, marks)

    def _permitted(self, marks: Mapping[str, str], column: pa.Array, rows: Rows | None) -> pa.Array:
        """Hides the values of an info type that are permitted no more."""
        collect = self._redaction.marks.collect(marks)
        if collect is not None:
            return self._hidden(column, ~self._of(self._decisions.permit(collect), rows), rows)
        if marks["action"] == "protect_as_found":
            return self._hidden(column, self._of(self._decisions.owners.erased, rows), rows)
        return column

    def _leaf(self, column: pa.Array, path: FieldPath, rows: Rows | None, marks: Mapping[str, str]) -> pa.Array:
        redaction = self._redaction
        if path == redaction.marks.dataset.subject:
            column = self._hidden(column, self._of(self._decisions.owners.erased, rows), rows)
        if not is_text(column.type):
            return column
        if marks.get("action") == "tokenize" and redaction.finder.marks:
            column = self._hidden(column, self._of_erased(column, marks), rows, erased=True)
        if marks.get("action") in TEXTS:
            column = changed_texts(column, lambda texts: self._without_tokens(texts, rows))
        if redaction.needles is not None:
            before, column = column, changed_texts(column, redaction.needles.removed)
            if column is not before:
                different = pc.not_equal(as_text(column), as_text(before))
                redaction.losses.removed["values_erased"] += int(pc.sum(different).as_py() or 0)
        return column

    def _hidden(self, column: pa.Array, refused: Bools, rows: Rows | None, *, erased: bool = False) -> pa.Array:
        """Returns a column with ``[redacted]`` or null for some values, counted by why they go."""
        refused = refused & _shown(column)
        if not refused.any():
            return column
        owners, removed = self._decisions.owners, self._redaction.losses.removed
        gone = self._of(owners.erased, rows) | erased
        removed["values_erased"] += int((refused & gone).sum())
        removed["values_of_nobody_known"] += int((refused & ~gone & self._of(owners.untold, rows)).sum())
        removed["values_no_permission"] += int((refused & ~gone & ~self._of(owners.untold, rows)).sum())
        if not is_text(column.type):
            return masked_nulls(column, refused)
        return changed_texts(column, lambda texts: pc.if_else(pa.array(refused), REDACTED, texts))

    def _of_erased(self, column: pa.Array, marks: Mapping[str, str]) -> Bools:
        """Which tokens, of whosever rows, are those of an erased subject."""
        tokens, finder = as_text(column), self._redaction.finder
        assert tokens is not None
        return finder.tokens_of_erased(tokens, marks["domain"], int(marks["key_version"]))

    def _without_tokens(self, texts: pa.StringArray, rows: Rows | None) -> pa.StringArray:
        decisions, removed = self._decisions, self._redaction.losses.removed
        needles = self._redaction.needles

        def gone(token: TextToken, place: int) -> bool:
            row = place if rows is None else int(rows[place])
            collect = self._redaction.marks.collect_of(token.info_type)
            named = (needles is not None and token.token in needles.tokens) or self._is_of_erased(token)
            if not named and (collect is None or (bool(decisions.permit(collect)[row]))):
                return False
            erased = named or bool(decisions.owners.erased[row])
            removed["values_erased" if erased else "values_no_permission"] += 1
            return True

        return without_tokens(texts, gone)

    def _is_of_erased(self, token: TextToken) -> bool:
        """Whether a token in a text names an erased subject, whosever row it is in."""
        redaction = self._redaction
        domain = redaction.marks.domain_of(token.info_type)
        if not domain or not redaction.finder.marks:
            return False
        tokens = pa.array([token.token], pa.string())
        return bool(redaction.finder.tokens_of_erased(tokens, domain, token.key_version)[0])

    def _of(self, decided: Bools, rows: Rows | None) -> Bools:
        return decided if rows is None else decided[rows]


def _shown(column: pa.Array) -> Bools:
    """Which values are neither null nor ``[redacted]``."""
    shown = numpy_bools(column.is_valid())
    if not is_text(column.type):
        return shown
    return shown & ~numpy_bools(pc.equal(as_text(column), REDACTED))


def _marked(batch: pa.RecordBatch) -> Iterator[tuple[FieldPath, pa.Array]]:
    """Yields the columns that bear marks, with their paths."""
    for child, column in zip(batch.schema, batch.columns, strict=True):
        yield from _marked_below(child, column, FieldPath((child.name,)))


def _marked_below(field: pa.Field, column: pa.Array, path: FieldPath) -> Iterator[tuple[FieldPath, pa.Array]]:
    kind = column.type
    if marks_of(field):
        yield path, column
    elif pa.types.is_struct(kind):
        for child, values in zip(kind, open_struct(column), strict=True):
            yield from _marked_below(child, values, path.child(child.name))
    elif is_list(kind):
        yield from _marked_below(kind.value_field, open_list(column).values, path.child(EACH))

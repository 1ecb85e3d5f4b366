"""Shared by the tests of the transforms: a tokenizer that shows what it does, and a policy with every action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from consentry.schemas.dataset import Dataset, FieldPath
from consentry.schemas.info_types import InvalidReason
from consentry.schemas.policy import Policy
from consentry.schemas.record_columns import EVENT_TIME, POSITION, SOURCE_KEY, SUBJECT, permits_column
from consentry.transforms.actions import as_text
from consentry.transforms.tokens.tokenizer import Tokenized
from consentry.transforms.values.canonical import reason_code

INFO_TYPES = {
    "token": {"action": "tokenize", "format": "surrogate", "domain": "d", "collect": ["use"], "distribute": ["give"]},
    "strict": {
        "action": "tokenize", "format": "surrogate", "domain": "s", "collect": ["use"], "distribute": ["give"],
        "on_invalid": "dead_letter",
    },
    "either": {
        "action": "tokenize", "format": "surrogate", "domain": "e", "collect": ["use", "other"],
        "distribute": ["give", "other"],
    },
    "mask": {"action": "mask", "show_last": 1, "collect": ["use"]},
    "keep_if": {"action": "keep", "collect": ["other"]},
    "scan": {"action": "scan", "collect": ["use"]},
    "year": {"action": "generalize", "to": "year", "collect": ["use"]},
    "gone": {"action": "drop"},
    "hidden": {"action": "redact"},
}  # fmt: skip


@dataclass
class ShowingTokenizer:
    """Makes ``t:value`` of a value; one with an ``x`` does not fit."""

    key_version: int = 3

    def tokenize(self, column: pa.Array) -> Tokenized:
        text = as_text(column)
        bad = pc.fill_null(pc.match_substring(text, "x"), False).to_numpy(zero_copy_only=False)
        values = pc.if_else(pa.array(bad), pa.scalar(None, pa.string()), text)
        reasons = np.where(bad, reason_code(InvalidReason.WRONG_CHARACTERS), 0).astype(np.int8)
        tokens = pc.binary_join_element_wise(pa.scalar("t:"), values, "")
        return Tokenized(tokens=tokens, values=values, reasons=reasons)

    def invert(self, tokens: pa.StringArray) -> pa.StringArray:
        return pc.utf8_slice_codeunits(tokens, 2)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, ShowingTokenizer]:
    return {domain: ShowingTokenizer() for domain in ("d", "s", "e")}


@pytest.fixture(scope="session")
def policy_of() -> Callable[..., Policy]:
    """A policy with one dataset ``data`` of the given fields."""

    def build(fields: dict[str, str], **dataset: Any) -> Policy:
        settings: dict[str, Any] = {"subject": "who", "event_time": "when", **dataset}
        return Policy(
            version=1,
            purposes={name: {"basis": "consent", "says": "Why."} for name in ("use", "give", "other")},
            info_types=INFO_TYPES,
            datasets={
                "data": Dataset(fields={FieldPath.parse(path): rule for path, rule in fields.items()}, **settings)
            },
            dead_letters={"retain": "7d"},
        )

    return build


@pytest.fixture(scope="session")
def decided() -> Callable[..., pa.RecordBatch]:
    """A batch as ``decide_batch`` leaves it, with the given permissions (default: all)."""

    def build(batch: pa.RecordBatch, **permits: list[bool]) -> pa.RecordBatch:
        rows = batch.num_rows
        columns = {name: batch.column(place) for place, name in enumerate(batch.schema.names)}
        columns[POSITION] = pa.array(np.arange(1, rows + 1))
        columns[SUBJECT] = pa.array([bytes([row % 256]) * 16 for row in range(rows)], pa.binary(16))
        columns[EVENT_TIME] = pa.array(np.arange(rows), pa.int64()).cast(pa.timestamp("us", "UTC"))
        for purpose in ("use", "give", "other"):
            columns[permits_column(purpose)] = pa.array(permits.get(purpose, [True] * rows), pa.bool_())
        fields = [*batch.schema, *(pa.field(name, columns[name].type) for name in list(columns)[batch.num_columns :])]
        schema = pa.schema(fields, {SOURCE_KEY: b"orders.jsonl"})
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)

    return build

"""What every token format does: a column of values in, a column of tokens out, and back where there is a way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.errors import NotReversibleError
from ..crypto.key_sets import Secret
from ..values.byte_rows import ByteRows
from ..values.canonical import Canonical, Reasons

__all__ = ["ColumnTokenizer", "Tokenized", "Tokenizer"]

CHUNK = 32_768
"""Rows at a time: the arrays that they take on the way stay in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """A tokenized column.

    Attributes:
        tokens: ``string``; null where the input is null or does not fit the format.
        values: ``string``, the raw values in canonical form; the same nulls.
        reasons: ``int8``; 0 is fine or null, else the code of an ``InvalidReason``.
    """

    tokens: pa.StringArray
    values: pa.StringArray
    reasons: Reasons


class Tokenizer(Protocol):
    """Makes and inverts the tokens of one token domain under one key version. For one thread at a time."""

    @property
    def key_version(self) -> int:
        """The version of the ``token`` key set."""

    def tokenize(self, column: pa.Array) -> Tokenized:
        """Returns tokens and canonical values of a column of any type."""

    def moved(self, tokens: pa.StringArray, newer: Self) -> pa.StringArray:
        """Returns the tokens of the same values under the version of another tokenizer of the same rule.

        Null where null, or no token of this format and version. Surrogates move too, although nobody can invert them.
        """

    def lasting(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns what the tokens of a value have in common under all versions: the value; of surrogates, a companion.

        Null where null, or no token of this format and version. As secret as the tokens' keys: for use in memory.
        """

    def invert(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns the canonical values of tokens.

        Null where null, or no token of this format and version, as ``[redacted]``. A format that tells no version
        in its tokens inverts any text of its shape.

        Raises:
            NotReversibleError: The format is a surrogate.
        """


class ColumnTokenizer(Secret, ABC):
    """Base of the formats. Holds cipher contexts: for one thread at a time, never pickled.

    Args:
        key_version: The version of the ``token`` key set.
    """

    __slots__ = ("key_version",)

    def __init__(self, key_version: int) -> None:
        self.key_version = key_version

    def tokenize(self, column: pa.Array) -> Tokenized:
        """Returns tokens and canonical values of a column of any type; of a dictionary each entry once."""
        if pa.types.is_dictionary(column.type):
            return self._spread(column)
        parts = [self._part(column.slice(start, CHUNK)) for start in range(0, max(len(column), 1), CHUNK)]
        if len(parts) == 1:
            return parts[0]
        return Tokenized(
            tokens=pa.concat_arrays([part.tokens for part in parts]),
            values=pa.concat_arrays([part.values for part in parts]),
            reasons=np.concatenate([part.reasons for part in parts]),
        )

    def invert(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns the canonical values of tokens; null where null or no token of this format and version."""
        return self._inverted(ByteRows.of(tokens.cast(pa.string()))).to_strings()

    def moved(self, tokens: pa.StringArray, newer: Self) -> pa.StringArray:
        """Returns the tokens of the same values under another version; null where null or no token of this one."""
        return self._moved(ByteRows.of(tokens.cast(pa.string())), newer).to_strings()

    def lasting(self, tokens: pa.StringArray) -> pa.StringArray:
        """Returns what the tokens of a value have in common under all versions; null where no token of this one."""
        return self._lasting(ByteRows.of(tokens.cast(pa.string()))).to_strings()

    def _part(self, column: pa.Array) -> Tokenized:
        canonical = self._canonical(column)
        return Tokenized(tokens=self._tokens(canonical.values), values=canonical.values, reasons=canonical.reasons)

    @abstractmethod
    def _canonical(self, column: pa.Array) -> Canonical:
        """The canonical form of a column that is no dictionary."""

    @abstractmethod
    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        """The tokens of canonical values."""

    def _moved(self, rows: ByteRows, newer: Self) -> ByteRows:
        return ByteRows.of(newer._tokens(self._inverted(rows).to_strings()))

    def _lasting(self, rows: ByteRows) -> ByteRows:
        return self._inverted(rows)

    def _inverted(self, rows: ByteRows) -> ByteRows:
        raise NotReversibleError(
            "tokens of this format are surrogates and have no inverse; detokenize them from the vault"
        )

    def _spread(self, column: pa.DictionaryArray) -> Tokenized:
        once = self.tokenize(column.dictionary)
        reasons = np.zeros(len(column), np.int8)
        if once.reasons.any():
            valid = pc.is_valid(column.indices).to_numpy(zero_copy_only=False)
            places = pc.fill_null(column.indices.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
            reasons[valid] = once.reasons[places[valid]]
        return Tokenized(
            tokens=once.tokens.take(column.indices), values=once.values.take(column.indices), reasons=reasons
        )

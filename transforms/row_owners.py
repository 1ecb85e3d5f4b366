"""Whose the rows of an output are, by what its subject column holds: a raw id, or a token of one.

A token is looked up among the tokens of all subjects of the ledger. One that is not there belongs to an erased subject,
if it bears the mark of one, else to somebody who never said anything. Where an id is hidden, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.errors import ConfigError
from ..schemas.info_types import Basis, TokenizeRule
from ..schemas.policy import Policy
from .actions import REDACTED, as_text
from .crypto.subject_references import REFERENCE_BYTES, subject_references
from .nested_columns import numpy_bools
from .stores.consent_ledger import KnownSubjects
from .stores.consent_snapshot import STRANGER, ConsentSnapshot
from .subject_marks import REVERSIBLE, OpenTokenizer, SubjectMarks

__all__ = ["OwnerFinder", "Owners"]

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose some rows are; a row may be one of several subjects', all of whom must permit then.

    Attributes:
        rows: For each pair of row and subject the row, ascending.
        located: For each pair the subject's place in the snapshot.
        erased: ``(n,)``: rows of an erased subject.
        untold: ``(n,)``: rows of which nobody can tell whose they are.
    """

    rows: Rows
    located: Rows
    erased: Bools
    untold: Bools

    def permit(
        self,
        snapshot: ConsentSnapshot,
        purposes: Sequence[tuple[str, Basis]],
        event_times: Rows,
        has_time: Bools,
        now: int,
    ) -> Bools:
        """Returns which rows one of the purposes permits, for every subject that a row may be of."""
        found = np.zeros(len(self.rows), np.bool_)
        times, timed = event_times[self.rows], has_time[self.rows]
        for purpose, basis in purposes:
            found |= snapshot.permits_record(purpose, basis, self.located, times, timed, now)
        allowed = np.zeros(len(self.erased), np.bool_)
        if len(found):
            first = np.flatnonzero(np.diff(self.rows, prepend=-1))
            allowed[self.rows[first]] = np.logical_and.reduceat(found, first)
        return allowed & ~self.erased


class OwnerFinder:
    """Finds whose rows are.

    Args:
        policy: Says how subject columns are tokenized.
        snapshot: Of the ledger.
        reference_key: Keys subject references.
        known: Subjects of the ledger.
        marks: Of the erased.
        open_tokenizer: Makes tokenizers.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        snapshot: ConsentSnapshot,
        reference_key: bytes,
        known: KnownSubjects,
        marks: SubjectMarks,
        open_tokenizer: OpenTokenizer,
    ) -> None:
        self.snapshot = snapshot
        self.marks = marks
        self._policy = policy
        self._reference_key = reference_key
        self._known = known
        self._erased = pa.array(sorted(known.erased), pa.binary(REFERENCE_BYTES))
        self._open_tokenizer = open_tokenizer
        self._indices: dict[tuple[str, int], _TokenIndex] = {}

    def of(self, column: pa.Array | None, marks: Mapping[str, str], rows: int) -> Owners:
        """Returns whose rows are.

        Args:
            column: The subject column of the output; None where it has none.
            marks: Metadata of its field.
            rows: How many there are.

        Raises:
            ConfigError: The policy has the token domain no more.
            KeyringError: The version of its tokens cannot be used.
        """
        action = marks.get("action")
        if column is None or action not in ("keep", "tokenize"):
            return _untold(rows)
        hidden = _hidden(column)
        if action == "keep":
            return self._by_reference(subject_references(column, self._reference_key), hidden)
        tokens = as_text(column)
        assert tokens is not None, "tokens are texts"
        return self._by_token(_shown(tokens, hidden), marks["domain"], int(marks["key_version"]))

    def tokens_of_erased(self, tokens: pa.StringArray, domain: str, version: int) -> Bools:
        """Returns which tokens are those of an erased subject's id, whatever version they have been moved to.

        Raises:
            ConfigError: Somebody was erased, and the policy has the token domain no more.
            KeyringError: The version of the tokens cannot be used.
        """
        if not self.marks:
            return np.zeros(len(tokens), np.bool_)
        return self.marks.has_tokens(domain, tokens, self._open_tokenizer(self._rule(domain), version))

    def _by_reference(self, references: pa.FixedSizeBinaryArray, hidden: Bools) -> Owners:
        told = numpy_bools(references.is_valid()) & ~hidden
        rows = np.flatnonzero(told)
        return Owners(
            rows=rows,
            located=self.snapshot.locate(references)[rows],
            erased=numpy_bools(pc.is_in(references, value_set=self._erased)) & told,
            untold=~told,
        )

    def _by_token(self, tokens: pa.StringArray, domain: str, version: int) -> Owners:
        index = self._index(domain, version)
        found = index.places(tokens)
        others = np.flatnonzero((found < 0) & numpy_bools(tokens.is_valid()))
        strangers = self._strangers(tokens.take(pa.array(others)), index.rule, version)
        located = np.full(len(tokens), STRANGER, np.int64)
        located[others] = strangers.located
        erased, untold = np.zeros(len(tokens), np.bool_), ~numpy_bools(tokens.is_valid())
        erased[others] = strangers.erased
        untold[others] = strangers.untold
        counts = np.where(found >= 0, index.counts[found], np.where(untold, 0, 1))
        rows = np.repeat(np.arange(len(tokens)), counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        hit = found[rows] >= 0
        pairs = located[rows]
        pairs[hit] = index.located[(index.starts[found[rows]] + offsets)[hit]]
        return Owners(rows=rows, located=pairs, erased=erased, untold=untold)

    def _strangers(self, tokens: pa.StringArray, rule: TokenizeRule, version: int) -> Owners:
        """Returns whose tokens are that no subject of the ledger has."""
        erased = self.tokens_of_erased(tokens, rule.domain, version)
        rows = np.arange(len(tokens))
        located = np.full(len(tokens), STRANGER, np.int64)
        untold = np.zeros(len(tokens), np.bool_)
        if rule.format in REVERSIBLE and len(tokens):
            values = self._open_tokenizer(rule, version).invert(tokens)
            by_id = self._by_reference(subject_references(values, self._reference_key), np.zeros(len(tokens), np.bool_))
            erased |= by_id.erased
            untold = by_id.untold & ~erased
            located[by_id.rows] = by_id.located
        return Owners(rows=rows, located=located, erased=erased, untold=untold)

    def _index(self, domain: str, version: int) -> _TokenIndex:
        if (domain, version) not in self._indices:
            rule = self._rule(domain)
            tokens = self._open_tokenizer(rule, version).tokenize(pa.array(self._known.ids, pa.string())).tokens
            references = pa.array(self._known.references, pa.binary(REFERENCE_BYTES))
            self._indices[domain, version] = _TokenIndex(rule, tokens, self.snapshot.locate(references))
        return self._indices[domain, version]

    def _rule(self, domain: str) -> TokenizeRule:
        found = self._policy.token_domain(domain)
        if found is None:
            raise ConfigError(
                f"the policy has no token domain '{domain}', which tokens of the output are of; "
                "give it back to the policy, or protect the inputs again"
            )
        return found.rule


class _TokenIndex:
    """The subjects of tokens; ids that differ may share a token, where its format takes them for one.

    Args:
        rule: Of the tokens.
        tokens: Of each known subject; null where the id does not fit the format.
        located: Place of each in the snapshot.
    """

    def __init__(self, rule: TokenizeRule, tokens: pa.StringArray, located: Rows) -> None:
        self.rule = rule
        fit = np.flatnonzero(numpy_bools(tokens.is_valid()))
        encoded = tokens.take(pa.array(fit)).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        self._distinct = encoded.dictionary
        self.located: Rows = located[fit][np.argsort(codes, kind="stable")]
        # One row more, for tokens that are not found: their place is -1.
        self.counts: Rows = np.append(np.bincount(codes, minlength=len(self._distinct)), 0)
        self.starts: Rows = np.append(np.cumsum(self.counts[:-1]) - self.counts[:-1], 0)

    def places(self, tokens: pa.StringArray) -> Rows:
        """Returns the place of each token, -1 where it is unknown or null."""
        found = pc.index_in(tokens, value_set=self._distinct, skip_nulls=True)
        places: Rows = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return places


def _untold(rows: int) -> Owners:
    none = np.empty(0, np.int64)
    return Owners(rows=none, located=none, erased=np.zeros(rows, np.bool_), untold=np.ones(rows, np.bool_))


def _hidden(column: pa.Array) -> Bools:
    """Which values are redacted."""
    text = as_text(column)
    return np.zeros(len(column), np.bool_) if text is None else numpy_bools(pc.equal(text, REDACTED))


def _shown(tokens: pa.StringArray, hidden: Bools) -> pa.StringArray:
    return pc.if_else(pa.array(hidden), pa.scalar(None, pa.string()), tokens) if hidden.any() else tokens

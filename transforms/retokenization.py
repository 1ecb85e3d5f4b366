"""Moves the tokens of protected batches to another key version: in columns, in nested fields and in free text.

Plain functions over columns; no value is in clear on the way but inside the tokenizers, and none is written. What is no
token of its field's format and version, as ``[redacted]``, stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.errors import ConfigError
from ..schemas.info_types import TokenizeRule
from ..schemas.policy import Policy
from ..schemas.text_tokens import BRACKETED, TextToken, respelled, spelled, text_tokens
from .actions import is_text
from .crypto.key_sets import TokenKeys
from .leaf_columns import MARKS, marks_of
from .nested_columns import close_list, close_struct, is_list, list_type, numpy_bools, open_list, open_struct
from .tokens.open_tokenizer import open_tokenizer
from .tokens.tokenizer import Tokenizer

__all__ = ["SEARCHED", "MovingTokens", "retokenize_batch", "retokenized_schema"]

SEARCHED = ("scan", "protect_as_found")
"""Actions of fields whose texts may hold tokens."""
VERSION = f"{MARKS}key_version"


class MovingTokens:
    """Tokenizers of all versions that an output has, and of the one that it is to have. For one thread at a time.

    Args:
        policy: Its rules say how tokens of a domain are made.
        keys: The unlocked ``token`` key set.
        version: That all tokens are moved to.
        as_found: Whether kept columns may hold tokens in their texts, as under ``on_drift: protect_as_found``.

    Raises:
        KeyringError: The version is unknown, disabled or destroyed.
    """

    def __init__(self, policy: Policy, keys: TokenKeys, version: int, *, as_found: bool = False) -> None:
        self.version = version
        self._rules = policy.info_types
        self._keys = keys
        self._open: dict[tuple[str, int], Tokenizer] = {}
        self.searched = (*SEARCHED, "keep") if as_found else SEARCHED
        for rule in self._domains.values():
            self._tokenizer(rule, version)

    def in_domain(self, domain: str, old: int, tokens: pa.StringArray) -> pa.StringArray:
        """Returns tokens of a domain under the new version; null where null or no token of the old one.

        Raises:
            ConfigError: The policy knows no such domain any more.
            KeyringError: The old version is disabled or destroyed.
        """
        rule = self._rule(domain)
        return self._tokenizer(rule, old).moved(tokens, self._tokenizer(rule, self.version))

    def in_field(self, marks: Mapping[str, str], column: pa.Array) -> pa.Array:
        """Returns the tokens of a field moved; what is none stays.

        Args:
            marks: Of the field.
            column: Its values.

        Raises:
            ConfigError: The policy does not know the domain any more, or makes its tokens in another way by now.
            KeyringError: The old version is disabled or destroyed.
        """
        old = int(marks["key_version"])
        if old == self.version:
            return column
        rule = self._rule(marks["domain"])
        if (rule.format.value, rule.parameters) != (marks["format"], marks.get("parameters")):
            raise ConfigError(
                f"the policy makes the tokens of domain {rule.domain!r} in another way than when these were made, so "
                "they cannot be moved; give its info types back the format and parameters that they had"
            )
        texts = column.cast(pa.string())
        return pc.coalesce(self.in_domain(rule.domain, old, texts), texts)

    def check_values(self, domain: str, version: int, tokens: pa.StringArray, values: pa.StringArray) -> None:
        """Refuses to go on where tokens are not those that the policy makes of values today.

        Raises:
            ConfigError: It makes them in another way by now.
        """
        rule = self._rule(domain)
        if not self._tokenizer(rule, version).tokenize(values).tokens.equals(tokens):
            raise ConfigError(
                f"the policy makes the tokens of domain {domain!r} in another way than when the vault's were made; "
                "give its info types back the format and parameters that they had"
            )

    def _rule(self, domain: str) -> TokenizeRule:
        rule = self._domains.get(domain)
        if rule is None:
            raise ConfigError(
                f"the policy has no info type of the token domain {domain!r} any more, so its tokens cannot be moved; "
                "put one back, as it was when they were made"
            )
        return rule

    def in_texts(self, column: pa.Array) -> pa.Array:
        """Returns texts with the tokens in them moved, brackets as they stand; the same object where there are none.

        Raises:
            ConfigError: A token is of an info type that the policy does not know any more.
            KeyringError: An old version is disabled or destroyed.
        """
        chosen = np.flatnonzero(numpy_bools(pc.match_substring_regex(column, BRACKETED)))
        texts = column.take(pa.array(chosen)).to_pylist()
        found = [token for text in texts for token in text_tokens(text) if token.key_version != self.version]
        if not found:
            return column
        moved = self._moved_texts(found)
        made = [respelled(text, lambda token: moved.get((token.info_type, token.key_version, token.token)))
                for text in texts]  # fmt: skip
        mask = np.zeros(len(column), np.bool_)
        mask[chosen] = True
        return pc.replace_with_mask(column, pa.array(mask), pa.array(made, column.type))

    def _moved_texts(self, found: list[TextToken]) -> dict[tuple[str, int, str], str]:
        """Returns how each distinct token is spelled under the new version; those that are none are left out."""
        kinds: dict[tuple[str, int], dict[str, None]] = defaultdict(dict)
        for each in found:
            kinds[each.info_type, each.key_version][each.token] = None
        made = {}
        for (info_type, old), tokens in kinds.items():
            rule = self._rules.get(info_type)
            if not isinstance(rule, TokenizeRule):
                raise ConfigError(
                    "free text holds tokens of an info type that the policy does not tokenize any more, so they cannot "
                    "be moved; put the info type back, as it was when they were made"
                )
            moved = self.in_domain(rule.domain, old, pa.array(list(tokens), pa.string()))
            for token, new in zip(tokens, moved.to_pylist(), strict=True):
                if new is not None:
                    made[info_type, old, token] = spelled(info_type, self.version, new)
        return made

    @cached_property
    def _domains(self) -> Mapping[str, TokenizeRule]:
        return {rule.domain: rule for rule in self._rules.values() if isinstance(rule, TokenizeRule)}

    def _tokenizer(self, rule: TokenizeRule, version: int) -> Tokenizer:
        key = rule.domain, version
        if key not in self._open:
            self._open[key] = open_tokenizer(rule, self._keys, version=version)
        return self._open[key]


def retokenized_schema(schema: pa.Schema, version: int) -> pa.Schema:
    """Returns the schema with all tokenized fields marked with a version."""
    return pa.schema([_field(field, version) for field in schema], metadata=schema.metadata)


def retokenize_batch(batch: pa.RecordBatch, schema: pa.Schema, moving: MovingTokens) -> pa.RecordBatch:
    """Returns a batch with all its tokens moved.

    Args:
        batch: Of an output.
        schema: What ``retokenized_schema`` makes of its schema.
        moving: The tokenizers.

    Raises:
        ConfigError: The policy does not know a domain or info type any more.
        KeyringError: A version that tokens are of is disabled or destroyed.
    """
    columns = [
        _column(column, old, new, moving) for column, old, new in zip(batch.columns, batch.schema, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _field(field: pa.Field, version: int) -> pa.Field:
    kind = field.type
    if pa.types.is_struct(kind):
        kind = pa.struct([_field(child, version) for child in kind])
    elif is_list(kind):
        kind = list_type(kind, _field(kind.value_field, version))
    metadata = dict(field.metadata or {})
    if marks_of(field).get("action") == "tokenize":
        metadata[VERSION.encode()] = str(version).encode()
    return pa.field(field.name, kind, field.nullable, metadata or None)


def _column(column: pa.Array, old: pa.Field, new: pa.Field, moving: MovingTokens) -> pa.Array:
    kind, marks = old.type, marks_of(old)
    if marks.get("action") == "tokenize":
        return moving.in_field(marks, column)
    if pa.types.is_struct(kind):
        parts = zip(open_struct(column), kind, new.type, strict=True)
        return close_struct(list(new.type), [_column(*part, moving) for part in parts], column)
    if is_list(kind):
        elements = open_list(column)
        values = _column(elements.values, kind.value_field, new.type.value_field, moving)
        return close_list(new.type.value_field, elements, values, column)
    if marks.get("action") not in moving.searched or not is_text(kind):
        return column
    if pa.types.is_dictionary(kind):
        words = moving.in_texts(column.dictionary.cast(pa.string())).cast(kind.value_type)
        return pa.DictionaryArray.from_arrays(column.indices, words, ordered=kind.ordered)
    return moving.in_texts(column.cast(pa.string())).cast(kind)

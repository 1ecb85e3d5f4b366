"""Tokens of email addresses: ``<surrogate>@<surrogate or domain>.invalid``, which no mail server delivers (RFC 2606).

The local part is the surrogate of the whole canonical address, so the same name at two domains has two tokens. The
domain is a surrogate of the domain under a key of its own, or the domain itself where the rule keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import TokenizeRule
from ..crypto.key_sets import TokenKeys
from ..values.byte_rows import ByteRows, Bytes
from ..values.canonical import Canonical
from ..values.email import canonical_email, domains_of
from .base32 import CHARACTERS, FOREIGN, open_surrogates
from .tokenizer import ColumnTokenizer

__all__ = ["EmailTokenizer"]

TOP_LEVEL = ".invalid"
HOST = slice(CHARACTERS + 1, 2 * CHARACTERS + 1)
SHAPE = np.frombuffer(b"." * CHARACTERS + b"@" + b"." * CHARACTERS + TOP_LEVEL.encode(), np.uint8)


class EmailTokenizer(ColumnTokenizer):
    """Tokens of email addresses.

    Args:
        rule: Of format ``email``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_addresses", "_domains", "_hashes_domain")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)
        self._addresses = open_surrogates(keys, rule, version, use="surrogate")
        self._domains = open_surrogates(keys, rule, version, use="email-domain")
        self._hashes_domain = rule.hashes_email_domain

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_email(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        domains, valid = domains_of(values), np.asarray(values.is_valid())
        local = self._addresses.of(values)
        if not self._hashes_domain:
            names = ByteRows.of_matrix(local, valid).to_strings()
            return pc.binary_join_element_wise(names, "@", domains, TOP_LEVEL, "")
        tokens = np.repeat(SHAPE[None], len(values), axis=0)
        tokens[:, :CHARACTERS] = local
        tokens[:, HOST] = self._domains_of(domains)
        return ByteRows.of_matrix(tokens, valid).to_strings()

    def _domains_of(self, domains: pa.StringArray) -> Bytes:
        """Returns the surrogate of each domain, made once for all addresses of a provider."""
        encoded = domains.dictionary_encode()
        if not len(encoded.dictionary):
            return np.empty((len(domains), CHARACTERS), np.uint8)
        once = self._domains.of(encoded.dictionary)
        rows: Bytes = once[pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)]
        return rows

    def _moved(self, rows: ByteRows, newer: Self) -> ByteRows:
        return self._changed(
            rows,
            lambda text: self._addresses.moved(text, newer._addresses),
            lambda text: self._domains.moved(text, newer._domains),
        )

    def _lasting(self, rows: ByteRows) -> ByteRows:
        return self._changed(rows, self._addresses.companions, self._domains.companions)

    def _changed(self, rows: ByteRows, address: Callable[[Bytes], Bytes], domain: Callable[[Bytes], Bytes]) -> ByteRows:
        """Returns the rows that can be tokens with the surrogates in them changed, the others as nulls."""

        def change(tokens: Bytes) -> Bytes:
            result = tokens.copy()
            result[:, :CHARACTERS] = address(tokens[:, :CHARACTERS])
            if self._hashes_domain:
                result[:, HOST] = domain(tokens[:, HOST])
            return result

        return self._tokens_among(rows).mapped(change)

    def _tokens_among(self, rows: ByteRows) -> ByteRows:
        """Returns the rows that look like tokens of ours, the others as nulls."""
        least = len(SHAPE) if self._hashes_domain else CHARACTERS + 1 + len(TOP_LEVEL)
        rows = rows.only(rows.lengths == least if self._hashes_domain else rows.lengths >= least)
        fits = np.zeros(len(rows), np.bool_)
        for places, tokens in rows.by_length():
            if tokens.size:
                good = ~FOREIGN[tokens[:, :CHARACTERS]].any(axis=1) & (tokens[:, CHARACTERS] == ord("@"))
                good &= (tokens[:, -len(TOP_LEVEL) :] == SHAPE[-len(TOP_LEVEL) :]).all(axis=1)
                if self._hashes_domain:
                    good &= ~FOREIGN[tokens[:, HOST]].any(axis=1)
                fits[slice(None) if places is None else places] = good
        return rows.only(fits)

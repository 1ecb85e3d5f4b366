"""Tokens of email addresses: ``<surrogate>@<surrogate or domain>.invalid``, which no mail server delivers (RFC 2606).

The local part is the surrogate of the whole canonical address, so the same name at two domains has two tokens. The
domain is a surrogate of the domain under a key of its own, or the domain itself where the rule keeps it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.info_types import TokenizeRule
from ..crypto.cmac_columns import ColumnCmac
from ..crypto.key_sets import TokenKeys
from ..values.byte_rows import ByteRows
from ..values.canonical import Canonical
from ..values.email import canonical_email, domains_of
from .base32 import BASE32, CHARACTERS, surrogate_rows, surrogates
from .tokenizer import ColumnTokenizer

__all__ = ["EmailTokenizer"]

TOP_LEVEL = ".invalid"
SHAPE = np.frombuffer(b"." * CHARACTERS + b"@" + b"." * CHARACTERS + TOP_LEVEL.encode(), np.uint8)


class EmailTokenizer(ColumnTokenizer):
    """Tokens of email addresses.

    Args:
        rule: Of format ``email``.
        keys: The unlocked ``token`` key set.
        version: Of the key set.
    """

    __slots__ = ("_address_cmac", "_domain_cmac", "_hashes_domain")

    def __init__(self, rule: TokenizeRule, keys: TokenKeys, version: int) -> None:
        super().__init__(version)

        def cmac(use: str) -> ColumnCmac:
            alphabet = BASE32.decode("ascii")
            return ColumnCmac(keys.derive(version, use=use, domain=rule.domain, format=rule.format, alphabet=alphabet))

        self._address_cmac = cmac("surrogate")
        self._domain_cmac = cmac("email-domain")
        self._hashes_domain = rule.hashes_email_domain

    def _canonical(self, column: pa.Array) -> Canonical:
        return canonical_email(column)

    def _tokens(self, values: pa.StringArray) -> pa.StringArray:
        domains = domains_of(values)
        if not self._hashes_domain:
            return pc.binary_join_element_wise(surrogates(values, self._address_cmac), "@", domains, TOP_LEVEL, "")
        tokens = np.repeat(SHAPE[None], len(values), axis=0)
        tokens[:, :CHARACTERS] = surrogate_rows(values, self._address_cmac)
        tokens[:, CHARACTERS + 1 : 2 * CHARACTERS + 1] = surrogate_rows(domains, self._domain_cmac)
        return ByteRows.of_matrix(tokens, pc.is_valid(values).to_numpy(zero_copy_only=False)).to_strings()

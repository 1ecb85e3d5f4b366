"""Keyed digests of an erased subject's tokens, by which their rows are known later without knowing the person.

When a subject is erased, the id is at hand a last time: what its tokens in every token domain of the policy have in
common under all key versions is noted, as AES-CMAC under a key of the ``vault`` set. So a row is known whatever version
its tokens were made under, or have been moved to since.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.info_types import Format, TokenizeRule
from ..schemas.policy import Policy
from .crypto.cmac_columns import ColumnCmac
from .crypto.key_sets import VaultKeys
from .nested_columns import numpy_bools
from .tokens.tokenizer import Tokenizer

__all__ = ["REVERSIBLE", "OpenTokenizer", "SubjectMarks", "marked_rules", "subject_tokens"]

MARK_BYTES = 16
REVERSIBLE = frozenset(Format) - {Format.EMAIL, Format.SURROGATE}
"""Formats whose tokens can be inverted."""

OpenTokenizer = Callable[[TokenizeRule, int], Tokenizer]
Bools = np.ndarray[Any, np.dtype[np.bool_]]


class SubjectMarks:
    """The marks of all erased subjects.

    Args:
        keys: Of the tenant.
        known: Those that were noted, 16 bytes each.
    """

    def __init__(self, keys: VaultKeys, known: Collection[bytes] = ()) -> None:
        self._cmac = ColumnCmac(keys.derive_root("erased-subject"))
        self._known = pa.array(sorted(known), pa.binary(MARK_BYTES))

    def __bool__(self) -> bool:
        """Whether anybody was erased."""
        return len(self._known) > 0

    def of_subject(
        self, subject: str, rules: Mapping[str, TokenizeRule], version: int, open_tokenizer: OpenTokenizer
    ) -> frozenset[bytes]:
        """Returns the marks of a subject.

        Args:
            subject: The raw id.
            rules: Of the token domains, by name.
            version: Of the ``token`` key set, any that can be used: all have the same marks.
            open_tokenizer: Makes tokenizers.
        """
        texts = []
        for domain, rule in rules.items():
            tokenizer = open_tokenizer(rule, version)
            lasting = tokenizer.lasting(tokenizer.tokenize(pa.array([subject], pa.string())).tokens)
            texts += [_marked(domain) + each for each in lasting.to_pylist() if each is not None]
        digests = self._cmac.digest(pa.array(sorted(set(texts)), pa.string())).tobytes()
        return frozenset(digests[start : start + MARK_BYTES] for start in range(0, len(digests), MARK_BYTES))

    def has_tokens(self, domain: str, tokens: pa.StringArray, tokenizer: Tokenizer) -> Bools:
        """Returns which tokens are of an erased subject.

        Args:
            domain: Token domain.
            tokens: Of one version.
            tokenizer: Of the domain and that version.
        """
        found: Bools = np.zeros(len(tokens), np.bool_)
        if not self:
            return found
        texts = tokenizer.lasting(tokens)
        valid = np.flatnonzero(numpy_bools(texts.is_valid()))
        if len(valid):
            digests = self._cmac.digest(pc.binary_join_element_wise(_marked(domain), texts.take(pa.array(valid)), ""))
            marks = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(MARK_BYTES), len(valid), [None, pa.py_buffer(np.ascontiguousarray(digests, np.uint8))]
            )
            found[valid] = numpy_bools(pc.is_in(marks, value_set=self._known))
        return found


def marked_rules(policy: Policy) -> dict[str, TokenizeRule]:
    """Returns the rules of all token domains: an id may stand in any column whose format it fits."""
    return {name: domain.rule for name, domain in policy.token_domains.items()}


def subject_tokens(
    subject: str, rules: Mapping[str, TokenizeRule], versions: Collection[int], open_tokenizer: OpenTokenizer
) -> frozenset[str]:
    """Returns the tokens of a subject's id in all domains and versions."""
    return frozenset(_tokens(pa.array([subject], pa.string()), rules, versions, open_tokenizer))


def _tokens(
    column: pa.StringArray,
    rules: Mapping[str, TokenizeRule],
    versions: Collection[int],
    open_tokenizer: OpenTokenizer,
) -> Iterator[str]:
    for rule in rules.values():
        for version in versions:
            yield from (token for token in open_tokenizer(rule, version).tokenize(column).tokens.to_pylist() if token)


def _marked(domain: str) -> str:
    # Names of domains have no colon, so that no two marked texts are alike by chance.
    return f"{domain}:"

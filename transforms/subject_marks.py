"""Keyed digests of an erased subject's tokens, by which their rows are known later without knowing the person.

When a subject is erased, the id is at hand a last time: the tokens that it has in every token domain of the policy,
under every version that can be used, are noted as AES-CMAC under a key of the ``vault`` set. Of a reversible format the
value is noted as well, since such tokens may move to a newer version.
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

__all__ = ["REVERSIBLE", "OpenTokenizer", "SubjectMarks", "marked_rules", "subject_domains", "subject_tokens"]

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
        self, subject: str, rules: Mapping[str, TokenizeRule], versions: Collection[int], open_tokenizer: OpenTokenizer
    ) -> frozenset[bytes]:
        """Returns the marks of a subject.

        Args:
            subject: The raw id.
            rules: Of the token domains, by name.
            versions: Of the ``token`` key set.
            open_tokenizer: Makes tokenizers.
        """
        texts = []
        for domain, rule in rules.items():
            for version in versions:
                result = open_tokenizer(rule, version).tokenize(pa.array([subject], pa.string()))
                texts += [_token(domain, version, token) for token in result.tokens.to_pylist() if token is not None]
                if rule.format in REVERSIBLE:
                    texts += [_value(domain, value) for value in result.values.to_pylist() if value is not None]
        digests = self._cmac.digest(pa.array(sorted(set(texts)), pa.string())).tobytes()
        return frozenset(digests[start : start + MARK_BYTES] for start in range(0, len(digests), MARK_BYTES))

    def has_tokens(self, domain: str, version: int, tokens: pa.StringArray) -> Bools:
        """Returns which tokens are of an erased subject."""
        return self._has(_token(domain, version, ""), tokens)

    def has_values(self, domain: str, values: pa.StringArray) -> Bools:
        """Returns which canonical values of a reversible format are an erased subject's id."""
        return self._has(_value(domain, ""), values)

    def _has(self, prefix: str, texts: pa.StringArray) -> Bools:
        found: Bools = np.zeros(len(texts), np.bool_)
        valid = np.flatnonzero(numpy_bools(texts.is_valid()))
        if len(self._known) and len(valid):
            digests = self._cmac.digest(pc.binary_join_element_wise(prefix, texts.take(pa.array(valid)), ""))
            marks = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(MARK_BYTES), len(valid), [None, pa.py_buffer(np.ascontiguousarray(digests, np.uint8))]
            )
            found[valid] = numpy_bools(pc.is_in(marks, value_set=self._known))
        return found


def marked_rules(policy: Policy) -> dict[str, TokenizeRule]:
    """Returns the rules of all token domains: an id may stand in any column whose format it fits."""
    return {name: domain.rule for name, domain in policy.token_domains.items()}


def subject_domains(policy: Policy) -> frozenset[str]:
    """Returns the token domains of subject columns."""
    rules = [policy.info_types.get(str(dataset.rule_for(dataset.subject))) for dataset in policy.datasets.values()]
    return frozenset(rule.domain for rule in rules if isinstance(rule, TokenizeRule))


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


# Names of domains have no colon, so no two of these texts are alike by chance.
def _token(domain: str, version: int, token: str) -> str:
    return f"token:{domain}:{version}:{token}"


def _value(domain: str, value: str) -> str:
    return f"value:{domain}:{value}"

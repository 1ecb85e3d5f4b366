"""Texts with the tokens in them covered, so that a search finds only what is no token.

A token counts as one if it can be a token of its info type's format. What only looks so, by its brackets, is text like
any other, so search without the detectors' own rule that passes over whatever stands in such brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.info_types import Entity, Format
from ..schemas.text_tokens import BRACKETED, TextToken, text_tokens
from .detectors.free_text import find_in_texts
from .values.byte_rows import Bools
from .values.token_columns import TOKEN_EMAIL, are_tokens

__all__ = ["is_token_email", "without_tokens"]

COVER = "|"
"""Stands for each character of a token: belongs to no word and to no value."""

TELLING = frozenset({Entity.CREDIT_CARD, Entity.IBAN, Entity.EMAIL})
"""Kinds of values that no token of their own formats looks like."""


def without_tokens(texts: pa.Array, formats: Mapping[str, Format]) -> pa.Array:
    """Returns texts of the same lengths with tokens covered.

    Args:
        texts: ``string`` or ``large_string``, as ``protect`` wrote them.
        formats: By info type. A token of another info type counts as one unless its value is a card, an account or an
            address that tokens never look like.
    """
    with_brackets = pc.fill_null(pc.match_substring_regex(texts, BRACKETED), False)
    rows = np.flatnonzero(with_brackets.to_numpy(zero_copy_only=False))
    if not len(rows):
        return texts
    chosen = texts.take(pa.array(rows)).to_pylist()
    tokens = [text_tokens(text) for text in chosen]
    known = iter(_known([token for found in tokens for token in found], formats).tolist())
    covered = [
        _covered(text, [token for token in found if next(known)]) for text, found in zip(chosen, tokens, strict=True)
    ]
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(covered, texts.type))


def is_token_email(text: str) -> bool:
    """Returns whether an address is a token, which no mail server delivers."""
    return TOKEN_EMAIL.fullmatch(text) is not None


def _known(tokens: Sequence[TextToken], formats: Mapping[str, Format]) -> Bools:
    groups: dict[tuple[Format | None, int], list[int]] = {}
    for place, token in enumerate(tokens):
        groups.setdefault((formats.get(token.info_type), token.key_version), []).append(place)
    known = np.zeros(len(tokens), np.bool_)
    for (format, version), places in groups.items():
        column = pa.array([tokens[place].token for place in places], pa.string())
        known[places] = _unlike_values(column) if format is None else are_tokens(format, column, key_version=version)
    return known


def _unlike_values(column: pa.StringArray) -> Bools:
    unlike = np.ones(len(column), np.bool_)
    for row, findings in find_in_texts(column):
        text = column[row].as_py()
        unlike[row] = not any(
            finding.entity in TELLING and not is_token_email(text[finding.start : finding.end]) for finding in findings
        )
    return unlike


def _covered(text: str, tokens: Sequence[TextToken]) -> str:
    parts, done = [], 0
    for token in tokens:
        parts += [text[done : token.start], COVER * (token.end - token.start)]
        done = token.end
    return "".join([*parts, text[done:]])

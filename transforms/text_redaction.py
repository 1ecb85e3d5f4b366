"""Takes tokens and named values out of texts, whole values or spans; what is taken out becomes ``[redacted]``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.text_tokens import BRACKETED, TextToken, text_tokens
from .actions import REDACTED, as_text, is_text
from .nested_columns import numpy_bools

__all__ = ["Needles", "changed_texts", "has_span_tokens", "without_tokens"]

SHORTEST = 6
"""Shorter ones are not looked for: they would be found everywhere, in what is nobody's."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=False, kw_only=True, repr=False)
class Needles:
    """What names one subject: the raw id and its tokens, as values or as words in texts, whatever their case.

    Attributes:
        subject: The raw id.
        tokens: All its tokens.
    """

    subject: str
    tokens: frozenset[str]

    def __repr__(self) -> str:
        return f"<Needles: an id and {len(self.tokens)} tokens; values hidden>"

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """Those that are long enough to be looked for."""
        return tuple(sorted(each for each in {self.subject.strip(), *self.tokens} if len(each) >= SHORTEST))

    @property
    def tells_id(self) -> bool:
        """Whether the raw id is one of them."""
        return self.subject.strip() in self.telling

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = "|".join(re.escape(each) for each in sorted(self.telling, key=len, reverse=True))
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def found(self, texts: pa.StringArray) -> Bools:
        """Returns which texts are or hold one of them."""
        found = self._maybe(texts)
        for row in np.flatnonzero(found).tolist():
            found[row] = self._words.search(texts[row].as_py()) is not None
        return found

    def removed(self, texts: pa.StringArray) -> pa.StringArray:
        """Returns texts without them."""
        maybe = self._maybe(texts)
        return _replaced(texts, maybe, lambda text, _: self._words.sub(REDACTED, text)) if maybe.any() else texts

    def _maybe(self, texts: pa.StringArray) -> Bools:
        found = np.zeros(len(texts), np.bool_)
        for needle in self.telling:
            found |= numpy_bools(pc.match_substring(texts, needle, ignore_case=True))
        return found


def has_span_tokens(texts: pa.StringArray) -> Bools:
    """Returns which texts may hold a token in brackets."""
    return numpy_bools(pc.match_substring_regex(texts, BRACKETED))


def without_tokens(texts: pa.StringArray, gone: Callable[[TextToken, int], bool]) -> pa.StringArray:
    """Returns texts without some of the tokens in brackets that they hold.

    Args:
        texts: As ``protect`` wrote them.
        gone: Tells of a token and its row whether it goes.
    """
    maybe = has_span_tokens(texts)
    if not maybe.any():
        return texts
    return _replaced(texts, maybe, lambda text, row: _without(text, lambda token: gone(token, row)))


def changed_texts(column: pa.Array, change: Callable[[pa.StringArray], pa.StringArray]) -> pa.Array:
    """Returns a column of texts of any layout after a change of its texts; the same object where none changes."""
    if not is_text(column.type):
        return column
    texts = as_text(column)
    assert texts is not None
    made = change(texts)
    if made is texts or made.equals(texts):
        return column
    kind = column.type
    if not pa.types.is_dictionary(kind):
        return made if made.type == kind else made.cast(kind)
    encoded = made.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        encoded.indices.cast(kind.index_type), encoded.dictionary.cast(kind.value_type), ordered=kind.ordered
    )


def _replaced(texts: pa.StringArray, rows: Bools, change: Callable[[str, int], str]) -> pa.StringArray:
    places = np.flatnonzero(rows)
    made = [
        change(text, row) for text, row in zip(texts.take(pa.array(places)).to_pylist(), places.tolist(), strict=True)
    ]
    return pc.replace_with_mask(texts, pa.array(rows), pa.array(made, pa.string()))


def _without(text: str, gone: Callable[[TextToken], bool]) -> str:
    parts, at = [], 0
    for token in text_tokens(text):
        if gone(token):
            plain = text[at : token.start]
            doubled = len(plain) - len(plain.rstrip("["))
            # The brackets before a token were doubled; before what is none they stand for themselves.
            parts += [plain[: len(plain) - doubled // 2], REDACTED]
            at = token.end
    return "".join([*parts, text[at:]])

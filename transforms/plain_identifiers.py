"""Which values are identifiers as ``o-000123`` whose words around the number tell detectors nothing.

Detectors look twice at every number that could be a phone or a person's, and take most of their time for columns of
identifiers, in which only the number changes. A number alone, of up to twelve digits, is nothing to them; what makes
it something are words. So what stands before it is tried with numbers of all kinds, once: where none is found, none is
passed over by leaving such values out.
"""

from __future__ import annotations

import random
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from .detectors.free_text import find_in_texts

__all__ = ["are_plain_identifiers"]

IDENTIFIER = r"^(?P<word>[A-Za-z][A-Za-z_]{0,11}[-_#:./ ]?)(?P<number>[0-9]{1,12})$"
MOST = 50
"""Beginnings in one column; more are no identifiers, and trying each would take longer than it saves."""

KNOWN = (
    "4155552671", "14155552671", "2125551234", "02079460018", "447700900123", "03012345678", "0612345678",
    "219099999", "457555462", "912701234", "9434765919", "4857773456", "19850811", "11081985", "850811", "110885",
)  # fmt: skip
"""Numbers that are a phone's, a person's or a date's, if words say so."""

TRIED = 300


def are_plain_identifiers(texts: pa.Array) -> pa.BooleanArray:
    """Returns which texts are such identifiers; nulls are not.

    >>> are_plain_identifiers(pa.array(["o-000123", "phone:4155552671", "o-1 x", None])).to_pylist()
    [True, False, False, False]
    """
    words = pc.struct_field(pc.extract_regex(texts, IDENTIFIER), "word")
    found = pc.unique(words.drop_null())
    if not 0 < len(found) <= MOST:
        return pa.array([False] * len(texts), pa.bool_())
    plain = pa.array([word for word in found.to_pylist() if _tells_nothing(word)], texts.type)
    return pc.is_in(words, value_set=plain, skip_nulls=True)


@lru_cache(maxsize=1024)
def _tells_nothing(word: str) -> bool:
    numbers = random.Random(0)  # noqa: S311 - the same ones each time
    tried = [*KNOWN, *("".join(numbers.choices("0123456789", k=numbers.randint(4, 12))) for _ in range(TRIED))]
    found = find_in_texts(pa.array([word + number for number in tried]), tokens=False)
    return next(found, None) is None

"""A text with tokens in it, put together part by part: the plain reference of how tokens stand in texts."""

from __future__ import annotations

from collections.abc import Iterable

from consentry.schemas.text_tokens import escaped


def woven(parts: Iterable[tuple[str, bool]]) -> str:
    """Returns a text of parts in order, each with whether it is a token as ``spelled`` spells it."""
    made, plain = [], ""
    for part, is_token in parts:
        if is_token:
            brackets = len(plain) - len(plain.rstrip("["))
            made += [escaped(plain), "[" * brackets, part]
            plain = ""
        else:
            plain += part
    return "".join([*made, escaped(plain)])

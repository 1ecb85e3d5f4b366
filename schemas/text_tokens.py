"""Tokens inside free text: ``[card:1:TOKEN]``, of info type, key version and token.

Text that looks so by itself has its bracket doubled, so that a reader can tell the two apart and undo both. Brackets
that stand right before a token are doubled for the same reason: behind an even number of further brackets begins a
token, behind an odd number text that only looks so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["BRACKETED", "TextToken", "escaped", "replaced", "spelled", "text_tokens", "woven"]

# Each run of brackets is looked at once: without the look behind, a text of brackets alone would take quadratic time.
_LOOKS = re.compile(r"(?<!\[)(\[++)([A-Za-z][A-Za-z0-9_-]{0,63}):([1-9][0-9]{0,8}):([^\[\]\x00-\x1f]{1,512})\]")
BRACKETED = r"\[[A-Za-z][A-Za-z0-9_-]{0,63}:[1-9][0-9]{0,8}:[^\[\]]+\]"
"""A pattern (RE2) of texts that need a look: others hold no token, and nothing that looks like one."""
_SIGNS = {"%": "%25", "[": "%5B", "]": "%5D"}
_CODED = re.compile(r"%(?:25|5B|5D)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToken:
    """A token that stands in a text.

    Attributes:
        start: Code point where its bracket opens.
        end: Behind its closing bracket.
        info_type: Name of its info type in the policy.
        key_version: Version of the ``token`` key set.
        token: Canonical token.
    """

    start: int
    end: int
    info_type: str
    key_version: int
    token: str


def spelled(info_type: str, key_version: int, token: str) -> str:
    """Returns a token as it stands in a text.

    >>> spelled("card", 1, "4000005123450003")
    '[card:1:4000005123450003]'
    """
    return f"[{info_type}:{key_version}:{''.join(_SIGNS.get(sign, sign) for sign in token)}]"


def escaped(text: str) -> str:
    """Returns a text in which nothing is a token: what looks like one has its opening brackets doubled.

    >>> escaped("see [card:1:77] there")
    'see [[card:1:77] there'
    """
    return _LOOKS.sub(lambda match: match[1] + match[0], text) if "[" in text else text


def woven(parts: Iterable[tuple[str, bool]]) -> str:
    """Returns a text of parts in order, each with whether it is a token as ``spelled`` spells it.

    >>> woven([("paid [", False), ("[card:1:77]", True), ("]", False)])
    'paid [[[card:1:77]]'
    """
    made, plain = [], ""
    for part, is_token in parts:
        if is_token:
            brackets = len(plain) - len(plain.rstrip("["))
            made += [escaped(plain), "[" * brackets, part]
            plain = ""
        else:
            plain += part
    return "".join([*made, escaped(plain)])


def text_tokens(text: str) -> list[TextToken]:
    """Returns the tokens of a text, in order."""
    return [_token(match) for match in _LOOKS.finditer(text) if len(match[1]) % 2]


def replaced(text: str, value_of: Callable[[TextToken], str]) -> str:
    """Returns a text with each token replaced, and without the brackets that were added.

    Args:
        text: As ``protect`` wrote it.
        value_of: What stands for a token; called in order.
    """

    def change(match: re.Match[str]) -> str:
        before, is_token = divmod(len(match[1]), 2)
        rest = value_of(_token(match)) if is_token else match[0][len(match[1]) :]
        return "[" * before + rest

    return _LOOKS.sub(change, text)


def _token(match: re.Match[str]) -> TextToken:
    token = _CODED.sub(lambda coded: chr(int(coded[0][1:], 16)), match[4])
    start = match.end(1) - 1
    return TextToken(start=start, end=match.end(), info_type=match[2], key_version=int(match[3]), token=token)

"""Tokens inside free text: ``[card:1:TOKEN]``, of info type, key version and token.

Text that looks so by itself has its bracket doubled, so that a reader can tell the two apart and undo both. Brackets
that stand right before a token are doubled for the same reason: behind an even number of further brackets begins a
token, behind an odd number text that only looks so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

__all__ = [
    "BRACKETED",
    "Replacement",
    "TextToken",
    "escaped",
    "escaped_around",
    "replaced",
    "respelled",
    "spelled",
    "text_tokens",
]

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


class Replacement(NamedTuple):
    """What takes the place of something found in a text.

    Attributes:
        start: Code point where it begins.
        end: Behind its last code point.
        entity: What was found, by name.
        text: Stands there afterwards.
        is_token: Whether that is a token, as ``spelled`` spells it.
    """

    start: int
    end: int
    entity: str
    text: str
    is_token: bool


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


def escaped_around(text: str, replacements: Iterable[Replacement]) -> tuple[str, list[Replacement]]:
    """Returns a text and what is to replace its spans, with brackets doubled where plain text will look like a token.

    Args:
        text: Any.
        replacements: Disjoint.

    >>> token = Replacement(start=6, end=7, entity="CREDIT_CARD", text="[card:1:77]", is_token=True)
    >>> escaped_around("paid [4]", [token])[0]
    'paid [[4]'
    """
    ordered = sorted(replacements, key=itemgetter(0))
    if "[" not in text and all(each.is_token or "[" not in each.text for each in ordered):
        return text, ordered
    starts, ends = [each.start for each in ordered], [each.end for each in ordered]
    plain = [(text[end:start], False) for end, start in zip([0, *ends], [*starts, len(text)], strict=True)]
    behind = [((each.text, each.is_token), after) for each, after in zip(ordered, plain[1:], strict=True)]
    first, *rest = _escaped_parts([plain[0], *(part for pair in behind for part in pair)])
    changed, moved, at = [first], [], len(first)
    for each, made, after in zip(ordered, rest[::2], rest[1::2], strict=True):
        moved.append(each._replace(start=at, end=at + each.end - each.start, text=made))
        changed += [text[each.start : each.end], after]
        at = moved[-1].end + len(after)
    return "".join(changed), moved


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


def _escaped_parts(parts: Sequence[tuple[str, bool]]) -> list[str]:
    """Returns parts, each a token or not, with brackets doubled where plain ones look like a token, also together."""
    made: list[str] = []
    runs = [(is_token, [part for part, _ in run]) for is_token, run in groupby(parts, lambda each: each[1])]
    for number, (is_token, run) in enumerate(runs):
        made += run if is_token else _escaped_run(run, before_token=number + 1 < len(runs))
    return made


def _escaped_run(parts: Sequence[str], *, before_token: bool) -> Sequence[str]:
    plain = "".join(parts)
    if "[" not in plain:
        return parts
    more = {match.start(): match[1] for match in _LOOKS.finditer(plain)}
    last = plain[len(plain.rstrip("[")) :] if before_token else ""
    made, start, places = [], 0, sorted(more, reverse=True)
    for part in parts:
        end, copied, pieces = start + len(part), start, []
        while places and places[-1] < end:
            place = places.pop()
            pieces += [plain[copied:place], more[place]]
            copied = place
        made.append("".join([*pieces, plain[copied:end]]))
        start = end
    return [*made[:-1], made[-1] + last]


def respelled(text: str, spelling_of: Callable[[TextToken], str | None]) -> str:
    """Returns a text with tokens spelled otherwise, and all brackets that were added left as they stand.

    Args:
        text: As ``protect`` wrote it.
        spelling_of: The new spelling of a token, as ``spelled`` makes it; None where it stays.
    """
    made, at = [], 0
    for token in text_tokens(text):
        spelling = spelling_of(token)
        if spelling is not None:
            made += [text[at : token.start], spelling]
            at = token.end
    return "".join([*made, text[at:]])


def _token(match: re.Match[str]) -> TextToken:
    token = _CODED.sub(lambda coded: chr(int(coded[0][1:], 16)), match[4])
    start = match.end(1) - 1
    return TextToken(start=start, end=match.end(), info_type=match[2], key_version=int(match[3]), token=token)

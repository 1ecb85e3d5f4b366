"""What a search for leaks says of columns and of what it found in them, in words for people."""

from __future__ import annotations

from ..schemas.info_types import Format
from ..transforms.leaf_columns import Leaf
from ..transforms.leak_search import NOT_A_TOKEN, is_searched
from ..transforms.values.token_columns import PROVEN

__all__ = ["CANARY_SAYS", "checked_how", "says_of"]

CANARY_SAYS = "A value that was planted in the source is in the output; find out which step let it through."


def checked_how(leaf: Leaf) -> str:
    """Returns how a column is checked."""
    action, format = leaf.marks.get("action"), leaf.marks.get("format")
    if action == "redact":
        return "every value is redacted"
    if action == "tokenize" and format in tuple(Format):
        if Format(format) in PROVEN:
            return f"every value has the marks of a token of format {format}, which no valid raw value has"
        return f"every value has the shape of format {format}; its tokens look like raw values, so no more can be told"
    if is_searched(leaf.values.type):
        return "searched by all detectors; tokens in texts are recognised"
    return f"not searched by detectors: {leaf.values.type} holds no text and no number as long as a card's"


def says_of(leaf: Leaf, kind: str) -> str:
    """Returns what a leak of a kind means in a column, and what to do, in one sentence."""
    match leaf.marks.get("action"):
        case "tokenize" if kind == NOT_A_TOKEN:
            return f"Values are no tokens of format {leaf.marks.get('format')}; protect the source again."
        case "tokenize" | "redact":
            return "Values are in clear where the column says that none are; protect the source again."
        case "scan":
            return "Free text holds values that detection left in clear; protect the source again with newer detectors."
        case "mask" | "generalize" as action:
            return f"What '{action}' leaves of the values still is one; choose another action for the info type."
        case _:
            return (
                "The policy keeps this column as it is; give it an info type, which may keep it and name it in `finds`."
            )

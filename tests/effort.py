"""How much tests try: enough to gate a landing within its time, or more with ``CONSENTRY_SOAK=1`` (``make soak``)."""

from __future__ import annotations

import os

__all__ = ["SOAK", "examples"]

SOAK = os.environ.get("CONSENTRY_SOAK") == "1"


def examples(most: int) -> int:
    """How many examples of a property are tried, of those that a soak tries."""
    return most if SOAK else max(most // 3, 8)

"""How far a stream has read its topic of consents, for a launch of which the engine remembers nothing.

It would begin at the oldest event that the topic still has, and what had been deleted meanwhile, a withdrawal perhaps,
would never be missed. Begun where it was, the topic tells that it has lost something.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path

from ...schemas.errors import OutputError
from ..durable import exchange_text
from ..publication import STREAM

__all__ = ["note_consents", "noted_consents"]

NOTE = "consents.json"
LOCK = "consents.lock"


def note_consents(root: Path, offsets: Mapping[str, int]) -> None:
    """Notes by partition the offset behind the last event that is in the ledger; one that is noted never goes back."""
    with (root / STREAM / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = noted_consents(root)
        ends = {**known, **{name: max(end, known.get(name, 0)) for name, end in offsets.items()}}
        if ends != known:
            exchange_text(root / STREAM / NOTE, json.dumps(ends))


def noted_consents(root: Path) -> dict[str, int]:
    """Returns what is noted.

    Raises:
        OutputError: It is damaged.
    """
    path = root / STREAM / NOTE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(end) for name, end in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise OutputError(f"{path}: is damaged; restore the output's folder {STREAM} from a backup") from None

"""Files that appear at one moment and whole: written as drafts beside their places, which they take at the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["draft"]


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that takes the place of ``path``, a link's target, when the block ends well, and else vanishes.

    Args:
        path: In a folder that exists.

    Raises:
        OSError: The file cannot be written.
    """
    place = Path(os.path.realpath(path))
    draft = place.with_name(f".{place.name}.consentry-{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    finally:
        with suppress(OSError):
            draft.unlink()

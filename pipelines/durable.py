"""Small files that are exchanged whole, and folders whose names the disk holds."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["exchange_text", "sync_folder"]


def exchange_text(path: Path, text: str, *, outlasting: bool = True) -> None:
    """Writes a file such that every instant shows the old one or the new one; one program at a time.

    Args:
        path: Of the file.
        text: New contents.
        outlasting: Whether it is to be there after the machine has lost its power.
    """
    made = path.with_name(f".{path.name}")
    with made.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if outlasting:
            os.fsync(file.fileno())
    made.replace(path)
    if outlasting:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Has the disk hold the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Small files that are exchanged whole, and folders whose names the disk holds."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["exchange_text", "sync_folder"]


def exchange_text(path: Path, text: str) -> None:
    """Writes a file such that every instant shows the old one or the new one."""
    made = path.with_name(f".{path.name}")
    with made.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Has the disk hold the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Exchanges two folders by one system call: ``renameat2`` on Linux, ``renamex_np`` on macOS."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

__all__ = ["exchange_folders", "exchange_works"]

AT_FDCWD = -100
RENAME_EXCHANGE = 2  # <linux/fs.h>
RENAME_SWAP = 2  # <sys/stdio.h> of macOS


def exchange_folders(one: Path, other: Path) -> None:
    """Gives each folder the other's name; at no instant is one of the names missing.

    Args:
        one: A folder.
        other: A folder of the same file system.

    Raises:
        OSError: The system or the file system cannot do it; nothing changed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        call = getattr(library, "renamex_np", None)
        failed = -1 if call is None else call(names[0], names[1], ctypes.c_uint(RENAME_SWAP))
    else:
        call = getattr(library, "renameat2", None)
        arguments = (AT_FDCWD, names[0], AT_FDCWD, names[1], ctypes.c_uint(RENAME_EXCHANGE))
        failed = -1 if call is None else call(*arguments)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def exchange_works(parent: Path, name: str) -> bool:
    """Tells whether folders below ``parent`` can be exchanged, by trying it with two empty ones.

    Args:
        parent: An existing folder.
        name: What the names of the two begin with; nothing must be called so.
    """
    one, other = parent / f"{name}-a", parent / f"{name}-b"
    try:
        one.mkdir()
        other.mkdir()
        exchange_folders(one, other)
    except OSError:
        return False
    finally:
        for folder in (one, other):
            if folder.is_dir():
                folder.rmdir()
    return True

"""A file of raw values that is written aside, for its owner alone, and appears whole or not at all.

On Linux it has no name until it is complete: a process that is killed leaves nothing, because the kernel frees what has
no name. Where a file system cannot do that, it is a hidden draft beside its place, locked while it is written; the next
run into the same place removes a draft that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..schemas.errors import OutputError

__all__ = ["private_file", "replace_privately"]

MARK = ".consentry-draft-"
MODE = 0o600


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that gets the name ``path`` when the block ends well, and else vanishes; it replaces nothing.

    Args:
        path: In a folder that exists; there is nothing of that name.

    Raises:
        OutputError: There is something of that name, or the folder cannot be written.
    """
    if os.path.lexists(path):
        raise _taken(path)
    try:
        _remove_abandoned(path)
        descriptor, draft = _opened(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name a file of your own") from None
    try:
        with os.fdopen(descriptor, "w+b", closefd=False) as file:
            yield file
        os.fsync(descriptor)
        _name(descriptor, draft, path)
    finally:
        os.close(descriptor)
        if draft is not None:
            with suppress(OSError):
                draft.unlink()


def replace_privately(path: Path, data: bytes) -> None:
    """Writes a file for its owner alone that takes the place of what has its name, whole or not at all.

    Args:
        path: In a folder that exists.
        data: All of it.

    Raises:
        OSError: It cannot be written; what was there stays, and nothing is left beside it.
    """
    _remove_abandoned(path)
    descriptor, draft = _opened_draft(path)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
        draft.replace(path)
    finally:
        os.close(descriptor)
        with suppress(OSError):  # it has the other name by now, unless something went wrong
            draft.unlink()


def _opened(path: Path) -> tuple[int, Path | None]:
    """Returns an open file without a name, or one with its draft's name."""
    flag: int | None = getattr(os, "O_TMPFILE", None)
    if flag is not None:
        with suppress(OSError):  # the file system, or an old kernel, has no such files
            descriptor = os.open(path.parent, flag | os.O_RDWR, MODE)
            if Path(f"/proc/self/fd/{descriptor}").exists():
                return descriptor, None
            os.close(descriptor)
    return _opened_draft(path)


def _opened_draft(path: Path) -> tuple[int, Path]:
    draft = path.with_name(f".{path.name}{MARK}{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor, draft


def _name(descriptor: int, draft: Path | None, path: Path) -> None:
    # Other than a rename, a link never takes the place of what is there.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if draft is None:
            # With a folder given, Python asks the system to follow the link in /proc.
            os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=folder, follow_symlinks=True)
        else:
            os.link(draft, path)
        os.fsync(folder)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise _taken(path) from None
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name a file of your own") from None
    finally:
        os.close(folder)


def _remove_abandoned(path: Path) -> None:
    prefix = f".{path.name}{MARK}"
    for draft in [each for each in path.parent.iterdir() if each.name.startswith(prefix)]:
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()
        except OSError:
            continue  # its run lives
        finally:
            os.close(descriptor)


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path}: exists, and is not overwritten; name another --out")

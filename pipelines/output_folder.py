"""The files of an output, on a local disk or in an object store, for those who check it. Local folders need no Beam."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..schemas.errors import ConfigError
from .publication import FILE_SCHEME, is_local

__all__ = ["OutputFolder", "open_output_folder"]


class OutputFolder(Protocol):
    """The files below one place; ``strict`` where nothing may lie there that the manifest does not list."""

    strict: bool

    def paths(self) -> dict[str, int]:
        """Returns the size of every file, by its path below the folder; -1 for what is no plain file."""
        ...

    def open(self, path: str) -> Any:
        """Returns an open binary file."""
        ...

    def read(self, path: str) -> bytes:
        """Returns the bytes of a file."""
        ...


def open_output_folder(out: str) -> OutputFolder:
    """Returns a local folder, or one of any Beam file system.

    Raises:
        ConfigError: There is no such folder, or no such file system.
    """
    if is_local(out):
        return _LocalFolder(out)
    from .object_store import ObjectFolder

    return ObjectFolder(out)


class _LocalFolder:
    """The files below a local folder; whatever is not a plain file is listed with a size of -1."""

    strict = True

    def __init__(self, out: str) -> None:
        self._root = Path(out.removeprefix(FILE_SCHEME))
        if not self._root.is_dir():
            raise ConfigError(f"{out}: there is no such folder; name an output of `consentry protect`")

    def paths(self) -> dict[str, int]:
        found = {}
        for top, folders, names in os.walk(self._root):
            base = Path(top)
            for name in [*names, *(folder for folder in folders if (base / folder).is_symlink())]:
                path = base / name
                relative = path.relative_to(self._root).as_posix()
                # A name need not be text; what it is listed as must be.
                found[relative.encode("utf-8", "backslashreplace").decode()] = _plain_size(path)
        return found

    def open(self, path: str) -> BinaryIO:
        return (self._root / path).open("rb")

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()


def _plain_size(path: Path) -> int:
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1

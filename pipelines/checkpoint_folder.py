"""Where checkpoints are exported: a folder that only grows, on a disk or in an object store. A local one needs no Beam.

On a disk a file appears whole and never takes the place of another. Object stores have no such promise: there a file is
read back, and two machines need a place each.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..schemas.checkpoint import checkpoint_number
from ..schemas.errors import OutputError

__all__ = ["CheckpointFolder", "open_checkpoint_folder"]

FILE_SCHEME = "file://"


class CheckpointFolder(Protocol):
    """A folder of checkpoints."""

    def numbers(self) -> dict[int, str]:
        """Returns the names of the files of checkpoints, by number."""
        ...

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        ...

    def add(self, name: str, data: bytes) -> bool:
        """Adds a file; returns False where there is one of that name already, which stays."""
        ...


def open_checkpoint_folder(place: str) -> CheckpointFolder:
    """Returns the folder at a path, or at a URI of any Beam file system; it need not exist.

    Raises:
        ConfigError: There is no such file system.
    """
    if "://" not in place or place.startswith(FILE_SCHEME):
        return _LocalFolder(Path(place.removeprefix(FILE_SCHEME)))
    return _RemoteFolder(place)


class _LocalFolder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def numbers(self) -> dict[int, str]:
        try:
            names = [path.name for path in self._root.iterdir()]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable("read", error) from None
        return {number: name for name in names if (number := checkpoint_number(name)) is not None}

    def read(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except OSError as error:
            raise self._unusable("read", error) from None

    def add(self, name: str, data: bytes) -> bool:
        draft = self._root / f".{name}.{secrets.token_hex(4)}"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(0o444)
            # Other than a rename, a link never takes the place of what is there.
            os.link(draft, self._root / name)
            self._sync()
        except FileExistsError:
            return False
        except OSError as error:
            raise self._unusable("written", error) from None
        finally:
            with suppress(OSError):
                draft.unlink()
        return True

    def _sync(self) -> None:
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _unusable(self, verb: str, error: OSError) -> OutputError:
        return OutputError(f"{self._root}: checkpoints cannot be {verb} ({error.strerror}); see to that folder")


class _RemoteFolder:
    def __init__(self, uri: str) -> None:
        from .object_store import ObjectFolder

        self._folder = ObjectFolder(uri)

    def numbers(self) -> dict[int, str]:
        return {number: name for name in self._folder.paths() if (number := checkpoint_number(name)) is not None}

    def read(self, name: str) -> bytes:
        return self._folder.read(name)

    def add(self, name: str, data: bytes) -> bool:
        if name in self._folder.paths():
            return False
        self._folder.write(name, data)
        return self.read(name) == data

"""A folder of an object store, through Beam's file systems. Errors of the store are a ``RunError`` without its text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import PrivacyError, RunError
from .file_systems import check_file_system

__all__ = ["ObjectFolder"]

T = TypeVar("T")

FileSystems: Any = _FileSystems  # untyped in Beam


class ObjectFolder:
    """The objects below one URI.

    Args:
        uri: Of any scheme that Beam knows in this installation.

    Raises:
        ConfigError: The scheme's file system is not installed.
    """

    strict = False

    def __init__(self, uri: str) -> None:
        check_file_system(uri)
        self.uri = uri.rstrip("/")

    def join(self, *parts: str) -> str:
        """Returns the URI of an object in the folder."""
        return "/".join((self.uri, *parts))

    def paths(self) -> dict[str, int]:
        """Returns the size of every object, by its path below the folder."""
        found = self._asked("listed", lambda: FileSystems.match([self.join("**")])[0].metadata_list)
        return {each.path[len(self.uri) + 1 :]: int(each.size_in_bytes or 0) for each in found}

    def open(self, path: str) -> Any:
        """Returns an open binary file."""
        return self._asked("read", lambda: FileSystems.open(self.join(path), compression_type=_AS_IS))

    def read(self, path: str) -> bytes:
        """Returns the bytes of an object."""

        def read() -> bytes:
            with FileSystems.open(self.join(path), compression_type=_AS_IS) as file:
                data: bytes = file.read()
                return data

        return self._asked("read", read)

    def write(self, path: str, data: bytes) -> None:
        """Writes an object; stores replace one of the same name as a whole."""

        def write() -> None:
            with FileSystems.create(self.join(path), compression_type=_AS_IS) as file:
                file.write(data)

        self._asked("written", write)

    def remove(self, paths: Iterable[str]) -> None:
        """Removes objects."""
        uris = [self.join(path) for path in paths]
        if uris:
            self._asked("removed", lambda: FileSystems.delete(uris))

    def _asked(self, verb: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except PrivacyError:
            raise
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and some quote credentials
            name = type(error).__name__
            raise RunError(
                f"{self.uri}: objects cannot be {verb} ({name}); check the address and your access"
            ) from None


_AS_IS = CompressionTypes.UNCOMPRESSED

"""Which file systems this installation has, and what to install for one that it has not."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from apache_beam.io.filesystem import FileSystem as _FileSystem
from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import ConfigError

__all__ = ["check_file_system"]

FileSystem: Any = _FileSystem  # untyped in Beam, as is what follows
FileSystems: Any = _FileSystems

_EXTRAS = {
    "gs": ("google.cloud.storage", "consentry[gcp]"),
    "s3": ("boto3", "apache-beam[aws]"),
    "azfs": ("azure.storage.blob", "apache-beam[azure]"),
    "hdfs": ("hdfs", "apache-beam[hadoop]"),
}
"""By scheme: the module that Beam's file system cannot do without, and the extra that brings it."""


def check_file_system(place: str) -> None:
    """Refuses a place that no file system of this installation can reach; a plain path is always reached.

    Beam itself registers some file systems without the library that they need, and fails only when they are used.

    Raises:
        ConfigError: Names the extra to install, or the schemes that are known.
    """
    scheme = FileSystems.get_scheme(place)
    if scheme in (None, "file"):
        return
    module, extra = _EXTRAS.get(scheme, (None, ""))
    if module is not None and not _is_installed(module):
        raise ConfigError(
            f"{place}: {scheme}:// needs an extra that is not installed; pip install '{extra}'", reason="extra_missing"
        )
    if scheme not in {each.scheme() for each in FileSystem.get_all_subclasses()}:
        raise ConfigError(f"{place}: no file system is known for {scheme}://; name a folder, or one of {_known()}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def _known() -> str:
    return ", ".join(f"{scheme}://" for scheme in sorted(_EXTRAS))

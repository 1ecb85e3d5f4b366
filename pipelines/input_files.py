"""Finds the files that an input names: single files, folders and globs, local or of any Beam file system.

In a glob ``*`` and ``?`` stay within a name and ``**`` crosses folders. Folders and globs pass over names that begin
with ``.`` or ``_``. An output of Consentry stands for its ``data`` folder. A file that is named twice is read once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import InputError
from ..schemas.manifest import MANIFEST_NAME
from .file_systems import check_file_system
from .publication import DATA, FILE_SCHEME
from .splits import FileFormat, InputFile

__all__ = ["find_files"]

FileSystems: Any = _FileSystems  # untyped in Beam

_FORMATS = {
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.TSV,
    ".jsonl": FileFormat.JSON_LINES,
    ".ndjson": FileFormat.JSON_LINES,
    ".json": FileFormat.JSON_LINES,
}
_KNOWN = ".parquet, .pq, .csv, .tsv, .jsonl, .ndjson, .json, and .gz of the text ones"
_WILD = re.compile(r"[*?]")
_GLOB_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_GLOB_MEANING = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def find_files(inputs: Sequence[str]) -> tuple[InputFile, ...]:
    """Returns the files behind ``inputs``, each once, in the order in which they are named.

    Args:
        inputs: Files, folders or globs.

    Raises:
        InputError: Nothing is named, there is no such file, nothing matches, or an extension is not known.
        ConfigError: A file system is not installed.
    """
    if not inputs or not all(text.strip() for text in inputs):
        raise InputError("no input is named, or a blank one; name files, folders or globs")
    found: dict[str, InputFile] = {}
    for text in inputs:
        for file in _files_of(text):
            found.setdefault(file.uri, file)
    return tuple(found.values())


def _files_of(text: str) -> Iterator[InputFile]:
    check_file_system(text)
    place: _Local | _Remote = _Remote() if "://" in text and not text.startswith(FILE_SCHEME) else _Local()
    name = text.removeprefix(FILE_SCHEME)
    size = place.size(name)
    if size is not None:
        return iter([_file(place, name, size)])
    wild = _WILD.search(name)
    if wild is None:
        return _files_of_folder(place, name.rstrip("/") or "/")
    return _files_of_glob(place, name, wild.start())


def _files_of_folder(place: _Local | _Remote, folder: str) -> Iterator[InputFile]:
    sizes = place.listed(folder)
    if not sizes:
        raise InputError(f"{folder}: no such file, or a folder without files; check the name")
    inside = f"{DATA}/" if MANIFEST_NAME in sizes and any(path.startswith(f"{DATA}/") for path in sizes) else ""
    taken = [path for path in sizes if path.startswith(inside) and _is_shown(path) and _format(path) is not None]
    if not taken:
        raise InputError(f"{folder}: no file in it has a known extension; these are: {_KNOWN}")
    return (_file(place, _joined(folder, path), sizes[path]) for path in taken)


def _files_of_glob(place: _Local | _Remote, pattern: str, wild: int) -> Iterator[InputFile]:
    folder, slash, rest = pattern[:wild].rpartition("/")
    base = folder if folder or not slash else "/"
    sizes = place.listed(base or ".")
    glob = re.compile(_glob_regex(rest + pattern[wild:]))
    exact = [path for path in sizes if _is_shown(path) and glob.fullmatch(path)]
    below = [path for path in sizes if _is_shown(path) and _format(path) is not None and _is_below(glob, path)]
    taken = sorted({*exact, *below})
    if not taken:
        raise InputError(f"{pattern}: nothing matches; check the pattern, and quote it if your shell reads it first")
    return (_file(place, _joined(base, path) if base else path, sizes[path]) for path in taken)


def _glob_regex(pattern: str) -> str:
    return "".join(_GLOB_MEANING.get(part, re.escape(part)) for part in _GLOB_PARTS.findall(pattern))


def _is_below(glob: re.Pattern[str], path: str) -> bool:
    return any(glob.fullmatch(path[:at]) for at, mark in enumerate(path) if mark == "/")


def _is_shown(path: str) -> bool:
    return not any(name.startswith((".", "_")) for name in path.split("/"))


def _joined(folder: str, path: str) -> str:
    return f"{folder.rstrip('/')}/{path}"


def _file(place: _Local | _Remote, name: str, size: int) -> InputFile:
    found = _format(name)
    if found is None:
        raise InputError(f"{name}: unknown extension; Consentry reads {_KNOWN}")
    kind, gzipped = found
    return InputFile(name=name, uri=place.uri(name), size=size, format=kind, gzipped=gzipped)


def _format(path: str) -> tuple[FileFormat, bool] | None:
    name = path.rpartition("/")[2].lower()
    plain = name.removesuffix(".gz")
    kind = _FORMATS.get(os.path.splitext(plain)[1])  # noqa: PTH122 - a name of any file system
    if kind is None or (kind is FileFormat.PARQUET and plain != name):
        return None
    return kind, plain != name


class _Local:
    """Files of this machine."""

    def size(self, name: str) -> int | None:
        return Path(name).stat().st_size if Path(name).is_file() else None

    def uri(self, name: str) -> str:
        return os.path.realpath(name)

    def listed(self, folder: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        seen: set[str] = set()
        for place, folders, names in os.walk(folder, onerror=_refused, followlinks=True):
            # A link back up would lead round for ever.
            folders[:] = [name for name in folders if os.path.realpath(Path(place, name)) not in seen]
            seen.update(os.path.realpath(Path(place, name)) for name in folders)
            for name in names:
                path = Path(place, name)
                try:
                    if path.is_file():
                        found[os.path.relpath(path, folder)] = path.stat().st_size
                except OSError as error:
                    _refused(error)
        return dict(sorted(found.items()))


def _refused(error: OSError) -> None:
    """Refuses a folder of which a part cannot be read: its records would be missing without a word."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return  # a name that is no folder, or what vanished meanwhile
    raise InputError(
        f"{error.filename}: cannot be read ({error.strerror}); make it readable, or name the files to read"
    ) from None


class _Remote:
    """Files of a Beam file system."""

    def size(self, name: str) -> int | None:
        return None if _WILD.search(name) else self._matched(name).get(name)

    def uri(self, name: str) -> str:
        return name

    def listed(self, folder: str) -> Mapping[str, int]:
        start = folder.rstrip("/") + "/"
        return {path.removeprefix(start): size for path, size in sorted(self._matched(start + "**").items())}

    def _matched(self, pattern: str) -> dict[str, int]:
        try:
            found = FileSystems.match([pattern])[0].metadata_list
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and some quote credentials
            failure = type(error).__name__
        else:
            return {each.path: int(each.size_in_bytes or 0) for each in found}
        raise InputError(f"{pattern}: cannot be listed ({failure}); check the address and your access") from None

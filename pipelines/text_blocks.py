"""Streams text files in blocks of whole lines, within bounded memory whatever the length of file or lines."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as _FileSystems

from ..schemas.errors import PrivacyError
from .splits import InputFile

__all__ = [
    "BLOCK_BYTES",
    "BOM",
    "MAX_LINE",
    "RANGE_BYTES",
    "InputStream",
    "TextBlock",
    "chunks",
    "is_utf8",
    "line_blocks",
    "line_ranges",
    "open_stream",
]

BLOCK_BYTES = 8 * 2**20
MAX_LINE = 64 * 2**20
"""A longer line is rejected."""

KEPT_OF_LONG_LINE = 2**20
RANGE_BYTES = 32 * 2**20
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")

FileSystems: Any = _FileSystems  # untyped in Beam


class InputStream:
    """The unpacked bytes of a file; every error is a ``failure`` that names the file and not what is in it."""

    def __init__(self, file: InputFile, failure: type[PrivacyError]) -> None:
        self.file = file
        self._failure = failure
        self._raw: Any = self._asked(self._opened)
        self._stream: Any = gzip.GzipFile(fileobj=self._raw, mode="rb") if file.gzipped else self._raw

    def _opened(self) -> Any:
        if "://" in self.file.uri:
            return FileSystems.open(self.file.uri, compression_type=CompressionTypes.UNCOMPRESSED)
        return io.FileIO(self.file.uri)

    def read(self, size: int) -> bytes:
        """Returns up to ``size`` bytes, none at the end."""
        data: bytes = self._asked(lambda: self._stream.read(size))
        return data

    def seek(self, place: int) -> None:
        """Goes to a byte."""
        self._asked(lambda: self._stream.seek(place))

    def close(self) -> None:
        """Closes the file."""
        self._asked(self._raw.close)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (EOFError, gzip.BadGzipFile, zlib.error):
            problem = "is damaged or cut off; get a sound copy"
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and some quote credentials
            problem = f"cannot be read ({type(error).__name__}); check that it is there and that you may read it"
        raise self._failure(f"{self.file.name}: {problem}") from None


@contextmanager
def open_stream(file: InputFile, failure: type[PrivacyError]) -> Iterator[InputStream]:
    """Yields the open file.

    Args:
        file: To be opened.
        failure: What all errors become.
    """
    stream = InputStream(file, failure)
    try:
        yield stream
    finally:
        stream.close()


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole lines.

    Attributes:
        data: Ends with a newline except at the end of the file.
        size: Bytes of the file that they take.
        cut: ``data`` is the beginning of one line that is longer than ``MAX_LINE``.
    """

    data: bytes
    size: int
    cut: bool = False


def line_ranges(stream: InputStream, size: int | None, range_bytes: int) -> list[tuple[int, int | None]]:
    """Returns start and end of consecutive parts of a file that begin and end with a line.

    A byte order mark at the beginning belongs to none. A file of unknown ``size`` is one part without an end.
    """
    marks = [_begin(stream)]
    if size is None:
        return [(marks[0], None)]
    for nominal in range(range_bytes, size, range_bytes):
        if nominal > marks[-1]:
            marks.append(_next_line(stream, nominal))
    marks = [*(mark for mark in marks if mark < size), size]
    return [(start, end) for start, end in pairwise(marks) if start < end]


def _begin(stream: InputStream) -> int:
    stream.seek(0)
    return len(BOM) if stream.read(len(BOM)) == BOM else 0


def _next_line(stream: InputStream, place: int) -> int:
    stream.seek(place - 1)
    at = place - 1
    while chunk := stream.read(2**16):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return at


def chunks(stream: InputStream, start: int, end: int | None) -> Iterator[bytes]:
    """Yields the bytes from ``start`` up to ``end``, or to the end of the file, in pieces of one size.

    The size does not depend on how a store answers, so that a part that is read again gives the same blocks.
    """
    stream.seek(start)
    at = start
    while size := BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - at):
        chunk = _filled(stream, size)
        at += len(chunk)
        if chunk:
            yield chunk
        if len(chunk) < size:
            return


def _filled(stream: InputStream, size: int) -> bytes:
    chunk = stream.read(size)
    while 0 < len(chunk) < size and (more := stream.read(size - len(chunk))):
        chunk += more
    return chunk


def line_blocks(stream: InputStream, start: int, end: int | None) -> Iterator[TextBlock]:
    """Yields the lines from byte ``start`` up to ``end``, or to the end of the file."""
    rest, long = b"", None
    for chunk in chunks(stream, start, end):
        first = chunk.find(b"\n") + 1
        if long is None and len(rest) + (first or len(chunk)) > MAX_LINE:
            long, rest = TextBlock(rest[:KEPT_OF_LONG_LINE], len(rest), cut=True), b""
        if long is not None:
            long = TextBlock(long.data, long.size + (first or len(chunk)), cut=True)
            if not first:
                continue
            yield long
            long, chunk = None, chunk[first:]
        whole = chunk.rfind(b"\n") + 1
        if whole:
            yield TextBlock(rest + chunk[:whole], len(rest) + whole)
        rest = chunk[whole:] if whole else rest + chunk
    if long is not None:
        yield long
    if rest:
        yield TextBlock(rest, len(rest))


def is_utf8(data: bytes) -> bool:
    """Returns whether bytes are valid UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

"""Finds a secret in bytes however it may be written: plain, reversed, encoded, without its separators."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def spellings(secret: str) -> dict[str, bytes]:
    """The ways of writing a secret that are searched for, by name."""
    bare = re.sub(r"[\s\-./()+]", "", secret)
    found: dict[str, bytes] = {}
    for name, text in (("plain", secret), ("bare", bare)):
        raw = text.encode()
        found[name] = raw
        found[f"{name} reversed"] = text[::-1].encode()
        found[f"{name} hex"] = raw.hex().encode()
        found[f"{name} HEX"] = raw.hex().upper().encode()
        found[f"{name} utf-16"] = text.encode("utf-16-le")
        found[f"{name} json"] = ascii(text)[1:-1].encode()
        for shift in range(3):
            found[f"{name} base64 +{shift}"] = _base64_core(raw, shift)
    return found


def leaks(secrets: Iterable[str], places: Iterable[tuple[str, bytes]]) -> list[tuple[str, str, str]]:
    """Returns (secret, spelling, place) for each that is found."""
    searched = [(secret, name, needle) for secret in secrets for name, needle in spellings(secret).items()]
    return [
        (secret, name, place) for place, content in places for secret, name, needle in searched if needle in content
    ]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields every file below a folder as it is, names too, and Parquet files decoded as well."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield f"name of {name}", name.encode()
        if path.is_file():
            data = path.read_bytes()
            yield name, data
            if path.suffix == ".parquet":
                yield f"{name} decoded", decoded(pq.read_table(pa.py_buffer(data)))


def decoded(table: pa.Table) -> bytes:
    """The rows of a table uncompressed: Arrow's own buffers, hidden bytes included, and Python's spelling of them."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue() + repr(table.to_pylist()).encode()


def _base64_core(raw: bytes, shift: int) -> bytes:
    """The characters that stay the same whatever stands before and after, for one of three alignments."""
    encoded = base64.b64encode(bytes(shift) + raw)
    first = -(-shift * 8 // 6)
    last = (shift + len(raw)) * 8 // 6
    return encoded[first:last]

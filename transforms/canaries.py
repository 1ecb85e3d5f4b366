"""Canaries: values planted in a source, searched in an output however they may be written.

Each is looked for as it is, in lower and upper case, reversed, in hexadecimal and base64 at every alignment, all that
with and without its separators; and as a number whose separators are not known, in texts without theirs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..schemas.errors import ConfigError
from .detectors.joined_text import pattern

__all__ = ["Canaries", "read_canaries"]

SHORTEST = 6
"""Characters; shorter ones would be found by chance."""

MOST = 1000
AT_ONCE = 4000
"""Spellings in one pattern."""

SEPARATORS = b" \t\r\n-./()+_"
BARE = re.compile(r"[\s\-./()+_]")


class Canaries:
    """Canaries, ready to be searched for; holds them in clear, so it is neither shown nor written anywhere.

    Args:
        values: Line and value of each.
    """

    def __init__(self, values: Sequence[tuple[int, str]]) -> None:
        whole: dict[bytes, tuple[int, str]] = {}
        bare: dict[bytes, tuple[int, str]] = {}
        for line, value in values:
            for name, needle in _spellings(value):
                whole.setdefault(needle, (line, name))
            for name, needle in _bare(value):
                bare.setdefault(needle, (line, name))
        self._count = len(values)
        self._whole, self._bare = _Needles(whole), _Needles(bare)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Canaries: {self._count}, hidden>"

    def find(self, column: pa.Array) -> Iterator[tuple[int, int, str]]:
        """Yields (row, line of the canary, how it is written) for each value that holds canaries, the first alone.

        Args:
            column: Of any type but nested ones; what is no text is searched as Arrow writes it.
        """
        values = _as_bytes(column)
        data, offsets = _joined(values)
        found: dict[int, tuple[int, str]] = {}
        for start, end, told in self._whole.matches(data):
            row = int(np.searchsorted(offsets, start, side="right")) - 1
            if end > offsets[row + 1]:
                # It only seems so, across values; within this one another may begin at the same place.
                alone = self._whole.first_in(data[offsets[row] : offsets[row + 1]])
                if alone is None:
                    continue
                told = alone
            found.setdefault(row, told)
        if self._bare.any_in(data.translate(None, SEPARATORS)):
            for row, value in enumerate(values.to_pylist()):
                told_bare = self._bare.first_in((value or b"").translate(None, SEPARATORS))
                if told_bare is not None:
                    found.setdefault(row, told_bare)
        for row in sorted(found):
            yield row, *found[row]

    def find_in(self, text: str) -> tuple[int, str] | None:
        """Returns line and spelling of a canary in a name or another single text, or None."""
        found = next(self.find(pa.array([text], pa.string())), None)
        return None if found is None else found[1:]


def read_canaries(data: bytes, name: str) -> Canaries:
    """Returns the canaries of a file, one on each line; empty lines are none.

    Args:
        data: The file.
        name: For errors.

    Raises:
        ConfigError: Not UTF-8, too many, none, or one that would be found by chance.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text; write one canary on each line, in UTF-8") from None
    values = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, value in values:
        if len(BARE.sub("", value)) < SHORTEST:
            raise ConfigError(
                f"{name}:{number}: has fewer than {SHORTEST} letters and digits and would be found by chance; "
                "plant a longer value"
            )
    if not values or len(values) > MOST:
        raise ConfigError(f"{name}: holds {len(values)} canaries; write 1 to {MOST}, one on each line")
    return Canaries(values)


class _Needles:
    """Byte strings that are searched for all at once."""

    def __init__(self, told: dict[bytes, tuple[int, str]]) -> None:
        self._told = told
        needles = sorted(told, key=lambda needle: (-len(needle), needle))
        self._patterns = [_any_of(needles[start : start + AT_ONCE]) for start in range(0, len(needles), AT_ONCE)]

    def matches(self, data: bytes) -> Iterator[tuple[int, int, tuple[int, str]]]:
        """Yields start, end and what is known of each needle found, overlapping ones too."""
        for wanted in self._patterns:
            match = wanted.search(data)
            while match is not None:
                yield *match.span(), self._told[match.group()]
                match = wanted.search(data, match.start() + 1)

    def any_in(self, data: bytes) -> bool:
        return any(wanted.search(data) is not None for wanted in self._patterns)

    def first_in(self, data: bytes) -> tuple[int, str] | None:
        return next((told for _, _, told in self.matches(data)), None)


def _any_of(needles: Iterable[bytes]) -> Any:
    return pattern("|".join("".join(f"\\x{byte:02x}" for byte in needle) for needle in needles))


def _spellings(value: str) -> Iterator[tuple[str, bytes]]:
    """The ways to write a canary that are searched for in values as they are."""
    for form, text in (("", value), (" without separators", BARE.sub("", value))):
        for cased in dict.fromkeys((text, text.lower(), text.upper())):
            raw = cased.encode()
            yield f"plain{form}", raw
            yield f"reversed{form}", cased[::-1].encode()
            yield f"hex{form}", raw.hex().encode()
            yield f"hex{form}", raw.hex().upper().encode()
            for shift in range(3):
                core = _base64_core(raw, shift)
                yield f"base64{form}", core
                yield f"base64{form}", core.translate(bytes.maketrans(b"+/", b"-_"))


def _bare(value: str) -> Iterator[tuple[str, bytes]]:
    """The ways to write a canary that are searched for in values whose separators are taken out."""
    bare = BARE.sub("", value)
    for cased in dict.fromkeys((bare, bare.lower(), bare.upper())):
        yield "with other separators", cased.encode()
        yield "reversed with other separators", cased[::-1].encode()


def _base64_core(raw: bytes, shift: int) -> bytes:
    """The characters that are the same whatever stands before and after, for one of three alignments."""
    encoded = base64.b64encode(bytes(shift) + raw)
    return encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]


def _as_bytes(column: pa.Array) -> pa.Array:
    """The column as ``large_binary``."""
    kind = column.type
    if pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        column = column.cast(pa.binary())
    elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_large_string(kind)):
        column = column if pa.types.is_string(kind) else _as_text(column)
    return column.cast(pa.large_binary())


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        # Arrow writes big numbers with an exponent, in which nothing would be found.
        return pa.array(
            [
                None if value is None else f"{value:.10g}" if abs(value) < 1 else f"{value:f}"
                for value in column.to_pylist()
            ],
            pa.string(),
        )
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _joined(values: pa.Array) -> tuple[bytes, np.ndarray[Any, np.dtype[np.int64]]]:
    """The bytes of all values without any between, and where each begins; hidden bytes under nulls are left out."""
    if values.null_count:
        values = pc.fill_null(values, b"")
    _, places, content = values.buffers()
    offsets = (
        np.frombuffer(places, np.int64)[values.offset :][: len(values) + 1] if len(values) else np.zeros(1, np.int64)
    )
    data = (
        (content or pa.py_buffer(b"")).to_pybytes()
        if content is None
        else memoryview(content)[offsets[0] : offsets[-1]].tobytes()
    )
    return data, offsets - offsets[0]

"""Draws rows from all over an input, the same ones each time, and says what such a sample can miss.

An input is cut into parts: row groups of Parquet, ranges of text files. Parts are chosen at equal steps of their bytes
from a seeded start, so big files give more of them; from the beginning of each, rows are drawn at random. An input
with no more rows than are asked for is read whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..schemas.audit import AuditSampling
from ..schemas.record_columns import POSITION
from ..transforms.plain_layouts import plain_batch
from .sources import Sources, Split, read_split
from .splits import FileFormat
from .text_blocks import BLOCK_BYTES

__all__ = ["SAMPLE_ROWS", "Progress", "Sample", "draw_sample", "sampling_of"]

SAMPLE_ROWS = 100_000
SAMPLE_BYTES = 512 * 2**20
"""More is not held in memory: rows with huge values make the sample smaller, and the bounds say so."""

PARTS = 64
READ_FOR_ONE = 4
"""So many rows are read of a part, at most, for each one that is drawn."""

SEED = 0
FREQUENCY = 0.001
MISSED = 0.05
CERTAIN = 0.999999
"""More is not stated of a sample."""

Progress = Callable[[int, int], None]
Generator = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows of an input.

    Attributes:
        batches: Plain layouts; without ``POSITION``.
        schema: Of the batches.
        rows: In the whole input; an estimate unless ``rows_exact``.
        rows_exact: Whether the format or a full reading told.
        unreadable: Lines that are no record, among those read.
        parts: Parts that rows were drawn from.
        parts_total: All parts.
        complete: Whether every row of the input is in it.
    """

    batches: tuple[pa.RecordBatch, ...]
    schema: pa.Schema
    rows: int
    rows_exact: bool
    unreadable: int
    parts: int
    parts_total: int
    complete: bool

    @property
    def drawn(self) -> int:
        """Rows in it."""
        return sum(batch.num_rows for batch in self.batches)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What came of one part.

    Attributes:
        batches: Rows that were drawn.
        read: Rows that were read for it.
        bytes: Of the part, as far as it was read.
        unreadable: Lines that are no record.
        whole: Whether the part was read to its end, and every row drawn.
    """

    batches: tuple[pa.RecordBatch, ...]
    read: int
    bytes: int
    unreadable: int
    whole: bool


def draw_sample(
    sources: Sources, *, rows: int = SAMPLE_ROWS, seed: int = SEED, progress: Progress | None = None
) -> Sample:
    """Returns rows of an input.

    Args:
        sources: Planned.
        rows: How many to draw, about.
        seed: Of the draw.
        progress: Called with rows drawn and rows wanted.

    Raises:
        RunError: A file cannot be read, is damaged inside, or changed meanwhile.
    """
    random = np.random.default_rng(seed)
    parts = _parts(sources.splits)
    known = _known_rows(sources.splits)
    everything = known is not None and known <= rows
    chosen = parts if everything else _chosen(parts, random)
    found: list[_Drawn] = []
    drawn = size = 0
    for place, part in enumerate(chosen):
        quota = rows if everything else math.ceil((rows - drawn) / (len(chosen) - place))
        if quota <= 0 or size >= SAMPLE_BYTES:
            break
        found.append(_draw(part, sources.schema, quota, random))
        drawn += sum(batch.num_rows for batch in found[-1].batches)
        size += sum(batch.nbytes for batch in found[-1].batches)
        if progress is not None:
            progress(drawn, min(rows, known) if known is not None else rows)
    return _sample(sources, parts, found, known)


def _sample(sources: Sources, parts: Sequence[Split], found: Sequence[_Drawn], known: int | None) -> Sample:
    complete = len(found) == len(parts) and all(part.whole for part in found)
    read = sum(part.read for part in found)
    weight = sum(part.weight for part in parts)
    covered = sum(part.bytes for part in found)
    rows = read if complete else known if known is not None else round(read * weight / covered) if covered else 0
    batches = tuple(batch for part in found for batch in part.batches if batch.num_rows)
    return Sample(
        batches=batches,
        schema=batches[0].schema if batches else _without_position(sources.schema),
        rows=rows,
        rows_exact=complete or _is_exact(sources.splits),
        unreadable=sum(part.unreadable for part in found),
        parts=len(found),
        parts_total=len(parts),
        complete=complete,
    )


def _without_position(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name != POSITION])


def _known_rows(splits: Sequence[Split]) -> int | None:
    """Returns the rows, or lines, that planning counted; None where it did not count all parts."""
    counts = [split.count for split in splits]
    return None if None in counts else sum(count or 0 for count in counts)


def _is_exact(splits: Sequence[Split]) -> bool:
    """Whether planning counted rows, and not lines, some of which may be no record."""
    return all(split.file.format is FileFormat.PARQUET for split in splits)


def _parts(splits: Sequence[Split]) -> list[Split]:
    """Returns the smallest parts that can be read alone, in the order of files and of places in them."""
    return [part for split in sorted(splits, key=lambda split: split.id) for part in _parts_of(split)]


def _parts_of(split: Split) -> Iterator[Split]:
    groups = (split.end or 0) - split.start
    if split.file.format is not FileFormat.PARQUET or groups <= 1:
        yield split
        return
    weight = max(split.weight // groups, 1)
    for group in range(split.start, split.start + groups):
        # Without a count the reader does not check it: the footer is not asked again for that of one group.
        yield replace(split, start=group, end=group + 1, count=None, weight=weight)


def _chosen(parts: Sequence[Split], random: Generator) -> list[Split]:
    """Returns ``PARTS`` parts at equal steps of all bytes; all of them where there are no more."""
    if len(parts) <= PARTS:
        return list(parts)
    ends = np.cumsum([max(part.weight, 1) for part in parts])
    step = ends[-1] / PARTS
    places = np.searchsorted(ends, random.uniform(0, step) + step * np.arange(PARTS), side="right")
    return [parts[place] for place in dict.fromkeys(np.minimum(places, len(parts) - 1).tolist())]


def _draw(part: Split, schema: pa.Schema, quota: int, random: Generator) -> _Drawn:
    batches: list[pa.RecordBatch] = []
    read = kept = unreadable = 0
    share, expected, whole = 1.0, 1, True
    with closing(read_split(part, schema)) as reading:  # type: ignore[type-var]
        for found in reading:
            rows = found.batch.num_rows
            if not read:
                expected = max(_expected(part, rows), 1)
                share = min(1.0, quota / min(expected, READ_FOR_ONE * quota))
            wanted = min(math.ceil(rows * share), max(quota - kept, 0))
            batches.append(_some(found.batch, wanted, random))
            read, kept, unreadable = read + rows, kept + wanted, unreadable + len(found.rejected)
            whole &= wanted == rows
            if read >= READ_FOR_ONE * quota or kept >= quota:
                break
        whole = whole and next(reading, None) is None
    size = part.weight if whole or not read else min(part.weight, math.ceil(part.weight * read / expected))
    return _Drawn(tuple(batches), read, size, unreadable, whole)


def _expected(part: Split, rows: int) -> int:
    """Returns how many rows a part has, about, given those of its first batch."""
    if part.count is not None:
        return part.count
    if part.file.format is FileFormat.PARQUET:
        return rows
    return round(rows * max(1.0, part.weight / BLOCK_BYTES))


def _some(batch: pa.RecordBatch, wanted: int, random: Generator) -> pa.RecordBatch:
    rows = plain_batch(batch).drop_columns([POSITION]).replace_schema_metadata(None)
    if wanted >= rows.num_rows:
        return rows
    places: np.ndarray[Any, np.dtype[np.int64]] = np.sort(random.choice(rows.num_rows, wanted, replace=False))
    return rows.take(pa.array(places))


def sampling_of(sample: Sample, *, seed: int = SEED) -> AuditSampling:
    """Returns how a sample was drawn, and what it can miss."""
    count = sample.drawn
    seen_with = 1.0 if sample.complete else min(1 - (1 - FREQUENCY) ** count, CERTAIN)
    missed_below = 0.0 if sample.complete or not count else 1 - MISSED ** (1 / count)
    return AuditSampling(
        seed=seed,
        parts=sample.parts,
        parts_total=sample.parts_total,
        complete=sample.complete,
        frequency=FREQUENCY,
        seen_with=seen_with,
        missed_below=missed_below,
        says=tuple(_said(sample, seen_with, missed_below)),
    )


def _said(sample: Sample, seen_with: float, missed_below: float) -> Iterator[str]:
    if sample.complete:
        yield f"Every one of the {sample.drawn:,} rows was looked at."
        return
    about = "" if sample.rows_exact else "about "
    yield (
        f"{sample.drawn:,} of {about}{sample.rows:,} rows were looked at, drawn at random from the beginnings "
        f"of {sample.parts:,} of {sample.parts_total:,} parts of the input, which lie at equal steps all over its "
        "files. The draw is seeded: the same input gives the same rows."
    )
    yield (
        f"A kind of value that is in 0.1 % of the rows was in the sample with a probability of "
        f"1 − (1 − 0.001)^{sample.drawn:,} ≥ {_floored(seen_with)}. With 95 % probability nothing is missing in it "
        f"that is in more than {_ceiled(missed_below)} of the rows."
    )
    yield (
        "Both hold for values that are spread over the files. What lies only in a stretch that no row was drawn from, "
        "as in one file of a single day, can be missed however much of that stretch it fills."
    )


def _floored(share: float) -> str:
    return f"{math.floor(share * 100_000) / 1000:.3f} %"


def _ceiled(share: float) -> str:
    return f"{math.ceil(share * 100_000) / 1000:.3f} %"

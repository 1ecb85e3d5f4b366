"""Merges the many small files that a stream writes, a few at a time, while nobody sees less or more than all rows.

Files of one folder, of one schema and of about one size become one, so that no row is written more than a few times.
The folder is made anew beside the old one, with links to what stays, and takes its place by one system call: whoever
lists it sees the old files or the new one. Readers that go by a manifest of a moment before find a file gone, and
read the manifest again.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ...schemas.errors import RunError
from ..exchange import exchange_folders
from ..sinks import FileWriter, Receipt
from .journal import Merge

__all__ = ["made_merge", "mergeable", "show_merge"]

FEWEST = 16
"""Files of about one size that are worth to be merged."""
SMALLEST_TIER, TIER_FACTOR = 1 << 16, 8
BIGGEST = 1 << 28
"""Bytes from which a file is left alone."""


def mergeable(receipts: Iterable[Receipt]) -> Sequence[Receipt]:
    """Returns files that should become one, by their folders and sizes; none if there are too few of any kind."""
    kinds: dict[tuple[str, int], list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        if receipt.bytes < BIGGEST:
            kinds[_folder(receipt.path), _tier(receipt.bytes)].append(receipt)
    most = max(kinds.values(), key=len, default=[])
    return sorted(most, key=lambda each: each.path) if len(most) >= FEWEST else ()


def made_merge(root: Path, place: Path, receipts: Sequence[Receipt]) -> Merge | None:
    """Makes the folder in which some files are one, and returns the merge; None where no two have one schema.

    Args:
        root: Of the output.
        place: Where to make it; anything there is removed.
        receipts: Of files of one folder.

    Raises:
        RunError: A file cannot be read, or the disk refused.
    """
    folder = _folder(receipts[0].path)
    try:
        alike = _of_most_common_schema(root, receipts)
        if len(alike) < 2:
            return None
        shutil.rmtree(place, ignore_errors=True)
        (place / folder).mkdir(parents=True)
        made = _merged(root, place, folder, alike)
        gone = frozenset(Path(receipt.path).name for receipt in alike)
        for path in (root / folder).iterdir():
            if path.name not in gone:
                os.link(path, place / folder / path.name)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{root / folder}: small files cannot be merged ({type(error).__name__}); see to the disk"
        ) from None
    return Merge(folder=folder, gone=tuple(receipt.path for receipt in alike), made=made)


def show_merge(root: Path, place: Path, merge: Merge) -> None:
    """Exchanges the folders of a sealed merge, if that was not done yet.

    Raises:
        RunError: The merged file is nowhere, or the disk refused.
    """
    try:
        if not (root / merge.made.path).exists():
            if not (place / merge.made.path).exists():
                raise RunError(f"{root / merge.made.path}: is gone; restore it from a backup, or begin a new --out")
            exchange_folders(root / merge.folder, place / merge.folder)
    except OSError as error:
        raise RunError(f"{root / merge.folder}: cannot be exchanged ({error.strerror}); see to the disk") from None


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _tier(size: int) -> int:
    tier = 0
    while size > SMALLEST_TIER:
        size //= TIER_FACTOR
        tier += 1
    return tier


def _of_most_common_schema(root: Path, receipts: Sequence[Receipt]) -> list[Receipt]:
    schemas = {receipt.path: pq.read_schema(root / receipt.path).remove_metadata() for receipt in receipts}
    (schema, _), *_ = Counter(schemas.values()).most_common(1)
    return [receipt for receipt in receipts if schemas[receipt.path] == schema]


def _merged(root: Path, place: Path, folder: str, receipts: Sequence[Receipt]) -> Receipt:
    schema = pq.read_schema(root / receipts[0].path).remove_metadata()
    writer = FileWriter(str(place), folder, schema, run=f"merged-{uuid4().hex[:8]}", file_bytes=1 << 62)
    for batch in _batches(root, receipts):
        writer.write(batch)
    (made,) = writer.finish()
    if made.rows != sum(receipt.rows for receipt in receipts):
        raise RunError(f"{root / folder}: its files hold other rows than were written; restore them from a backup")
    return made


def _batches(root: Path, receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    for receipt in receipts:
        with pq.ParquetFile(root / receipt.path) as file:
            yield from file.iter_batches()

"""Writes record batches as Parquet files that are hashed while they are written, and gives a receipt for each file.

A file belongs to one bundle of one thread and has a name that nothing else ever gets. A bundle that fails, or that a
runner does again, leaves a file without a receipt, and what has no receipt is not published.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as _FileSystems
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from ..schemas.dead_letter import DEAD_LETTER_SCHEMA
from ..transforms.failures import guarded
from .parquet_encoding import repeating_columns
from .publication import DATA, DEAD_LETTERS, PART

__all__ = ["FileWriter", "Receipt", "WriteDeadLetters", "WriteRows", "write_empty"]

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 * 2**20
FILE_BYTES = 512 * 2**20

FileSystems: Any = _FileSystems  # untyped in Beam


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A file that is complete, or messages of a topic that were taken.

    Attributes:
        path: Below the place of the publication.
        sha256: Hexadecimal, of all bytes; of messages empty.
        rows: Records in it.
        bytes: Its size.
        reasons: Of dead letters: how many for each stage and reason, as counted where they are written.
    """

    path: str
    sha256: str
    rows: int
    bytes: int
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)


class FileWriter:
    """Writes batches of one schema to files of a place, a new one whenever the last has become big.

    At most one row group is held in memory.

    Args:
        place: Folder or URI; ``folder`` exists in it, or need not, as in object stores.
        folder: ``data``, a folder in it, or ``dead_letters``.
        schema: Of the files. The metadata of the batches' schemas is not written.
        run: Id of the run, part of the names.
        file_bytes: When to begin the next file.
    """

    def __init__(self, place: str, folder: str, schema: pa.Schema, *, run: str, file_bytes: int = FILE_BYTES) -> None:
        self._place = place
        self._folder = folder
        self._schema = schema.with_metadata(None)
        self._run = run
        self._file_bytes = file_bytes
        self._reset()

    def write(self, batch: pa.RecordBatch) -> None:
        """Takes a batch of the schema, apart from metadata of the schema itself."""
        self._waiting.append(pa.RecordBatch.from_arrays(batch.columns, schema=self._schema))
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._folder == DEAD_LETTERS:
            self._reasons.update(zip(batch["stage"].to_pylist(), batch["reason"].to_pylist(), strict=True))
        if self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()
        if self._file is not None and self._file.bytes >= self._file_bytes:
            self._complete()

    def finish(self) -> list[Receipt]:
        """Completes the last file and returns the receipts of all, none if there was no row."""
        self._complete()
        receipts = self._receipts
        self._reset()
        return receipts

    def abandon(self) -> None:
        """Closes what is open without a receipt."""
        with suppress(OSError, pa.ArrowException):
            if self._parquet is not None:
                self._parquet.close()
            if self._file is not None:
                self._file.close()
        self._reset()

    def _reset(self) -> None:
        self._receipts: list[Receipt] = []
        self._file: _HashedFile | None = None
        self._parquet: pq.ParquetWriter | None = None
        self._rows = 0
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0

    def _flush(self) -> None:
        if self._parquet is None:
            self._file = _HashedFile(self._place, f"{self._folder}/{PART}{self._run}-{uuid4().hex[:12]}.parquet")
            repeating: Any = repeating_columns(self._waiting[0]) if self._waiting else False
            self._parquet = pq.ParquetWriter(self._file, self._schema, compression="snappy", use_dictionary=repeating)
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._waiting = []
        self._parquet.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._rows += self._waiting_rows
        self._waiting_rows = self._waiting_bytes = 0

    def _complete(self) -> None:
        if self._waiting_rows:
            self._flush()
        if self._parquet is None or self._file is None:
            return
        self._parquet.close()
        self._file.close()
        self._receipts.append(
            Receipt(
                path=self._file.path,
                sha256=self._file.digest,
                rows=self._rows,
                bytes=self._file.bytes,
                reasons=dict(self._reasons),
            )
        )
        self._file = self._parquet = None
        self._rows = 0
        self._reasons = Counter()


def write_empty(place: str, schema: pa.Schema, *, run: str, folder: str = DATA) -> Receipt:
    """Writes a data file without rows, so that an output without rows has its columns all the same."""
    writer = FileWriter(place, folder, schema, run=run)
    writer._flush()
    (receipt,) = writer.finish()
    return receipt


class _HashedFile:
    """A file of any Beam file system, opened for writing, that knows hash and size of what went through."""

    def __init__(self, place: str, path: str) -> None:
        self.path = path
        self.bytes = 0
        self.closed = False
        self._hash = hashlib.sha256()
        self._local = "://" not in place
        target = f"{place.rstrip('/')}/{path}"
        # Unbuffered: Arrow writes whole column chunks.
        self._file: Any = (
            open(target, "xb", buffering=0)  # noqa: PTH123, SIM115
            if self._local
            else FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED)
        )

    def write(self, data: Any) -> int:
        """Writes all of it."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.bytes += len(view)
        rest = view
        while len(rest):
            written = self._file.write(rest)
            rest = rest[len(rest) if written is None else written :]
        return len(view)

    def tell(self) -> int:
        """Returns the size so far."""
        return self.bytes

    def flush(self) -> None:
        """Does nothing: nothing is held back."""

    def writable(self) -> bool:
        """Returns True."""
        return True

    def readable(self) -> bool:
        """Returns False."""
        return False

    def seekable(self) -> bool:
        """Returns False."""
        return False

    def close(self) -> None:
        """Completes the file, on the disk itself where it is local."""
        if not self.closed:
            self.closed = True
            if self._local:
                os.fsync(self._file.fileno())
            self._file.close()

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal."""
        return self._hash.hexdigest()


class _Write(beam.PTransform[pa.RecordBatch, Receipt]):
    """Writes record batches of one schema and returns receipts."""

    def __init__(self, place: str, folder: str, schema: pa.Schema, *, run: str) -> None:
        super().__init__()
        self._step = _WriteFn(place, folder, schema, run)

    def expand(self, input_or_inputs: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Receipt]:
        return input_or_inputs | "WriteFiles" >> beam.ParDo(self._step).with_output_types(Receipt)


class WriteRows(_Write):
    """Writes protected rows to ``data/`` of a place; gives a ``Receipt`` for each file.

    Args:
        place: Of the publication.
        schema: Of all batches; its field metadata stands in the files.
        run: Id of the run.
    """

    def __init__(self, place: str, schema: pa.Schema, *, run: str) -> None:
        super().__init__(place, DATA, schema, run=run)


class WriteDeadLetters(_Write):
    """Writes dead letters to ``dead_letters/`` of a place; gives a ``Receipt`` for each file.

    Args:
        place: Of the publication.
        run: Id of the run.
    """

    def __init__(self, place: str, *, run: str) -> None:
        super().__init__(place, DEAD_LETTERS, DEAD_LETTER_SCHEMA, run=run)


class _WriteFn(beam.DoFn):
    def __init__(self, place: str, folder: str, schema: pa.Schema, run: str) -> None:
        super().__init__()
        self._made_of = (place, folder, schema, run)

    def start_bundle(self) -> None:
        place, folder, schema, run = self._made_of
        self._writer = FileWriter(place, folder, schema, run=run)

    @guarded("write")
    def process(self, element: pa.RecordBatch) -> None:
        self._writer.write(element)

    @guarded("write")
    def finish_bundle(self) -> Iterator[Any]:
        window = GlobalWindow()
        for receipt in self._writer.finish():
            yield WindowedValue(receipt, window.max_timestamp(), (window,))

    def teardown(self) -> None:
        if hasattr(self, "_writer"):
            self._writer.abandon()

"""Writes protected rows to a folder for each day, and a file for each schema: a stream may learn of a new column."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.dataset import FieldPath
from ..publication import DATA
from ..sinks import FileWriter, Receipt
from .event_dates import event_dates

__all__ = ["DatedFiles"]


class DatedFiles:
    """Files of rows that are being made.

    Args:
        place: Folder below which ``data`` is.
        run: Part of the files' names.
        event_time: Path of the records' event time.
    """

    def __init__(self, place: str, *, run: str, event_time: FieldPath) -> None:
        self._place = place
        self._run = run
        self._event_time = event_time
        self._writers: dict[tuple[str, pa.Schema], FileWriter] = {}

    def write(self, rows: pa.RecordBatch) -> None:
        """Takes protected rows without reserved columns, of any schema."""
        schema = rows.schema.remove_metadata()
        dates = event_dates(rows, self._event_time).dictionary_encode()
        for code, date in enumerate(dates.dictionary.to_pylist()):
            alone = len(dates.dictionary) == 1
            self._writer(date, schema).write(rows if alone else rows.filter(pc.equal(dates.indices, code)))

    def _writer(self, date: str, schema: pa.Schema) -> FileWriter:
        if (date, schema) not in self._writers:
            folder = f"{DATA}/event_date={date}"
            (Path(self._place) / folder).mkdir(parents=True, exist_ok=True)
            self._writers[date, schema] = FileWriter(self._place, folder, schema, run=self._run)
        return self._writers[date, schema]

    def finish(self) -> list[Receipt]:
        """Completes the files."""
        return [receipt for writer in self._writers.values() for receipt in writer.finish()]

    def abandon(self) -> None:
        """Closes what is open without a receipt."""
        for writer in self._writers.values():
            writer.abandon()

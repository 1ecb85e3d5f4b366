"""CSV and JSON Lines with a column of tokens. All else of a row stays as it is; numbers of JSON may be spelled anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ..schemas.dataset import FieldPath
from ..schemas.errors import ConfigError, InputError
from .token_portions import ROWS, Portion, PortionWriter, new_name, path_of

__all__ = ["CsvTokens", "JsonTokens"]

LONGEST_FIELD = 64 * 2**20


class CsvTokens:
    """A ``TokenFile`` of CSV with a header."""

    def __init__(self, path: Path, column: str, subject_column: str | None, separator: str) -> None:
        self._path = path
        self._separator = separator
        self.marks: Mapping[str, str] = {}
        with self._opened() as file:
            self._header = next(self._rows(file), [])
        self._column = _place(self._header, column, "--column")
        self._subjects = None if subject_column is None else _place(self._header, subject_column, "--subject-column")
        self._rule = new_name(column, self._header)

    def portions(self) -> Iterator[Portion]:
        """Yields all rows, some at a time."""
        with self._opened() as file:
            rows = self._rows(file)
            next(rows, None)
            while some := list(islice(rows, ROWS)):
                yield Portion(
                    tokens=[row[self._column] or None for row in some],
                    subjects=None if self._subjects is None else [row[self._subjects] for row in some],
                    rows=some,
                )

    def writer(self, out: BinaryIO) -> PortionWriter:
        """Returns what writes rows of this file to another one."""
        return _CsvWriter(out, [*self._header, self._rule], self._column, self._separator)

    def _opened(self) -> io.TextIOWrapper:
        return self._path.open(encoding="utf-8-sig", newline="")

    def _rows(self, file: io.TextIOWrapper) -> Iterator[list[str]]:
        csv.field_size_limit(LONGEST_FIELD)
        reader, width = csv.reader(file, delimiter=self._separator, strict=True), 0
        try:
            for row in reader:
                width = width or len(row)
                if row and len(row) != width:
                    raise InputError(
                        f"{self._path}:{reader.line_num}: has {len(row)} fields, not {width}; repair the line"
                    )
                if row:
                    yield row
        except csv.Error:
            raise InputError(f"{self._path}:{reader.line_num}: is no CSV; repair the line") from None
        except UnicodeDecodeError:
            raise InputError(f"{self._path}: is not UTF-8; convert it") from None


class _CsvWriter:
    def __init__(self, out: BinaryIO, header: Sequence[str], column: int, separator: str) -> None:
        self._column = column
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=False)
        self._writer = csv.writer(self._text, delimiter=separator, lineterminator="\n")
        self._writer.writerow(header)

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        for row, value, rule in zip(portion.rows, values, rules, strict=True):
            row[self._column] = value
            row.append(rule)
        self._writer.writerows(portion.rows)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class JsonTokens:
    """A ``TokenFile`` of JSON Lines."""

    def __init__(self, path: Path, column: str, subject_column: str | None) -> None:
        self._path = path
        self.marks: Mapping[str, str] = {}
        self._column = path_of(column, "--column")
        self._subjects = None if subject_column is None else path_of(subject_column, "--subject-column")
        self._rule = new_name(column, ())
        with path.open("rb"):
            pass

    def portions(self) -> Iterator[Portion]:
        """Yields all rows, some at a time."""
        with self._path.open("rb") as file:
            lines = (self._record(number, line) for number, line in enumerate(file, 1) if line.strip())
            while some := list(islice(lines, ROWS)):
                subjects = self._subjects
                yield Portion(
                    tokens=[self._text(*each, self._column, "--column") for each in some],
                    subjects=None
                    if subjects is None
                    else [self._text(*each, subjects, "--subject-column") or "" for each in some],
                    rows=[record for _, record in some],
                )

    def writer(self, out: BinaryIO) -> PortionWriter:
        """Returns what writes rows of this file to another one."""
        return _JsonWriter(out, self._column, self._rule)

    def _record(self, number: int, line: bytes) -> tuple[int, dict[str, Any]]:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{self._path}:{number}: is no JSON object in UTF-8; repair the line")
        if self._rule in record:
            raise ConfigError(f"{self._path}:{number}: has a field {self._rule!r} already; rename it")
        return number, record

    def _text(self, number: int, record: dict[str, Any], path: FieldPath, option: str) -> str | None:
        found: Any = record
        for step in path.steps:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and option == "--subject-column":
            return str(found)
        if found is not None and not isinstance(found, str):
            raise InputError(f"{self._path}:{number}: {option}: holds no text there; repair the line")
        return found


class _JsonWriter:
    def __init__(self, out: BinaryIO, column: FieldPath, rule: str) -> None:
        self._out = out
        self._column = column
        self._rule = rule

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        lines = []
        for record, value, rule in zip(portion.rows, values, rules, strict=True):
            if rule is not None:
                parent = record
                for step in self._column.steps[:-1]:
                    parent = parent[step]
                parent[self._column.steps[-1]] = value
            record[self._rule] = rule
            lines.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        self._out.write(b"".join(lines))

    def close(self) -> None:
        pass


def _place(header: Sequence[str], name: str, option: str) -> int:
    if header.count(name) != 1:
        raise ConfigError(f"{option} {name}: there is no such column, or more than one; name one of the header")
    return header.index(name)

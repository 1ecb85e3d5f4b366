"""Scans files of JSON Lines: texts for sensitive values in them, columns for what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from ..schemas.errors import InputError, OutputError
from ..transforms.detectors.column_types import column_type
from ..transforms.detectors.findings import Finding
from ..transforms.detectors.free_text import find_in_texts
from ..transforms.detectors.recognizers import Recognizer
from .drafts import draft

__all__ = ["scan_columns", "scan_texts"]

PORTION = 8_192
LONE = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair: JSON can spell it, UTF-8 cannot. Another character takes its place, so that offsets stay."""

Progress = Callable[[int], None]
Record = dict[str, Any]


def scan_texts(
    source: Path,
    target: Path,
    *,
    progress: Progress = lambda count: None,
    recognizers: Sequence[Recognizer] = (),
) -> int:
    """Writes for each text where sensitive values stand in it, in the order of the texts.

    Args:
        source: Lines of ``{"id", "text"}``; a text of null holds nothing.
        target: Lines of ``{"id", "spans": [{"start", "end", "entity", "score", "reason"}]}``; appears when all are
            written. Offsets count code points.
        progress: Told how many texts were done.
        recognizers: Detectors of other makers that are asked, too.

    Returns:
        How many texts have a span.

    Raises:
        InputError: A line is no such object; the message names file, line and rule.
        OutputError: The target cannot be written.
    """
    found = 0

    def results() -> Iterator[Record]:
        nonlocal found
        for records in _portions(_records(source, _check_text)):
            spans = _spans([record["text"] for record in records], recognizers)
            found += sum(map(bool, spans))
            yield from ({"id": record["id"], "spans": each} for record, each in zip(records, spans, strict=True))
            progress(len(records))

    _write(target, results())
    return found


def scan_columns(source: Path, target: Path, *, progress: Progress = lambda count: None) -> int:
    """Writes for each column what it holds, in the order of the columns.

    Args:
        source: Lines of ``{"feed", "column", "values"}``; values are strings, numbers, true, false or null.
        target: Lines of ``{"feed", "column", "entity", "share", "evidence", "leaks"}``; ``entity`` is an entity,
            ``MIXED``, ``FREE_TEXT`` or null. Appears when all are written.
        progress: Told how many columns were done.

    Returns:
        How many columns hold something sensitive, or have it strayed into them.

    Raises:
        InputError: A line is no such object; the message names file, line and rule.
        OutputError: The target cannot be written.
    """
    found = 0

    def results() -> Iterator[Record]:
        nonlocal found
        for record in _records(source, _check_column):
            told = _column(record)
            found += told["entity"] is not None or bool(told["leaks"])
            yield told
            progress(1)

    _write(target, results())
    return found


def _spans(texts: Iterable[str | None], recognizers: Sequence[Recognizer]) -> list[list[Record]]:
    column = pa.array([None if text is None else LONE.sub("\ufffd", text) for text in texts], pa.large_string())
    spans: list[list[Record]] = [[] for _ in range(len(column))]
    for row, findings in find_in_texts(column, recognizers):
        spans[row] = [_span(finding) for finding in findings]
    return spans


def _span(finding: Finding) -> Record:
    return {
        "start": finding.start,
        "end": finding.end,
        "entity": finding.entity,
        "score": finding.score,
        "reason": finding.reason,
    }


def _column(record: Record) -> Record:
    texts = pa.array([_spelled(value) for value in record["values"]], pa.large_string())
    found = column_type(texts, LONE.sub("\ufffd", record["column"]))
    named = found.kind if found.kind in ("MIXED", "FREE_TEXT") else None
    return {
        "feed": record["feed"],
        "column": record["column"],
        "entity": found.entity or named,
        "share": round(found.share, 4),
        "evidence": found.evidence,
        "leaks": [{"entity": leak.entity, "count": leak.count, "share": round(leak.share, 4)} for leak in found.leaks],
    }


def _spelled(value: Any) -> str | None:
    """A value as text; a whole number that was written as a float without its point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else LONE.sub("\ufffd", str(value))


def _check_text(record: Record) -> str | None:
    if "id" not in record or "text" not in record:
        return 'lacks "id" or "text"'
    return None if isinstance(record["text"], str | None) else '"text" is neither text nor null'


def _check_column(record: Record) -> str | None:
    if not {"feed", "column", "values"} <= record.keys():
        return 'lacks "feed", "column" or "values"'
    if not isinstance(record["column"], str):
        return '"column" is no text'
    values = record["values"]
    plain = isinstance(values, list) and all(isinstance(value, str | int | float | None) for value in values)
    return None if plain else '"values" is no list of texts, numbers and nulls'


def _records(source: Path, check: Callable[[Record], str | None]) -> Iterator[Record]:
    try:
        with source.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _record(line, f"{source}:{number}", check)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}); name a file of JSON Lines") from None


def _record(line: bytes, place: str, check: Callable[[Record], str | None]) -> Record:
    record = _parsed(line)
    if not isinstance(record, dict):
        raise InputError(f"{place}: is no JSON object; write one object on each line")
    complaint = check(record)
    if complaint is not None:
        raise InputError(f"{place}: {complaint}; see `consentry scan --help`")
    return record


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:  # knows what orjson refuses: half surrogate pairs, numbers of any length
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _portions(records: Iterator[Record]) -> Iterator[list[Record]]:
    while portion := list(islice(records, PORTION)):
        yield portion


def _write(target: Path, records: Iterable[Record]) -> None:
    try:
        with draft(target) as file:
            for record in records:
                file.write(_line(record))
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from None


def _line(record: Record) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # an id with half a surrogate pair, or a number beyond 64 bits
        return json.dumps(record).encode() + b"\n"

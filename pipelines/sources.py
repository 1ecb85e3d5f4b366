"""Where records come from: files of Parquet, CSV or JSON Lines, on this machine or in any Beam file system.

``plan_sources`` finds the files, settles the columns that they have together, and cuts them into splits that any worker
can read by itself; ``read_split`` reads one, the same batches each time. Whatever a file holds becomes a row or a
rejected line; nothing is passed over. What makes a whole file unreadable is an error instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from ..schemas.errors import RunError
from .column_types import joint_schema
from .csv_blocks import plan_csv, read_csv
from .input_files import find_files
from .json_lines import plan_json, read_json
from .parquet_groups import plan_parquet, read_parquet
from .splits import FileFormat, FilePlan, InputFile, ReadBatch, RejectedLine, Split

__all__ = ["InputFile", "ReadBatch", "RejectedLine", "Sources", "Split", "plan_sources", "read_split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The input of a run.

    Attributes:
        files: All of them, each once.
        splits: Biggest first, so that no worker begins a long one at the end.
        schema: Of all batches: the columns of all files, then ``POSITION``.
    """

    files: tuple[InputFile, ...]
    splits: tuple[Split, ...]
    schema: pa.Schema

    @property
    def total_bytes(self) -> int:
        """The size of all files as stored."""
        return sum(file.size for file in self.files)


def plan_sources(inputs: Sequence[str]) -> Sources:
    """Returns files, splits and columns of an input.

    All records of JSON Lines are read once here, big CSV is scanned, and of Parquet only the footer is read.

    Args:
        inputs: Files, folders or globs, local or of any Beam file system.

    Raises:
        InputError: A file is missing, cannot be read, or contradicts another.
    """
    files = find_files(inputs)
    with ThreadPoolExecutor(_cores(), "consentry-plan") as pool:
        plans = _plans(files, pool)
    splits = [split for plan in plans for split in plan.splits]
    numbered = [replace(split, id=number) for number, split in enumerate(splits)]
    return Sources(
        files=files,
        splits=tuple(sorted(numbered, key=lambda split: -split.weight)),
        schema=joint_schema((plan.file.name, plan.columns) for plan in plans),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plans(files: Sequence[InputFile], pool: Executor) -> list[FilePlan]:
    """Returns the plan of each file, in their order."""
    lines = [file for file in files if file.format is FileFormat.JSON_LINES]
    others = [file for file in files if file.format is not FileFormat.JSON_LINES]
    found = {plan.file.uri: plan for plan in (*pool.map(_plan, others), *plan_json(lines, pool))}
    return [found[file.uri] for file in files]


def _plan(file: InputFile) -> FilePlan:
    return plan_parquet(file) if file.format is FileFormat.PARQUET else plan_csv(file)


def read_split(split: Split, schema: pa.Schema) -> Iterator[ReadBatch]:
    """Yields the rows of a split with the lines that could not become rows.

    Args:
        split: One of ``Sources.splits``.
        schema: ``Sources.schema``.

    Raises:
        RunError: The file cannot be read, is damaged, or is no longer what it was when the run was planned.
    """
    match split.file.format:
        case FileFormat.PARQUET:
            return read_parquet(split, schema)
        case FileFormat.JSON_LINES:
            return read_json(split, schema)
        case FileFormat.CSV | FileFormat.TSV:
            return read_csv(split, schema)
        case _:
            raise RunError(f"{split.file.name}: no reader for {split.file.format}")

"""Reads whole inputs through their splits, for tests that look at the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from consentry.pipelines.sources import ReadBatch, Sources, plan_sources, read_split
from consentry.schemas.record_columns import POSITION, SOURCE_KEY, SPLIT_KEY


@dataclass
class Read:
    """What came out of an input, in the order of files and places."""

    sources: Sources
    batches: list[ReadBatch]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if name != POSITION}
            for read in self.batches
            for row in read.batch.to_pylist()
        ]

    @property
    def positions(self) -> list[int]:
        return [position for read in self.batches for position in read.batch[POSITION].to_pylist()]

    @property
    def rejected(self) -> list[tuple[int, str]]:
        return [(line.position, line.reason) for read in self.batches for line in read.rejected]

    @property
    def raw(self) -> list[bytes]:
        return [line.raw for read in self.batches for line in read.rejected]

    @property
    def types(self) -> dict[str, pa.DataType]:
        return {field.name: field.type for field in self.sources.schema if field.name != POSITION}


def read_all(*inputs: object) -> Read:
    """Plans and reads; checks what holds of every batch of every source."""
    sources = plan_sources([str(each) for each in inputs])
    batches = []
    for split in sorted(sources.splits, key=lambda split: split.id):
        for read in read_split(split, sources.schema):
            assert read.batch.schema == sources.schema
            assert read.batch.schema.metadata == {
                SOURCE_KEY: split.file.name.encode(), SPLIT_KEY: str(split.id).encode(),
            }  # fmt: skip
            assert read.batch[POSITION].null_count == 0
            read.batch.validate(full=True)
            batches.append(read)
    return Read(sources, batches)

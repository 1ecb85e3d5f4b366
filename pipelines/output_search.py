"""Searches all texts of an output for what names one subject, declared or not. Never imports Beam for local outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.dataset import FieldPath
from ..transforms.actions import as_text, is_text
from ..transforms.failures import guarded
from ..transforms.leaf_columns import leaves
from ..transforms.plain_layouts import plain_batch
from ..transforms.text_redaction import Needles
from .letters import LetterOutput

__all__ = ["Searched", "search_output"]

BATCH_ROWS = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search came to: how many rows were looked at, and in which columns how many values name the subject."""

    rows: int
    found: Mapping[str, int]


@guarded("search")
def search_output(output: LetterOutput, needles: Needles, subject: FieldPath) -> Searched:
    """Returns where an output names a subject.

    Args:
        output: Verified.
        needles: The subject's id and tokens.
        subject: Path of the subject column, in which numbers are looked at too, and ids of any length.

    Raises:
        RunError: A file cannot be read.
    """
    rows, found = 0, Counter[str]()
    own = pa.array([needles.subject.strip()], pa.string())
    for file in output.manifest.files:
        if file.kind != "data":
            continue
        with output.folder.open(file.path) as opened, pq.ParquetFile(opened, memory_map=False) as parquet:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                rows += batch.num_rows
                for leaf in leaves(plain_batch(batch)):
                    found[str(leaf.path)] += _count(leaf.values, needles, own if leaf.path == subject else None)
    return Searched(rows=rows, found={path: count for path, count in sorted(found.items()) if count})


def _count(values: pa.Array, needles: Needles, own: pa.StringArray | None) -> int:
    texts = as_text(values) if is_text(values.type) or own is not None else None
    if texts is None or not len(texts):
        return 0
    found = needles.found(texts)
    if own is not None:
        import pyarrow.compute as pc

        found |= pc.is_in(pc.utf8_trim_whitespace(texts), value_set=own).to_numpy(zero_copy_only=False)
    return int(found.sum())

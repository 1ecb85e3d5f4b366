"""Protected batches that wait for the vault, so that many are written in one go.

A row must not be seen whose value could still be lost: the vault comes first. To write it for every batch would touch
each customer's entry again and again, since records meet them in any order; a few hundred thousand rows at a time
meet most of them once.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from ..schemas.errors import SecretError
from .outputs import TALLY, counted
from .stage import Stage
from .stores.vault import Candidates

__all__ = ["WaitingBatches"]

MOST_ROWS = 1 << 18
MOST_BYTES = 64 << 20
"""Of the protected rows; their raw values are about as many again."""


class WaitingBatches:
    """Protected batches of a bundle with the raw values that the vault is to hold first. Never pickled.

    Args:
        stage: Has the vault.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._batches: list[WindowedValue] = []
        self._candidates: list[Candidates] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch, candidates: Sequence[Candidates], timestamp: Any, windows: Any) -> None:
        """Lets a batch wait.

        Args:
            batch: Protected.
            candidates: Raw values of its rows.
            timestamp: Of the element, as Beam tells it.
            windows: That the element is in.
        """
        self._batches.append(WindowedValue(batch, timestamp, windows))
        self._candidates += candidates
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    @property
    def full(self) -> bool:
        """Whether so many wait that they should go on now."""
        return self._rows >= MOST_ROWS or self._bytes >= MOST_BYTES

    def release(self) -> Iterator[Any]:
        """Writes the vault, then yields the batches, and what came of the write as a tally, in their windows."""
        if not self._batches:
            return
        kept = self._stage.keep(self._candidates)
        batches = self._batches
        self._batches, self._candidates, self._rows, self._bytes = [], [], 0, 0
        yield TaggedOutput(TALLY, batches[0].with_value(counted(kept).value))
        yield from batches

    def __repr__(self) -> str:
        return f"<WaitingBatches: {len(self._batches)}; values hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("batches that wait for the vault hold raw values and cannot be copied")

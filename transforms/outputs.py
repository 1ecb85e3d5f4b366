"""The three outputs that every stage of the pipeline has: rows, dead letters and tallies."""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import TaggedOutput

from . import arrow_coder  # noqa: F401 - registers how batches are encoded
from .tally import Tally

__all__ = ["DEAD_LETTERS", "ROWS", "TALLY", "StageOutputs", "counted", "refusals", "stage_outputs"]

ROWS = "rows"
DEAD_LETTERS = "dead_letters"
TALLY = "tally"
NAMESPACE = "consentry"
METERED = frozenset({"in", "rows", "rejected", "vault"})
"""Kinds of counts whose keys are stable codes."""


class StageOutputs(NamedTuple):
    """What leaves a stage.

    Attributes:
        rows: Record batches for the next stage.
        dead_letters: Record batches of ``DEAD_LETTER_SCHEMA``, sealed.
        tally: ``Tally`` objects to be summed.
    """

    rows: beam.PCollection[pa.RecordBatch]
    dead_letters: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Tally]


def stage_outputs(batches: beam.PCollection[pa.RecordBatch], label: str, step: beam.DoFn) -> StageOutputs:
    """Runs ``step`` over the batches and returns its outputs, each declared with its type."""
    found = batches | label >> beam.ParDo(step).with_output_types(pa.RecordBatch).with_outputs(
        DEAD_LETTERS, TALLY, main=ROWS
    )
    letters = found[DEAD_LETTERS]
    # ParDo declares the type of its main output only, and what is not declared would be pickled.
    letters.element_type = pa.RecordBatch
    return StageOutputs(rows=found[ROWS], dead_letters=letters, tally=found[TALLY])


def counted(tally: Tally) -> Any:
    """Returns a tally as a stage's output, and adds it to Beam's own metrics, for whoever watches the runner.

    Counts by field are left out: there may be many, and their names are the customer's.
    """
    for (kind, *rest), count in tally.counts.items():
        if kind in METERED:
            Metrics.counter(NAMESPACE, ".".join((kind, *rest))).inc(count)
    return TaggedOutput(TALLY, tally)


def refusals(letters: pa.RecordBatch) -> Iterator[Any]:
    """Yields sealed dead letters, and their count by stage and reason."""
    if letters.num_rows:
        reasons = zip(letters["stage"].to_pylist(), letters["reason"].to_pylist(), strict=True)
        counts: Counter[tuple[str, ...]] = Counter(("rejected", stage, reason) for stage, reason in reasons)
        yield TaggedOutput(DEAD_LETTERS, letters)
        yield counted(Tally(dict(counts)))

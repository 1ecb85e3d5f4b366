"""A small stateful pipeline whose result is known: numbers by shard, and of each shard the running total.

Each number becomes a file of its own with a name that says which, so that a replay writes the same bytes again. It is
here, and not in a test, because workers in other processes import it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.io.flink.flink_streaming_impulse_source import FlinkStreamingImpulseSource
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

__all__ = ["SHARDS", "bounded_totals", "expected_totals", "files_of", "unbounded_totals"]

SHARDS = 4
TICK_MS = 20


def expected_totals(numbers: int) -> dict[str, str]:
    """The files that must be there, by their names: computed with no engine and no state."""
    return {_name(number): str(sum(range(number % SHARDS, number + 1, SHARDS))) for number in range(numbers)}


def files_of(folder: Path) -> dict[str, str]:
    """The files that are there."""
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")}


def bounded_totals(pipeline: beam.Pipeline, numbers: int, folder: Path) -> None:
    """Adds the pipeline over so many numbers that are there from the beginning.

    Their order is the engine's, so a total is told only with the last number of a shard.
    """
    _ = (
        pipeline
        | beam.Impulse()
        | beam.FlatMap(lambda _: [(number % SHARDS, number) for number in range(numbers)]).with_output_types(
            tuple[int, int]
        )
        | "Shuffle" >> beam.Reshuffle()
        | beam.ParDo(_Total()).with_output_types(tuple[int, int, int])
        | beam.ParDo(_WriteLast(str(folder), numbers))
    )


def unbounded_totals(arguments: list[str], numbers: int, folder: Path, *, each_tick: int = 1) -> beam.Pipeline:
    """Returns a pipeline for Flink that counts to ``numbers`` and then idles for ever.

    Args:
        arguments: Of the pipeline.
        numbers: To count to.
        folder: Where the files go.
        each_tick: Numbers in each 20 ms.
    """
    pipeline = beam.Pipeline(options=PipelineOptions(arguments))
    _ = (
        pipeline
        | FlinkStreamingImpulseSource().set_interval_ms(TICK_MS)
        | beam.Map(lambda _: (0, b"")).with_output_types(tuple[int, bytes])
        | beam.ParDo(_Count(numbers, each_tick)).with_output_types(tuple[int, int])
        | beam.ParDo(_Total()).with_output_types(tuple[int, int, int])
        | beam.ParDo(_Write(str(folder)))
    )
    return pipeline


def main() -> None:
    """Submits ``unbounded_totals``: the arguments are how many numbers, the folder, and those of the pipeline."""
    numbers, folder, *arguments = sys.argv[1:]
    unbounded_totals(arguments, int(numbers), Path(folder)).run()


def _name(number: int) -> str:
    return f"{number % SHARDS}-{number:08}"


class _Count(beam.DoFn):
    """Emits the next numbers at each tick; which they are is in its state."""

    NEXT = ReadModifyWriteStateSpec("next", VarIntCoder())

    def __init__(self, numbers: int, each_tick: int) -> None:
        self._numbers, self._each_tick = numbers, each_tick

    def process(self, tick: Any, upcoming: Any = beam.DoFn.StateParam(NEXT)) -> Iterator[tuple[int, int]]:
        first = upcoming.read() or 0
        last = min(first + self._each_tick, self._numbers)
        for number in range(first, last):
            yield number % SHARDS, number
        if last > first:
            upcoming.write(last)


class _Total(beam.DoFn):
    TOTAL = ReadModifyWriteStateSpec("total", VarIntCoder())
    SEEN = ReadModifyWriteStateSpec("seen", VarIntCoder())

    def process(
        self,
        element: tuple[int, int],
        total: Any = beam.DoFn.StateParam(TOTAL),
        seen: Any = beam.DoFn.StateParam(SEEN),
    ) -> Iterator[tuple[int, int, int]]:
        _, number = element
        new = (total.read() or 0) + number
        total.write(new)
        seen.write((seen.read() or 0) + 1)
        yield number, new, seen.read()


class _Write(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: tuple[int, int, int]) -> None:
        number, total, _ = element
        _put(Path(self._folder) / _name(number), str(total))


class _WriteLast(beam.DoFn):
    def __init__(self, folder: str, numbers: int) -> None:
        self._folder, self._numbers = folder, numbers

    def process(self, element: tuple[int, int, int]) -> None:
        number, total, seen = element
        shard = number % SHARDS
        if seen == len(range(shard, self._numbers, SHARDS)):
            _put(Path(self._folder) / str(shard), str(total))


def _put(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    draft.write_text(text)
    draft.replace(path)

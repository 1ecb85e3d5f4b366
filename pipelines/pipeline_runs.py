"""Opens and runs Beam pipelines, on this machine by name, and keeps what they say of a failure to what may be told."""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineState

from ..schemas.errors import ConfigError, PrivacyError, RunError
from ..transforms.failures import failure_of

__all__ = ["LOCAL_RUNNER", "LocalPipeline", "cores", "open_pipeline", "run_pipeline"]

LOCAL_RUNNER = "FnApiRunner"


def open_pipeline(runner: str, beam_args: Sequence[str]) -> beam.Pipeline:
    """Returns a pipeline on a named runner: Beam's default one would first try to download a program.

    Args:
        runner: ``FnApiRunner``, threads on this machine, or the name of any other Beam runner.
        beam_args: Options of the runner, as ``--name=value``.

    Raises:
        ConfigError: Beam does not take them.
    """
    try:
        if runner != LOCAL_RUNNER:
            return beam.Pipeline(options=PipelineOptions([f"--runner={runner}", *beam_args]))
        options = PipelineOptions(list(beam_args))
        direct = options.view_as(DirectOptions)
        if not any(text.startswith("--direct_num_workers") for text in beam_args):
            direct.direct_num_workers = cores()
        if direct.direct_num_workers != 1 and not any(text.startswith("--direct_running_mode") for text in beam_args):
            direct.direct_running_mode = "multi_threading"
        return beam.Pipeline(runner=FnApiRunner(), options=options)
    except (ValueError, ImportError, SystemExit) as error:
        raise ConfigError(
            f"--runner {runner}: Beam does not take it or its options ({type(error).__name__}); see the runner's page"
        ) from None


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_pipeline(pipeline: beam.Pipeline) -> None:
    """Runs a pipeline to its end.

    Raises:
        PrivacyError: What failed, without a message that could quote a value.
    """
    _finish(pipeline.run)


class LocalPipeline:
    """A pipeline on this machine that is built once and run many times.

    Args:
        transform: Takes the begin of a pipeline.
        threads: Workers; a single one works without a server between it and the runner.
    """

    def __init__(self, transform: beam.PTransform[Any, Any], *, threads: int) -> None:
        mode = "in_memory" if threads == 1 else "multi_threading"
        options = PipelineOptions([f"--direct_num_workers={threads}", f"--direct_running_mode={mode}"])
        self._pipeline = _BuiltOnce(runner=FnApiRunner(), options=options)
        self._pipeline | transform
        shutil.rmtree(self._pipeline.local_tempdir, ignore_errors=True)  # Beam would only remove it after ``run``

    def run(self) -> None:
        """Runs the pipeline to its end.

        Raises:
            PrivacyError: As ``run_pipeline``.
        """
        _finish(lambda: FnApiRunner().run_pipeline(self._pipeline, self._pipeline.options))


class _BuiltOnce(beam.Pipeline):
    """Keeps the graph that runners are given: to make it is most of what a small pipeline costs."""

    _graph: Any = None

    def to_runner_api(self, *args: Any, **kwargs: Any) -> Any:
        if self._graph is None:
            self._graph = super().to_runner_api(*args, **kwargs)
        return type(self._graph).FromString(self._graph.SerializeToString())


def _finish(run: Callable[[], Any]) -> None:
    failure: PrivacyError
    try:
        state = run().wait_until_finish()
        if state in (None, PipelineState.DONE):
            return
        failure = RunError(f"the pipeline ended as {state}; no output became visible")
    except Exception as error:  # noqa: BLE001 - runners raise what they like, and it may quote values
        failure = failure_of(error)
    raise failure from None

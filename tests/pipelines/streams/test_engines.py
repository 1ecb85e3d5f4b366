"""The engines that streams run on keep state exactly: a small pipeline whose result is known, and what is killed."""

from __future__ import annotations

import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from servers.fixtures import ON_FLINK
from servers.flink import Flink
from servers.running_totals import SHARDS, bounded_totals, expected_totals, files_of, unbounded_totals

NUMBERS = 300


def wait_for_files(folder: Path, count: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while len(files_of(folder)) < count:
        assert time.monotonic() < end, f"{len(files_of(folder))} files of {count}"
        time.sleep(0.1)


def wait_for_restart(flink: Flink, job: str, seconds: float = 60) -> None:
    """Waits until Flink has started all tasks of a job again; none can be stopped with a savepoint before."""
    end = time.monotonic() + seconds
    while not all(part.attempt > 0 and part.state == "RUNNING" for part in flink.jobs.subtasks(job)):
        assert time.monotonic() < end, "it was not started again"
        time.sleep(0.1)


def test_prism_keeps_the_state_of_each_key_exactly(prism: list[str], tmp_path: Path) -> None:
    with beam.Pipeline(options=PipelineOptions(prism)) as pipeline:
        bounded_totals(pipeline, NUMBERS, tmp_path)
    assert files_of(tmp_path) == {str(shard): str(sum(range(shard, NUMBERS, SHARDS))) for shard in range(SHARDS)}


@ON_FLINK
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of a worker whose job is killed
@pytest.mark.parametrize("environment", ["EXTERNAL", "LOOPBACK"])
def test_flink_goes_on_exactly_after_its_taskmanager_was_killed(flink: Flink, tmp_path: Path, environment: str) -> None:
    unbounded_totals(flink.arguments(environment, checkpoint_ms=500), NUMBERS, tmp_path).run()
    job = flink.newest_job()
    flink.wait_until_running(job)
    flink.wait_for_checkpoints(job, 1)
    flink.kill_taskmanager()
    assert len(files_of(tmp_path)) < NUMBERS, "it was killed too late"
    flink.start_taskmanager()
    flink.wait_until_running(job)
    wait_for_files(tmp_path, NUMBERS)
    assert files_of(tmp_path) == expected_totals(NUMBERS)
    assert all(part.attempt > 0 for part in flink.jobs.subtasks(job)), "nothing was started again"


@ON_FLINK
@pytest.mark.slow
def test_a_job_that_lost_its_workers_and_was_stopped_with_a_savepoint_goes_on_exactly(
    flink: Flink, tmp_path: Path
) -> None:
    numbers = 3 * NUMBERS
    unbounded_totals(flink.arguments(checkpoint_ms=500), numbers, tmp_path).run()
    job = flink.newest_job()
    flink.wait_until_running(job)
    wait_for_files(tmp_path, NUMBERS // 10)
    assert flink.kill_workers() >= 1, "there was none"
    wait_for_restart(flink, job)
    savepoint = flink.jobs.stop(job, flink.savepoints, seconds=60)
    assert flink.jobs.state(job) == "FINISHED"
    assert len(files_of(tmp_path)) < numbers, "it was stopped too late"
    unbounded_totals(flink.arguments(checkpoint_ms=500, resume=savepoint), numbers, tmp_path).run()
    wait_for_files(tmp_path, numbers)
    assert files_of(tmp_path) == expected_totals(numbers)

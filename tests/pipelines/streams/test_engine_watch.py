"""A job that gets nowhere is seen, told apart from one that works or rests, and started again with nothing lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from consentry.pipelines.streams.engine_watch import (
    Sighting,
    Standstill,
    Trouble,
    WatchState,
    judge,
    restart_job,
    watch_job,
)
from consentry.pipelines.streams.flink_jobs import FlinkJobs, Subtask
from consentry.schemas.errors import ConfigError, RunError
from hypothesis import given
from hypothesis import strategies as st
from oracles.shop_commands import run as consentry
from servers.fixtures import ON_FLINK
from servers.flink import Flink
from servers.running_totals import expected_totals, files_of, unbounded_totals
from servers.tansu import free_port

PATIENCE = 10.0
NUMBERS = 200


def seen(at: float, *states: str, job: str = "RUNNING", attempt: int = 0, completed: int = 0) -> Sighting:
    parts = tuple(
        Subtask(step="s", number=number, state=state, attempt=attempt, taskmanager="t", records=0)
        for number, state in enumerate(states)
    )
    return Sighting(at=at, state=job, parts=parts, completed=completed)


def first_trouble(sightings: Sequence[Sighting]) -> tuple[float, Trouble] | None:
    state: WatchState | None = None
    for each in sightings:
        state, trouble = judge(state, each, PATIENCE)
        if trouble is not None:
            return each.at, trouble
    return None


def test_tasks_that_initialize_for_longer_than_the_patience_wait_for_a_worker() -> None:
    assert first_trouble([seen(at, "INITIALIZING", "RUNNING") for at in range(30)]) == (10, Trouble.WORKER_ABSENT)


def test_a_worker_that_connects_in_time_is_no_trouble() -> None:
    waits = [seen(at, "INITIALIZING") for at in range(9)]
    assert first_trouble([*waits, *(seen(at, "RUNNING", completed=at) for at in range(9, 60))]) is None


def test_a_job_that_completes_checkpoints_is_left_alone_though_no_record_comes() -> None:
    assert first_trouble([seen(at, "RUNNING", completed=at // 9) for at in range(200)]) is None


def test_a_job_whose_tasks_run_and_complete_no_checkpoint_gets_nowhere() -> None:
    assert first_trouble([seen(at, "RUNNING", completed=3) for at in range(30)]) == (10, Trouble.NO_CHECKPOINT)


def test_tasks_without_a_slot_wait_for_a_taskmanager() -> None:
    assert first_trouble([seen(at, "SCHEDULED", "SCHEDULED") for at in range(30)]) == (10, Trouble.NO_SLOT)


def test_each_restart_by_flink_is_given_its_time_and_endless_restarts_are_told() -> None:
    assert first_trouble([seen(at, "RUNNING", attempt=at // 8) for at in range(300)]) == (50, Trouble.FAILS_AGAIN)
    assert not Trouble.FAILS_AGAIN.helped_by_restart


def test_a_restart_whose_worker_dies_is_seen_though_the_job_worked_before() -> None:
    worked = [seen(at, "RUNNING", completed=at) for at in range(100)]
    hangs = [seen(at, "INITIALIZING", attempt=1, completed=99) for at in range(100, 130)]
    assert first_trouble([*worked, *hangs]) == (110, Trouble.WORKER_ABSENT)


@pytest.mark.parametrize("end", ["FINISHED", "CANCELED", "FAILED"])
def test_a_job_that_has_ended_is_no_trouble(end: str) -> None:
    assert first_trouble([seen(at, end, job=end) for at in range(100)]) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from(["INITIALIZING", "RUNNING", "SCHEDULED"])), min_size=1, max_size=20
    )
)
def test_nothing_is_judged_before_the_patience_is_over(steps: list[tuple[int, str]]) -> None:
    at, sightings = 0.0, [seen(0.0, "INITIALIZING")]
    for number, (pause, state) in enumerate(steps):
        at += pause
        sightings.append(seen(at, state, completed=number))
    assert first_trouble(sightings) is None


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="localhost:8081: is no address of Flink; write http://HOST:PORT"):
        FlinkJobs("localhost:8081")


def test_a_flink_that_does_not_answer_is_waited_for_as_long_as_the_patience() -> None:
    moments = iter(float(second) for second in range(1000))
    with pytest.raises(RunError, match="does not answer; see that its JobManager runs"):
        watch_job(
            FlinkJobs(f"http://127.0.0.1:{free_port()}"),
            "0" * 32,
            patience=PATIENCE,
            clock=lambda: next(moments),
            pause=lambda _: None,
        )
    assert next(moments) >= PATIENCE


@contextmanager
def workers_die_at_birth(flink: Flink) -> Iterator[set[int]]:
    """Kills each worker within milliseconds, long before it can connect; yields which so far."""
    over, killed = threading.Event(), set[int]()

    def kill() -> None:
        while not over.is_set():
            for worker in flink.workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    killed.add(worker)
            time.sleep(0.002)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def within(seconds: float) -> Callable[[float], None]:
    """A pause that ends a test which waits for what does not come."""
    end = time.monotonic() + seconds

    def pause(length: float) -> None:
        assert time.monotonic() < end, "it was not seen"
        time.sleep(length)

    return pause


def wait_for_result(flink: Flink, job: str, folder: Path) -> None:
    pause = within(120)
    while len(files_of(folder)) < NUMBERS:
        pause(0.1)
    assert files_of(folder) == expected_totals(NUMBERS)
    assert flink.jobs.state(job) == "RUNNING"


def hang(flink: Flink, folder: Path, *, keep_checkpoints: bool = True, name: str | None = None) -> str:
    """Submits a job, lets it work, and makes the worker of its restart die before it connects; returns its id."""
    arguments = flink.arguments(checkpoint_ms=500, keep_checkpoints=keep_checkpoints)
    named = [] if name is None else [f"--job_name={name}"]
    unbounded_totals([*arguments, *named], NUMBERS, folder).run()
    job = flink.newest_job(name)
    flink.wait_until_running(job)
    flink.wait_for_checkpoints(job, 1)
    with workers_die_at_birth(flink) as killed:
        pause = within(60)
        while len(killed) < 2:  # the one that worked, and the one that would have
            pause(0.05)
    assert len(files_of(folder)) < NUMBERS, "the worker was killed too late"
    return job


@ON_FLINK
@pytest.mark.slow
def test_a_job_whose_worker_died_before_it_connected_is_seen_and_goes_on_exactly_in_a_new_one(
    flink: Flink, tmp_path: Path
) -> None:
    job = hang(flink, tmp_path)
    found = watch_job(flink.jobs, job, patience=PATIENCE, pause=within(90))
    assert isinstance(found, Standstill)
    assert found.trouble is Trouble.WORKER_ABSENT
    assert found.places == tuple(flink.jobs.taskmanagers().values())
    assert f"on TaskManager {found.places[0]} wait for a worker that does not connect" in str(found)
    assert flink.jobs.state(job) == "RUNNING", "Flink sees nothing wrong"
    resumed: list[str | None] = []

    def submit(checkpoint: str | None) -> str:
        assert flink.jobs.state(job) == "CANCELED", "two jobs would work at once"
        resumed.append(checkpoint)
        unbounded_totals(flink.arguments(checkpoint_ms=500, resume=checkpoint), NUMBERS, tmp_path).run()
        return flink.newest_job()

    new = restart_job(flink.jobs, found, submit, seconds=60)
    assert new != job
    assert resumed[0] is not None
    assert job in resumed[0], "it began anew"
    flink.wait_until_running(new)
    wait_for_result(flink, new, tmp_path)


@ON_FLINK
@pytest.mark.slow
def test_a_job_whose_checkpoints_would_go_with_it_is_left_alone_and_a_new_taskmanager_helps_it(
    flink: Flink, tmp_path: Path
) -> None:
    job = hang(flink, tmp_path, keep_checkpoints=False)
    found = watch_job(flink.jobs, job, patience=PATIENCE, pause=within(90))
    assert isinstance(found, Standstill)
    told = f"its checkpoints go when it is cancelled, so it was left as it is; restart TaskManager {found.places[0]}"
    with pytest.raises(RunError, match=told):
        restart_job(flink.jobs, found, lambda _: pytest.fail("it was submitted"), seconds=60)
    assert flink.jobs.state(job) == "RUNNING"
    flink.kill_taskmanager()
    flink.start_taskmanager()
    flink.wait_until_running(job)
    wait_for_result(flink, job, tmp_path)


@ON_FLINK
@pytest.mark.slow
def test_a_job_that_works_is_watched_to_its_end(flink: Flink, tmp_path: Path) -> None:
    unbounded_totals(flink.arguments(checkpoint_ms=500), 10, tmp_path).run()
    job = flink.newest_job()
    ends = threading.Timer(25, lambda: flink.jobs.cancel(job, seconds=30))
    ends.start()
    assert watch_job(flink.jobs, job, patience=60, pause=within(90)) == "CANCELED"
    ends.join()


def test_trouble_that_a_new_job_does_not_end_is_only_told() -> None:
    found = Standstill(job="j", trouble=Trouble.NO_SLOT, seconds=60, completed=0, places=())
    told = "job j: gets nowhere for 60 s: its tasks find no free slot; start a TaskManager; a new job would not help"
    with pytest.raises(RunError, match=told):
        restart_job(FlinkJobs("http://127.0.0.1:1"), found, lambda _: "", seconds=1)


@ON_FLINK
@pytest.mark.slow
def test_the_command_line_submits_a_standing_job_anew_by_its_command(flink: Flink, tmp_path: Path) -> None:
    job = hang(flink, tmp_path, name="numbers")
    python_path = os.pathsep.join(each for each in sys.path if each)
    program = "from servers.running_totals import main; main()"
    command = [sys.executable, "-c", program, str(NUMBERS), str(tmp_path), *flink.arguments(checkpoint_ms=500)]

    def end_when_done() -> None:
        new = flink.newest_job("numbers", seconds=180)
        while new == job:
            time.sleep(0.2)
            new = flink.newest_job("numbers", seconds=180)
        flink.wait_until_running(new, seconds=120)
        wait_for_result(flink, new, tmp_path)
        flink.jobs.cancel(new, seconds=30)

    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(end_when_done)
        found = consentry(
            *("stream", "watch", "--flink", flink.rest, "--job", "numbers", "--patience", "20", "--json", "--"),
            *("env", f"PYTHONPATH={python_path}", *command, "--job_name=numbers"),
        )
        ends.result()
    assert found.code == 0
    assert found.json()["ended"] == "CANCELED"
    [trouble] = found.json()["troubles"]
    assert (trouble["job"], trouble["trouble"]) == (job, "worker_absent")
    assert trouble["replaced_by"] not in (None, job)

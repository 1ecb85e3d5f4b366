"""Keeps a job on Flink going: whenever it gets nowhere it is submitted anew by the command that submitted it before."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence

from ...schemas.errors import ConfigError, RunError
from .engine_watch import Standstill, restart_job, watch_job
from .flink_jobs import ENDED, FlinkJobs

__all__ = ["find_job", "keep_running", "submit_by"]

IN_VAIN = 3
"""Restarts in a row after which no checkpoint was completed."""
END_SECONDS = 60.0
SUBMIT_SECONDS = 300.0
PAUSE_SECONDS = 0.5
STANDARD_ERROR = 2
ID = re.compile("[0-9a-f]{32}")


def find_job(jobs: FlinkJobs, name: str) -> str:
    """Returns the id of the newest job with a name that has not ended; an id stands for itself.

    Raises:
        ConfigError: There is none.
    """
    if ID.fullmatch(name):
        return name
    states = jobs.states()
    found = next((job for job in jobs.named(name) if states.get(job) not in ENDED), None)
    if found is None:
        raise ConfigError(f"{name}: no job of this name runs there; name its --job_name or its id")
    return found


def submit_by(jobs: FlinkJobs, name: str, command: Sequence[str]) -> Callable[[str | None], str]:
    """Returns what submits a pipeline by a command, with ``--savepoint_path=…`` added where it goes on from somewhere.

    The command may return or may wait for the job; it is left running then.

    Args:
        jobs: Of the cluster.
        name: The job's, the same each time.
        command: What submitted the job the first time, without a place to go on from.
    """

    def submit(checkpoint: str | None) -> str:
        known = set(jobs.named(name))
        goes_on = [] if checkpoint is None else [f"--savepoint_path={checkpoint}"]
        try:
            # What it prints is no document of ours.
            process = subprocess.Popen([*command, *goes_on], stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR)  # noqa: S603
        except OSError:
            raise ConfigError(f"{command[0]}: cannot be run; give the command that submits the job") from None
        return _new_job(jobs, name, known, process)

    return submit


def _new_job(jobs: FlinkJobs, name: str, known: set[str], process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + SUBMIT_SECONDS
    while time.monotonic() < end:
        fresh = [job for job in jobs.named(name) if job not in known]
        if fresh:
            return fresh[0]
        if process.poll():
            raise RunError(f"job {name}: the command that submits it ended with {process.returncode}; see what it says")
        time.sleep(PAUSE_SECONDS)
    process.kill()
    raise RunError(f"job {name}: did not appear within {SUBMIT_SECONDS:g} s; see what the command that submits it says")


def keep_running(
    jobs: FlinkJobs,
    job: str,
    *,
    patience: float,
    submit: Callable[[str | None], str] | None,
    tell: Callable[[Standstill, str | None], None],
) -> str | Standstill:
    """Watches a job, and those that take its place, until one ends or cannot be helped.

    Args:
        jobs: Of the cluster.
        job: Its id.
        patience: Seconds that it may stand still.
        submit: As for ``restart_job``; None: a job that gets nowhere is only told.
        tell: Is given each standstill, and the id of the job that took its place.

    Returns:
        The state in which the last job ended, or how it stands still if nothing was done about that.

    Raises:
        RunError: A restart was refused or failed, or several in a row were in vain.
    """
    in_vain = 0
    while True:
        found = watch_job(jobs, job, patience=patience)
        if isinstance(found, str):
            return found
        if submit is None or not found.trouble.helped_by_restart:
            tell(found, None)
            return found
        in_vain = 0 if found.completed else in_vain + 1
        if in_vain > IN_VAIN:
            raise RunError(
                f"{found}; {IN_VAIN} restarts were in vain: see what the workers say, and that their pool runs",
                reason="restarts_in_vain",
            )
        job = restart_job(jobs, found, submit, seconds=END_SECONDS)
        tell(found, job)

"""Watches a job on Flink that runs and gets nowhere, says why, and starts it again where that is safe.

Flink restarts what fails. What does not fail and does not move it leaves as it is: a worker that dies before it has
connected keeps its tasks initializing for ever, in a job that is called running. Nothing in Flink's API starts such
tasks again; cancelling the job frees them, and a new one goes on from its last checkpoint. So that nothing is done
twice, the new one is submitted only when the old one has ended; so that nothing is lost, only if its checkpoints stay.

A job gets somewhere as long as it completes checkpoints, which it does whether records come or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ...schemas.errors import RunError
from .flink_jobs import ENDED, FlinkJobs, Subtask

__all__ = ["Sighting", "Standstill", "Trouble", "WatchState", "judge", "restart_job", "standstill", "watch_job"]

LOOK_SECONDS = 2.0
FAILURES = 5
"""Times the patience that a job has which Flink starts again and again, and which completes nothing."""


class Trouble(StrEnum):
    """Why a job gets nowhere."""

    WORKER_ABSENT = "worker_absent"
    """Tasks wait for a worker that does not connect."""
    NO_SLOT = "no_slot"
    """Tasks wait for a TaskManager."""
    NO_CHECKPOINT = "no_checkpoint"
    """All tasks run, and no checkpoint is completed."""
    FAILS_AGAIN = "fails_again"
    """Flink starts it again and again, and each time it fails."""

    @property
    def helped_by_restart(self) -> bool:
        """Whether a new job from the last checkpoint can be expected to run."""
        return self in {Trouble.WORKER_ABSENT, Trouble.NO_CHECKPOINT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is seen of a job at one moment.

    Attributes:
        at: Seconds of a clock that only goes forward.
        state: Of the job.
        parts: Its subtasks.
        completed: Checkpoints so far.
    """

    at: float
    state: str
    parts: tuple[Subtask, ...]
    completed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchState:
    """What must be remembered between two sightings.

    Attributes:
        moved_at: When a checkpoint was completed last, or the watch began.
        changed_at: When anything about the job changed last.
        last: The sighting before.
    """

    moved_at: float
    changed_at: float
    last: Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """A job that gets nowhere.

    Attributes:
        job: Its id.
        trouble: Why.
        seconds: For how long.
        completed: Checkpoints since it was submitted.
        places: ``HOST:PORT`` of the TaskManagers whose tasks do not run; empty: none is to blame.
    """

    job: str
    trouble: Trouble
    seconds: float
    completed: int
    places: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Returns it for machines."""
        return {
            "job": self.job,
            "trouble": self.trouble.value,
            "seconds": round(self.seconds),
            "checkpoints": self.completed,
            "taskmanagers": list(self.places),
        }

    def __str__(self) -> str:
        where = f" on TaskManager {', '.join(self.places)}" if self.places else ""
        said = {
            Trouble.WORKER_ABSENT: f"its tasks{where} wait for a worker that does not connect",
            Trouble.NO_SLOT: "its tasks find no free slot; start a TaskManager",
            Trouble.NO_CHECKPOINT: "all its tasks run and no checkpoint is completed",
            Trouble.FAILS_AGAIN: "Flink starts it again and again, and it fails; the log of its workers says why",
        }
        return f"job {self.job}: gets nowhere for {self.seconds:.0f} s: {said[self.trouble]}"


def judge(before: WatchState | None, seen: Sighting, patience: float) -> tuple[WatchState, Trouble | None]:
    """Returns what to remember, and why the job gets nowhere if it does.

    Args:
        before: What was remembered; None: this is the first sighting.
        seen: Now.
        patience: Seconds that a job may stand still: more than a worker takes to start, and than a checkpoint takes.
    """
    if before is None:
        return WatchState(moved_at=seen.at, changed_at=seen.at, last=seen), None
    moved = seen.completed > before.last.completed
    changed = moved or _shape(seen) != _shape(before.last)
    now = replace(
        before,
        moved_at=seen.at if moved else before.moved_at,
        changed_at=seen.at if changed else before.changed_at,
        last=seen,
    )
    if seen.state in ENDED:
        return now, None
    if seen.at - now.moved_at >= FAILURES * patience and seen.at - now.changed_at < patience:
        return now, Trouble.FAILS_AGAIN
    return now, _cause(seen) if seen.at - now.changed_at >= patience else None


def _shape(seen: Sighting) -> tuple[object, ...]:
    return seen.state, tuple((part.state, part.attempt, part.taskmanager) for part in seen.parts)


def _cause(seen: Sighting) -> Trouble:
    states = {part.state for part in seen.parts}
    if "INITIALIZING" in states:
        return Trouble.WORKER_ABSENT
    if states & {"CREATED", "SCHEDULED"}:
        return Trouble.NO_SLOT
    return Trouble.NO_CHECKPOINT if seen.state == "RUNNING" else Trouble.FAILS_AGAIN


def watch_job(
    jobs: FlinkJobs,
    job: str,
    *,
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Standstill | str:
    """Watches a job until it ends or gets nowhere.

    Args:
        jobs: Of its cluster.
        job: Its id.
        patience: See ``judge``.
        clock: Seconds.
        pause: Waits so many.

    Returns:
        How it stands still, or the state that it ended in.

    Raises:
        RunError: Flink does not answer for as long as the patience, or does not know the job.
    """
    state: WatchState | None = None
    answered = clock()
    while True:
        try:
            seen = _look(jobs, job, clock())
        except RunError as failure:
            if failure.reason != "flink_unreachable" or clock() - answered >= patience:
                raise
        else:
            answered = seen.at
            if seen.state in ENDED:
                return seen.state
            state, trouble = judge(state, seen, patience)
            if trouble is not None:
                return standstill(jobs, job, trouble, state)
        pause(min(LOOK_SECONDS, patience / 4))


def _look(jobs: FlinkJobs, job: str, at: float) -> Sighting:
    return Sighting(
        at=at, state=jobs.state(job), parts=tuple(jobs.subtasks(job)), completed=jobs.checkpoints(job).completed
    )


def standstill(jobs: FlinkJobs, job: str, trouble: Trouble, state: WatchState) -> Standstill:
    """Returns what is told of a job that gets nowhere, with the places of the TaskManagers that are to blame."""
    since = state.moved_at if trouble is Trouble.FAILS_AGAIN else state.changed_at
    waiting = {part.taskmanager for part in state.last.parts if part.state == "INITIALIZING"}
    known = jobs.taskmanagers() if waiting else {}
    return Standstill(
        job=job,
        trouble=trouble,
        seconds=state.last.at - since,
        completed=state.last.completed,
        places=tuple(sorted({known.get(each, each) for each in waiting})),
    )


def restart_job(
    jobs: FlinkJobs,
    found: Standstill,
    submit: Callable[[str | None], str],
    *,
    seconds: float,
) -> str:
    """Cancels a job that gets nowhere and submits it anew from its last checkpoint; returns the id of the new one.

    Args:
        jobs: Of its cluster.
        found: What is wrong with it.
        submit: Submits the same pipeline, to go on from a checkpoint or, with None, from the beginning, and returns its
            id.
        seconds: To wait until the job has ended; nothing is submitted before.

    Raises:
        RunError: A restart does not help; or would lose the checkpoints, and nothing was done; or the job does not end.
    """
    if not found.trouble.helped_by_restart:
        raise RunError(f"{found}; a new job would not help and was not submitted", reason="restart_of_no_use")
    _check_kept(jobs, found)
    try:
        ended = jobs.cancel(found.job, seconds=seconds)
    except RunError as failure:
        raise RunError(f"{failure}; {_by_hand(found.places)}", reason="job_does_not_end") from None
    if ended == "FINISHED":
        raise RunError(f"job {found.job}: has finished meanwhile; nothing was submitted", reason="job_finished")
    # Asked after the end: one more checkpoint may have been completed on the way there.
    return submit(jobs.checkpoints(found.job).latest)


def _check_kept(jobs: FlinkJobs, found: Standstill) -> None:
    if jobs.checkpoints(found.job).completed and not jobs.keeps_checkpoints(found.job):
        raise RunError(
            f"job {found.job}: its checkpoints go when it is cancelled, so it was left as it is; "
            f"{_by_hand(found.places)}. Submit it with --externalized_checkpoints_enabled and "
            "--retain_externalized_checkpoints_on_cancellation the next time",
            reason="checkpoints_not_kept",
        )


def _by_hand(places: Sequence[str]) -> str:
    which = ", ".join(places) if places else "that runs its tasks"
    return f"restart TaskManager {which}: Flink then starts the job again from its last checkpoint"

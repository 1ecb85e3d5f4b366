"""The jobs of a Flink cluster, over its REST API: how they are, how they are stopped.

Nothing here holds a record or a key: Flink tells states, counts and places.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...schemas.errors import ConfigError, RunError

__all__ = ["ENDED", "Checkpoints", "FlinkJobs", "Subtask"]

ENDED = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
"""States that a job does not leave."""
ANSWER_SECONDS = 10
PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtask:
    """One of the parallel parts of a step.

    Attributes:
        step: Flink's id of the step.
        number: Of the part, from 0.
        state: Of Flink: ``RUNNING``; ``INITIALIZING`` while it waits for its worker; and others.
        attempt: How often it was started before.
        taskmanager: Id of the TaskManager that runs it; empty: none yet.
        records: That it has read and written in this attempt.
    """

    step: str
    number: int
    state: str
    attempt: int
    taskmanager: str
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """What a job has of checkpoints.

    Attributes:
        completed: How many.
        failed: How many.
        sizes: Of the newest that are kept in memory, oldest first, in bytes: the whole state of each.
        latest: Where the newest checkpoint or savepoint is, whichever is newer, or else the one that the job began
            with; None: there is none.
    """

    completed: int
    failed: int
    sizes: tuple[int, ...]
    latest: str | None


class FlinkJobs:
    """The jobs of one cluster.

    Args:
        address: ``http://HOST:PORT`` of the JobManager's REST API.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigError(f"{address}: is no address of Flink; write http://HOST:PORT of the JobManager")
        self._address = address.rstrip("/")

    def states(self) -> dict[str, str]:
        """Returns the state of each job by its id."""
        return {job["id"]: job["status"] for job in self._ask("/jobs")["jobs"]}

    def named(self, name: str) -> list[str]:
        """Returns the ids of the jobs with a name, newest first."""
        jobs = [job for job in self._ask("/jobs/overview")["jobs"] if job["name"] == name]
        return [job["jid"] for job in sorted(jobs, key=lambda job: -job["start-time"])]

    def state(self, job: str) -> str:
        """Returns ``RUNNING``, ``RESTARTING``, ``FINISHED`` and so on, as Flink calls it."""
        found: str = self._ask(f"/jobs/{job}")["state"]
        return found

    def failure(self, job: str) -> str | None:
        """Returns the class of the error that a job failed of last; its text may quote data and stays in Flink."""
        root: str | None = self._ask(f"/jobs/{job}/exceptions").get("root-exception")
        return root.split("\n", 1)[0].split(":", 1)[0] if root else None

    def subtasks(self, job: str) -> list[Subtask]:
        """Returns all parallel parts of a job."""
        found: list[Subtask] = []
        for vertex in self._ask(f"/jobs/{job}")["vertices"]:
            step: str = vertex["id"]
            found += [_subtask(step, part) for part in self._ask(f"/jobs/{job}/vertices/{step}")["subtasks"]]
        return found

    def checkpoints(self, job: str) -> Checkpoints:
        """Returns what a job has of checkpoints."""
        told = self._ask(f"/jobs/{job}/checkpoints")
        done = [each for each in told.get("history", ()) if each["status"] == "COMPLETED"]
        known = told.get("latest") or {}
        own = [each for each in (known.get("completed"), known.get("savepoint")) if each and each.get("external_path")]
        newest = max(own, key=_made_at) if own else known.get("restored")
        return Checkpoints(
            completed=told["counts"]["completed"],
            failed=told["counts"]["failed"],
            sizes=tuple(each["state_size"] for each in sorted(done, key=lambda each: each["id"])),
            latest=None if newest is None else newest["external_path"],
        )

    def keeps_checkpoints(self, job: str) -> bool:
        """Returns whether the checkpoints of a job stay where they are when it is cancelled."""
        kept = self._ask(f"/jobs/{job}/checkpoints/config").get("externalization") or {}
        return bool(kept.get("enabled")) and not kept.get("delete_on_cancellation")

    def taskmanagers(self) -> dict[str, str]:
        """Returns ``HOST:PORT`` of each TaskManager by its id."""
        return {each["id"]: _place(each) for each in self._ask("/taskmanagers")["taskmanagers"]}

    def cancel(self, job: str, *, seconds: float) -> str:
        """Cancels a job and waits until it has ended; returns the state that it ended in.

        Raises:
            RunError: It has not ended in that time.
        """
        self._ask(f"/jobs/{job}?mode=cancel", method="PATCH")
        return self.wait_for(job, ENDED, seconds=seconds)

    def stop(self, job: str, directory: str, *, drain: bool = False, seconds: float) -> str:
        """Stops a job with a savepoint and returns where that is.

        Args:
            job: Its id.
            directory: Where the savepoint goes, as a URI that JobManager and TaskManagers reach.
            drain: Let all windows and timers fire first: for a job that is never resumed.
            seconds: To wait.

        Raises:
            RunError: There is no savepoint in that time.
        """
        wish = {"drain": drain, "targetDirectory": directory}
        trigger = self._ask(f"/jobs/{job}/stop", method="POST", body=wish)["request-id"]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self._ask(f"/jobs/{job}/savepoints/{trigger}")
            operation = told.get("operation") or {}
            if "location" in operation:
                self.wait_for(job, ENDED, seconds=max(end - time.monotonic(), 1))
                location: str = operation["location"]
                return location
            if told["status"]["id"] == "COMPLETED":
                raise RunError(f"job {job}: Flink made no savepoint; its log says why")
            time.sleep(PAUSE_SECONDS)
        raise RunError(f"job {job}: no savepoint within {seconds:g} s; look whether all its tasks run")

    def wait_for(self, job: str, states: frozenset[str], *, seconds: float) -> str:
        """Waits until a job is in one of these states and returns which.

        Raises:
            RunError: It is in none of them in that time.
        """
        end = time.monotonic() + seconds
        while True:
            state = self.state(job)
            if state in states:
                return state
            if time.monotonic() > end:
                raise RunError(f"job {job}: still {state} after {seconds:g} s, not {' or '.join(sorted(states))}")
            time.sleep(PAUSE_SECONDS)

    def _ask(self, path: str, *, method: str = "GET", body: Mapping[str, object] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                found: dict[str, Any] = json.loads(answer.read() or b"{}")
                return found
        except urllib.error.HTTPError as refusal:
            what = f"Flink at {self._address} refuses {method} {path.partition('?')[0]} with {refusal.code}"
            raise RunError(f"{what}; is the id of the job right?", reason="flink_refused") from None
        except (OSError, ValueError):
            what = f"Flink at {self._address} does not answer"
            raise RunError(f"{what}; see that its JobManager runs", reason="flink_unreachable") from None


def _subtask(step: str, part: Mapping[str, Any]) -> Subtask:
    figures = part.get("metrics") or {}
    known = [figures.get(name) or 0 for name in ("read-records", "write-records")]
    return Subtask(
        step=step,
        number=part["subtask"],
        state=part["status"],
        attempt=part["attempt"],
        taskmanager=part.get("taskmanager-id") or "",
        records=sum(known),
    )


def _made_at(checkpoint: Mapping[str, Any]) -> int:
    at: int = checkpoint.get("latest_ack_timestamp") or checkpoint.get("trigger_timestamp") or 0
    return at


def _place(taskmanager: Mapping[str, Any]) -> str:
    # path: pekko.ssl.tcp://flink@HOST:PORT/user/rpc/…
    address: str = taskmanager["path"].rpartition("@")[2]
    return address.partition("/")[0]

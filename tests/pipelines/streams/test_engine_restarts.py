"""A watched job that gets nowhere is replaced by the command that submitted it, a few times and never blindly."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from consentry.pipelines.streams.engine_restarts import find_job, keep_running, submit_by
from consentry.pipelines.streams.engine_watch import Standstill, Trouble
from consentry.pipelines.streams.flink_jobs import FlinkJobs
from consentry.schemas.errors import ConfigError, RunError
from oracles.shop_commands import run as consentry

PATIENCE = 0.4


@dataclass
class StandingFlink:
    """What Flink's REST API answers of jobs whose workers never connect: over real HTTP, with no engine behind it.

    Attributes:
        jobs: States by id; ids are numbers of 32 digits.
        completed: Checkpoints of each job.
        keeps: Whether checkpoints stay after a cancellation.
        ends: Whether a job that is cancelled ends.
        task: The state of its one task.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    completed: int = 0
    keeps: bool = True
    ends: bool = True
    task: str = "INITIALIZING"
    address: str = ""

    def add(self) -> str:
        job = f"{len(self.jobs):032}"
        self.jobs[job] = "RUNNING"
        return job

    def answer(self, path: list[str]) -> dict[str, Any] | None:
        match path:
            case ["taskmanagers"]:
                return {"taskmanagers": [{"id": "t-1", "path": "pekko.tcp://flink@10.0.0.7:6122/user/rpc/x"}]}
            case ["jobs"]:
                return {"jobs": [{"id": job, "status": state} for job, state in self.jobs.items()]}
            case ["jobs", "overview"]:
                return {"jobs": [{"jid": job, "name": "orders", "start-time": int(job)} for job in self.jobs]}
            case ["jobs", job, *more] if job in self.jobs:
                return self.of_job(job, more)
        return None

    def of_job(self, job: str, more: list[str]) -> dict[str, Any] | None:
        part = {"subtask": 0, "status": self.task, "attempt": 0, "taskmanager-id": "t-1"}
        at = {"external_path": f"file:/checkpoints/{job}/chk-1", "latest_ack_timestamp": 1}
        match more:
            case []:
                return {"state": self.jobs[job], "vertices": [{"id": "v"}]}
            case ["vertices", "v"]:
                return {"subtasks": [part]}
            case ["checkpoints"]:
                latest = {"completed": at if self.completed else None, "restored": None}
                return {"counts": {"completed": self.completed, "failed": 0}, "history": [], "latest": latest}
            case ["checkpoints", "config"]:
                return {"externalization": {"enabled": True, "delete_on_cancellation": not self.keeps}}
        return None


@contextmanager
def served(flink: StandingFlink) -> Iterator[StandingFlink]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(flink.answer(self.path.partition("?")[0].strip("/").split("/")))

        def do_PATCH(self) -> None:
            if flink.ends:
                flink.jobs[self.path.partition("?")[0].split("/")[2]] = "CANCELED"
            self.say({})

        def say(self, document: dict[str, Any] | None) -> None:
            body = json.dumps(document or {}).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flink.address = f"http://127.0.0.1:{server.server_port}"
        yield flink
        server.shutdown()


@pytest.fixture
def standing() -> Iterator[StandingFlink]:
    with served(StandingFlink()) as flink:
        yield flink


def test_restarts_in_vain_come_to_an_end(standing: StandingFlink) -> None:
    told: list[str | None] = []
    with pytest.raises(RunError, match="3 restarts were in vain: see what the workers say"):
        keep_running(
            FlinkJobs(standing.address),
            standing.add(),
            patience=PATIENCE,
            submit=lambda _: standing.add(),
            tell=lambda _, new: told.append(new),
        )
    assert told == [f"{number:032}" for number in (1, 2, 3)]
    assert list(standing.jobs.values()) == ["CANCELED"] * 3 + ["RUNNING"], "two jobs worked at once"


def test_a_new_job_begins_where_the_old_one_was_at_its_last_checkpoint(standing: StandingFlink) -> None:
    standing.completed = 5
    begun: list[str | None] = []

    def submit(checkpoint: str | None) -> str:
        begun.append(checkpoint)
        job = standing.add()
        if len(begun) == 6:
            standing.jobs[job] = "FINISHED"
        return job

    end = keep_running(
        FlinkJobs(standing.address), standing.add(), patience=PATIENCE, submit=submit, tell=lambda *_: None
    )
    assert end == "FINISHED", "it helped each time, so it may help more than three times"
    assert begun == [f"file:/checkpoints/{number:032}/chk-1" for number in range(6)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"keeps": False, "completed": 1},
            "it was left as it is; restart TaskManager 10.0.0.7:6122: Flink then starts",
        ),
        ({"ends": False}, "still RUNNING after 0.2 s, not .*; restart TaskManager 10.0.0.7:6122"),
    ],
)
def test_nothing_is_submitted_while_the_old_job_may_still_work_or_its_state_would_go(
    standing: StandingFlink, change: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consentry.pipelines.streams.engine_restarts.END_SECONDS", 0.2)
    for name, value in change.items():
        setattr(standing, name, value)
    with pytest.raises(RunError, match=says):
        keep_running(
            FlinkJobs(standing.address),
            standing.add(),
            patience=PATIENCE,
            submit=lambda _: pytest.fail("it was submitted"),
            tell=lambda *_: None,
        )
    assert list(standing.jobs.values()) == ["RUNNING"]


def test_what_no_new_job_helps_is_told_and_left(standing: StandingFlink) -> None:
    standing.task = "SCHEDULED"
    found = keep_running(
        FlinkJobs(standing.address),
        standing.add(),
        patience=PATIENCE,
        submit=lambda _: pytest.fail("it was submitted"),
        tell=lambda *_: None,
    )
    assert isinstance(found, Standstill)
    assert found.trouble is Trouble.NO_SLOT


def test_the_newest_job_of_a_name_that_has_not_ended_is_found(standing: StandingFlink) -> None:
    jobs = FlinkJobs(standing.address)
    with pytest.raises(ConfigError, match="orders: no job of this name runs there"):
        find_job(jobs, "orders")
    older, newer, ended = standing.add(), standing.add(), standing.add()
    standing.jobs[ended] = "FAILED"
    assert find_job(jobs, "orders") == newer
    assert find_job(jobs, older) == older


def test_a_command_that_fails_or_cannot_be_run_is_told(standing: StandingFlink) -> None:
    jobs = FlinkJobs(standing.address)
    fails = submit_by(jobs, "orders", [sys.executable, "-c", "import sys; sys.exit(7)"])
    with pytest.raises(RunError, match="job orders: the command that submits it ended with 7"):
        fails(None)
    with pytest.raises(ConfigError, match="no-such-program: cannot be run"):
        submit_by(jobs, "orders", ["no-such-program"])("file:/x")


def test_the_command_line_tells_what_stands_still_and_who_is_to_blame(standing: StandingFlink) -> None:
    standing.add()
    found = consentry("stream", "watch", "--flink", standing.address, "--job", "orders", "--patience", "5", "--json")
    assert found.code == 1
    assert "wait for a worker that does not connect" in found.said
    [trouble] = found.json()["troubles"]
    assert (trouble["trouble"], trouble["taskmanagers"]) == ("worker_absent", ["10.0.0.7:6122"])
    assert (trouble["replaced_by"], found.json()["ended"]) == (None, None)


def test_the_command_line_refuses_what_it_cannot_watch(standing: StandingFlink) -> None:
    for address, job, code, says in (
        ("10.0.0.7:8081", "orders", 2, "is no address of Flink; write http://HOST:PORT"),
        (standing.address, "orders", 2, "no job of this name runs there"),
        (standing.address, "f" * 32, 3, "is the id of the job right?"),
    ):
        found = consentry("stream", "watch", "--flink", address, "--job", job)
        assert found.code == code
        assert says in found.said

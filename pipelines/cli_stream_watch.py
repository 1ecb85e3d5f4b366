"""``consentry stream watch``: a job on Flink that gets nowhere is seen, and started again where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import JsonOption
from .console import notice, print_json

if TYPE_CHECKING:
    from .streams.engine_watch import Standstill

__all__ = ["watch"]

RUN_FAILED = 3


def watch(
    flink: Annotated[str, typer.Option(metavar="URL", help="Flink's REST API: http://HOST:PORT of the JobManager.")],
    job: Annotated[str, typer.Option(metavar="NAME", help="The job's --job_name, or its id.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND…]", help="What submits the job; --savepoint_path is added."),
    ] = None,
    patience: Annotated[
        int, typer.Option(metavar="S", min=5, help="Seconds that a job may get nowhere; more than a worker's start.")
    ] = 120,
    json: JsonOption = False,
) -> None:
    """Watch a job on Flink until it ends: one that runs and gets nowhere is told and, with COMMAND, started again.

    A worker that dies before it connects keeps its job standing for ever, and Flink calls that running. With COMMAND
    the job is cancelled and submitted anew from its last checkpoint; never before it has ended, never if that loses it.
    """
    from .streams.engine_restarts import find_job, keep_running, submit_by
    from .streams.flink_jobs import FlinkJobs

    jobs = FlinkJobs(flink)
    troubles: list[dict[str, object]] = []

    def tell(found: Standstill, new: str | None) -> None:
        notice(f"{found}" if new is None else f"{found}; job {new} took its place")
        troubles.append({**found.as_json(), "replaced_by": new})

    submit = submit_by(jobs, job, command) if command else None
    end = keep_running(jobs, find_job(jobs, job), patience=patience, submit=submit, tell=tell)
    state = end if isinstance(end, str) else None
    if json:
        print_json({"ended": state, "troubles": troubles})
    elif state is not None:
        notice(f"job {job}: ended as {state}")
    if state is None:
        raise typer.Exit(1)
    if state == "FAILED":
        raise typer.Exit(RUN_FAILED)

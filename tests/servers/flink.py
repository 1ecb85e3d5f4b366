"""A real Flink cluster with Beam's job server and a pool of Python workers, each a process that can be killed.

    with flink_cluster(folder, taskmanagers=1, slots=2) as flink:
        pipeline = beam.Pipeline(options=PipelineOptions(flink.arguments("EXTERNAL", checkpoint_ms=500)))
        ...
        pipeline.run()
        job = flink.newest_job()
        flink.wait_until_running(job)
        flink.kill_taskmanager()
        flink.start_taskmanager()

Whatever DoFns are made of must be importable in the pool's workers: the rooms, and what lies below ``tests``. All
memory is small: about 1.5 GB with one TaskManager. Nothing survives the block, nor the process that it is in, however
that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consentry.pipelines.streams.flink_jobs import ENDED, FlinkJobs
from consentry.schemas.errors import RunError
from servers.engines import FLINK, engine_folder
from servers.tansu import free_port

__all__ = ["Flink", "flink_cluster"]

START_SECONDS = 90
PACKAGES = (
    "java.lang java.lang.invoke java.lang.reflect java.util java.util.concurrent java.util.concurrent.atomic java.nio "
    "java.io java.net java.time java.text sun.nio.ch"
)
OPENED = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in PACKAGES.split()]
LITTLE = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
DATED = ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
WORKER_POOL = "apache_beam.runners.worker.worker_pool_main"
# The job server sends whatever this property names.
LAUNCH = """public class Launch {
    public static void main(String[] arguments) throws Exception {
        System.setProperty("java.class.path", arguments[0]);
        String[] rest = java.util.Arrays.copyOfRange(arguments, 2, arguments.length);
        Class.forName(arguments[1]).getMethod("main", String[].class).invoke(null, (Object) rest);
    }
}
"""
# Kills the groups of processes that it was told of and that were not taken back, as soon as nobody can tell it more.
GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    number = int(line)
    groups.add(number) if number > 0 else groups.discard(-number)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
SETTINGS = {
    "jobmanager.bind-host": "127.0.0.1",
    "jobmanager.rpc.address": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "jobmanager.memory.heap.size": "384m",
    "jobmanager.memory.off-heap.size": "64m",
    # One that is started by its class has no defaults: each of these must be given.
    "taskmanager.cpu.cores": "2.0",
    "taskmanager.memory.task.heap.size": "384m",
    "taskmanager.memory.task.off-heap.size": "128m",
    "taskmanager.memory.framework.heap.size": "64m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "32m",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
    "classloader.resolve-order": "parent-first",
    "heartbeat.interval": "1000",
    "heartbeat.timeout": "8000",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "1000",
    "restart-strategy.fixed-delay.delay": "500ms",
    "rest.server.numThreads": "16",
    "web.submit.enable": "false",
}


@dataclass(kw_only=True)
class Flink:
    """A cluster.

    Attributes:
        folder: Of configuration, logs, checkpoints and savepoints.
        rest: ``http://HOST:PORT`` of Flink's REST API.
        job_endpoint: ``HOST:PORT`` of Beam's job server.
        jobs: The cluster's jobs.
    """

    folder: Path
    rest: str
    job_endpoint: str
    jobs: FlinkJobs = field(repr=False)
    _jars: Path = field(repr=False)
    _pool_port: int = field(repr=False)
    _taskmanagers: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)
    _pool: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _others: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)
    _guard: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are, below a folder of each job's id; those of a cancelled job stay."""
        return self.folder / "checkpoints"

    @property
    def savepoints(self) -> str:
        """The URI where savepoints go."""
        return (self.folder / "savepoints").as_uri()

    def arguments(
        self,
        environment: str = "EXTERNAL",
        *,
        checkpoint_ms: int = 1000,
        parallelism: int = 1,
        bundle_ms: int = 200,
        resume: str | None = None,
        keep_checkpoints: bool = True,
    ) -> list[str]:
        """Returns the arguments of a pipeline that runs here as a stream.

        Args:
            environment: ``EXTERNAL``: in processes of the pool; ``LOOPBACK``: in threads of this process.
            checkpoint_ms: Between checkpoints.
            parallelism: Slots that it takes.
            bundle_ms: The longest time of a bundle.
            resume: Where the savepoint or checkpoint is that it goes on from.
            keep_checkpoints: When it is cancelled.
        """
        kept = ["--retain_externalized_checkpoints_on_cancellation"] if keep_checkpoints else []
        place = [f"--environment_config=127.0.0.1:{self._pool_port}"] if environment == "EXTERNAL" else []
        goes_on = [f"--savepoint_path={resume}"] if resume is not None else []
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            "--streaming",
            f"--environment_type={environment}",
            *place,
            *goes_on,
            f"--parallelism={parallelism}",
            f"--checkpointing_interval={checkpoint_ms}",
            "--finish_bundle_before_checkpointing",
            "--externalized_checkpoints_enabled",
            *kept,
            f"--max_bundle_time_mills={bundle_ms}",
        ]

    def newest_job(self, name: str | None = None, *, seconds: float = 60) -> str:
        """Waits for a job that has not ended and returns its id.

        Args:
            name: ``--job_name`` that it was submitted with; None: any.
            seconds: To wait.
        """
        found: str = _within(seconds, f"a job of Flink ({name or 'any'})", lambda: self._live(name))
        return found

    def wait_until_running(self, job: str, *, seconds: float = 60) -> None:
        """Waits until all tasks of a job run, their workers included."""

        def all_run() -> bool:
            parts = self.jobs.subtasks(job)
            return bool(parts) and all(part.state in {"RUNNING", "FINISHED"} for part in parts)

        _within(seconds, f"job {job} to run", all_run)

    def wait_for_checkpoints(self, job: str, count: int = 1, *, seconds: float = 60) -> None:
        """Waits until a job has completed so many checkpoints since it was submitted."""
        _within(seconds, f"{count} checkpoints", lambda: self.jobs.checkpoints(job).completed >= count)

    def start_taskmanager(self) -> None:
        """Starts one more TaskManager and waits until the cluster has it."""
        before = len(self.jobs.taskmanagers())
        heap = ["-Xmx448m", "-XX:MaxDirectMemorySize=256m", "-XX:MaxMetaspaceSize=256m"]
        process = self._java("taskmanager", TASK_MANAGER, "--configDir", str(self.folder / "conf"), options=heap)
        self._taskmanagers.append(process)
        _within(START_SECONDS, "a TaskManager", lambda: len(self.jobs.taskmanagers()) > before, process)

    def kill_taskmanager(self, number: int = 0) -> None:
        """Kills a TaskManager as ``kill -9`` does and waits until the cluster misses it, so that one can be started.

        Args:
            number: Which, the oldest is 0.
        """
        before = len(self.jobs.taskmanagers())
        self._kill(self._taskmanagers.pop(number))
        _within(START_SECONDS, "the TaskManager to be missed", lambda: len(self.jobs.taskmanagers()) < before)

    def workers(self) -> list[int]:
        """Ids of the Python workers that the pool has started and that live."""
        return [] if self._pool is None else _children(self._pool.pid)

    def kill_workers(self) -> int:
        """Kills all Python workers as ``kill -9`` does, not their pool; returns how many."""
        victims = self.workers()
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return len(victims)

    def start_pool(self, **environment: str) -> None:
        """Starts the pool of workers, which has no workers yet.

        Args:
            environment: Variables of its workers.
        """
        # A pool starts the first `python` on the PATH, whatever its own is.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        python_path = os.pathsep.join(each for each in sys.path if each)
        variables = {**os.environ, "PATH": path, "PYTHONPATH": python_path, **environment}
        command = [sys.executable, "-m", WORKER_POOL, f"--service_port={self._pool_port}"]
        self._pool = self._process("pool", command, variables)
        _within(START_SECONDS, "the pool of workers", lambda: _listens(self._pool_port), self._pool)

    def kill_pool(self) -> None:
        """Kills the pool and its workers."""
        if self._pool is not None:
            self._kill(self._pool)
            self._pool = None

    def log(self, of: str) -> str:
        """What ``jobmanager``, ``taskmanager``, ``jobserver`` or ``pool`` (with its workers) said."""
        path = self.folder / f"{of}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, taskmanagers: int) -> None:
        """Starts everything and waits until it can be used."""
        command = [sys.executable, "-c", GUARD]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        configuration = str(self.folder / "conf")
        heap = ["-Xmx384m"]
        manager = self._java("jobmanager", JOB_MANAGER, "--configDir", configuration, options=heap)
        self._others.append(manager)
        _within(START_SECONDS, "the JobManager", lambda: self.jobs.states() is not None, manager)
        server = self._start_job_server()
        self.start_pool()
        for _ in range(taskmanagers):
            self.start_taskmanager()
        _within(START_SECONDS, "the job server", lambda: _listens(int(self.job_endpoint.rpartition(":")[2])), server)

    def clear(self, taskmanagers: int) -> None:
        """Makes the cluster fit for the next test: nothing runs, and all of it is there."""
        for job, state in self.jobs.states().items():
            if state not in ENDED:
                with suppress(RunError):
                    self.jobs.cancel(job, seconds=30)
        if self._pool is None:
            self.start_pool()
        while len(self._taskmanagers) < taskmanagers:
            self.start_taskmanager()

    def end(self) -> None:
        """Kills all processes."""
        self.kill_pool()
        while self._taskmanagers:
            self._kill(self._taskmanagers.pop())
        while self._others:
            self._kill(self._others.pop())
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    def _live(self, name: str | None) -> str | None:
        named = [] if name is None else self.jobs.named(name)
        states = self.jobs.states()  # behind the names: a job may come in between
        known = list(states) if name is None else named
        return next((job for job in known if job in states and states[job] not in ENDED), None)

    def _start_job_server(self) -> subprocess.Popen[bytes]:
        artifacts = self.folder / "artifacts"
        address = self.rest.removeprefix("http://")
        options = [
            f"--flink-master={address}",
            f"--flink-conf-dir={self.folder / 'conf'}",
            "--job-host=127.0.0.1",
            f"--job-port={self.job_endpoint.rpartition(':')[2]}",
            "--artifact-port=0",
            "--expansion-port=0",
            f"--artifacts-dir={artifacts}",
        ]
        server = self._java("jobserver", *self._without_jars(JOB_SERVER), *options, options=["-Xmx384m"])
        self._others.append(server)
        return server

    def _without_jars(self, program: str) -> list[str]:
        """What starts the job server so that it sends no jars with a job: each process of the cluster has them.

        It takes a JDK; with less, each job takes 150 MB over the REST API, which is half a minute.
        """
        modules = subprocess.run(["java", "--list-modules"], capture_output=True, text=True, check=False).stdout
        if "jdk.compiler@" not in modules:
            return [program]
        source = self.folder / "conf" / "Launch.java"
        source.write_text(LAUNCH)
        smallest = min(self._jars.glob("*.jar"), key=lambda jar: jar.stat().st_size)
        return [str(source), str(smallest), program]

    def _java(self, name: str, program: str, *arguments: str, options: list[str]) -> subprocess.Popen[bytes]:
        command = ["java", *OPENED, *LITTLE, *DATED, *options, "-cp", f"{self._jars}/*", program, *arguments]
        return self._process(name, command, os.environ)

    def _process(self, name: str, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,  # so that its children end with it
            )
        self._tell_guard(process.pid)
        return process

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._tell_guard(-process.pid)

    def _tell_guard(self, number: int) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{number}\n")
        self._guard.stdin.flush()


@contextmanager
def flink_cluster(folder: Path, *, taskmanagers: int = 1, slots: int = 2, **settings: str) -> Iterator[Flink]:
    """Yields a cluster that runs; all its processes are killed when the block ends.

    Args:
        folder: Empty; logs, checkpoints and savepoints stay there.
        taskmanagers: How many.
        slots: Of each.
        settings: Of Flink, beside those for tests, with ``_`` for ``-`` and ``__`` for ``.``.
    """
    rest = free_port()
    flink = Flink(
        folder=folder,
        rest=f"http://127.0.0.1:{rest}",
        job_endpoint=f"127.0.0.1:{free_port()}",
        jobs=FlinkJobs(f"http://127.0.0.1:{rest}"),
        _jars=engine_folder(FLINK),
        _pool_port=free_port(),
    )
    told = {
        **SETTINGS,
        "rest.port": str(rest),
        "jobmanager.rpc.port": str(free_port()),
        "taskmanager.numberOfTaskSlots": str(slots),
        "state.checkpoints.dir": flink.checkpoints.as_uri(),
        "state.savepoints.dir": flink.savepoints,
        "io.tmp.dirs": str(folder / "tmp"),
        **{name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()},
    }
    for each in ("conf", "tmp", "checkpoints", "savepoints", "artifacts"):
        (folder / each).mkdir()
    lines = [f"{name}: {value}" for name, value in told.items()]
    (folder / "conf" / "config.yaml").write_text("\n".join(lines) + "\n")
    try:
        flink.start(taskmanagers)
        yield flink
    finally:
        flink.end()


def _within(seconds: float, what: str, found: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    end = time.monotonic() + seconds
    while True:
        # The JobManager answers late while it takes the jars of a job.
        with suppress(RunError):
            result = found()
            if result:
                return result
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"waited for {what}: its process ended with {process.returncode}; see its log")
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, above = stat.read_text().rpartition(")")[2].split()[:2]
            if int(above) == parent and state != "Z":
                found.append(int(stat.parent.name))
    return found

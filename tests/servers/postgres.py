"""A real PostgreSQL over a folder of its own, which can be stopped, killed and started again.

It listens on a socket in that folder alone. PostgreSQL refuses to run as root; where tests do, it runs as nobody.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["Postgres", "postgres_programs", "postgres_server"]

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian puts each version."""
START_SECONDS = 60
NOBODY = 65_534
USER = "owner"
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "lc_messages": "C",
}
# Who is called so needs a password; everybody else is believed.
ACCESS = "local all needs_password scram-sha-256\nlocal all all trust\n"
_numbers = itertools.count(1)


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres; None where they are not installed."""
    folders = sorted(INSTALLED.glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    return next(
        (each for each in reversed(folders) if (each / "initdb").exists() and (each / "postgres").exists()), None
    )


@dataclass(kw_only=True)
class Postgres:
    """A server.

    Attributes:
        folder: Of data, socket and log.
        settings: Those that differ from PostgreSQL's own.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)
    _programs: Path = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """Where everything is that it keeps."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log"

    def uri(self, database: str = "postgres", user: str = USER, **options: str) -> str:
        """The URI of a database."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql:///{database}?host={self.folder}&user={user}{more}"

    def connect(self, database: str = "postgres", user: str = USER) -> psycopg.Connection[Any]:
        """A connection behind the back of stores."""
        return psycopg.connect(self.uri(database, user), autocommit=True)

    def new_database(self) -> str:
        """Makes an empty database and returns its name."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Removes a database, whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def make(self) -> None:
        """Prepares the folder of its data, once."""
        self._run("initdb", "-D", self.data, "-U", USER, "-E", "UTF8", "--no-locale", "--no-sync", "-A", "trust")
        (self.data / "pg_hba.conf").write_text(ACCESS)

    def start(self) -> None:
        """Starts it, over the data that are there, and waits until it answers."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            self._launch()
            # One that was killed may leave children for a moment, and a server does not start beside them.
            while self._process is not None and self._process.poll() is None and time.monotonic() < end:
                try:
                    self.connect().close()
                    return
                except psycopg.OperationalError:
                    time.sleep(0.05)
            self.stop()
            if "still in use" not in self.log.read_text(errors="replace")[-2000:]:
                break
        raise RuntimeError(f"PostgreSQL did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Stops it in order; those who are connected are cut off."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stops it without letting it write anything more, as a failure of power does; it recovers when it starts."""
        self._end(signal.SIGQUIT)

    def at_rest(self) -> bytes:
        """All bytes that are in its files after a checkpoint, those of its write-ahead log included."""
        with self.connect() as connection:
            connection.execute("CHECKPOINT")
        return b"".join(_bytes_of(file) for file in sorted(self.data.rglob("*")) if file.is_file())

    def _launch(self) -> None:
        settings = [f"-c{name}={value}" for name, value in self.settings.items()]
        command = [self._programs / "postgres", "-D", self.data, "-k", self.folder, *settings]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_as_nobody())

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)  # which does nothing to one that has ended
            try:
                self._process.wait(timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=False, **_as_nobody())
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # the server removed it meanwhile
        return b""


def _as_nobody() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def postgres_server(**settings: str) -> Iterator[Postgres]:
    """Yields a server that runs; it and its data are gone when the block ends.

    Args:
        settings: Beside those for tests.
    """
    programs = postgres_programs()
    assert programs is not None, "ask postgres_programs first"
    # The path of a socket is short, and nobody must be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="consentry-pg-", dir="/tmp"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    server = Postgres(folder=folder, settings={**SETTINGS, **settings}, _programs=programs)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.crash()
        shutil.rmtree(folder)

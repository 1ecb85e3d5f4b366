"""Places with real stores, for each backend; and programs that work on the same stores beside the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from consentry.transforms.stores import postgres_database, sqlite_database
from oracles.store_place import NewPlace, Place
from servers.postgres import Postgres

BACKENDS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session", params=BACKENDS)
def new_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewPlace:
    """Opens a new place, which is gone at the end: for properties."""
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None

    @contextmanager
    def opened() -> Iterator[Place]:
        folder = tmp_path_factory.mktemp("place")
        database = None if server is None else server.new_database()
        with Place("sqlite" if server is None else server.uri(str(database)), folder) as place:
            yield place
        shutil.rmtree(folder)
        if server is not None and database is not None:
            server.drop_database(database)

    return opened


@pytest.fixture
def place(new_place: NewPlace) -> Iterator[Place]:
    with new_place() as opened:
        yield opened


@pytest.fixture
def file_place(tmp_path: Path) -> Iterator[Place]:
    """A place of files, for what SQLite alone promises."""
    with Place("sqlite", tmp_path) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that are opened from now on wait for no lock."""
    for module in (sqlite_database, postgres_database):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)


class Programs:
    """Two programs; each does what it is told, both at the same time."""

    def __init__(self) -> None:
        tests = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])}
        self._running = [
            subprocess.Popen(
                [sys.executable, "-m", "oracles.store_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(2)
        ]

    def do(self, place: Place, first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
        for program, asked in zip(self._running, (first, second), strict=True):
            self._tell(program, json.dumps({"backend": place.backend, "folder": str(place.folder), **asked}))
        assert self._heard() == [{"ready": True}] * 2
        for program in self._running:
            self._tell(program, "go")
        return self._heard()

    def _tell(self, program: subprocess.Popen[str], line: str) -> None:
        assert program.stdin is not None
        program.stdin.write(line + "\n")
        program.stdin.flush()

    def _heard(self) -> list[dict[str, Any]]:
        return [json.loads(program.stdout.readline()) for program in self._running if program.stdout is not None]

    def close(self) -> None:
        for program in self._running:
            program.communicate(timeout=30)


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    running = Programs()
    yield running
    running.close()

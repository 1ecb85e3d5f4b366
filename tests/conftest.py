"""Shared by all tests: servers that are started once for each process of pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.availability import Server, require
from servers.postgres import Postgres, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for all tests of this process."""
    require(Server.POSTGRES)
    with postgres_server() as server:
        yield server

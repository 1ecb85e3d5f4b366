"""Tests that need a real server skip where its tools are absent, and fail where they are there and do not work."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import postgres
from servers.apache_kafka import apache_kafka
from servers.availability import Server, missing, require
from servers.postgres import postgres_server


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any tool; returns the folder of its programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def put(folder: Path, *programs: str) -> None:
    for name in programs:
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)


def test_a_test_whose_server_cannot_be_had_says_so(bare: Path) -> None:
    told = "NOT TESTED: what needs a real Apache Kafka: java and mvn not found on the PATH"
    with pytest.warns(UserWarning, match=told), pytest.raises(pytest.skip.Exception, match=told):
        require(Server.APACHE_KAFKA)


def test_only_what_is_absent_is_missing(bare: Path) -> None:
    put(bare, "java")
    assert missing(Server.APACHE_KAFKA) == "mvn not found on the PATH"
    put(bare, "mvn")
    assert missing(Server.APACHE_KAFKA) is None
    require(Server.APACHE_KAFKA)


def test_jars_that_were_fetched_need_no_maven(bare: Path) -> None:
    jars = bare / "cache" / "consentry-tests" / "kafka-3.9.0"
    jars.mkdir(parents=True)
    (jars / "complete").touch()
    assert missing(Server.APACHE_KAFKA) == "java not found on the PATH"


def test_a_server_whose_tools_do_not_work_fails(bare: Path, tmp_path: Path) -> None:
    put(bare, "java", "mvn")
    with pytest.raises(Exception, match=r"mvn.* returned non-zero"), apache_kafka(tmp_path):
        pass
    jars = bare / "cache" / "consentry-tests" / "kafka-3.9.0"
    jars.mkdir(parents=True)
    (jars / "complete").touch()
    with pytest.raises(RuntimeError, match="storage cannot be made"), apache_kafka(tmp_path):
        pass


def test_a_postgresql_that_is_installed_and_does_not_work_fails(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "INSTALLED", bare / "none")
    assert missing(Server.POSTGRES) == "initdb and postgres are not installed"
    put(bare, "initdb", "postgres")
    assert missing(Server.POSTGRES) is None
    # Where root runs the tests, the server is run by somebody who may not enter this folder.
    with pytest.raises((RuntimeError, PermissionError), match="initdb"), postgres_server():
        pass

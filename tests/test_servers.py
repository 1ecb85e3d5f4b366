"""Tests that need a real server skip where its tools are absent, and fail where they are there and do not work."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import postgres
from servers.apache_kafka import apache_kafka
from servers.availability import Server, missing, require
from servers.engines import ENGINES, FLINK, KAFKA, PRISM, Engine, EngineError, engine_folder
from servers.engines import main as engines_main
from servers.flink import flink_cluster
from servers.postgres import postgres_server


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any tool; returns the folder of its programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CONSENTRY_ENGINES", str(tmp_path / "engines"))
    return tmp_path


def put(folder: Path, *programs: str) -> None:
    for name in programs:
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)


def fetched_before(folder: Path, engine: Engine) -> None:
    (folder / "engines" / engine.folder).mkdir(parents=True)
    (folder / "engines" / engine.folder / "complete").touch()


def test_a_test_whose_server_cannot_be_had_says_so(bare: Path) -> None:
    told = "NOT TESTED: what needs a real Apache Kafka: java and mvn not found on the PATH"
    with pytest.warns(UserWarning, match=told), pytest.raises(pytest.skip.Exception, match=told):
        require(Server.APACHE_KAFKA)


@pytest.mark.parametrize(
    ("server", "tools"),
    [
        (Server.APACHE_KAFKA, ["java", "mvn"]),
        (Server.FLINK, ["java", "mvn"]),
        (Server.PRISM, ["go"]),
        (Server.KAFKA_READ, ["java", "mvn"]),
    ],
)
def test_no_engine_is_missing_where_its_tools_are_there(bare: Path, server: Server, tools: list[str]) -> None:
    for tool in tools:
        told = missing(server)
        assert told is not None
        assert tool in told
        put(bare, tool)
    assert missing(server) is None
    require(server)


def test_an_engine_that_was_fetched_needs_only_what_runs_it(bare: Path) -> None:
    for engine in ENGINES:
        fetched_before(bare, engine)
    for server in (Server.APACHE_KAFKA, Server.FLINK, Server.KAFKA_READ):
        assert missing(server) == "java not found on the PATH"
    assert missing(Server.PRISM) is None


def test_a_server_whose_tools_do_not_work_fails(bare: Path, tmp_path: Path) -> None:
    put(bare, "java", "mvn")
    with pytest.raises(EngineError, match="Apache Kafka cannot be fetched: mvn ended with 1"), apache_kafka(tmp_path):
        pass
    fetched_before(bare, KAFKA)
    with pytest.raises(RuntimeError, match="storage cannot be made"), apache_kafka(tmp_path):
        pass


def test_a_cluster_that_does_not_start_fails_and_leaves_no_process(bare: Path, tmp_path: Path) -> None:
    put(bare, "java")
    fetched_before(bare, FLINK)
    folder = tmp_path / "flink"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="the JobManager: its process ended with 1"), flink_cluster(folder):
        pass


def test_an_engine_that_is_not_what_was_expected_is_refused_and_not_kept(bare: Path) -> None:
    put(bare, "go")
    (bare / "go").write_text("#!/bin/sh\necho '\tmod\tgithub.com/somebody/else\tv2.77.0'\n")
    with pytest.raises(EngineError, match=r"Prism: what was fetched has the digest [0-9a-f]{64}, not 6baf"):
        engine_folder(PRISM)
    assert list((bare / "engines").iterdir()) == []


def test_fetching_names_each_tool_that_is_missing_and_what_that_means(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(bare, "java")
    assert engines_main() == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("MISSING: Prism: go not found on the PATH; no stream runs on Prism")
    assert told[1].startswith("MISSING: Flink: mvn not found on the PATH; no stream runs on Flink")
    assert told[2].startswith("MISSING: Apache Kafka: mvn not found on the PATH; no test meets")


def test_a_postgresql_that_is_installed_and_does_not_work_fails(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "INSTALLED", bare / "none")
    assert missing(Server.POSTGRES) == "initdb and postgres are not installed"
    put(bare, "initdb", "postgres")
    assert missing(Server.POSTGRES) is None
    # Where root runs the tests, the server is run by somebody who may not enter this folder.
    with pytest.raises((RuntimeError, PermissionError), match="initdb"), postgres_server():
        pass

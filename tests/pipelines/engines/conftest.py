"""Shared by the tests of engines: real brokers and engines, one of each kind for a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.apache_kafka import ApacheKafka, apache_kafka
from servers.availability import Server, require
from servers.flink import Flink, flink_cluster
from servers.prism import prism_arguments

ON_FLINK = pytest.mark.xdist_group("flink")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A real Apache Kafka."""
    require(Server.APACHE_KAFKA)
    with apache_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def flink_of_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    """The cluster that all tests of this process share."""
    require(Server.FLINK)
    with flink_cluster(tmp_path_factory.mktemp("flink"), taskmanagers=1, slots=4) as cluster:
        yield cluster


@pytest.fixture
def flink(flink_of_worker: Flink) -> Iterator[Flink]:
    """A real Flink cluster, one TaskManager of four slots, nothing running. Its tests are in the group ``flink``."""
    flink_of_worker.clear(1)
    yield flink_of_worker
    flink_of_worker.clear(1)


@pytest.fixture(scope="session")
def prism() -> list[str]:
    """The arguments of a pipeline that runs on Prism."""
    require(Server.PRISM)
    return prism_arguments()

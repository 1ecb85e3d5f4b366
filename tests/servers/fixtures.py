"""Fixtures of brokers and engines that several folders of tests share; the ``conftest`` above them has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.apache_kafka import ApacheKafka, apache_kafka
from servers.availability import Server, require
from servers.flink import Flink, flink_cluster
from servers.prism import prism_arguments

__all__ = ["ON_APACHE", "ON_FLINK", "flink", "flink_of_worker", "kafka", "prism"]

ON_APACHE = pytest.mark.xdist_group("apache_kafka")
"""Keeps all tests of a worker that runs the one Apache Kafka together."""
ON_FLINK = pytest.mark.xdist_group("flink")
"""Keeps all tests of a worker that runs the one cluster together."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A real Apache Kafka; who kills it starts it again."""
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
    """A real Flink cluster, one TaskManager of four slots, nothing running. Its tests are ``ON_FLINK``."""
    flink_of_worker.clear(1)
    yield flink_of_worker
    flink_of_worker.clear(1)


@pytest.fixture(scope="session")
def prism() -> list[str]:
    """The arguments of a pipeline that runs on Prism."""
    require(Server.PRISM)
    return prism_arguments()

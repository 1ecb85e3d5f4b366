"""Shared by the tests of streams: real brokers and engines, one of each kind for a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.apache_kafka import ApacheKafka, apache_kafka
from servers.availability import Server, require
from servers.flink import Flink, flink_cluster
from servers.prism import prism_arguments
from servers.tansu import tansu_broker

APACHE = pytest.mark.xdist_group("apache_kafka")
"""Keeps all tests of a worker that runs the one Apache Kafka together."""


@pytest.fixture(scope="session")
def tansu() -> Iterator[str]:
    """``HOST:PORT`` of a broker of the Kafka protocol in memory."""
    require(Server.TANSU)
    with tansu_broker() as address:
        yield address


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A real Apache Kafka; who kills it starts it again. Its tests are in the group ``apache_kafka``."""
    require(Server.APACHE_KAFKA)
    with apache_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(params=["tansu", pytest.param("apache", marks=APACHE)])
def address(request: pytest.FixtureRequest) -> str:
    """``HOST:PORT`` of each kind of broker."""
    if request.param == "tansu":
        found: str = request.getfixturevalue("tansu")
        return found
    broker: ApacheKafka = request.getfixturevalue("kafka")
    return broker.address


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

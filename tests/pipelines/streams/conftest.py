"""Shared by the tests of streams: real brokers and engines, one of each kind for a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.apache_kafka import ApacheKafka
from servers.availability import Server, require
from servers.fixtures import ON_APACHE
from servers.tansu import tansu_broker


@pytest.fixture(scope="session")
def tansu() -> Iterator[str]:
    """``HOST:PORT`` of a broker of the Kafka protocol in memory."""
    require(Server.TANSU)
    with tansu_broker() as address:
        yield address


@pytest.fixture(params=["tansu", pytest.param("apache", marks=ON_APACHE)])
def address(request: pytest.FixtureRequest) -> str:
    """``HOST:PORT`` of each kind of broker."""
    if request.param == "tansu":
        found: str = request.getfixturevalue("tansu")
        return found
    broker: ApacheKafka = request.getfixturevalue("kafka")
    return broker.address

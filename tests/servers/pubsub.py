"""The official emulator of Pub/Sub, where it is installed; what it holds is in its memory alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from servers.tansu import free_port

__all__ = ["EMULATOR_HOST", "pubsub_emulator", "pubsub_program"]

EMULATOR_HOST = "PUBSUB_EMULATOR_HOST"
START_SECONDS = 60
PROGRAM = "platform/pubsub-emulator/bin/cloud-pubsub-emulator"


def pubsub_program() -> Path | None:
    """The program of the emulator; None where it is not installed."""
    gcloud = shutil.which("gcloud")
    folders = [Path("/usr/lib/google-cloud-sdk"), Path("/opt/google-cloud-sdk"), Path.home() / "google-cloud-sdk"]
    if gcloud is not None:
        folders.insert(0, Path(gcloud).resolve().parent.parent)
    return next((folder / PROGRAM for folder in folders if (folder / PROGRAM).exists()), None)


@contextmanager
def pubsub_emulator(folder: Path) -> Iterator[str]:
    """Yields ``HOST:PORT`` of an emulator, which the environment names while the block runs.

    Args:
        folder: Of its log.
    """
    program = pubsub_program()
    assert program is not None, "ask pubsub_program first"
    address = f"127.0.0.1:{free_port()}"
    host, _, port = address.partition(":")
    command = [program, f"--host={host}", f"--port={port}", f"--iam_port={free_port()}"]
    before = os.environ.get(EMULATOR_HOST)
    with (folder / "emulator.log").open("ab") as log:
        # Its program is a script, so that the group is what has to be ended.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(address, process, folder / "emulator.log")
        os.environ[EMULATOR_HOST] = address
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.environ.pop(EMULATOR_HOST, None)
        if before is not None:
            os.environ[EMULATOR_HOST] = before


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while process.poll() is None and time.monotonic() < end:
            try:
                ready.result(timeout=0.2)
                return
            except grpc.FutureTimeoutError:
                continue
    raise RuntimeError(f"the emulator of Pub/Sub did not start: {log.read_text()[-2000:]}")

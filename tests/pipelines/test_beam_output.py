"""Noise of Beam's import and tracebacks never reach people; warnings do."""

from __future__ import annotations

import subprocess
import sys

SAYING = """
import logging, sys, threading
from consentry.pipelines.beam_output import set_up_logging, without_tracebacks
set_up_logging()
import apache_beam
logging.getLogger("apache_beam.io.filesystems").warning("Failed to import GCSFileSystem; cannot import name 'x'")
logging.warning("the disk is slow")
try:
    raise ValueError("4111111111111111")
except ValueError:
    logging.getLogger("beam").exception("a worker failed", stack_info=True)
logging.error("Original traceback is\\nTraceback (most recent call last):\\n4111111111111111")
def failing():
    raise TypeError("4111111111111111")
thread = threading.Thread(target=failing)
thread.start()
thread.join()
with without_tracebacks():
    print("Traceback (most recent call last):\\n  x\\nValueError: 4111111111111111", file=sys.stderr)
    print("told", file=sys.stderr, flush=True)
    assert sys.stderr.isatty() is False
print("Traceback of my own", file=sys.stderr)
"""


def test_what_beam_says_is_fit_for_people() -> None:
    done = subprocess.run([sys.executable, "-c", SAYING], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    at = lines.index("ERROR: beam: a worker failed")
    assert lines[:at] == [
        "WARNING: apache_beam.io.filesystems: Failed to import GCSFileSystem; cannot import name 'x'",
        "WARNING: root: the disk is slow",
    ]
    assert [line for line in lines[at + 1 :] if line] == [
        "(ValueError)",
        "ERROR: consentry.pipelines.beam_output: a thread ended with TypeError",
        "told",
        "Traceback of my own",
    ]
    assert done.stdout == ""

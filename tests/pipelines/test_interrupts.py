"""The first interrupt asks a run to stop, the second one ends it, and afterwards all is as it was."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys

import pytest
from consentry.pipelines.interrupts import TerminatedError, interrupt_in_silence, interrupts_as_event
from consentry.schemas.errors import StoppedError


def test_the_first_interrupt_asks_and_the_second_one_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts_as_event() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(5)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_sigterm_stopped_is_told_from_one_that_was_interrupted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for number, raised in ((signal.SIGTERM, TerminatedError), (signal.SIGINT, StoppedError)):
        with pytest.raises(raised), interrupts_as_event() as stop:
            os.kill(os.getpid(), number)
            assert stop.wait(5)
            raise StoppedError("the run was told to stop")
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_unwinds_what_is_begun() -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    cleaned = []
    try:
        interrupt_in_silence()
        with pytest.raises(TerminatedError):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            finally:
                cleaned.append(True)
    finally:
        logging.disable(logging.NOTSET)
        for each, handler in before.items():
            signal.signal(each, handler)
    assert cleaned == [True]


def test_an_interrupt_ends_what_threads_would_say_of_it() -> None:
    program = """
import logging, os, signal
from consentry.pipelines.interrupts import end_at_once, interrupt_in_silence
interrupt_in_silence()
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    logging.error("the connection of a thread is gone")
    print("told", end="")
    end_at_once(130)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "told", "")

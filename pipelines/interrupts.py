"""Interrupts from the keyboard: a run in threads of this process ends in order, everything else at once and in silence.

An exception in the midst of a runner on this machine tears its connections down under threads that work in native code;
they tell of it, and now and then the process crashes. So the first interrupt only asks.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["end_at_once", "interrupt_in_silence", "interrupts_as_event"]


def interrupt_in_silence() -> None:
    """Makes an interrupt end all logging of this process before it raises ``KeyboardInterrupt``."""
    signal.signal(signal.SIGINT, _interrupted)


@contextmanager
def interrupts_as_event() -> Iterator[threading.Event]:
    """Yields an event that the first interrupt sets while the block runs; the second one is as it was before."""
    stop, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def asked(_signum: int, _frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def end_at_once(code: int) -> NoReturn:
    """Ends the process: the interpreter's own end may crash while threads of a run are in native code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupted(signum: int, frame: Any) -> None:
    logging.disable()
    signal.default_int_handler(signum, frame)

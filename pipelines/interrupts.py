"""Interrupts from the keyboard, and SIGTERM: a run in threads of this process ends in order, everything else at once.

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

from ..schemas.errors import StoppedError

__all__ = ["TerminatedError", "end_at_once", "interrupt_in_silence", "interrupts_as_event"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TerminatedError(BaseException):
    """SIGTERM came; like ``KeyboardInterrupt`` it is no error that anybody but the last door takes."""


def interrupt_in_silence() -> None:
    """Makes SIGINT and SIGTERM end all logging of this process before they raise.

    What they raise is ``KeyboardInterrupt`` and ``TerminatedError``, so that what is begun is cleaned up.
    """
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _terminated)


@contextmanager
def interrupts_as_event() -> Iterator[threading.Event]:
    """Yields an event that the first SIGINT or SIGTERM sets while the block runs; the second is as it was before.

    Raises:
        TerminatedError: The block ended with ``StoppedError`` because of SIGTERM.
    """
    stop, before = threading.Event(), {each: signal.getsignal(each) for each in SIGNALS}
    asked_by: list[int] = []

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def asked(signum: int, _frame: Any) -> None:
        asked_by.append(signum)
        stop.set()
        restore()

    for each in SIGNALS:
        signal.signal(each, asked)
    try:
        yield stop
    except StoppedError:
        if asked_by == [signal.SIGTERM]:
            raise TerminatedError from None
        raise
    finally:
        restore()


def end_at_once(code: int) -> NoReturn:
    """Ends the process: the interpreter's own end may crash while threads of a run are in native code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupted(signum: int, frame: Any) -> None:
    logging.disable()
    signal.default_int_handler(signum, frame)


def _terminated(_signum: int, _frame: Any) -> None:
    logging.disable()
    raise TerminatedError

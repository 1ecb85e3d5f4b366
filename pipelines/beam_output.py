"""What Beam writes to standard error, made fit for people: no noise of its import, and no tracebacks.

The last line of a traceback quotes a message, and a message can quote a value. What happened to a run is told by the
command's own error, which never does. Real warnings of Beam pass. Imports nothing of Beam.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["set_up_logging", "without_tracebacks"]

TRACEBACK = "Traceback (most recent call last):"

# Said, while Beam is imported, of parts that our dependencies bring only half of, and that nobody asked for.
IMPORT_NOISE = (
    ("apache_beam.io.filesystems", "Failed to import GCSFileSystem", "cannot import name 'storage'"),
    ("root", "apitools not found, and bigquery client libraries are not available", ""),
)


def set_up_logging() -> None:
    """Makes this process log to standard error by the rules of the module; where logging is set up already, it stays.

    Threads that nobody waits for tell the type of what ended them, too.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_is_told)
    handler.setFormatter(_Formatter("%(levelname)s: %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    threading.excepthook = _thread_ended


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """Drops tracebacks that Beam prints, past logging, when a worker in this process fails."""
    before = sys.stderr
    sys.stderr = _StandardError(before)
    try:
        yield
    finally:
        sys.stderr = before


def _is_told(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    noise = any(record.name == name and part in message and rest in message for name, part, rest in IMPORT_NOISE)
    return not noise and TRACEBACK not in message


class _Formatter(logging.Formatter):
    """Names the type of an exception, and leaves its message and where it happened out."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return f"({ei[0].__name__})" if ei and ei[0] else ""

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the name is logging's
        return ""


class _StandardError:
    """Standard error without the writes that are tracebacks, and without the line end that ``print`` sends after."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._dropped = False

    def write(self, text: str) -> int:
        drop = text.startswith(TRACEBACK) or (self._dropped and text == "\n")
        self._dropped = text.startswith(TRACEBACK)
        return len(text) if drop else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).error("a thread ended with %s", ended.exc_type.__name__)

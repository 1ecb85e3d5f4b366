"""Keeps raw values out of failures: what goes wrong inside a stage leaves it as a ``PrivacyError`` and nothing else.

Messages of other libraries quote their input (Arrow, Python's codecs and JSON do), and Beam copies a message into its
logs and into the error that the launcher gets. So only the type's name passes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..schemas import errors
from ..schemas.errors import PrivacyError, RunError

__all__ = ["failure_of", "guarded"]

_LINE = re.compile(r"^consentry\.schemas\.errors\.(\w+): (.*)$", re.MULTILINE)


@contextmanager
def guarded(stage: str) -> Iterator[None]:
    """Lets errors of Consentry pass as they are and turns every other exception into a ``RunError``.

    Args:
        stage: Named in the message, as ``protect``.

    Raises:
        RunError: Names the stage and the type of what happened; carries no cause, whose message could quote a value.
    """
    failure: PrivacyError
    try:
        yield
        return
    except PrivacyError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - whatever it is, its message must not pass
        failure = RunError(f"{stage}: failed with {_told(error)}; no output became visible, run it again or report it")
    # Outside of the handler, so that not even ``__context__`` leads to the message. Beam reads the mark and then
    # neither rewrites nor logs the error.
    failure.__context__ = failure.__cause__ = None
    failure._tagged_with_step = True  # type: ignore[attr-defined]
    raise failure from None


def _told(error: Exception) -> str:
    """Returns the kind of an exception and, of the system's own, what the system calls it."""
    name = type(error).__name__
    code = error.errno if isinstance(error, OSError) else None
    return name if code is None else f"{name} ({os.strerror(code)})"


def failure_of(error: BaseException) -> PrivacyError:
    """Returns the ``PrivacyError`` behind what a runner raised.

    Runners on workers hand over the text of a traceback only: the last line that names one of our errors tells which
    it was. Whatever cannot be told apart becomes a ``RunError`` without the text.
    """
    if isinstance(error, PrivacyError):
        return error
    for name, message in reversed(_LINE.findall(str(error))):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, PrivacyError):
            return kind(message)
    return RunError(f"the pipeline failed with {type(error).__name__}; no output became visible")

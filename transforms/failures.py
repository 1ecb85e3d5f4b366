"""Keeps raw values out of failures: what goes wrong inside a stage leaves it as a ``PrivacyError`` and nothing else.

Messages of other libraries quote their input (Arrow, Python's codecs and JSON do), and Beam copies a message into its
logs and into the error that the launcher gets. So only the type's name passes.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from ..schemas import errors
from ..schemas.errors import PrivacyError, RunError

__all__ = ["failure_of", "guarded"]

P = ParamSpec("P")
R = TypeVar("R")

_LINE = re.compile(r"^consentry\.schemas\.errors\.(\w+): (.*)$", re.MULTILINE)


def guarded(stage: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator: errors of Consentry pass as they are, every other exception becomes a ``RunError``.

    It guards functions and generators, these from the first item to the end. The ``RunError`` names the stage and
    the type of what happened. Whatever leaves has no cause, no context and no frame of the work: a message or a
    variable there could hold a value. A context manager could not do that, because Python sets the context of what
    is raised at the end of a ``with`` block.

    Args:
        stage: Named in the message, as ``protect``.
    """

    def guard(work: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(work):
            return cast("Callable[P, R]", _guarded_generator(stage, work))
        return _guarded_function(stage, work)

    return guard


def _guarded_function(stage: str, work: Callable[P, R]) -> Callable[P, R]:
    @wraps(work)
    def guarded_work(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, its message must not pass
            failure = _passing(stage, error)
        raise failure  # outside of the handler, which would become its context

    return guarded_work


def _guarded_generator(stage: str, work: Callable[P, Any]) -> Callable[P, Iterator[Any]]:
    @wraps(work)
    def guarded_work(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        try:
            yield from work(*args, **kwargs)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, its message must not pass
            failure = _passing(stage, error)
        raise failure  # outside of the handler, which would become its context

    return guarded_work


def _passing(stage: str, error: Exception) -> PrivacyError:
    """Returns what may leave a stage in place of ``error``, without a way back to where it comes from."""
    failure = (
        error
        if isinstance(error, PrivacyError)
        else RunError(f"{stage}: failed with {_told(error)}; no output became visible, run it again or report it")
    )
    failure.__context__ = failure.__cause__ = failure.__traceback__ = None
    failure.__suppress_context__ = True
    # Beam reads this mark and then neither rewrites nor logs the error.
    failure._tagged_with_step = True  # type: ignore[attr-defined]
    return failure


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

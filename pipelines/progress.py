"""A progress bar on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Advance", "progress_bar"]

Advance = Callable[[int, int], None]
"""Called with (done, total) in any one unit; a total of 0 means unknown."""


@contextmanager
def progress_bar(label: str, *, unit: str, quiet: bool = False) -> Iterator[Advance]:
    """Yields the function that moves the bar; it does nothing where standard error is no terminal.

    Args:
        label: What is going on.
        unit: What is counted, in the plural.
        quiet: Whether there is no bar on a terminal either.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    counted = TextColumn(f"{{task.completed:,}} {unit}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), counted, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)

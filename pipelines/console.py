"""What commands print: one JSON document or tables on standard output, everything else on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["counted", "notice", "print_json", "print_table", "print_text", "print_texts"]

STYLES = {"ok": "green", "allowed": "green", "granted": "green", "failed": "red", "refused": "red", "withdrawn": "red"}
PIPE_WIDTH = 10_000  # wider than any row, so that what another program reads is never folded

# What moves the cursor, reorders text or cannot be encoded: a value must not be able to forge what a terminal shows.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def counted(count: int, one: str, many: str) -> str:
    """A number and what there is of it.

    >>> counted(1, "cell holds", "cells hold"), counted(2000, "cell holds", "cells hold")
    ('1 cell holds', '2,000 cells hold')
    """
    return f"{count:,} {one if count == 1 else many}"


def print_json(document: Any) -> None:
    """Prints ``document`` as indented JSON in UTF-8, whatever the terminal's encoding, on standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_text(text: str) -> None:
    """Prints plain text on standard output."""
    Console(soft_wrap=True).print(_visible(text), markup=False, highlight=False)


def print_texts(texts: Iterable[str], *, end: str) -> None:
    """Prints texts on standard output, each with ``end`` behind it.

    A pipe gets them in UTF-8 as they are, so that a program reads back what it gave. A terminal gets control characters
    as escapes.
    """
    if sys.stdout.isatty():
        for text in texts:
            print_text(text)
        return
    sys.stdout.flush()
    for text in texts:
        sys.stdout.buffer.write(f"{text}{end}".encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def notice(text: str, *, style: str = "") -> None:
    """Prints a line for people on standard error."""
    Console(stderr=True, soft_wrap=True).print(_visible(text), markup=False, highlight=False, style=style or None)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on standard output; numbers align right, refusals are red, permissions green."""
    table = Table(box=box.SIMPLE_HEAD, highlight=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    # Not as the table's own title, which would be folded to the width of the table.
    console.print(_visible(title), style="bold", markup=False, highlight=False, soft_wrap=True)
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "[dim]–[/dim]"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _visible(str(value))
    style = STYLES.get(str(value))
    return f"[{style}]{escape(text)}[/{style}]" if style else escape(text)


def _visible(text: str) -> str:
    """Returns ``text`` with control characters, but for line ends and tabs, as escapes.

    >>> _visible("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

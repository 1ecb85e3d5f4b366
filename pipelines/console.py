"""What commands print: one JSON document or tables on standard output, everything else on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["notice", "print_json", "print_table", "print_text"]


def print_json(document: Any) -> None:
    """Prints ``document`` as indented JSON on standard output."""
    Console(soft_wrap=True, highlight=False, markup=False).out(
        orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), highlight=False
    )


def print_text(text: str) -> None:
    """Prints plain text on standard output."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def notice(text: str, *, style: str = "") -> None:
    """Prints a line for people on standard error."""
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False, style=style or None)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table on standard output; numbers align right, refusals are red, permissions green."""
    shown = [[_cell(value) for value in row] for row in rows]
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, highlight=False)
    kept = [list(row) for row in rows] if isinstance(rows, Sequence) else []
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(isinstance(row[index], int | float) for row in kept)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in shown:
        table.add_row(*row)
    Console().print(table)


STYLES = {"ok": "green", "allowed": "green", "granted": "green", "failed": "red", "refused": "red", "withdrawn": "red"}


def _cell(value: object) -> str:
    if value is None:
        return "[dim]–[/dim]"
    text = escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
    style = STYLES.get(str(value))
    return f"[{style}]{text}[/{style}]" if style else text

"""``consentry redact``: an output, rewritten to what is permitted now."""

from __future__ import annotations

from typing import Annotated

import typer

from .beam_output import without_tracebacks
from .cli_options import FLAG, AtOption, ConfigOption, JsonOption, instant_or_now, open_project, utf8_text
from .console import notice, print_json, print_table

__all__ = ["redact"]

REASONS = {
    "rows_no_permission": "rows dropped: their subject permits the dataset no more",
    "values_no_permission": "values: their subject permits them no more",
    "values_erased": "values: their subject was erased",
    "values_of_nobody_known": "values: nobody can tell whose they are",
}


def redact(
    context: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="An output of `consentry protect` or `stream`.", callback=utf8_text)
    ],
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all-rows", metavar=FLAG, help="Redact, or drop, all rows of an output that does not tell whose they are."
        ),
    ] = False,
    at: AtOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Rewrite an output to what is permitted now: withdrawals, late ones included, objections and erasures.

    Decides every field of every row anew, at the row's event time and now, and
    removes what is permitted no more; it brings nothing back. Readers see the old
    state of DIR or the new one. A stream that writes to DIR must be stopped first.
    """
    from .redact import redact_output

    with without_tracebacks():
        report = redact_output(open_project(context, config), folder, now=instant_or_now(at), all_rows=all_rows)
    if json:
        print_json(report.as_json())
        return
    if not report.changed:
        notice(f"{folder}: holds nothing that is not permitted now; nothing changed.")
    else:
        rows = [(REASONS.get(reason, reason), count) for reason, count in report.removed.items()]
        print_table(f"{folder}: removed", ("what", "count"), rows)
    books = report.manifest.books
    notice(f"In {books.in_:,} = out {books.out:,} + dropped {books.dropped:,} + dead-lettered {books.dead_lettered:,}")
    if not report.event_times:
        notice("Its rows do not tell when they happened, so they were judged by the present alone.", style="yellow")

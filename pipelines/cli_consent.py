"""``consentry consent``: what customers said, and what holds now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..schemas.consent import ConsentEvent, Decision, format_instant
from .cli_options import (
    AtOption,
    ConfigOption,
    JsonOption,
    instant_or_now,
    now_us,
    open_project,
    remember_config,
    utf8_text,
)
from .console import counted, notice, print_json, print_table

__all__ = ["consent_app"]

consent_app = typer.Typer(help="Record and show what customers allow.", no_args_is_help=True)
consent_app.callback()(remember_config)


@consent_app.command("import")
def import_events(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON Lines, CSV or Parquet; one event each.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Append consent events from files. Events that are already known are counted and change nothing.

    A file with a faulty event is refused whole, with the place of every fault,
    and nothing of any file is recorded.
    """
    from .consent_files import import_consents
    from .progress import progress_bar

    project = open_project(context, config)
    with progress_bar("Importing consent", unit="events", quiet=json) as advance:
        result = import_consents(project, files, now=now_us(), progress=advance)
    if json:
        print_json({"added": result.added, "known": result.known})
    else:
        added = counted(result.added, "consent event", "consent events")
        notice(f"{added} added, {result.known:,} known already", style="green")


@consent_app.command()
def record(
    context: typer.Context,
    subject: Annotated[
        str, typer.Option(metavar="S", callback=utf8_text, help="The customer's id, as the datasets spell it.")
    ],
    purpose: Annotated[str, typer.Option(metavar="P", callback=utf8_text, help="A purpose of the policy.")],
    decision: Annotated[Decision, typer.Option(metavar="D", help="What the customer said: granted or withdrawn.")],
    source: Annotated[str, typer.Option(metavar="TEXT", callback=utf8_text, help="Where it was said, as web-form-7.")],
    effective_at: AtOption = None,
    evidence: Annotated[
        str | None, typer.Option(metavar="TEXT", callback=utf8_text, help="What proves it; stored sealed.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Record one decision of one customer; --at says since when it holds."""
    from .consent_files import record_consents

    project = open_project(context, config)
    now = now_us()
    event = ConsentEvent(
        subject=subject,
        purpose=purpose,
        decision=decision,
        effective_at=now if effective_at is None else instant_or_now(effective_at),
        recorded_at=now,
        source=source,
        evidence=evidence,
    )
    result = record_consents(project, [event], now=now)
    if json:
        print_json({"added": result.added, "known": result.known})
    else:
        notice("Recorded." if result.added else "This event was known already.", style="green")


@consent_app.command()
def show(
    context: typer.Context,
    subject: Annotated[str, typer.Option(metavar="S", callback=utf8_text, help="The customer's id.")],
    at: AtOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show one customer's consent events, and what each purpose permits at an instant."""
    from .consent_files import consent_state

    instant = instant_or_now(at)
    state = consent_state(open_project(context, config), subject, at=instant)
    if json:
        print_json({"at": format_instant(instant), "purposes": state.purposes, "events": state.events})
        return
    print_table(
        f"At {format_instant(instant)}",
        ("purpose", "basis", "permitted"),
        [(row["purpose"], row["basis"], "allowed" if row["permitted"] else "refused") for row in state.purposes],
    )
    print_table(
        "Events",
        ("effective at", "purpose", "decision", "recorded at", "source", "evidence"),
        [
            tuple(event[key] for key in ("effective_at", "purpose", "decision", "recorded_at", "source", "evidence"))
            for event in state.events
        ],
    )


@consent_app.command()
def verify(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Recompute the ledger's hash chain from its first entry. Exit code 1 if it was changed."""
    from .consent_files import verify_ledger

    report = verify_ledger(open_project(context, config), now=now_us())
    if json:
        print_json(report.as_json())
    else:
        notice(report.detail, style="green" if report.ok else "red")
    if not report.ok:
        raise typer.Exit(1)

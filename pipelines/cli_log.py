"""``consentry log``: ledger and access log against the checkpoints that were exported of them. Never loads Beam."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..schemas.checkpoint import LOGS
from ..schemas.errors import ConfigError
from .cli_options import FLAG, ConfigOption, JsonOption, now_us, open_project, remember_config
from .console import notice, print_json, print_table

__all__ = ["log_app"]

log_app = typer.Typer(help="Prove that ledger and access log are what was written.", no_args_is_help=True)
log_app.callback()(remember_config)


@log_app.command()
def verify(
    context: typer.Context,
    checkpoints: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the checkpoints are. Default: the configuration's.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys to believe. Default: the configuration's.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Recompute both logs and compare them with every checkpoint. Exit code 1 if one was changed.

    Exit code 2 or 3 if nothing speaks against them and one could not be looked at.

    Up to the last checkpoint any change is found: entries changed, moved, taken
    out, an end cut off, a chain computed anew; and a checkpoint that is missing.
    Needs public keys only; with the key set vault the ledger's tags are checked
    as well, and what was not checked is said.
    """
    from ..transforms.crypto.key_sets import PublicKeys
    from .log_verification import verify_logs

    project = open_project(context, config)
    report = verify_logs(project, PublicKeys.load(trust or project.trust), checkpoints)
    if json:
        print_json(report.as_json())
    else:
        rows = [(each.check, "ok" if each.ok else "failed", each.detail) for each in report.checks]
        print_table("Ledger and access log", ("check", "result", "detail"), rows)
    if not report.ok:
        raise typer.Exit(report.exit_code)


@log_app.command()
def checkpoint(
    context: typer.Context,
    store: Annotated[str | None, typer.Option(metavar="LOG", help="ledger or access_log alone. Default: both.")] = None,
    renew_note: Annotated[
        bool,
        typer.Option(
            "--renew-note",
            metavar=FLAG,
            help="This machine's note of what it exported was lost, and you have looked: begin it anew.",
        ),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Export a signed checkpoint of each log that has new entries, and print it.

    Whoever appends to a log does so when one is due; run this now and then, so
    that the last entries of a quiet day are covered, too. Needs the key set
    proof. Refuses to sign a log that is not what its newest checkpoint saw.
    """
    from .checkpoints import Checkpoints, checkpoint_rule

    if store is not None and store not in LOGS:
        raise ConfigError(f"--store: no such log; write one of {', '.join(LOGS)}")
    project = open_project(context, config)
    place = checkpoint_rule(project).path
    names = LOGS if store is None else (store,)
    with Checkpoints(project, clock=now_us) as checkpoints:
        if renew_note:
            newest = checkpoints.renew_note()
            notice(f"{place}: checkpoint {newest} is the newest that this machine knows of now")
        made = [each for name in names if (each := checkpoints.export(name, recompute=True)) is not None]
    if json:
        print_json([each.as_json() for each in made])
    elif made:
        rows = [(each.number, each.store, each.entries, each.head, each.at) for each in made]
        print_table(place, ("number", "log", "entries", "head", "at"), rows)
    if not made:
        notice("Nothing is new since the newest checkpoints.", style="green")

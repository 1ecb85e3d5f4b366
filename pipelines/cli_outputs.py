"""``consentry outputs``: which outputs the project knows of, because their tokens need its keys."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError
from .cli_options import ConfigOption, JsonOption, open_project, remember_config
from .console import notice, print_json, print_table

__all__ = ["outputs_app"]

outputs_app = typer.Typer(
    help="The outputs that the project knows of; their key versions are not destroyed.", no_args_is_help=True
)
outputs_app.callback()(remember_config)

PlaceArgument = Annotated[str, typer.Argument(metavar="DIR", help="An output of `consentry protect`.")]


@outputs_app.command("list")
def list_outputs(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the outputs, and the runs that are at work."""
    from .known_outputs import open_known_outputs

    with closing(open_known_outputs(open_project(context, config))) as known:
        outputs = known.all()
    if json:
        print_json(
            [
                {
                    "output": output.place,
                    "dataset": output.dataset,
                    "run": output.run,
                    "published": output.published,
                    "key_versions": dict(output.versions),
                    "noted_at": format_instant(output.noted_at),
                    "machine": output.machine or None,
                }
                for output in outputs
            ]
        )
        return
    rows = [
        (
            output.told if output.published else f"{output.told} (at work)",
            output.dataset,
            ", ".join(f"{domain} {version}" for domain, version in sorted(output.needs)),
            format_instant(output.noted_at),
        )
        for output in outputs
    ]
    print_table("Outputs", ("output", "dataset", "key versions", "noted at"), rows)


@outputs_app.command()
def add(context: typer.Context, out: PlaceArgument, config: ConfigOption = None) -> None:
    """Add an output that was made elsewhere, or moved here."""
    from ..schemas.policy_file import read_policy
    from .known_outputs import note_output
    from .output_versions import known_from_output

    project = open_project(context, config)
    output = known_from_output(project, read_policy(project.policy), out)
    note_output(project, output)
    notice(f"{output.place}: known from now on")


@outputs_app.command()
def forget(
    context: typer.Context,
    out: PlaceArgument,
    machine: Annotated[
        str, typer.Option(metavar="NAME", help="The machine whose path it is, as the list tells it. Default: this one.")
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Remove an output from the list, once it is deleted or moved. Touches no file of it."""
    from .known_outputs import open_known_outputs, place_of

    with closing(open_known_outputs(open_project(context, config))) as known:
        if not known.forget(out if machine else place_of(out), machine=machine):
            raise ConfigError(f"{out}: is no output that the project knows of; see `consentry outputs list`")
    notice(f"{out}: forgotten; key versions that only its tokens need can be destroyed")

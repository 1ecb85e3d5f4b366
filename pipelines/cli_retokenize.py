"""``consentry retokenize``: the tokens of an output move to another key version."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import FLAG, ConfigOption, JsonOption, open_project
from .console import counted, notice, print_json

__all__ = ["retokenize"]


def retokenize(
    context: typer.Context,
    out: Annotated[str, typer.Argument(metavar="DIR", help="An output of `consentry protect`.")],
    to_version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Version of the token keys. Default: the primary one.")
    ] = None,
    keep_entries: Annotated[
        bool | None,
        typer.Option(
            "--keep-entries/--drop-entries",
            metavar=FLAG,
            help="Whether the vault keeps the entries of old tokens, for copies of the output elsewhere. Default: "
            "where it is on a server and other machines may have outputs that are not on the list.",
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Move the tokens of an output to the primary key version, with the vault's entries.

    Readers see the old output or the new one, and can detokenize what they see
    at every instant. Killed anywhere, run it again. Old entries go when no
    output that the project knows of needs them any more.
    """
    from .retokenize import retokenize_output

    project = open_project(context, config)
    done = retokenize_output(project, out, version=to_version, keep_entries=keep_entries)
    if json:
        print_json(
            {
                "output": out,
                "key_version": done.version,
                "vault": {"copied": done.copied, "dropped": done.dropped},
                "waiting": {place: list(versions) for place, versions in sorted(done.waiting.items())},
            }
        )
        return
    notice(f"{out}: all tokens are of key version {done.version}; check it: consentry verify {out}")
    copied, dropped = counted(done.copied, "entry", "entries"), counted(done.dropped, "old one", "old ones")
    notice(f"vault: {copied} sealed anew, {dropped} removed")
    for place, versions in sorted(done.waiting.items()):
        told = ", ".join(map(str, versions))
        notice(f"{place}: still has tokens of version {told}, so entries of theirs stay; retokenize it, too")

"""``consentry keys rewrap``: another key-encryption key for the same keys."""

from __future__ import annotations

from typing import Annotated

import typer

from ..schemas.project import KEY_SETS, KeySetName
from .cli_options import ConfigOption, JsonOption, config_path, open_project
from .console import notice, print_json

__all__ = ["rewrap"]


def rewrap(
    context: typer.Context,
    to: Annotated[str, typer.Option(metavar="URI", help="The new KEK: gcp-kms://…, file:PATH or passphrase:env:NAME.")],
    key_set: Annotated[
        KeySetName | None, typer.Argument(metavar="SET", help="token, vault or proof. Default: all of them.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Wrap key sets by another key-encryption key, and write it into the configuration. The keys stay the same.

    Needs the old KEK and the new one, and opens what it has wrapped before anything
    is written. Nothing else changes: outputs, vault and logs stay as they are.
    Afterwards destroy the old KEK, or the old keyring's backups: together they
    still open everything.
    """
    from .kek_lines import kek_change, kek_of_options
    from .keyring_rewrap import rewrap_keys

    project = open_project(context, config)
    names = KEY_SETS if key_set is None else (key_set,)
    kek = kek_of_options([f"{name}={to}" for name in names], project, option="--to")
    change = kek_change(config_path(context, config), project, kek)
    rewrap_keys(project, names, kek)
    change.write()
    if json:
        print_json({"keyring": str(project.keyring), "sets": list(names), "kek": dict(change.project.kek)})
    notice(f"{project.keyring}: wrapped anew: {', '.join(names)}; back it up")
    if change.text is not None:
        notice(f"{change.path}: says now: {change.line}")
    notice("The old KEK still opens older copies of the keyring: destroy it, or them")

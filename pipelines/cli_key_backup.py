"""``consentry keys backup | restore``: the keyring, for the day when it or its KEK is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError, KekError
from .cli_options import FLAG, ConfigOption, JsonOption, now_us, open_project
from .console import notice, print_json

if TYPE_CHECKING:
    from ..transforms.crypto.kek import Kek

__all__ = ["backup", "restore"]

KekOption = Annotated[
    str,
    typer.Option(
        metavar="URI", help="What wraps the backup: passphrase:env:NAME or file:PATH. Keep it apart from the backup."
    ),
]


def backup(
    context: typer.Context,
    kek: KekOption,
    to: Annotated[Path, typer.Option(metavar="FILE", help="A new file.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Back the keyring up: all key sets, wrapped by a KEK of the backup's own.

    Do it after `keys create` and after every rotation, and try `keys restore`
    before you need it: without keyring or KEK every vaulted value is lost.
    """
    from .key_backup import back_up_keyring

    project = open_project(context, config)
    back_up_keyring(project, to, _opened(kek))
    if json:
        print_json({"keyring": str(project.keyring), "backup": str(to)})
    notice(f"{to}: holds all key sets, and was opened once to check it; keep it apart from its KEK and from the stores")


def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    kek: KekOption,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", metavar=FLAG, help="Go on although the stores need versions it does not have."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write the keyring from a backup, wrapped by the KEK that consentry.yaml names.

    A key file that is missing is made anew. Refuses to replace a keyring that
    has versions which the backup does not know, and a backup that is older than
    the stores.
    """
    from .key_backup import restore_keyring

    project = open_project(context, config)
    restore_keyring(project, source, _opened(kek), now=now_us(), accept_loss=accept_loss)
    if json:
        print_json({"keyring": str(project.keyring), "backup": str(source)})
    notice(f"{project.keyring}: restored; see `consentry keys status`, and try `consentry detokenize`")


def _opened(kek: str) -> Kek:
    """Returns the KEK of a backup; what is wrong with it is told of the option, not of the project file."""
    from ..transforms.crypto.open_kek import open_kek

    try:
        return open_kek(kek, Path.cwd())
    except ConfigError as error:
        raise ConfigError(f"--{error}") from None
    except KekError as error:
        raise KekError(f"--kek: {error}") from None

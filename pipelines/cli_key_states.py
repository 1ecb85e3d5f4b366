"""``consentry keys disable | enable | destroy``: versions that are taken out of use, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError
from .cli_keys import RotatedSet
from .cli_options import FLAG, ConfigOption, JsonOption, open_project
from .console import notice, print_json

if TYPE_CHECKING:
    from pathlib import Path

    from ..transforms.crypto.keyring import KeyState

__all__ = ["destroy", "disable", "enable"]

VersionArgument = Annotated[int, typer.Argument(metavar="N", help="A version that is not primary.", min=1)]
SetArgument = Annotated[RotatedSet, typer.Argument(metavar="SET", help="The key set: token, vault or proof.")]


def disable(
    context: typer.Context,
    version: VersionArgument,
    key_set: SetArgument = RotatedSet.TOKEN,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take a version out of use. `keys enable` brings it back.

    Refuses while the vault, a data key or a known output still needs it, and
    says which.
    """
    from ..transforms.crypto.keyring import KeyState

    _change(context, config, key_set, version, KeyState.DISABLED, json=json)


def enable(
    context: typer.Context,
    version: VersionArgument,
    key_set: SetArgument = RotatedSet.TOKEN,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a disabled version back into use."""
    from ..transforms.crypto.keyring import KeyState

    _change(context, config, key_set, version, KeyState.ACTIVE, json=json)


def destroy(
    context: typer.Context,
    version: VersionArgument,
    key_set: SetArgument = RotatedSet.TOKEN,
    yes: Annotated[bool, typer.Option("--yes", metavar=FLAG, help="Do not ask.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Destroy a version for good. Nothing brings it back but a backup of the keyring.

    Refuses while the vault, a data key or a known output still needs it, and
    says which.
    """
    from ..transforms.crypto.keyring import KeySet, KeyState
    from .key_states import checked_change

    checked_change(open_project(context, config), KeySet(key_set.value), version, KeyState.DESTROYED)
    if not yes and not _confirmed(f"Destroy version {version} of the key set {key_set.value} for good?"):
        raise ConfigError("destroy: was not confirmed, so nothing was done; answer y, or add --yes")
    _change(context, config, key_set, version, KeyState.DESTROYED, json=json)


def _confirmed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # nobody is there to answer
        return False


def _change(
    context: typer.Context, config: Path | None, key_set: RotatedSet, version: int, state: KeyState, *, json: bool
) -> None:
    from ..transforms.crypto.keyring import KeySet
    from .key_states import change_key_state

    project = open_project(context, config)
    change_key_state(project, KeySet(key_set.value), version, state)
    if json:
        print_json({"set": key_set.value, "version": version, "state": state.value})
    notice(f"{project.keyring}: {key_set.value} version {version} is {state.value}")

"""``consentry vault sweep`` and ``rewrap``: what has to be done to a vault from time to time."""

from __future__ import annotations

import typer

from .cli_options import ConfigOption, JsonOption, now_us, open_project
from .console import counted, notice, print_json

__all__ = ["rewrap", "sweep"]


def sweep(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Remove values older than the `retain` of their info type, and keys of dead letters whose time is over.

    Each run does so when it begins; schedule this where runs are rare. Exit code
    1 if another program reads an older state of the vault, so that removed bytes
    are still in its write-ahead log: run it again then.
    """
    from .retention import sweep_project

    swept = sweep_project(open_project(context, config), now_us())
    if json:
        print_json({"values": swept.values, "day_keys": swept.day_keys, "clean": swept.clean})
    else:
        values, keys = counted(swept.values, "value", "values"), counted(swept.day_keys, "key", "keys")
        notice(f"{values} removed from the vault, {keys} of dead letters destroyed")
    if not swept.clean:
        notice("Another program reads an older state of the vault; run this again when it is done", style="yellow")
        raise typer.Exit(1)


def rewrap(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Wrap all data keys anew under the primary version of the key set vault.

    After that no older version is needed by them. Goes on where it was
    interrupted, and works beside runs; but end streams and runs that began
    before the rotation first, because they still make keys under the version
    before. Exit code 1 if a key cannot be opened; it stays as it is.
    """
    from contextlib import closing

    from ..transforms.stores.data_keys import open_data_keys
    from .desk import check_stores
    from .keyring_files import open_vault_keys
    from .progress import progress_bar

    project = open_project(context, config)
    keys = open_vault_keys(project)
    check_stores(project, ("data_keys",))
    with (
        progress_bar("Rewrapping", unit="keys", quiet=json) as advance,
        closing(open_data_keys(project.data_keys, keys)) as data_keys,
    ):
        done = data_keys.rewrap(progress=lambda count: advance(count, 0))
    unopened = {str(version): count for version, count in sorted(done.unopened.items())}
    if json:
        print_json({"version": done.version, "keys": done.keys, "rewrapped": done.rewrapped, "unopened": unopened,
                    "clean": done.clean})  # fmt: skip
    else:
        rest = "" if unopened else f"; all are under version {done.version}"
        notice(f"{done.rewrapped:,} of {counted(done.keys, 'data key', 'data keys')} wrapped anew{rest}")
    for version, count in unopened.items():
        lost = counted(count, "key says that it is", "keys say that they are")
        told = f"{lost} under version {version}, and cannot be opened"
        notice(f"{told}: restore the data keys, or the keyring that knows it", style="red")
    if not done.clean:
        notice("Another program reads, so old wrappings are still in the write-ahead log; run this again later")
    if unopened or not done.clean:
        raise typer.Exit(1)

"""``consentry keys``: the keyring of a project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..schemas.consent import format_instant
from ..schemas.errors import OutputError
from .cli_keys_rewrap import rewrap
from .cli_options import ConfigOption, JsonOption, config_path, now_us, open_project, remember_config
from .console import notice, print_json, print_table, print_text

__all__ = ["keys_app"]

keys_app = typer.Typer(help="Create, show and rotate the keys of a project.", no_args_is_help=True)
keys_app.callback()(remember_config)
keys_app.command()(rewrap)


class RotatedSet(StrEnum):
    """The key sets by the names that people type."""

    TOKEN = "token"  # noqa: S105 - the name of a key set
    VAULT = "vault"
    PROOF = "proof"


@keys_app.command()
def create(
    context: typer.Context,
    kek: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI|SET=URI",
            help="The key-encryption key, as gcp-kms://…, or that of one set, as vault=gcp-kms://…; repeatable. "
            "It is written into the configuration. Default: what that says.",
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Create what a configuration names: keyring, trust file, key files, and the stores that are missing.

    Refuses where a keyring exists: whoever overwrites it loses every vaulted
    value. `consentry init` has done all this for a new folder; use this command
    for a configuration of your own, as one with a passphrase or Cloud KMS.
    """
    from .desk import check_no_keys_stored, create_keys, create_stores
    from .kek_lines import kek_change, kek_of_options

    project = open_project(context, config)
    change = kek_change(config_path(context, config), project, kek_of_options(kek or (), project))
    if not project.keyring.exists():
        check_no_keys_stored(project)
    vault_keys = create_keys(change.project, now=now_us())
    change.write()
    create_stores(project, vault_keys)
    if change.text is not None:
        notice(f"{change.path}: says now: {change.line}")
    if json:
        print_json({"keyring": str(project.keyring), "trust": str(project.trust)})
    else:
        notice(f"{project.keyring}: created with the key sets token, vault and proof; back it up together with its KEK")


@keys_app.command()
def status(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show the versions of each key set. Needs no secret."""
    from ..transforms.crypto.keyring import Keyring

    rows = [
        {"set": row.key_set, "version": row.version, "state": row.state, "created_at": format_instant(row.created_at)}
        for row in Keyring.load(open_project(context, config).keyring).status()
    ]
    if json:
        print_json(rows)
    else:
        print_table("Keys", ("set", "version", "state", "created at"), [tuple(row.values()) for row in rows])


@keys_app.command()
def rotate(
    context: typer.Context,
    key_set: Annotated[
        RotatedSet, typer.Argument(metavar="SET", help="The key set: token, vault or proof.")
    ] = RotatedSet.TOKEN,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add a version and make it the primary one. What older versions made stays readable."""
    from .desk import rotate_keys

    project = open_project(context, config)
    version = rotate_keys(project, key_set.value, now=now_us())
    if json:
        print_json({"set": key_set.value, "version": version})
    notice(f"{project.keyring}: {key_set.value} is at version {version}")
    if key_set is RotatedSet.PROOF:
        notice(f"Auditors need the new public keys: consentry keys public --out {project.trust}")
    if key_set is RotatedSet.TOKEN:
        notice("New tokens do not join older outputs until these are moved: see `consentry outputs list`, and run "
               "`consentry retokenize DIR` for each")  # fmt: skip


@keys_app.command()
def public(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of printing.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print the public keys that verify manifests, logs and certificates, as JSON with or without --json."""
    from ..transforms.crypto.keyring import Keyring

    text = Keyring.load(open_project(context, config).keyring).public_keys().dumps()
    if out is not None:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{out}: cannot be written ({error.strerror}); name a file of your own") from None
    if out is None or json:
        print_text(text.rstrip("\n"))
    if out is not None:
        notice(f"{out}: written; give it to whoever runs `consentry verify`")

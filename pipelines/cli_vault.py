"""``consentry vault``: the stores of sealed values and of data keys."""

from __future__ import annotations

import typer

from .cli_options import remember_config
from .cli_vault_keeping import rewrap, sweep

__all__ = ["vault_app"]

vault_app = typer.Typer(help="Keep the vault: sweep what is over, rewrap data keys.", no_args_is_help=True)
vault_app.callback()(remember_config)
vault_app.command()(sweep)
vault_app.command()(rewrap)

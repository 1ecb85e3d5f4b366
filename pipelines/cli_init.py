"""``consentry init``: a project that is ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import JsonOption, now_us
from .console import notice, print_json, print_text

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name bound into every key. Default: the folder's name.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Set up a project: configuration, annotated policy, key file, keyring and stores. Never overwrites."""
    from .scaffold import write_project

    made = write_project(folder, tenant=tenant, now=now_us())
    if json:
        print_json({"folder": str(folder), "made": made})
        return
    for path in made:
        notice(f"  {path}")
    print_text(
        f"{folder} is ready. Next:\n"
        f"  consentry policy explain --for customer --config {folder}/consentry.yaml\n"
        f"  consentry consent import CONSENTS.jsonl --config {folder}/consentry.yaml\n"
        f"  consentry protect ORDERS.jsonl --dataset orders --out OUT --config {folder}/consentry.yaml\n"
        "Keep kek.key apart from the rest, and back it up: without it nothing can be read."
    )

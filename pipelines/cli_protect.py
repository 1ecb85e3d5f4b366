"""``consentry protect`` and ``consentry verify``: a run over files, and the check of what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError
from .cli_options import AtOption, ConfigOption, JsonOption, instant_or_now, open_project
from .console import notice, print_json, print_table

if TYPE_CHECKING:
    from ..schemas.manifest import Manifest

__all__ = ["protect", "verify"]

LOCAL_RUNNER = "FnApiRunner"


def protect(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT…", help="Parquet, CSV or JSON Lines: files, folders, globs.")
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="The dataset of the policy that the files hold.")],
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Where the protected rows go. Appears when the run succeeds.")
    ],
    at: AtOption = None,
    replace: Annotated[bool, typer.Option(help="Exchange an earlier output, atomically.")] = False,
    runner: Annotated[
        str | None,
        typer.Option(help="A Beam runner; its own options follow as --name=value. Default: on this machine."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Protect files: tokens for the warehouse, raw values into the vault only where consent allows.

    Reads every record of INPUT, asks the consent ledger as of the record's event time and now, treats each field as
    the policy says, and writes data/, dead_letters/ and a signed manifest.json. Nothing is visible in --out before
    all of it is complete.
    """
    files = [text for text in inputs if not text.startswith("--")]
    beam_options = [text for text in inputs if text.startswith("--")]
    if beam_options and runner is None:
        raise ConfigError(f"{beam_options[0].split('=')[0]}: no such option; see `consentry protect --help`")
    if not files:
        raise ConfigError("INPUT is missing: name files, folders or globs to protect")
    project = open_project(context, config)
    now = instant_or_now(at)
    from .batch import run_protect
    from .progress import progress_bar

    with progress_bar(f"Protecting {dataset}", quiet=json) as advance:
        manifest = run_protect(
            project, files, dataset, out,
            now=now, replace=replace, runner=runner or LOCAL_RUNNER, beam_args=beam_options, progress=advance,
        )  # fmt: skip
    if json:
        print_json(manifest.as_json())
    else:
        _summarise(manifest, out)


def _summarise(manifest: Manifest, out: str) -> None:
    books = manifest.books
    rows = [
        ("in", books.in_),
        ("out", books.out),
        ("dropped", books.dropped),
        ("dead-lettered", books.dead_lettered),
    ]
    print_table(f"{out}: the books balance", ("records", "count"), rows)
    if manifest.reasons:
        print_table("Dead letters", ("reason", "count"), sorted(manifest.reasons.items()))
    notice(f"Check it any time: consentry verify {out}")


def verify(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="An output of `consentry protect`.")],
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys to believe. Default: the configuration's.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Re-check a run: its signature, every file's hash, rows and bytes, the books and the field metadata.

    Believes only the trusted public keys, never one found inside DIR. Exit code 1 if any check fails.
    """
    from ..transforms.crypto.keyring import PublicKeys
    from .verify import verify_output

    trusted = trust if trust is not None else open_project(context, config).trust
    report = verify_output(folder, PublicKeys.load(trusted))
    if json:
        print_json(report.as_json())
    else:
        rows = [(check.check, "ok" if check.ok else "failed", check.detail) for check in report.checks]
        print_table(folder, ("check", "result", "detail"), rows)
    if not report.ok:
        raise typer.Exit(1)

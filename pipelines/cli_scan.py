"""``consentry scan``: where sensitive values stand in texts, and what columns hold."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..schemas.errors import ConfigError, OutputError
from .cli_options import JsonOption, UnusedConfigOption
from .console import notice, print_json

__all__ = ["scan"]


def scan(
    texts: Annotated[
        Path | None, typer.Argument(metavar="TEXTS.jsonl", help='Lines of {"id", "text"}.', show_default=False)
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Lines of {"feed", "column", "values"}, instead of TEXTS.')
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where a line for each is written.")] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another maker's detector for texts, as spacy:en_core_web_sm; repeatable."),
    ] = None,
    config: UnusedConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Scan texts for sensitive values, or columns for what they hold.

    For each text: where values stand in it, what they are, how sure that is and
    why. Offsets count code points. For each column: the entity that its values
    prove, MIXED, FREE_TEXT or null, with share, evidence and what strayed in.

        consentry scan notes.jsonl --out findings.jsonl

        consentry scan --columns columns.jsonl --out types.jsonl

    The findings name places and kinds and hold no value.
    """
    source = columns if texts is None else texts
    if source is None or (texts is not None and columns is not None):
        raise ConfigError("name either a file of texts or one of columns with --columns; see `consentry scan --help`")
    if out is None:
        raise ConfigError("--out: is missing; name the file for the findings")
    if os.path.realpath(out) == os.path.realpath(source):
        raise OutputError(f"--out {out}: is the input, and is never overwritten; name another")
    if detector and columns is not None:
        raise ConfigError("--detector: is for texts; leave it out with --columns")
    from ..transforms.detectors.recognizers import open_recognizers
    from .progress import progress_bar
    from .scan import scan_columns, scan_texts

    texts_work = partial(scan_texts, recognizers=open_recognizers(detector or ()))
    work, unit = (texts_work, "texts") if columns is None else (scan_columns, "columns")
    scanned = 0

    with progress_bar("Scanning", unit=unit, quiet=json) as advance:

        def progress(count: int) -> None:
            nonlocal scanned
            scanned += count
            advance(scanned, 0)

        found = work(source, out, progress=progress)
    if json:
        print_json({unit: scanned, "found": found})
    else:
        notice(f"{out}: {found} of {scanned} {unit} hold something sensitive")

"""``consentry protect``: a run over files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError
from .beam_output import without_tracebacks
from .cli_options import FLAG, AtOption, ConfigOption, JsonOption, instant_or_now, open_project, utf8_text
from .console import notice, print_json, print_table
from .interrupts import interrupts_as_event

if TYPE_CHECKING:
    from ..schemas.manifest import Manifest

__all__ = ["protect"]

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
    replace: Annotated[
        bool, typer.Option("--replace", metavar=FLAG, help="Exchange an earlier output, atomically.")
    ] = False,
    runner: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A Beam runner; its options follow as --name=value. Default: this machine."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Protect files: tokens for the warehouse, raw values into the vault only where consent allows.

    Reads every record of INPUT, asks the consent ledger as of the record's event
    time and now, treats each field as the policy says, and writes data/,
    dead_letters/ and a signed manifest.json. Nothing is visible in --out before
    all of it is complete.
    """
    files = [text for text in inputs if not text.startswith("-")]
    beam_options = [text for text in inputs if text.startswith("-")]
    no_options = [text for text in beam_options if runner is None or not text.startswith("--")]
    if no_options:
        raise _no_such_option(no_options)
    if not files or not all((utf8_text(text) or "").strip() for text in files):
        raise ConfigError("INPUT is missing or blank: name files, folders or globs to protect")
    if not out.strip():
        raise ConfigError("--out: is blank; name a folder")
    project = open_project(context, config)
    now = instant_or_now(at)
    _check_beam_options(beam_options, runner or LOCAL_RUNNER)
    from .batch import run_protect
    from .progress import progress_bar

    with ExitStack() as opened:
        stop = opened.enter_context(interrupts_as_event()) if runner in (None, LOCAL_RUNNER) else None
        advance = opened.enter_context(progress_bar(f"Protecting {dataset}", unit="records", quiet=json))
        opened.enter_context(without_tracebacks())
        manifest = run_protect(
            project, files, dataset, out,
            now=now, replace=replace, runner=runner or LOCAL_RUNNER, beam_args=beam_options, progress=advance,
            stop=stop,
        )  # fmt: skip
    if json:
        print_json(manifest.as_json())
    else:
        _summarise(manifest, out)


def _check_beam_options(options: Sequence[str], runner: str) -> None:
    """Refuses what Beam cannot read, and on this machine what it does not know: it would only warn, and go on.

    Other runners may take options that Beam learns of only when it talks to them.
    """
    if not options:
        return
    from apache_beam.options.pipeline_options import PipelineOptions

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parsed = PipelineOptions(list(options))
            known, every = parsed.get_all_options(), parsed.get_all_options(retain_unknown_options=True)
    except SystemExit:
        complaint = said.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError(f"--runner {runner}: Beam does not take its options: {complaint}") from None
    if runner == LOCAL_RUNNER and (unknown := sorted(every.keys() - known.keys())):
        raise _no_such_option([f"--{name}" for name in unknown])


def _no_such_option(options: Sequence[str]) -> ConfigError:
    name = options[0].partition("=")[0]
    return ConfigError(f"{name}: no such option, of this command or of its runner; see `consentry protect --help`")


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
    if not books.in_:
        notice("The input holds no record, so the output is empty.", style="yellow")
    if manifest.absent and books.in_:
        notice(f"The input has not: {', '.join(manifest.absent)}")
    if manifest.drift:
        notice(f"Left out, because the policy does not name it: {', '.join(manifest.drift)}")
    notice(f"Check it any time: consentry verify {out}")

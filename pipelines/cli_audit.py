"""``consentry audit``: what an input holds, as a page for people and a document for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError, OutputError
from .beam_output import without_tracebacks
from .cli_options import (
    DEFAULT_CONFIG,
    AtOption,
    ConfigOption,
    instant_or_now,
    open_project,
    utf8_text,
)
from .console import notice, print_json, print_table
from .drafts import draft

if TYPE_CHECKING:
    from ..schemas.audit import Audit
    from ..schemas.project import Project

__all__ = ["audit"]

STANDARD_OUTPUT = "-"
MARKS = (b'name="generator" content="consentry audit"', b'{\n  "audit": ')
"""What an earlier report, and an earlier document, has near its begin."""

HEAD = 4096


def audit(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT…", help="Parquet, CSV or JSON Lines: files, folders, globs.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The dataset of the policy that the files hold. Else nothing is declared."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page: one HTML file that needs nothing else.")
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="The same as JSON; - writes it to standard output.")
    ] = None,
    at: AtOption = None,
    config: ConfigOption = None,
) -> None:
    """Audit files: what is collected, how it is used, what is not needed, and what nobody declared.

    Looks at a sample of the records, whose bounds the report states, finds what
    each column and nested path is by its values, and holds it against the
    policy. With a project it also tells who detokenized what, from the access
    log, and how many customers permit what they may refuse, from the consent
    ledger. For each finding it has the lines of policy.yaml that settle it.

    Works without a project, too: then nothing is declared, and the report
    proposes a first policy.

    No value of a record is in what it writes: examples are masked, and names
    that could be values are hidden. Inputs and files of the project are never
    overwritten; an earlier report is.

        consentry audit orders/*.parquet --dataset orders --report audit.html
    """
    if not inputs or not all((utf8_text(text) or "").strip() for text in inputs):
        raise ConfigError("INPUT is missing or blank: name files, folders or globs to audit")
    if report is None and json is None:
        raise ConfigError("--report: is missing; name the HTML file to write, or a JSON file with --json")
    project = _project(context, config, dataset)
    now = instant_or_now(at)
    outputs = _outputs(report, json)
    _check_outputs(outputs, inputs, project, config or context.obj)
    made = _audited(inputs, project, dataset, now, quiet=json == STANDARD_OUTPUT)
    _write(_contents(made, report, outputs))
    if json == STANDARD_OUTPUT:
        print_json(made.as_json())
    else:
        _summarise(made)
        for name, path in outputs.items():
            notice(f"{name}: {path}")


def _project(context: typer.Context, config: Path | None, dataset: str | None) -> Project | None:
    """The project; None where none is named and none lies in the working folder."""
    if config is None and context.obj is None and dataset is None and not DEFAULT_CONFIG.exists():
        return None
    without = "run `consentry init DIR`, name one with --config FILE, or leave --dataset out"
    return open_project(context, config, otherwise=without)


def _audited(inputs: list[str], project: Project | None, dataset: str | None, now: int, *, quiet: bool) -> Audit:
    from ..transforms.detectors.column_types import column_type
    from .audit import run_audit
    from .progress import progress_bar

    with progress_bar("Auditing", unit="records", quiet=quiet) as advance, without_tracebacks():
        return run_audit(inputs, detect=column_type, now=now, project=project, dataset=dataset, progress=advance)


def _outputs(report: Path | None, json: str | None) -> dict[str, Path]:
    found = {} if report is None else {"Report": report}
    return found if json in (None, STANDARD_OUTPUT) else {**found, "JSON": Path(str(json))}


def _check_outputs(
    outputs: Mapping[str, Path], inputs: list[str], project: Project | None, config: Path | None
) -> None:
    """Refuses outputs that could not be written, or would overwrite anything but an earlier report."""
    from .input_files import find_files

    kept = {os.path.realpath(file.uri) for file in find_files(inputs) if "://" not in file.uri}
    kept |= {os.path.realpath(path) for path in _files_of(project, config)}
    seen: set[str] = set()
    for name, path in outputs.items():
        option = f"--{name.lower()} {path}"
        place = os.path.realpath(path)
        if not str(path).strip() or path.is_dir() or not Path(place).parent.is_dir():
            raise OutputError(f"{option}: is no file that can be written; name one in a folder that exists")
        if place in kept:
            raise OutputError(
                f"{option}: is an input or belongs to the project, and is never overwritten; name another"
            )
        if place in seen:
            raise OutputError(f"{option}: is the file of the report, too; name another")
        seen.add(place)
        if path.exists() and not _is_earlier(path):
            raise OutputError(f"{option}: exists and is no earlier audit, so it is not overwritten; name another")


def _files_of(project: Project | None, config: Path | None) -> Iterator[Path]:
    yield config or DEFAULT_CONFIG
    if project is None:
        return
    yield from (project.policy, project.keyring, project.trust)
    stores = (project.vault, project.data_keys, project.ledger, project.access_log)
    for uri in (*stores, *project.kek.values()):
        scheme, _, name = uri.partition(":")
        if scheme in ("sqlite", "file"):
            yield project.root / name


def _is_earlier(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return not head or any(mark in head for mark in MARKS)


def _contents(made: Audit, report: Path | None, outputs: Mapping[str, Path]) -> dict[Path, bytes]:
    import orjson

    found: dict[Path, bytes] = {}
    if report is not None:
        from .audit_report import report_html

        found[report] = report_html(made).encode("utf-8", "backslashreplace")
    if "JSON" in outputs:
        found[outputs["JSON"]] = orjson.dumps(made.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return found


def _write(contents: Mapping[Path, bytes]) -> None:
    """Writes all files, none of which takes its place before all are complete."""
    try:
        with ExitStack() as drafts:
            for path, content in contents.items():
                file = drafts.enter_context(draft(path))
                file.write(content)
                file.flush()
    except OSError as error:
        raise OutputError(f"the report cannot be written ({error.strerror}); check the folder", exit_code=3) from None


def _summarise(made: Audit) -> None:
    from ..schemas.audit import VerdictKind

    rows = [
        ("collected", len(made.columns)),
        ("with something sensitive", len(made.sensitive)),
        ("not declared as what they are", len(made.exposed)),
        ("not needed, it seems", len(made.having(VerdictKind.NOT_NEEDED))),
    ]
    print_table(made.dataset or "Audit", ("columns", "count"), rows)
    for note in made.notes:
        notice(note, style="yellow")

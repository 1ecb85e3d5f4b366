"""``consentry verify``: the check of what a run wrote, and with ``--scan`` of what its rows hold in clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError
from .cli_options import FLAG, ConfigOption, JsonOption, open_project
from .console import notice, print_json, print_table

if TYPE_CHECKING:
    from ..schemas.policy import Policy
    from ..schemas.project import Project
    from ..transforms.canaries import Canaries
    from ..transforms.crypto.key_sets import PublicKeys
    from .leak_report import LeakReport
    from .verify import Check, VerifyReport

__all__ = ["verify"]

KAFKA = "kafka://"
TRUST = "name the public keys to believe with --trust FILE, or a project with --config FILE"
SHOWN = 5
"""Places told of each leak in a table; ``--json`` has more."""


def verify(
    context: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="An output of `consentry protect` or `stream`; kafka:// for a topic.")
    ],
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys to believe. Default: the configuration's.")
    ] = None,
    scan: Annotated[
        bool, typer.Option("--scan", metavar=FLAG, help="Search all rows for values that are in clear.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --scan: about N rows only; states what that can miss.")
    ] = None,
    canaries: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --scan: values planted in the source, one on each line."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Re-check a run: its signature, every file's hash, rows and bytes, the books and the field metadata.

    Believes only the trusted public keys, never one found inside DIR. With
    --trust it needs no project. Exit code 1 if any check fails.

    With --scan, it also proves that the rows hold nothing in clear: tokenized
    columns hold tokens, redacted ones nothing, and all others, kept ones too,
    are searched by every detector. Canaries are found however they are written:
    reversed, in base64 or hexadecimal, with other separators or none. Dead
    letters are sealed, and not searched. No value is printed, masked forms are.
    Exit code 1 if there is a leak.
    """
    if not scan and (sample is not None or canaries is not None):
        option = "--sample" if sample is not None else "--canaries"
        raise ConfigError(f"{option}: belongs to a search of the rows; add --scan")
    if scan and folder.startswith(KAFKA):
        raise ConfigError("--scan: searches the files of an output, and a topic has none; leave it out")
    from ..transforms.crypto.keyring import PublicKeys

    planted = None if canaries is None else _canaries_of(canaries)
    project = open_project(context, config, otherwise=TRUST) if trust is None or config is not None else None
    believed = trust or (project.trust if project is not None else None)
    assert believed is not None, "without --trust there is a project"
    report = _report(folder, PublicKeys.load(believed))
    leaks = _scanned(folder, report, project, planted, sample, quiet=json) if scan and report.readable else None
    if scan:
        report = replace(report, checks=(*report.checks, *_scan_checks(leaks)))
    if json:
        print_json({**report.as_json(), **({} if leaks is None else leaks.as_json())})
    else:
        rows = [(check.check, "ok" if check.ok else "failed", check.detail) for check in report.checks]
        print_table(folder, ("check", "result", "detail"), rows)
        if leaks is not None:
            _summarise(leaks)
    if not report.ok:
        raise typer.Exit(1)


def _report(out: str, trust: PublicKeys) -> VerifyReport:
    if out.startswith(KAFKA):
        from .engines.topic_verify import verify_topic

        return verify_topic(out, trust)
    from .verify import verify_output

    return verify_output(out, trust)


def _canaries_of(path: Path) -> Canaries:
    from ..transforms.canaries import read_canaries

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--canaries {path}: cannot be read ({error.strerror}); name a file of values") from None
    return read_canaries(data, f"--canaries {path}")


def _scanned(
    folder: str,
    report: VerifyReport,
    project: Project | None,
    canaries: Canaries | None,
    sample: int | None,
    *,
    quiet: bool,
) -> LeakReport:
    from .leak_scan import scan_output
    from .output_folder import open_output_folder
    from .progress import progress_bar

    assert report.manifest is not None, "a readable output has a manifest"
    policy = None if project is None else _policy(project)
    with progress_bar(f"Searching {folder}", unit="rows", quiet=quiet) as advance:
        return scan_output(
            open_output_folder(folder),
            report.manifest,
            policy=policy,
            canaries=canaries,
            sample=sample,
            progress=advance,
        )


def _policy(project: Project) -> Policy | None:
    """The policy, which tells what columns cannot; a project for checks alone may have none."""
    from ..schemas.policy_file import read_policy

    return read_policy(project.policy) if project.policy.exists() else None


def _scan_checks(leaks: LeakReport | None) -> Sequence[Check]:
    from .verify import Check

    if leaks is None:
        return (Check("scan", False, "not searched: the files are not as they were signed"),)
    return leaks.checks()


def _summarise(leaks: LeakReport) -> None:
    from .leak_report import SEALED

    if leaks.leaks:
        rows = [(leak.column, leak.kind, leak.values) for leak in leaks.leaks]
        print_table("Leaks", ("column", "kind", "values"), rows)
        places = [
            (leak.column, leak.kind, place.file, "name" if place.row is None else place.row, place.masked)
            for leak in leaks.leaks
            for place in leak.places[:SHOWN]
        ]
        print_table("Where, the first of each", ("column", "kind", "file", "row", "masked"), places)
        for says, columns in _by_sentence(leaks).items():
            notice(f"{', '.join(columns)}: {says}", style="yellow")
    notice(f"Not searched: {SEALED}.")


def _by_sentence(leaks: LeakReport) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for leak in leaks.leaks:
        found.setdefault(leak.says, {})[leak.column] = None
    return found

"""``consentry detokenize --from FILE``: a column of a file at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from ..schemas.errors import ConfigError
from .cli_options import now_us
from .console import counted, notice, print_json

if TYPE_CHECKING:
    from ..schemas.project import Project

__all__ = ["check_file_use", "check_no_file_use", "detokenize_into"]


def check_file_use(given: Mapping[str, object], **needed: object) -> None:
    """Refuses what does not go with ``--from``, or is missing beside it.

    Args:
        given: What else was given, by its name; ``words`` are the arguments.
        needed: Options that must be there.

    Raises:
        ConfigError: Names the first.
    """
    for name, value in given.items():
        if value:
            what = "DOMAIN TOKEN…" if name == "words" else name
            raise ConfigError(f"{what}: not with --from, where the tokens are in a file; leave it out")
    for name, value in needed.items():
        if value is None:
            raise ConfigError(f"--{name}: is missing; with --from name --column and --out")


def check_no_file_use(given: Mapping[str, object]) -> None:
    """Refuses options that go with ``--from`` alone.

    Args:
        given: What was given of them, by name.

    Raises:
        ConfigError: Names the first.
    """
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"--{option}: only with --from FILE; name the file")


def detokenize_into(project: Project, who: Mapping[str, Any], request: Mapping[str, Any], *, json: bool) -> None:
    """Writes the file and prints what came of it; exits with 1 if a token was refused.

    Args:
        project: Of the desk.
        who: Purpose, role and actor.
        request: What else ``BulkRequest`` has.
        json: Whether the report is printed as JSON.

    Raises:
        PrivacyError: No file was written.
    """
    from .bulk_detokenize import BulkRequest, detokenize_file
    from .desk import open_desk
    from .progress import progress_bar

    with (
        open_desk(project, clock=now_us) as desk,
        progress_bar("Detokenizing", unit="rows", quiet=json) as advance,
    ):
        report = detokenize_file(desk, BulkRequest(**who, **request), progress=advance)
    if json:
        print_json(report.as_json())
    else:
        total = report.allowed + report.refused
        notice(f"{report.allowed:,} of {total:,} tokens in {report.rows:,} rows have their values in {request['out']}"
               if report.written else f"{request['out']}: not written, because the request itself is refused",
               style="yellow" if report.refused else "green")  # fmt: skip
        if report.redacted:
            notice(f"  {counted(report.redacted, 'cell holds', 'cells hold')} no token: redacted")
        for rule, count in sorted(report.rules.items()):
            if rule != "permitted":
                notice(f"  {count:,} refused ({rule}): {report.says[rule]}", style="yellow")
    if report.refused:
        raise typer.Exit(1)

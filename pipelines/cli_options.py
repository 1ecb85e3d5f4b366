"""Options that several commands share, and the way from ``--config`` to a project.

Each command takes ``--config`` itself, and each group of commands takes it too, so that it may stand anywhere after
the first word.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.consent import parse_instant
from ..schemas.errors import ConfigError

if TYPE_CHECKING:
    from ..schemas.project import Project

__all__ = [
    "DEFAULT_CONFIG",
    "FLAG",
    "AtOption",
    "ConfigOption",
    "JsonOption",
    "UnusedConfigOption",
    "config_path",
    "instant_or_now",
    "now_us",
    "open_project",
    "remember_config",
    "utf8_text",
]

DEFAULT_CONFIG = Path("consentry.yaml")

BEGIN = "run `consentry init DIR`, or name one with --config FILE"

FLAG = ""
"""Metavar of an option that takes no value; without it the help would show one."""

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The project's configuration.", show_default="consentry.yaml"),
]
UnusedConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Not needed here; taken, as by every command.", hidden=True),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print one JSON document on standard output.")]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="INSTANT", help="RFC 3339 with an offset, as 2026-03-01T09:00:00Z. Default: now."),
]


def remember_config(context: typer.Context, config: ConfigOption = None) -> None:
    """Keeps a ``--config`` that stands before the name of a sub-command."""
    if config is not None:
        context.obj = config


def open_project(context: typer.Context, config: Path | None, *, otherwise: str = BEGIN) -> Project:
    """Returns the project of ``--config``, of the group's ``--config``, or of the working folder.

    Args:
        context: Of the command.
        config: Its ``--config``.
        otherwise: What to do where there is none.

    Raises:
        ConfigError: There is no such file, or it breaks its rules.
    """
    from ..schemas.project import read_project

    path = config_path(context, config)
    if not path.exists():
        raise ConfigError(f"{path}: there is no configuration here; {otherwise}")
    return read_project(path)


def config_path(context: typer.Context, config: Path | None) -> Path:
    """Returns the path of the configuration: ``--config``, the group's ``--config``, or that of the working folder."""
    path: Path = config or context.obj or DEFAULT_CONFIG
    return path


def now_us() -> int:
    """The clock: microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


def instant_or_now(at: str | None) -> int:
    """Returns ``--at`` in microseconds UTC, or the clock's time.

    Raises:
        ConfigError: Not an instant with an offset.
    """
    if at is None:
        return now_us()
    try:
        return parse_instant(at)
    except ValueError:
        raise ConfigError("--at: not an instant; write RFC 3339 with an offset, as 2026-03-01T09:00:00Z") from None


def utf8_text(text: str | None) -> str | None:
    """Returns ``text``, or refuses what the system could not decode, before it reaches a key or a log.

    Raises:
        ConfigError: The text is not UTF-8.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise ConfigError("an option or argument is not UTF-8 text; write it in UTF-8") from None
    return text

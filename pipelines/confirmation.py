"""What cannot be undone is confirmed: at a terminal by an answer, everywhere else by ``--yes``."""

from __future__ import annotations

import sys

import typer

from ..schemas.errors import ConfigError

__all__ = ["confirm"]


def confirm(question: str, *, command: str, yes: bool) -> None:
    """Asks at a terminal whether to go on, on standard error; asks nobody where ``yes`` says so.

    Args:
        question: Says what is about to happen.
        command: Whose question it is, for the refusal.
        yes: Whether it was confirmed beforehand.

    Raises:
        ConfigError: The answer is no, or standard input is no terminal; nothing was done.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{command}: cannot be undone, and standard input is no terminal to confirm it at; add --yes; nothing was "
            "done",
            reason="not_confirmed",
        )
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise ConfigError(f"{command}: was not confirmed; nothing was done", reason="not_confirmed")

"""``consentry detokenize``: one purpose, one role, one actor; every answer is logged first. Never loads Beam."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .cli_options import ConfigOption, JsonOption, now_us, open_project, utf8_text
from .console import notice, print_json, print_table

__all__ = ["detokenize"]


def detokenize(
    context: typer.Context,
    domain: Annotated[
        str, typer.Argument(metavar="DOMAIN", callback=utf8_text, help="The token domain, as the policy names it.")
    ],
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN…", help="Tokens; - reads them from standard input.")],
    purpose: Annotated[str, typer.Option(metavar="P", callback=utf8_text, help="What the value is needed for.")],
    role: Annotated[str, typer.Option(metavar="R", callback=utf8_text, help="The role in which the actor asks.")],
    actor: Annotated[str, typer.Option(metavar="A", callback=utf8_text, help="Who asks; written to the access log.")],
    subject: Annotated[
        str | None, typer.Option(metavar="S", callback=utf8_text, help="The customer whose permission decides.")
    ] = None,
    key_version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Needed only where a token fits two key versions.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Get raw values back for a purpose that the policy and the customer allow.

    A refusal says why in one sentence and what may be offered instead. Every
    answer is in the access log before it is shown. Exit code 1 if any token is
    refused.
    """
    from .desk import open_desk

    project = open_project(context, config)
    asked = [token for text in tokens for token in (_standard_input() if text == "-" else [_decoded(text)])]
    with open_desk(project, clock=now_us) as desk:
        answers = desk.detokenize(
            domain, asked, purpose=purpose, role=role, actor=actor, subject=subject, key_version=key_version
        )
    if json:
        print_json([answer.as_json() for answer in answers])
    else:
        rows = [(answer.token, answer.decision, answer.value, answer.shown) for answer in answers]
        print_table(f"{domain} for {purpose}", ("token", "decision", "value", "shown"), rows)
        refusals = {answer.says: answer.options for answer in answers if answer.decision == "refused"}
        for says, options in refusals.items():
            notice(says, style="yellow")
            for option in options:
                notice(f"  • {option.says}")
    if any(answer.decision == "refused" for answer in answers):
        raise typer.Exit(1)


def _standard_input() -> list[str]:
    """Lines of standard input without their ends; empty lines are no tokens.

    Bytes that are no UTF-8 become U+FFFD, so that their line is refused as no token and the others are answered.
    """
    lines = sys.stdin.buffer.read().decode("utf-8-sig", "replace").split("\n")
    return [line.strip() for line in lines if line.strip()]


def _decoded(argument: str) -> str:
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

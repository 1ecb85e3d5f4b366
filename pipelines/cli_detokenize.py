"""``consentry detokenize``: one purpose, one role, one actor; every answer is logged first. Never loads Beam."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError
from .cli_detokenize_file import check_file_use, check_no_file_use, detokenize_into
from .cli_options import FLAG, ConfigOption, JsonOption, now_us, open_project, utf8_text
from .console import counted, notice, print_json, print_table, print_texts

if TYPE_CHECKING:
    from ..transforms.access.detokenize import Answer, Desk

__all__ = ["detokenize"]

STANDARD_INPUT = "-"


def detokenize(
    context: typer.Context,
    purpose: Annotated[str, typer.Option(metavar="P", callback=utf8_text, help="What the value is needed for.")],
    role: Annotated[str, typer.Option(metavar="R", callback=utf8_text, help="The role in which the actor asks.")],
    actor: Annotated[str, typer.Option(metavar="A", callback=utf8_text, help="Who asks; written to the access log.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DOMAIN TOKEN…",
            show_default=False,
            help="The token domain, as the policy names it, and tokens; with --text texts alone. "
            "- reads them from standard input.",
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", metavar=FLAG, help=r"All arguments are texts with tokens as \[card:1:TOKEN].")
    ] = False,
    null: Annotated[
        bool,
        typer.Option("--null", "-z", metavar=FLAG, help="Texts on standard input, and printed, end with NUL."),
    ] = False,
    subject: Annotated[
        str | None, typer.Option(metavar="S", callback=utf8_text, help="The customer whose permission decides.")
    ] = None,
    key_version: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Needed only where a token fits two key versions.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Parquet, CSV or JSON Lines with a column of tokens.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="C", callback=utf8_text, help="With --from: that column, or a path into it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="With --from: where the values go.")] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="D", callback=utf8_text, help="With --from: token domain, where the file does not say it."
        ),
    ] = None,
    subject_column: Annotated[
        str | None,
        typer.Option(metavar="S", callback=utf8_text, help="With --from: who decides about each row, by their raw id."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Get raw values back for a purpose that the policy and the customer allow.

    A refusal says why in one sentence and what may be offered instead. Every
    answer is in the access log before it is shown. Exit code 1 if any token is
    refused.

    With --text, free text comes back with its values; a refused token stays as
    it stands. Each token in it tells its domain and key version. Standard input
    holds a text per line and each comes out as a line, so this is a filter:

        consentry detokenize --text - --purpose P --role R --actor A < notes.txt

    A text of several lines is given as an argument, or with --null, where NUL
    ends each text: a file that has none is one text. Before arguments that
    begin with a dash put --.

    With --from, a file comes back with values in the place of a column's tokens:

        consentry detokenize --from orders.parquet --column card --out cards.parquet …

    Refused tokens become null, and a column C_rule says why. The file is for
    you alone (mode 0600), appears when it is complete, and replaces nothing.
    """
    if source is not None:
        check_file_use({"words": words, "--text": text, "--null": null}, column=column, out=out)
        detokenize_into(
            open_project(context, config),
            {"purpose": purpose, "role": role, "actor": actor},
            {"source": source, "column": column, "out": out, "domain": domain, "key_version": key_version,
             "subject": subject, "subject_column": subject_column},
            json=json,
        )  # fmt: skip
        return
    check_no_file_use({"column": column, "out": out, "domain": domain, "subject-column": subject_column})
    _check_use(context, words or [], text=text, null=null, key_version=key_version)
    from .desk import open_desk

    who = {"purpose": purpose, "role": role, "actor": actor}
    project = open_project(context, config)
    first, given = (None, words or []) if text else (utf8_text((words or [])[0]), (words or [])[1:])
    asked = list(_asked(given, text=text, null=null))
    with open_desk(project, clock=now_us) as desk:
        if first is None:
            complete = _texts(desk, asked, who, subject, json=json, end="\0" if null else "\n")
        else:
            complete = _tokens(desk, first, asked, who, subject, key_version, json=json)
    if not complete:
        raise typer.Exit(1)


def _check_use(context: typer.Context, words: list[str], *, text: bool, null: bool, key_version: int | None) -> None:
    missing = next((name for place, name in enumerate(_arguments(text)) if place >= len(words)), None)
    if missing is not None:
        raise ConfigError(f"Missing argument '{missing}'; see `consentry {context.info_name} --help`")
    if text and key_version is not None:
        raise ConfigError("--key-version: not with --text, where each token says its own; leave it out")
    if null and not text:
        raise ConfigError("--null: only with --text; tokens on standard input are one per line")


def _arguments(text: bool) -> tuple[str, ...]:
    return ("TEXT…",) if text else ("DOMAIN", "TOKEN…")


def _asked(words: Iterable[str], *, text: bool, null: bool) -> Iterator[str]:
    """Arguments, and what standard input holds where one is ``-``.

    Bytes that are no UTF-8 become U+FFFD, so that their token is refused, and the others are answered.
    """
    for word in words:
        if word != STANDARD_INPUT:
            yield word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            continue
        parts = sys.stdin.buffer.read().decode("utf-8-sig", "replace").split("\0" if null else "\n")
        if text:
            # What follows the last end is a text only if there is something.
            yield from parts if parts[-1] else parts[:-1]
        else:
            yield from (part.strip() for part in parts if part.strip())


def _tokens(
    desk: Desk,
    domain: str,
    tokens: Sequence[str],
    who: Mapping[str, str],
    subject: str | None,
    key_version: int | None,
    *,
    json: bool,
) -> bool:
    answers = desk.detokenize(domain, tokens, **who, subject=subject, key_version=key_version)
    if json:
        print_json([answer.as_json() for answer in answers])
    else:
        rows = [(answer.token, answer.decision, answer.value, answer.shown) for answer in answers]
        print_table(f"{domain} for {who['purpose']}", ("token", "decision", "value", "shown"), rows)
        _explain(answers)
    return all(answer.decision == "allowed" for answer in answers)


def _texts(
    desk: Desk, texts: Sequence[str], who: Mapping[str, str], subject: str | None, *, json: bool, end: str
) -> bool:
    from ..transforms.access.texts import detokenize_texts

    restored = detokenize_texts(desk, texts, **who, subject=subject)
    if json:
        print_json([each.as_json() for each in restored])
    else:
        print_texts([each.text for each in restored], end=end)
        answers = [span.answer for each in restored for span in each.spans]
        refused = sum(answer.decision == "refused" for answer in answers)
        if refused:
            of = counted(len(answers), "token", "tokens")
            stay = "was refused and stays as it stands" if refused == 1 else "were refused and stay as they stand"
            notice(f"{refused:,} of {of} {stay}", style="yellow")
        _explain(answers)
    return all(each.complete for each in restored)


def _explain(answers: Iterable[Answer]) -> None:
    """Prints each reason for a refusal once, with what may be offered instead."""
    refusals = {answer.says: answer.options for answer in answers if answer.decision == "refused"}
    for says, options in refusals.items():
        notice(says, style="yellow")
        for option in options:
            notice(f"  • {option.says}")

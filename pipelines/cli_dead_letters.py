"""``consentry dead-letters``: what could not be processed, and how it is processed after all. Shows no value."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..schemas.errors import ConfigError
from .beam_output import without_tracebacks
from .cli_options import (
    AtOption,
    ConfigOption,
    JsonOption,
    instant_or_now,
    now_us,
    open_project,
    remember_config,
    utf8_text,
)
from .console import notice, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..schemas.project import Project
    from .letter_trial import ReplayReport
    from .letters import StoredLetter

__all__ = ["dead_letters_app"]

KAFKA = "kafka://"

dead_letters_app = typer.Typer(
    help="Look at dead letters, and replay them once their cause is repaired.", no_args_is_help=True
)
dead_letters_app.callback()(remember_config)

FolderArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="An output of `consentry protect` or `stream`.", callback=utf8_text)
]
LettersArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR", help="An output of `consentry protect` or `stream`; kafka:// for a topic.", callback=utf8_text
    ),
]


@dead_letters_app.command("list")
def list_(
    context: typer.Context, folder: LettersArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Count dead letters by stage, reason and source, and tell how many can still be opened.

    Reads only files that the signed manifest lists; of a topic, all that is on
    the one for dead letters. --json lists each letter with its id.
    """
    from .letter_listing import list_letters

    project = open_project(context, config)
    found = list_letters(_letters_of(folder, project), project, now=now_us())
    document = found.as_json()
    if json:
        print_json(document)
        return
    columns = ("stage", "reason", "source", "letters", "oldest", "newest", "openable", "until")
    rows = [tuple(group[name] for name in columns) for group in document["groups"]]
    print_table(f"{folder}: {document['total']} dead letters", columns, rows)
    if document["time_over"] or document["subject_erased"]:
        notice(
            f"{document['time_over']} can be opened no more because their time is over, "
            f"{document['subject_erased']} because their subject was erased."
        )


@dead_letters_app.command()
def show(
    context: typer.Context,
    folder: LettersArgument,
    letter: Annotated[
        str, typer.Argument(metavar="ID", help="Of the letter, as list --json tells it.", callback=utf8_text)
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show where one dead letter comes from, what its reason means, what to do, and which fields it has. No values."""
    document = _shown(context, folder, letter, config)
    if json:
        print_json(document)
        return
    names = ("id", "dataset", "source", "position", "stage", "reason", "sealed_since", "access", "until", "holds")
    print_table(f"Dead letter {document['id']}", ("what", "is"), [(name, document[name]) for name in names])
    if document["shape"] is not None:
        print_table("Its fields", ("path", "type"), [(each["path"], each["type"]) for each in document["shape"]])
    notice(document["says"])
    notice(document["next"])


def _shown(context: typer.Context, folder: str, letter: str, config: Any) -> Any:
    from ..schemas.policy_file import read_policy
    from ..transforms.stores.data_keys import open_data_keys
    from .keyring_files import open_vault_keys
    from .letter_listing import show_letter

    project = open_project(context, config)
    policy = read_policy(project.policy)
    with closing(open_data_keys(project.data_keys, open_vault_keys(project))) as data_keys:
        return show_letter(_letters_of(folder, project), letter, project, policy, data_keys, now=now_us())


def _letters_of(out: str, project: Project) -> Iterator[list[StoredLetter]]:
    if out.startswith(KAFKA):
        return _letters_on_topic(out)
    from ..transforms.crypto.key_sets import PublicKeys
    from .letters import open_letter_output, stored_letters

    return stored_letters(open_letter_output(out, PublicKeys.load(project.trust)))


def _letters_on_topic(out: str) -> Iterator[list[StoredLetter]]:
    from .engines.topic_letters import topic_letters

    others: list[str] = []
    yield from topic_letters(out, others.append)
    if others:
        notice(f"{len(others)} messages are no dead letters, the first at {others[0]}: who else writes to the topic?")


@dead_letters_app.command()
def replay(
    context: typer.Context,
    folder: FolderArgument,
    reason: Annotated[
        str | None, typer.Option(metavar="R", help="Only letters of this reason.", callback=utf8_text)
    ] = None,
    at: AtOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Process dead letters again, with policy and consents as they are now, after their cause was repaired.

    Publishes a new state of DIR at one moment: the rows that were there, those
    that were recovered, and the letters that remain. Letters that fail again can
    be opened no longer than before. Letters whose key is destroyed stay. A stream
    that writes to DIR must be stopped first.
    """
    _check_reason(reason)
    with without_tracebacks():
        report = _replayed(open_project(context, config), folder, now=instant_or_now(at), reason=reason)
    if json:
        print_json(report.as_json())
    else:
        _summarise(report, folder)


def _check_reason(reason: str | None) -> None:
    from .letter_reasons import known_reasons

    if reason is not None and reason not in (known := known_reasons()):
        raise ConfigError(f"--reason: there is no such reason; write one of: {', '.join(known)}; nothing was done")


def _replayed(project: Project, folder: str, *, now: int, reason: str | None) -> ReplayReport:
    from .streams.output import is_stream_output

    if is_stream_output(folder):
        from .streams.stream_replay import replay_stream_letters

        return replay_stream_letters(project, folder, now=now, reason=reason)
    from .letter_replay import replay_letters

    return replay_letters(project, folder, now=now, reason=reason)


def _summarise(report: ReplayReport, folder: str) -> None:
    names = ("tried", "recovered", "dropped", "failed", "waiting", "skipped", "closed")
    print_table(f"{folder}: dead letters", ("letters", "count"), [(name, getattr(report, name)) for name in names])
    books = report.manifest.books
    notice(f"In {books.in_:,} = out {books.out:,} + dropped {books.dropped:,} + dead-lettered {books.dead_lettered:,}")
    if report.waiting:
        notice(
            f"{report.waiting:,} have a field that the stream has not met yet; start the stream, and replay them when "
            "a record with it has come."
        )
    if not report.changed:
        notice("Nothing changed.")

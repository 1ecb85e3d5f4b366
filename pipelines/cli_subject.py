"""``consentry subject``: the rights of a data subject. Without outputs, nothing here loads Beam."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..schemas.errors import ConfigError, OutputError
from .beam_output import without_tracebacks
from .cli_options import (
    FLAG,
    ConfigOption,
    JsonOption,
    instant_or_now,
    now_us,
    open_project,
    remember_config,
    utf8_text,
)
from .confirmation import confirm
from .console import counted, notice, print_json, print_table

if TYPE_CHECKING:
    from ..schemas.certificate import Certificate
    from .subject_traces import SubjectTraces

__all__ = ["subject_app"]

STANDARD_INPUT = "-"
UNKNOWN = "Nothing is known of this id in the vault, the ledger and the data keys: is it as the datasets spell it?"

subject_app = typer.Typer(
    help="The rights of a data subject: what is held on a person, and its erasure.", no_args_is_help=True
)
subject_app.callback()(remember_config)
certificate_app = typer.Typer(help="Certificates of erasures.", no_args_is_help=True)
subject_app.add_typer(certificate_app, name="certificate")

SubjectOption = Annotated[
    str,
    typer.Option(
        metavar="S",
        callback=utf8_text,
        help="The person's id, as the datasets spell it; - reads it from standard input.",
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs", metavar="DIR", callback=lambda each: each, help="An output; several may follow each other."
    ),
]


@subject_app.command(context_settings={"allow_extra_args": True})
def export(
    context: typer.Context,
    subject: SubjectOption,
    actor: Annotated[str, typer.Option(metavar="A", callback=utf8_text, help="Who exports; in the access log.")],
    outputs: OutputsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write there, readable by its owner alone.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show everything that is held on one person: values, consents, purposes, and who saw what.

    Values are opened, so each stands in the access log, as does the export. Of
    dead letters in the outputs named, it tells where and why, not what.
    """
    from .subject_export import export_subject

    project = open_project(context, config)
    folders = _outputs(context, outputs)
    with without_tracebacks():
        found = export_subject(project, _subject(subject), actor=actor, outputs=folders, clock=now_us).document
    if out is not None:
        _write_private(out, found)
        notice(f"{out}: written; it holds raw values: give it to the person, and remove it")
    elif json:
        print_json(found)
    else:
        _show(found)
    if not found["known"]:
        notice(f"{UNKNOWN} No value is held.", style="yellow")


@subject_app.command(context_settings={"allow_extra_args": True})
def erase(
    context: typer.Context,
    subject: SubjectOption,
    outputs: OutputsOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", metavar=FLAG, help="Go on with an erasure that was begun; begin none.")
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="Default: certificates/CASE.json beside the configuration."),
    ] = None,
    hold_until: Annotated[
        str | None,
        typer.Option(metavar="INSTANT", help="A legal obligation holds back what it needs no longer than so."),
    ] = None,
    no_hold: Annotated[
        bool, typer.Option("--no-hold", metavar=FLAG, help="Hold nothing back, and release what was held back.")
    ] = False,
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all-rows", metavar=FLAG, help="Redact, or drop, all rows of outputs that tell of none whose it is."
        ),
    ] = False,
    without: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="An output named before that is gone for good.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", metavar=FLAG, help="Do not ask. Needed where standard input is no terminal.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a person: crypto-shred what is sealed, redact the outputs named, check it, and certify it.

    Interrupted, run it again: it goes on where it was, and never says done
    before it is. The person is named each time, because nothing here keeps
    the id. More outputs may be named later; that gives a new certificate.

    Asks at a terminal before it begins; elsewhere --yes is needed. What was
    begun already goes on with --resume without a question.
    """
    from .held_values import lost_words
    from .lost_holds import hold_states
    from .subject_erasure import EraseOptions, erase_subject
    from .subject_traces import traces_of

    project = open_project(context, config)
    if no_hold and hold_until is not None:
        raise ConfigError("--hold-until: not with --no-hold; leave one of them out")
    options = EraseOptions(
        outputs=_outputs(context, outputs),
        without=tuple(without or ()),
        all_rows=all_rows,
        hold=not no_hold,
        hold_until=None if hold_until is None else instant_or_now(hold_until),
        resume=resume,
    )
    person = _subject(subject)
    traces = traces_of(project, person)
    for hold in hold_states(project, now=now_us()):
        if hold.is_lost:
            notice(lost_words(hold.case, hold.domain), style="red")
    confirm(_question(traces, len(options.outputs)), command="subject erase", yes=yes or resume)
    with without_tracebacks():
        made = erase_subject(project, person, options, clock=now_us)
    path = certificate or project.root / "certificates" / f"{made.case}.json"
    _write_certificate(path, made.dumps())
    if json:
        print_json(made.as_json())
    else:
        _tell(made)
    notice(f"{path}: the certificate; check it with: consentry subject certificate verify {path} --trust proof.pub")
    if not traces.is_known:
        notice(f"{UNKNOWN} The erasure stands all the same: later records of this id permit nothing.", style="yellow")


@subject_app.command()
def cases(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the erasures and how far they are. Names nobody, and needs no key."""
    from .subject_erasure import listed_erasures

    found = listed_erasures(open_project(context, config))
    if json:
        print_json(found)
    else:
        rows = [(each["case"], each["state"], each["requested_at"], len(each["outputs"])) for each in found]
        print_table("Erasures", ("case", "state", "requested at", "outputs"), rows)


@subject_app.command()
def held(
    context: typer.Context,
    case: Annotated[str, typer.Option(metavar="CASE", callback=utf8_text, help="The erasure; `cases` lists them.")],
    purpose: Annotated[str, typer.Option(metavar="P", callback=utf8_text, help="Of basis legal_obligation.")],
    role: Annotated[str, typer.Option(metavar="R", callback=utf8_text, help="The role in which the actor asks.")],
    actor: Annotated[str, typer.Option(metavar="A", callback=utf8_text, help="Who asks; written to the access log.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a legal obligation holds back of an erased person, to who may see it for that obligation.

    Exit code 1 if there is nothing to see, whatever the reason.
    """
    from .held_values import show_held

    project = open_project(context, config)
    answers = show_held(project, case, purpose=purpose, role=role, actor=actor, clock=now_us)
    if json:
        print_json([answer.as_json() for answer in answers])
    else:
        rows = [(each.domain, each.token, each.value, each.shown) for each in answers]
        print_table(f"Held back for {purpose}", ("what", "token", "value", "shown"), rows)
    if not answers:
        notice("Nothing is held back there that this role may see for this purpose.", style="yellow")
        raise typer.Exit(1)


@certificate_app.command()
def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate of `consentry subject erase`.")],
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public keys to believe. Default: the configuration's.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check a certificate with nothing but the trusted public keys, and show what it says.

    Exit code 1 if it was changed, or is not signed by a trusted key.
    """
    from ..schemas.errors import IntegrityError
    from ..transforms.crypto.key_sets import PublicKeys
    from .cli_verify import TRUST
    from .erasure_certificate import verified_certificate

    believed = trust or open_project(context, config, otherwise=TRUST).trust
    try:
        found = verified_certificate(file, PublicKeys.load(believed))
    except IntegrityError as error:
        if json:
            print_json({"ok": False, "detail": str(error), "certificate": None})
        else:
            notice(str(error), style="red")
        raise typer.Exit(1) from None
    if json:
        print_json({"ok": True, "detail": "signed by a trusted key", "certificate": found.as_json()})
    else:
        _tell(found)
        notice(f"{file}: signed by the trusted key {found.signature.key_id if found.signature else ''}", style="green")


def _subject(subject: str) -> str:
    if subject != STANDARD_INPUT:
        return subject
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ConfigError("--subject -: standard input is not UTF-8 text; write it in UTF-8") from None


def _question(traces: SubjectTraces, outputs: int) -> str:
    if not traces.is_known:
        return f"{UNKNOWN} Record its erasure all the same? It cannot be undone."
    held = (
        f"{counted(traces.vault_entries, 'vault entry', 'vault entries')}, "
        f"{counted(traces.consent_events, 'consent event', 'consent events')}"
    )
    rewritten = f"; {counted(outputs, 'output is', 'outputs are')} rewritten" if outputs else ""
    return f"Erase this person for good ({held}{rewritten})? It cannot be undone."


def _outputs(context: typer.Context, outputs: list[str] | None) -> tuple[str, ...]:
    """The outputs of ``--outputs DIR…``: typer takes one for each option, the others are what is left over."""
    if context.args and not outputs:
        raise ConfigError(f"unexpected argument; see `consentry subject {context.info_name} --help`")
    found = (*(outputs or ()), *context.args)
    if any(each.startswith("-") for each in found):
        raise ConfigError(f"no such option; see `consentry subject {context.info_name} --help`")
    return tuple(dict.fromkeys(utf8_text(each) or "" for each in found))


def _write_private(path: Path, document: Any) -> None:
    import orjson

    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    from .private_file import private_file

    try:
        with private_file(path) as file:
            file.write(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name a new file of your own") from None


def _write_certificate(path: Path, text: str) -> None:
    """Writes the certificate whole or not at all; the journal keeps it, so that it can be had again."""
    from .private_file import replace_privately

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_privately(path, text.encode())
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); the erasure is certified; run it again with another "
            "--certificate"
        ) from None


def _show(found: dict[str, Any]) -> None:
    _table("Values", ("what", "value", "token", "of"), found["values"])
    _table("What they said", ("purpose", "decision", "effective_at", "source", "evidence"), found["consent_events"])
    _table("Why data is held", ("purpose", "basis", "permitted", "says"), found["purposes"])
    asked = ("at", "actor", "role", "purpose", "what", "decision", "shown")
    _table("Who asked for their values", asked, found["accesses"])
    _table("Dead letters", ("output", "stage", "reason", "source", "position"), found["dead_letters"])
    if found["held_back"]:
        _table("Held back for a legal obligation", ("what", "purposes", "until"), found["held_back"])
    if found["erased"]:
        notice("This person was erased.", style="yellow")


def _table(title: str, names: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    print_table(title, names, [tuple(row[name] for name in names) for row in rows])


def _tell(certificate: Certificate) -> None:
    rows = [("case", certificate.case), *certificate.steps.items(), ("vault entries", certificate.vault_entries)]
    print_table("Erasure", ("what", "is"), rows)
    outputs = [(each.path, each.rows, sum(each.removed.values()), each.letters) for each in certificate.outputs]
    print_table("Outputs", ("output", "rows searched", "removed", "dead letters, unreadable"), outputs)
    remains = [(each.what, each.until, each.says) for each in certificate.remains]
    print_table("What remains", ("what", "until", "says"), remains)

"""The command line: ``consentry COMMAND …``.

Exit codes: 0 done; 1 done, and the answer is no; 2 wrong use or configuration, nothing was done; 3 the run failed and
no output became visible, by SIGTERM too; 130 interrupted. Commands import what they need when they run: detokenization
never loads Beam.
"""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import typer

from ..schemas.errors import RUN_FAILED, PolicyError, PrivacyError, StoppedError
from .beam_output import set_up_logging
from .cli_audit import audit
from .cli_consent import consent_app
from .cli_dead_letters import dead_letters_app
from .cli_detokenize import detokenize
from .cli_init import init
from .cli_key_backup import backup, restore
from .cli_key_states import destroy, disable, enable
from .cli_keys import keys_app
from .cli_log import log_app
from .cli_outputs import outputs_app
from .cli_policy import policy_app
from .cli_protect import protect
from .cli_redact import redact
from .cli_retokenize import retokenize
from .cli_scan import scan
from .cli_stream import stream_app
from .cli_subject import subject_app
from .cli_vault import vault_app
from .cli_verify import verify
from .console import notice
from .interrupts import TerminatedError, end_at_once, interrupt_in_silence

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="consentry",
    help="Swaps card numbers and identifiers in data pipelines for format-preserving tokens, and keeps raw values "
    "only where the customer's consent allows.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.add_typer(policy_app, name="policy")
for command in (disable, enable, destroy, backup, restore):
    keys_app.command()(command)
app.add_typer(keys_app, name="keys")
app.add_typer(consent_app, name="consent")
app.add_typer(vault_app, name="vault")
app.command(context_settings={"ignore_unknown_options": True})(protect)
app.add_typer(stream_app, name="stream")
app.command()(retokenize)
app.add_typer(outputs_app, name="outputs")
app.command()(verify)
app.command()(audit)
app.command()(scan)
app.command()(detokenize)
app.command()(redact)
app.add_typer(subject_app, name="subject")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(vault_app, name="vault")
app.add_typer(log_app, name="log")


def main() -> None:
    """Runs the command line and exits with its code; an error prints what to do, never a traceback with values."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal cannot show is no reason to fail
    set_up_logging()
    interrupt_in_silence()
    try:
        app()
    except SystemExit as exit_:
        if exit_.code == INTERRUPTED:
            _end_interrupted()
        raise
    except StoppedError:
        _end_interrupted()
    except TerminatedError:
        notice("consentry: ended by SIGTERM; what was not complete did not become visible; run it again", style="red")
        end_at_once(RUN_FAILED)
    except PrivacyError as error:
        notice(_told(error), style="red")
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last door: a message could quote a value
        notice(
            f"consentry: internal error ({type(error).__name__} in {_place(error)}); no output became visible; "
            "please report this line",
            style="red",
        )
        sys.exit(RUN_FAILED)


def _end_interrupted() -> NoReturn:
    notice("consentry: interrupted; what was not complete did not become visible", style="red")
    end_at_once(INTERRUPTED)


def _told(error: PrivacyError) -> str:
    """The error's text; problems of files keep their place at the begin of each line, as editors understand it."""
    text = str(error)
    return text if isinstance(error, PolicyError) or "\n" in text else f"consentry: {text}"


def _place(error: BaseException) -> str:
    """Module and line of ``error``, which say where it happened without any value."""
    trace = error.__traceback__
    place = "unknown place"
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("consentry."):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place

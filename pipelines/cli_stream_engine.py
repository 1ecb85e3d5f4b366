"""``consentry stream --runner``: a stream on an engine that others operate; and what is signed and closed of it."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..schemas.errors import ConfigError
from .beam_output import without_tracebacks
from .cli_options import ConfigOption, JsonOption, now_us, open_project
from .console import notice, print_json

if TYPE_CHECKING:
    from ..schemas.manifest import Manifest
    from ..schemas.project import Project
    from .engines.launch import EngineOptions
    from .engines.manifests import EngineManifests
    from .engines.outputs import EngineOutput

__all__ = ["RunnerGroup", "close", "runner_arguments", "seal", "stream_on_engine"]

RUNNER = "--runner"
ARGUMENTS = "consentry.runner_arguments"


class RunnerGroup(TyperGroup):
    """A group of commands that takes options of a Beam runner, too, where ``--runner`` names one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps what is no option of the group for the runner, and parses the rest."""
        end = self._end_of_own(args)
        own, rest = args[:end], args[end:]
        known = {option for parameter in self.params for option in (*parameter.opts, *parameter.secondary_opts)}
        named = any(each.partition("=")[0] == RUNNER for each in own)
        others = [each for each in own if named and each.startswith("--") and each.partition("=")[0] not in known
                  and each != "--help"]  # fmt: skip
        ctx.meta[ARGUMENTS] = others
        return super().parse_args(ctx, [each for each in own if each not in others] + rest)

    def _end_of_own(self, args: list[str]) -> int:
        """Returns where the name of a command stands, behind which everything is its own; the end if there is none."""
        takers = [parameter for parameter in self.params if not getattr(parameter, "is_flag", False)]
        valued = {option for parameter in takers for option in parameter.opts}
        for place, each in enumerate(args):
            if each == "--" or (each in self.commands and (not place or args[place - 1] not in valued)):
                return place
        return len(args)


def runner_arguments(context: typer.Context) -> list[str]:
    """Returns the options of the runner that ``RunnerGroup`` has kept."""
    found: list[str] = context.meta.get(ARGUMENTS, [])
    return found


def stream_on_engine(project: Project, options: EngineOptions) -> None:
    """Launches a stream, and watches it until it ends or somebody stops this program."""
    from .engines.launch import run_on_engine

    with ExitStack() as opened, without_tracebacks():
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            opened.callback(signal.signal, name, signal.signal(name, lambda *_: stop.set()))
        ended = run_on_engine(project, options, watch=_Told().tell, stop=stop)
    if ended:
        notice(f"\nEnded; the same command goes on from here. Check it any time: consentry verify {options.out}")
    else:
        notice(
            f"\nThis program no longer watches; the job goes on at the engine, which can stop it. What it publishes is "
            f"signed by: consentry stream seal {options.out}"
        )


class _Told:
    """Tells on standard error how far a stream is, when it has come further."""

    def __init__(self) -> None:
        self._last: Any = None

    def tell(self, manifest: Manifest) -> None:
        books = manifest.books
        if books != self._last:
            self._last = books
            rest = f"{books.dropped:,} dropped + {books.dead_lettered:,} dead-lettered"
            notice(f"{books.in_:,} in = {books.out:,} out + {rest}")


def seal(
    context: typer.Context,
    out: Annotated[str, typer.Argument(metavar="DIR", help="The output of an engine, or kafka://…")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Sign what a stream on an engine has published by now; while `consentry stream --runner` watches, it does so."""
    from .engines.outputs import open_engine_output

    manifest = _manifests(open_project(context, config), open_engine_output(out)).seal(clock=now_us())
    if json:
        print_json(None if manifest is None else manifest.as_json())
    elif manifest is None:
        notice(f"{out}: nothing is published yet")
    else:
        _Told().tell(manifest)


def close(
    context: typer.Context,
    out: Annotated[str, typer.Argument(metavar="DIR", help="The output of an engine that was stopped, or kafka://…")],
    config: ConfigOption = None,
) -> None:
    """End a stream on an engine for good: its output is then one like that of files, to redact, retokenize, replay.

    Stop the job first. Whatever is still running can publish nothing more.
    """
    from .engines.outputs import open_engine_output

    project, output = open_project(context, config), open_engine_output(out)
    if not output.settings().closed:
        manifests = _manifests(project, output)
        if manifests.seal(clock=now_us()) is None:
            raise ConfigError(f"{out}: the stream has published nothing; there is nothing to close")
        output.close(lambda settings: manifests.hand_over(settings, clock=now_us()))
    notice(f"{out}: closed. Check it: consentry verify {out}")


def _manifests(project: Project, output: EngineOutput) -> EngineManifests:
    from ..schemas.policy_file import read_policy
    from .engines.manifests import EngineManifests
    from .keyring_files import open_proof_keys

    return EngineManifests(project, read_policy(project.policy), open_proof_keys(project), output)

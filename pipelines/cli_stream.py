"""``consentry stream``: protection of events as they come, in epochs, and how far it is."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..schemas.errors import ConfigError
from .beam_output import without_tracebacks
from .cli_options import FLAG, ConfigOption, JsonOption, open_project
from .cli_stream_watch import watch
from .console import notice, print_json, print_table

if TYPE_CHECKING:
    from ..schemas.project import Project
    from .streams.places import ReaderOptions
    from .streams.run import Observer, StreamOptions

__all__ = ["stream_app"]

MIB = 2**20

stream_app = typer.Typer(
    invoke_without_command=True,
    help="Protect events as they come, exactly once: from Kafka or Pub/Sub into Parquet files by day.",
)

OutOption = Annotated[str | None, typer.Option(metavar="DIR", help="The output, which grows by whole epochs.")]


@stream_app.callback()
def stream(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="The dataset that the events belong to.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URI",
            help="Events: kafka://HOST:PORT/TOPIC?group=NAME, pubsub://PROJECT/SUBSCRIPTION or dir://PATH.",
        ),
    ] = None,
    consents: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Consent events, drained before each epoch: kafka:// or pubsub://, as above."),
    ] = None,
    out: OutOption = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Send protected events to a topic as well: kafka://HOST:PORT/TOPIC or pubsub://PROJECT/TOPIC.",
        ),
    ] = None,
    message_format: Annotated[
        str, typer.Option("--format", metavar="json|avro", help="How messages hold events.")
    ] = "json",
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Avro schema of messages without a registry's header.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Schema registry of messages with a header.")
    ] = None,
    latency: Annotated[int, typer.Option(metavar="MS", min=20, help="Milliseconds that an epoch may take.")] = 300,
    memory: Annotated[int, typer.Option(metavar="MIB", min=64, help="Memory for the events of an epoch.")] = 1024,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve figures for a monitor there (OpenMetrics).")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", metavar=FLAG, help="Stop when nothing is left to read.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Protect events as they come: the same policy, consent and vault as for files, in small epochs.

    Every event ends in exactly one of data/, dead_letters/ or the count of dropped
    ones, through any crash: started again, the stream goes on where it was. Ctrl-C
    or SIGTERM finishes the epoch that has begun. Consents that arrive first govern
    first; what is learned later repairs the vault.
    """
    if context.invoked_subcommand is not None:
        if config is not None:
            context.obj = config
        return
    given = {"--dataset": dataset, "--from": source, "--out": out}
    missing = [name for name, value in given.items() if not (value or "").strip()]
    if missing or dataset is None or source is None or out is None:
        raise ConfigError(f"{', '.join(missing)}: is missing or blank; see `consentry stream --help`")
    project = open_project(context, config)
    from .streams.places import MessageFormat, ReaderOptions
    from .streams.run import StreamOptions

    if message_format not in tuple(MessageFormat):
        raise ConfigError(f"--format: write one of {', '.join(MessageFormat)}")
    reader = ReaderOptions(MessageFormat(message_format), schema=schema, registry=registry)
    options = StreamOptions(dataset=dataset, out=out, latency=latency / 1000, memory=memory * MIB)
    with ExitStack() as opened, without_tracebacks():
        observer = _observer(opened, metrics)
        _streamed(opened, project, options, reader, observer, until_idle, source=source, consents=consents, to=to)
    notice(f"\nStopped; start it again to go on. Check it any time: consentry verify {out}")


def _streamed(
    opened: ExitStack,
    project: Project,
    options: StreamOptions,
    reader: ReaderOptions,
    observer: Observer,
    until_idle: bool,
    *,
    source: str,
    consents: str | None,
    to: str | None,
) -> None:
    """Opens the places of a stream, which ``opened`` closes, and runs it until a signal or, if wished, until idle."""
    from ..schemas.policy_file import read_policy
    from ..transforms.protection_plan import dataset_of
    from .streams.places import open_source, open_topic
    from .streams.received import received_in
    from .streams.record_sink import open_sink
    from .streams.run import run_stream

    policy, received = read_policy(project.policy), received_in(project, options.out)
    place = open_source(source, reader, policy, dataset_of(policy, options.dataset), received=received)
    events, topic = opened.enter_context(closing(place)), None
    if consents is not None:
        topic = opened.enter_context(closing(open_topic(consents, option="--consents", received=received)))
    sink = None if to is None else opened.enter_context(closing(open_sink(to, read=(source, consents or ""))))
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        opened.callback(signal.signal, name, signal.signal(name, lambda *_: stop.set()))
    run_stream(
        project,
        options,
        source=events,
        consents=topic,
        observer=observer,
        stop=stop,
        until_idle=until_idle,
        sink=sink,
    )


def _observer(opened: ExitStack, metrics: str | None) -> Observer:
    """Returns who is told: a line where somebody watches, else a log; and a monitor, if it is wanted."""
    from .streams.watching import JsonLog, ProgressLine, Watchers

    observers: list[Any] = [ProgressLine() if sys.stderr.isatty() else JsonLog()]
    if metrics is not None:
        from .streams.metrics import open_metrics

        observers.append(opened.enter_context(open_metrics(metrics)))
    return Watchers(observers)


stream_app.command()(watch)


@stream_app.command()
def status(
    out: Annotated[str, typer.Argument(metavar="DIR", help="The output of a stream.")],
    json: JsonOption = False,
) -> None:
    """Tell how far a stream is: its last epoch, rates, lag, and what all epochs came to. It may run meanwhile."""
    from .streams.status import stream_status

    found = stream_status(out)
    if json:
        print_json(found.as_json())
        return
    print_table(f"{out}: {'running' if found.running else 'stopped'}", ("what", "value"), found.rows())
    print_table("Offsets", ("partition", "next"), sorted(found.offsets.items()))
    if found.reasons:
        print_table("Dead letters", ("reason", "count"), sorted(found.reasons.items()))

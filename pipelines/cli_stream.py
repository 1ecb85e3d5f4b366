"""``consentry stream``: protection of events as they come, in epochs, and how far it is."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from ..schemas.errors import ConfigError
from .beam_output import without_tracebacks
from .cli_options import FLAG, ConfigOption, JsonOption, open_project
from .cli_stream_engine import RunnerGroup, close, runner_arguments, seal, stream_on_engine
from .cli_stream_watch import watch
from .console import notice, print_json, print_table

if TYPE_CHECKING:
    from ..schemas.project import Project
    from .streams.message_source import MessageTopic
    from .streams.places import ReaderOptions
    from .streams.record_sink import RecordSink
    from .streams.run import Observer, StreamOptions
    from .streams.sources import StreamSource

    class _OpenPlaces(TypedDict):
        source: StreamSource
        consents: MessageTopic | None
        sink: RecordSink | None


__all__ = ["stream_app"]

MIB = 2**20

stream_app = typer.Typer(
    cls=RunnerGroup,
    invoke_without_command=True,
    help="Protect events as they come, exactly once: from Kafka or Pub/Sub into Parquet files by day.",
)

OutOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="The output, which grows by whole epochs; with --runner also kafka://HOST:PORT/TOPIC."
    ),
]


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
        typer.Option(metavar="URI", help="Consent events, each before what arrived after it: kafka:// or pubsub://."),
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
    latency: Annotated[
        int | None,
        typer.Option(
            metavar="MS", min=20, help="Milliseconds that an epoch may take.", show_default="300; 1000 with --runner"
        ),
    ] = None,
    memory: Annotated[int, typer.Option(metavar="MIB", min=64, help="Memory for the events of an epoch.")] = 1024,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve figures for a monitor there (OpenMetrics).")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", metavar=FLAG, help="Stop when nothing is left to read.")
    ] = False,
    runner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A Beam runner, for an engine that others operate; its options follow as --name=value.",
        ),
    ] = None,
    lanes: Annotated[int, typer.Option(metavar="N", min=1, help="With --runner: readers side by side.")] = 1,
    shards: Annotated[int, typer.Option(metavar="N", min=1, max=99, help="With --runner: deciders side by side.")] = 16,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0,
            help="Seconds that events wait for consents that arrive later; with --runner more than clocks differ.",
            show_default="0; 1 with --runner",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=1,
            help="With --runner: seconds without news of consents after which events become dead letters.",
        ),
    ] = 600.0,
    own_read: Annotated[
        bool, typer.Option("--own-read", metavar=FLAG, help="With DataflowRunner: let it read Kafka itself, not lanes.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option("--for", metavar="S", min=1, help="With --runner: read for so long, then end.")
    ] = None,
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
    if runner is not None:
        _refuse(metrics=metrics, until_idle=until_idle or None, avro=None if message_format == "json" else "")
        from .engines.launch import EngineOptions

        engine = EngineOptions(
            dataset=dataset, source=source, consents=consents, out=out, to=to,
            runner=runner, arguments=runner_arguments(context), lanes=lanes, shards=shards,
            latency=(latency or 1000) / 1000, wait=1.0 if wait is None else wait, patience=patience, seconds=seconds,
            own_read=own_read,
        )  # fmt: skip
        stream_on_engine(project, engine)
        return
    from .streams.run import StreamOptions

    places = _Places(source=source, consents=consents, to=to, reader=_reader(message_format, schema, registry))
    seconds_an_epoch = (latency or 300) / 1000
    options = StreamOptions(dataset=dataset, out=out, latency=seconds_an_epoch, memory=memory * MIB, wait=wait or 0.0)
    with ExitStack() as opened, without_tracebacks():
        _streamed(opened, project, options, places, _observer(opened, metrics), until_idle=until_idle)
    notice(f"\nStopped; start it again to go on. Check it any time: consentry verify {out}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where a stream reads and sends.

    Attributes:
        source: URI of the events.
        consents: URI of consent events; None: they come by other ways.
        to: URI of a topic for protected events; None: nobody gets them.
        reader: How messages hold events.
    """

    source: str
    consents: str | None
    to: str | None
    reader: ReaderOptions

    def open(self, opened: ExitStack, project: Project, options: StreamOptions) -> _OpenPlaces:
        """Opens all of them; ``opened`` closes them."""
        from ..schemas.policy_file import read_policy
        from ..transforms.protection_plan import dataset_of
        from .streams.places import open_source, open_topic
        from .streams.received import received_in
        from .streams.record_sink import open_sink

        policy, received = read_policy(project.policy), received_in(project, options.out)
        place = open_source(self.source, self.reader, policy, dataset_of(policy, options.dataset), received=received)
        found: _OpenPlaces = {"source": opened.enter_context(closing(place)), "consents": None, "sink": None}
        if self.consents is not None:
            topic = open_topic(self.consents, option="--consents", received=received, complete=True)
            found["consents"] = opened.enter_context(closing(topic))
        if self.to is not None:
            sink = open_sink(self.to, read=(self.source, self.consents or ""))
            found["sink"] = opened.enter_context(closing(sink))
        return found


def _refuse(**given: object) -> None:
    """Refuses what a stream on an engine does not have."""
    named = {"metrics": "--metrics", "until_idle": "--until-idle", "avro": "--format avro"}
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{named[name]}: is of streams on one machine; leave it out, or leave out --runner")


def _reader(message_format: str, schema: Path | None, registry: str | None) -> ReaderOptions:
    from .streams.places import MessageFormat, ReaderOptions

    if message_format not in tuple(MessageFormat):
        raise ConfigError(f"--format: write one of {', '.join(MessageFormat)}")
    return ReaderOptions(MessageFormat(message_format), schema=schema, registry=registry)


def _streamed(
    opened: ExitStack,
    project: Project,
    options: StreamOptions,
    places: _Places,
    observer: Observer,
    *,
    until_idle: bool,
) -> None:
    """Runs a stream until a signal or, if wished, until idle."""
    from .streams.run import run_stream

    found = places.open(opened, project, options)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        opened.callback(signal.signal, name, signal.signal(name, lambda *_: stop.set()))
    run_stream(project, options, observer=observer, stop=stop, until_idle=until_idle, **found)


def _observer(opened: ExitStack, metrics: str | None) -> Observer:
    """Returns who is told: a line where somebody watches, else a log; and a monitor, if it is wanted."""
    from .streams.watching import JsonLog, ProgressLine, Watchers

    observers: list[Any] = [ProgressLine() if sys.stderr.isatty() else JsonLog()]
    if metrics is not None:
        from .streams.metrics import open_metrics

        observers.append(opened.enter_context(open_metrics(metrics)))
    return Watchers(observers)


for command in (watch, seal, close):
    stream_app.command()(command)


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

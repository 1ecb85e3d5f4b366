"""Launches a stream on an engine, and signs what its shards publish for as long as it watches."""

# mypy: disable-error-code="no-untyped-call, misc"
from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.io.flink.flink_streaming_impulse_source import FlinkStreamingImpulseSource
from apache_beam.runners.runner import PipelineState
from apache_beam.transforms.periodicsequence import PeriodicImpulse

from ...schemas.errors import ConfigError, PrivacyError, RunError
from ...schemas.manifest import Manifest
from ...schemas.policy_file import read_policy
from ...schemas.project import Project
from ...transforms.consent_join import JoinLimits
from ...transforms.failures import failure_of
from ...transforms.protection_plan import dataset_domains, dataset_of, field_rules
from ...transforms.stage import SharedStage, StageConfig, settle_stage
from ..desk import check_stores
from ..keyring_files import open_proof_keys
from ..known_outputs import KnownOutput, place_of
from ..manifest_file import key_versions_of
from ..pipeline_runs import LOCAL_RUNNER, open_pipeline
from ..streams.kafka_place import parse_kafka_uri
from ..streams.places import KAFKA
from ..streams.pubsub_place import parse_pubsub_uri
from ..streams.record_sink import open_sink
from ..streams.run import note_stream
from .graph import GraphOptions, ProtectUnbounded
from .manifests import EngineManifests
from .outputs import EngineOutput, open_engine_output
from .own_reads import check_own_read, is_subscription
from .settings import EngineSettings
from .shard import ShardLimits

__all__ = ["EngineOptions", "run_on_engine", "ticks_of"]

TICK_SECONDS = 0.2
SEAL_SECONDS = 2.0
SEAL_SHARE = 10
"""How many times as long as it took to sign is waited before it is done again: a manifest lists all files."""
FLINK = frozenset({"FlinkRunner", "PortableRunner"})
DATAFLOW = frozenset({"DataflowRunner"})
OURS = frozenset({"PrismRunner"})
"""Runners that live and end with the launcher."""
FLINK_DEFAULTS = {
    "checkpointing_interval": "2000",
    "finish_bundle_before_checkpointing": None,
    "max_bundle_time_mills": "200",
    "externalized_checkpoints_enabled": None,
    "retain_externalized_checkpoints_on_cancellation": None,
}
"""Without the second one a stream that is fed by impulses stalls at its first checkpoint; the last two let a job be
started again from its last checkpoint when it was cancelled."""
PRISM_DEFAULTS = {"experiments": "prism_disable_sdf_split"}
"""Prism 2.77 splits a bundle that is slow, also where a key has state, and then works on that key twice at a time."""
ENDED = frozenset({PipelineState.DONE, PipelineState.FAILED, PipelineState.CANCELLED, PipelineState.DRAINED})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a stream runs on an engine.

    Attributes:
        dataset: The dataset of the policy that records belong to.
        source: URI of the topic of records, or on Dataflow of the subscription.
        consents: URI of that of consent events, likewise; None: they come into the ledger by other ways.
        out: Folder of the output, which all workers share, or URI of a topic that is the output.
        to: URI of a topic that gets protected records as well; None: none does.
        runner: Name of a Beam runner.
        arguments: Of the runner, as ``--name=value``.
        lanes: That read records side by side.
        shards: That decide and write side by side.
        latency: Seconds between two publications of a shard.
        wait: Seconds that records wait for consents that arrive a little later.
        patience: Seconds without news of consents after which records are given up, into the dead letters.
        seconds: After which nothing more is read, and the stream ends; None: it goes on.
        own_read: Whether Dataflow reads a topic of Kafka itself, in place of lanes.
    """

    dataset: str
    source: str
    consents: str | None
    out: str
    runner: str
    arguments: Sequence[str] = ()
    lanes: int = 1
    shards: int = 16
    to: str | None = None
    latency: float = 1.0
    wait: float = 0.0
    patience: float = 600.0
    seconds: float | None = None
    own_read: bool = False


def run_on_engine(
    project: Project,
    options: EngineOptions,
    *,
    watch: Callable[[Manifest], None],
    stop: threading.Event,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> bool:
    """Launches a stream, and watches it until it ends or this launcher is told to stop.

    Args:
        project: Names policy, keys and stores; workers find it under the same path.
        options: How to run.
        watch: Called with each manifest that is signed.
        stop: Set from outside. A runner that lives in the launcher ends with it; on any other the stream goes on.
        clock: Microseconds UTC.

    Returns:
        Whether the stream has ended.

    Raises:
        ConfigError: Policy, dataset, output or options do not fit; nothing was done.
        OutputError: The output cannot be used, or another launcher is at work.
        RunError: The engine failed; what was published stays, and it goes on from there when it is launched again.
    """
    _check(options)
    _check_own_read(options)
    output = open_engine_output(options.out)
    _check_places(options, output)
    policy = read_policy(project.policy)
    dataset_of(policy, options.dataset)
    keys = open_proof_keys(project)
    check_stores(project)
    started_at = clock()
    config = settle_stage(project, policy, options.dataset, now=started_at, started_at=started_at)
    with output.launching(_fresh(config, options, started_at)) as settings:
        config = replace(config, key_version=settings.key_version)
        note_stream(project, _known(config, settings, options.out))
        pipeline = open_pipeline(options.runner, _arguments(options))
        launch = secrets.token_hex(8)
        # An older job may take files back until it is shut out, so only then it is certain how far its shards are.
        output.begin_launch(launch)
        driven = pipeline | "Ticks" >> ticks_of(options)
        driven | "ProtectUnbounded" >> ProtectUnbounded(SharedStage(config), _graph(options, output, launch))
        manifests = EngineManifests(project, policy, keys, output)
        return _watched(pipeline, manifests, options, watch, stop, clock)


def _check(options: EngineOptions) -> None:
    if options.runner == LOCAL_RUNNER:
        raise ConfigError(f"--runner {LOCAL_RUNNER}: has no unbounded graphs; leave --runner out for one machine")
    for option, uri in (("--from", options.source), ("--consents", options.consents)):
        if uri is None or uri.startswith(KAFKA):
            continue
        if not is_subscription(uri):
            raise ConfigError(f"{option}: an engine reads kafka://HOST:PORT/TOPIC; leave --runner out for others")
        parse_pubsub_uri(uri)
        if options.runner not in DATAFLOW:
            raise ConfigError(f"{option}: of the engines only Dataflow reads pubsub://; name kafka://, or that runner")


def _check_own_read(options: EngineOptions) -> None:
    if not options.own_read:
        return
    if options.runner not in DATAFLOW:
        raise ConfigError("--own-read: is for DataflowRunner; on other engines lanes read, exactly: leave it out")
    check_own_read(options.source)


def _check_places(options: EngineOptions, output: EngineOutput) -> None:
    read = (options.source, options.consents or "")
    output.check(read)
    kafka = [parse_kafka_uri(uri).topic for uri in read if uri.startswith(KAFKA)]
    if len(set(kafka)) < len(kafka):
        raise ConfigError("--consents: is called as the topic of --from is; events and consents need a name each")
    if options.to is not None:
        if output.topic is not None:
            raise ConfigError("--to: --out is a topic already, which has all that one of --to would; leave --to out")
        with closing(open_sink(options.to, read=read)):
            pass


def _fresh(config: StageConfig, options: EngineOptions, started_at: int) -> EngineSettings:
    return EngineSettings(
        run=f"engine-{secrets.token_hex(8)}",
        tenant=config.project.tenant,
        dataset=config.dataset,
        source=_told_source(options.source),
        lanes=options.lanes,
        shards=options.shards,
        key_version=config.key_version,
        key_versions=key_versions_of(config).model_dump(),
        started_at=started_at,
        fields=field_rules(config.policy, config.dataset),
    )


def _told_source(uri: str) -> str:
    """Returns what people call a topic or a subscription, without hosts."""
    return (
        f"pubsub:{parse_pubsub_uri(uri).partition}" if is_subscription(uri) else f"kafka:{parse_kafka_uri(uri).topic}"
    )


def _known(config: StageConfig, settings: EngineSettings, out: str) -> KnownOutput:
    domains = sorted(dataset_domains(config.policy, config.dataset))
    return KnownOutput(
        place=place_of(out),
        run=settings.run,
        dataset=config.dataset,
        published=True,
        versions=dict.fromkeys(domains, settings.key_version),
        noted_at=settings.started_at,
    )


def _graph(options: EngineOptions, output: EngineOutput, launch: str) -> GraphOptions:
    join = JoinLimits(wait=_micros(options.wait), patience=_micros(options.patience))
    return GraphOptions(
        source=options.source,
        consents=options.consents,
        out=options.out if output.topic is not None else place_of(options.out),
        to=options.to,
        launch=launch,
        starts=output.published_ends(options.shards),
        consent_starts=output.consent_ends(),
        lanes=options.lanes,
        shards=options.shards,
        limits=ShardLimits(join=join, latency=_micros(options.latency)),
        in_order=options.runner not in DATAFLOW,
        own_read=options.own_read,
    )


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _arguments(options: EngineOptions) -> list[str]:
    given = ["--streaming", *options.arguments]
    defaults: Mapping[str, str | None] = FLINK_DEFAULTS if options.runner in FLINK else {}
    if options.runner in OURS:
        defaults = PRISM_DEFAULTS
    named = {argument.removeprefix("--").partition("=")[0] for argument in options.arguments}
    given += [f"--{name}" if value is None else f"--{name}={value}"
              for name, value in defaults.items() if name not in named or name == "experiments"]  # fmt: skip
    return given


def ticks_of(options: EngineOptions) -> Any:
    """Returns what gives a tick for each moment at which topics are looked at, as each engine does it best."""
    if options.runner in FLINK:
        source = FlinkStreamingImpulseSource().set_interval_ms(round(TICK_SECONDS * 1000))
        return source if options.seconds is None else source.set_message_count(round(options.seconds / TICK_SECONDS))
    if options.seconds is None:
        return PeriodicImpulse(fire_interval=TICK_SECONDS)
    return PeriodicImpulse(stop_timestamp=time.time() + options.seconds, fire_interval=TICK_SECONDS)


def _watched(
    pipeline: beam.Pipeline,
    manifests: EngineManifests,
    options: EngineOptions,
    watch: Callable[[Manifest], None],
    stop: threading.Event,
    clock: Callable[[], int],
) -> bool:
    failure: PrivacyError
    try:
        result = pipeline.run()
        pause = SEAL_SECONDS
        while (state := result.state) not in ENDED and not stop.wait(pause):
            began = time.monotonic()
            _sealed(manifests, watch, clock)
            pause = max(SEAL_SECONDS, SEAL_SHARE * (time.monotonic() - began))
        if state not in ENDED and options.runner in OURS:
            result.cancel()
        _sealed(manifests, watch, clock)
        if state != PipelineState.FAILED:
            return state in ENDED or options.runner in OURS
        failure = RunError("the engine ended the stream as failed; see its log, mend the cause, and launch it again")
    except PrivacyError:
        raise
    except Exception as error:  # noqa: BLE001 - runners raise what they like, and it may quote values
        failure = failure_of(error)
    raise failure from None


def _sealed(manifests: EngineManifests, watch: Callable[[Manifest], None], clock: Callable[[], int]) -> None:
    manifest = manifests.seal(clock=clock())
    if manifest is not None:
        watch(manifest)

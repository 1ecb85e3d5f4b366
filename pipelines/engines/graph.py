"""The unbounded graph: ticks drive lanes, lanes feed shards, shards publish. States and offsets are the engine's.

    ticks ─┬─ orders lane 0…n  (offsets in state) ──┐  sealed records, letters
           │                                        ├──► shard 0…m (sealed records in state) ──► files, vault
           └─ consents lane    (offsets in state) ──┘  watermarks

Pub/Sub has no offsets: Dataflow reads it itself (``own_reads``), in place of a lane.

No timer and no watermark of Beam is used: a timer that each element moves starves under a live stream, and the sources
of the engines that run Python do not move their watermarks alike. Watermarks travel as elements instead.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec

from ...schemas.errors import ConfigError
from ...transforms.failures import guarded
from ...transforms.stage import SharedStage
from ..streams.message_source import MessageTopic
from ..streams.places import open_topic
from ..streams.record_sink import RecordSink, open_sink
from .lanes import Advanced, ConsentLane, OrderLane
from .outputs import EngineOutput, ShardWork, open_engine_output
from .own_reads import HearMessages, SealMessages, is_subscription, name_of, read_by_engine
from .shard import Shard, ShardLimits
from .shard_memory import ShardMemory
from .shard_publication import ShardPlace
from .wire import Kind, Parcel, watermark_of

__all__ = ["GraphOptions", "ProtectUnbounded", "ShardFn"]

Keyed = tuple[int, bytes]

OFFSETS: Any = beam.DoFn.StateParam(ReadModifyWriteStateSpec("offsets", BytesCoder()))
HEAD: Any = beam.DoFn.StateParam(ReadModifyWriteStateSpec("head", BytesCoder()))
WAITING: Any = beam.DoFn.StateParam(BagStateSpec("waiting", BytesCoder()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """What a graph is made of; picklable, without secrets.

    Attributes:
        source: URI of the topic or subscription of records.
        consents: URI of that of consent events; None: they come into the ledger by other ways.
        out: Folder of the output, the same for all workers, or URI of a topic.
        to: URI of a topic that gets protected records as well; None: none does.
        launch: Id of the launch.
        starts: By partition of records, where lanes begin of which the engine remembers nothing.
        consent_starts: Likewise, of consents.
        lanes: That read records side by side.
        shards: That decide and write side by side.
        most: Records that a lane takes at each tick.
        limits: When a shard does what.
        in_order: Whether the engine gives a shard what a lane sends it in that order, also after it went back.
        own_read: Whether the engine reads a topic of Kafka itself, as it does a subscription.
    """

    source: str
    consents: str | None
    out: str
    launch: str
    to: str | None = None
    starts: Mapping[str, int] = field(default_factory=dict)
    consent_starts: Mapping[str, int] = field(default_factory=dict)
    lanes: int = 1
    shards: int = 16
    most: int = 20_000
    limits: ShardLimits = field(default_factory=ShardLimits)
    in_order: bool = True
    own_read: bool = False

    @property
    def reads_itself(self) -> bool:
        """Whether the engine reads records itself."""
        return self.own_read or is_subscription(self.source)

    @property
    def unordered(self) -> tuple[str, ...]:
        """Names of what the engine reads itself, of which nobody knows how far it has come."""
        own = [self.source] if self.reads_itself else []
        own += [uri for uri in (self.consents,) if uri is not None and is_subscription(uri)]
        return tuple(map(name_of, own))


class ProtectUnbounded(beam.PTransform[Any, Any]):
    """Protects a topic of records, driven by ticks.

    Args:
        shared: As it was settled when the stream was launched.
        options: Of the graph.
    """

    def __init__(self, shared: SharedStage, options: GraphOptions) -> None:
        super().__init__()
        self._shared = shared
        self._options = options

    def expand(self, input_or_inputs: Any) -> Any:
        """Takes ticks: elements of any kind, one for each moment at which the topics are looked at."""
        options, shared = self._options, self._shared
        ticks = input_or_inputs
        parcels = [self._orders(ticks), *self._heard(ticks.pipeline)]
        parcels.append(
            ticks
            | "TickConsents" >> beam.FlatMap(_for_each, 1).with_output_types(Keyed)
            | "Consents" >> beam.ParDo(_ConsentsFn(shared, options)).with_output_types(Keyed)
        )
        joined = parcels | "Shards" >> beam.Flatten()
        return joined | "Protect" >> beam.ParDo(ShardFn(shared, options)).with_output_types(bytes)

    def _orders(self, ticks: Any) -> Any:
        options, shared = self._options, self._shared
        if options.reads_itself:
            sealing = SealMessages(shared, options.source, options.shards)
            read = read_by_engine(ticks.pipeline, "ReadOrders", options.source)
            return read | "Seal" >> beam.ParDo(sealing).with_output_types(Keyed)
        return (
            ticks
            | "TickOrders" >> beam.FlatMap(_for_each, options.lanes).with_output_types(Keyed)
            | "Orders" >> beam.ParDo(_OrdersFn(shared, options)).with_output_types(Keyed)
        )

    def _heard(self, pipeline: Any) -> list[Any]:
        uri = self._options.consents
        if uri is None or not is_subscription(uri):
            return []
        read = read_by_engine(pipeline, "ReadConsents", uri)
        return [read | "Hear" >> beam.ParDo(HearMessages(self._shared, uri)).with_output_types(Keyed)]


def _for_each(_: Any, count: int) -> Iterator[Keyed]:
    """Yields a tick for each lane."""
    return ((number, b"") for number in range(count))


def _now() -> int:
    return time.time_ns() // 1000


class _LaneFn(beam.DoFn):
    """A lane whose offsets are in the engine's state."""

    def __init__(self, shared: SharedStage, options: GraphOptions) -> None:
        super().__init__()
        self._shared = shared
        self._options = options
        self._topic: MessageTopic | None = None

    def _moved(self, advanced: Advanced, before: dict[str, int], offsets: Any) -> Iterator[Keyed]:
        if advanced.offsets != before:
            offsets.write(json.dumps(dict(advanced.offsets)).encode())
        return ((shard, parcel.packed()) for shard, parcel in advanced.parcels)

    def teardown(self) -> None:
        """Closes the topic."""
        if self._topic is not None:
            with suppress(Exception), closing(self._topic):
                self._topic = None


def _read(offsets: Any, starts: Mapping[str, int]) -> dict[str, int]:
    stored = offsets.read()
    return dict(starts) if stored is None else json.loads(stored)


def _unreceived(subscription: str) -> Any:
    raise ConfigError(f"{subscription}: a stream on an engine reads Kafka; leave --runner out for others")


class _OrdersFn(_LaneFn):
    @guarded("open")
    def setup(self) -> None:
        self._stage = self._shared.open()
        self._lanes: dict[int, OrderLane] = {}

    @guarded("read")
    def process(self, element: Keyed, offsets: Any = OFFSETS) -> Iterator[Keyed]:
        lane, before = self._lane(element[0]), _read(offsets, self._options.starts)
        yield from self._moved(lane.advance(before, self._options.most), before, offsets)

    def _lane(self, number: int) -> OrderLane:
        options = self._options
        if self._topic is None:
            self._topic = open_topic(options.source, option="--from", received=_unreceived, lanes=options.lanes)
        if number not in self._lanes:
            self._lanes[number] = OrderLane(
                self._stage, self._topic, lane=number, lanes=options.lanes, shards=options.shards, clock=_now
            )
        return self._lanes[number]


class _ConsentsFn(_LaneFn):
    @guarded("open")
    def setup(self) -> None:
        self._stage = self._shared.open()
        self._lane: ConsentLane | None = None
        self._output: EngineOutput = open_engine_output(self._options.out)

    @guarded("consent")
    def process(self, element: Keyed, offsets: Any = OFFSETS) -> Iterator[Keyed]:
        options, before = self._options, _read(offsets, self._options.consent_starts)
        if self._lane is None:
            if options.consents is not None and not is_subscription(options.consents):
                self._topic = open_topic(options.consents, option="--consents", received=_unreceived, complete=True)
            self._lane = ConsentLane(self._stage, self._topic, shards=options.shards, clock=_now)
        advanced = self._lane.advance(before)
        if advanced.offsets != before:
            self._output.note_consents(advanced.offsets)
        yield from self._moved(advanced, before, offsets)


class ShardFn(beam.DoFn):
    """Shards, each in the engine's state; what waits there is sealed."""

    def __init__(self, shared: SharedStage, options: GraphOptions) -> None:
        super().__init__()
        self._shared = shared
        self._options = options

    @guarded("open")
    def setup(self) -> None:
        """Opens the stage, or joins the one of this process."""
        self._stage = self._shared.open()
        options = self._options
        read = (options.source, options.consents or "")
        self._sink = None if options.to is None else open_sink(options.to, read=read)
        output, config = open_engine_output(options.out), self._shared.config
        work = ShardWork(
            launch=options.launch,
            shards=options.shards,
            event_time=config.policy.datasets[config.dataset].event_time,
            sink=self._sink,
            in_order=options.in_order,
        )
        # All of them, before any state comes: see ``shard_output``.
        self._shards = [self._shard(output.shard(number, work)) for number in range(options.shards)]

    @guarded("protect")
    def process(
        self,
        element: Keyed,
        head: Any = HEAD,
        waiting: Any = WAITING,
    ) -> Iterator[bytes]:
        """Keeps a parcel waiting, or has the shard step; yields its number for each publication."""
        number, parcel = element[0], Parcel.unpacked(element[1])
        memory = ShardMemory.read(head.read())
        if parcel.kind is not Kind.WATERMARK:
            waiting.add(element[1])
            head.write(memory.with_waiting(parcel.rows, now=_now()).packed())
            if not memory.overdue(self._options.limits, now=_now()):
                return
            watermark = memory.watermark  # no news of consents for long: what waits is looked at all the same
        else:
            watermark = watermark_of(parcel.body)
            if not memory.due(watermark, self._options.limits):
                return
        memory = ShardMemory.read(head.read())
        stepped = self._shards[number].step(memory.state(waiting.read()), watermark)
        waiting.clear()
        after = ShardMemory.of(stepped.state)
        for left in after.parcels:
            waiting.add(left)
        head.write(after.packed())
        if stepped.note is not None:
            yield str(number).encode()

    def _shard(self, place: ShardPlace) -> Shard:
        options = self._options
        return Shard(
            self._shared,
            place,
            launch=options.launch,
            limits=options.limits,
            clock=_now,
            unordered=options.unordered,
        )

    def teardown(self) -> None:
        """Lets go of where shards publish, and closes the sink."""
        for shard in getattr(self, "_shards", ()):
            with suppress(Exception):
                shard.close()
        sink: RecordSink | None = getattr(self, "_sink", None)
        if sink is not None:
            with suppress(Exception):
                sink.close()

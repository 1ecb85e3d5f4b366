"""Random histories through the plain parts of a graph, replays and takeovers included, against a slow oracle.

What an engine does is played here: it hands parcels on in any order between shards, loses a worker now and then, goes
back to a checkpoint, and gives the same parcels again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.engines.intake import Intake
from consentry.pipelines.engines.outputs import ShardWork, open_engine_output
from consentry.pipelines.engines.settings import EngineSettings
from consentry.pipelines.engines.shard import Shard, ShardLimits, ShardState
from consentry.pipelines.engines.wire import Kind, Parcel, batch_of, bytes_of, watermark_of, watermark_parcel
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.consent import format_instant
from consentry.schemas.errors import RunError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.consent_join import Watermark, shard_rows
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.stage import SharedStage, settle_stage
from oracles.consent_oracle import Entry, Erased
from oracles.store_place import event_of
from oracles.stream_oracle import (
    BASES,
    DAY,
    LOOSE,
    START,
    STRICT,
    WHOLE,
    Arrivals,
    Fate,
    Order,
    Rules,
    StreamModel,
    policy_text,
    random_arrivals,
)
from oracles.topic_reader import chain_problems, messages_of
from servers.apache_kafka import ApacheKafka
from servers.fixtures import ON_APACHE

REDACTED = "[redacted]"
SHARDS = 3
SETTINGS = EngineSettings(
    run="engine-1", tenant="shop", dataset="orders", source="kafka:orders", lanes=1, shards=SHARDS, key_version=1,
    key_versions={}, started_at=START, fields={},
)  # fmt: skip


class PlayedEngine:
    """An engine in one process: states by shard, a checkpoint of all, parcels in flight."""

    def __init__(self, folder: Path, rules: Rules, seed: int, *, topic: str | None = None) -> None:
        write_project(folder / "shop", tenant="shop", now=START)
        (folder / "shop/policy.yaml").write_text(policy_text(rules))
        project = read_project(folder / "shop/consentry.yaml")
        config = settle_stage(project, read_policy(project.policy), "orders", now=START - 9 * DAY)
        self.shared = SharedStage(config)
        self.stage = self.shared.open()
        self.out = folder / "out"
        self.topic = topic
        self.output = open_engine_output(topic or str(self.out))
        self.chance = random.Random(seed)
        self.clock = START - 9 * DAY
        self.messages: list[tuple[int, bytes]] = []
        self._launch("first")
        self.intake = Intake(self.stage)
        self.shards = [self.shard(number) for number in range(SHARDS)]
        self.states = [ShardState() for _ in range(SHARDS)]
        self.wires: list[bytes] = []
        self.offset = 0

    def _launch(self, name: str) -> None:
        self.launch = name
        with self.output.launching(SETTINGS):
            self.output.begin_launch(name)

    def shard(self, number: int, sink: Any = None) -> Shard:
        config = self.shared.config
        event_time = config.policy.datasets[config.dataset].event_time
        work = ShardWork(launch=self.launch, shards=SHARDS, event_time=event_time, sink=sink)
        place = self.output.shard(number, work)
        return Shard(self.shared, place, launch=self.launch, limits=ShardLimits(latency=0), clock=lambda: self.clock)

    def waiting(self, numbers: list[int]) -> ShardState:
        """A fresh state in which some orders wait, all in shard 0."""
        order = {"customer": "ann", "card": None, "placed_at": format_instant(START)}
        values = [json.dumps({"number": number, **order}).encode() for number in numbers]
        taken = self.intake.take(Messages("orders/0", values, np.array(numbers)), read_at=self.clock)
        return ShardState(records=(taken.records,))

    def epoch(self, arrivals: Arrivals) -> None:
        """Consents arrive, then orders; both travel; and the engine may lose a worker on the way."""
        self.clock = max(self.clock + 1, arrivals.clock)
        parcels = self._taken_in(arrivals.orders)
        for entry in arrivals.consents:
            self._hear(entry)
        if self.chance.random() < 0.3:
            parcels = self._launched_anew()
        self.clock += 1
        news = watermark_parcel(Watermark(self.clock, self.stage.stores.ledger.position()))
        checkpoint = list(self.states)
        self._deliver(parcels, news)
        if self.chance.random() < 0.4:
            # Back to the checkpoint, on other workers for some shards; what travelled comes again, in other portions.
            self.states = checkpoint
            for number in range(SHARDS):
                if self.chance.random() < 0.5:
                    self.shards[number] = self.shard(number)
            self._deliver(self._in_other_portions(parcels), news)

    def _taken_in(self, orders: list[Order]) -> list[tuple[int, Parcel]]:
        values = [json.dumps({
            "number": order.number, "customer": order.subject, "card": order.card,
            "placed_at": None if order.event_time is None else format_instant(order.event_time),
        }).encode() for order in orders]  # fmt: skip
        offsets = np.arange(self.offset, self.offset + len(values), dtype=np.int64)
        self.offset += len(values)
        self.messages += zip(offsets.tolist(), values, strict=True)
        return self._sealed(values, offsets)

    def _launched_anew(self) -> list[tuple[int, Parcel]]:
        """Launches the stream again without any state of the engine, which thus reads again from where all are done."""
        self._launch(f"launch-{self.offset}")
        self.shards = [self.shard(number) for number in range(SHARDS)]
        self.states = [ShardState() for _ in range(SHARDS)]
        begin = self.output.published_ends(SHARDS).get("orders/0", 0)
        again = [message for message in self.messages if message[0] >= begin]
        return self._sealed([value for _, value in again], np.array([offset for offset, _ in again], np.int64))

    def _sealed(self, values: list[bytes], offsets: Any) -> list[tuple[int, Parcel]]:
        taken = self.intake.take(Messages("orders/0", values, offsets), read_at=self.clock)
        assert not taken.letters
        return [(number, Parcel(Kind.RECORDS, rows.num_rows, bytes_of(rows)))
                for number, rows in shard_rows(taken.records, SHARDS)]  # fmt: skip

    def _in_other_portions(self, parcels: list[tuple[int, Parcel]]) -> list[tuple[int, Parcel]]:
        found = []
        for number, parcel in parcels:
            rows = batch_of(parcel.body)
            cut = self.chance.randrange(rows.num_rows + 1)
            for part in (rows.slice(0, cut), rows.slice(cut)):
                if part.num_rows:
                    found.append((number, Parcel(Kind.RECORDS, part.num_rows, bytes_of(part))))
        return found

    def _deliver(self, parcels: list[tuple[int, Parcel]], news: Parcel) -> None:
        for number, parcel in parcels:
            element = parcel.packed()
            self.wires.append(element)
            received = Parcel.unpacked(element)
            state = self.states[number]
            self.states[number] = replace(state, records=(*state.records, batch_of(received.body)))
            if self.chance.random() < 0.3:  # an old watermark frees nothing that is new
                self._step(number, Watermark(START - DAY, 0))
        for number in self.chance.sample(range(SHARDS), SHARDS):
            self._step(number, watermark_of(Parcel.unpacked(news.packed()).body))

    def _step(self, number: int, watermark: Watermark) -> None:
        self.states[number] = self.shards[number].step(self.states[number], watermark).state

    def _hear(self, entry: Entry) -> None:
        ledger = self.stage.stores.ledger
        if isinstance(entry, Erased):
            ledger.record_erasure(self.reference(entry.subject), at=START)
        else:
            ledger.append([event_of(entry)], now=START)

    def reference(self, subject: str) -> bytes:
        reference = subject_reference(subject, self.stage.reference_key)
        assert reference is not None
        return reference

    def rows(self) -> list[dict[str, Any]]:
        if self.topic is not None:
            messages = messages_of(*self.topic.removeprefix("kafka://").split("/"))
            return [{"customer": None, "card": None, **json.loads(message.value)} for message in messages]
        return [row for path in sorted(self.out.glob("data/*/*.parquet")) for row in pq.read_table(path).to_pylist()]

    def held(self) -> dict[tuple[str, bytes], int]:
        vault: Any = self.stage.stores.vault
        vault.follow(self.stage.stores.ledger, self.stage._rules, self.clock)
        return {(key.token, key.subject_ref): time for entries in vault._table.judged(None) for key, time in entries}


def fates_of(rows: list[dict[str, Any]]) -> dict[int, list[frozenset[str]]]:
    """Which fields have tokens, for each row of an order."""
    found: dict[int, list[frozenset[str]]] = {}
    for row in rows:
        tokenized = frozenset(name for name in ("customer", "card") if row[name] not in (None, REDACTED))
        found.setdefault(row["number"], []).append(tokenized)
    return found


@pytest.mark.parametrize("seed", range(9))
def test_every_order_is_there_once_as_the_oracle_says_through_replays_and_takeovers(tmp_path: Path, seed: int) -> None:
    rules = (WHOLE, STRICT, LOOSE)[seed % 3]
    play(PlayedEngine(tmp_path, rules, seed), rules, seed)


@ON_APACHE
@pytest.mark.parametrize("seed", range(9, 12))
def test_every_order_is_on_a_topic_once_as_the_oracle_says_through_replays_and_takeovers(
    kafka: ApacheKafka, tmp_path: Path, seed: int
) -> None:
    rules = (WHOLE, STRICT, LOOSE)[seed % 3]
    topic = f"played-{seed}"
    make_topic(kafka, topic)
    out = f"kafka://{kafka.address}/{topic}"
    play(PlayedEngine(tmp_path, rules, seed, topic=out), rules, seed)
    assert chain_problems(out, shards=SHARDS) == []


def make_topic(kafka: ApacheKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    for made in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        made.result()


def play(engine: PlayedEngine, rules: Rules, seed: int) -> None:
    """Plays a random history on an engine, and compares all that it leaves with the oracle."""
    model = StreamModel(rules)
    wanted: dict[int, list[frozenset[str]]] = {}
    cards: dict[int, str] = {}
    dropped = 0
    with closing(engine.stage.stores.ledger), closing(engine.stage.stores.data_keys):
        for arrivals in random_arrivals(seed, subjects=150, purposes=list(BASES)):
            engine.epoch(arrivals)
            for order, fate in zip(arrivals.orders, model.epoch(arrivals), strict=True):
                assert isinstance(fate, Fate)
                cards[order.number] = order.card
                dropped += fate.dropped
                if not fate.dropped:
                    wanted.setdefault(order.number, []).append(fate.tokenized)
        rows = engine.rows()
        found = fates_of(rows)
        assert {number: sorted(map(sorted, each)) for number, each in found.items()} == {
            number: sorted(map(sorted, each)) for number, each in wanted.items()
        }
        tokens = {cards[row["number"]]: row["card"] for row in rows if row["card"] not in (None, REDACTED)}
        held = {(tokens[card], engine.reference(who)): at for (card, who), at in model.held.items()}
        assert engine.held() == held
    assert sum(map(len, wanted.values())) + dropped == engine.offset
    raw = b"".join(engine.wires) + b"".join(path.read_bytes() for path in engine.out.rglob("*") if path.is_file())
    assert not [card for card in cards.values() if card.encode() in raw]


class Sent:
    """Takes records, and keeps their ids."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.flushed = self.closed = False

    def send(self, batch: pa.RecordBatch, ids: Sequence[str]) -> None:
        assert batch.num_rows == len(ids)
        self.ids.extend(ids)

    def flush(self) -> None:
        self.flushed = True

    def close(self) -> None:
        self.closed = True


def test_a_worker_that_the_engine_gave_up_sends_nothing_more_to_a_topic(tmp_path: Path) -> None:
    engine, old, new = PlayedEngine(tmp_path, LOOSE, 1), Sent(), Sent()
    news = Watermark(engine.clock + 1, 0)
    given_up = engine.shard(0, old)
    after = given_up.step(engine.waiting([0]), news).state
    successor = engine.shard(0, new)
    later = replace(after, records=engine.waiting([1]).records)
    successor.step(later, news)
    with pytest.raises(RunError, match="another worker has taken it over"):
        given_up.step(later, news)
    assert (old.ids, new.ids) == (["orders/0:0"], ["orders/0:1"])

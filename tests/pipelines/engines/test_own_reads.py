"""Pub/Sub as Dataflow reads it: as a graph, and what the steps behind the read make of its messages."""

from __future__ import annotations

import json
import pickle
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from consentry.pipelines.engines import own_reads
from consentry.pipelines.engines.graph import GraphOptions, ProtectUnbounded, ShardFn
from consentry.pipelines.engines.launch import EngineOptions, run_on_engine, ticks_of
from consentry.pipelines.engines.own_reads import HearMessages, SealMessages, name_of, place_of_message
from consentry.pipelines.engines.shard import ShardLimits
from consentry.pipelines.engines.shard_output import begin_launch
from consentry.pipelines.engines.wire import Kind, Parcel, batch_of, watermark_parcel
from consentry.pipelines.scaffold import write_project
from consentry.schemas.errors import ConfigError, PrivacyError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.consent_join import Watermark
from consentry.transforms.stage import SharedStage, Stage, settle_stage
from hypothesis import given
from hypothesis import strategies as st
from oracles.engine_shop import CARD_PATH
from oracles.needles import leaks
from oracles.pipeline_graphs import readable
from oracles.stream_oracle import DAY, START, Rules, policy_text
from servers.availability import Server, require
from servers.kafka_read import kafka_read_arguments

ORDERS, CONSENTS = "pubsub://shop-eu/orders-sub", "pubsub://shop-eu/consents-sub"
CARD = "4000000000000002"
RULES = Rules({"delivery": "contract", "support": "consent"}, None, {"customer": ["delivery"], "card": ["support"]},
              ["support"])  # fmt: skip
SOON = time.time_ns() // 1000 + DAY


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=START)
    (tmp_path / "shop/policy.yaml").write_text(policy_text(RULES, CARD_PATH))
    return read_project(tmp_path / "shop/consentry.yaml")


@pytest.fixture
def shared(project: Project) -> SharedStage:
    return SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=START))


@pytest.fixture
def stage(shared: SharedStage) -> Iterator[Stage]:
    found = shared.open()
    with closing(found.stores.ledger), closing(found.stores.data_keys):
        yield found


def order(number: int, **more: Any) -> bytes:
    found = {"number": number, "customer": "ann", "placed_at": "2026-11-01T00:00:00Z", "payment": {"card": CARD}}
    return json.dumps({**found, **more}).encode()


def consent(decision: str) -> bytes:
    return json.dumps({"subject": "ann", "purpose": "support", "decision": decision,
                       "effective_at": "2026-01-01T00:00:00Z", "source": "form"}).encode()  # fmt: skip


def message(data: bytes, number: int | str) -> PubsubMessage:
    return PubsubMessage(data, {}, message_id=str(number))


def bundled(fn: beam.DoFn, messages: Sequence[PubsubMessage]) -> list[tuple[int, Parcel]]:
    """What a step makes of one bundle."""
    fn.setup()
    fn.start_bundle()
    out = [keyed for each in messages for keyed in fn.process(each)]
    out += [windowed.value for windowed in fn.finish_bundle()]
    return [(shard, Parcel.unpacked(element)) for shard, element in out]


# ---- the graph


@pytest.fixture
def graph(shared: SharedStage) -> Any:
    engine = EngineOptions(dataset="orders", source=ORDERS, consents=CONSENTS, out="out", runner="DataflowRunner")
    options = GraphOptions(source=ORDERS, consents=CONSENTS, out="out", launch="one")
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    pipeline | "Ticks" >> ticks_of(engine) | "ProtectUnbounded" >> ProtectUnbounded(shared, options)
    return pipeline.to_runner_api()


def test_each_read_of_a_subscription_feeds_the_one_step_that_seals_or_hears(graph: Any) -> None:
    steps = graph.components.transforms.values()
    reads = [step for step in steps if step.spec.urn == "beam:transform:pubsub_read:v1"]
    assert {step.unique_name.split("/")[1] for step in reads} == {"ReadOrders", "ReadConsents"}
    assert {b"orders-sub" in step.spec.payload for step in reads} == {True, False}
    for read in reads:
        leaves, way = set(read.outputs.values()), []
        while leaves:
            behind = [step for step in steps if not step.subtransforms and leaves & set(step.inputs.values())]
            assert {step.spec.urn for step in behind} == {"beam:transform:pardo:v1"}, "nothing is kept or shuffled raw"
            assert len(behind) == 1
            way.append(behind[0].unique_name.rpartition("/")[2])
            leaves = set() if way[-1] in ("Seal", "Hear") else set(behind[0].outputs.values())
        assert way[-1] == ("Seal" if "ReadOrders" in read.unique_name else "Hear")


def test_no_lane_reads_what_the_engine_reads_and_watermarks_still_tick(graph: Any) -> None:
    names = {step.unique_name.rpartition("/")[2] for step in graph.components.transforms.values()}
    assert "Orders" not in names and {"Consents", "Protect"} <= names


def test_no_secret_is_in_the_graph(graph: Any, project: Project, stage: Stage) -> None:
    found = readable(graph.SerializeToString())
    assert leaks([(project.root / "kek.key").read_text().strip()], [("graph", found)]) == []
    assert stage.reference_key not in found


@pytest.mark.parametrize("runner", ["FlinkRunner", "PrismRunner"])
@pytest.mark.parametrize("option", ["source", "consents"])
def test_other_engines_do_not_read_subscriptions(project: Project, tmp_path: Path, runner: str, option: str) -> None:
    places = {"source": "kafka://b:9/orders", "consents": "kafka://b:9/said", option: ORDERS}
    options = EngineOptions(dataset="orders", out=str(tmp_path / "out"), runner=runner, **places)
    with pytest.raises(ConfigError, match="of the engines only Dataflow reads pubsub://"):
        run_on_engine(project, options, watch=lambda _: None, stop=None)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


# ---- the graph of Kafka


TOPIC = "kafka://broker:9092/orders?group=shop"


def kafka_graph(shared: SharedStage, *arguments: str, source: str = TOPIC) -> Any:
    engine = EngineOptions(dataset="orders", source=source, consents=None, out="out", runner="DataflowRunner")
    options = GraphOptions(source=source, consents="kafka://b:9092/said", out="out", launch="one", own_read=True)
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming", *arguments]))
    pipeline | "Ticks" >> ticks_of(engine) | "ProtectUnbounded" >> ProtectUnbounded(shared, options)
    return pipeline.to_runner_api()


@pytest.fixture(scope="module")
def expansion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    require(Server.KAFKA_READ)
    with kafka_read_arguments(tmp_path_factory.mktemp("expansion")) as arguments:
        yield arguments


def test_between_the_read_of_a_topic_and_the_step_that_seals_nothing_is_kept_or_shuffled(
    shared: SharedStage, expansion: list[str]
) -> None:
    graph = kafka_graph(shared, *expansion)
    steps = [step for step in graph.components.transforms.values() if not step.subtransforms]
    (read,) = [step for step in steps if step.unique_name.endswith("ReadSourceDescriptors/ParMultiDo(Unbounded)")]
    (seal,) = [step for step in steps if step.unique_name.rpartition("/")[2] == "Seal"]
    # All that has a record in it: what the read gives, and what plain steps make of that, up to the one that seals.
    raw, seen = set(read.outputs.values()), set[str]()
    while raw - seen:
        seen |= raw
        for step in steps:
            if step is not seal and seen & set(step.inputs.values()) and "KafkaCommitOffset" not in step.unique_name:
                assert step.spec.urn == "beam:transform:pardo:v1", step.unique_name
                raw |= set(step.outputs.values())
    assert set(seal.inputs.values()) <= raw
    # What tells Kafka how far it is takes offsets out of the records before it gathers anything.
    committing = [step for step in steps if raw & set(step.inputs.values()) and "KafkaCommitOffset" in step.unique_name]
    assert {step.spec.urn for step in committing} == {"beam:transform:pardo:v1"}
    offsets = {graph.components.pcollections[name].coder_id for step in committing for name in step.outputs.values()}
    records = {graph.components.pcollections[name].coder_id for name in read.outputs.values()}
    assert offsets and not offsets & records


def test_a_topic_is_read_as_it_was_named_without_secrets_and_no_lane_reads_it(
    shared: SharedStage, project: Project, stage: Stage, expansion: list[str]
) -> None:
    graph = kafka_graph(shared, *expansion)
    names = {step.unique_name.rpartition("/")[2] for step in graph.components.transforms.values()}
    assert "Orders" not in names and {"Consents", "Protect"} <= names
    found = readable(graph.SerializeToString())
    assert all(each in found for each in (b"broker:9092", b"shop", b"read_committed"))
    assert leaks([(project.root / "kek.key").read_text().strip()], [("graph", found)]) == []
    assert stage.reference_key not in found


def test_an_expansion_service_that_does_not_answer_is_told_in_our_words(shared: SharedStage) -> None:
    nobody = '--beam_services={"sdks:java:io:expansion-service:shadowJar": "localhost:1"}'
    with pytest.raises(ConfigError, match=r"--beam_services: nobody answers at localhost:1; start Beam.s expansion"):
        kafka_graph(shared, nobody)


def test_a_read_that_beam_cannot_make_is_told_in_our_words(
    shared: SharedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("java.lang.Exception: all that a service says")

    monkeypatch.setattr(own_reads, "ReadFromKafka", fail)
    fail.processing_time_policy = ""  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"read of orders cannot be made \(RuntimeError\): it needs Java") as told:
        kafka_graph(shared)
    assert "java.lang" not in str(told.value)


@pytest.mark.parametrize("runner", ["FlinkRunner", "PrismRunner"])
def test_other_engines_do_not_read_kafka_themselves(project: Project, tmp_path: Path, runner: str) -> None:
    options = EngineOptions(dataset="orders", out=str(tmp_path / "out"), runner=runner, source=TOPIC, consents=None,
                            own_read=True)  # fmt: skip
    with pytest.raises(ConfigError, match="--own-read: is for DataflowRunner"):
        run_on_engine(project, options, watch=lambda _: None, stop=None)  # type: ignore[arg-type]


def test_what_lets_us_in_never_becomes_a_part_of_the_job(project: Project, tmp_path: Path) -> None:
    (tmp_path / "sasl").write_text("sasl.password=canary-secret\n")
    source = f"kafka://broker:9092/orders?config={tmp_path / 'sasl'}"
    options = EngineOptions(dataset="orders", out=str(tmp_path / "out"), runner="DataflowRunner", source=source,
                            consents=None, own_read=True)  # fmt: skip
    with pytest.raises(ConfigError, match="would stand in the job, for all to read who may see it") as refused:
        run_on_engine(project, options, watch=lambda _: None, stop=None)  # type: ignore[arg-type]
    assert "canary" not in str(refused.value)


def test_rows_of_a_topic_are_sealed_by_partition_in_the_order_of_their_offsets(shared: SharedStage) -> None:
    rows = [
        SimpleNamespace(topic="orders", partition=place % 2, offset=100 - place, value=order(place), key=None)
        for place in range(6)
    ]
    rows.append(SimpleNamespace(topic="orders", partition=1, offset=7, value=None, key=None))
    parcels = bundled(SealMessages(shared, TOPIC, 1), rows)  # type: ignore[arg-type]
    assert not [parcel for _, parcel in parcels if CARD.encode() in parcel.body or b"ann" in parcel.body]
    placed = [
        list(zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True))
        for _, parcel in parcels
        if parcel.kind is Kind.RECORDS
        for batch in [batch_of(parcel.body)]
    ]
    assert placed == [[("orders/0", 96), ("orders/0", 98), ("orders/0", 100)],
                      [("orders/1", 95), ("orders/1", 97), ("orders/1", 99)]]  # fmt: skip
    assert sum(parcel.rows for _, parcel in parcels if parcel.kind is Kind.LETTERS) == 1


def test_of_what_an_engine_reads_itself_no_offset_is_taken_for_all_before_it() -> None:
    options = GraphOptions(source=TOPIC, consents=CONSENTS, out="out", launch="one", own_read=True)
    assert options.unordered == ("orders", name_of(CONSENTS))
    assert GraphOptions(source=TOPIC, consents="kafka://b:9/said", out="out", launch="one").unordered == ()


# ---- what becomes of messages


@given(st.text(max_size=30))
def test_a_message_has_an_offset_that_only_its_id_decides(message_id: str) -> None:
    place = place_of_message(message_id)
    assert 0 <= place < 2**63 and place == place_of_message(message_id)
    np.array([place], np.int64)


def test_what_leaves_the_step_behind_the_read_is_sealed(shared: SharedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_reads, "MOST", 2)
    messages = [message(order(number), 100 - number) for number in range(5)]
    messages += [message(b'{"card": "' + CARD.encode(), "odd-id"), message(order(9, placed_at=CARD), 7)]
    parcels = bundled(SealMessages(shared, ORDERS, 4), messages)
    rows = {kind: sum(parcel.rows for _, parcel in parcels if parcel.kind is kind) for kind in Kind}
    assert rows == {Kind.RECORDS: 5, Kind.LETTERS: 2, Kind.WATERMARK: 0}
    assert not [parcel for _, parcel in parcels if CARD.encode() in parcel.body or b"ann" in parcel.body]
    assert all(0 <= shard < 4 for shard, _ in parcels)


def test_consents_are_in_the_ledger_once_and_faulty_ones_are_sealed(shared: SharedStage, stage: Stage) -> None:
    faulty = b'{"subject": "' + CARD.encode()
    said = [message(consent("granted"), 1), message(faulty, 2), message(consent("granted"), 3)]
    parcels = bundled(HearMessages(shared, CONSENTS), said)
    assert [(parcel.kind, parcel.rows) for _, parcel in parcels] == [(Kind.LETTERS, 1)]
    assert CARD.encode() not in parcels[0][1].body
    assert stage.stores.ledger.position() == 1
    bundled(HearMessages(shared, CONSENTS), said)
    assert stage.stores.ledger.position() == 1


def test_a_failure_tells_nothing_of_a_message(shared: SharedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any, messages: Any, *, read_at: int) -> None:
        raise ValueError(messages.values[0].decode())

    monkeypatch.setattr(own_reads.Intake, "take", fail)
    for most in (1, 9):  # in the midst of a bundle, and at its end
        monkeypatch.setattr(own_reads, "MOST", most)
        with pytest.raises(PrivacyError) as failure:
            bundled(SealMessages(shared, ORDERS, 1), [message(order(1), 1)])
        told = "".join(traceback.format_exception(failure.value))
        assert CARD not in told and CARD.encode() not in pickle.dumps(failure.value)


def test_a_bundle_that_failed_leaves_nothing_to_the_next(shared: SharedStage) -> None:
    step = SealMessages(shared, ORDERS, 1)
    step.setup()
    step.start_bundle()
    list(step.process(message(order(1), 1)))
    assert [parcel.rows for _, parcel in bundled(step, [message(order(2), 2)])] == [1]


def test_orders_and_consents_of_subscriptions_come_to_what_the_rule_says(
    shared: SharedStage, stage: Stage, tmp_path: Path
) -> None:
    """Under Beam's TestStream, in the place of the read: messages whose ids are in no order, over two watermarks."""
    out = tmp_path / "out"
    begin_launch(out, "one")
    options = GraphOptions(
        source=ORDERS, consents=CONSENTS, out=str(out), launch="one", shards=2, limits=ShardLimits(latency=0)
    )

    def news(position: int) -> list[tuple[int, bytes]]:
        return [(shard, watermark_parcel(Watermark(SOON, position)).packed()) for shard in range(2)]

    ids = [30, 4, 2**62, 17, 5]
    bundled(HearMessages(shared, CONSENTS), [message(consent("granted"), 1)])
    sealed = bundled(SealMessages(shared, ORDERS, 2), [message(order(place), each) for place, each in enumerate(ids)])
    more = bundled(SealMessages(shared, ORDERS, 2), [message(order(9), 1)])
    moments = ([*_elements(sealed), *news(0)], [*_elements(more), *news(1)], news(1))
    stream: Any = TestStream()
    for moment in moments:
        stream = stream.add_elements(moment)
    with beam.Pipeline(runner="BundleBasedDirectRunner", options=PipelineOptions(["--streaming"])) as pipeline:
        keyed = pipeline | stream.advance_watermark_to_infinity()
        typed = keyed | beam.Map(lambda element: element).with_output_types(tuple[int, bytes])
        typed | beam.ParDo(ShardFn(shared, options))
    rows = [row for path in out.glob("data/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    found = {row["number"]: row["payment"]["card"] != "[redacted]" for row in rows}
    assert found == {**dict.fromkeys(range(5), False), 9: True}, "the consent is known from the second watermark on"


def _elements(parcels: Sequence[tuple[int, Parcel]]) -> list[tuple[int, bytes]]:
    return [(shard, parcel.packed()) for shard, parcel in parcels]

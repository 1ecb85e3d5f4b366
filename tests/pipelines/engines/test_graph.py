"""What an engine gets to see: the graph with all that is pickled into it, and what lies in states and between steps."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.engines.graph import GraphOptions, ProtectUnbounded
from consentry.pipelines.engines.intake import Intake
from consentry.pipelines.engines.shard import ShardState
from consentry.pipelines.engines.shard_memory import ShardMemory
from consentry.pipelines.engines.wire import Kind, Parcel, batch_of, bytes_of
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.stage import SharedStage, Stage, settle_stage
from oracles.engine_shop import CARD_PATH
from oracles.needles import leaks
from oracles.pipeline_graphs import readable
from oracles.stream_oracle import Rules, policy_text

RULES = Rules(
    {"delivery": "contract", "support": "consent"}, None, {"customer": ["support"], "card": ["support"]}, ["support"]
)
CARD, CUSTOMER = "4111111111111111", "canary-customer"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=time.time_ns() // 1000)
    (tmp_path / "shop/policy.yaml").write_text(policy_text(RULES, CARD_PATH))
    return read_project(tmp_path / "shop/consentry.yaml")


def shared(project: Project) -> SharedStage:
    return SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=time.time_ns() // 1000))


@pytest.fixture
def stage(project: Project) -> Iterator[Stage]:
    found = shared(project).open()
    with closing(found.stores.ledger), closing(found.stores.data_keys):
        yield found


def orders() -> Messages:
    good = {"number": 1, "customer": CUSTOMER, "placed_at": "2026-01-01T00:00:00Z", "payment": {"card": CARD}}
    values = [json.dumps(each).encode() for each in (good, {**good, "customer": None}, {**good, "placed_at": CARD})]
    return Messages("orders/0", [*values, b'{"card": "' + CARD.encode()], np.arange(4, dtype=np.int64))


def test_no_secret_and_no_value_is_in_a_graph(project: Project, stage: Stage) -> None:
    pipeline = beam.Pipeline()
    options = GraphOptions(source="kafka://b:9/orders", consents="kafka://b:9/said", out="out", launch="l")
    pipeline | beam.Create([0]) | ProtectUnbounded(shared(project), options)
    graph = readable(pipeline.to_runner_api().SerializeToString())
    kek = (project.root / "kek.key").read_text().strip()
    places = [("graph", graph), ("config", pickle.dumps(shared(project)))]
    assert leaks([CARD, CUSTOMER, kek], places) == []
    assert stage.reference_key not in graph
    assert b"support" in graph, "what travels is the policy"


def test_what_travels_and_waits_is_sealed(stage: Stage) -> None:
    taken = Intake(stage).take(orders(), read_at=5)
    parcels = [Parcel(Kind.RECORDS, taken.records.num_rows, bytes_of(taken.records)).packed()]
    parcels += [Parcel(Kind.LETTERS, each.num_rows, bytes_of(each)).packed() for each in taken.letters]
    state = ShardState(number=3, lot="l", records=(taken.records,), letters=taken.letters)
    memory = ShardMemory.of(state)
    everything = b"".join([*parcels, memory.packed(), *memory.parcels])
    for canary in (CARD, CUSTOMER):
        assert canary.encode() not in everything
    assert b"payment" not in everything


def test_a_memory_that_was_packed_is_the_state_again(stage: Stage) -> None:
    taken = Intake(stage).take(orders(), read_at=5)
    state = ShardState(
        number=3, lot="l", published_at=7, columns=pa.schema([("number", pa.int64())]), records=(taken.records,),
        letters=taken.letters, done={"orders/0": 1}, done_letters={"orders/0": 2},
    )  # fmt: skip
    memory = ShardMemory.of(state)
    again = ShardMemory.read(memory.packed()).state(memory.parcels)
    assert again == state
    assert ShardMemory.read(None).state([]) == ShardState()


def test_of_a_slice_only_its_own_rows_travel(stage: Stage) -> None:
    records = Intake(stage).take(orders(), read_at=5).records
    sliced = bytes_of(records.slice(0, 1))
    assert batch_of(sliced) == records.slice(0, 1)
    assert records["rest"][1].as_py() not in sliced

"""The graph as an engine is given it, before anything runs: what has state, how elements travel, what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2 as api
from consentry.pipelines.engines.graph import GraphOptions, ProtectUnbounded
from consentry.pipelines.engines.launch import EngineOptions, ticks_of
from consentry.pipelines.scaffold import write_project
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.stage import SharedStage, settle_stage
from oracles.engine_shop import CARD_PATH
from oracles.stream_oracle import LOOSE, START, policy_text

RUNNERS = ["FlinkRunner", "PrismRunner", "DataflowRunner"]
KEYED = ("beam:coder:varint:v1", "beam:coder:bytes:v1")


@pytest.fixture(params=RUNNERS)
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The graph for a runner, as its portable form."""
    write_project(tmp_path / "shop", tenant="shop", now=START)
    (tmp_path / "shop/policy.yaml").write_text(policy_text(LOOSE, CARD_PATH))
    project = read_project(tmp_path / "shop/consentry.yaml")
    shared = SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=START))
    source = "kafka://broker:9092/orders"
    engine = EngineOptions(dataset="orders", source=source, consents=None, out="out", runner=request.param)
    options = GraphOptions(source=source, consents="kafka://broker:9092/consents", out="out", launch="one")
    pipeline = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    pipeline | "Ticks" >> ticks_of(engine) | "ProtectUnbounded" >> ProtectUnbounded(shared, options)
    return pipeline.to_runner_api()


def pardo_of(step: Any) -> Any:
    found = api.ParDoPayload()
    found.ParseFromString(step.spec.payload)
    return found


def stateful(graph: Any) -> dict[str, tuple[Any, Any]]:
    """Steps with state, by the last part of their names."""
    found = {}
    for step in graph.components.transforms.values():
        if step.spec.urn == "beam:transform:pardo:v1":
            pardo = pardo_of(step)
            if pardo.state_specs or pardo.timer_family_specs:
                found[step.unique_name.rpartition("/")[2]] = (step, pardo)
    return found


def test_lanes_and_shards_have_state_of_bytes_and_no_timer(graph: Any) -> None:
    steps = stateful(graph)
    assert {name: sorted(pardo.state_specs) for name, (_, pardo) in steps.items()} == {
        "Orders": ["offsets"],
        "Consents": ["offsets"],
        "Protect": ["head", "waiting"],
    }
    for _, pardo in steps.values():
        assert not pardo.timer_family_specs
        for spec in pardo.state_specs.values():
            coder = spec.bag_spec.element_coder_id or spec.read_modify_write_spec.coder_id
            assert graph.components.coders[coder].spec.urn == "beam:coder:bytes:v1"


def test_all_that_travels_to_what_has_state_is_a_number_and_bytes(graph: Any) -> None:
    for step, _ in stateful(graph).values():
        (name,) = step.inputs.values()
        coder = graph.components.coders[graph.components.pcollections[name].coder_id]
        assert coder.spec.urn == "beam:coder:kv:v1"
        parts = tuple(graph.components.coders[each].spec.urn for each in coder.component_coder_ids)
        assert parts == KEYED


def test_nothing_is_grouped_or_shuffled_but_for_state(graph: Any) -> None:
    own = [step for step in graph.components.transforms.values() if "ProtectUnbounded/" in step.unique_name]
    assert len(own) >= 6
    assert not [step.unique_name for step in own if "group_by_key" in step.spec.urn or "combine" in step.spec.urn]

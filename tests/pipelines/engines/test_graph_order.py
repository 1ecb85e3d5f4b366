"""The shards of the graph under Beam's own TestStream: whatever comes first, records wait for the news of consents."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from consentry.pipelines.engines.graph import GraphOptions, ShardFn
from consentry.pipelines.engines.intake import Intake
from consentry.pipelines.engines.shard import ShardLimits
from consentry.pipelines.engines.shard_output import begin_launch
from consentry.pipelines.engines.wire import Kind, Parcel, bytes_of, watermark_parcel
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.consent_join import Watermark
from consentry.transforms.stage import SharedStage, settle_stage
from oracles.engine_shop import CARD_PATH
from oracles.stream_oracle import DAY, START, Rules, policy_text

CARD = "4000000000000002"
SOON = time.time_ns() // 1000 + DAY
"""Watermarks of a stream lie behind its last publication, which is by the clock."""
RULES = Rules({"delivery": "contract", "support": "consent"}, None, {"customer": ["delivery"], "card": ["support"]},
              ["support"])  # fmt: skip


class Story:
    """A project, and elements for its shard."""

    def __init__(self, folder: Path) -> None:
        write_project(folder / "shop", tenant="shop", now=START)
        (folder / "shop/policy.yaml").write_text(policy_text(RULES, CARD_PATH))
        project = read_project(folder / "shop/consentry.yaml")
        self.shared = SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=START))
        self.stage = self.shared.open()
        self.out = folder / "out"
        begin_launch(self.out, "one")
        self.options = GraphOptions(
            source="", consents=None, out=str(self.out), launch="one", shards=1, limits=ShardLimits(latency=0)
        )

    def order(self, offset: int, *, read_at: int) -> tuple[int, bytes]:
        value = json.dumps({"number": offset, "customer": "ann", "placed_at": "2026-11-01T00:00:00Z",
                            "payment": {"card": CARD}}).encode()  # fmt: skip
        taken = Intake(self.stage).take(Messages("orders/0", [value], np.array([offset])), read_at=read_at)
        return 0, Parcel(Kind.RECORDS, 1, bytes_of(taken.records)).packed()

    def news(self, instant: int) -> tuple[int, bytes]:
        return 0, watermark_parcel(Watermark(instant, self.stage.stores.ledger.position())).packed()

    def says(self, decision: Decision) -> None:
        event = ConsentEvent(subject="ann", purpose="support", decision=decision, effective_at=START, source="form")
        self.stage.stores.ledger.append([event], now=START)

    def told(self, *moments: list[tuple[int, bytes]]) -> list[tuple[int, bool]]:
        """Runs the shard over what comes moment by moment, and returns number and whether there is a token."""
        stream: Any = TestStream()
        for moment in moments:
            stream = stream.add_elements(moment)
        options = PipelineOptions(["--streaming"])
        with beam.Pipeline(runner="BundleBasedDirectRunner", options=options) as pipeline:
            keyed = (
                pipeline | stream.advance_watermark_to_infinity() | beam.Map(_same).with_output_types(tuple[int, bytes])
            )
            keyed | beam.ParDo(ShardFn(self.shared, self.options))
        rows = [row for path in sorted(self.out.glob("data/*/*.parquet")) for row in pq.read_table(path).to_pylist()]
        return sorted((row["number"], row["payment"]["card"] != "[redacted]") for row in rows)


def _same(element: Any) -> Any:
    return element


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_an_order_waits_for_news_of_consents_that_are_newer_than_itself(story: Story) -> None:
    early = story.news(SOON + DAY)
    order = story.order(7, read_at=SOON + 2 * DAY)
    story.says(Decision.GRANTED)
    assert story.told([early], [order], [early]) == []


def test_a_consent_that_came_before_an_order_governs_it_also_if_its_news_comes_later(story: Story) -> None:
    order = story.order(7, read_at=SOON + 2 * DAY)
    early = story.news(SOON + DAY)
    story.says(Decision.GRANTED)
    assert story.told([order], [early], [story.news(SOON + 3 * DAY)]) == [(7, True)]


def test_each_order_is_published_once_however_often_news_comes(story: Story) -> None:
    orders = [story.order(number, read_at=SOON + number) for number in range(5)]
    news = [story.news(SOON + instant) for instant in (2, 2, 4, 9, 9)]
    assert story.told([orders[0], news[0]], [orders[3], orders[1]], [news[2], orders[2]], [orders[4]], news) == [
        (number, False) for number in range(5)
    ]

"""What a record costs in the plain parts of the unbounded graph, by CPU time, without an engine or a broker."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from bare_graph import BareIntake, BareSettlement
from consentry.pipelines.engines.intake import Intake
from consentry.pipelines.engines.shard import Shard, ShardLimits, ShardState
from consentry.pipelines.engines.shard_files import ShardFiles
from consentry.pipelines.engines.shard_output import begin_launch
from consentry.pipelines.engines.wire import batch_of, bytes_of
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.sources import Messages
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.consent_join import Watermark, shard_rows
from consentry.transforms.stage import SharedStage, settle_stage
from stream_shop import order_message

__all__ = ["plain_parts"]

RECORDS = 100_000
POLL = 4_000
"""Records of one step of a lane."""
STEPS = 5
"""Of the lane, for each of the shards."""
SHARDS = 8


@dataclass
class _Costs:
    """CPU seconds by part; of the first round nothing counts, in which columns and keys are new."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    counted: int = 0

    @contextmanager
    def of(self, part: str, *, counts: bool) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[part] += (time.process_time() - began) if counts else 0.0

    def rate(self, *parts: str) -> float:
        return self.counted / max(sum(self.seconds[part] for part in parts), 1e-9)


def plain_parts(scale: float) -> list[dict[str, Any]]:
    """Returns rows of records per second and core: of intake, of settlement, and of both together."""
    count = max(2 * POLL * STEPS, int(RECORDS * scale) // (POLL * STEPS) * POLL * STEPS)
    messages = [order_message(number) for number in range(count)]
    bare, protected = _costs(messages, protects=False), _costs(messages, protects=True)
    parts = {
        "intake: parsed, taken apart, sealed, by shard": ("intake", "split"),
        "settlement: decided, opened, protected, vault, files": ("settlement",),
        "both": ("intake", "split", "settlement"),
    }
    rows = []
    for name, which in parts.items():
        rate, peer = protected.rate(*which), bare.rate(*which)
        told = {"peer": "without protection", "peer_per_core": peer, "ratio": rate / peer}
        rows.append({"name": f"plain parts, {name}", "per_core_per_s": rate, **told})
    return rows


def _costs(messages: list[bytes], *, protects: bool) -> _Costs:
    costs = _Costs()
    with tempfile.TemporaryDirectory(prefix="consentry-bench-") as folder:
        shared, out = _settled(Path(folder)), Path(folder) / "out"
        intake: Any = Intake(shared.open()) if protects else BareIntake()
        shards = [_shard(shared, number, out, protects=protects) for number in range(SHARDS)]
        states = [ShardState() for _ in shards]
        for start in range(0, len(messages), POLL * STEPS):
            counts = start > 0
            bags: list[list[bytes]] = [[] for _ in shards]
            for at in range(start, start + POLL * STEPS, POLL):
                read = Messages("orders/0", messages[at : at + POLL], np.arange(at, at + POLL))
                with costs.of("intake", counts=counts):
                    taken = intake.take(read, read_at=_now())
                with costs.of("split", counts=counts):
                    for number, rows in shard_rows(taken.records, SHARDS):
                        bags[number].append(bytes_of(rows))
            watermark = Watermark(_now() + 1, 0)
            with costs.of("settlement", counts=counts):
                for number, (shard, bag) in enumerate(zip(shards, bags, strict=True)):
                    state = replace(states[number], records=tuple(map(batch_of, bag)))
                    states[number] = shard.step(state, watermark).state
            costs.counted += POLL * STEPS if counts else 0
    return costs


def _settled(folder: Path) -> SharedStage:
    write_project(folder / "shop", tenant="bench", now=_now())
    project = read_project(folder / "shop" / "consentry.yaml")
    config = settle_stage(project, read_policy(project.policy), "orders", now=_now(), started_at=_now())
    begin_launch(folder / "out", "bench")
    return SharedStage(config)


def _shard(shared: SharedStage, number: int, out: Path, *, protects: bool) -> Shard:
    config = shared.config
    place = ShardFiles(out, number, "bench", event_time=config.policy.datasets[config.dataset].event_time)
    shard = Shard(shared, place, launch="bench", limits=ShardLimits(latency=0), clock=_now)
    if not protects:
        shard._settlement = BareSettlement()  # type: ignore[assignment]
    return shard


def _now() -> int:
    return time.time_ns() // 1000

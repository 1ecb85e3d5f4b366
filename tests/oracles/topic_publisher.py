"""Run as a program: publishes a step of a shard to a topic, and kills itself before or behind the commit."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from consentry.pipelines.engines.outputs import ShardWork
from consentry.pipelines.engines.shard_publication import Publication
from consentry.pipelines.engines.topic_output import open_topic_output
from consentry.pipelines.streams.kafka_transactions import KafkaTransactions
from consentry.schemas.dataset import FieldPath
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA
from consentry.schemas.record_columns import POSITION, SOURCE_KEY
from consentry.transforms.consent_join import Watermark
from consentry.transforms.tally import Tally

__all__ = ["letters_of", "publication_of"]

PARTITION = "orders/0"


def letters_of(count: int, sealed: bytes = b"sealed") -> pa.RecordBatch:
    """Dead letters of the source's partition, from offset 1,000 on."""
    row = {"stage": "read", "reason": "invalid_json", "source": PARTITION, "dataset": "orders", "sealed": sealed}
    return pa.RecordBatch.from_pylist([{**row, "position": 1000 + place} for place in range(count)], DEAD_LETTER_SCHEMA)


def publication_of(
    numbers: list[int], *, letters: int = 0, counted: int | None = None, note: str = "", sealed: bytes = b"sealed"
) -> Publication:
    """A step whose rows are numbers, each at the offset of its value."""
    schema = pa.schema(
        [("number", pa.int64()), ("note", pa.string()), (POSITION, pa.int64())], {SOURCE_KEY: PARTITION.encode()}
    )
    values = pa.array(numbers, pa.int64())
    notes = pa.array([note or None] * len(numbers), pa.string())
    rows = pa.record_batch([values, notes, values], schema=schema)
    counts: dict[tuple[str, ...], int] = {("in",): (len(numbers) if counted is None else counted) + letters}
    counts |= {("rows", "no_subject"): len(numbers)} | (
        {("rejected", "read", "invalid_json"): letters} if letters else {}
    )
    return Publication(
        rows=(rows,),
        letters=(letters_of(letters, sealed),) if letters else (),
        tally=Tally(counts),
        offsets={PARTITION: max(numbers) + 1},
        letter_ends={PARTITION: 1000 + letters} if letters else {},
        columns=pa.schema([("number", pa.int64())]),
        watermark=Watermark(1, 1),
        launch="first",
        clock=1,
    )


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    asked = json.loads(sys.stdin.read())
    whole = KafkaTransactions.transaction

    @contextmanager
    def killing(self: KafkaTransactions) -> Any:
        with whole(self):
            yield
            if asked["moment"] == "sent":
                self._producer.flush(30)
                _die()
        _die()

    KafkaTransactions.transaction = killing  # type: ignore[method-assign]
    work = ShardWork(launch="first", shards=2, event_time=FieldPath.parse("at"))
    shard = open_topic_output(asked["out"]).shard(1, work)
    assert shard.resumption(asked["number"], asked["lot"]) is None
    shard.publish(asked["number"], asked["lot"], publication_of(asked["numbers"]))


if __name__ == "__main__":
    main()

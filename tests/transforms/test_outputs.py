"""What stages count is in Beam's own metrics, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from consentry.pipelines.scaffold import write_project
from consentry.schemas.project import read_project
from consentry.transforms.protect_records import ProtectRecords

NOW = 1_793_000_000_000_000


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number}",
        "placed_at": "2026-03-01T09:00:00Z",
        "customer": {"id": "c-1", "email": "ann@example.com"},
        "payment": {"card": {"number": "4111111111111111", "cvv": "675"}},
        **changes,
    }


def test_counts_are_metrics_of_beam_under_stable_names(tmp_path: Path) -> None:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    project = read_project(tmp_path / "shop" / "consentry.yaml")
    rows = pa.RecordBatch.from_pylist([order(1), order(2), order(3, placed_at="yesterday")])
    pipeline = beam.Pipeline(runner=FnApiRunner())
    (
        pipeline
        | beam.Create([0])
        | beam.Map(lambda _: rows).with_output_types(pa.RecordBatch)
        | ProtectRecords(project, "orders", NOW)
    )
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("consentry"))["counters"]
    assert {each.key.metric.name: each.committed for each in counters} == {
        "rows.distributable": 2,
        "rejected.decide.event_time_invalid": 1,
        "vault.written": 1,
        "vault.present": 1,
    }

"""Who watches a stream sees figures and codes, and nothing of anybody."""

from __future__ import annotations

import io
import json
import pickle
import urllib.request

import pyarrow as pa
import pytest
from consentry.pipelines.outcome import READ, Outcome
from consentry.pipelines.streams.epoch_pipeline import EpochWork
from consentry.pipelines.streams.epochs import Epoch, EpochAccount
from consentry.pipelines.streams.metrics import open_metrics
from consentry.pipelines.streams.sources import Messages
from consentry.pipelines.streams.stream import EpochReport
from consentry.pipelines.streams.watching import JsonLog, ProgressLine, Watchers
from consentry.schemas.errors import ConfigError, RunError, SecretError
from consentry.transforms.tally import Tally
from servers.tansu import free_port

EPOCH = Epoch(number=3, parts=(), now=1, ledger_position=17, key_version=1, started_at=1)
ACCOUNT = EpochAccount(
    number=3, records=10, out=7, dropped=1, dead_lettered=2, lag=5, seconds=0.25, sealed_at=1_793_000_000_000_000
)
TALLY = Tally(
    {
        READ: 10,
        ("rows", "distributable"): 4,
        ("rows", "token_only"): 3,
        ("rows", "dropped"): 1,
        ("rejected", "read", "invalid_json"): 2,
        ("vault", "written"): 4,
        ("field", "customer.email", "tokenized"): 7,
    }
)
REPORT = EpochReport(epoch=EPOCH, outcome=Outcome(TALLY), account=ACCOUNT)
FAILURE = RunError("the broker is gone; see to it")


def test_a_log_has_an_object_a_line() -> None:
    to = io.StringIO()
    log = Watchers([JsonLog(to)])
    log.epoch(REPORT)
    log.failed(FAILURE, 0.5)
    epoch, failed = map(json.loads, to.getvalue().splitlines())
    assert epoch == {
        "event": "epoch",
        "at": "2026-10-26T07:33:20Z",
        "epoch": 3,
        "in": 10,
        "out": 7,
        "dropped": 1,
        "dead_lettered": 2,
        "lag": 5,
        "seconds": 0.25,
        "ledger_position": 17,
    }
    assert (failed["event"], failed["reason"], failed["again_in_seconds"]) == ("failed", "run_failed", 0.5)


def test_a_terminal_has_one_line_with_all_so_far() -> None:
    to = io.StringIO()
    line = ProgressLine(to)
    line.epoch(REPORT)
    line.epoch(REPORT)
    assert "epoch 3: 20 in, 14 out, 2 dropped, 4 dead letters, lag 5" in to.getvalue().rpartition("\r")[2]
    line.failed(FAILURE, 1.0)
    assert to.getvalue().endswith("the broker is gone; see to it; again in 1.0 s\n")


def test_a_monitor_reads_figures_over_http() -> None:
    address = f"127.0.0.1:{free_port()}"
    with open_metrics(address) as metrics:
        metrics.epoch(REPORT)
        metrics.epoch(REPORT)
        metrics.failed(FAILURE, 0.5)
        request = urllib.request.Request(
            f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            text = answer.read().decode()
    for line in (
        "consentry_records_total 20.0",
        'consentry_records_ended_total{place="out"} 14.0',
        'consentry_consent_total{outcome="token_only"} 6.0',
        'consentry_dead_letters_total{reason="invalid_json",stage="read"} 4.0',
        'consentry_vault_entries_total{outcome="written"} 8.0',
        'consentry_failures_total{reason="run_failed"} 1.0',
        'consentry_epoch_seconds_bucket{le="0.3"} 2.0',
        "consentry_lag_records 5.0",
        "consentry_ledger_position 17.0",
    ):
        assert line in text
    assert text.endswith("# EOF\n")
    assert "customer" not in text


@pytest.mark.parametrize("address", ["9464", "localhost:", "localhost:x", "localhost:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--metrics: (write HOST:PORT|cannot listen there)"), open_metrics(address):
        pass


def test_what_holds_raw_values_is_not_copied() -> None:
    messages = Messages("orders/0", [b"4111111111111111"], pa.array([0]).to_numpy())
    assert "4111" not in repr(messages)
    with pytest.raises(SecretError, match="messages hold raw values"):
        pickle.dumps(messages)
    with pytest.raises(SecretError, match="stays in the process"):
        pickle.dumps(EpochWork(shares=(), source=None, stage=None, event_time=None, place="", name=""))  # type: ignore[arg-type]

"""Figures of a stream for a monitor, over HTTP (OpenMetrics 1.0). No value, no id of a person, no path of a record.

Reasons of dead letters and outcomes of consent are stable codes, of which there are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ...schemas.errors import ConfigError, PrivacyError
from ..outcome import READ
from .stream import EpochReport

__all__ = ["Metrics", "open_metrics"]

SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts what a stream does in this process.

    Args:
        registry: Where the figures are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Counter("consentry_records", "Read.", registry=registry)
        self._ended = Counter("consentry_records_ended", "Records by where they ended.", ["place"], registry=registry)
        self._consent = Counter("consentry_consent", "Rows by their permissions.", ["outcome"], registry=registry)
        self._letters = Counter("consentry_dead_letters", "By cause.", ["stage", "reason"], registry=registry)
        self._vault = Counter("consentry_vault_entries", "By what came of them.", ["outcome"], registry=registry)
        self._failures = Counter("consentry_failures", "Steps that failed.", ["reason"], registry=registry)
        self._seconds = Histogram("consentry_epoch_seconds", "Until sealed.", buckets=SECONDS, registry=registry)
        self._lag = Gauge("consentry_lag_records", "Left waiting when the last epoch began.", registry=registry)
        self._epoch = Gauge("consentry_epoch", "Number of the last epoch.", registry=registry)
        self._sealed = Gauge("consentry_last_sealed_timestamp_seconds", "Of the last epoch.", registry=registry)
        self._position = Gauge("consentry_ledger_position", "Last consent event known.", registry=registry)

    def epoch(self, report: EpochReport) -> None:
        """Counts an epoch."""
        account, tally = report.account, report.outcome.tally
        self._records.inc(tally[READ])
        for place in ("out", "dropped", "dead_lettered"):
            self._ended.labels(place).inc(getattr(account, place))
        for (outcome, *_), count in tally.under("rows").items():
            self._consent.labels(outcome).inc(count)
        for (stage, reason), count in tally.under("rejected").items():
            self._letters.labels(stage, reason).inc(count)
        for (outcome, *_), count in tally.under("vault").items():
            self._vault.labels(outcome).inc(count)
        self._seconds.observe(account.seconds)
        self._lag.set(account.lag)
        self._epoch.set(account.number)
        self._sealed.set(account.sealed_at / 1_000_000)
        self._position.set(report.epoch.ledger_position)

    def failed(self, failure: PrivacyError, pause: float) -> None:
        """Counts a failure."""
        self._failures.labels(failure.reason).inc()


@contextmanager
def open_metrics(address: str) -> Iterator[Metrics]:
    """Yields figures that are served at ``HOST:PORT`` meanwhile, under ``/metrics``.

    Raises:
        ConfigError: It is no address, or is taken.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError("--metrics: write HOST:PORT, as 127.0.0.1:9464")
    registry = CollectorRegistry()
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--metrics: cannot listen there ({type(error).__name__}); name another port") from None
    try:
        yield Metrics(registry)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

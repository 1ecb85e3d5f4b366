"""Epochs are as big as time and memory allow."""

from __future__ import annotations

import pytest
from consentry.pipelines.streams.epoch_sizes import FEWEST, FIRST, MOST, EpochSizes


def after(epochs: int, *, fixed: float, each: float, waiting: int, latency: float = 0.3, memory: int = 1 << 34) -> int:
    """The size that epochs come to when each takes a fixed time and some for each record."""
    sizes, size = EpochSizes(latency=latency, memory=memory), 0
    for _ in range(epochs):
        size = min(sizes.most, waiting)
        sizes.note(records=size, read_bytes=300 * size, seconds=fixed + each * size, lag=0)
    return sizes.most


@pytest.mark.parametrize(("fixed", "each"), [(0.05, 1e-5), (0.01, 1e-4), (0.1, 2e-6)])
def test_a_busy_stream_comes_to_epochs_that_are_just_in_time(fixed: float, each: float) -> None:
    wanted = (0.3 - fixed) / each
    assert 0.7 * wanted <= after(30, fixed=fixed, each=each, waiting=10**7) <= 1.4 * wanted


def test_a_fixed_time_longer_than_the_limit_does_not_make_epochs_tiny() -> None:
    assert after(30, fixed=0.5, each=1e-4, waiting=10**6) > 3_000


def test_small_epochs_of_a_quiet_stream_do_not_shrink_the_next() -> None:
    assert after(50, fixed=0.05, each=1e-5, waiting=3) >= FEWEST


def test_memory_limits_an_epoch_whatever_the_time() -> None:
    assert after(30, fixed=0.0, each=1e-9, waiting=10**7, memory=1 << 20) <= (1 << 20) // 300
    assert after(30, fixed=0.0, each=1e-9, waiting=10**7) <= MOST


def test_a_stream_that_is_behind_takes_bigger_epochs_until_it_is_not() -> None:
    sizes = EpochSizes(latency=0.3, memory=1 << 34)
    for _ in range(12):
        size = sizes.most
        sizes.note(records=size, read_bytes=size, seconds=0.05 + 1e-5 * size, lag=10**7)
    assert sizes.most > 10 * 25_000
    for _ in range(12):
        size = min(sizes.most, 1_000)
        sizes.note(records=size, read_bytes=size, seconds=0.05 + 1e-5 * size, lag=0)
    assert sizes.most < 2 * 25_000


def test_an_epoch_without_records_tells_nothing() -> None:
    sizes = EpochSizes(latency=0.3, memory=1 << 30)
    sizes.note(records=0, read_bytes=0, seconds=9.0, lag=0)
    assert sizes.most == FIRST

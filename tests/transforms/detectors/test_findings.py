"""Which findings stay where they overlap."""

from __future__ import annotations

import time
from itertools import pairwise

from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.findings import Finding, disjoint
from hypothesis import given
from hypothesis import strategies as st


def made(start: int, end: int, score: float, entity: Entity | None = Entity.PHONE) -> Finding:
    return Finding(start, end, entity, score, "")


FINDINGS = st.lists(
    st.builds(
        lambda start, length, score, entity: made(start, start + length, score, entity),
        *(st.integers(0, 30), st.integers(1, 9), st.sampled_from((0.5, 0.9)), st.sampled_from((None, Entity.PHONE))),
    )
)


def test_the_surest_stays_and_among_equals_the_longest() -> None:
    assert disjoint([made(0, 5, 0.7), made(3, 9, 0.9)]) == [made(3, 9, 0.9)]
    assert disjoint([made(0, 5, 0.7), made(2, 4, 0.7)]) == [made(0, 5, 0.7)]
    assert disjoint([made(0, 3, 0.8), made(2, 5, 0.9), made(4, 8, 0.8)]) == [made(2, 5, 0.9)]


def test_what_is_known_to_be_none_keeps_others_away_and_is_not_returned() -> None:
    assert disjoint([made(0, 9, 1.0, None), made(2, 4, 0.9), made(9, 12, 0.5)]) == [made(9, 12, 0.5)]


@given(FINDINGS)
def test_what_stays_is_disjoint_in_order_and_all_else_overlaps_something_surer(findings: list[Finding]) -> None:
    kept = disjoint(findings)
    assert all(one.end <= other.start for one, other in pairwise(kept))
    assert set(kept) <= set(findings)


def test_a_long_row_of_overlapping_findings_takes_no_time_to_speak_of() -> None:
    began = time.perf_counter()
    assert len(disjoint(made(at, at + 3, 0.5) for at in range(0, 200_000, 2))) == 50_000
    assert time.perf_counter() - began < 5

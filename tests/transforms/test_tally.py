from __future__ import annotations

import pickle

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from consentry.transforms.tally import CombineTallies, Key, Tally, merge
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.tuples(st.sampled_from(["rows", "field"]), st.sampled_from(["a", "b"]), st.sampled_from(["null", "kept"]))
TALLIES = st.dictionaries(KEYS | st.just(("rows", "dropped")), st.integers(0, 9)).map(Tally)


def plain(tallies: list[Tally]) -> dict[Key, int]:
    keys = {key for tally in tallies for key in tally.counts}
    sums = {key: sum(tally.counts.get(key, 0) for tally in tallies) for key in keys}
    return {key: count for key, count in sums.items() if count}


@given(st.lists(TALLIES, max_size=5))
def test_a_merge_is_the_sum_of_all_counts_without_zeros(tallies: list[Tally]) -> None:
    before = [dict(tally.counts) for tally in tallies]
    assert merge(tallies).counts == plain(tallies)
    assert [dict(tally.counts) for tally in tallies] == before


@given(st.lists(TALLIES, max_size=6), st.integers(0, 6))
def test_it_does_not_matter_how_tallies_are_grouped_on_the_way(tallies: list[Tally], cut: int) -> None:
    combine = CombineTallies()
    accumulators = []
    for part in (tallies[:cut], tallies[cut:]):
        accumulator = combine.create_accumulator()
        for tally in part:
            accumulator = combine.add_input(accumulator, tally)
        accumulators.append(accumulator)
    merged = combine.merge_accumulators(reversed(accumulators))
    assert combine.extract_output(merged) == merge(tallies)


def test_a_key_that_was_not_counted_has_a_count_of_zero() -> None:
    tally = Tally({("rows", "dropped"): 2})
    assert tally["rows", "dropped"] == 2
    assert tally["rows", "redacted"] == 0
    assert Tally()["rows", "dropped"] == 0


def test_counts_are_found_by_how_their_keys_begin() -> None:
    tally = Tally({("field", "a", "null"): 1, ("field", "a.b", "kept"): 2, ("field", "a", "kept"): 3, ("rows", "x"): 4})
    assert tally.under("field", "a") == {("null",): 1, ("kept",): 3}
    assert tally.under("field") == {("a", "null"): 1, ("a.b", "kept"): 2, ("a", "kept"): 3}
    assert tally.under("rows", "x") == {(): 4}
    assert tally.under("vault") == {}
    assert tally.under() == tally.counts


def test_tallies_travel() -> None:
    tally = Tally({("rows", "dropped"): 2})
    assert pickle.loads(pickle.dumps(tally)) == tally


@pytest.mark.parametrize("counts", [[], [1], [1, 2, 3]])
def test_a_pipeline_sums_them(counts: list[int]) -> None:
    tallies = [Tally({("rows", "dropped"): count}) for count in counts]
    expected = Tally({("rows", "dropped"): sum(counts)} if counts else {})
    with beam.Pipeline("apache_beam.runners.portability.fn_api_runner.FnApiRunner") as pipeline:
        total = pipeline | beam.Create(tallies) | beam.CombineGlobally(CombineTallies())
        assert_that(total, equal_to([expected]))

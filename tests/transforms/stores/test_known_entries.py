"""What is remembered and told apart by ids never claims an entry that is not there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.vault_entry import EntryKey
from consentry.transforms.stores.distinct_candidates import CandidateIds, Candidates, Identified, distinct
from consentry.transforms.stores.known_entries import UNKNOWN, KnownEntries
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

WORD = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 2**63, 2**64 - 1])
ID = st.tuples(WORD, WORD).filter(any)
NOTED = st.lists(st.tuples(ID, st.integers(-3, 3)), max_size=6)


def as_columns(noted: list[tuple[tuple[int, int], int]]) -> tuple[Any, Any]:
    ids = np.array([words for words, _ in noted], np.uint64).reshape(-1, 2)
    return ids, np.array([time for _, time in noted], np.int64)


@settings(deadline=None, max_examples=examples(300))
@given(
    slots=st.sampled_from([1, 2, 4, 8]),
    steps=st.lists(NOTED | st.just("clear"), max_size=6),
    asked=st.lists(ID, max_size=12),
)
def test_nothing_is_claimed_that_was_not_noted_with_that_time(slots: int, steps: list[Any], asked: list[Any]) -> None:
    known, model = KnownEntries(slots), dict[tuple[int, int], int]()
    for step in steps:
        if step == "clear":
            known.clear()
            model.clear()
            continue
        known.note(*as_columns(step))
        for words, time in step:
            model[words] = max(model.get(words, time), time)
        ids, times = as_columns(list(model.items()))
        assert (known.times(ids) <= times).all()
    found = known.times(as_columns([(words, 0) for words in asked])[0])
    assert found.shape == (len(asked),)
    for words, time in zip(asked, found.tolist(), strict=True):
        assert time == UNKNOWN or (words in model and model[words] >= time)


def test_what_was_noted_is_remembered_while_there_is_room() -> None:
    known = KnownEntries(1 << 12)
    ids = np.random.default_rng(1).integers(1, 2**63, (400, 2), dtype=np.uint64)
    times = np.arange(400)
    known.note(ids, times)
    held = known.times(ids) == times
    assert held.mean() > 0.9
    assert (known.times(ids)[~held] == UNKNOWN).all()
    known.note(ids, times + 5)
    assert ((known.times(ids) == times + 5) == held).mean() > 0.95
    known.clear()
    assert (known.times(ids) == UNKNOWN).all()


def test_a_table_has_two_places_for_each_entry() -> None:
    known = KnownEntries(8)
    ids = np.array([[1, 2], [1, 3], [1, 4]], np.uint64)
    for row in range(3):
        known.note(ids[row : row + 1], np.zeros(1, np.int64))
    assert known.times(ids).tolist() == [0, 0, 0]


# Distinct candidates

CANDIDATE = st.tuples(
    st.sampled_from(["t1", "t2", "", "t1\0", "ü"]), st.sampled_from([b"a" * 16, b"b" * 16]), st.integers(0, 5)
)
PART = st.tuples(st.sampled_from(["card", "email"]), st.sampled_from([1, 2, 11]), st.lists(CANDIDATE, max_size=6))


def part_of(domain: str, version: int, rows: list[tuple[str, bytes, int]], *, sliced: bool = False) -> Candidates:
    around = 2 if sliced else 0
    padded = [("pad", b"p" * 16, 99)] * around + rows + [("pad", b"p" * 16, 99)] * around
    length = len(rows)
    return Candidates(
        domain=domain,
        key_version=version,
        tokens=pa.array([token for token, _, _ in padded], pa.string()).slice(around, length),
        values=pa.array([f"{domain} {token}" for token, _, _ in padded], pa.string()).slice(around, length),
        refs=pa.array([ref for _, ref, _ in padded], pa.binary(16)).slice(around, length),
        event_times=np.array([time for _, _, time in padded], np.int64)[around : around + length],
    )


@settings(deadline=None, max_examples=examples(200))
@given(parts=st.lists(PART, max_size=5), sliced=st.booleans(), chance=st.randoms(use_true_random=False))
def test_each_entry_is_there_once_with_its_latest_time(parts: list[Any], sliced: bool, chance: Any) -> None:
    model: dict[EntryKey, int] = {}
    for domain, version, rows in parts:
        for token, ref, time in rows:
            key = EntryKey(domain, token, version, ref)
            model[key] = max(model.get(key, time), time)
    ids = CandidateIds()
    found = distinct([ids.of(part_of(*part, sliced=sliced)) for part in parts])
    keys = found.entry_keys()
    assert len(keys) == len(found) == len(model)
    assert dict(zip(keys, found.event_times.tolist(), strict=True)) == model
    counted = Counter(
        EntryKey(domain, token, version, ref) for domain, version, rows in parts for token, ref, _ in rows
    )
    assert dict(zip(keys, found.counts.tolist(), strict=True)) == counted
    assert found.refs.to_pylist() == [key.subject_ref for key in keys]
    chosen = np.array([chance.random() < 0.5 for _ in keys], np.bool_)
    assert found.values(np.flatnonzero(chosen)) == [
        f"{key.domain} {key.token}" for key, taken in zip(keys, chosen, strict=True) if taken
    ]
    fewer = found.only(chosen)
    assert fewer.entry_keys() == [key for key, taken in zip(keys, chosen, strict=True) if taken]
    assert fewer.event_times.tolist() == [model[key] for key in fewer.entry_keys()]
    by_domain = [(domain, row) for domain, rows in found.by_domain(chosen) for row in rows.tolist()]
    assert sorted(row for _, row in by_domain) == np.flatnonzero(chosen).tolist()
    assert all(keys[row].domain == domain for domain, row in by_domain)


def test_ids_tell_all_parts_of_a_key_apart_and_are_of_one_process() -> None:
    ids = CandidateIds()
    parts = [
        part_of(domain, version, [(token, ref, 0)])
        for domain in ("card", "1 card", "")
        for version in (1, 11)
        for token in ("t", "t1", "ta", "")
        for ref in (b"a" * 16, b"a" * 15 + b"b")
    ]
    found = [tuple(ids.of(part).ids[0].tolist()) for part in parts]
    assert len(set(found)) == len(parts)
    assert [tuple(ids.of(part).ids[0].tolist()) for part in parts] == found
    assert tuple(CandidateIds().of(parts[0]).ids[0].tolist()) != found[0]


class NumberedIds(CandidateIds):
    """Gives ids of which many share a word: tokens are the ids."""

    def of(self, candidates: Candidates) -> Identified:
        words = [token.split() for token in candidates.tokens.to_pylist()]
        return Identified(candidates, np.array(words, np.uint64).reshape(-1, 2))


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 5)), max_size=20), st.integers(1, 3))
def test_ids_that_share_a_word_are_different_entries(rows: list[tuple[int, int, int]], portions: int) -> None:
    model: dict[str, int] = {}
    for one, two, time in rows:
        model[f"{one} {two}"] = max(model.get(f"{one} {two}", 0), time)
    named = [(f"{one} {two}", b"a" * 16, time) for one, two, time in rows]
    parts = [part_of("card", 1, named[start::portions]) for start in range(portions)]
    found = distinct([NumberedIds().of(part) for part in parts])
    assert {key.token: time for key, time in zip(found.entry_keys(), found.event_times.tolist(), strict=True)} == model
    assert len(found) == len(model)


@pytest.mark.parametrize(
    "candidates", [[], [part_of("card", 1, [])], [part_of("card", 1, []), part_of("email", 1, [])]]
)
def test_no_candidates_are_no_entries(candidates: list[Candidates]) -> None:
    found = distinct([CandidateIds().of(part) for part in candidates])
    assert len(found) == 0 and found.entry_keys() == [] and found.values(np.array([], np.int64)) == []
    assert found.refs.to_pylist() == [] and list(found.by_domain(np.zeros(0, np.bool_))) == []


@pytest.mark.parametrize("sizes", [[20], [20, 20], [20, 20, 20, 20], [400], [20, 400, 20]])
def test_what_was_cleared_is_forgotten_whether_little_or_much_was_noted(sizes: list[int]) -> None:
    known = KnownEntries(1 << 12)
    random = np.random.default_rng(2)
    for _ in range(3):
        noted = [random.integers(1, 2**63, (size, 2), dtype=np.uint64) for size in sizes]
        for ids in noted:
            known.note(ids, np.arange(len(ids)))
        assert (known.times(noted[-1]) != UNKNOWN).any()
        known.clear()
        assert all((known.times(ids) == UNKNOWN).all() for ids in noted)
        assert not known._slots.any()

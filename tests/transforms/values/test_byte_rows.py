"""Rows of bytes against plain Python lists of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from consentry.transforms.values.byte_rows import ByteRows, places_of
from consentry.transforms.values.checksums import luhn_check_digits, luhn_sums, luhn_valid, mod97
from hypothesis import given, settings
from hypothesis import strategies as st

ROWS = st.lists(st.one_of(st.none(), st.text("ab-é", max_size=9)), max_size=20)


def of(values: list[str | None], start: int = 0) -> ByteRows:
    return ByteRows.of(pa.array(["xx", None, *values], pa.large_string()).slice(2))


def listed(rows: ByteRows) -> list[bytes | None]:
    strings = rows.to_strings().cast(pa.binary())
    assert len(rows.data) == sum(len(value) for value in strings.to_pylist() if value is not None)
    return list(strings.to_pylist())


def encoded(values: list[str | None]) -> list[bytes | None]:
    return [None if value is None else value.encode() for value in values]


@settings(max_examples=100, deadline=None)
@given(values=ROWS, data=st.data())
def test_rows_are_cut_counted_and_changed_as_lists_are(values: list[str | None], data: Any) -> None:
    rows, plain = of(values), encoded(values)
    assert listed(rows) == plain
    dashes = rows.data == ord("-")
    assert list(rows.counts(dashes)) == [(value or b"").count(b"-") for value in plain]
    assert listed(rows.without(dashes)) == [value and value.replace(b"-", b"") for value in plain]
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), np.bool_)
    assert listed(rows.only(kept)) == [value if keep else None for value, keep in zip(plain, kept, strict=True)]
    skip = np.minimum(np.arange(len(values)) % 4, rows.lengths)
    cut = [value and value[n:] for value, n in zip(plain, skip, strict=True)]
    assert listed(rows.without_first(skip)) == cut
    assert [bytes(head) for head in rows.heads(3)] == [(value or b"")[:3].ljust(3, b"\0") for value in plain]
    reversed_ = rows.mapped(lambda matrix: matrix[:, ::-1])
    assert listed(reversed_) == [value and value[::-1] for value in plain]


def test_a_matrix_with_nulls_becomes_rows() -> None:
    matrix = np.frombuffer(b"abcdef", np.uint8).reshape(3, 2)
    assert listed(ByteRows.of_matrix(matrix, np.array([True, False, True]))) == [b"ab", None, b"ef"]


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.integers(1, 24).flatmap(lambda n: st.lists(st.text("0123456789", min_size=n, max_size=n), min_size=1))
)
def test_luhn_sums_are_those_of_the_standard(numbers: list[str]) -> None:
    matrix = np.frombuffer("".join(numbers).encode(), np.uint8).reshape(len(numbers), -1)
    sums = [
        sum(sum(divmod(int(d) * (1 + i % 2), 10)) for i, d in enumerate(reversed(number))) % 10 for number in numbers
    ]
    assert luhn_sums(matrix).tolist() == sums
    assert luhn_valid(matrix).tolist() == [total == 0 for total in sums]
    completed = np.concatenate([matrix, 48 + luhn_check_digits(matrix)[:, None]], axis=1)
    assert luhn_valid(completed).all()


@settings(max_examples=60, deadline=None)
@given(
    texts=st.sampled_from(["0123456789", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]).flatmap(
        lambda alphabet: st.integers(1, 36).flatmap(
            lambda n: st.lists(st.text(alphabet, min_size=n, max_size=n), min_size=1, max_size=9)
        )
    )
)
def test_remainders_by_97_are_those_of_the_whole_number(texts: list[str]) -> None:
    matrix = np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)
    assert mod97(matrix).tolist() == [int("".join(str(int(c, 36)) for c in text)) % 97 for text in texts]


@given(st.integers(0, 700), st.lists(st.integers(0, 699), max_size=12), st.booleans())
def test_places_of_flags_are_found_few_or_many(length: int, chosen: list[int], others: bool) -> None:
    flags = np.full(length, others)
    flags[[place for place in chosen if place < length]] = not others
    assert places_of(flags).tolist() == np.flatnonzero(flags).tolist()

"""Canaries are found in any spelling, in the right row, and never by chance between two values."""

from __future__ import annotations

import base64

import pyarrow as pa
import pytest
from consentry.schemas.errors import ConfigError
from consentry.transforms.canaries import Canaries, read_canaries
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.needles import spellings

SECRET = "4111-2222 Kim@Example"
canaries = Canaries([(7, SECRET), (9, "another one")])


def rows(values: list[str | None]) -> list[int]:
    return [row for row, _, _ in canaries.find(pa.array(values, pa.string()))]


@pytest.mark.parametrize("name", [name for name in spellings(SECRET) if "utf-16" not in name])
def test_every_spelling_that_tests_look_for_is_found(name: str) -> None:
    written = spellings(SECRET)[name].decode()
    found = list(canaries.find(pa.array(["no", None, f"({written})"])))
    assert [(row, line) for row, line, _ in found] == [(2, 7)]


@settings(max_examples=100, deadline=None)
@given(before=st.binary(max_size=9), after=st.binary(max_size=9), safe=st.booleans())
def test_base64_is_found_at_every_place(before: bytes, after: bytes, safe: bool) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    assert rows([encode(before + SECRET.encode() + after).decode()]) == [0]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from([SECRET, SECRET[:8], SECRET[8:], "x", SECRET[::-1]])), max_size=12),
    st.integers(0, 3),
)
def test_rows_are_right_whatever_stands_beside_them(values: list[str | None], cut: int) -> None:
    column = pa.array(values, pa.string()).slice(cut)
    expected = [row for row, value in enumerate(values[cut:]) if value in (SECRET, SECRET[::-1])]
    assert [row for row, _, _ in canaries.find(column)] == expected


@pytest.mark.parametrize("separator", ["", " ", "-", ".", "/", "_", " - "])
def test_numbers_are_found_with_other_separators(separator: str) -> None:
    number = Canaries([(1, "4111 1111 2222 3333")])
    written = separator.join(["4111", "1111", "2222", "3333"])
    assert [row for row, _, _ in number.find(pa.array(["4111", f"no {written}."]))] == [1]


def test_values_of_other_types_are_searched_as_they_are_written() -> None:
    number = Canaries([(1, "41111111")])
    for kind in (pa.int32(), pa.int64(), pa.float64(), pa.decimal128(21, 2)):
        assert [row for row, _, _ in number.find(pa.array([1, None, 41111111]).cast(kind))] == [2]
    assert [row for row, _, _ in number.find(pa.array([b"\xff41111111", b"\xff"], pa.binary()))] == [0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xfe", "f: is not UTF-8 text"),
        (b"\n \n", "f: holds 0 canaries"),
        (b"long enough\n1-2-3-4\n", "f:2: has fewer than 6 letters and digits"),
        ("\n".join(f"canary {n}" for n in range(1001)).encode(), "f: holds 1001 canaries; write 1 to 1000"),
    ],
)
def test_files_that_would_not_tell_are_refused_without_their_values(data: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        read_canaries(data, "f")
    assert "1-2-3-4" not in str(refused.value)


def test_lines_are_counted_as_in_the_file() -> None:
    found = read_canaries("\ufefffirst one\r\n\r\n  third one \n".encode(), "f")
    assert len(found) == 2
    assert [line for _, line, _ in found.find(pa.array(["third one", "first one"]))] == [3, 1]
    assert "third" not in repr(found)


def test_a_thousand_are_searched_at_once() -> None:
    found = read_canaries("\n".join(f"canary-{n * 7919}-{n}" for n in range(1000)).encode(), "f")
    column = pa.array([f"note {n} of nothing" for n in range(2000)] + ["canary-7911081-999"])
    assert [(row, line) for row, line, _ in found.find(column)] == [(2000, 1000)]

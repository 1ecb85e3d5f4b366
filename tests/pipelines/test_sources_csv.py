"""CSV: every column is text as spelled, every record is a row or a rejected line, and no quote swallows the file."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines import csv_blocks, csv_records, text_blocks
from consentry.pipelines.csv_records import find_records
from consentry.pipelines.sources import plan_sources, read_split
from consentry.schemas.errors import InputError, RunError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracles.source_rows import Read, read_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "refunds.csv"


def read(path: Path, data: bytes) -> Read:
    path.write_bytes(data)
    return read_all(path)


def cells(found: Read) -> list[tuple[str | None, ...]]:
    return [tuple(row.values()) for row in found.rows]


def test_values_are_text_exactly_as_spelled(path: Path) -> None:
    found = read(path, b"id,at,n\n00123,2026-01-01,1.50\n 7 ,true,NULL\nN/A,nan,1e5\n")
    assert set(found.types.values()) == {pa.string()}
    assert cells(found) == [("00123", "2026-01-01", "1.50"), (" 7 ", "true", "NULL"), ("N/A", "nan", "1e5")]
    assert found.positions == [2, 3, 4]


def test_an_empty_field_is_null_and_a_quoted_one_is_empty_text(path: Path) -> None:
    assert cells(read(path, b'a,b,c\n,"",x\n')) == [(None, "", "x")]


def test_quoted_fields_hold_separators_quotes_and_line_breaks(path: Path) -> None:
    found = read(path, b'a,b\n"x,y","say ""hi"""\n"one\ntwo\r\nthree",4\n5,6\n')
    assert cells(found) == [("x,y", 'say "hi"'), ("one\ntwo\r\nthree", "4"), ("5", "6")]
    assert found.positions == [2, 3, 6]


def test_lines_may_end_as_on_windows_or_not_at_all_and_blank_ones_are_counted(path: Path) -> None:
    found = read(path, b"\xef\xbb\xbf\r\na,b\r\n\r\n1,2\r\n\r\n\r\n3,4")
    assert cells(found) == [("1", "2"), ("3", "4")]
    assert (found.positions, list(found.types)) == ([4, 7], ["a", "b"])


def test_a_record_with_another_number_of_fields_is_rejected(path: Path) -> None:
    found = read(path, b'a,b\n1,2\n3\n4,5,6\n"7\n7",8,9\r\n10,11\n')
    assert cells(found) == [("1", "2"), ("10", "11")]
    assert found.positions == [2, 7]
    assert found.rejected == [(3, "wrong_column_count"), (4, "wrong_column_count"), (5, "wrong_column_count")]
    assert found.raw == [b"3", b"4,5,6", b'"7\n7",8,9']


def test_bytes_that_are_no_utf8_are_rejected_with_their_record_alone(path: Path) -> None:
    found = read(path, "a,b\né,1\n".encode() + b"\xff,2\n3,caf\xe9\n4,5\n6\xff\n")
    assert cells(found) == [("é", "1"), ("4", "5")]
    assert found.positions == [2, 5]
    assert found.rejected == [(3, "invalid_utf8"), (4, "invalid_utf8"), (6, "invalid_utf8")]
    assert found.raw == [b"\xff,2", b"3,caf\xe9", b"6\xff"]


@pytest.mark.parametrize(
    "broken", [b'1,"never closed', b'1,"closed" late', b'"1"x,2', b'1,"a""', b'"', b'1,2,"', b'"a" ,2']
)
def test_an_unbalanced_quote_costs_its_line_and_no_other(path: Path, broken: bytes) -> None:
    for tail in (b"", b'5,"six"\n', b'5,"six"\n"7\n",8\n'):
        found = read(path, b'a,b\n"0","0"\n' + broken + b"\n3,4\n" + tail)
        assert found.rejected == [(3, "unbalanced_quote")]
        assert found.raw == [broken]
        assert cells(found)[:2] == [("0", "0"), ("3", "4")]
        assert len(found.rows) == 2 + tail.count(b"six") + tail.count(b",8")


def test_a_quote_within_an_open_field_is_a_character(path: Path) -> None:
    assert cells(read(path, b'a,b\n5" pipe,x\n6"" rod,"y"\n')) == [('5" pipe', "x"), ('6"" rod', "y")]


def test_a_quote_that_stays_open_is_given_up_after_some_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_records, "MAX_RECORD", 200)
    rows = b"".join(b"%d,x\n" % number for number in range(500))
    found = read(path, b'a,b\n1,"open\n' + rows)
    assert found.rejected == [(2, "unbalanced_quote")]
    assert [a for a, _ in cells(found)] == [str(number) for number in range(500)]
    assert found.positions == list(range(3, 503))


def test_lone_carriage_returns_make_no_rows_of_their_own(path: Path) -> None:
    found = read(path, b"a,b\n1,2\r3,4\n5,6\n" + b"7,8\n" * 20)
    assert found.rejected == [(2, "invalid_csv")]
    assert cells(found) == [("5", "6"), *[("7", "8")] * 20]


def test_nul_is_a_character(path: Path) -> None:
    assert cells(read(path, b"a,b\nx\0y,1\n")) == [("x\0y", "1")]


def test_a_line_that_is_too_long_is_rejected_and_the_rest_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(text_blocks, "MAX_LINE", 200)
    monkeypatch.setattr(text_blocks, "KEPT_OF_LONG_LINE", 5)
    found = read(path, b"a,b\n1,2\n" + b"x" * 300 + b'\n3,"4\n' + b"y" * 400 + b"\n5,6\n")
    assert found.rejected == [(3, "line_too_long"), (4, "unbalanced_quote"), (5, "line_too_long")]
    assert (cells(found), found.positions) == ([("1", "2"), ("5", "6")], [2, 6])


def test_tab_separated_values_are_read_by_tabs(tmp_path: Path) -> None:
    path = tmp_path / "refunds.TSV"
    path.write_bytes(b'a\tb\n1,5\t"x\ty"\n')
    assert read_all(path).rows == [{"a": "1,5", "b": "x\ty"}]


def test_reserved_columns_are_dropped(path: Path) -> None:
    found = read(path, b"a,__consentry_permits:support,__consentry_position\n1,true,9\n")
    assert (found.rows, found.positions) == ([{"a": "1"}], [2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", "refunds.csv: column 3 has the name of another; give each a name of its own"),
        (b"a,\xff\n1,2\n", "refunds.csv: its header cannot be read; give it a first line of column names in UTF-8"),
        (b'a,"b\n1,2\n', "refunds.csv: its header cannot be read"),
    ],
)
def test_a_header_that_cannot_be_used_is_an_error(path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(path, data)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n"])
def test_a_file_without_a_header_has_no_columns(path: Path, data: bytes) -> None:
    found = read(path, data)
    assert (found.rows, found.types, found.rejected) == ([], {}, [])


def test_a_file_with_a_header_alone_has_columns(path: Path) -> None:
    for data in (b"a,b", b"a,b\n", b"a,b\n\n"):
        found = read(path, data)
        assert (found.rows, list(found.types)) == ([], ["a", "b"])


def test_compressed_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "refunds.csv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 100))
    assert read_all(path).rows == [{"a": "1"}] * 100
    sources = plan_sources([str(path)])
    path.write_bytes(gzip.compress(np.random.default_rng(1).bytes(10**6))[:50_000])
    with pytest.raises(RunError, match=r"refunds\.csv.gz: is damaged or cut off"):
        list(read_split(sources.splits[0], sources.schema))


def test_a_big_file_is_cut_between_records(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, 256)
    records = [(str(number), "x\ny" * (number % 5), "" if number % 3 else 'a "b"') for number in range(1000)]
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b", "c"), *records])
    found = read(path, text.getvalue().encode())
    assert len(found.sources.splits) > 10
    assert cells(found) == records
    lines = np.cumsum([2] + [1 + record[1].count("\n") for record in records])
    assert found.positions == lines[:-1].tolist()
    sources = found.sources
    path.write_bytes(path.read_bytes().replace(b"x\ny", b"xxy"))
    with pytest.raises(RunError, match=r"refunds\.csv: changed while it was read"):
        for split in sources.splits:
            list(read_split(split, sources.schema))


def shrink(patch: pytest.MonkeyPatch, block: int) -> None:
    patch.setattr(text_blocks, "BLOCK_BYTES", block)
    patch.setattr(csv_blocks, "RANGE_BYTES", 4 * block)


FRAGMENTS = st.sampled_from(
    [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"\xc3\xa9", b"\xff", b'x"', b',"', b'",', b"1,2\n"]
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(FRAGMENTS, max_size=60), block=st.integers(5, 200))
@example(parts=[b'1,"', b"\n", b'2,"x"', b"\n"], block=50)
@example(parts=[b"\r", b'"', b',"', b',"', b"\n"], block=5)
@example(parts=[b'"', b'",', b"\r", b'"', b"\n", b'""', b"\n"], block=5)
@example(parts=[b'"', b'",', b"\r", b'"', b"\n", b'""', b"\n"], block=6)
@example(parts=[b',"', b'",', b"\r", b'",', b'",', b'"', b"\n", b'""', b"\n"], block=5)
def test_every_record_is_a_row_or_rejected_and_no_byte_is_lost(tmp_path: Path, parts: list[bytes], block: int) -> None:
    path, data = tmp_path / "messy.csv", b"".join(parts)
    whole = read(path, b"k,v\n" + data)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, block)
        patch.setattr(csv_records, "_well_placed", lambda *_: False)
        pieces = read(path, b"k,v\n" + data)
    assert (pieces.rows, pieces.positions, pieces.rejected, pieces.raw) == (
        whole.rows, whole.positions, whole.rejected, whole.raw,
    )  # fmt: skip
    starts, stops = bounds(data)
    lines = [2 + data.count(b"\n", 0, start) for start in starts]
    filled = [line for line, start, stop in zip(lines, starts, stops, strict=True) if data[start:stop].strip(b"\r\n")]
    assert sorted([*whole.positions, *dict(whole.rejected)]) == filled
    assert len(whole.positions) + len(whole.rejected) == len(filled)
    raw = dict(zip(lines, (data[start:stop] for start, stop in zip(starts, stops, strict=True)), strict=True))
    for position, values in zip(whole.positions, cells(whole), strict=True):
        (expected,) = filter(None, csv.reader(io.StringIO(raw[position].lstrip(b"\r\n").decode(), newline="")))
        assert [value or "" for value in values] == expected
    for (position, _), line in zip(whole.rejected, whole.raw, strict=True):
        assert raw[position].removesuffix(b"\n").removesuffix(b"\r") == line


def bounds(data: bytes) -> tuple[list[int], list[int]]:
    """Where records begin and end, by a machine that goes from byte to byte."""
    starts, stops, at = [], [], 0
    while at < len(data):
        end = closed_record(data, at)
        starts.append(at)
        at = end if end is not None else data.find(b"\n", at) + 1 or len(data)
        stops.append(at)
    return starts, stops


def closed_record(data: bytes, at: int) -> int | None:
    state = "begin"
    while at < len(data):
        byte = data[at : at + 1]
        at += 1
        if state == "quoted":
            state = "closed" if byte == b'"' else state
        elif byte == b"\n":
            return at
        elif byte == b",":
            state = "begin"
        elif state == "closed" and byte != b'"':
            if data[at - 1 : at + 1] not in (b"\r\n", b"\r"):
                return None
        elif byte == b'"' and state in ("begin", "closed"):
            state = "quoted"
        else:
            state = "bare"
    return None if state == "quoted" else at


@settings(deadline=None, max_examples=300)
@given(
    records=st.lists(
        st.lists(st.text(st.sampled_from('ab", \n\r\té'), max_size=5), min_size=2, max_size=2), min_size=1, max_size=20
    )
)
def test_what_a_csv_writer_wrote_is_found_record_by_record(records: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(records)
    data = text.getvalue().encode()
    stops, broken = find_records(data, delimiter=b",", final=True)
    assert len(stops) == len(records)
    assert not broken.any()
    assert stops[-1] == len(data)

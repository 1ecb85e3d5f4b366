"""One person has one reference, however the column is laid out."""

from __future__ import annotations

import decimal
import unicodedata

import pyarrow as pa
import pytest
from consentry.schemas.errors import ConfigError
from consentry.transforms.crypto.subject_references import (
    canonical_subjects,
    subject_reference,
    subject_references,
)
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes(range(32))
IDS = ["c-17", None, "", "  ", " c-17\t", "M\u00fcller", "Mu\u0308ller", "\u3000x\u00a0", "a b"]
CANONICAL = ["c-17", None, None, None, "c-17", "M\u00fcller", "M\u00fcller", "x", "a b"]


def cmac(text: str) -> bytes:
    mac = CMAC(AES(KEY))
    mac.update(text.encode())
    return mac.finalize()


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_layout_gives_the_same_references(kind: pa.DataType) -> None:
    column = pa.array(IDS, pa.string()).cast(kind)
    assert canonical_subjects(column).to_pylist() == CANONICAL
    assert canonical_subjects(column).type == pa.string()
    expected = [None if subject is None else cmac(subject) for subject in CANONICAL]
    assert subject_references(column, KEY).to_pylist() == expected
    assert subject_references(column.slice(3, 4), KEY).to_pylist() == expected[3:7]


def test_numbers_are_the_text_that_people_write() -> None:
    decimals = pa.array([decimal.Decimal(text) for text in ("17.00", "10.50", "100.00")], pa.decimal128(10, 2))
    assert canonical_subjects(decimals).to_pylist() == ["17", "10.5", "100"]
    assert canonical_subjects(pa.array([17, None, -3, 100])).to_pylist() == ["17", None, "-3", "100"]
    assert canonical_subjects(pa.array([10**18 * 18], pa.uint64())).to_pylist() == ["18000000000000000000"]
    assert canonical_subjects(pa.array([decimal.Decimal(100)], pa.decimal128(38, 0))).to_pylist() == ["100"]


def test_a_column_of_nulls_names_nobody() -> None:
    assert subject_references(pa.nulls(3), KEY).to_pylist() == [None] * 3
    assert subject_references(pa.array([], pa.string()), KEY).type == pa.binary(16)


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.date32(), pa.binary()])
def test_types_that_cannot_name_people_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="cannot name people; use a text, integer or decimal column"):
        subject_references(pa.nulls(1, kind), KEY)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12), max_size=8))
def test_a_value_does_not_depend_on_its_neighbours(subjects: list[str]) -> None:
    together = subject_references(pa.array(subjects, pa.string()), KEY).to_pylist()
    assert together == [subject_reference(subject, KEY) for subject in subjects]
    canonical = canonical_subjects(pa.array(subjects, pa.string())).to_pylist()
    assert canonical == [unicodedata.normalize("NFC", subject).strip() or None for subject in subjects]

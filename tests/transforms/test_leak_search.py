"""What each column must hold is what is looked for, whatever its layout, and tokens are never taken for values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.dataset import FieldPath
from consentry.schemas.info_types import Format
from consentry.transforms.detectors.free_text import find_in_texts
from consentry.transforms.known_tokens import without_tokens
from consentry.transforms.leaf_columns import Leaf, leaves
from consentry.transforms.leak_search import find_leaks
from hypothesis import given, settings
from hypothesis import strategies as st

CARD, TOKEN, MAIL = "4111111111111111", "4111111112111111", "kim@example.com"
FORMATS = {"card": Format.PAN, "phone": Format.PHONE, "email": Format.EMAIL}


def found(values: Any, kind: pa.DataType | None = None, **marks: str) -> list[tuple[int, str]]:
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    leaf = Leaf(path=FieldPath(("c",)), marks=marks, values=column, rows=None)
    return sorted((leaked.place, leaked.kind) for leaked in find_leaks(leaf, FORMATS))


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (f"[card:1:{TOKEN}]", []),
        (f"[card:2:{TOKEN}]", []),
        (f"[card:1:{CARD}]", ["CREDIT_CARD"]),
        (f"[[card:1:{CARD}]", ["CREDIT_CARD"]),
        (f"［card:1:{CARD}］", ["CREDIT_CARD"]),
        (f"[card:1:{TOKEN}]{CARD}", ["CREDIT_CARD"]),
        (f"{CARD}[card:1:{TOKEN}]", ["CREDIT_CARD"]),
        ("[phone:1:+14155550123]", []),
        ("[[phone:1:+14155550123]", ["PHONE"]),
        ("[email:1:abcdefghijklmnop@abcdefghijklmnop.invalid]", []),
        (f"[email:1:{MAIL}]", ["EMAIL"]),
        (f"[other:1:{MAIL}]", ["EMAIL"]),
        (f"[other:1:{CARD}]", ["CREDIT_CARD"]),
        ("[other:1:+14155550123]", []),
        ("abcdefghijklmnop@abcdefghijklmnop.invalid", []),
    ],
)
def test_a_token_is_no_leak_and_what_only_looks_so_is(text: str, kinds: list[str]) -> None:
    assert found([text]) == [(0, kind) for kind in kinds]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)  # fmt: skip
def test_text_of_every_layout_is_searched(kind: pa.DataType) -> None:
    column = pa.array(["no", MAIL, None]).cast(kind)
    (leaf,) = leaves(pa.record_batch([column], ["c"]))
    assert found(leaf.values) == [(1, "EMAIL")]
    assert found(leaf.values.slice(1)) == [(0, "EMAIL")]


def test_fixed_bytes_are_searched() -> None:
    assert found(pa.array([MAIL.encode()], pa.binary(len(MAIL)))) == [(0, "EMAIL")]


NUMBERS = [pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(20, 2), pa.decimal256(40, 0)]


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_numbers_that_can_be_cards_are_searched(kind: pa.DataType) -> None:
    number = Decimal if pa.types.is_decimal(kind) else int
    assert found(pa.array([number(CARD), number(5), None], kind)) == [(0, "CREDIT_CARD")]


def test_negative_numbers_and_what_is_no_number_hide_nothing() -> None:
    assert found([-int(CARD), -5]) == [(0, "CREDIT_CARD")]
    assert found([float("nan"), float("inf"), -float(CARD), 1e30, 4111111111111.5]) == [(2, "CREDIT_CARD")]


@pytest.mark.parametrize("action", ["generalize", "scan", "keep"])
def test_networks_are_nobody_s_addresses(action: str) -> None:
    texts = ["203.0.113.0/24", "from 2001:db8::/48.", "203.0.113.7", "203.0.113.7/32", "203.0.113.7/24"]
    assert found(texts, action=action) == [(2, "IP_ADDRESS"), (3, "IP_ADDRESS"), (4, "IP_ADDRESS")]


def test_a_redacted_column_holds_nothing_else() -> None:
    assert found(["[redacted]", None, "x", MAIL], action="redact") == [(2, "NOT_REDACTED"), (3, "EMAIL")]
    assert found([None, 5], action="redact") == [(1, "NOT_REDACTED")]
    assert found(["[redacted]", "y"], pa.large_string(), action="redact") == [(1, "NOT_REDACTED")]


def test_a_tokenized_column_holds_tokens_or_nothing() -> None:
    pan = {"action": "tokenize", "format": "pan", "key_version": "1"}
    assert found(["[redacted]", None, CARD, "", "x"], **pan) == [
        (2, "CREDIT_CARD"),
        (3, "NOT_A_TOKEN"),
        (4, "NOT_A_TOKEN"),
    ]
    assert found([5, None], **pan) == [(0, "NOT_A_TOKEN")]
    assert found([True, None], **pan) == [(0, "NOT_A_TOKEN")]
    assert found([b"\xff"], pa.binary(), **pan) == [(0, "NOT_A_TOKEN")]


def test_repeated_values_are_found_in_every_row() -> None:
    values = [MAIL, "TEA", None, MAIL, "TEA", "TEA", "TEA", MAIL]
    assert found(values) == [(place, "EMAIL") for place in (0, 3, 7)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.from_regex(r"[0-9]{1,12}", fullmatch=True),
            st.datetimes().map(lambda when: when.isoformat()),
            st.dates().map(str),
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_what_is_passed_over_is_what_no_detector_knows(values: list[str]) -> None:
    assert [row for row, _ in find_in_texts(pa.array(values), tokens=False)] == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="[]:a1 é🎁", max_size=30), max_size=5))
def test_covering_keeps_the_length_of_every_text(values: list[str]) -> None:
    column = pa.array(values, pa.string())
    assert [len(text) for text in without_tokens(column, {}).to_pylist()] == [len(text) for text in values]


def test_leaves_carry_marks_down_and_rows_up() -> None:
    note = pa.field("note", pa.string())
    own = pa.field("own", pa.string(), metadata={"consentry.action": "scan"})
    items = pa.field("items", pa.list_(pa.struct([note, own])), metadata={"consentry.action": "keep", "x": "y"})
    values = [[], [{"note": "a", "own": "b"}, None], None, [{"note": "c", "own": None}]]
    batch = pa.record_batch([pa.array(values, items.type)], schema=pa.schema([items])).slice(1)
    found_leaves = list(leaves(batch))
    assert [str(leaf.path) for leaf in found_leaves] == ["items[].note", "items[].own"]
    assert [leaf.marks for leaf in found_leaves] == [{"action": "keep"}, {"action": "scan"}]
    assert found_leaves[0].values.to_pylist() == ["a", None, "c"]
    assert [found_leaves[0].row(place) for place in range(3)] == [0, 0, 2]


def test_maps_and_other_nests_are_opened() -> None:
    table = pa.table(
        {
            "m": pa.array([[("k", "v")], None, [("q", None)]], pa.map_(pa.string(), pa.string())),
            "v": pa.array([["a"], None, ["b", "c"]], pa.list_view(pa.string_view())),
            "f": pa.array([["a", "b"], None, ["c", "d"]], pa.list_(pa.string(), 2)),
        }
    )
    told = {
        str(leaf.path): (leaf.values.to_pylist(), np.asarray(leaf.rows).tolist())
        for leaf in leaves(table.to_batches()[0])
    }
    assert told == {
        "m[].key": (["k", "q"], [0, 2]), "m[].value": (["v", None], [0, 2]),
        "v[]": (["a", "b", "c"], [0, 2, 2]), "f[]": (["a", "b", None, None, "c", "d"], [0, 0, 1, 1, 2, 2]),
    }  # fmt: skip

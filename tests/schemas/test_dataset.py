"""Paths through structs and lists, and which line of a dataset covers them."""

from __future__ import annotations

import pickle

import pytest
from consentry.schemas.dataset import EACH, Dataset, FieldPath, Plain
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
PATHS = st.builds(
    lambda first, rest: FieldPath((first, *rest)), NAMES, st.lists(st.one_of(NAMES, st.just(EACH)), max_size=6)
)


@given(path=PATHS)
def test_a_path_reads_back_from_its_text(path):
    assert FieldPath.parse(str(path)) == path


@given(text=st.text(st.sampled_from("ab.[]\\"), max_size=8))
def test_any_text_is_a_path_or_a_value_error(text):
    try:
        path = FieldPath.parse(text)
    except ValueError as error:
        assert "; " in str(error)
    else:
        assert FieldPath.parse(str(path)) == path


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("order_id", ("order_id",)),
        ("items[].sku", ("items", EACH, "sku")),
        ("matrix[][]", ("matrix", EACH, EACH)),
        ("a[].b[].c", ("a", EACH, "b", EACH, "c")),
        ("a\\.b", ("a.b",)),
        ("a\\[\\]", ("a[]",)),
        ("a\\\\b", ("a\\b",)),
        ("customer id.straße", ("customer id", "straße")),
    ],
)
def test_dots_enter_structs_brackets_lists_and_a_backslash_escapes_both(text, steps):
    assert FieldPath.parse(text).steps == steps


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "[]", "[].a", "a[", "a]", "a[0]", "a[]b", "a[]\\.b", "a\\"]
)
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="a path"):
        FieldPath.parse(text)


def test_a_path_knows_what_lies_below_it():
    path = FieldPath.parse("items[].sku")
    assert path.parent == FieldPath.parse("items[]")
    assert path.is_under(FieldPath.parse("items"))
    assert path.is_under(path)
    assert not path.is_under(FieldPath.parse("items[].sk"))
    assert not path.is_scalar
    assert path.child("size") == FieldPath.parse("items[].sku.size")
    assert pickle.loads(pickle.dumps(path)) == path


def test_the_longest_line_that_covers_a_path_decides():
    dataset = Dataset.model_validate(
        {"subject": "a.id", "event_time": "t", "fields": {"a": "keep", "a.b": "card", "a.b.c": "redact"}}
    )
    for text, rule in {
        "a": Plain.KEEP,
        "a.x": Plain.KEEP,
        "a.b.y[]": "card",
        "a.b.c[].z": Plain.REDACT,
        "d": None,
    }.items():
        assert dataset.rule_for(FieldPath.parse(text)) == rule
    assert isinstance(dataset.rule_for(FieldPath.parse("a")), Plain)
    assert not isinstance(dataset.rule_for(FieldPath.parse("a.b")), Plain)

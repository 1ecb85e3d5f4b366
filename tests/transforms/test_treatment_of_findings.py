"""What detection finds is treated as its own info type, and what contradicts its declaration never leaves raw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.dataset import Dataset, FieldPath
from consentry.schemas.info_types import Entity
from consentry.schemas.policy import Policy
from consentry.schemas.text_tokens import replaced, text_tokens
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.detectors.findings import Finding
from consentry.transforms.protection import Protected, protect_batch
from consentry.transforms.protection_plan import needed_purposes, plan_protection
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles.labelled_texts import LabelledText, labelled_texts

KEYS = TokenKeys(tenant="shop", secrets={3: bytes(range(32))}, primary=3, root=bytes(32))
INFO_TYPES = {
    "card": {
        "action": "tokenize", "format": "pan", "domain": "card", "collect": ["use"], "distribute": ["give"],
        "finds": ["CREDIT_CARD"],
    },
    "email": {"action": "tokenize", "format": "email", "domain": "email", "collect": ["other"], "finds": ["EMAIL"]},
    "born": {"action": "generalize", "to": "year", "collect": ["use"], "finds": ["DATE_OF_BIRTH"]},
    "tail": {"action": "mask", "show_last": 2, "collect": ["use"], "finds": ["US_SSN"]},
    "net": {"action": "keep", "collect": ["use"], "finds": ["IP_ADDRESS"]},
    "note": {"action": "scan", "collect": ["use"]},
}  # fmt: skip
CARD, EMAIL = "4111 1111 1111 1111", "ana.canary@example.com"
CARDS = ["4111111111111111", "4012888888881881", "5555555555554444", "378282246310005"]

DecidedOf = Callable[..., pa.RecordBatch]
Protecting = Callable[..., Protected]


def policy(fields: dict[str, str], **dataset: Any) -> Policy:
    settings: dict[str, Any] = {"subject": "who", "event_time": "when", **dataset}
    return Policy(
        version=1,
        purposes={name: {"basis": "consent", "says": "Why."} for name in ("use", "give", "other")},
        info_types=INFO_TYPES,
        datasets={"data": Dataset(fields={FieldPath.parse(path): rule for path, rule in fields.items()}, **settings)},
        dead_letters={"retain": "7d"},
    )


@pytest.fixture(scope="session")
def protected(decided: DecidedOf) -> Protecting:
    def protect(
        columns: Any, fields: dict[str, str], *, permits: dict[str, list[bool]] | None = None, **dataset: Any
    ) -> Protected:
        batch = columns if isinstance(columns, pa.RecordBatch) else pa.record_batch(columns)
        batch = decided(batch, **(permits or {}))
        plan = plan_protection(policy(fields, **dataset), "data", batch.schema, key_version=3)
        tokenizers = {domain: open_tokenizer(rule, KEYS, version=3) for domain, rule in plan.domains().items()}
        found = protect_batch(batch, plan, tokenizers)
        found.batch.validate(full=True)
        return found

    return protect


def token_of(value: str, info_type: str = "card") -> str:
    rule = policy({"a": "keep"}).info_types[info_type]
    tokens = open_tokenizer(rule, KEYS, version=3).tokenize(pa.array([value])).tokens  # type: ignore[arg-type]
    return f"[{info_type}:3:{tokens[0].as_py()}]"


# ---- scan


def test_each_span_is_treated_as_its_own_info_type(protected: Protecting) -> None:
    text = f"card {CARD}, mail {EMAIL}, ssn 219-09-9999, born 1985-07-03, ip 81.2.69.142, iban DE89370400440532013000"
    found = protected({"a": [text, None, "nothing"]}, {"a": "note"})
    assert found.batch["a"].to_pylist() == [
        f"card {token_of(CARD)}, mail {token_of(EMAIL, 'email')}, ssn *********99, born 1985, ip 81.2.69.142, "
        "iban [redacted]",
        None,
        "nothing",
    ]
    counts = found.tally.under("field")
    assert counts[("a", "scanned")] == 2 and counts[("a", "found:CREDIT_CARD")] == 1
    (candidates,) = found.candidates
    assert candidates.values.to_pylist() == ["4111111111111111"] and candidates.domain == "card"


def test_permission_is_asked_for_each_span_as_for_a_column(protected: Protecting) -> None:
    rows = {"a": [f"{CARD} {EMAIL} x"] * 4}
    permits = {"use": [True, True, True, False], "give": [True, False, True, True], "other": [True, True, False, True]}
    found = protected(rows, {"a": "note"}, permits=permits)
    card, email = token_of(CARD), token_of(EMAIL, "email")
    assert found.batch["a"].to_pylist() == [
        f"{card} {email} x",
        f"{card} {email} x",
        f"{card} [redacted] x",
        "[redacted]",
    ]
    (candidates,) = found.candidates
    assert candidates.refs.to_pylist() == [bytes([row]) * 16 for row in (0, 2)]


def test_spans_in_lists_belong_to_the_row_of_their_list(protected: Protecting) -> None:
    rows = {"a": [[], ["x", CARD], None, [f"a {CARD}", "b", f"{CARD} c"]]}
    found = protected(rows, {"a[]": "note"}, permits={"use": [True] * 4, "give": [False, True, True, False]})
    token = token_of(CARD)
    assert found.batch["a"].to_pylist() == [[], ["x", token], None, [f"a {token}", "b", f"{token} c"]]
    (candidates,) = found.candidates
    assert candidates.refs.to_pylist() == [bytes([1]) * 16]


@pytest.mark.parametrize(
    "text",
    [
        "[card:1:4000005123450003]",
        "[[card:1:x]",
        f"[card:1:{CARD}]",
        f"[{CARD}]",
        f"[[[{CARD}",
        "[a:1:1985-07-03 born 1985-07-03]",
    ],
)
def test_text_that_looks_like_a_token_is_told_from_tokens(protected: Protecting, text: str) -> None:
    made = protected({"a": [text]}, {"a": "note"}).batch["a"][0].as_py()
    assert "4111" not in made.replace("1111]", "")
    assert len(text_tokens(made)) == text.count(CARD)
    assert replaced(made, lambda token: CARD) == text.replace("born 1985-07-03", "born 1985")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_texts_of_any_layout_become_strings(protected: Protecting, kind: pa.DataType) -> None:
    column = pa.array([f"x {CARD}", None, "y"]).cast(kind)
    found = protected({"a": column}, {"a": "note"}).batch["a"]
    assert found.type == pa.string() and found.to_pylist() == [f"x {token_of(CARD)}", None, "y"]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 30))
@example(70, 2)
def test_no_labelled_value_is_left_in_a_text_and_what_is_around_it_stays(
    protected: Protecting, seed: int, count: int
) -> None:
    texts = labelled_texts(count, seed)
    made = protected({"a": [each.text for each in texts]}, {"a": "note"}).batch["a"].to_pylist()
    for each, text in zip(texts, made, strict=True):
        for start, end, entity in each.spans:
            if entity in ("CREDIT_CARD", "EMAIL", "IBAN", "CRYPTO", "SECRET"):
                assert each.text[start:end] not in text
        if not each.spans:
            assert replaced(text, lambda token: "?") == each.text


class Names:
    """A detector of another maker, which knows one name."""

    def find(self, texts: list[str]) -> Any:
        for place, text in enumerate(texts):
            if "Ann" in text:
                start = text.index("Ann")
                yield place, Finding(start, start + 3, Entity.PERSON, 0.9, "the word Ann")


def test_what_other_detectors_find_is_treated_alike(decided: DecidedOf) -> None:
    batch = decided(pa.record_batch({"a": [f"Ann paid {CARD}", "nobody"]}))
    plan = plan_protection(policy({"a": "note"}), "data", batch.schema, key_version=3)
    tokenizers = {domain: open_tokenizer(rule, KEYS, version=3) for domain, rule in plan.domains().items()}
    found = protect_batch(batch, plan, tokenizers, recognizers=[Names()])
    assert found.batch["a"].to_pylist() == [f"[redacted] paid {token_of(CARD)}", "nobody"]
    assert found.tally.under("field")[("a", "found:PERSON")] == 1


# ---- what nobody declared


def test_what_is_not_declared_is_protected_as_it_is_found(protected: Protecting) -> None:
    rows = {
        "id": [1, 2, 3, 4],
        "card_copy": CARDS,
        "remark": [f"paid with {CARD}", "", None, "ok"],
        "n": pa.array([int(card) for card in CARDS]),
        "amount": [1.5, 2.5, None, 3.5],
        "quantity": pa.array([1, 2, 3, 4], pa.int8()),
        "blob": [b"4111111111111111"] * 4,
        "deep": [{"mail": EMAIL, "items": [{"tag": "x"}]}] * 4,
    }
    found = protected(rows, {"id": "keep"}, on_drift="protect_as_found").batch
    assert found.schema.names == list(rows)
    assert found["card_copy"].to_pylist() == [token_of(card) for card in CARDS]
    assert found["remark"].to_pylist() == [f"paid with {token_of(CARD)}", "", None, "ok"]
    assert found["n"].null_count == 4 and found["blob"].null_count == 4
    assert found["amount"].to_pylist() == rows["amount"] and found["quantity"].to_pylist() == [1, 2, 3, 4]
    assert found["deep"].to_pylist() == [{"mail": token_of(EMAIL, "email"), "items": [{"tag": "x"}]}] * 4
    assert found.schema.field("card_copy").metadata == {b"consentry.action": b"protect_as_found"}


def test_undeclared_names_that_could_be_values_do_not_get_into_the_schema(protected: Protecting) -> None:
    rows = {"id": [1], "box": [{"ann@example.com": "x", "4111111111111111": "y", "plain": "z"}]}
    found = protected(rows, {"id": "keep"}, on_drift="protect_as_found")
    assert found.batch["box"].to_pylist() == [{"plain": "z"}]
    assert set(found.tally.under("drift")) == {("box",)}


@pytest.mark.parametrize("on_drift", ["drop", "protect_as_found", "dead_letter"])
def test_the_drift_of_a_batch_is_counted_by_topmost_path(protected: Protecting, on_drift: str) -> None:
    rows = {"id": [1, 2], "box": pa.array([{"a": "x", "b": ["y"]}, None])}
    assert protected(rows, {"id": "keep"}, on_drift=on_drift).tally.under("drift") == {("box",): 1}


def test_headers_settle_what_bare_digits_are(protected: Protecting) -> None:
    rows = {
        "id": [1, 2, 3],
        "ssn": pa.array([219099999, 457555462, 219099991]),
        "phone": ["2125550123", "4155552671", "3125550199"],
        "dob": [1.0, 2.0, 3.0],
    }
    found = protected(rows, {"id": "keep"}, on_drift="protect_as_found").batch
    assert found["ssn"].null_count == 3 and found["dob"].null_count == 3
    assert found["phone"].to_pylist() == ["[redacted]"] * 3


# ---- values that contradict their declaration


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        (CARDS, "[redacted]"),
        ([int(card) for card in CARDS], None),
        (pa.array(CARDS).dictionary_encode(), "[redacted]"),
        ([EMAIL], "[redacted]"),
    ],
)
def test_a_kept_column_that_holds_sensitive_values_is_hidden_in_that_batch(
    protected: Protecting, values: Any, hidden: str | None
) -> None:
    found = protected({"a": values}, {"a": "keep"})
    assert found.batch["a"].to_pylist() == [hidden] * len(values)
    assert found.tally.under("drift") == {("a",): len(values)}
    assert protected({"a": ["o-1", "o-2"]}, {"a": "keep"}).batch["a"].to_pylist() == ["o-1", "o-2"]


def test_contradicting_rows_go_to_the_dead_letters_where_the_dataset_says_so(protected: Protecting) -> None:
    found = protected({"a": [*CARDS, None], "b": [1, 2, 3, 4, 5]}, {"a": "keep", "b": "keep"}, on_drift="dead_letter")
    assert found.rejected is not None and set(found.rejected.reasons) == {"contradicting_value"}
    assert found.batch.to_pydict() == {"a": [None], "b": [5]}
    assert found.tally.under("drift") == {("a",): 4}


def test_contradicting_values_are_protected_as_found_where_the_dataset_says_so(protected: Protecting) -> None:
    found = protected({"a": CARDS}, {"a": "keep"}, on_drift="protect_as_found")
    assert found.batch["a"].to_pylist() == [token_of(card) for card in CARDS]


MANY = [f"kim{number}@example.com" for number in range(20)]
PLAIN = [f"o-{number}" for number in range(20)]
ADDRESSES = [f"00:1b:44:11:3a:{number:02x}" for number in range(20)]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([*MANY, *ADDRESSES], id="two entities by turns"),
        pytest.param([*MANY, *PLAIN], id="half of one entity"),
        pytest.param([*PLAIN, *PLAIN, *PLAIN, *PLAIN, *MANY], id="a fifth of one entity"),
        pytest.param([float(card) for card in CARDS], id="floats, as numbers beside nulls become"),
        pytest.param(pa.array([int(card) for card in CARDS]).cast(pa.decimal128(21, 2)), id="decimals"),
    ],
)
@pytest.mark.parametrize("on_drift", ["drop", "protect_as_found", "dead_letter"])
def test_no_value_of_a_contradicting_batch_leaves_in_clear(protected: Protecting, values: Any, on_drift: str) -> None:
    raw = {str(value) for value in (values.to_pylist() if isinstance(values, pa.Array) else values)} - set(PLAIN)
    for fields in ({"a": "keep"}, {"b": "keep"}):  # kept by name, and undeclared
        found = protected({"a": values, "b": PLAIN[:1] * len(values)}, {"b": "keep", **fields}, on_drift=on_drift)
        assert not raw & {str(value) for row in found.batch.to_pylist() for value in row.values()}
        assert ("a",) in found.tally.under("drift")


def test_numbers_that_pass_a_card_check_by_chance_contradict_nothing(protected: Protecting) -> None:
    values = [4_000_000_000_000_000 + 7919 * number for number in range(2000)]
    assert protected({"a": values}, {"a": "keep"}).batch["a"].to_pylist() == values


def marked(values: list[str], format: str) -> pa.RecordBatch:
    marks = {"consentry.action": "tokenize", "consentry.format": format}
    return pa.record_batch([pa.array(values)], pa.schema([pa.field("a", pa.string(), metadata=marks)]))


def test_tokens_of_an_earlier_run_may_be_kept_and_values_marked_so_may_not(protected: Protecting) -> None:
    phones = ["+442079460018", "+442079460019", "+14155552671"]
    assert protected(marked(phones, "phone"), {"a": "keep"}).batch["a"].to_pylist() == phones
    for values in (CARDS, [EMAIL] * 3):
        assert protected(marked(values, "phone"), {"a": "keep"}).batch["a"].to_pylist() == ["[redacted]"] * len(values)
    assert protected(marked(CARDS, "pan"), {"a": "keep"}).batch["a"].to_pylist() == ["[redacted]"] * 4


def test_what_an_info_type_finds_it_may_keep(protected: Protecting) -> None:
    addresses = ["81.2.69.142", "81.2.69.143", "10.20.30.40"]
    assert protected({"a": addresses}, {"a": "net"}).batch["a"].to_pylist() == addresses
    assert protected({"a": addresses}, {"a": "keep"}).batch["a"].to_pylist() == ["[redacted]"] * 3


def test_a_few_values_among_many_nulls_are_seen(protected: Protecting) -> None:
    values = [None] * 5000
    values[17:21] = CARDS
    found = protected({"a": pa.array(values, pa.string())}, {"a": "keep"})
    assert found.batch["a"][17].as_py() == "[redacted]" and found.tally.under("drift") == {("a",): 4}


@pytest.mark.parametrize("values", [["4111111111111111"], [4111111111111111, None], ["2125550123"] * 9])
def test_one_number_that_chance_may_make_contradicts_nothing(protected: Protecting, values: Any) -> None:
    assert protected({"a": values}, {"a": "keep"}).batch["a"].to_pylist() == values


def test_purposes_of_what_may_be_found_are_asked_for() -> None:
    assert needed_purposes(policy({"a": "keep"}), "data") == ()
    assert needed_purposes(policy({"a": "note"}), "data") == ("use", "give", "other")
    assert needed_purposes(policy({"a": "keep"}, on_drift="protect_as_found"), "data") == ("use", "give", "other")


def test_rows_come_out_the_same_however_they_are_cut_into_batches(protected: Protecting) -> None:
    texts: list[LabelledText] = labelled_texts(60, seed=4)
    whole = protected({"a": [each.text for each in texts]}, {"a": "note"}).batch["a"].to_pylist()
    single = [protected({"a": [each.text]}, {"a": "note"}).batch["a"][0].as_py() for each in texts]
    assert whole == single
    assert np.mean([made != each.text for made, each in zip(whole, texts, strict=True)]) > 0.3

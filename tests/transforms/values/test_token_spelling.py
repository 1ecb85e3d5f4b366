"""Tokens as people type them, and texts that can be no token."""

from __future__ import annotations

from typing import Any

import pytest
from consentry.schemas.info_types import Format, TokenizeRule
from consentry.transforms.values.token_spelling import canonical_token, canonical_tokens
from hypothesis import given, settings
from hypothesis import strategies as st


def rule(format: str, **parameters: Any) -> TokenizeRule:
    settings = {"action": "tokenize", "domain": "d", "collect": ("use",), **parameters}
    return TokenizeRule(format=format, **settings)


SURROGATE = "tb6fgf5hsc4j5jaf"


@pytest.mark.parametrize(
    ("format", "typed", "token"),
    [
        ("pan", "2585-6272 9930.1111", "2585627299301111"),
        ("pan", " 2585\u00a06272\u00a09930\u00a01111\n", "2585627299301111"),
        ("pan", "4111 1111 1111 1111", None),
        ("pan", "258562729930", None),
        ("pan", "25856272993x1111", None),
        ("pan", "٢٥٨٥٦٢٧٢٩٩٣٠١١١١", None),
        ("pan", "", None),
        ("digits", " 138352 ", "138352"),
        ("digits", "13-8352", None),
        ("digits", "12345", None),
        ("ssn", "062-48-6417", "062486417"),
        ("ssn", "06248641", None),
        ("phone", "+44 6882 124746", "+446882124746"),
        ("phone", "06882 124746", None),
        ("phone", "+999 6882 124746", None),
        ("phone", "+44 12345", None),
        ("phone", "+44 1234567890123456", None),
        ("iban", "de39 8462 2094 3249 7361 60", "DE39846220943249736160"),
        ("iban", "DE89370400440532013000", None),
        ("iban", "DE3984622094324973616", None),
        ("iban", "ZZ39846220943249736160", None),
        ("iban", "GB85 90BX WNBA E7UL SLXP JY", "GB8590BXWNBAE7ULSLXPJY"),
        ("email", f"{SURROGATE.upper()}@6a2obs62sot5fzwg.INVALID", f"{SURROGATE}@6a2obs62sot5fzwg.invalid"),
        ("email", f"{SURROGATE}@example.com.invalid", None),
        ("email", "ana@example.com", None),
        ("surrogate", f" {SURROGATE.upper()} ", SURROGATE),
        ("surrogate", SURROGATE[:-1], None),
        ("surrogate", SURROGATE[:-1] + "1", None),
        ("alphanumeric", "u9-LHIB", "u9-LHIB"),
        ("alphanumeric", "u9#LHIB", None),
        ("alphanumeric", "u-9", None),
    ],
)
def test_typed_tokens(format: str, typed: str, token: str | None) -> None:
    assert canonical_token(rule(format), typed) == token


def test_parameters_count() -> None:
    kept = rule("email", email_domain="keep")
    assert canonical_token(kept, f"{SURROGATE}@Example.com.invalid") == f"{SURROGATE}@example.com.invalid"
    assert canonical_token(kept, f"{SURROGATE}@example.com") is None
    tight = rule("alphanumeric", alphabet="ABCDEFGHIJ", separators="-")
    assert canonical_token(tight, " ABC-DEF\n") == "ABC-DEF"
    assert canonical_token(tight, "ABC DEF") is None


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["4111111121111111", "4111111111111111", "DE39846220943249736160", "+446882124746", SURROGATE]),
        st.sampled_from(["2585 6272 9930 1111", " 138352 ", "062-48-6417", "", "\udcff", "٢٥٨٥٦٢٧٢٩٩٣٠١١١١", "x\n"]),
        st.text("0123456789", max_size=20),
        st.text("abcz27+DE 0", max_size=20),
        st.text(max_size=20),
    ),
    min_size=10,
    max_size=40,
)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(list(Format)))
def test_many_texts_are_spelled_as_each_by_itself(texts: list[str], format: Format) -> None:
    asked = rule(format.value)

    def singly(text: str) -> str | None:
        return canonical_token(asked, text)

    assert canonical_tokens(asked, texts) == list(map(singly, texts))

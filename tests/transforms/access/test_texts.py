"""Free text gets its values back span by span, by the rules, the log and the refusals of single tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from consentry.schemas.errors import AccessLogError, ConfigError
from consentry.schemas.policy import Policy
from consentry.schemas.text_tokens import escaped, spelled
from consentry.transforms.access.detokenize import Desk
from consentry.transforms.access.texts import RestoredText, detokenize_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.woven_texts import woven

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
FRAUD = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
SUPPORT = {"purpose": "support", "role": "support_agent", "actor": "ana"}
CARD, OTHER, MAIL = "t123456789011111", "t000000000002222", "tmail"


def tokenize(format: str, domain: str, **more: Any) -> dict[str, Any]:
    return {"action": "tokenize", "format": format, "domain": domain, "collect": ["fulfilment"], **more}


@pytest.fixture
def policy() -> Policy:
    return Policy.model_validate(
        {
            "version": 1,
            "purposes": {
                "fulfilment": {"basis": "contract", "says": "To deliver what you ordered."},
                "fraud_review": {"basis": "legal_obligation", "says": "To stop misuse of payment cards."},
                "support": {"basis": "consent", "says": "So that our staff can look up your order."},
            },
            "roles": {
                "support_agent": {"purposes": ["support", "fulfilment"]},
                "fraud_analyst": {"purposes": ["fraud_review"]},
            },
            "info_types": {
                "payment_card": tokenize(
                    "pan", "card", distribute=["fraud_review", "support"],
                    see={"fraud_analyst": "full", "support_agent": "masked"},
                ),
                "email": tokenize("email", "mail", distribute=["support"], see={"support_agent": "full"}),
                "note": {"action": "scan", "collect": ["fulfilment"]},
            },
            "dead_letters": {"retain": "7d"},
        }
    )  # fmt: skip


@pytest.fixture
def desk(office: Any, policy: Policy) -> Desk:
    office.consent(("ana", "support", "granted", NOW - 9 * DAY), now=NOW - 9 * DAY)
    office.write(
        policy,
        [
            ("card", 1, CARD, "4111111111111111", "ana", NOW - DAY),
            ("card", 2, CARD, "5105105105105100", "ana", NOW - DAY),
            ("card", 1, OTHER, "4222222222222", "bob", NOW - DAY),
            ("mail", 1, MAIL, "ana@example.com", "ana", NOW - DAY),
        ],
        now=NOW - DAY,
    )
    return office.desk(policy, now=NOW)


def one(texts: tuple[RestoredText, ...]) -> RestoredText:
    (text,) = texts
    return text


def test_values_come_back_in_their_places(desk: Desk) -> None:
    text = f"paid [payment_card:1:{CARD}] and, again, [payment_card:2:{CARD}]."
    restored = one(detokenize_texts(desk, [text], **FRAUD))
    assert restored.text == "paid 4111111111111111 and, again, 5105105105105100.", "the span tells the key version"
    assert restored.complete
    assert [text[span.start : span.end] for span in restored.spans] == [
        f"[payment_card:1:{CARD}]", f"[payment_card:2:{CARD}]",
    ]  # fmt: skip
    assert [span.answer.domain for span in restored.spans] == ["card", "card"], "the policy tells the domain"


def test_offsets_count_code_points(desk: Desk) -> None:
    text = f"🎁 é [payment_card:1:{CARD}]"
    (span,) = one(detokenize_texts(desk, [text], **FRAUD)).spans
    assert (span.start, span.end) == (4, len(text))


def test_domains_mix_and_each_span_has_its_own_answer(desk: Desk) -> None:
    text = f"[email:1:{MAIL}] [payment_card:1:{CARD}] [payment_card:1:{OTHER}]"
    restored = one(detokenize_texts(desk, [text], **SUPPORT))
    assert restored.text == f"ana@example.com *1 [payment_card:1:{OTHER}]"
    told = [(span.answer.decision, span.answer.shown, span.answer.rule.value) for span in restored.spans]
    assert told == [
        ("allowed", "full", "permitted"), ("allowed", "masked", "permitted"),
        ("refused", None, "not_permitted_or_absent"),
    ]  # fmt: skip
    assert not restored.complete


@pytest.mark.parametrize(
    ("span", "asked", "rule"),
    [
        (f"[payment_card:1:{CARD}]", {"role": "boss"}, "actor_lacks_role"),
        (f"[payment_card:1:{CARD}]", {"purpose": "support"}, "role_lacks_purpose"),
        (f"[card:1:{CARD}]", {}, "unknown_info_type"),
        (f"[note:1:{CARD}]", {}, "unknown_info_type"),
        (f"[email:1:{MAIL}]", {}, "not_distributed"),
        (f"[email:1:{MAIL}]", {**SUPPORT, "subject": "bob"}, "subject_does_not_permit"),
        ("[payment_card:1:4111111111111111]", {}, "not_a_token"),
        (f"[payment_card:1:{OTHER}]", SUPPORT, "not_permitted_or_absent"),
        (f"[payment_card:3:{CARD}]", {}, "no_entry"),
        ("[payment_card:1:t9]", {}, "no_entry"),
    ],
)
def test_what_is_refused_stays_as_it_stands(desk: Desk, span: str, asked: dict[str, str], rule: str) -> None:
    text = f"before {span} after"
    restored = one(detokenize_texts(desk, [text], **{**FRAUD, **asked}))
    assert restored.text == text
    (answer,) = [each.answer for each in restored.spans]
    assert (answer.decision, answer.rule.value, answer.value) == ("refused", rule, None)
    assert answer.says.endswith(".") and "\n" not in answer.says


def test_an_unknown_info_type_is_told_plainly_though_a_domain_has_its_name(desk: Desk) -> None:
    (span,) = one(detokenize_texts(desk, [f"[card:1:{CARD}]"], **FRAUD)).spans
    assert span.answer.says == "The policy knows no info type 'card' whose values become tokens."
    assert [option.option for option in span.answer.options] == ["check_info_type"]
    assert "email, payment_card" in span.answer.options[0].says


def test_a_refusal_of_the_person_comes_before_that_of_the_info_type(desk: Desk) -> None:
    (span,) = one(detokenize_texts(desk, [f"[nothing:1:{CARD}]"], **{**FRAUD, "role": "boss"})).spans
    assert span.answer.rule == "actor_lacks_role"


def test_escaped_text_comes_back_as_it_was_and_is_not_asked_for(office: Any, desk: Desk) -> None:
    restored = one(detokenize_texts(desk, [f"they wrote [[payment_card:1:{CARD}]"], **FRAUD))
    assert restored == RestoredText(text=f"they wrote [payment_card:1:{CARD}]", spans=())
    assert list(office.access_log.records()) == []


def test_each_span_of_each_text_is_one_entry_of_the_log_in_order(office: Any, desk: Desk) -> None:
    texts = [f"[payment_card:1:{CARD}] [email:1:{MAIL}] [payment_card:1:{CARD}]", "none", f"[gone:1:{OTHER}]"]
    detokenize_texts(desk, texts, **FRAUD)
    records = list(office.access_log.records())
    assert [(each.domain, each.rule) for each in records] == [
        ("card", "permitted"), ("mail", "not_distributed"), ("card", "permitted"), ("gone", "unknown_info_type"),
    ]  # fmt: skip
    assert {(each.actor, each.at) for each in records} == {("finn", NOW)}
    office.access_log.verify()


def test_all_spans_are_asked_for_in_one_go(office: Any, policy: Policy, desk: Desk) -> None:
    calls: list[int] = []

    class Counting:
        def append_runs(self, runs: Any) -> None:
            calls.append(sum(map(len, runs)))

    counting = office.desk(policy, now=NOW, access_log=Counting())
    detokenize_texts(counting, [f"[payment_card:1:{CARD}]"] * 50 + [f"[email:1:{MAIL}]"] * 50, **FRAUD)
    assert calls == [100]


def test_nothing_is_shown_when_the_log_cannot_be_written(office: Any, policy: Policy, desk: Desk) -> None:
    class Full:
        def append_runs(self, runs: Any) -> None:
            raise AccessLogError("the access log cannot be written; nothing is shown")

    with pytest.raises(AccessLogError):
        detokenize_texts(office.desk(policy, now=NOW, access_log=Full()), [f"[payment_card:1:{CARD}]"], **FRAUD)


def test_a_blank_actor_is_wrong_use_even_without_tokens(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="--actor: is blank"):
        detokenize_texts(desk, ["nothing"], purpose="support", role="support_agent", actor=" ")


def test_values_and_texts_are_hidden_in_repr(desk: Desk) -> None:
    restored = detokenize_texts(desk, [f"Ann [payment_card:1:{CARD}]"], **FRAUD)
    assert "4111" not in repr(restored) and "Ann" not in repr(restored) and CARD not in repr(restored)
    json.dumps([each.as_json() for each in restored])


def test_a_text_of_brackets_alone_takes_no_time(desk: Desk) -> None:
    text = "[" * 1_000_000
    assert one(detokenize_texts(desk, [text], **FRAUD)).text == text


pieces = st.lists(
    st.one_of(
        st.text(alphabet="[]:%ab1 é", max_size=6),
        st.sampled_from(["[a:1:b]", "[[a:1:b]", "[", "[[", "[payment_card:1:", "x]"]),
    ),
    max_size=6,
).map("".join)


class EchoingDesk:
    """Gives back each token as its value."""

    def __init__(self, policy: Policy, answer: Callable[..., Any]) -> None:
        self.policy, self._answer = policy, answer

    def detokenize_each(self, asked: Any, **_who: Any) -> Any:
        return tuple(self._answer(each) for each in asked)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(pieces, st.text(alphabet="[]%:b1 ", min_size=1, max_size=8)), max_size=4), pieces)
def test_any_text_comes_back_around_its_tokens(parts: list[tuple[str, str]], last: str) -> None:
    from dataclasses import replace

    from consentry.transforms.access.detokenize import Answer
    from consentry.transforms.access.explain import Rule

    refused = Answer(
        domain="d", token="", decision="refused", value=None, shown=None, rule=Rule.NO_ENTRY, says=".", options=()
    )
    policy = Policy.model_construct(info_types={})
    echoing: Any = EchoingDesk(policy, lambda each: replace(refused, decision="allowed", value=each.token))
    written = woven(
        [*(pair for text, token in parts for pair in ((text, False), (spelled("a", 1, token), True))), (last, False)]
    )
    restored = one(detokenize_texts(echoing, [written], **FRAUD))
    assert [span.answer.value for span in restored.spans] == [token for _, token in parts]
    assert restored.text == "".join(text + token for text, token in parts) + last
    plain = one(detokenize_texts(echoing, [escaped(written)], **FRAUD))
    assert (plain.text, plain.spans) == (written, ())

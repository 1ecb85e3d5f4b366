"""Every rule is one plain sentence, and options follow from the policy."""

from __future__ import annotations

import pytest
from consentry.schemas.policy import Policy
from consentry.transforms.access.explain import Request, Rule, kept_digits, options_for, says_for

POLICY = Policy.model_validate(
    {
        "version": 1,
        "purposes": {
            "support": {"basis": "consent", "says": "So that our staff can help you."},
            "research": {"basis": "legitimate_interest", "says": "To learn what people like."},
        },
        "roles": {"agent": {"purposes": ["support", "research"]}, "clerk": {"purposes": ["support"]}},
        "info_types": {
            "card": {
                "action": "tokenize",
                "format": "pan",
                "domain": "card",
                "collect": ["support"],
                "distribute": ["support", "research"],
                "see": {"agent": "full", "clerk": "masked"},
            },
            "whole_card": {
                "action": "tokenize",
                "format": "pan",
                "keep_last": 0,
                "domain": "whole",
                "collect": ["support"],
            },
            "phone": {"action": "tokenize", "format": "phone", "domain": "phone", "collect": ["support"]},
        },
        "dead_letters": {"retain": "7d"},
    }
)


def request(subject: str | None = None, **asked: str) -> Request:
    return Request(
        **{"domain": "card", "purpose": "support", "role": "agent", "actor": "ana", "subject": subject, **asked}
    )


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("subject", [None, "c-17"])
def test_every_rule_is_one_sentence_that_names_no_customer(rule: Rule, subject: str | None) -> None:
    says = says_for(rule, request(subject), POLICY)
    assert says[0].isupper() or says.startswith("'")
    assert says.endswith(".") and "\n" not in says and "c-17" not in says


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule is not Rule.PERMITTED])
def test_every_refusal_offers_something(rule: Rule) -> None:
    found = options_for(rule, request(actor="max", role="boss", purpose="support"), POLICY, actors=None)
    assert found and all(option.says.endswith(".") for option in found)


def test_a_permission_needs_no_alternatives() -> None:
    assert options_for(Rule.PERMITTED, request(), POLICY, actors=None) == ()


def test_asking_the_customer_says_for_what() -> None:
    consent = options_for(Rule.SUBJECT_DOES_NOT_PERMIT, request("c-17"), POLICY, actors=None)[-1]
    assert consent.says.startswith("Ask the customer to allow 'support' (So that our staff can help you.)")
    objection = options_for(Rule.SUBJECT_DOES_NOT_PERMIT, request("c-17", purpose="research"), POLICY, actors=None)[-1]
    assert objection.says.startswith("Ask the customer whether the objection to 'research'")


def test_a_purpose_that_the_customer_refuses_is_not_offered() -> None:
    found = options_for(
        Rule.SUBJECT_DOES_NOT_PERMIT, request("c-17"), POLICY, actors=None, permitted=lambda purpose: False
    )
    assert "another_purpose" not in {option.option for option in found}


def test_only_card_tokens_that_keep_digits_have_some_to_read_out() -> None:
    domains = POLICY.token_domains
    assert kept_digits(domains["card"], "4111111111121111") == "1111"
    assert kept_digits(domains["whole"], "4111111111121111") is None
    assert kept_digits(domains["phone"], "+15551234567") is None

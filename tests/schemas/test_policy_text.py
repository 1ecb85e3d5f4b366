"""Explanations: whole sentences made from the policy, true to what it enforces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from consentry.schemas.policy_file import read_policy
from consentry.schemas.policy_text import explain_policy

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("audience", ["customer", "staff", "engineer"])
@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/policy.yaml")), ids=str)
def test_every_bullet_is_a_sentence(audience, path):
    text = explain_policy(read_policy(path), audience)
    bullets = re.findall(r"^\* (.*(?:\n  .*)*)", text, re.MULTILINE)
    assert bullets
    for bullet in bullets:
        assert bullet.rstrip()[-1] in ".”", bullet
    assert "_" not in text or audience == "engineer"
    assert "None" not in text
    assert "  *" not in text


def test_another_audience_is_refused(changed):
    with pytest.raises(ValueError, match="customer, staff or engineer"):
        explain_policy(changed(), "press")


def test_customers_read_every_reason_and_every_piece(changed):
    policy = changed()
    text = explain_policy(policy, "customer")
    for purpose in policy.purposes.values():
        assert purpose.says in text
    for name in policy.info_types:
        assert f"**Your {name.replace('_', ' ')}.**" in text
    assert "We keep as it is: order id, placed at and items sku." in text


def test_customers_are_told_what_a_refusal_does(changed):
    text = explain_policy(changed(), "customer")
    assert (
        "You may say no to “So that our staff can look up your order when you call.” "
        "We then delete your email from the vault, and nobody here can see it any more. "
        "Your card may stay in the vault for our other reasons, but we no longer use it for this."
    ) in text
    assert "You may object to “To see which products sell.” We then no longer collect your birth date." in text
    assert "You may say no to “To deliver" not in text


def test_customers_are_told_when_a_refusal_needs_company(changed):
    text = explain_policy(
        changed(("to: year, collect: [analytics]", "to: year, collect: [analytics, support]")), "customer"
    )
    assert "We then no longer collect your birth date, unless you allow it for analytics." in text
    assert "We then no longer collect your birth date, unless you allow it for support." in text


def test_customers_are_told_when_a_refusal_keeps_out_whole_records(changed):
    text = explain_policy(
        changed(("placed_at\n    collect: [fulfilment]", "placed_at\n    collect: [support]")), "customer"
    )
    assert "We then keep no record at all of your orders." in text


def test_customers_are_told_when_nothing_can_be_refused(changed):
    text = explain_policy(
        changed(("basis: consent", "basis: contract"), ("basis: legitimate_interest", "basis: contract")), "customer"
    )
    assert "there is nothing to refuse" in text


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format: pan", "format: pan", "a stand-in that shows its last four digits and nothing else of it"),
        ("format: pan", "format: pan\n    keep_last: 0", "a stand-in that shows its length"),
        ("format: email,", "format: email, email_domain: keep,", "a stand-in that shows the part after the @"),
        ("format: surrogate,", "format: iban,", "a stand-in that shows its country and its length"),
        ("format: surrogate,", "format: alphanumeric,", "a stand-in that shows its length and its punctuation"),
        ("format: surrogate,", "format: surrogate,", "a stand-in that tells nothing about it"),
        ("to: year", "to: {bucket: 10}", "We keep only which step of 10 it falls into."),
        ("to: year", "to: {prefix: 1}", "We keep only its first character."),
        ("to: year", "to: {ip_prefix: 24}", "We keep only the network it belongs to (the first 24 bits)."),
        ("action: generalize, to: year", "action: mask, show_last: 2", "We keep only a few characters of it."),
        ("action: generalize, to: year", "action: keep", "We keep it as it is."),
        ("action: generalize, to: year", "action: redact", "We do not keep it."),
        ("{retain: 7d}", "{retain: 36h}", "opened by anyone after 36 hours."),
    ],
)
def test_customers_are_told_all_that_is_still_shown(changed, old, new, says):
    assert says in explain_policy(changed((old, new)), "customer")


def test_staff_read_by_role_what_they_see_for_which_purpose(changed):
    text = explain_policy(changed(), "staff")
    agent, analyst = text.split("## Fraud analyst")
    assert "You see the card masked for support if the customer said yes." in agent
    assert "You see the email in full for support if the customer said yes." in agent
    assert "You see the card in full for fraud review." in analyst
    assert "email" not in analyst.split("## When")[0]
    assert "“May we? So that our staff can look up your order when you call.”" in text
    assert "Every request is logged with your name" in text


def test_a_role_that_sees_nothing_is_told_so(changed):
    text = explain_policy(
        changed(("  fraud_analyst: {p", "  clerk: {purposes: [analytics]}\n  fraud_analyst: {p")), "staff"
    )
    assert (
        "## Clerk\n\nYou work for: “To see which products sell.”\n\n* You see no raw values: work with tokens." in text
    )


def test_engineers_read_a_line_for_every_field(changed):
    policy = changed()
    text = explain_policy(policy, "engineer")
    assert policy.digest[:12] in text
    for path in policy.datasets["orders"].fields:
        assert text.count(f"| `{path}` |") == 1
    assert (
        "| `payment.card.number` | card | tokenize | pan | card | fulfilment | fraud_review, support "
        "| fraud_analyst: full, support_agent: masked | redact |"
    ) in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {10}
    assert "* `customer`: format surrogate, surrogates, not reversible; the vault holds nothing of it." in text

"""Differences of policies: what they mean, for whom, and whether they loosen or tighten."""

from __future__ import annotations

import pytest
from consentry.schemas.policy_diff import Effect, diff_policies

# passage, replacement, path, audience, effect of the change, and a part of what is said
CHANGES = [
    ("basis: consent", "basis: contract", "purposes.support.basis", "customer", "loosens", "can no longer refuse"),
    (
        "basis: contract",
        "basis: legitimate_interest",
        "purposes.fulfilment.basis",
        "customer",
        "tightens",
        "may object",
    ),
    ("basis: contract", "basis: legal_obligation", "purposes.fulfilment.basis", "customer", "changes", "legal"),
    ("which products sell.", "what sells.", "purposes.analytics.says", "customer", "changes", "“To see what sells.”"),
    (
        "[support, fulfilment]}",
        "[support]}",
        "roles.support_agent",
        "staff",
        "tightens",
        "A support agent may no longer ask for fulfilment.",
    ),
    (
        "[fraud_review]}",
        "[fraud_review, support]}",
        "roles.fraud_analyst",
        "staff",
        "loosens",
        "may now ask for support.",
    ),
    (
        "to: year",
        "to: month",
        "info_types.birth_date.to",
        "customer",
        "loosens",
        "Of your birth date is now kept the year and month; before: the year.",
    ),
    ("to: year", "to: {prefix: 3}", "info_types.birth_date.to", "customer", "changes", "its first 3 characters"),
    ("action: scan", "action: keep", "info_types.note.action", "customer", "loosens", "is now treated by keep"),
    ("action: scan", "action: drop", "info_types.note.action", "customer", "tightens", "is now treated by drop"),
    (
        "collect: [analytics]",
        "collect: [analytics, support]",
        "info_types.birth_date.collect",
        "customer",
        "loosens",
        "may now also be kept, even as a token, for support.",
    ),
    (
        "[fraud_review, support]  ",
        "[fraud_review]  ",
        "info_types.card.distribute",
        "customer",
        "tightens",
        "may no longer be given out for support.",
    ),
    (
        "[fraud_review, support]  ",
        "[fraud_review]  ",
        "info_types.card.distribute",
        "engineer",
        "tightens",
        "Fewer raw values enter the vault",
    ),
    (
        "support_agent: masked",
        "support_agent: full",
        "info_types.card.see.support_agent",
        "staff",
        "loosens",
        "Of the card, a support agent now sees all; before: sees a masked form.",
    ),
    (
        "fraud_analyst: full, ",
        "",
        "info_types.card.see.fraud_analyst",
        "staff",
        "tightens",
        "a fraud analyst now sees nothing",
    ),
    (
        "    finds: [CREDIT_CARD]",
        "    retain: 40d\n    finds: [CREDIT_CARD]",
        "info_types.card.retain",
        "customer",
        "tightens",
        "for 40 days at most",
    ),
    ("finds: [EMAIL]", "finds: [EMAIL, SECRET]", "info_types.email.finds", "engineer", "changes", "as SECRET is now"),
    ("domain: customer,", "domain: people,", "info_types.customer_id.domain", "engineer", "changes", "do not join"),
    (
        "format: pan",
        "format: pan\n    keep_last: 0",
        "info_types.card.keep_last",
        "engineer",
        "tightens",
        "do not join",
    ),
    (
        "format: email,",
        "format: email, email_domain: keep,",
        "info_types.email.email_domain",
        "engineer",
        "loosens",
        "do not join",
    ),
    (
        "to: year",
        "to: year, on_invalid: dead_letter",
        "info_types.birth_date.on_invalid",
        "engineer",
        "changes",
        "now goes to the dead letters",
    ),
    ("order_id: keep", "order_id: redact", "datasets.orders.fields.order_id", "engineer", "tightens", "as keep"),
    (
        "      order_id: keep\n",
        "",
        "datasets.orders.fields.order_id",
        "engineer",
        "tightens",
        "is now undeclared, hence dropped",
    ),
    (
        "    on_drift: drop ",
        "    on_drift: dead_letter ",
        "datasets.orders.on_drift",
        "engineer",
        "changes",
        "dead_letter",
    ),
    ("subject: customer.id ", "subject: order_id ", "datasets.orders.subject", "engineer", "changes", "is order_id"),
    (
        "placed_at\n    collect: [fulfilment]",
        "placed_at",
        "datasets.orders.collect",
        "customer",
        "loosens",
        "any reason",
    ),
    ("{retain: 7d}", "{retain: 8d}", "dead_letters.retain", "customer", "loosens", "8 days; before: 7 days"),
]


@pytest.mark.parametrize(("old", "new", "path", "audience", "effect", "says"), CHANGES)
def test_a_change_says_what_it_means_and_for_whom(changed, old, new, path, audience, effect, says):
    found = diff_policies(changed(), changed((old, new)))
    fitting = [change for change in found if (change.path, change.audience) == (path, audience)]
    assert [change.effect for change in fitting] == [Effect(effect)]
    assert says in fitting[0].says
    assert fitting[0].says.endswith((".", "”"))
    assert {change.path for change in found} == {path}


OPPOSITE = {Effect.LOOSENS: Effect.TIGHTENS, Effect.TIGHTENS: Effect.LOOSENS, Effect.CHANGES: Effect.CHANGES}


@pytest.mark.parametrize(("old", "new"), sorted({change[:2] for change in CHANGES}))
def test_taking_a_change_back_has_the_opposite_effect(changed, old, new):
    there = diff_policies(changed(), changed((old, new)))
    back = diff_policies(changed((old, new)), changed())
    assert sorted((c.path, OPPOSITE[c.effect]) for c in there) == sorted((c.path, c.effect) for c in back)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: pan", "format: pan\n    keep_last: 4"),
        ("format: email,", "format: email, email_domain: hash,"),
        ("[fraud_review, support]  ", "[support, fraud_review]  "),
        ("{retain: 7d}", "{retain: 168h}"),
        ("    on_drift: drop ", "    #"),
        ("version: 1", "# a remark\nversion: 1"),
    ],
)
def test_another_spelling_is_no_change(changed, old, new):
    assert diff_policies(changed(), changed((old, new))) == ()


def test_new_and_lost_parts_are_told(changed):
    more = changed(
        ("  analytics: {", '  ads: {basis: consent, says: "To show what you may like."}\n  analytics: {'),
        ("  note: {action", "  nick: {action: keep, collect: [ads]}\n  note: {action"),
        ("dead_letters:", "  refunds: {subject: a, event_time: b, fields: {a: keep, b: keep}}\ndead_letters:"),
        ("  fraud_analyst: {p", "  clerk: {purposes: [ads]}\n  fraud_analyst: {p"),
    )
    added, removed = diff_policies(changed(), more), diff_policies(more, changed())
    assert [change.path for change in added] == ["purposes.ads", "roles.clerk", "info_types.nick", "datasets.refunds"]
    assert {change.effect for change in added} == {Effect.LOOSENS}
    assert {change.effect for change in removed} == {Effect.TIGHTENS}
    assert "There is a new reason for holding data: “To show what you may like.”" in added[0].says


def test_a_change_is_printed_and_goes_to_machines(changed):
    change = diff_policies(changed(), changed(("{retain: 7d}", "{retain: 8d}")))[0]
    assert str(change).startswith("loosens   customer  dead_letters.retain: Records")
    assert change.as_json() == {
        "path": "dead_letters.retain",
        "audience": "customer",
        "effect": "loosens",
        "says": "Records that failed can be opened for 8 days; before: 7 days.",
    }

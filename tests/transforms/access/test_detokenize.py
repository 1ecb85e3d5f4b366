"""The desk shows what policy and customer allow, logs first, and tells nobody more than they may know."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from consentry.schemas.errors import AccessLogError, ConfigError, StoreError
from consentry.schemas.policy import Policy
from consentry.transforms.access.detokenize import Answer, Desk
from oracles.desk_oracle import World

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
POLICY = {
    "version": 1,
    "purposes": {
        "fulfilment": {"basis": "contract", "says": "To deliver what you ordered."},
        "fraud_review": {"basis": "legal_obligation", "says": "To stop misuse of payment cards."},
        "support": {"basis": "consent", "says": "So that our staff can look up your order when you call."},
        "marketing": {"basis": "legitimate_interest", "says": "To write to you about new teas."},
    },
    "roles": {
        "support_agent": {"purposes": ["support", "fulfilment"]},
        "fraud_analyst": {"purposes": ["fraud_review"]},
        "marketer": {"purposes": ["marketing", "support"]},
    },
    "info_types": {
        "card": {
            "action": "tokenize",
            "format": "pan",
            "domain": "card",
            "collect": ["fulfilment"],
            "distribute": ["fraud_review", "support"],
            "see": {"fraud_analyst": "full", "support_agent": "masked"},
        },
        "email": {
            "action": "tokenize",
            "format": "email",
            "domain": "email",
            "collect": ["fulfilment"],
            "distribute": ["marketing", "support"],
            "see": {"marketer": "full", "support_agent": "full"},
        },
        "customer": {"action": "tokenize", "format": "surrogate", "domain": "customer", "collect": ["fulfilment"]},
    },
    "dead_letters": {"retain": "7d"},
}
FRAUD = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
SUPPORT = {"purpose": "support", "role": "support_agent", "actor": "ana"}
CARD = "t123456789011111"


@pytest.fixture
def policy() -> Policy:
    return Policy.model_validate(POLICY)


@pytest.fixture
def desk(office: Any, policy: Policy) -> Desk:
    """Ana's card is vaulted; she agreed to support."""
    office.consent(("ana", "support", "granted", NOW - 9 * DAY), now=NOW - 9 * DAY)
    office.write(policy, [("card", 1, CARD, "4111111111111111", "ana", NOW - DAY)], now=NOW - DAY)
    return office.desk(policy, now=NOW)


def one(answers: tuple[Answer, ...]) -> Answer:
    (answer,) = answers
    return answer


def options(answer: Answer) -> list[str]:
    return [option.option for option in answer.options]


def test_a_value_is_shown_in_full_to_who_may_see_it_so(desk: Desk) -> None:
    answer = one(desk.detokenize("card", [CARD], **FRAUD))
    assert answer.as_json() == {
        "domain": "card",
        "token": CARD,
        "decision": "allowed",
        "value": "4111111111111111",
        "shown": "full",
        "rule": "permitted",
        "says": "Shown for 'fraud_review': To stop misuse of payment cards.",
        "options": [],
    }
    json.dumps(answer.as_json())


def test_a_value_is_masked_for_who_may_see_it_masked(desk: Desk) -> None:
    answer = one(desk.detokenize("card", [CARD], **SUPPORT, subject="ana"))
    assert (answer.decision, answer.value, answer.shown) == ("allowed", "*1", "masked")


def test_an_answer_hides_token_and_value_in_repr(desk: Desk) -> None:
    answer = one(desk.detokenize("card", [CARD], **FRAUD))
    assert "4111" not in repr(answer) and CARD not in repr(answer)


@pytest.mark.parametrize(
    ("asked", "rule", "says", "offered"),
    [
        ({"role": "boss"}, "actor_lacks_role", "The policy knows no role 'boss'.", ["own_role"]),
        (
            {"role": "fraud_analyst", "purpose": "fraud_review"},
            "actor_lacks_role",
            "'ana' does not have the role 'fraud_analyst'.",
            ["own_role", "another_role"],
        ),
        (
            {"purpose": "fraud_review"},
            "role_lacks_purpose",
            "The role 'support_agent' does not work for the purpose 'fraud_review'.",
            ["another_purpose", "another_role", "use_token"],
        ),
        (
            {"purpose": "fun"},
            "role_lacks_purpose",
            "The policy knows no purpose 'fun'.",
            ["another_purpose", "use_token"],
        ),
        ({"domain": "cord"}, "unknown_domain", "The policy knows no token domain 'cord'.", ["another_domain"]),
        (
            {"purpose": "fulfilment"},
            "not_distributed",
            "Values of 'card' are not given out for the purpose 'fulfilment'.",
            ["another_purpose", "use_token"],
        ),
        (
            {"domain": "customer"},
            "not_distributed",
            "Values of 'customer' are never given back for any purpose: they are not kept.",
            ["use_token"],
        ),
        (
            {"role": "marketer", "actor": "max"},
            "role_sees_nothing",
            "The role 'marketer' may not see values of 'card'.",
            ["another_role", "use_token"],
        ),
    ],
)
def test_the_policy_refuses_in_one_sentence_with_options(
    office: Any, policy: Policy, asked: dict[str, str], rule: str, says: str, offered: list[str]
) -> None:
    actors = {"ana": ("support_agent", "boss"), "max": ("marketer",)}
    request = {"domain": "card", **SUPPORT, **asked}
    answer = one(office.desk(policy, now=NOW, actors=actors).detokenize(request.pop("domain"), [CARD], **request))
    assert (answer.decision, answer.value, answer.shown) == ("refused", None, None)
    assert (answer.rule, answer.says) == (rule, says)
    assert options(answer) == offered


def test_options_name_what_would_be_allowed(desk: Desk) -> None:
    answer = one(desk.detokenize("card", [CARD], purpose="fraud_review", role="support_agent", actor="ana"))
    assert [option.says for option in answer.options[:2]] == [
        "If it is needed for 'support' (So that our staff can look up your order when you call.), ask for that: "
        "the role 'support_agent' may see it masked.",
        "Hand over to someone in the role 'fraud_analyst', who may see it in full for 'fraud_review'.",
    ]


def test_a_withdrawal_refuses_and_offers_to_ask(office: Any, desk: Desk) -> None:
    office.consent(("ana", "support", "withdrawn", NOW - 1), now=NOW - 1)
    answer = one(desk.detokenize("card", [CARD], **SUPPORT, subject="ana"))
    assert answer.rule == "subject_does_not_permit"
    assert options(answer) == ["masked_form", "ask_customer"]
    assert answer.options[0].says == "The token itself keeps the last digits, which may be read out: 1111."
    assert one(desk.detokenize("card", [CARD], **FRAUD)).decision == "allowed"


def test_an_objection_is_honoured_until_it_is_taken_back(office: Any, policy: Policy) -> None:
    desk = office.desk(policy, now=NOW)
    request = {"purpose": "marketing", "role": "marketer", "actor": "max", "subject": "ana"}
    office.write(policy, [("email", 1, "tmail", "ana@example.com", "ana", NOW - DAY)], now=NOW - DAY)
    assert one(desk.detokenize("email", ["tmail"], **request)).value == "ana@example.com"
    office.consent(("ana", "support", "granted", NOW - DAY), ("ana", "marketing", "withdrawn", NOW - 5), now=NOW - 5)
    refused = one(desk.detokenize("email", ["tmail"], **request))
    assert refused.rule == "subject_does_not_permit"
    assert "another_purpose" in options(refused) and "objection" in refused.options[-1].says


def test_another_purpose_is_offered_only_if_the_customer_named_permits_it(office: Any, policy: Policy) -> None:
    request = {"purpose": "support", "role": "marketer", "actor": "max", "subject": "ana"}
    desk = office.desk(policy, now=NOW)
    assert "another_purpose" in options(one(desk.detokenize("email", ["tmail"], **request)))
    office.consent(("ana", "marketing", "withdrawn", NOW - 5), now=NOW - 5)
    assert "another_purpose" not in options(one(desk.detokenize("email", ["tmail"], **request)))


def test_without_a_customer_absent_and_refused_look_the_same(office: Any, desk: Desk, policy: Policy) -> None:
    office.write(policy, [("card", 1, "t000000000001111", "4222", "bob", NOW - DAY)], now=NOW - DAY)
    refused, absent = desk.detokenize("card", ["t000000000001111", "t000000000001112"], **SUPPORT)
    assert refused.rule == absent.rule == "not_permitted_or_absent"
    assert refused.says == absent.says
    assert [*refused.options[1:]] == [*absent.options[1:]]
    assert options(refused) == ["masked_form", "name_customer", "ask_customer"]


def test_a_shared_value_needs_all_its_customers(office: Any, desk: Desk, policy: Policy) -> None:
    office.write(policy, [("card", 1, CARD, "4111111111111111", "bob", NOW - DAY)], now=NOW - DAY)
    assert one(desk.detokenize("card", [CARD], **SUPPORT)).rule == "not_permitted_or_absent"
    assert one(desk.detokenize("card", [CARD], **SUPPORT, subject="ana")).decision == "allowed"
    office.consent(("bob", "support", "granted", NOW - 1), now=NOW - 1)
    assert one(desk.detokenize("card", [CARD], **SUPPORT)).decision == "allowed"


@pytest.mark.parametrize("subject", ["", "  ", "nobody"])
def test_a_blank_or_unknown_customer_permits_nothing(desk: Desk, subject: str) -> None:
    assert one(desk.detokenize("card", [CARD], **SUPPORT, subject=subject)).rule == "subject_does_not_permit"
    assert one(desk.detokenize("card", [CARD], **FRAUD, subject=subject)).rule == "no_entry"


def test_an_erased_customer_is_told_as_absent(office: Any, desk: Desk) -> None:
    office.ledger.record_erasure(office.reference("ana"), NOW - 1)
    for subject in ("ana", None):
        assert one(desk.detokenize("card", [CARD], **FRAUD, subject=subject)).rule == "no_entry"


def test_a_raw_value_is_no_token_and_is_not_in_the_log(office: Any, desk: Desk) -> None:
    answer = one(desk.detokenize("card", ["4111111111111111"], **FRAUD))
    assert (answer.rule, options(answer)) == ("not_a_token", ["check_token"])
    office.close()
    for path in office.folder.iterdir():
        assert b"4111111111111111" not in path.read_bytes()


def test_two_key_versions_are_ambiguous_until_one_is_given(office: Any, desk: Desk, policy: Policy) -> None:
    office.write(policy, [("card", 2, CARD, "5105105105105100", "ana", NOW - DAY)], now=NOW - DAY)
    answer = one(desk.detokenize("card", [CARD], **FRAUD))
    assert (answer.rule, options(answer)) == ("ambiguous_version", ["give_key_version"])
    assert one(desk.detokenize("card", [CARD], **FRAUD, key_version=2)).value == "5105105105105100"
    assert one(desk.detokenize("card", [CARD], **FRAUD, key_version=1)).value == "4111111111111111"
    assert one(desk.detokenize("card", [CARD], **FRAUD, key_version=3)).rule == "no_entry"


def test_answers_keep_the_order_of_the_tokens(office: Any, desk: Desk) -> None:
    answers = desk.detokenize("card", [CARD, "x", "t1", CARD], **FRAUD)
    assert [answer.rule for answer in answers] == ["permitted", "not_a_token", "no_entry", "permitted"]
    assert desk.detokenize("card", [], **FRAUD) == ()


def test_every_answer_is_logged_with_who_and_why(office: Any, desk: Desk) -> None:
    desk.detokenize("card", [CARD, "t1"], **FRAUD)
    desk.detokenize("card", [CARD], **{**SUPPORT, "role": "boss"}, subject="ana")
    records = list(office.access_log.records())
    told = [(each.actor, each.role, each.decision, each.rule, each.shown, each.subject_ref) for each in records]
    ana = office.reference("ana")
    assert told == [
        ("finn", "fraud_analyst", "allowed", "permitted", "full", ana),
        ("finn", "fraud_analyst", "refused", "no_entry", None, None),
        ("ana", "boss", "refused", "actor_lacks_role", None, ana),
    ]
    assert all(each.at == NOW and each.domain == "card" for each in records)
    office.access_log.verify()


def test_nothing_is_shown_when_the_log_cannot_be_written(office: Any, policy: Policy, desk: Desk) -> None:
    class Full:
        def append_runs(self, runs: Any) -> None:
            raise AccessLogError("the access log cannot be written; nothing is shown")

    with pytest.raises(AccessLogError):
        office.desk(policy, now=NOW, access_log=Full()).detokenize("card", [CARD], **FRAUD)


def test_nothing_is_shown_when_the_ledger_cannot_be_read(office: Any, policy: Policy, desk: Desk) -> None:
    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise StoreError("the ledger cannot be read")

    with pytest.raises(StoreError):
        office.desk(policy, now=NOW, ledger=Gone()).detokenize("card", [CARD], **FRAUD)


def test_a_blank_actor_is_wrong_use(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="--actor: is blank"):
        desk.detokenize("card", [CARD], purpose="support", role="support_agent", actor=" ")


def random_world(dice: random.Random) -> World:
    purposes = {
        f"p{number}": {"basis": basis, "says": f"Because of {number}."}
        for number, basis in enumerate(
            dice.choices(["consent", "legitimate_interest", "contract", "legal_obligation"], [4, 3, 1, 1], k=4)
        )
    }
    names = list(purposes)
    roles = {f"r{number}": {"purposes": dice.sample(names, dice.randint(1, 4))} for number in range(3)}
    info_types: dict[str, Any] = {}
    for number in range(3):
        distribute = dice.sample(names, dice.randint(0, 3))
        see = {role: dice.choice(["full", "masked"]) for role in dice.sample(list(roles), dice.randint(1, 3))}
        info_types[f"i{number}"] = {
            "action": "tokenize",
            "format": "surrogate",
            "domain": f"d{number}",
            "collect": names,
            "distribute": distribute,
            "see": see if distribute else {},
        }
    instants = [NOW + step * DAY for step in range(-6, 3)]
    subjects = ["s0", "s1", "s2", "s3"]

    def events(count: int) -> list[tuple[str, str, str, int]]:
        return [
            (dice.choice(subjects), dice.choice(names), dice.choice(["granted", "granted", "withdrawn"]), when)
            for when in dice.choices(instants, k=count)
        ]

    rows = {}
    for _ in range(dice.randint(0, 16)):
        domain, version, token = f"d{dice.randint(0, 2)}", dice.choice([1, 1, 2]), f"t{dice.randint(0, 3)}"
        subject, event_time = dice.choice(subjects), dice.choice(instants[:7])
        value = f"{domain}v{version}{token}"
        rows[domain, version, token, subject] = (domain, version, token, value, subject, event_time)
    return World(
        policy={
            "version": 1,
            "purposes": purposes,
            "roles": roles,
            "info_types": info_types,
            "dead_letters": {"retain": "7d"},
        },
        actors=dice.choice([None, {"a0": ["r0", "r1"], "a1": []}]),
        before=events(dice.randint(0, 24)),
        after=events(dice.randint(0, 8)),
        erased=set(dice.choices(subjects, k=1)) if dice.random() < 0.2 else set(),
        candidates=list(rows.values()),
        written_at=NOW - 2 * DAY,
        now=NOW,
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_desk_agrees_with_the_oracle(open_office: Callable[[], Any], seed: int) -> None:
    dice = random.Random(seed)
    world = random_world(dice)
    policy, office = Policy.model_validate(world.policy), open_office()
    office.consent(*world.before, now=world.written_at)
    office.write(policy, world.writable(), now=world.written_at)
    office.consent(*world.after, now=world.now)
    for subject in world.erased:
        office.ledger.record_erasure(office.reference(subject), world.now)
    actors = None if world.actors is None else {actor: tuple(roles) for actor, roles in world.actors.items()}
    desk = office.desk(policy, now=world.now, actors=actors)
    for _ in range(60):
        domain, tokens = f"d{dice.randint(0, 3)}", [f"t{dice.randint(0, 4)}", "x", f"t{dice.randint(0, 4)}"]
        asked = {
            "purpose": f"p{dice.randint(0, 4)}" if dice.random() < 0.1 else f"p{dice.randint(0, 3)}",
            "role": dice.choice(["r0", "r1", "r2", "r3"]),
            "actor": dice.choice(["a0", "a0", "a1", "a2"]),
            "subject": dice.choice([None, None, "s0", "s1", "s2", "s3", "s4", ""]),
        }
        version = dice.choice([None, None, 1, 2])
        answers = desk.detokenize(domain, tokens, **asked, key_version=version)
        for token, answer in zip(tokens, answers, strict=True):
            rule, value, shown = world.answer(domain, token, **asked, version=version)
            if shown == "masked" and value is not None:
                value = "*" + value[-1]
            assert (answer.rule, answer.value, answer.shown) == (rule, value, shown), (domain, token, asked, version)
            assert answer.decision == ("allowed" if rule == "permitted" else "refused")
            _options_hold(world, answer, asked)


def _options_hold(world: World, answer: Answer, asked: dict[str, Any]) -> None:
    """Each purpose or role that is offered passes the policy's own rules, and the named customer's."""
    info_type = world.domain(answer.domain)
    for option in answer.options:
        quoted = option.says.split("'")
        if option.option == "another_purpose":
            assert info_type is not None and quoted[1] in info_type["distribute"]
            assert quoted[1] in world.policy["roles"][asked["role"]]["purposes"] and asked["role"] in info_type["see"]
            if asked["subject"] and answer.rule == "subject_does_not_permit":
                assert world.permits(asked["subject"], quoted[1], world.now, late=True)
        elif option.option == "another_role":
            assert (
                info_type is not None and quoted[1] in info_type["see"] and asked["purpose"] in info_type["distribute"]
            )
            assert asked["purpose"] in world.policy["roles"][quoted[1]]["purposes"]


@pytest.mark.parametrize("seed", range(15))
def test_an_answer_without_permission_never_depends_on_what_the_vault_holds(
    open_office: Callable[[], Any], seed: int
) -> None:
    dice = random.Random(1000 + seed)
    world = random_world(dice)
    policy, full, empty = Policy.model_validate(world.policy), open_office(), open_office()
    for office in (full, empty):
        office.consent(*world.before, now=world.written_at)
    full.write(policy, world.writable(), now=world.written_at)
    for office in (full, empty):
        office.consent(*world.after, now=world.now)
    desks = [office.desk(policy, now=world.now) for office in (full, empty)]
    for _ in range(60):
        asked = {
            "purpose": f"p{dice.randint(0, 3)}",
            "role": dice.choice(["r0", "r1", "r2", "r3"]),
            "actor": "a0",
            "subject": dice.choice([None, "s0", "s1", "s2", "s3"]),
        }
        domain, tokens = f"d{dice.randint(0, 3)}", ["t0", "t1", "t2", "t3", "x"]
        for with_value, without in zip(*(desk.detokenize(domain, tokens, **asked) for desk in desks), strict=True):
            if with_value.rule not in ("permitted", "ambiguous_version", "no_entry"):
                assert with_value == without

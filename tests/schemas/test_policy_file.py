"""Reading policies: what is sound is read, and what is not is reported all at once with its line."""

from __future__ import annotations

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from consentry.schemas.dataset import FieldPath, Plain
from consentry.schemas.errors import PolicyError
from consentry.schemas.info_types import Format, KeepRule, Sight, TokenizeRule
from consentry.schemas.policy_file import policy_json_schema, read_policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
SMALL = """\
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver what you ordered."}
"""


def test_the_policy_of_the_contracts_is_read_as_it_stands(changed):
    policy = changed()
    orders = policy.datasets["orders"]
    card = policy.info_types["card"]
    assert isinstance(card, TokenizeRule)
    assert (card.format, card.kept_digits, card.distribute) == (Format.PAN, 4, ("fraud_review", "support"))
    assert card.see == {"fraud_analyst": Sight.FULL, "support_agent": Sight.MASKED}
    assert orders.subject == FieldPath(("customer", "id"))
    assert orders.rule_for(FieldPath.parse("items[].gift_note")) == "note"
    assert orders.rule_for(FieldPath.parse("payment.card.cvv")) is Plain.DROP
    assert orders.rule_for(FieldPath.parse("payment.card")) is None
    assert policy.dead_letters.retain.days == 7


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("examples/**/policy.yaml")), ROOT / "pipelines/scaffold_policy.yaml"]
)
def test_the_policies_that_we_ship_are_sound(path):
    assert read_policy(path).datasets is not None


def test_a_policy_survives_pickle_without_its_cached_forms(changed):
    policy = changed()
    digest, domains = policy.digest, policy.token_domains
    arrived = pickle.loads(pickle.dumps(policy))
    assert arrived == policy
    assert arrived.digest == digest
    assert arrived.token_domains == domains


def test_a_policy_is_frozen(changed):
    with pytest.raises(ValueError, match="frozen"):
        changed().version = 2


def test_the_digest_depends_on_the_meaning_and_not_on_the_spelling(contract_policy, read):
    respelt = yaml.safe_dump(yaml.safe_load(contract_policy), sort_keys=False)
    assert respelt != contract_policy
    assert read(respelt).digest == read(contract_policy).digest
    assert read(contract_policy.replace("to: year", "to: month")).digest != read(contract_policy).digest
    assert len(read(contract_policy).digest) == 64


def test_info_types_of_one_domain_are_gathered(changed):
    policy = changed(
        (
            "  customer_id:",
            "  old_card: {action: tokenize, format: pan, keep_last: 4, domain: card, collect: [support],"
            " distribute: [support, fraud_review], see: {support_agent: masked, fraud_analyst: full}}\n  customer_id:",
        )
    )
    domain = policy.token_domain("card")
    assert domain is not None
    assert domain.info_types == ("card", "old_card")
    assert policy.token_domain("nothing") is None
    assert set(policy.token_domains) == {"card", "customer", "email"}


def test_dead_letters_are_kept_for_seven_days_unless_the_policy_says_otherwise(read):
    assert read(SMALL).dead_letters.retain.days == 7


SLIPS = yaml.safe_load((Path(__file__).parent / "data" / "slips.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip["new"])
def test_a_single_slip_is_reported_with_line_path_rule_and_hint(broken, contract_policy, slip):
    old, new, message = slip["old"], slip["new"], slip["message"]
    line = contract_policy[: contract_policy.index(old)].count("\n") + 1
    found = broken((old, new))
    assert found
    assert all(text.startswith(f"policy.yaml:{line}: ") for text in found if "versoin" not in new)
    if message is not None:
        assert found == [f"policy.yaml:{line}: {message}"]


def test_what_is_missing_is_reported_where_it_belongs(broken):
    assert broken(("    event_time: placed_at\n", "")) == [
        "policy.yaml:24: datasets.orders.event_time: is missing; add 'event_time'"
    ]


def test_a_slip_in_a_key_is_reported_as_unknown_and_as_missing(broken):
    assert broken(("collect: [analytics]", "colect: [analytics]")) == [
        "policy.yaml:21: info_types.birth_date.colect: unknown key; did you mean 'collect'?",
        "policy.yaml:21: info_types.birth_date.collect: is missing; add 'collect'",
    ]


def test_all_problems_are_reported_at_once_also_those_between_sound_parts(broken):
    assert broken(
        ("basis: consent", "basis: consnt"),
        ("{purposes: [fraud_review]}", "{purposes: [fraud_reviews]}"),
        ("action: scan", "action: scam"),
        ("to: year", "to: yeer"),
        ("customer.email: email", "customer.email: emial"),
        ("    on_drift: drop ", "    order_id: keep\n    on_drift: drop "),
        ("{retain: 7d}", "{retain: soon}"),
    ) == [
        "policy.yaml:5: purposes.support.basis: unknown basis 'consnt'; "
        "write one of: consent, contract, legal_obligation, legitimate_interest",
        "policy.yaml:9: roles.fraud_analyst.purposes.0: unknown purpose 'fraud_reviews'; did you mean 'fraud_review'?",
        "policy.yaml:21: info_types.birth_date.to: no such coarseness; "
        "write year, month, day, {bucket: 10}, {prefix: 3} or {ip_prefix: 24}",
        "policy.yaml:22: info_types.note.action: unknown action 'scam'; "
        "write one of: drop, generalize, keep, mask, redact, scan, tokenize",
        "policy.yaml:32: datasets.orders.fields.customer.email: unknown info type 'emial'; did you mean 'email'?",
        "policy.yaml:37: datasets.orders.order_id: unknown key; "
        "write one of: collect, event_time, fields, on_drift, subject",
        "policy.yaml:39: dead_letters.retain: no time span; write a number and m, h, d or w, as 7d",
    ]


def test_a_broken_info_type_still_counts_as_defined(broken):
    assert len(broken(("format: pan", "format: pann"))) == 1


@pytest.mark.parametrize("key", ["format", "keep_last", "distribute", "see"])
def test_info_types_of_one_domain_must_agree(broken, key):
    other = {
        "format": "pan",
        "keep_last": "4",
        "distribute": "[fraud_review, support]",
        "see": "{fraud_analyst: full, support_agent: masked}",
    }
    other[key] = {"format": "digits", "keep_last": "0", "distribute": "[support]", "see": "{}"}[key]
    if other["format"] != "pan":
        del other["keep_last"]
    spelt = ", ".join(f"{name}: {value}" for name, value in other.items())
    found = broken(
        (
            "  customer_id:",
            f"  old_card: {{action: tokenize, domain: card, collect: [support], {spelt}}}\n  customer_id:",
        )
    )
    assert found[0] == (
        f"policy.yaml:19: info_types.old_card.{key}: differs in '{key}' from 'card', which shares the domain 'card'; "
        "make them agree, or name another domain"
    )


def test_repeated_keys_are_reported_where_they_stand(broken):
    assert broken(("version: 1", "version: 1\nversion: 1")) == [
        "policy.yaml:2: version: stands twice; keep one of them"
    ]
    assert broken(("      order_id: keep", "      order_id: keep\n      order_id: drop")) == [
        "policy.yaml:30: datasets.orders.fields.order_id: stands twice; keep one of them"
    ]


def test_two_spellings_of_one_path_are_one_path(problems):
    dataset = "datasets: {d: {subject: a, event_time: b, fields: {a: keep, b: keep, 'c\\d': keep, cd: drop}}}\n"
    assert problems(SMALL + dataset) == [
        "policy.yaml:4: datasets.d.fields: two lines mean the path 'cd'; keep one of them"
    ]


def test_a_longer_path_may_say_otherwise_than_a_dropped_one(read):
    dataset = "datasets: {d: {subject: a.id, event_time: t, fields: {a: drop, a.id: keep, t: keep}}}\n"
    orders = read(SMALL + dataset).datasets["d"]
    assert orders.rule_for(FieldPath.parse("a.id")) is Plain.KEEP
    assert orders.rule_for(FieldPath.parse("a.name")) is Plain.DROP


def test_names_of_yaml_s_own_words_are_names(read):
    policy = read(SMALL + "roles: {on: {purposes: [fulfilment]}, no: {purposes: [fulfilment]}}\n")
    assert set(policy.roles) == {"on", "no"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "policy.yaml:1: is empty; run `consentry init DIR` for a first one"),
        ("# nothing\n", "policy.yaml:1: is empty; run `consentry init DIR` for a first one"),
        ("- a\n", "policy.yaml:1: is no mapping; write keys below it"),
        ("version: [1\n", "policy.yaml:2: is not valid YAML; expected ',' or ']', but got '<stream end>'"),
        (
            "version: 1\n\tpurposes: 2\n",
            "policy.yaml:2: is not valid YAML; found character '\\t' that cannot start any token",
        ),
        ("version: 1\n---\nversion: 1\n", "policy.yaml:2: is not valid YAML; but found another document"),
        ("a: *geheim\n", "policy.yaml:1: is not valid YAML; found undefined alias '…'"),
        (b"version: 1\n# \xff\n", "policy.yaml:2: is not UTF-8; save the file as UTF-8"),
        (b"version: 1\x00\n", "policy.yaml:1: is not valid YAML; check indentation, quotes and brackets"),
        ("[" * 5000, "policy.yaml:1: is not valid YAML; stay within 32 levels and plain values"),
        ("[" * 40 + "]" * 40, "policy.yaml:1: is too large or too deep; stay within 32 levels; avoid aliases"),
        ("a: &a [*a]\n", "policy.yaml:1: is too large or too deep; stay within 32 levels; avoid aliases"),
        (
            "#" * (1 << 20) + "\n",
            "policy.yaml:1: is larger than 1 MiB; split it, or take out what does not belong here",
        ),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(problems, text, message):
    assert problems(text) == [message]


def test_aliases_that_unfold_without_end_are_refused(problems):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "is too large or too deep" in problems("\n".join(lines))[0]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [id]",
        "!!binary aGk=",
        "2026-01-01",
        "!!int x",
        "!!float x",
        "!foo x",
        '"\\ud800"',
    ],
)
def test_tags_and_odd_values_are_problems_and_never_built(problems, value):
    found = problems(SMALL + f"roles: {value}\n")
    assert found
    assert all(line.startswith("policy.yaml:4: roles") for line in found)


@pytest.mark.parametrize("key", ['"\\e[31m"', '"\\ud800"', '"a\\nb"', "[a, b]", "{a: b}", "<<"])
def test_odd_keys_are_problems(problems, key):
    assert any("a key is no plain name; write a name" in line for line in problems(SMALL + f"roles: {{? {key} : x}}\n"))


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(PolicyError) as caught:
            read_policy(path)
        assert caught.value.exit_code == 2


def test_the_problems_survive_pickle(read):
    with pytest.raises(PolicyError) as caught:
        read("version: 2\n")
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert arrived.problems == caught.value.problems
    assert (arrived.reason, arrived.exit_code) == ("policy_invalid", 2)


@pytest.mark.parametrize(
    "place", ["format: pan", "action: scan", "basis: consent", "to: year", "CREDIT_CARD", "{retain: 7d}"]
)
def test_a_value_pasted_into_the_wrong_place_is_not_repeated(broken, place):
    secret = "4111111111111111"
    key = place.partition(": ")[0] if ": " in place and "{" not in place else None
    for text in broken((place, f"{key}: {secret}" if key else f"{secret}")):
        assert secret not in text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_policy_never_crashes_the_reader(data, contract_policy, tmp_path):
    raw = bytearray(contract_policy.encode())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                raw[at] = data.draw(st.integers(0, 255))
            case 1:
                del raw[at : at + data.draw(st.integers(1, 30))]
            case 2:
                raw[at:at] = data.draw(
                    st.sampled_from(
                        [b"[", b"{", b"&a ", b"*a", b"!!", b"- ", b": ", b"\n", b"\\", b"|", b"? ", b"<<", b"null"]
                    )
                )
            case _:
                raw[at:at] = raw[data.draw(st.integers(0, len(raw) - 1)) :][:60]
    path = tmp_path / "mutated.yaml"
    path.write_bytes(bytes(raw))
    try:
        policy = read_policy(path)
    except PolicyError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.rule and problem.hint for problem in error.problems)
        str(error).encode()
    else:
        assert len(policy.digest) == 64
        assert pickle.loads(pickle.dumps(policy)) == policy


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_a_policy_error(raw, tmp_path):
    path = tmp_path / "any.yaml"
    path.write_bytes(raw)
    with pytest.raises(PolicyError):
        read_policy(path)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.sampled_from(["keep", "pan", "consent", "card", "7d", [], {}, [[]], [{}], {"bucket": []}, {"prefix": 1}]),
)


@pytest.mark.parametrize("seed", range(150))
def test_a_policy_with_values_put_in_wrong_places_never_crashes_the_reader(seed, contract_policy, tmp_path):
    source = random.Random(seed)
    document = yaml.safe_load(contract_policy)
    odd = [None, True, 0, -1, 1e308, float("nan"), "", "keep", "pan", "card", "7d", [], {}, [[]], [{}], {"bucket": []}]
    for _ in range(source.randint(1, 3)):
        places = list(_containers(document))
        container, key = source.choice(places)
        container[key] = copy.deepcopy(source.choice([*odd, source.choice(places)[0]]))
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        assert read_policy(path).digest
    except PolicyError as error:
        assert error.problems


def _containers(document: Any) -> Any:
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield document, key
        if isinstance(value, dict | list) and value:
            yield from _containers(value)


def test_the_json_schema_describes_every_key(contract_policy):
    schema = policy_json_schema()
    json.dumps(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    models = {"Policy": schema, **{name: model for name, model in schema["$defs"].items() if "properties" in model}}
    for name, model in models.items():
        assert model["additionalProperties"] is False, name
        for key, value in model["properties"].items():
            assert value.get("description"), f"{name}.{key}"
    actions = {model["properties"]["action"]["const"] for model in models.values() if "action" in model["properties"]}
    assert actions == {"tokenize", "redact", "mask", "generalize", "drop", "keep", "scan"}


def test_a_kept_info_type_asks_for_a_purpose_and_a_plain_keep_does_not(read):
    policy = read(SMALL + "info_types: {sku: {action: keep, collect: [fulfilment]}}\n")
    assert isinstance(policy.info_types["sku"], KeepRule)

"""Tokens through Presidio's own engines and back, with real keys, stores and desk."""

from __future__ import annotations

import copy
import pickle
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.desk import create_keys, create_stores, distribution_rules, open_desk, open_stores
from consentry.pipelines.keyring_files import open_token_keys
from consentry.schemas.errors import AccessLogError, ConfigError, SecretError, TokenError
from consentry.schemas.policy import Policy
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.schemas.text_tokens import text_tokens
from consentry.transforms.access.detokenize import Desk
from consentry.transforms.crypto.key_sets import TokenKeys
from consentry.transforms.crypto.subject_references import subject_references
from consentry.transforms.presidio import (
    ProtectSpan,
    RestoreSpan,
    anonymize,
    anonymizer_engine,
    deanonymizer_engine,
    operators,
    restore_operators,
)
from consentry.transforms.stores.access_log import open_access_log
from consentry.transforms.stores.vault import Candidates
from consentry.transforms.tokens.open_tokenizer import open_tokenizer
from oracles.shop_commands import run
from presidio_anonymizer import AnonymizerEngine, DeanonymizeEngine
from presidio_anonymizer.entities import OperatorConfig, RecognizerResult

ROOT = Path(__file__).parents[2]
NOW = 1_793_000_000_000_000
CARD, OTHER_CARD = "4111111111111111", "5555555555554444"
CONFIG = """\
tenant: shop
policy: policy.yaml
keyring: keyring.json
kek: file:kek.key
vault: sqlite:vault.db
data_keys: sqlite:data_keys.db
ledger: sqlite:ledger.db
access_log: sqlite:access.db
trust: proof.pub
"""
POLICY = """\
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver what you ordered."}
  fraud_review: {basis: legal_obligation, says: "To stop misuse of payment cards."}
  analytics: {basis: legitimate_interest, says: "To see which products sell."}
roles:
  fraud_analyst: {purposes: [fraud_review]}
  clerk: {purposes: [fulfilment]}
info_types:
  card:
    action: tokenize
    format: pan
    domain: card
    collect: [fulfilment]
    distribute: [fraud_review]
    see: {fraud_analyst: full}
    finds: [CREDIT_CARD]
  email: {action: tokenize, format: email, domain: email, collect: [analytics], finds: [EMAIL]}
  phone: {action: mask, show_last: 2, collect: [fulfilment], finds: [PHONE]}
  born: {action: generalize, to: year, collect: [fulfilment], finds: [DATE_OF_BIRTH]}
  site: {action: keep, collect: [fulfilment], finds: [IP_ADDRESS]}
  gone: {action: drop, collect: [fulfilment], finds: [US_SSN]}
  iban: {action: tokenize, format: iban, domain: iban, collect: [fulfilment], on_invalid: dead_letter, finds: [IBAN]}
datasets: {}
dead_letters: {retain: 7d}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose vault holds one card of customer c-17."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "consentry.yaml").write_text(CONFIG)
    (folder / "policy.yaml").write_text(POLICY)
    project = read_project(folder / "consentry.yaml")
    create_keys(project, now=NOW)
    create_stores(project)
    policy = read_policy(project.policy)
    tokenizer = open_tokenizer(policy.token_domains["card"].rule, open_token_keys(project))  # type: ignore[arg-type]
    with open_stores(project) as stores:
        values = pa.array([CARD], pa.string())
        candidates = Candidates(
            domain="card",
            key_version=1,
            tokens=tokenizer.tokenize(values).tokens,
            values=values,
            refs=subject_references(pa.array(["c-17"], pa.string()), stores.keys.reference_key),
            event_times=np.array([NOW], np.int64),
        )
        stores.vault.write([candidates], ledger=stores.ledger, rules=distribution_rules(policy), now=NOW)
    return project


@pytest.fixture(scope="module")
def policy(project: Project) -> Policy:
    return read_policy(project.policy)


@pytest.fixture(scope="module")
def keys(project: Project) -> TokenKeys:
    return open_token_keys(project)


@pytest.fixture(scope="module")
def configs(policy: Policy, keys: TokenKeys) -> dict[str, OperatorConfig]:
    return operators(policy, keys, permitted={"fulfilment"})


@pytest.fixture
def desk(project: Project) -> Iterator[Desk]:
    with open_desk(project, clock=lambda: NOW + 1) as desk:
        yield desk


def spans(text: str, **values: str) -> list[RecognizerResult]:
    return [
        RecognizerResult(name, text.index(value), text.index(value) + len(value), 0.9) for name, value in values.items()
    ]


def treated(configs: dict[str, OperatorConfig], entity: str, value: str) -> str:
    text = f"it is {value}."
    found = anonymize(anonymizer_engine(), [text], [spans(text, **{entity: value})], configs)[0]
    assert found.text is not None and found.text.startswith("it is ") and found.text.endswith(".")
    return str(found.text[6:-1])


def test_a_span_becomes_the_token_that_its_column_would_get(
    configs: dict[str, OperatorConfig], policy: Policy, keys: TokenKeys
) -> None:
    tokenizer = open_tokenizer(policy.token_domains["card"].rule, keys)
    expected = tokenizer.tokenize(pa.array([CARD])).tokens[0].as_py()
    assert treated(configs, "CREDIT_CARD", "4111-1111 1111 1111") == f"[card:1:{expected}]"


@pytest.mark.parametrize(
    ("entity", "value", "made"),
    [
        ("PHONE_NUMBER", "0171 234567", "*********67"),
        ("PHONE", "0171 234567", "*********67"),
        ("DATE_OF_BIRTH", "1984-03-02", "1984"),
        ("DATE_OF_BIRTH", "in May", "[redacted]"),
        ("IP_ADDRESS", "10.0.0.1", "10.0.0.1"),
        ("US_SSN", "536-90-4399", "[redacted]"),
        ("PERSON", "Ann", "[redacted]"),
        ("LOCATION", "Paris", "[redacted]"),
        ("CREDIT_CARD", "4111111111111112", "[redacted]"),
        ("EMAIL_ADDRESS", "ann@example.org", "[redacted]"),
    ],
)
def test_each_entity_is_treated_as_its_info_type_and_all_else_is_redacted(
    configs: dict[str, OperatorConfig], entity: str, value: str, made: str
) -> None:
    assert treated(configs, entity, value) == made


def test_an_info_type_is_redacted_unless_one_of_its_purposes_permits(policy: Policy, keys: TokenKeys) -> None:
    assert treated(operators(policy, keys, permitted=()), "CREDIT_CARD", CARD) == "[redacted]"
    made = treated(operators(policy, keys, permitted={"analytics"}), "EMAIL_ADDRESS", "ann@example.org")
    assert made.startswith("[email:1:") and made.endswith(".invalid]")


def test_a_purpose_that_the_policy_does_not_know_is_refused(policy: Policy, keys: TokenKeys) -> None:
    with pytest.raises(ConfigError, match="permitted: the policy knows no purpose 'sales'; name some of its purposes"):
        operators(policy, keys, permitted={"fulfilment", "sales"})


def test_a_value_that_may_not_be_redacted_aborts_the_text_without_being_quoted(
    configs: dict[str, OperatorConfig],
) -> None:
    with pytest.raises(TokenError, match=r"info_types.iban: a span does not fit \(checksum_failed\)") as caught:
        treated(configs, "IBAN_CODE", "DE89370400440532013001")
    assert caught.value.reason == "checksum_failed"
    assert "013001" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None


def test_results_that_overlap_leave_one_whole_token_and_neighbours_stay_two(
    configs: dict[str, OperatorConfig],
) -> None:
    text = f"{CARD} {OTHER_CARD}"
    results = [
        RecognizerResult("CREDIT_CARD", 0, 16, 1.0),
        RecognizerResult("PHONE_NUMBER", 6, 20, 0.4),
        RecognizerResult("CREDIT_CARD", 17, 33, 1.0),
    ]
    made = anonymize(anonymizer_engine(), [text], [results], configs)[0].text
    assert made is not None
    tokens = text_tokens(made)
    assert [token.token[-4:] for token in tokens] == ["1111", "4444"]
    assert made == " ".join(f"[card:1:{token.token}]" for token in tokens)


def test_a_batch_is_what_its_texts_are_one_by_one(configs: dict[str, OperatorConfig]) -> None:
    texts = [f"card {CARD} and {OTHER_CARD}", "nothing", f"call 0171 234567 or 0171 7654, card {CARD}, Ann"]
    results = [
        [*spans(texts[0], CREDIT_CARD=OTHER_CARD), *spans(texts[0], CREDIT_CARD=CARD)],
        [],
        [
            *spans(texts[2], CREDIT_CARD=CARD, PHONE_NUMBER="0171 7654", PERSON="Ann"),
            *spans(texts[2], PHONE_NUMBER="0171 234567"),
        ],
    ]
    own = {**configs, "PERSON": OperatorConfig("replace", {"new_value": "someone"})}
    engine = AnonymizerEngine()
    engine.add_anonymizer(ProtectSpan)
    single = [
        engine.anonymize(text, found, dict(own), merge_entities_with_spaces=False).text
        for text, found in zip(texts, results, strict=True)
    ]
    assert [each.text for each in anonymize(AnonymizerEngine(), texts, results, own)] == single
    assert single[2] == f"call *********67 or *******54, card {single[0].split()[1]}, someone"


def test_an_engine_of_ones_own_takes_the_operator_by_itself(configs: dict[str, OperatorConfig]) -> None:
    engine = AnonymizerEngine()
    engine.add_anonymizer(ProtectSpan)
    text = f"card {CARD}"
    found = engine.anonymize(text, spans(text, CREDIT_CARD=CARD), configs, merge_entities_with_spaces=False)
    assert [item.operator for item in found.items] == ["consentry_protect"]
    assert len(text_tokens(found.text)) == 1


def test_parameters_say_nothing_of_keys_and_are_never_copied(configs: dict[str, OperatorConfig], desk: Desk) -> None:
    restoring = restore_operators(desk, purpose="fraud_review", role="fraud_analyst", actor="finn")
    for config in (configs["CREDIT_CARD"], restoring["DEFAULT"]):
        assert "hidden" in repr(config)
        for copied in (pickle.dumps, copy.deepcopy):
            with pytest.raises(SecretError, match="never pickled or copied"):
                copied(config)


@pytest.mark.parametrize(("operator", "maker"), [(ProtectSpan, "operators"), (RestoreSpan, "restore_operators")])
@pytest.mark.parametrize("params", [None, {}, {"treatment": "x", "restorer": "y"}])
def test_other_parameters_are_refused(operator: type[Any], maker: str, params: Any) -> None:
    with pytest.raises(ConfigError, match=f"takes the parameters that `{maker}` makes"):
        operator().validate(params)


def protected(configs: dict[str, OperatorConfig]) -> Any:
    text = f"card {CARD}, other {OTHER_CARD}, phone 0171 234567"
    results = [
        *spans(text, CREDIT_CARD=CARD, PHONE_NUMBER="0171 234567"),
        *spans(text, CREDIT_CARD=OTHER_CARD),
    ]
    return anonymize(anonymizer_engine(), [text], [results], configs)[0]


def test_a_token_comes_back_for_who_may_see_it_and_the_others_stay_tokens(
    configs: dict[str, OperatorConfig], desk: Desk, project: Project
) -> None:
    found = protected(configs)
    unknown = text_tokens(found.text)[1].token
    before = len(log(project))
    restoring = restore_operators(desk, purpose="fraud_review", role="fraud_analyst", actor="finn")
    restored = deanonymizer_engine().deanonymize(found.text, found.items, restoring)
    assert restored.text == f"card {CARD}, other [card:1:{unknown}], phone *********67"
    assert sorted(log(project)[before:]) == [("finn", "allowed", "permitted"), ("finn", "refused", "no_entry")]


def test_a_refused_role_gets_the_protected_text_and_is_in_the_log(
    configs: dict[str, OperatorConfig], desk: Desk, project: Project
) -> None:
    found = protected(configs)
    before = len(log(project))
    engine = DeanonymizeEngine()
    engine.add_deanonymizer(RestoreSpan)
    restoring = restore_operators(desk, purpose="fulfilment", role="clerk", actor="carl")
    assert engine.deanonymize(found.text, found.items, restoring).text == found.text
    assert {entry[:2] for entry in log(project)[before:]} == {("carl", "refused")}
    assert len(log(project)) == before + 2


def test_nothing_is_restored_where_the_log_cannot_be_written(
    configs: dict[str, OperatorConfig], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_records: Any) -> None:
        raise AccessLogError("access.db: is full; make room")

    monkeypatch.setattr(desk._access_log, "append_runs", full)
    found = protected(configs)
    restoring = restore_operators(desk, purpose="fraud_review", role="fraud_analyst", actor="finn")
    with pytest.raises(AccessLogError):
        deanonymizer_engine().deanonymize(found.text, found.items, restoring)


def log(project: Project) -> list[tuple[str, str, str]]:
    access_log = open_access_log(project.access_log)
    try:
        return [(record.actor, record.decision, record.rule) for record in access_log.records()]
    finally:
        access_log.close()


def test_the_guide_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("presidio_analyzer")
    guide = (ROOT / "docs" / "presidio.md").read_text(encoding="utf-8")
    orders = (ROOT / "examples" / "orders" / "orders.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "orders.jsonl").write_bytes(b"".join(orders[:20]))
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^\$ consentry (.*)$", guide, re.MULTILINE):
        assert run(*command.split()).code == 0
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL))
    exec(compile(code, "docs/presidio.md", "exec"), {})

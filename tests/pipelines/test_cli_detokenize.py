"""``consentry detokenize``: values for who may have them, refusals that explain themselves, and a trace of both."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from typing import Any

import pytest
from consentry.pipelines.desk import open_desk
from consentry.schemas.project import read_project
from oracles.shop_commands import CARDS, PROGRAM, Shop

SUPPORT = {"purpose": "support", "role": "support_agent", "actor": "ana"}
FRAUD = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
KEYS = {"domain", "token", "decision", "value", "shown", "rule", "says", "options"}


def flags(asked: dict[str, str]) -> list[str]:
    return [text for name, value in asked.items() for text in (f"--{name}", value)]


def test_an_answer_is_exactly_what_programs_read(shop: Shop) -> None:
    tokens = [shop.card_token(0), shop.card_token(4)]
    done = shop.process("detokenize", "card", *tokens, *flags(SUPPORT), "--json")
    assert (done.code, done.err) == (1, ""), "one of the two is refused"
    allowed, refused = done.json()
    assert list(allowed) == ["domain", "token", "decision", "value", "shown", "rule", "says", "options"]
    assert {key: allowed[key] for key in ("domain", "token", "decision", "value", "shown", "options")} == {
        "domain": "card", "token": tokens[0], "decision": "allowed", "value": "************1111", "shown": "masked",
        "options": [],
    }  # fmt: skip
    assert refused.keys() == KEYS
    assert (refused["token"], refused["decision"], refused["value"], refused["shown"]) == (
        tokens[1], "refused", None, None,
    )  # fmt: skip
    assert refused["options"] and all(option.keys() == {"option", "says"} for option in refused["options"])
    assert refused["rule"] == "not_permitted_or_absent"
    assert refused["says"].endswith(".")


def test_all_allowed_is_done(shop: Shop) -> None:
    tokens = [shop.card_token(subject) for subject in range(6)]
    done = shop.detokenize("card", *tokens)
    assert (done.code, done.err) == (0, "")
    assert [answer["value"] for answer in done.json()] == list(CARDS)
    assert {answer["shown"] for answer in done.json()} == {"full"}
    (answer,) = shop.detokenize("email", shop.email_token(1), **SUPPORT).json()
    assert (answer["value"], answer["shown"]) == ("kim1@example.com", "full")


def test_a_token_is_taken_in_any_spelling(shop: Shop) -> None:
    token = shop.card_token(0)
    spelled = f"{token[:4]} {token[4:8]}-{token[8:12]} {token[12:]}"
    (answer,) = shop.detokenize("card", spelled).json()
    assert (answer["token"], answer["value"]) == (spelled, CARDS[0])


def test_people_get_a_table_and_what_to_offer_instead(shop: Shop) -> None:
    done = shop.process("detokenize", "card", shop.card_token(0), shop.card_token(4), *flags(SUPPORT), COLUMNS="20")
    assert done.code == 1
    rows = [line.split() for line in done.out.splitlines()]
    assert [shop.card_token(0), "allowed", "************1111", "masked"] in rows, "and not folded"
    assert [shop.card_token(4), "refused", "–", "–"] in rows
    assert "No value is held under this token, or a customer it belongs to does not permit 'support'." in done.err
    assert "  • Ask the customer to allow 'support'" in done.err


def test_tokens_come_from_standard_input_too(shop: Shop) -> None:
    first, second, third = (shop.card_token(subject) for subject in range(3))
    listed = f"\ufeff{first}\r\n\n  {second}  \n".encode()
    done = shop.process("detokenize", "--json", *flags(FRAUD), "card", "-", third, input=listed)
    assert (done.code, done.err) == (0, "")
    assert [answer["token"] for answer in done.json()] == [first, second, third]
    assert [answer["value"] for answer in done.json()] == list(CARDS[:3])


def test_no_tokens_have_no_answers(shop: Shop) -> None:
    done = shop.detokenize("card", "-")
    assert (done.code, done.json()) == (0, [])


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bytes_that_are_no_text_are_refused_and_the_others_answered(shop: Shop, locale: str) -> None:
    token = shop.card_token(0)
    done = shop.process(
        "detokenize", "card", "-", "--json", *flags(FRAUD), input=b"\xff\xfe41\n" + token.encode(), LC_ALL=locale
    )
    assert (done.code, done.err) == (1, "")
    assert [(answer["rule"], answer["value"]) for answer in done.json()] == [
        ("not_a_token", None), ("permitted", CARDS[0]),
    ]  # fmt: skip
    assert shop.run("detokenize", "card", "\udcff41", *flags(FRAUD), "--json").json()[0]["rule"] == "not_a_token"


@pytest.mark.parametrize(
    ("domain", "subject", "asked", "rule"),
    [
        ("card", 0, {"role": "clerk"}, "actor_lacks_role"),
        ("card", 0, {"purpose": "support"}, "role_lacks_purpose"),
        ("card", 0, {"purpose": "marketing"}, "role_lacks_purpose"),
        ("cards", 0, {}, "unknown_domain"),
        ("customer", 0, {}, "not_distributed"),
        ("email", 0, {}, "not_distributed"),
        ("card", 0, {**SUPPORT, "subject": "c-4"}, "subject_does_not_permit"),
        ("card", 4, {**SUPPORT}, "not_permitted_or_absent"),
        ("card", 0, {**SUPPORT, "subject": "c-1"}, "no_entry"),
        ("card", 0, {"subject": "c-1"}, "no_entry"),
        ("card", 0, {"key_version": "2"}, "no_entry"),
        ("card", None, {}, "not_a_token"),
    ],
)
def test_every_refusal_names_its_rule_in_one_sentence(
    shop: Shop, domain: str, subject: int | None, asked: dict[str, str], rule: str
) -> None:
    token = CARDS[0] if subject is None else shop.card_token(subject)
    done = shop.detokenize(domain, token, **asked)
    assert (done.code, done.err) == (1, "")
    (answer,) = done.json()
    assert (answer["decision"], answer["rule"], answer["value"], answer["shown"]) == ("refused", rule, None, None)
    assert answer["says"].endswith(".") and "\n" not in answer["says"]


def test_the_customer_named_decides_for_a_shared_card(shop: Shop) -> None:
    orders = [json.loads(line) for line in shop.orders.read_text().splitlines()[:6]]
    orders[4]["payment"]["card"]["number"] = CARDS[0]
    shop.orders.write_text("".join(f"{json.dumps(order)}\n" for order in orders))
    assert shop.protect("--replace").code == 0
    token = shop.card_token(0)
    assert token == shop.card_token(4)
    # c-0 allows support, c-4 does not: the vault holds the card for both, because the law wants fraud looked into.
    assert shop.detokenize("card", token, **SUPPORT).json()[0]["rule"] == "not_permitted_or_absent"
    assert shop.detokenize("card", token, **SUPPORT, subject="c-0").json()[0]["value"] == "************1111"
    assert shop.detokenize("card", token, **SUPPORT, subject="c-4").code == 1
    assert shop.detokenize("card", token).json()[0]["value"] == CARDS[0]


def test_a_withdrawal_counts_for_the_next_question(shop: Shop) -> None:
    token = shop.email_token(0)
    assert shop.detokenize("email", token, **SUPPORT).code == 0
    said = ("--subject", "c-0", "--purpose", "support", "--source", "call")
    assert shop.run("consent", "record", *said, "--decision", "withdrawn").code == 0
    assert shop.detokenize("email", token, **SUPPORT).code == 1
    assert shop.run("consent", "record", *said, "--decision", "granted").code == 0
    (answer,) = shop.detokenize("email", token, **SUPPORT).json()
    assert answer["rule"] == "not_permitted_or_absent", "a grant brings nothing back"


def test_actors_of_the_configuration_have_these_roles_and_no_others(shop: Shop) -> None:
    shop.config.write_text(shop.config.read_text() + "actors: {ana: [support_agent]}\n")
    token = shop.card_token(0)
    assert shop.detokenize("card", token, **SUPPORT).code == 0
    for actor in ("ana", "finn", "Ana"):
        (answer,) = shop.detokenize("card", token, actor=actor).json()
        assert answer["rule"] == "actor_lacks_role"
        assert answer["says"] == f"'{actor}' does not have the role 'fraud_analyst'."


def test_it_works_where_the_token_and_proof_keys_are_not(shop: Shop) -> None:
    token = shop.card_token(0)
    (shop.folder / "kek.key").rename(shop.folder / "vault.key")
    kek = "{token: file:token.key, vault: file:vault.key, proof: file:proof.key}"
    shop.config.write_text(shop.config.read_text().replace("file:kek.key ", f"{kek} "))
    assert shop.detokenize("card", token).json()[0]["value"] == CARDS[0]
    assert shop.protect("--replace").code == 2, "while nothing can be protected there"
    shop.config.write_text(shop.config.read_text().replace(kek, "{vault: file:vault.key}"))
    assert shop.detokenize("card", token).json()[0]["value"] == CARDS[0]


def test_it_answers_as_the_python_call_does(shop: Shop) -> None:
    tokens = [*(shop.card_token(subject) for subject in range(6)), "nonsense", CARDS[1]]
    for asked in (SUPPORT, FRAUD, {**SUPPORT, "subject": "c-1"}):
        with open_desk(read_project(shop.config), clock=lambda: time.time_ns() // 1000) as desk:
            answers = desk.detokenize("card", tokens, **asked)
        assert shop.detokenize("card", *tokens, **asked).json() == [answer.as_json() for answer in answers]


def logged(shop: Shop) -> int:
    with sqlite3.connect(shop.folder / "access.db") as database:
        (table,) = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchone()
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)


def test_every_answer_is_logged_and_without_a_log_there_is_none(shop: Shop) -> None:
    before = logged(shop)
    shop.detokenize("card", shop.card_token(0), "nonsense")
    assert logged(shop) == before + 2
    token = shop.card_token(0)
    (shop.folder / "access.db").unlink()
    done = shop.detokenize("card", token)
    assert (done.code, done.out) == (2, "")
    assert "access log is missing" in done.err


@pytest.mark.parametrize("name", ["vault.db", "ledger.db", "data_keys.db", "access.db"])
def test_a_damaged_store_shows_nothing(shop: Shop, name: str) -> None:
    token = shop.card_token(0)
    (shop.folder / name).write_bytes(b"x" * 5000)
    done = shop.detokenize("card", token)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"consentry: {shop.folder / name}: ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["card", "41", "--role", "r", "--actor", "a"], "Missing option '--purpose'"),
        (["card", "41", "--purpose", "p", "--actor", "a"], "Missing option '--role'"),
        (["card", "41", "--purpose", "p", "--role", "r"], "Missing option '--actor'"),
        (["card", *flags(FRAUD)], "Missing argument 'TOKEN…'"),
        ([*flags(FRAUD)], "Missing argument 'DOMAIN'"),
        (["card", "41", *flags({**FRAUD, "actor": " "})], "--actor: is blank; name who asks"),
        (["card", "41", *flags(FRAUD), "--key-version", "0"], "'--key-version'"),
        (["card", "41", *flags(FRAUD), "--key-version", "new"], "'--key-version'"),
        (["card", "41", *flags({**FRAUD, "actor": "\udcff"})], "is not UTF-8 text"),
        (["\udcff", "41", *flags(FRAUD)], "is not UTF-8 text"),
        (["card", "41", *flags(FRAUD), "--full"], "No such option"),
    ],
)
def test_wrong_use_asks_nothing(shop: Shop, arguments: list[str], says: str) -> None:
    before = logged(shop)
    done = shop.run("detokenize", *arguments, "--json")
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert logged(shop) == before


def test_what_a_terminal_would_obey_is_shown_as_text(shop: Shop) -> None:
    done = shop.run("detokenize", "card", "\x1b[2J[bold]\u202e41", *flags({**FRAUD, "role": "[/x]\x1b[31m"}))
    assert done.code == 1
    assert "\\x1b[2J[bold]\\u202e41" in done.out
    assert "The policy knows no role '[/x]\\x1b[31m'." in done.err
    assert "\x1b" not in done.out + done.err


def test_a_reader_that_goes_away_leaves_no_trace_of_it(shop: Shop) -> None:
    command = [PROGRAM, "detokenize", "card", shop.card_token(0), *flags(FRAUD), "--config", shop.config]
    read, write = os.pipe()
    os.close(read)
    done: Any = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and CARDS[0] not in done.stderr

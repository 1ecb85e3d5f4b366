"""``consentry detokenize --text``: a filter for free text, span by span, that says what it left and why."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from consentry.pipelines.desk import open_desk
from consentry.schemas.project import read_project
from consentry.transforms.access.texts import detokenize_texts
from consentry.transforms.stores.access_log import open_access_log
from oracles.shop_commands import CARDS, PROGRAM, Done, Shop, run

SUPPORT = {"purpose": "support", "role": "support_agent", "actor": "ana"}
FRAUD = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}


def flags(asked: dict[str, str]) -> list[str]:
    return [text for name, value in asked.items() for text in (f"--{name}", value)]


def card(shop: Shop, subject: int) -> str:
    """The token of a customer's card as it stands in a text."""
    return f"[card:1:{shop.card_token(subject)}]"


def restore(shop: Shop, *texts: str, input: bytes = b"", **asked: str) -> Done:
    return shop.run("detokenize", "--text", *texts, *flags({**FRAUD, **asked}), "--json", input=input)


def rules(shop: Shop) -> list[str]:
    return [record.rule for record in open_access_log(f"sqlite:{shop.folder / 'access.db'}").records()]


def test_a_document_has_each_text_with_its_spans(shop: Shop) -> None:
    text = f"é {card(shop, 0)} or [karte:1:4000] and [[card:1:77]"
    done = shop.process("detokenize", "--text", text, "nothing", *flags(FRAUD), "--json")
    assert (done.code, done.err) == (1, "")
    first, second = done.json()
    assert first["text"] == f"é {CARDS[0]} or [karte:1:4000] and [card:1:77]"
    assert second == {"text": "nothing", "spans": []}
    allowed, refused = first["spans"]
    assert list(allowed) == [
        "start", "end", "info_type", "key_version",
        "domain", "token", "decision", "value", "shown", "rule", "says", "options",
    ]  # fmt: skip
    assert text[allowed["start"] : allowed["end"]] == card(shop, 0)
    assert (allowed["domain"], allowed["token"], allowed["value"]) == ("card", shop.card_token(0), CARDS[0])
    assert (refused["rule"], refused["says"]) == (
        "unknown_info_type", "The policy knows no info type 'karte' whose values become tokens.",
    )  # fmt: skip


def test_all_allowed_is_done(shop: Shop) -> None:
    done = restore(shop, *(f"card {card(shop, subject)}" for subject in range(6)))
    assert (done.code, [each["text"] for each in done.json()]) == (0, [f"card {number}" for number in CARDS])


def test_it_is_a_filter_of_lines(shop: Shop) -> None:
    lines = f"one {card(shop, 0)}\n\n  two {card(shop, 1)} \t\r\nlast without end".encode()
    done = shop.process("detokenize", "--text", "-", *flags(FRAUD), input=lines)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"one {CARDS[0]}\n\n  two {CARDS[1]} \t\r\nlast without end\n"


def test_what_a_pipe_gets_is_what_was_written(shop: Shop) -> None:
    hostile = "\x1b[2J \u202e [bold] \ufeff 🎁"
    command = [PROGRAM, "detokenize", "--text", "-", *flags(FRAUD), "--config", shop.config]
    done = subprocess.run(command, input=f"{hostile}\n".encode(), capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, f"{hostile}\n")


def test_texts_of_several_lines_are_arguments_or_end_with_nul(shop: Shop, tmp_path: Path) -> None:
    note = f"Dear all,\nthe card is {card(shop, 0)}\nBye\n"
    expected = note.replace(card(shop, 0), CARDS[0])
    assert [each["text"] for each in restore(shop, note).json()] == [expected]
    assert [each["text"] for each in restore(shop, "-", "--null", input=note.encode()).json()] == [expected]
    two = f"{note}\0second\nline\0".encode()
    done = shop.process("detokenize", "--text", "-", "-z", *flags(FRAUD), input=two)
    assert (done.code, done.out) == (0, f"{expected}\0second\nline\0")


def test_people_are_told_what_stays_and_why_on_standard_error(shop: Shop) -> None:
    text = f"{card(shop, 0)} {card(shop, 4)} {card(shop, 5)}"
    done = shop.process("detokenize", "--text", text, *flags(SUPPORT))
    assert (done.code, done.out) == (1, f"************1111 {card(shop, 4)} {card(shop, 5)}\n")
    assert "2 of 3 tokens were refused and stay as they stand" in done.err
    assert done.err.count("No value is held under this token, or a customer it belongs to does not permit") == 1
    assert "  • Ask the customer to allow 'support'" in done.err


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"role": "clerk"}, "actor_lacks_role"),
        ({"purpose": "support"}, "role_lacks_purpose"),
        ({**SUPPORT, "subject": "c-4"}, "subject_does_not_permit"),
        ({**SUPPORT, "subject": "c-1"}, "no_entry"),
        ({"subject": "c-1"}, "no_entry"),
    ],
)
def test_refusals_are_those_of_single_tokens(shop: Shop, asked: dict[str, str], rule: str) -> None:
    done = restore(shop, f"a {card(shop, 0)} b", **asked)
    assert (done.code, done.err) == (1, "")
    (each,) = done.json()
    assert each["text"] == f"a {card(shop, 0)} b"
    assert [span["rule"] for span in each["spans"]] == [rule]
    single = shop.detokenize("card", shop.card_token(0), **asked).json()[0]
    assert {key: each["spans"][0][key] for key in single} == single


@pytest.mark.parametrize(
    ("span", "rule"),
    [
        (f"[card:1:{CARDS[0]}]", "not_a_token"),
        ("[card:2:{token}]", "no_entry"),
        ("[customer_id:1:abcdefghijklmnop]", "not_distributed"),
        ("[gift_note:1:x]", "unknown_info_type"),
    ],
)
def test_spans_that_hold_nothing_are_refused(shop: Shop, span: str, rule: str) -> None:
    text = span.format(token=shop.card_token(0))
    (each,) = restore(shop, text).json()
    assert (each["text"], [found["rule"] for found in each["spans"]]) == (text, [rule])


def test_every_span_is_logged_once_and_without_a_log_nothing_is_shown(shop: Shop) -> None:
    before = len(rules(shop))
    restore(shop, f"{card(shop, 0)} [x:1:y]", f"[[card:1:77] {card(shop, 0)}")
    assert rules(shop)[before:] == ["permitted", "unknown_info_type", "permitted"]
    text = card(shop, 0)
    (shop.folder / "access.db").unlink()
    done = restore(shop, text)
    assert (done.code, done.out) == (2, "")


def test_it_answers_as_the_python_call_does(shop: Shop) -> None:
    texts = [f"{card(shop, subject)} [[x:1:y] [email:1:{shop.email_token(subject)}]" for subject in range(6)]
    with open_desk(read_project(shop.config), clock=lambda: time.time_ns() // 1000) as desk:
        restored = detokenize_texts(desk, texts, **SUPPORT)
    assert restore(shop, *texts, **SUPPORT).json() == [each.as_json() for each in restored]
    assert restored[0].text == "************1111 [x:1:y] kim0@example.com"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--text", *flags(FRAUD)], "Missing argument 'TEXT…'"),
        (["--text", "a", *flags(FRAUD), "--key-version", "1"], "--key-version: not with --text"),
        (["card", "-", "--null", *flags(FRAUD)], "--null: only with --text"),
        (["--text", "a", *flags({**FRAUD, "actor": " "})], "--actor: is blank"),
        (["--text", "a", "--role", "r", "--actor", "a"], "Missing option '--purpose'"),
    ],
)
def test_wrong_use_asks_nothing(shop: Shop, arguments: list[str], says: str) -> None:
    before = len(rules(shop))
    done = shop.run("detokenize", *arguments, "--json")
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert len(rules(shop)) == before


def test_texts_that_begin_with_a_dash_stand_behind_two(shop: Shop) -> None:
    done = run("detokenize", "--text", *flags(FRAUD), "--config", shop.config, "--", f"- {card(shop, 0)}")
    assert (done.code, done.out) == (0, f"- {CARDS[0]}\n")


def test_bytes_that_are_no_text_do_not_stop_the_others(shop: Shop) -> None:
    done = shop.process("detokenize", "--text", "-", *flags(FRAUD), input=b"\xff\n" + card(shop, 0).encode())
    assert (done.code, done.out) == (0, f"\ufffd\n{CARDS[0]}\n")


def test_nothing_to_read_is_nothing_to_print(shop: Shop) -> None:
    done = shop.process("detokenize", "--text", "-", *flags(FRAUD))
    assert (done.code, done.out, done.err) == (0, "", "")
    assert restore(shop, "-").json() == []


def test_it_never_loads_beam(shop: Shop) -> None:
    code = (
        "import sys; from consentry.pipelines.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit(any(name.startswith('apache_beam') for name in sys.modules))"
    )
    command = ["-c", code, "detokenize", "--text", "[card:1:4000]", *flags(FRAUD)]
    python = PROGRAM.with_name("python")
    done = subprocess.run(
        [python, *command, "--config", shop.config], capture_output=True, env={**os.environ}, cwd=shop.place
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"[card:1:4000]" in done.stdout

"""``consentry policy``: every problem at its line, whole sentences for each reader, and what a change means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from oracles.shop_commands import Shop, process, run

FAULTS = {
    "basis: contract,": "basis: contrakt,",
    "fraud_analyst: full": "fraud_analyst: ful",
    "format: email": "format: emial",
    "on_drift: drop": "on_drift: drip",
}


@pytest.fixture
def broken(shop: Shop) -> Path:
    """The shop's policy with four faults."""
    text = (shop.folder / "policy.yaml").read_text()
    for right, wrong in FAULTS.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    path = shop.place / "broken.yaml"
    path.write_text(text)
    return path


def lines_of(path: Path) -> list[int]:
    return [
        number for number, line in enumerate(path.read_text().splitlines(), 1) for wrong in FAULTS.values()
        if wrong in line
    ]  # fmt: skip


def test_a_sound_policy_is_counted_and_named_by_its_digest(shop: Shop) -> None:
    done = shop.process("policy", "check", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json().keys() == {"ok", "digest", "datasets"}
    assert (done.json()["ok"], done.json()["datasets"]) == (True, ["orders"])
    said = shop.run("policy", "check")
    assert (said.code, said.out) == (0, "")
    assert "The policy is sound: 4 purposes, 5 info types, 1 datasets." in said.err


def test_every_problem_is_told_at_once_with_file_and_line(broken: Path) -> None:
    done = process("policy", "check", broken)
    assert (done.code, done.out) == (2, "")
    told = done.err.splitlines()
    assert [line.split(": ")[0] for line in told] == [f"{broken}:{line}" for line in lines_of(broken)]
    assert "purposes.fulfilment.basis: unknown basis 'contrakt'; write one of: consent, contract" in told[0]
    assert all("; " in line for line in told), "each says what to write"


def test_a_program_gets_the_problems_as_one_document(broken: Path) -> None:
    done = run("policy", "check", broken, "--json")
    assert done.code == 2
    assert done.json()["ok"] is False
    problems = done.json()["problems"]
    assert [problem["line"] for problem in problems] == lines_of(broken)
    assert all(problem.keys() == {"file", "line", "path", "rule", "hint"} for problem in problems)
    assert len(done.err.splitlines()) == len(problems)


def test_the_policy_of_the_configuration_is_the_default(shop: Shop, broken: Path) -> None:
    broken.rename(shop.folder / "policy.yaml")
    for command in ("check", "explain --for staff"):
        done = shop.run("policy", *command.split())
        assert (done.code, done.out) == (2, "")
        assert "unknown basis 'contrakt'" in done.err


@pytest.mark.parametrize(
    ("reader", "sentences"),
    [
        (
            "customer",
            ["To deliver what you ordered.", "We do this only if you say yes", "You may say no to “So that our staff",
             "can no longer be\nopened by anyone after 7 days"],
        ),
        (
            "staff",
            ["You see the card masked for support if the customer said yes.", "You see the card in full for fraud",
             "A refusal does not tell whether we hold a value at all."],
        ),
        (
            "engineer",
            ["| `payment.card.number` | card | tokenize | pan | card |", "consent is asked as of `placed_at` and now",
             "`customer`: format surrogate, surrogates, not reversible"],
        ),
    ],
)  # fmt: skip
def test_the_policy_explains_itself_to_each_reader(shop: Shop, reader: str, sentences: list[str]) -> None:
    done = shop.run("policy", "explain", "--for", reader)
    assert (done.code, done.err) == (0, "")
    for sentence in sentences:
        assert sentence in done.out
    assert shop.run("policy", "explain", "--json", "--for", reader).json() == {
        "for": reader, "text": done.out.removesuffix("\n"),
    }  # fmt: skip


def test_an_explanation_is_not_folded_in_a_pipe(shop: Shop) -> None:
    done = shop.process("policy", "explain", "--for", "engineer", COLUMNS="40")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) > 100


def test_the_schema_is_one_that_editors_take(shop: Shop) -> None:
    done = process("policy", "schema")
    assert (done.code, done.err) == (0, "")
    assert {"purposes", "roles", "info_types", "datasets"} <= done.json()["properties"].keys()
    assert run("policy", "schema", "--json").out == shop.run("policy", "schema").out == done.out


def test_a_change_is_told_by_what_it_means_for_people(shop: Shop) -> None:
    old, new = shop.folder / "policy.yaml", shop.place / "new.yaml"
    new.write_text(old.read_text().replace("support_agent: masked", "support_agent: full"))
    done = process("policy", "diff", "--json", old, new)
    assert (done.code, done.err) == (0, "")
    (change,) = done.json()
    assert change.keys() == {"path", "audience", "effect", "says"}
    assert (change["path"], change["effect"]) == ("info_types.card.see.support_agent", "loosens")
    assert change["says"] in run("policy", "diff", old, new).out
    assert run("policy", "diff", new, old, "--json").json()[0]["effect"] == "tightens"


def test_no_change_is_told_too(shop: Shop) -> None:
    policy = shop.folder / "policy.yaml"
    assert run("policy", "diff", policy, policy).out == "Nothing changes for anyone.\n"
    assert shop.run("policy", "diff", policy, policy, "--json").json() == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("check missing.yaml", "missing.yaml: there is no such policy file"),
        ("check .", "cannot be read"),
        ("check binary.yaml", "is not UTF-8"),
        ("check empty.yaml", "is empty; run `consentry init DIR`"),
        ("check card.yaml", "card.yaml:1:"),
        ("check", "there is no configuration here; run `consentry init DIR`"),
        ("check --config missing.yaml", "missing.yaml: there is no configuration here"),
        ("explain", "Missing option '--for'"),
        ("explain --for everyone", "is not one of 'customer', 'staff', 'engineer'"),
        ("diff empty.yaml", "Missing argument 'NEW'"),
        ("diff missing.yaml empty.yaml", "missing.yaml:1: cannot be read"),
        ("explode", "No such command 'explode'"),
        ("check --strict", "No such option"),
    ],
)
def test_wrong_use_is_told_on_standard_error_alone(tmp_path: Path, command: str, says: str) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "card.yaml").write_text(json.dumps({"4111111111111111": 1}))
    done = run("policy", *command.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert "Traceback" not in done.err

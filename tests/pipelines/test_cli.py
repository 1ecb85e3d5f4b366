"""What holds for every command: help, streams, what it loads, and errors that give nothing away."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from consentry.schemas.store_uri import told_store
from oracles.shop_commands import Shop, process, run

EVERY = ["--help"]
PROJECT = ["--config", "--json", *EVERY]
OPTIONS = {
    "init": ["DIR", "--tenant", "--json", *EVERY],
    "keys create": ["--kek", *PROJECT],
    "keys status": PROJECT,
    "keys rotate": ["SET", "token", "vault", "proof", *PROJECT],
    "keys rewrap": ["SET", "token", "vault", "proof", "--to", *PROJECT],
    "keys public": ["--out", *PROJECT],
    "policy check": ["POLICY", *PROJECT],
    "policy explain": ["POLICY", "--for", "customer", "staff", "engineer", *PROJECT],
    "policy schema": ["--json", *EVERY],
    "policy diff": ["OLD", "NEW", "--json", *EVERY],
    "consent import": ["FILE", *PROJECT],
    "consent record": [
        "--subject", "--purpose", "--decision", "granted", "withdrawn", "--source", "--evidence", "--at", *PROJECT,
    ],
    "consent show": ["--subject", "--at", *PROJECT],
    "consent verify": PROJECT,
    "vault migrate": ["--roles", "--create", *PROJECT],
    "vault copy": ["FROM", "TO", "--store", "vault", "data_keys", "ledger", "access_log", *PROJECT],
    "vault status": PROJECT,
    "protect": ["INPUT", "--dataset", "--out", "--at", "--replace", "--runner", *PROJECT],
    "verify": ["DIR", "--trust", "--scan", "--sample", "--canaries", *PROJECT],
    "detokenize": [
        "DOMAIN", "TOKEN", "--purpose", "--role", "--actor", "--text", "--null", "--subject", "--key-version",
        "--from", "--column", "--out", "--domain", "--subject-column", *PROJECT,
    ],
    "vault sweep": PROJECT,
    "vault rewrap": PROJECT,
    "log verify": ["--checkpoints", "--trust", *PROJECT],
    "log checkpoint": ["--store", "ledger", "access_log", "--renew-note", *PROJECT],
}  # fmt: skip
GROUPS = ["keys", "policy", "consent", "vault", "log"]


@pytest.mark.parametrize("command", OPTIONS)
def test_help_reads_like_documentation(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = run(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    said = " ".join(done.out.split())
    assert f"Usage: consentry {command} [OPTIONS]" in said or f"{command} [OPTIONS]" in said
    for name in OPTIONS[command]:
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", done.out), name
    listed = set(re.findall(r"(?<![\w-])--[a-z-]+", done.out.partition("Options")[2]))
    assert listed - {"--name"} <= {*OPTIONS[command], "--at"}, "what help shows is all there is"
    assert all(len(line.rstrip()) <= 80 for line in done.out.splitlines())
    assert run(*command.split(), "-h").out == done.out


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_a_group_lists_its_commands(group: str) -> None:
    done = run(*group.split(), "--help")
    assert (done.code, done.err) == (0, "")
    for command in OPTIONS:
        first, _, second = command.partition(" ")
        if (first == group and second) or not group:
            assert re.search(rf"│ {second if group else first} ", done.out), command
    assert run(*group.split()).code == 2, "nothing was asked"


def test_the_program_runs_and_knows_its_commands() -> None:
    done = process("--help")
    assert (done.code, done.err) == (0, "")
    unknown = process("detokenise")
    assert (unknown.code, unknown.out) == (2, "")
    assert "'detokenize'" in unknown.err and "Did you mean" in unknown.err


LIGHT = """
import sys
from oracles.shop_commands import Shop, run
from pathlib import Path
shop = Shop(Path(sys.argv[1]))
before, new = shop.folder / "policy.yaml", shop.place / "new.yaml"
said = ["--subject", "c-5", "--purpose", "support", "--decision", "granted", "--source", "form"]
asked = ["--purpose", "fraud_review", "--role", "fraud_analyst", "--actor", "finn"]
commands = [
    ["init", str(shop.place / "other")],
    ["keys", "status"], ["keys", "public"], ["keys", "rotate", "vault"],
    ["policy", "check"], ["policy", "explain", "--for", "customer"], ["policy", "schema"],
    ["policy", "diff", str(before), str(before)],
    ["consent", "import", str(shop.place / "consents.jsonl")], ["consent", "record", *said],
    ["consent", "show", "--subject", "c-0"], ["consent", "verify"],
    ["vault", "status"], ["vault", "migrate"],
    ["verify", str(shop.out)],
    ["detokenize", "card", sys.argv[2], *asked],
    ["protect", "--help"],
]
for command in commands:
    config = [] if command[0] == "init" else ["--config", str(shop.config)]
    done = run(*command, *config)
    assert done.code == 0, (command, done.err)
    loaded = [name for name in sys.modules if name.startswith("apache_beam")]
    assert not loaded, command
print(len(commands), "commands")
"""


def test_no_command_but_protect_loads_beam(shop: Shop) -> None:
    program = (sys.executable, "-c", LIGHT, shop.place, shop.card_token(0))
    done = process(program=program, PYTHONPATH=str(Path(__file__).parent.parent))
    assert (done.code, done.out, done.err) == (0, "17 commands\n", "")


def test_config_stands_before_or_after_the_name_of_a_sub_command(shop: Shop) -> None:
    for words in (["keys", "--config", shop.config, "status"], ["keys", "status", "-c", shop.config]):
        assert run(*words, "--json").json()[0]["set"] == "token"
    both = run("keys", "--config", "missing.yaml", "status", "--config", shop.config)
    assert both.code == 0, "the nearer one counts"
    assert run("keys", "status", "--json", cwd=shop.folder).code == 0, "the folder's own is the default"


CONFIGS = {
    "keyring: keyring.json\n": ("", "keyring: is missing; add 'keyring'"),
    "tenant: shop": ("tenant: sh op", "tenant: is no plain name"),
    "kek: file:kek.key": ("kek: 4111111111111111:x", "unknown kind of key-encryption key; write file:PATH"),
    "vault: sqlite:vault.db": ("vault: mysql://u:4111111111111111@h/x", "vault: unknown kind of store"),
    "ledger: sqlite:ledger.db": ("ledger: sqlite:vault.db", "is the same file as 'vault'"),
    "trust: proof.pub": ("trust: proof.pub\ncolour: 4111111111111111", "colour: unknown key"),
}


@pytest.mark.parametrize("right", CONFIGS)
@pytest.mark.parametrize("command", ["keys status", "consent verify", "protect x --dataset orders --out new"])
def test_a_configuration_that_is_wrong_is_told_by_its_line(shop: Shop, right: str, command: str) -> None:
    wrong, says = CONFIGS[right]
    text = shop.config.read_text()
    assert right in text
    shop.config.write_text(text.replace(right, wrong))
    done = shop.run(*command.split(), "--json")
    assert (done.code, done.out) == (2, "")
    assert re.match(rf"{re.escape(str(shop.config))}:\d+: ", done.err), done.err
    assert says in done.err
    assert "4111" not in done.err and "Traceback" not in done.err


SAID = "--subject c-0 --purpose support --source form --decision withdrawn"
ASKED = "--purpose fraud_review --role fraud_analyst --actor finn"
STORES = {"data_keys": "data_keys.db", "ledger": "ledger.db", "vault": "vault.db", "access_log": "access.db"}
USERS = {
    "protect orders.jsonl --dataset orders --out deep/new": ["data_keys", "ledger", "vault"],
    "consent import consents.jsonl": ["data_keys", "ledger", "vault"],
    f"consent record {SAID}": ["data_keys", "ledger", "vault"],
    "consent show --subject c-0": ["data_keys", "ledger", "vault"],
    "consent verify": ["data_keys", "ledger", "vault"],
    f"detokenize card 4111111111121111 {ASKED}": ["data_keys", "ledger", "vault", "access_log"],
}


@pytest.mark.parametrize(("command", "store"), [(command, store) for command in USERS for store in USERS[command]])
def test_a_store_that_is_missing_is_a_wrong_configuration_and_nothing_is_done(
    shop: Shop, command: str, store: str
) -> None:
    path = shop.folder / STORES[store]
    path.unlink()
    before = shop.visible(), shop.stored()
    done = run(*command.split(), "--config", "shop/consentry.yaml", "--json", cwd=shop.place)
    assert (done.code, done.out) == (2, "")
    says = f"{path}: the {told_store(store)} is missing; restore it, or begin a project with `consentry init`"
    assert says in done.err
    assert (shop.visible(), shop.stored()) == before


def test_all_stores_that_are_missing_are_told_at_once(shop: Shop) -> None:
    for name in STORES.values():
        (shop.folder / name).unlink()
    done = shop.detokenize("card", "4111111111121111")
    assert done.code == 2
    for store, name in STORES.items():
        assert f"{shop.folder / name}: the {told_store(store)} is missing; restore it" in done.err


def test_json_is_utf_8_and_tables_do_not_fail_whatever_the_terminal_knows(shop: Shop) -> None:
    said = ("--subject", "c-0", "--purpose", "support", "--source", "Bücher → café")
    assert shop.run("consent", "record", *said, "--decision", "withdrawn").code == 0
    show = ("consent", "show", "--subject", "c-0")
    done = shop.process(*show, "--json", PYTHONIOENCODING="ascii")
    assert (done.code, done.json()["events"][1]["source"]) == (0, "Bücher → café")
    table = shop.process(*show, PYTHONIOENCODING="ascii")
    assert (table.code, table.err) == (0, "")
    assert "B\\xfccher" in table.out


def test_nothing_is_coloured_in_a_pipe(shop: Shop) -> None:
    done = shop.process("consent", "show", "--subject", "c-0", TERM="xterm-256color", COLORTERM="truecolor")
    assert "\x1b" not in done.out + done.err
    assert "NO_COLOR" not in os.environ

"""``consentry protect``: the whole run from the command line, all of its options, and how it fails."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from oracles.shop_commands import AT, BROKEN, CARDS, PROGRAM, RAW, MadeShop, Shop, order, process, run, write_lines


def books(in_: int, out: int, dropped: int = 0, dead_lettered: int = 0) -> dict[str, int]:
    return {"in": in_, "out": out, "dropped": dropped, "dead_lettered": dead_lettered}


def assert_no_value(done: Any) -> None:
    assert "Traceback" not in done.err
    for raw in RAW:
        assert raw not in done.out + done.err, raw


def test_it_answers_a_program_with_the_manifest_and_says_nothing_else(made_shop: MadeShop) -> None:
    done = made_shop.protected
    assert (done.code, done.err) == (0, ""), "no bar, no noise of Beam"
    assert done.json() == json.loads((made_shop.shop.out / "manifest.json").read_text())
    assert done.json()["books"] == books(25, 24, dead_lettered=1)
    assert done.json()["now"] == AT
    assert made_shop.shop.visible() == ["consents.jsonl", "orders.jsonl", "out", "shop"], "nothing hidden is left"
    assert_no_value(done)


def test_people_get_the_books_and_the_next_step(shop: Shop) -> None:
    done = shop.process("protect", shop.orders, "--dataset", "orders", "--out", shop.place / "new")
    assert done.code == 0
    assert done.err == f"Check it any time: consentry verify {shop.place / 'new'}\n"
    rows = [line.split() for line in done.out.splitlines()]
    for row in (["in", "25"], ["out", "24"], ["dropped", "0"], ["dead-lettered", "1"], ["invalid_json", "1"]):
        assert row in rows
    assert_no_value(done)


def test_what_the_input_lacks_and_what_the_policy_does_not_name_is_told(shop: Shop) -> None:
    write_lines(shop.orders, [order(1, items=None, browser="x")])
    done = shop.protect("--replace")
    assert done.code == 0
    told = done.err.splitlines()
    assert told[0].startswith("The input has not: items[].gift_note, ")
    assert told[1] == "Left out, because the policy does not name it: browser"


def test_an_input_without_records_gives_an_empty_output_and_says_so(shop: Shop) -> None:
    for name, data in (("none.jsonl", b""), ("header.csv", b"order_id,placed_at\n")):
        (shop.place / name).write_bytes(data)
        done = shop.run("protect", shop.place / name, "--dataset", "orders", "--out", shop.place / f"{name}-out")
        assert done.code == 0 and "The input holds no record, so the output is empty." in done.said
        assert shop.run("verify", shop.place / f"{name}-out").code == 0


def test_options_stand_anywhere_after_the_command(shop: Shop) -> None:
    more = write_lines(shop.place / "more.jsonl", [order(1)])
    words: list[str | Path] = [
        "protect",
        "--config",
        shop.config,
        shop.orders,
        "--json",
        "--out",
        shop.place / "new",
        more,
    ]
    done = run(*words, "--dataset", "orders", "--at", "2026-06-01T02:00:00+02:00")
    assert done.code == 0, done.err
    assert (done.json()["now"], done.json()["books"]) == (AT, books(26, 25, dead_lettered=1))


def test_folders_and_globs_are_inputs_too(shop: Shop) -> None:
    folder = shop.place / "many"
    folder.mkdir()
    for part in range(3):
        write_lines(folder / f"part {part}.jsonl", [order(part)])
    for number, inputs in enumerate((folder, f"{folder}/part*.jsonl", folder.as_uri())):
        done = run(
            "protect", inputs, "--dataset=orders", f"--out={shop.place}/{number}", "--json", "--config", shop.config
        )
        assert done.json()["books"] == books(3, 3), done.err


def test_an_earlier_output_is_exchanged_only_when_asked(shop: Shop) -> None:
    before = (shop.out / "manifest.json").read_bytes()
    refused = shop.protect("--json")
    assert (refused.code, refused.out) == (2, "")
    assert "is not empty; name another --out, or add --replace" in refused.err
    assert (shop.out / "manifest.json").read_bytes() == before
    replaced = shop.protect("--json", "--replace")
    assert replaced.code == 0
    assert (shop.out / "manifest.json").read_bytes() != before
    assert json.loads((shop.out / "manifest.json").read_text()) == replaced.json()


def test_options_of_a_runner_follow_its_name(shop: Shop) -> None:
    runner = "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"
    done = shop.protect("--runner", runner, "--direct_num_workers=1", "--json", "--replace")
    assert (done.code, done.json()["books"]) == (0, books(25, 24, dead_lettered=1))
    done = shop.protect("--direct_num_workers=1", "--runner=FnApiRunner", "--json", "--replace")
    assert (done.code, done.json()["books"]) == (0, books(25, 24, dead_lettered=1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--dataset": "order"}, "the policy has no dataset 'order'; it has: orders"),
        ({"--dataset": None}, "Missing option '--dataset'"),
        ({"--out": None}, "Missing option '--out'"),
        ({"--out": " "}, "--out: is blank; name a folder"),
        ({"--out": "orders.jsonl"}, "is no folder; name another --out"),
        ({"--out": "shop", "--replace": ""}, "holds no manifest.json of a run, so it is not replaced"),
        ({"--out": "/proc/out"}, "cannot be written"),
        ({"--at": "2026-06-01T00:00:00"}, "--at: not an instant; write RFC 3339 with an offset"),
        ({"--at": "2026-06-01"}, "--at: not an instant"),
        ({"--at": "now"}, "--at: not an instant"),
        ({"INPUT": "missing.jsonl"}, "missing.jsonl: no such file"),
        ({"INPUT": "missing/*.csv"}, "missing/*.csv: nothing matches"),
        ({"INPUT": "shop/policy.yaml"}, "unknown extension; Consentry reads .parquet"),
        ({"INPUT": " "}, "INPUT is missing or blank: name files, folders or globs"),
        ({"INPUT": "\udcff.jsonl"}, "is not UTF-8 text"),
        ({"INPUT": "empty.csv"}, "empty.csv: is empty, and the first line of such a file must name its columns"),
        (
            {"INPUT": "others.csv"},
            "orders: no column of the input would be left; the input has: a, (hidden);",
        ),
        ({"INPUT": "others.csv"}, "the dataset declares: order_id, placed_at, customer.id"),
        ({"INPUT": "others.csv"}, "(the policy has: orders), or declare their fields; nothing was done"),
        ({"INPUT": "dropped.jsonl"}, "no column of the input would be left; the input has: payment;"),
        ({"INPUT": None}, "Missing argument 'INPUT…'"),
        ({"INPUT": None, "--lenient": "="}, "--lenient: no such option"),
        ({"--lenient": "="}, "--lenient: no such option"),
        ({"--direct_num_workers": "=2"}, "--direct_num_workers: no such option"),
        ({"-x": ""}, "-x: no such option"),
        ({"--runner": "FnApiRunner", "-x": ""}, "-x: no such option"),
        ({"--runner": "FnApiRunner", "--lenient": "=1"}, "--lenient: no such option, of this command or of its runner"),
        ({"--runner": "FnApiRunner", "--direct_num_workers": "=two"}, "argument --direct_num_workers: invalid int"),
        ({"--runner": "NoSuchRunner"}, "--runner NoSuchRunner: Beam does not take it"),
        ({"--config": "missing.yaml"}, "missing.yaml: there is no configuration here"),
        ({"--config": "orders.jsonl"}, "orders.jsonl:2: is not valid YAML"),
    ],
)
def test_wrong_use_is_told_before_anything_is_done(shop: Shop, changes: dict[str, str | None], says: str) -> None:
    (shop.place / "empty.csv").write_bytes(b"\n\n")
    (shop.place / "others.csv").write_text("a,kim@example.com\n1,2\n")
    write_lines(shop.place / "dropped.jsonl", [{"payment": {"card": {"cvv": "675"}}}])
    before = shop.visible(), shop.stored()
    said = {
        "INPUT": "orders.jsonl",
        "--dataset": "orders",
        "--out": "new",
        "--config": "shop/consentry.yaml",
        **changes,
    }
    words = ["protect", "--json"]
    for name, value in said.items():
        match name, value:
            case _, None:
                pass
            case "INPUT", str():
                words.append(value)
            case _, "" | "=":
                words.append(name)
            case _ if value.startswith("="):
                words.append(name + value)
            case _:
                words += [name, value]
    done = run(*words, cwd=shop.place)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert_no_value(done)
    assert (shop.visible(), shop.stored()) == before


@pytest.mark.parametrize("name", ["vault.db", "ledger.db", "data_keys.db"])
def test_a_store_that_cannot_be_used_fails_the_run_and_shows_nothing(shop: Shop, name: str) -> None:
    (shop.folder / name).write_bytes(b"x" * 5000)
    before = shop.visible()
    done = shop.protect("--json", out=shop.place / "new")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"consentry: {shop.folder / name}: ")
    assert_no_value(done)
    assert shop.visible() == before


FAILING = """
from consentry.pipelines.beam_output import set_up_logging
set_up_logging()
import consentry.transforms.protection as protection
from consentry.pipelines.cli import main
def failing(batch, *_, **__):
    raise ValueError(f"cannot take {batch.to_pylist()}")
protection.protect_batch = failing
main()
"""


def test_a_failure_of_a_worker_names_no_value_and_leaves_the_old_output(shop: Shop) -> None:
    before = shop.visible(), (shop.out / "manifest.json").read_bytes()
    program = (sys.executable, "-c", FAILING)
    arguments = ("protect", shop.orders, "--dataset=orders", "--out", shop.out, "--replace", "--json")
    done = process(*arguments, "--config", shop.config, program=program)
    assert (done.code, done.out) == (3, "")
    assert re.fullmatch("consentry: protect: failed with ValueError; no output became visible, .*\n", done.err)
    assert_no_value(done)
    assert (shop.visible(), (shop.out / "manifest.json").read_bytes()) == before


def test_an_error_of_our_own_says_where_and_not_what(shop: Shop) -> None:
    failing = FAILING.replace(
        "protection.protect_batch = failing",
        "import consentry.pipelines.batch as batch\n"
        "def failing(*_, **__):\n    raise ValueError('cannot take 4111111111111111')\nbatch.plan_sources = failing",
    )
    arguments = ("protect", shop.orders, "--dataset=orders", "--out", shop.place / "new", "--config", shop.config)
    done = process(*arguments, program=(sys.executable, "-c", failing))
    assert (done.code, done.out) == (3, "")
    assert "consentry: internal error (ValueError in consentry.pipelines.batch:" in done.err
    assert_no_value(done)


INTERRUPTED = "consentry: interrupted; what was not complete did not become visible\n"
TERMINATED = "consentry: ended by SIGTERM; what was not complete did not become visible; run it again\n"


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGINT, 130, INTERRUPTED), (signal.SIGTERM, 3, TERMINATED)]
)
def test_an_interrupted_run_says_so_and_leaves_nothing(
    shop: Shop, number: signal.Signals, code: int, says: str
) -> None:
    write_lines(shop.orders, [*(order(number) for number in range(60_000)), BROKEN])
    before = shop.visible()
    command = [
        PROGRAM,
        "protect",
        shop.orders,
        "--dataset=orders",
        "--out",
        shop.place / "new",
        "--config",
        shop.config,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        until = time.monotonic() + 60
        while shop.visible() == before and program.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)  # into the run
        program.send_signal(number)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (code, "")
    assert err == says
    assert shop.visible() == before
    assert shop.run("consent", "verify").code == 0


def on_a_terminal(command: list[Any]) -> tuple[int, str, str]:
    """Runs a command whose standard error is a terminal; returns code, standard output and what the terminal got."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as program:
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not read:
                break
            shown += read
        assert program.stdout is not None
        out = program.stdout.read().decode()
    os.close(ours)
    return program.returncode, out, shown.decode()


def test_a_terminal_gets_a_bar_that_counts_records_and_json_gets_none(shop: Shop) -> None:
    command = [
        PROGRAM,
        "protect",
        shop.orders,
        "--dataset=orders",
        "--out",
        shop.out,
        "--replace",
        "--config",
        shop.config,
    ]
    code, out, shown = on_a_terminal(command)
    assert code == 0
    assert "Protecting orders" in shown and "25 records" in shown
    assert "\x1b" not in out, "standard output is a pipe"
    imported = [PROGRAM, "consent", "import", shop.place / "consents.jsonl", "--config", shop.config]
    assert "Importing consent" in on_a_terminal(imported)[2]
    code, out, shown = on_a_terminal([*imported, "--json"])
    assert (code, json.loads(out), shown) == (0, {"added": 0, "known": 3}, "")


def test_the_vault_follows_what_customers_say_between_two_runs(shop: Shop) -> None:
    token = shop.email_token(0)
    asked = {"purpose": "support", "role": "support_agent", "actor": "ana"}
    assert shop.detokenize("email", token, **asked).code == 0
    said = ("--subject", "c-0", "--purpose", "support", "--source", "call", "--decision", "withdrawn")
    assert shop.run("consent", "record", *said).code == 0
    again = shop.protect("--replace", "--json")
    assert again.json()["vault"]["written"] == 0
    assert shop.detokenize("email", shop.email_token(0), **asked).code == 1
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["value"] == CARDS[0]

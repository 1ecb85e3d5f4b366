"""``consentry vault sweep`` and ``rewrap``: what is over goes, and an old version of the keys is free."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from consentry.pipelines.desk import open_stores
from consentry.schemas.project import read_project
from consentry.transforms.crypto.key_sets import wrapping_version
from oracles.shop_commands import CARDS, Shop


def rows(shop: Shop, store: str, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(shop.folder / f"{store}.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def at_rest(shop: Shop, store: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(shop.folder.glob(f"{store}.db*")))


def retained(shop: Shop, time: str) -> None:
    policy = shop.folder / "policy.yaml"
    text = policy.read_text()
    assert text.count("    format: pan\n") == 1
    policy.write_text(text.replace("    format: pan\n", f"    format: pan\n    retain: {time}\n"))


def test_a_sweep_removes_what_is_over_and_leaves_nothing_of_it_in_the_files(shop: Shop) -> None:
    retained(shop, "30d")
    sealed = rows(shop, "vault", "SELECT token, sealed FROM entries WHERE domain = 'card'")
    assert len(sealed) == 6
    assert all(part in at_rest(shop, "vault") for part in sealed[0:1][0][1:])
    done = shop.run("vault", "sweep", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json() == {"values": 6, "day_keys": 0, "clean": True}
    stored = at_rest(shop, "vault")
    for token, envelope in sealed:
        assert envelope not in stored and token.encode() not in stored
    assert len(rows(shop, "vault", "SELECT * FROM entries")) > 0, "addresses have no time"
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["rule"] == "no_entry"
    assert shop.run("vault", "sweep", "--json").json()["values"] == 0


def test_a_sweep_destroys_keys_of_dead_letters_whose_time_is_over(shop: Shop) -> None:
    assert len(rows(shop, "data_keys", "SELECT * FROM day_keys")) == 1
    assert shop.run("vault", "sweep", "--json").json()["day_keys"] == 0
    project = read_project(shop.config)
    with open_stores(project) as stores:
        stores.data_keys.day_key("long ago", expires_at=1)
    assert shop.run("vault", "sweep", "--json").json()["day_keys"] == 1
    assert [day for (day,) in rows(shop, "data_keys", "SELECT day FROM day_keys")] != ["long ago"]


def test_a_sweep_that_a_reader_holds_up_says_so(shop: Shop, monkeypatch: Any) -> None:
    monkeypatch.setattr("consentry.transforms.stores.sqlite_database.PATIENCE_SECONDS", 0.1)
    retained(shop, "30d")
    reader = sqlite3.connect(shop.folder / "vault.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM entries").fetchone()[0] > 6
    done = shop.run("vault", "sweep")
    assert done.code == 1
    assert "6 values removed" in done.err and "Another program reads an older state" in done.err
    reader.execute("ROLLBACK")
    reader.close()
    assert shop.run("vault", "sweep", "--json").json() == {"values": 0, "day_keys": 0, "clean": True}


def test_after_rewrapping_all_values_open_and_no_key_is_under_the_version_before(shop: Shop) -> None:
    tokens = [shop.card_token(subject) for subject in range(6)]
    assert shop.run("keys", "rotate", "vault").code == 0
    done = shop.run("vault", "rewrap", "--json")
    assert (done.code, done.err) == (0, "")
    keys = len(rows(shop, "data_keys", "SELECT subject FROM subject_keys UNION ALL SELECT day FROM day_keys"))
    assert done.json() == {"version": 2, "keys": keys, "rewrapped": keys, "unopened": {}, "clean": True}
    wrapped = rows(shop, "data_keys", "SELECT wrapped FROM subject_keys UNION ALL SELECT wrapped FROM day_keys")
    assert {wrapping_version(each) for (each,) in wrapped} == {2}
    assert [answer["value"] for answer in shop.detokenize("card", *tokens).json()] == list(CARDS)
    listed = shop.run("dead-letters", "list", shop.out, "--json").json()
    (letter,) = listed["letters"]
    assert shop.run("dead-letters", "show", shop.out, letter["id"]).code == 0
    assert shop.run("vault", "rewrap", "--json").json()["rewrapped"] == 0


def test_a_rewrap_that_is_killed_goes_on_where_it_was(shop: Shop) -> None:
    project = read_project(shop.config)
    refs = [number.to_bytes(16, "big") for number in range(1, 60_001)]
    with open_stores(project) as stores:
        before = dict(stores.data_keys.keys_for(refs, create=True))
    assert shop.run("keys", "rotate", "vault").code == 0
    command = [sys.executable, "-c", "from consentry.pipelines.cli import main; main()", "vault", "rewrap"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen([*command, "--config", shop.config], env=environment, stderr=subprocess.DEVNULL)
    anew = "SELECT count(*) FROM subject_keys WHERE substr(wrapped, 1, 2) = x'0002'"
    while rows(shop, "data_keys", anew)[0][0] < 20_000:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = rows(shop, "data_keys", anew)[0][0]
    rest = shop.run("vault", "rewrap", "--json").json()
    assert rest["rewrapped"] + done == rest["keys"]
    with open_stores(project) as stores:
        assert stores.data_keys.keys_for(refs, create=False) == before


def test_the_commands_never_load_beam(shop: Shop) -> None:
    for words in (["vault", "sweep"], ["vault", "rewrap"], ["log", "verify"], ["log", "checkpoint"]):
        program = (
            "import sys\nfrom consentry.pipelines.cli import main\ntry:\n    main()\n"
            "finally:\n    sys.stderr.write(str('apache_beam' in sys.modules))"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            [sys.executable, "-c", program, *words, "--config", str(Path(shop.config))],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.stderr.endswith("False"), (words, done.stderr)


def test_json_is_one_document(shop: Shop) -> None:
    for words in (("vault", "sweep"), ("vault", "rewrap"), ("log", "verify"), ("log", "checkpoint")):
        json.loads(shop.run(*words, "--json").out)

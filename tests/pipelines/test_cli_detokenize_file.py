"""``consentry detokenize --from``: a column of a file at once, by the rules and with the log of single tokens."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from oracles.shop_commands import CARDS, PROGRAM, Done, Shop

SUPPORT = {"purpose": "support", "role": "support_agent", "actor": "ana"}
FRAUD = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
COLUMN = "payment.card.number"


def asked(shop: Shop, source: Path, out: Path, *more: str | Path, **who: str) -> Done:
    flags = [text for name, value in {**FRAUD, **who}.items() for text in (f"--{name}", value)]
    return shop.run("detokenize", "--from", source, "--out", out, *flags, *more)


def protected(shop: Shop) -> Path:
    (path,) = (shop.out / "data").glob("*.parquet")
    return path


def logged(shop: Shop) -> list[tuple[Any, ...]]:
    with sqlite3.connect(shop.folder / "access.db") as database:
        columns = "actor, role, purpose, domain, token_ref, subject_ref, decision, rule, shown"
        return database.execute(f"SELECT {columns} FROM entries ORDER BY position").fetchall()


def csv_of(shop: Shop, path: Path, tokens: list[str], **more: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["n", "card", *more])
        writer.writerows(zip(map(str, range(len(tokens))), tokens, *more.values(), strict=True))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_column_of_an_output_comes_back_with_all_else_as_it_was(shop: Shop) -> None:
    before, out = pq.read_table(protected(shop)), shop.place / "cards.parquet"
    done = asked(shop, protected(shop), out, "--column", COLUMN, "--json")
    assert (done.code, done.err) == (0, "")
    assert {**done.json(), "rules": None} == {
        "domain": "card", "rows": 24, "redacted": 0, "tokens": 24, "allowed": 24, "refused": 0, "written": True,
        "rules": None,
    }  # fmt: skip
    after = pq.read_table(out)
    numbers = [row["card"]["number"] for row in after["payment"].to_pylist()]
    assert sorted(numbers) == sorted(CARDS * 4)
    assert after.schema.names == [*before.schema.names, f"{COLUMN}_rule"]
    assert set(after[f"{COLUMN}_rule"].to_pylist()) == {"permitted"}
    assert after.drop_columns(["payment", f"{COLUMN}_rule"]).equals(before.drop_columns(["payment"]))
    assert out.stat().st_mode & 0o777 == 0o600
    field = after.schema.field("payment").type.field("card").type.field("number")
    assert not field.metadata, "the column holds tokens no more"
    assert after.schema.field("customer").equals(before.schema.field("customer"), check_metadata=True)


def test_it_answers_and_logs_as_for_single_tokens(shop: Shop) -> None:
    tokens = [*(shop.card_token(subject) for subject in range(6)), "nonsense", CARDS[1], shop.card_token(0)]
    source = csv_of(shop, shop.place / "t.csv", tokens)
    start = len(logged(shop))
    for number, who in enumerate((SUPPORT, FRAUD)):
        answers = shop.detokenize("card", *tokens, **who).json()
        singly = logged(shop)[start:]
        out = shop.place / f"v{number}.csv"
        done = asked(shop, source, out, "--column", "card", "--domain", "card", "--json", **who)
        assert done.code == 1
        rows = rows_of(out)
        assert [row["card"] for row in rows] == [answer["value"] or "" for answer in answers]
        assert [row["card_rule"] for row in rows] == [answer["rule"] for answer in answers]
        assert [row["n"] for row in rows] == [str(each) for each in range(len(tokens))]
        assert logged(shop)[start + len(singly) :] == singly
        start = len(logged(shop))
        said = {rule["rule"]: (rule["count"], rule["says"]) for rule in done.json()["rules"]}
        for answer in answers:
            count = sum(each["rule"] == answer["rule"] for each in answers)
            assert said[answer["rule"]] == (count, answer["says"])


def test_each_row_is_judged_by_its_own_customer(shop: Shop) -> None:
    tokens = [shop.card_token(0), shop.card_token(0), shop.card_token(4), shop.card_token(1), shop.card_token(1), ""]
    subjects = ["c-0", "c-1", "c-4", " c-1 ", "", "c-0"]
    source = csv_of(shop, shop.place / "t.csv", tokens, who=subjects)
    out = shop.place / "v.csv"
    options = ("--column", "card", "--domain", "card", "--subject-column", "who")
    assert asked(shop, source, out, *options, **SUPPORT).code == 1
    found = [(row["card"], row["card_rule"]) for row in rows_of(out)]
    single = [
        shop.detokenize("card", token, **SUPPORT, subject=subject).json()[0]
        for token, subject in zip(tokens[:-1], subjects, strict=False)
    ]
    assert found[:-1] == [(answer["value"] or "", answer["rule"]) for answer in single]
    assert found[-1] == ("", ""), "a row without a token is not asked"
    assert [rule for _, rule in found[:-1]] == [
        "permitted", "no_entry", "subject_does_not_permit", "permitted", "subject_does_not_permit",
    ]  # fmt: skip


def test_parquet_may_name_customers_by_numbers_and_hold_dictionaries(shop: Shop) -> None:
    tokens = pa.array([shop.card_token(0), None, shop.card_token(0)]).dictionary_encode()
    table = pa.table({"card": tokens, "who": pa.array([17, 17, None])})
    pq.write_table(table, shop.place / "t.parquet")
    options = ("--column", "card", "--domain", "card", "--subject-column", "who")
    assert asked(shop, shop.place / "t.parquet", shop.place / "v.parquet", *options, **SUPPORT).code == 1
    after = pq.read_table(shop.place / "v.parquet")
    assert after["card"].to_pylist() == [None] * 3
    assert after["card_rule"].to_pylist() == ["subject_does_not_permit", None, "subject_does_not_permit"]


def test_json_lines_come_back_with_their_records_as_they_were(shop: Shop) -> None:
    records = [
        {"n": 1, "card": {"number": shop.card_token(3)}, "x": [1.5, None, "ü"]}, {"n": 2}, {"n": 3, "card": None},
        {"n": 4, "card": {"number": "nonsense"}},
    ]  # fmt: skip
    source = shop.place / "t.jsonl"
    source.write_text("\n\n".join(json.dumps(record) for record in records))
    out = shop.place / "v.jsonl"
    assert asked(shop, source, out, "--column", "card.number", "--domain", "card").code == 1
    rules = ["permitted", None, None, "not_a_token"]
    records[0]["card"]["number"], records[3]["card"]["number"] = CARDS[3], None  # type: ignore[index]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {**record, "card.number_rule": rule} for record, rule in zip(records, rules, strict=True)
    ]


def test_what_was_redacted_is_no_token_and_stays_uncounted_among_refusals_and_unlogged(shop: Shop) -> None:
    source = csv_of(shop, shop.place / "t.csv", ["[redacted]", shop.card_token(3), "", "[redacted]"])
    before, out = len(logged(shop)), shop.place / "v.csv"
    done = asked(shop, source, out, "--column", "card", "--domain", "card")
    assert done.code == 0
    assert "1 of 1 tokens in 4 rows have their values" in done.said
    assert "2 cells hold no token: redacted" in done.said
    cells = [(row["card"], row["card_rule"]) for row in rows_of(out)]
    assert cells == [("[redacted]", ""), (CARDS[3], "permitted"), ("", ""), ("[redacted]", "")]
    assert len(logged(shop)) == before + 1
    again = asked(shop, source, shop.place / "w.csv", "--column", "card", "--domain", "card", "--json").json()
    assert (again["rows"], again["redacted"], again["tokens"], again["refused"]) == (4, 2, 1, 0)


def test_a_file_of_many_portions_comes_back_in_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consentry.pipelines.token_parquet.ROWS", 7)
    tokens = [shop.card_token(number % 6) for number in range(100)]
    pq.write_table(pa.table({"card": tokens, "n": list(range(100))}), shop.place / "t.parquet")
    done = asked(shop, shop.place / "t.parquet", shop.place / "v.parquet", "--column", "card", "--domain", "card")
    assert done.code == 0
    after = pq.read_table(shop.place / "v.parquet")
    assert after["n"].to_pylist() == list(range(100))
    assert after["card"].to_pylist() == [CARDS[number % 6] for number in range(100)]
    assert len(logged(shop)) >= 100


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_file_without_rows_has_none(shop: Shop, suffix: str) -> None:
    source, out = shop.place / f"t.{suffix}", shop.place / f"v.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"card": pa.array([], pa.string())}), source)
    else:
        source.write_text("card\n" if suffix == "csv" else "")
    assert asked(shop, source, out, "--column", "card", "--domain", "card").code == 0
    if suffix == "parquet":
        assert pq.read_table(out).schema.names == ["card", "card_rule"]
    else:
        assert out.read_text() == ("card,card_rule\n" if suffix == "csv" else "")


def test_a_request_that_the_policy_refuses_writes_no_file_and_is_logged(shop: Shop) -> None:
    source = csv_of(shop, shop.place / "t.csv", [shop.card_token(0)] * 3)
    before = len(logged(shop))
    done = asked(shop, source, shop.place / "v.csv", "--column", "card", "--domain", "card", role="support_agent")
    assert done.code == 1
    assert "not written" in done.err and "role_lacks_purpose" in done.err
    assert not (shop.place / "v.csv").exists()
    assert [row[7] for row in logged(shop)[before:]] == ["role_lacks_purpose"] * 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--column", "card", "--domain", "card", "card", "41"], "DOMAIN TOKEN…: not with --from"),
        (["--column", "card", "--domain", "card", "--text"], "--text: not with --from"),
        (["--domain", "card"], "--column: is missing"),
        (["--column", "card"], "--domain: the file does not say what the tokens of card are"),
        (["--column", "cord", "--domain", "card"], "--column cord: there is no such column"),
        (["--column", "card", "--domain", "card", "--subject-column", "x"], "--subject-column x: there is no such"),
        (["--column", "card", "--domain", "card", "--subject-column", "n", "--subject", "c"], "--subject: not with"),
    ],
)
def test_wrong_use_asks_nothing(shop: Shop, arguments: list[str], says: str) -> None:
    source = csv_of(shop, shop.place / "t.csv", [shop.card_token(0)])
    before = len(logged(shop))
    done = asked(shop, source, shop.place / "v.csv", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert len(logged(shop)) == before
    assert not (shop.place / "v.csv").exists()


def test_what_an_output_says_of_its_columns_is_not_contradicted(shop: Shop) -> None:
    source, out = protected(shop), shop.place / "v.parquet"
    for arguments, says in (
        (["--column", COLUMN, "--domain", "email"], "the column payment.card.number holds tokens of 'card'"),
        (["--column", COLUMN, "--key-version", "2"], "are of version 1"),
        (["--column", "items[].gift_note"], "is in a list"),
        (["--column", "order_id"], "holds no tokens; its action was keep"),
        (["--column", COLUMN, "--subject-column", "customer.id"], "was protected; name one with the customers' ids"),
    ):
        done = asked(shop, source, out, *arguments)
        assert (done.code, says in done.said) == (2, True), done.err
    assert not out.exists()


def test_an_existing_file_is_never_overwritten(shop: Shop) -> None:
    source = csv_of(shop, shop.place / "t.csv", [shop.card_token(0)])
    before = len(logged(shop))
    done = asked(shop, source, source, "--column", "card", "--domain", "card")
    assert (done.code, "exists, and is not overwritten" in done.err) == (2, True)
    assert len(logged(shop)) == before


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.csv", b"n,card\n1,2,3\n", "t.csv:2: has 3 fields, not 2"),
        ("t.csv", b"n,card\n1,\xff\xfe\n", "t.csv: is not UTF-8"),
        ("t.csv", b'n,card\n1,"x"y\n', "t.csv:2: is no CSV"),
        ("t.jsonl", b'{"card": "x"}\n{"card"\n', "t.jsonl:2: is no JSON object"),
        ("t.jsonl", b'{"card": 4111111111111111}\n', "t.jsonl:1: --column: holds no text there"),
        ("t.parquet", b"PAR1 and more that is none", "t.parquet: cannot be read"),
        ("t.xlsx", b"x", "of an unknown kind"),
    ],
)
def test_a_faulty_file_leaves_no_output_and_quotes_nothing(shop: Shop, name: str, data: bytes, says: str) -> None:
    (shop.place / name).write_bytes(data)
    done = asked(shop, shop.place / name, shop.place / "v.out", "--column", "card", "--domain", "card")
    assert done.code == 2
    assert says in done.said
    assert "4111111111111111" not in done.err
    assert not (shop.place / "v.out").exists()


def test_without_a_log_nothing_is_written(shop: Shop) -> None:
    source = csv_of(shop, shop.place / "t.csv", [shop.card_token(0)])
    with sqlite3.connect(shop.folder / "access.db") as database:
        database.execute("DROP TABLE entries")
    done = asked(shop, source, shop.place / "v.csv", "--column", "card", "--domain", "card")
    assert done.code == 3
    assert "without a written log nothing is shown" in done.err
    assert not (shop.place / "v.csv").exists()


def test_killed_in_the_middle_nothing_that_holds_values_is_left_and_all_was_logged(shop: Shop) -> None:
    count = 400_000
    tokens = [shop.card_token(number % 6) for number in range(6)] * (count // 6)
    pq.write_table(pa.table({"card": tokens}), shop.place / "t.parquet")
    flags = [text for name, value in FRAUD.items() for text in (f"--{name}", value)]
    command = [
        sys.executable, "-c", "from consentry.pipelines.cli import main; main()", "detokenize", "--from",
        shop.place / "t.parquet", "--out", shop.place / "v.csv.parquet", "--column", "card", "--domain", "card",
        *flags, "--config", shop.config,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = len(logged(shop))
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while len(logged(shop)) < before + 40_000:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = [path for path in shop.place.iterdir() if "v.csv" in path.name]
    assert left == []
    done = shop.run("log", "verify", "--json")
    assert done.json()["ok"], done.out


def test_it_never_loads_beam(shop: Shop) -> None:
    source = csv_of(shop, shop.place / "t.csv", [shop.card_token(0)])
    program = (
        "import sys\nfrom consentry.pipelines.cli import main\ntry:\n    main()\n"
        "finally:\n    sys.stderr.write(str('apache_beam' in sys.modules))"
    )
    flags = [text for name, value in FRAUD.items() for text in (f"--{name}", value)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program, "detokenize", "--from", source, "--column", "card", "--domain", "card",
         "--out", shop.place / "v.csv", *flags, "--config", shop.config],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.stderr.endswith("False"), done.stderr
    assert PROGRAM.exists()

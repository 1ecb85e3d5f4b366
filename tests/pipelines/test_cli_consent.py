"""``consentry consent``: events from files and forms, what they permit, and whether the ledger is what was recorded."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from oracles.shop_commands import MadeShop, Shop, event, write_lines

SUMMER = datetime(2026, 7, 1, 10, tzinfo=UTC)
HEAD = "subject,purpose,decision,effective_at,source,evidence\n"
ROW = "c-7,support,granted,2026-02-01T09:00:00Z,form,\n"


def events_of(shop: Shop, subject: str, *arguments: str) -> list[dict[str, Any]]:
    done = shop.run("consent", "show", "--subject", subject, "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    found: list[dict[str, Any]] = done.json()["events"]
    return found


def permits(shop: Shop, subject: str, purpose: str, *arguments: str) -> bool:
    done = shop.run("consent", "show", "--subject", subject, "--json", *arguments)
    (row,) = [row for row in done.json()["purposes"] if row["purpose"] == purpose]
    return bool(row["permitted"])


def test_an_import_counts_what_is_new_and_again_adds_nothing(made_shop: MadeShop, shop: Shop) -> None:
    assert (made_shop.imported.code, made_shop.imported.err) == (0, "")
    assert made_shop.imported.json() == {"added": 3, "known": 0}
    again = shop.process("consent", "import", shop.place / "consents.jsonl")
    assert (again.code, again.out) == (0, "")
    assert again.err == "0 consent events added, 3 known already\n"


def as_jsonl(path: Path) -> Path:
    line = json.dumps(event("c-7", evidence="a, “b”"), ensure_ascii=False)
    path.with_suffix(".jsonl").write_text(f"\ufeff{line}\n\n{json.dumps(event('8'))}\r\n")
    return path.with_suffix(".jsonl")


def as_csv(path: Path) -> Path:
    rows = 'c-7,support,granted,2026-02-01T09:00:00Z,form,"a, “b”"\r\n8,support,granted,2026-02-01T09:00:00Z,form,\r\n'
    path.with_suffix(".csv").write_text("\ufeff" + HEAD.strip() + "\r\n" + rows)
    return path.with_suffix(".csv")


def as_parquet(path: Path) -> Path:
    texts = pa.Table.from_pylist([event("c-7", evidence="a, “b”"), event("8", evidence=None)])
    pq.write_table(texts, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_events_come_from_json_lines_csv_and_parquet(shop: Shop, write: Any) -> None:
    done = shop.run("consent", "import", write(shop.place / "more"), "--json")
    assert (done.code, done.json()) == (0, {"added": 2, "known": 0})
    (found,) = events_of(shop, "c-7")
    assert found.pop("recorded_at") > "2026"
    assert found == {
        "purpose": "support", "decision": "granted", "effective_at": "2026-02-01T09:00:00Z", "source": "form",
        "evidence": "a, “b”",
    }  # fmt: skip
    assert events_of(shop, "8")[0]["evidence"] is None


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30"])
def test_instants_of_parquet_hold_in_every_zone_and_unit(shop: Shop, unit: str, zone: str) -> None:
    instants = pa.array([SUMMER], pa.timestamp("us", zone)).cast(pa.timestamp(unit, zone))
    if unit == "ns":  # beyond what Python knows: cut off
        instants = pa.array([instants.cast(pa.int64())[0].as_py() + 7], pa.int64()).cast(pa.timestamp(unit, zone))
    columns = {name: [value] for name, value in event("9").items() if name != "effective_at"}
    pq.write_table(pa.table({**columns, "subject": [9], "effective_at": instants}), shop.place / "more.parquet")
    done = shop.run("consent", "import", shop.place / "more.parquet")
    assert done.code == 0, done.err
    assert events_of(shop, "9")[0]["effective_at"] == "2026-07-01T10:00:00Z"


def test_several_files_are_taken_together_or_not_at_all(shop: Shop) -> None:
    good = write_lines(shop.place / "good.jsonl", [event("c-8"), event("c-8")])
    bad = write_lines(shop.place / "bad.jsonl", [event("c-9", "grunted")])
    done = shop.run("consent", "import", good, bad, "--json")
    assert (done.code, done.out) == (2, "")
    assert events_of(shop, "c-8") == []
    assert shop.run("consent", "import", good, shop.place / "consents.jsonl", "--json").json() == {
        "added": 1, "known": 4,
    }  # fmt: skip


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in event("4111111111111111").items() if key != name}


FAULTY: list[tuple[Any, str]] = [
    (event("x", purpose="suport"), "purpose: unknown purpose; did you mean 'support'?"),
    (event("x", purpose="4111111111111111"), "purpose: unknown purpose; the policy knows: analytics"),
    (event("x", "4111111111111111"), "decision: unknown; write granted or withdrawn"),
    (event("x", ["granted"]), "decision: unknown"),
    (event("x", at="2026-02-01"), "effective_at: no instant with an offset"),
    (event("x", at="2026-02-01T09:00:00"), "effective_at: no instant with an offset; write it as 2026-03-01T09"),
    (event("x", at="2026-02-30T09:00:00Z"), "effective_at: no instant"),
    (event("x", effective_at=1_767_225_600), "effective_at: no instant"),
    (event("x", recorded_at="yesterday"), "recorded_at: no instant with an offset"),
    (event(""), "subject: is missing; every event needs subject, purpose, decision, effective_at, source"),
    (event("  "), "subject: is missing"),
    (event("x", source="\t"), "source: is missing"),
    (event(None), "subject: is missing"),
    (event(1.5), "subject: is not text"),
    (event(True), "subject: is not text"),
    (event("x", evidence={"card": "4111111111111111"}), "evidence: is not text; write it in quotes"),
    (event("x", note="4111111111111111"), "event: unknown fields; write only decision"),
    *((without(name), f"{name}: is missing") for name in event("x")),
    ('{"subject": "4111111111111111"', "event: not a JSON object; write one event on each line"),
    ("[]", "event: not a JSON object"),
    ("4111111111111111", "event: not a JSON object"),
    (json.dumps(event("x"))[:-1] + ', "subject": "y"}', "event: names a field twice; write each field once"),
    (json.dumps(event("x"))[:-1] + ', "s\\u006furce": "y"}', "event: names a field twice"),
    (json.dumps(event("x")).replace('"x"', '"\\ud800"'), "event: not a JSON object"),
]


@pytest.mark.parametrize(("fault", "says"), FAULTY)
def test_one_faulty_event_refuses_the_file_and_names_its_line(shop: Shop, fault: Any, says: str) -> None:
    before = (shop.folder / "ledger.db").read_bytes()
    path = write_lines(shop.place / "bad.jsonl", [event("c-8", evidence='a "b"'), fault, event("c-9")])
    done = shop.run("consent", "import", path, "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"{path}:2: {says}"), done.err
    assert done.err.endswith("nothing was recorded; repair the file\n")
    assert "4111" not in done.err
    assert (shop.folder / "ledger.db").read_bytes() == before


def test_every_fault_of_a_file_is_named_up_to_twenty(shop: Shop) -> None:
    path = write_lines(shop.place / "bad.jsonl", [event("x", "maybe")] * 23)
    told = shop.run("consent", "import", path).err.splitlines()
    assert [line.split(": ")[0] for line in told[:20]] == [f"{path}:{line}" for line in range(1, 21)]
    assert told[20:] == ["… and 3 more", "nothing was recorded; repair the file"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD + ROW + ROW.replace("granted", "maybe"), "file.csv:3: decision: unknown"),
        (HEAD + '\nc-7,support,granted,2026-02-01T09:00:00Z,form,"a\nb"\nc-7,support', "file.csv:5: decision: is mis"),
        (HEAD + ROW.replace("form,", "form,,4111111111111111"), "file.csv:2: event: 7 values stand under 6 columns"),
        (HEAD + ROW + '"unclosed', "file.csv:3: event: no readable CSV from here on"),
        (HEAD + ROW + 'a"b,"c"d,', "file.csv:3: event: no readable CSV from here on"),
        ((HEAD + ROW).replace(",", ";"), "file.csv:1: the columns are not those of consent events"),
        (ROW, "file.csv:1: the columns are not those"),
        (HEAD.replace("evidence", "subject") + ROW, "file.csv:1: the columns are not those"),
        (HEAD.replace("evidence", "card") + ROW, "file.csv:1: the columns are not those"),
        (HEAD.replace(",source", "") + ROW, "file.csv:1: the columns are not those"),
    ],
)
def test_a_faulty_csv_is_refused_with_the_line(shop: Shop, text: str, says: str) -> None:
    (shop.place / "file.csv").write_text(text)
    done = shop.run("consent", "import", shop.place / "file.csv")
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert "4111" not in done.err


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"effective_at": pa.array([datetime(2026, 1, 1)] * 2)}, ":1: effective_at: no instant with an offset"),
        ({"subject": [b"a", b"b"]}, ":1: subject: is not text"),
        ({"subject": ["a", None]}, ":2: subject: is missing"),
        ({"card": ["4111111111111111"] * 2}, ":1: the columns are not those of consent events"),
    ],
)
def test_a_faulty_parquet_file_is_refused_with_the_row(shop: Shop, columns: dict[str, Any], says: str) -> None:
    good = {name: [value] * 2 for name, value in event("c-9").items()}
    pq.write_table(pa.table({**good, **columns}), shop.place / "file.parquet")
    done = shop.run("consent", "import", shop.place / "file.parquet")
    assert (done.code, done.out) == (2, "")
    assert f"file.parquet{says}" in done.err
    assert "4111" not in done.err


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("events.txt", b"{}", "unknown kind of file; use .jsonl, .csv or .parquet"),
        ("events.csv", b"\xff\xfe", "is not what its name says (UnicodeDecodeError); nothing was recorded"),
        ("events.parquet", b"4111111111111111", "is not what its name says (ArrowInvalid); nothing was recorded"),
        ("missing.jsonl", None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(shop: Shop, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (shop.place / name).write_bytes(data)
    done = shop.run("consent", "import", shop.place / name)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"consentry: {shop.place / name}: {says}\n"


def test_files_without_events_add_nothing(shop: Shop) -> None:
    for name, text in (("none.jsonl", "\n"), ("none.csv", ""), ("head.csv", HEAD)):
        (shop.place / name).write_text(text)
        assert shop.run("consent", "import", shop.place / name, "--json").json() == {"added": 0, "known": 0}


def test_a_recorded_decision_counts_from_the_instant_that_is_said(shop: Shop) -> None:
    said = ("--subject", "c-0", "--purpose", "support", "--source", "call-4", "--evidence", "tape 9")
    record = ("consent", "record", *said, "--decision", "withdrawn", "--at", "2026-03-01T10:00:00+01:00")
    done = shop.process(*record, "--json")
    assert (done.code, done.json(), done.err) == (0, {"added": 1, "known": 0}, "")
    assert shop.run(*record).err == "This event was known already.\n"
    assert permits(shop, "c-0", "support", "--at", "2026-03-01T08:59:59Z")
    assert not permits(shop, "c-0", "support", "--at", "2026-03-01T09:00:00Z")
    assert not permits(shop, "c-0", "support")
    assert permits(shop, "c-0", "fulfilment") and permits(shop, "c-0", "analytics")
    assert [found["decision"] for found in events_of(shop, "c-0")] == ["granted", "withdrawn"]
    assert events_of(shop, "c-0")[1]["effective_at"] == "2026-03-01T09:00:00Z"


def test_show_is_a_table_for_people(shop: Shop) -> None:
    done = shop.process("consent", "show", "--subject", "c-0", "--at", "2026-03-01T09:00:00Z", COLUMNS="30")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("At 2026-03-01T09:00:00Z\n")
    assert ["support", "consent", "allowed"] in [line.split() for line in done.out.splitlines()]
    assert any("granted" in line and "2026-02-01T09:00:00Z" in line for line in done.out.splitlines()), "not folded"
    assert "support" in shop.run("consent", "show", "--subject", "nobody").out


def test_a_customer_who_said_nothing_permits_what_needs_no_consent(shop: Shop) -> None:
    assert not permits(shop, "nobody", "support")
    assert permits(shop, "nobody", "fulfilment") and permits(shop, "nobody", "analytics")
    assert not permits(shop, "", "fulfilment"), "no subject: no permission"


SAID = {"--subject": "c-1", "--purpose": "support", "--decision": "granted", "--source": "form"}


@pytest.mark.parametrize(
    ("command", "changes", "says"),
    [
        ("record", {"--purpose": "suport"}, "--purpose: unknown purpose; did you mean 'support'?"),
        ("record", {"--purpose": "zzz"}, "the policy knows: analytics, fraud_review, fulfilment, support"),
        ("record", {"--decision": "yes"}, "is not one of 'granted', 'withdrawn'"),
        ("record", {"--subject": " "}, "--subject: is blank; every event names its subject"),
        ("record", {"--source": ""}, "--source: is blank; every event names its source"),
        ("record", {"--at": "2026-03-01T09:00:00"}, "--at: not an instant; write RFC 3339 with an offset"),
        ("record", {"--at": "yesterday"}, "--at: not an instant"),
        ("record", {"--subject": "\udcff"}, "is not UTF-8 text"),
        ("record", {"--evidence": "\udcff"}, "is not UTF-8 text"),
        ("record", {"--subject": None}, "Missing option '--subject'"),
        ("show", {"--at": "2026-03-01"}, "--at: not an instant"),
        ("show", {"--subject": "\udcff"}, "is not UTF-8 text"),
        ("show", {"--subject": None}, "Missing option '--subject'"),
        ("import", {}, "Missing argument 'FILE…'"),
    ],
)
def test_what_is_said_wrongly_is_not_recorded(
    shop: Shop, command: str, changes: dict[str, str | None], says: str
) -> None:
    before = shop.stored()
    said = {**({"record": SAID, "show": {"--subject": "c-1"}}.get(command, {})), **changes}
    options = [text for name, value in said.items() if value is not None for text in (name, value)]
    done = shop.run("consent", command, *options, "--json")
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert shop.stored() == before


def test_a_whole_ledger_is_told_with_its_head(shop: Shop) -> None:
    done = shop.process("consent", "verify", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json().keys() == {"ok", "detail", "entries", "head"}
    assert (done.json()["ok"], done.json()["entries"]) == (True, 3)
    said = shop.run("consent", "verify")
    assert (said.code, said.out) == (0, "")
    assert "The chain of 3 entries is whole" in said.err


def change(path: Path, statement: str) -> None:
    """Changes a store behind the program's back, past the triggers that keep honest people from it."""
    database = sqlite3.connect(path)
    triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        database.execute(f"DROP TRIGGER {name}")
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET entry = substr(entry, 1, 30) || x'00' || substr(entry, 32) WHERE position = 2",
        "UPDATE entries SET chain = zeroblob(32) WHERE position = 3",
        "DELETE FROM entries WHERE position = 1",
        "DELETE FROM entries WHERE position = 3",  # the chain is whole: only the vault knows that it was longer
    ],
)
def test_a_changed_ledger_is_a_no(shop: Shop, statement: str) -> None:
    assert shop.detokenize("card", shop.card_token(0)).code == 0
    change(shop.folder / "ledger.db", statement)
    done = shop.run("consent", "verify", "--json")
    assert (done.code, done.err) == (1, "")
    assert done.json()["ok"] is False and done.json()["detail"]
    said = shop.process("consent", "verify")
    assert (said.code, said.out) == (1, "")
    assert said.err.rstrip() == done.json()["detail"]


def test_a_ledger_whose_file_is_damaged_is_a_no(shop: Shop) -> None:
    (shop.folder / "ledger.db").write_bytes(b"x" * 5000)
    done = shop.run("consent", "verify", "--json")
    assert done.code == 1
    assert "the ledger is damaged; restore it from a backup" in done.json()["detail"]


def test_a_ledger_that_cannot_be_asked_is_no_answer(shop: Shop) -> None:
    (shop.folder / "ledger.db").unlink()
    done = shop.run("consent", "verify", "--json")
    assert (done.code, done.out) == (2, "")
    assert "the ledger is missing" in done.err

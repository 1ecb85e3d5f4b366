"""Protects the sample shop with the real command line and shows what happened; ``make demo`` runs it.

Each step calls ``consentry`` as a person or a script would, with ``--json`` where the answer is read. What is shown
comes from those answers and from the files that were written, all below ``build/demo``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import demo_tables as show
import duckdb
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("consentry")

# Relative to ROOT, where the demo runs, so that what it prints can be copied.
SAMPLES = Path("examples/orders")
PLACE = Path("build/demo")
SHOP = PLACE / "shop"
OUT = PLACE / "out"
CONFIG = ("--config", str(SHOP / "consentry.yaml"))
AT = "2026-07-01T00:00:00Z"

REDACTED = "[redacted]"

Record = dict[str, Any]

JOIN = f"""\
SELECT orders.payment.card.number         AS card_token,
       count(DISTINCT orders.order_id)    AS orders,
       count(DISTINCT refunds.refund_id)  AS refunds
FROM '{OUT}/orders/data/*.parquet' AS orders
JOIN '{OUT}/refunds/data/*.parquet' AS refunds
  ON refunds.card_number = orders.payment.card.number
GROUP BY card_token
ORDER BY refunds DESC, orders DESC, card_token
LIMIT 5"""


class StepError(Exception):
    """A command ended otherwise than it should; the text is what it said."""


def main() -> int:
    """Runs all steps and returns the exit code."""
    os.chdir(ROOT)
    try:
        set_up()
        manifests = [protect("orders", "orders.jsonl"), protect("refunds", "refunds.csv")]
        show_runs(manifests)
        show_records()
        show.query("The two tables join on the card's token", JOIN, *run_query(JOIN))
        show_desk()
        show.places(PLACE)
        show.next_steps(next_commands())
    except (StepError, OSError, ValueError, duckdb.Error) as error:
        show.failure(f"The demo failed.\n{error}")
        return 1
    return 0


def consentry(*arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    """Runs the command line and returns what it printed.

    Raises:
        StepError: It ended with another code than one of ``codes``.
    """
    show.command("consentry", *arguments)
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, encoding="utf-8", check=False)
    if done.returncode not in codes:
        raise StepError(f"consentry {' '.join(arguments)}\nended with exit code {done.returncode}:\n{done.stderr}")
    return done.stdout


def set_up() -> None:
    """Makes a new project, gives it the sample's policy, and imports what customers allowed."""
    show.step("A project, its policy, and what customers allowed")
    shutil.rmtree(PLACE, ignore_errors=True)
    consentry("init", str(SHOP))
    show.command("cp", str(SAMPLES / "policy.yaml"), str(SHOP / "policy.yaml"))
    shutil.copyfile(SAMPLES / "policy.yaml", SHOP / "policy.yaml")
    imported = json.loads(consentry("consent", "import", str(SAMPLES / "consents.jsonl"), "--json", *CONFIG))
    show.said(f"{imported['added']} consent events; {imported['known']} came twice and count once")


def protect(dataset: str, file: str) -> Record:
    """Protects one file of the sample, verifies the output, and returns its manifest."""
    show.step(f"Protecting {dataset}")
    out = str(OUT / dataset)
    arguments = (str(SAMPLES / file), "--dataset", dataset, "--out", out, "--at", AT, "--json")
    manifest: Record = json.loads(consentry("protect", *arguments, *CONFIG))
    checks = json.loads(consentry("verify", out, "--json", *CONFIG))["checks"]
    show.said(f"verified: {', '.join(check['check'] for check in checks)}")
    return manifest


def show_runs(manifests: list[Record]) -> None:
    """Shows what the manifests say: books, dead letters, consent, fields."""
    show.step("What the signed manifests say")
    show.books(manifests)
    show.dead_letters(manifests)
    show.consent(manifests)
    show.fields(manifests[0])


@cache
def read_orders() -> dict[str, Record]:
    """Returns the raw orders by id, without the lines that are no JSON."""
    found: dict[str, Record] = {}
    for line in (SAMPLES / "orders.jsonl").read_bytes().splitlines():
        try:
            order = json.loads(line)
            found[order["order_id"]] = order
        except (ValueError, TypeError, KeyError):
            continue
    return found


@cache
def read_protected() -> list[Record]:
    """Returns the protected orders, by id."""
    rows: list[Record] = pq.read_table(OUT / "orders" / "data").to_pylist()
    return sorted(rows, key=lambda row: row["order_id"])


def find_order(what: str, fits: Callable[[Record, Record], bool]) -> tuple[Record, Record]:
    """Returns the first order that fits, as it was and as it is protected.

    Raises:
        StepError: There is none; says ``what`` was looked for.
    """
    orders = read_orders()
    for row in read_protected():
        if fits(orders[row["order_id"]], row):
            return orders[row["order_id"]], row
    raise StepError(f"the sample has no order {what}")


def permitted_order() -> tuple[Record, Record]:
    """Returns an order whose customer had granted support and never withdrew, with a gift note and nothing mistyped."""
    decisions = support_decisions()
    since = {event["subject"]: event["effective_at"] for event in support_events()}

    def fits(before: Record, after: Record) -> bool:
        subject, noted = before["customer"]["id"], any(item["gift_note"] for item in before["items"])
        if not noted or REDACTED in (card(after) or REDACTED, after["customer"]["phone"]):
            return False
        granted = decisions.get(subject) == {"granted"}
        return granted and datetime.fromisoformat(since[subject]) < datetime.fromisoformat(before["placed_at"])

    return find_order("whose customer permits support", fits)


def unpermitted_order() -> tuple[Record, Record]:
    """Returns an order, paid by a valid card, whose customer was never asked about support."""
    decisions = support_decisions()

    def fits(before: Record, after: Record) -> bool:
        return before["customer"]["id"] not in decisions and card(after) not in (None, REDACTED)

    return find_order("whose customer was never asked about support", fits)


def show_records() -> None:
    """Shows three orders before and after: one permitted, one objected to, one with a mistyped card."""
    show.step("Three orders, before and after")
    show.record("whose customer permits support", *permitted_order())
    objected = "whose customer objected to analytics"
    show.record(objected, *find_order(objected, lambda _, row: row["customer"]["birth_date"] == REDACTED))
    mistyped = "whose card number has a wrong check digit"
    show.record(mistyped, *find_order(mistyped, lambda _, row: card(row) == REDACTED))


def card(order: Record) -> Any:
    """The card number, or its token, or None where the order was paid otherwise."""
    return (order["payment"]["card"] or {}).get("number")


def run_query(sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Returns columns and rows of a query over the tokenized files."""
    result = duckdb.sql(sql)
    return result.columns, result.fetchall()


def support_events() -> Iterator[Record]:
    """Yields what customers said about support."""
    for line in (SAMPLES / "consents.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["purpose"] == "support":
            yield event


def support_decisions() -> dict[str, set[str]]:
    """Returns all that each customer ever answered about support."""
    found: dict[str, set[str]] = {}
    for event in support_events():
        found.setdefault(event["subject"], set()).add(event["decision"])
    return found


def show_desk() -> None:
    """Has Ana of the support desk ask for two values: one customer permits it, the other does not."""
    show.step("Ana, a support agent, asks for two raw values")
    before, after = permitted_order()
    show.answer(detokenize("email", after["customer"]["email"], before["customer"]["id"], codes=(0,)))
    before, after = unpermitted_order()
    show.answer(detokenize("card", card(after), before["customer"]["id"], codes=(1,)))


def question(domain: str, token: str, subject: str) -> tuple[str, ...]:
    """Returns Ana's request as the arguments of the command."""
    who = ("--purpose", "support", "--role", "support_agent", "--actor", "ana", "--subject", subject)
    return ("detokenize", domain, token, *who)


def detokenize(domain: str, token: str, subject: str, *, codes: tuple[int, ...]) -> Record:
    """Returns the desk's answer to Ana's request; exit code 1 is a refusal."""
    (answer,) = json.loads(consentry(*question(domain, token, subject), "--json", *CONFIG, codes=codes))
    found: Record = answer
    return found


def next_commands() -> list[tuple[str, tuple[str, ...]]]:
    """Returns what to try next: why, and the command."""
    before, after = permitted_order()
    subject, email, program = before["customer"]["id"], after["customer"]["email"], os.path.relpath(PROGRAM)
    withdrawal = ("--subject", subject, "--purpose", "support", "--decision", "withdrawn", "--source", "phone")
    file = min((OUT / "orders" / "data").glob("*.parquet"))
    return [
        ("Read the policy as a customer would", (program, "policy", "explain", "--for", "customer", *CONFIG)),
        (f"Let {subject} withdraw: the vault is purged", (program, "consent", "record", *withdrawal, *CONFIG)),
        ("Ask again for what Ana was shown: it is refused", (program, *question("email", email, subject), *CONFIG)),
        (
            "Audit what the shop collects, on one page",
            (
                program,
                "audit",
                "examples/orders/orders.jsonl",
                "--dataset",
                "orders",
                *CONFIG,
                "--report",
                str(PLACE / "audit.html"),
            ),
        ),
        (
            "Add a line to a file of the output: it is found out",
            ("echo", ">>", str(file), "&&", program, "verify", str(OUT / "orders"), *CONFIG),
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())

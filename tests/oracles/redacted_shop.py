"""A shop whose every field asks for another permission, to protect, withdraw and redact in."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_stores
from consentry.pipelines.redact import RedactReport, redact_output
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.verify import verify_output
from consentry.schemas.consent import ConsentEvent, Decision, parse_instant
from consentry.schemas.manifest import Manifest, parse_manifest
from consentry.schemas.project import read_project
from consentry.transforms.crypto.key_sets import PublicKeys
from oracles.shop_commands import CARDS, write_lines

NOW = parse_instant("2026-06-01T00:00:00Z")
HOUR = 3_600_000_000
DAY = 24 * HOUR
SUBJECTS = tuple(f"kunde-{number:06d}" for number in range(8))

POLICY = """
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver."}
  fraud_review: {basis: legal_obligation, says: "To stop misuse of cards."}
  support: {basis: consent, says: "To help you."}
  news: {basis: consent, says: "To write to you."}
  analytics: {basis: legitimate_interest, says: "To see what sells."}
roles:
  support_agent: {purposes: [support, fulfilment]}
  fraud_analyst: {purposes: [fraud_review]}
info_types:
  customer_id: %(subject)s
  card: {action: tokenize, format: pan, domain: card, collect: [fulfilment], distribute: [fraud_review, support],
         see: {fraud_analyst: full, support_agent: masked}, finds: [CREDIT_CARD]}
  email: {action: tokenize, format: email, domain: email, collect: [support, news], distribute: [support],
          see: {support_agent: full}, finds: [EMAIL]}
  birth_date: {action: generalize, to: year, collect: [analytics]}
  phone: {action: mask, show_last: 2, collect: [support]}
  age: {action: keep, collect: [analytics]}
  note: {action: scan, collect: [news, analytics]}
datasets:
  orders:
    subject: customer.id
    event_time: placed_at
    collect: [%(collect)s]
    fields:
      order_id: keep
      placed_at: keep
      customer.id: %(plain)s
      customer.email: email
      customer.birth_date: birth_date
      customer.phone: phone
      customer.age: age
      referred_by: %(referred)s
      payment.card.number: card
      items[].sku: keep
      items[].gift_note: note
      items[].recipient: email
      remark: note
    on_drift: drop
dead_letters: {retain: 7d}
"""
SURROGATE = "{action: tokenize, format: surrogate, domain: customer, collect: [fulfilment]}"
REVERSIBLE = "{action: tokenize, format: alphanumeric, domain: customer, collect: [fulfilment]}"


def policy_text(kind: str = "surrogate", collect: str = "fulfilment") -> str:
    subject = REVERSIBLE if kind == "reversible" else SURROGATE
    plain = {"keep": "keep", "drop": "drop"}.get(kind, "customer_id")
    return POLICY % {"subject": subject, "plain": plain, "collect": collect, "referred": "customer_id"}


class RedactedShop:
    """A project, its input and one output."""

    def __init__(self, place: Path, kind: str = "surrogate", collect: str = "fulfilment") -> None:
        self.place = place
        if not (place / "shop").exists():
            write_project(place / "shop", tenant="shop", now=NOW - 300 * DAY)
            (place / "shop" / "policy.yaml").write_text(policy_text(kind, collect))
        self.project = read_project(place / "shop" / "consentry.yaml")
        self.out = place / "out"
        self.orders = place / "orders.jsonl"

    @property
    def config(self) -> Path:
        return self.place / "shop" / "consentry.yaml"

    def say(self, *said: tuple[str, str, str, int]) -> None:
        """Records what subjects said: subject, purpose, decision, instant."""
        with open_stores(self.project) as stores:
            stores.ledger.append(
                [
                    ConsentEvent(subject=subject, purpose=purpose, decision=Decision(decision), effective_at=at,
                                 recorded_at=None, source="form", evidence="letter")
                    for subject, purpose, decision, at in said
                ],
                now=NOW,
            )  # fmt: skip

    def write(self, records: list[Any]) -> None:
        write_lines(self.orders, records)

    def protect(self, out: Path | None = None, now: int = NOW) -> Manifest:
        target = str(out or self.out)
        return run_protect(self.project, [str(self.orders)], "orders", target, now=now, clock=lambda: now)

    def redact(self, out: Path | None = None, now: int = NOW, **options: Any) -> RedactReport:
        return redact_output(self.project, str(out or self.out), now=now, clock=lambda: now, **options)

    def rows(self, out: Path | None = None) -> list[dict[str, Any]]:
        files = sorted((out or self.out).rglob("data/**/*.parquet"))
        rows = [row for path in files for row in pq.read_table(path).to_pylist()]
        return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))

    def manifest(self, out: Path | None = None) -> Manifest:
        return parse_manifest(((out or self.out) / "manifest.json").read_bytes())[0]

    def failed(self, out: Path | None = None) -> list[str]:
        report = verify_output(str(out or self.out), PublicKeys.load(self.project.trust))
        return [f"{check.check}: {check.detail}" for check in report.checks if not check.ok]


def record(chance: random.Random, number: int) -> dict[str, Any]:
    """An order of somebody, at some time of the last 100 days, with some fields null or missing."""
    subject = chance.choice(SUBJECTS)
    mail = f"{subject}@example.com"
    made: dict[str, Any] = {
        "order_id": f"o-{number}",
        "placed_at": (NOW - chance.randrange(1, 100) * DAY) // 1_000_000,
        "customer": {
            "id": subject if chance.random() < 0.9 else None,
            "email": mail if chance.random() < 0.9 else None,
            "birth_date": chance.choice(["1985-08-11", None, "no date"]),
            "phone": chance.choice(["+49 30 1234567", None]),
            "age": chance.choice([33, None]),
        },
        "referred_by": chance.choice([*SUBJECTS, None]),
        "payment": {"card": {"number": chance.choice([CARDS[0], "not a card", None])}},
        "items": [
            {"sku": "TEA", "gift_note": chance.choice([f"card {CARDS[1]} for {mail}", "[card:1:99] hi", None]),
             "recipient": chance.choice([mail, None])}
            for _ in range(chance.randrange(3))
        ],
        "remark": chance.choice([None, "nothing", f"[[{CARDS[2]}", f"write to {mail}, pay with {CARDS[3]}"]),
    }  # fmt: skip
    made["placed_at"] = _instant(made["placed_at"])
    return made


def histories(chance: random.Random, *, decisions: tuple[str, ...]) -> list[tuple[str, str, str, int]]:
    """What subjects say about purposes that ask or can be objected to."""
    purposes = ("support", "news", "analytics")
    return [
        (
            chance.choice(SUBJECTS),
            chance.choice(purposes),
            chance.choice(decisions),
            NOW - chance.randrange(-20, 120) * DAY,
        )
        for _ in range(chance.randrange(4, 24))
    ]


def _instant(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

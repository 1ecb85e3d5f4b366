"""Writes the sample shop under ``examples/orders``: orders, refunds and a consent history, messy on purpose.

The files are committed; run this again only to change them. One seed makes the same bytes every time. All people,
cards and accounts are invented: card numbers are random digits with a valid checksum.
"""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "orders"
ORDERS = 3_000
REFUNDS = 400
CUSTOMERS = 900
START = datetime(2026, 1, 5, 8, tzinfo=UTC)

# Per locale: country, phone prefix as people write it, national digits, IBAN body digits (0: none), names, places.
LOCALES: dict[str, tuple[str, str, int, str, tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "de-DE": ("DE", "+49 151 ", 8, "n18", ("Jürgen Weiß", "Anna Schäfer", "Lena Groß", "Ömer Yılmaz"),
              (("Köln", "50667"), ("München", "80331"), ("Gera", "07545"))),
    "en-GB": ("GB", "+44 7700 ", 6, "", ("Oliver O'Neill", "Amelia Wright", "Siân Pugh"),
              (("Leeds", "LS1 4DY"), ("Bath", "BA1 1LN"))),
    "en-US": ("US", "(415) 555-", 4, "", ("Mary-Jane Watson", "José Alvarez", "Li Wei"),
              (("San Francisco", "94103"), ("Boston", "02108"))),
    "fr-FR": ("FR", "+33 6 12 ", 6, "", ("Zoé Lefèvre", "Noël Dupont"), (("Lyon", "69001"), ("Nîmes", "30000"))),
    "pl-PL": ("PL", "+48 512 ", 6, "n24", ("Łukasz Żak", "Małgorzata Wójcik"), (("Łódź", "90-001"),)),
    "ja-JP": ("JP", "+81 90 1234 ", 4, "", ("山田 太郎", "佐藤 花子"), (("東京", "100-0001"),)),
    "pt-BR": ("BR", "+55 11 9", 8, "", ("João Conceição", "Beatriz Araújo"), (("São Paulo", "01310-100"),)),
    "es-ES": ("ES", "+34 612 ", 6, "n20", ("Íñigo Muñoz", "Lucía Peña"), (("Cádiz", "11001"),)),
}  # fmt: skip
NOTES = (
    "Happy birthday, Grandma!", "Bitte klingeln bei Müller", "Please call me on +44 7700 900123 before delivery",
    "🎁 für dich", "card is 4111 1111 1111 1111, charge it again", "おめでとう", "Gracias, mándalo a lucia@example.es",
    "no note\twith a tab", 'She said "surprise"',
)  # fmt: skip
SKUS = ("TEA-GREEN-250", "TEA-BLACK-100", "POT-CLAY-01", "CUP-SET-4", "HONEY-500", "FILTER-PAPER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A person of the shop as the order form knows them."""

    id: str
    locale: str
    name: str
    email: str
    phone: str
    born: str
    card: str
    iban: str | None
    place: tuple[str, str]


def luhn_digit(payload: str) -> str:
    """The digit that makes ``payload`` plus it valid (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (2 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(payload))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def iban(country: str, body: str) -> str:
    """An IBAN with right check digits (ISO 13616-1, annex A)."""
    number = "".join(str(int(character, 36)) for character in body + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{body}"


def digits(rng: random.Random, count: int) -> str:
    """``count`` random decimal digits."""
    return "".join(str(rng.randrange(10)) for _ in range(count))


def make_customer(rng: random.Random, number: int) -> Customer:
    """One invented person."""
    locale = rng.choice(list(LOCALES))
    country, prefix, national, account, names, places = LOCALES[locale]
    length = rng.choices((16, 15, 14, 13, 18, 19), (80, 10, 2, 3, 2, 3))[0]
    issuer = {16: rng.choice(("4", "51", "2221", "6011")), 15: "37", 14: "36", 13: "4", 18: "62", 19: "62"}[length]
    payload = issuer + digits(rng, length - len(issuer) - 1)
    return Customer(
        id=f"c-{number:05d}",
        locale=locale,
        name=rng.choice(names),
        email=f"{rng.choice(('anna', 'lee', 'kim.p', 'j+shop', 'zoë', 'mail'))}{number}@"
        + rng.choice(("example.com", "Example.ORG", "post.example.de", "bücher.example")),
        phone=prefix + digits(rng, national),
        born=f"{rng.randrange(1945, 2007)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
        card=payload + luhn_digit(payload),
        iban=iban(country, digits(rng, int(account[1:]))) if account and rng.random() < 0.6 else None,
        place=rng.choice(places),
    )


def spelled(rng: random.Random, card: str) -> str | int:
    """The card number as people and systems write it."""
    style = rng.choices(("plain", "space", "dash", "dot", "no-break", "number"), (50, 22, 12, 4, 4, 8))[0]
    if style == "plain":
        return card
    if style == "number":
        return int(card)
    mark = {"space": " ", "dash": "-", "dot": ".", "no-break": "\u00a0"}[style]
    return mark.join(card[at : at + 4] for at in range(0, len(card), 4))


def instant(rng: random.Random, moment: datetime) -> str:
    """RFC 3339, in UTC or with the offset of some shop front."""
    hours = rng.choice((0, 0, 0, 1, 2, -5, 9))
    if hours == 0:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (moment + timedelta(hours=hours)).strftime(
        "%Y-%m-%dT%H:%M:%S"
    ) + f"{'+' if hours > 0 else '-'}{abs(hours):02d}:00"


def make_order(rng: random.Random, number: int, customer: Customer, placed: datetime) -> dict[str, Any]:
    """One order as the shop front sends it, with the faults of real ones."""
    wrong = rng.random() < 0.02
    card = customer.card[:-1] + str((int(customer.card[-1]) + 1) % 10) if wrong else customer.card
    city, postcode = customer.place
    by_account = customer.iban is not None and rng.random() < 0.3
    order: dict[str, Any] = {
        "order_id": f"o-{number:06d}",
        "placed_at": instant(rng, placed),
        "customer": {
            "id": customer.id, "name": customer.name, "email": customer.email, "phone": customer.phone,
            "birth_date": customer.born, "locale": customer.locale,
        },
        "payment": {
            "method": "account" if by_account else "card",
            "card": None if by_account else {"number": spelled(rng, card), "cvv": digits(rng, 3), "expires": "2029-04"},
            "iban": customer.iban if by_account else None,
        },
        "items": [
            {
                "sku": rng.choice(SKUS), "quantity": rng.randrange(1, 5), "price": round(rng.uniform(3, 90), 2),
                "gift_note": rng.choice(NOTES) if rng.random() < 0.15 else None,
            }
            for _ in range(rng.randrange(0, 5))
        ],
        "shipping": {"city": city, "postcode": postcode, "country": LOCALES[customer.locale][0]},
        "client_ip": f"{rng.randrange(11, 200)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
    }  # fmt: skip
    spoil(rng, order)
    return order


def spoil(rng: random.Random, order: dict[str, Any]) -> None:
    """Takes away or adds what real feeds lack or bring unasked."""
    fault = rng.random()
    if fault < 0.015:
        order["customer"]["id"] = None
    elif fault < 0.02:
        del order["customer"]["id"]
    elif fault < 0.03:
        order["customer"]["phone"] = rng.choice(("n/a", "ask me", "0000"))
    elif fault < 0.035:
        order["placed_at"] = order["placed_at"][:19]
    elif fault < 0.05:
        order["debug"] = {"session": digits(rng, 12), "form": {"card": "see payment"}}
    elif fault < 0.06:
        order["customer"]["loyalty_no"] = digits(rng, 9)


def broken(rng: random.Random, line: bytes) -> bytes:
    """A line that no parser should let through."""
    kind = rng.randrange(6)
    if kind == 0:
        return line[: len(line) // 2]
    if kind == 1:
        return line.replace(b'"order_id"', b'"order_id": "twice", "order_id"', 1)
    if kind == 2:
        return line.replace(b'"locale": "', b'"locale": "\xff\xfe', 1)
    if kind == 3:
        return line.replace(b'"items": [', b'"items": "none", "was": [', 1)
    if kind == 4:
        return line.replace(b'"quantity": ', b'"quantity": 1e400, "q": ', 1) if b"quantity" in line else b"[1, 2]"
    return b"--- proxy error 502 ---"


def consent_events(rng: random.Random, customers: list[Customer]) -> list[dict[str, str]]:
    """Grants, withdrawals, back-dated notices, objections, ties and repeats."""
    events: list[dict[str, str]] = []

    def add(customer: Customer, purpose: str, decision: str, day: float, source: str, **more: str) -> None:
        at = (START + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")
        events.append({"subject": customer.id, "purpose": purpose, "decision": decision, "effective_at": at,
                       "source": source, **more})  # fmt: skip

    for customer in customers:
        if rng.random() < 0.7:
            granted = rng.uniform(-30, 60)
            add(customer, "support", "granted", granted, "web-form-7", evidence="checkbox on the order form")
            if rng.random() < 0.25:
                add(customer, "support", "withdrawn", granted + rng.uniform(5, 80), "account-page")
            if rng.random() < 0.05:
                add(customer, "support", "withdrawn", granted, "letter", evidence="arrived the same day as the grant")
        if rng.random() < 0.12:
            add(customer, "analytics", "withdrawn", rng.uniform(0, 90), "account-page", evidence="objection")
        if rng.random() < 0.06:
            recorded = (START + timedelta(days=150)).strftime("%Y-%m-%dT%H:%M:%SZ")
            add(customer, "support", "withdrawn", rng.uniform(0, 40), "letter", recorded_at=recorded,
                evidence="letter found late, effective when it was posted")  # fmt: skip
    return events + rng.sample(events, 20)


def write_shop() -> None:
    """Writes all files of the sample."""
    rng = random.Random(20260105)
    customers = [make_customer(rng, number) for number in range(CUSTOMERS)]
    moments = sorted(START + timedelta(minutes=rng.uniform(0, 130 * 24 * 60)) for _ in range(ORDERS))
    orders = [make_order(rng, number, rng.choice(customers), placed) for number, placed in enumerate(moments)]
    with (FOLDER / "orders.jsonl").open("wb") as file:
        for order in orders:
            line = json.dumps(order, ensure_ascii=rng.random() < 0.2).encode()
            file.write((broken(rng, line) if rng.random() < 0.01 else line) + b"\n")
    with (FOLDER / "refunds.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["refund_id", "refunded_at", "customer_id", "card_number", "amount", "reason"])
        for number in range(REFUNDS):
            customer = rng.choice(customers)
            refunded = START + timedelta(days=rng.uniform(10, 150))
            reason = rng.choice(("late", "broken", "changed my mind, sorry", "wrong item"))
            moment = refunded.strftime("%Y-%m-%dT%H:%M:%SZ")
            amount = f"{rng.uniform(3, 90):.2f}"
            card = spelled(rng, customer.card)
            writer.writerow([f"r-{number:05d}", moment, customer.id, card, amount, reason])
    with (FOLDER / "consents.jsonl").open("w", encoding="utf-8") as history:
        history.writelines(json.dumps(event) + "\n" for event in consent_events(rng, customers))


if __name__ == "__main__":
    write_shop()

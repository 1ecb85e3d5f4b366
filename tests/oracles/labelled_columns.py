"""Made-up columns with the type that their values prove, without any code of the detectors.

The type is that of the values, never of the header alone: a header decides only where digits prove nothing by
themselves, such as nine digits under ``ssn``. Kinds of column:

* ``honest``: the header says what is there, in several languages;
* ``cryptic``: the header says nothing;
* ``misleading``: the header has the word of an entity in it and means something else, or has none and holds one;
* ``lying``: the header names an entity that is not there;
* ``ordinary``: nothing sensitive, often numbers that look so;
* ``integers``, ``few``, ``nulls``, ``untidy``: entities as numbers, five of them, many nulls, padding and mistakes;
* ``mixed``, ``text``, ``leak``: two entities by turns, prose or JSON, and a few values strayed into an ordinary column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from oracles import labelled_secrets, labelled_values, lookalikes
from oracles.labelled_phones import any_phone, national, phone_number, unmistakable_phone
from oracles.labelled_texts import NAMES, labelled_texts
from oracles.labelled_values import DIGITS, drawn

__all__ = ["FREE_TEXT", "MIXED", "LabelledColumn", "Value", "labelled_columns"]

Value = str | int | None
Make = Callable[[Random], Value]

MIXED = "MIXED"
FREE_TEXT = "FREE_TEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledColumn:
    """A column of a feed and what it holds.

    ``expected`` is an entity, MIXED, FREE_TEXT or, for an ordinary column, None. ``leak`` is the entity of the few
    values that strayed into an ordinary column.
    """

    kind: str
    feed: str
    column: str
    values: Sequence[Value]
    expected: str | None
    leak: str | None = None


def labelled_columns(seed: int) -> list[LabelledColumn]:
    """Returns columns of every kind; the same seed gives the same ones."""
    rng = Random(seed)
    columns = []
    for kind, rows in _SIMPLE.items():
        for feed, column, expected, make in rows:
            values = [make(rng) for _ in range(rng.randint(150, 400))]
            columns.append(LabelledColumn(kind=kind, feed=feed, column=column, values=values, expected=expected))
    return [*columns, *_few(rng), *_with_nulls(rng), *_untidy(rng), *_mixed(rng), *_texts(rng, seed), *_leaks(rng)]


def _any_of(*values: Value) -> Make:
    return lambda rng: rng.choice(values)


def _national(region: str) -> Callable[[Random], str]:
    return lambda rng: national(phone_number(rng, region))


def _digits_of(make: Callable[[Random], str]) -> Make:
    return lambda rng: "".join(filter(str.isdigit, make(rng)))


def _whole(make: Callable[[Random], Value]) -> Make:
    """The digits of a value as a number, of those that have no zero in front."""

    def made(rng: Random) -> int:
        while (digits := "".join(filter(str.isdigit, str(make(rng))))).startswith("0"):
            pass
        return int(digits)

    return made


def _day(language: str) -> Make:
    return partial(labelled_values.date, language=language, first_year=2021, last_year=2026)


def _birthday(language: str) -> Make:
    return partial(labelled_values.date_of_birth, language=language)


def _dotted_version(rng: Random) -> str:
    return f"10.0.{rng.choice((17763, 19041, 22621))}.{rng.randint(1, 4000)}"


def _luhn_order(rng: Random) -> str:
    payload = rng.choice(lookalikes.NOT_A_CARD) + drawn(rng, DIGITS, 14)
    return payload + labelled_values.luhn_digit(payload)


def _digits(length: int) -> Make:
    return lambda rng: rng.choice("123456789") + drawn(rng, DIGITS, length - 1)


def _json(rng: Random) -> str:
    note = rng.choice(("gift", "fragile", ""))
    return json.dumps({"id": lookalikes.uuid_4(rng), "qty": rng.randint(1, 9), "note": note})


_card = labelled_values.written_card
_iban = labelled_values.written_iban
_email = labelled_values.email
_names = _any_of(*NAMES)
_category = _any_of("toys", "books", "garden", "food", "sports")

# By kind: feed, header, expected, maker.
_SIMPLE: dict[str, tuple[tuple[str, str, str | None, Make], ...]] = {
    "honest": (
        ("payments", "card_number", "CREDIT_CARD", _card),
        ("payments", "pan", "CREDIT_CARD", labelled_values.card_number),
        ("zahlungen", "Kreditkartennummer", "CREDIT_CARD", _card),
        ("payments", "iban", "IBAN", _iban),
        ("zahlungen", "Bankverbindung", "IBAN", partial(labelled_values.iban, country="DE")),
        ("crm", "email", "EMAIL", _email),
        ("clientes", "correo_electronico", "EMAIL", _email),
        ("crm_us", "phone", "PHONE", _national("US")),
        ("crm_us", "home_phone", "PHONE", _digits_of(_national("US"))),
        ("kunden", "Telefonnummer", "PHONE", _national("DE")),
        ("clients", "téléphone", "PHONE", _national("FR")),
        ("crm_gb", "telephone", "PHONE", _national("GB")),
        ("crm_gb", "contact_number", "PHONE", partial(any_phone, region="GB")),
        ("hr_us", "ssn", "US_SSN", labelled_values.ssn),
        ("hr_us", "social_security_number", "US_SSN", labelled_values.bare_ssn),
        ("hr_us", "itin", "US_ITIN", labelled_values.itin),
        ("payroll", "ni_number", "UK_NINO", labelled_values.nino),
        ("clinic", "nhs_number", "UK_NHS", labelled_values.nhs_number),
        ("clinic", "NHS No.", "UK_NHS", labelled_values.written_nhs),
        ("weblog", "client_ip", "IP_ADDRESS", labelled_values.ip),
        ("network", "mac_address", "MAC_ADDRESS", labelled_values.mac),
        ("ledger", "wallet", "CRYPTO", labelled_secrets.crypto_address),
        ("crm", "dob", "DATE_OF_BIRTH", _birthday("iso")),
        ("crm", "birth_date", "DATE_OF_BIRTH", _birthday("en")),
        ("kunden", "Geburtsdatum", "DATE_OF_BIRTH", _birthday("de")),
        ("clientes", "fecha_nacimiento", "DATE_OF_BIRTH", _birthday("es")),
    ),
    "cryptic": (
        ("export", "col_7", "CREDIT_CARD", labelled_values.card_number),
        ("export", "", "CREDIT_CARD", _card),
        ("export", "f3", "IBAN", _iban),
        ("export", "col_2", "EMAIL", _email),
        ("export", "x", "PHONE", partial(unmistakable_phone, region="ES")),
        ("export", "", "PHONE", partial(unmistakable_phone, region="US")),
        ("export", "col_11", "US_SSN", labelled_values.ssn),
        ("export", "c", "UK_NINO", labelled_values.nino),
        ("export", "v1", "IP_ADDRESS", labelled_values.ip),
        ("export", "", "MAC_ADDRESS", labelled_values.mac),
        ("export", "col_9", "CRYPTO", labelled_secrets.crypto_address),
        ("export", "col_3", None, labelled_values.bare_ssn),
        ("export", "", None, labelled_values.nhs_number),
        ("export", "col_4", None, _digits_of(_national("US"))),
        ("export", "d1", None, _birthday("iso")),
        ("export", "col_5", None, lookalikes.imei),
        ("export", "col_6", None, lookalikes.epoch_millis),
    ),
    "misleading": (
        ("crm", "customer_ref", "EMAIL", _email),
        ("billing", "reference", "IBAN", _iban),
        ("shop", "order_id", "CREDIT_CARD", labelled_values.card_number),
        ("weblog", "host_name", "IP_ADDRESS", labelled_values.ip_v4),
        ("shop", "card_type", None, _any_of("visa", "mastercard", "amex")),
        ("shop", "phone_model", None, _any_of("Pixel 9", "iPhone 16", "Galaxy S24")),
        ("crm", "email_opt_in", None, _any_of("yes", "no")),
        ("weblog", "ip_country", None, _any_of("DE", "FR", "US", "PL")),
        ("crm", "birth_place", None, _any_of("London", "Köln", "Lyon", "Łódź")),
        ("billing", "telephone_bill", None, lookalikes.price),
        ("shop", "email_sent_at", None, _day("iso")),
        ("shop", "gift_card_value", None, _whole(lookalikes.quantity)),
    ),
    "lying": (
        ("crm", "phone", "EMAIL", _email),
        ("crm", "email", "PHONE", partial(unmistakable_phone, region="GB")),
        ("shop", "iban", "CREDIT_CARD", _card),
        ("shop", "card_number", None, lookalikes.order_number),
        ("devices", "card_number", None, lookalikes.imei),
        ("hr", "ssn", None, _whole(lookalikes.quantity)),
        ("crm", "email", None, _names),
        ("shop", "phone", None, lookalikes.sku),
        ("clinic", "nhs_number", None, _whole(lookalikes.quantity)),
        ("shop", "iban", None, lookalikes.uuid_4),
        ("weblog", "client_ip", None, _category),
        ("crm", "date_of_birth", None, _category),
    ),
    "ordinary": (
        ("shop", "order_number", None, lookalikes.order_number),
        ("shop", "order_no", None, _luhn_order),
        ("shop", "order_id", None, _digits(16)),
        ("shop", "invoice", None, _digits(10)),
        ("shop", "quantity", None, _whole(lookalikes.quantity)),
        ("shop", "sku", None, lookalikes.sku),
        ("shop", "price", None, lookalikes.price),
        ("shop", "ean", None, lookalikes.ean_13),
        ("shop", "barcode", None, _whole(lookalikes.ean_13)),
        ("shop", "isbn", None, lookalikes.isbn),
        ("shop", "tracking_number", None, lookalikes.tracking_number),
        ("shop", "delivery_date", None, _day("de")),
        ("shop", "created_at", None, _day("iso")),
        ("shop", "category", None, _category),
        ("shop", "colour", None, lookalikes.colour),
        ("shop", "size", None, lookalikes.dimensions),
        ("events", "ts", None, _whole(lookalikes.epoch_millis)),
        ("events", "timestamp_us", None, lookalikes.epoch_micros),
        ("events", "trace_id", None, lookalikes.uuid_4),
        ("events", "commit", None, lookalikes.git_hash),
        ("devices", "imei", None, lookalikes.imei),
        ("devices", "device_id", None, _whole(lookalikes.imei)),
        ("devices", "iccid", None, lookalikes.iccid),
        ("devices", "os_version", None, _dotted_version),
        ("crm", "zip", None, _digits(5)),
        ("crm", "zip_code", None, _whole(_digits(5))),
        ("crm", "full_name", None, _names),
        ("crm", "customer_id", None, _whole(_digits(9))),
        ("crm", "account", None, lookalikes.account_number),
        ("sites", "lat_lon", None, lookalikes.coordinates),
        ("web", "url", None, lookalikes.plain_url),
        ("web", "handle", None, lookalikes.mention),
    ),
    "integers": (
        ("payments", "card", "CREDIT_CARD", _whole(labelled_values.card_number)),
        ("export", "col_8", "CREDIT_CARD", _whole(labelled_values.card_number)),
        ("crm_us", "phone_number", "PHONE", _whole(_national("US"))),
        ("hr_us", "ssn", "US_SSN", _whole(labelled_values.ssn)),
        ("clinic", "nhs_number", "UK_NHS", _whole(labelled_values.nhs_number)),
        ("export", "id", None, _whole(labelled_values.bare_ssn)),
    ),
}


def _few(rng: Random) -> Iterator[LabelledColumn]:
    rows: tuple[tuple[str, str | None, Make], ...] = (
        ("card_number", "CREDIT_CARD", labelled_values.card_number),
        ("email", "EMAIL", _email),
        ("", "IBAN", _iban),
        ("ssn", "US_SSN", labelled_values.ssn),
        ("phone", "PHONE", _national("US")),
        ("order", None, lookalikes.order_number),
        ("name", None, _names),
    )
    for column, expected, make in rows:
        values = [make(rng) for _ in range(5)]
        yield LabelledColumn(kind="few", feed="sample", column=column, values=values, expected=expected)


def _with_nulls(rng: Random) -> Iterator[LabelledColumn]:
    rows: tuple[tuple[str, str | None, Make], ...] = (
        ("card_number", "CREDIT_CARD", _card),
        ("email_2", "EMAIL", _email),
        ("col_1", "IBAN", _iban),
        ("fax", "PHONE", _national("DE")),
        ("discount_code", None, lookalikes.sku),
    )
    for column, expected, make in rows:
        values = [make(rng) if rng.random() < 0.1 else None for _ in range(2000)]
        yield LabelledColumn(kind="nulls", feed="crm", column=column, values=values, expected=expected)
    yield LabelledColumn(kind="nulls", feed="crm", column="email_3", values=[None] * 500, expected=None)


def _untidy(rng: Random) -> Iterator[LabelledColumn]:
    """Padding around values, words for nothing, and one value in ten with a mistake."""
    rows: tuple[tuple[str, str, Make, Make], ...] = (
        ("card_number", "CREDIT_CARD", _card, lookalikes.wrong_card),
        ("Email Address", "EMAIL", _email, _any_of("anna.example.com", "@", "n/a")),
        ("IBAN", "IBAN", _iban, lookalikes.wrong_iban),
        ("SSN", "US_SSN", labelled_values.ssn, _any_of("000-00-0000", "unknown", "12-3456")),
        ("Tel.", "PHONE", partial(any_phone, region="FR"), _any_of("n/a", "-", "ask", "123")),
    )
    for column, expected, make, mistake in rows:
        values: list[Value] = []
        for _ in range(400):
            value = mistake(rng) if rng.random() < 0.1 else make(rng)
            values.append(rng.choice(("", " ", "  ", "\t")) + str(value) + rng.choice(("", " ", "\n")))
        yield LabelledColumn(kind="untidy", feed="forms", column=column, values=values, expected=expected)


def _mixed(rng: Random) -> Iterator[LabelledColumn]:
    phone = partial(unmistakable_phone, region="US")
    for column, first, second in (
        ("contact", _email, phone),
        ("reach_me", phone, _email),
        ("payment_method", _card, _iban),
        ("", _email, labelled_values.ip),
    ):
        values = [rng.choice((first, second))(rng) for _ in range(600)]
        yield LabelledColumn(kind="mixed", feed="crm", column=column, values=values, expected=MIXED)


def _texts(rng: Random, seed: int) -> Iterator[LabelledColumn]:
    texts = labelled_texts(1500, seed)
    prose = {
        "notes": [item.text for item in texts[:500]],
        "col_12": [item.text for item in texts[500:1000]],
        "message": [item.text for item in texts if not item.spans][:400],
        "payload": [_json(rng) for _ in range(400)],
        "card_number": [item.text for item in texts[1000:]],
    }
    for column, values in prose.items():
        yield LabelledColumn(kind="text", feed="support", column=column, values=values, expected=FREE_TEXT)


def _leaks(rng: Random) -> Iterator[LabelledColumn]:
    """One value in a hundred strayed, among as many ordinary ones as a real column has."""
    rows: tuple[tuple[str, Make, str, Make], ...] = (
        ("sku", lookalikes.sku, "CREDIT_CARD", _card),
        ("order_number", _digits(10), "CREDIT_CARD", labelled_values.card_number),
        ("quantity", _whole(lookalikes.quantity), "CREDIT_CARD", _whole(labelled_values.card_number)),
        ("full_name", _names, "CREDIT_CARD", _card),
        ("full_name", _names, "EMAIL", _email),
        ("category", _category, "EMAIL", _email),
        ("price", lookalikes.price, "IBAN", _iban),
        ("col_5", lookalikes.uuid_4, "EMAIL", _email),
        ("", lookalikes.sku, "IBAN", _iban),
    )
    for column, make, leak, stray in rows:
        count = rng.choice((1000, 2000, 5000))
        strayed = set(rng.sample(range(count), count // 100))
        values = [(stray if place in strayed else make)(rng) for place in range(count)]
        yield LabelledColumn(kind="leak", feed="shop", column=column, values=values, expected=None, leak=leak)

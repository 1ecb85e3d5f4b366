"""Made-up values that look sensitive and are not: order numbers, device numbers, timestamps, versions, wrong checks."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from random import Random

from oracles.labelled_secrets import crypto_address
from oracles.labelled_values import (
    CARD_SEPARATORS,
    DIGITS,
    HEX,
    UPPER,
    card_groups,
    card_number,
    drawn,
    luhn_digit,
    written_iban,
)

# First digits that no card, at these lengths, begins with.
NOT_A_CARD = "01789"
FIRST_SECONDS, LAST_SECONDS = 1_600_000_000, 1_800_000_000


def wrong_digit(rng: Random, digits: str) -> str:
    """The same digits with another last one."""
    return digits[:-1] + str((int(digits[-1]) + rng.randint(1, 9)) % 10)


def order_number(rng: Random) -> str:
    """10 to 16 digits that fail Luhn, or that pass it and do not begin like a card."""
    length = rng.randint(10, 16)
    if rng.random() < 0.25:
        payload = rng.choice(NOT_A_CARD) + drawn(rng, DIGITS, length - 2)
        return payload + luhn_digit(payload)
    payload = rng.choice("123456789") + drawn(rng, DIGITS, length - 2)
    return wrong_digit(rng, payload + luhn_digit(payload))


def wrong_card(rng: Random) -> str:
    """A card with a wrong last digit, plain or in groups."""
    number = wrong_digit(rng, card_number(rng))
    return number if rng.random() < 0.5 else rng.choice(CARD_SEPARATORS).join(card_groups(number))


def wrong_iban(rng: Random) -> str:
    value = written_iban(rng)
    return value[:2] + f"{(int(value[2:4]) + rng.randint(1, 60)) % 97 + 2:02d}" + value[4:]


def masked_card(rng: Random) -> str:
    last = drawn(rng, DIGITS, 4)
    return rng.choice(
        (
            f"**** **** **** {last}",
            f"XXXX-XXXX-XXXX-{last}",
            f"************{last}",
            f"•••• {last}",
            f"411111******{last}",
        )
    )


def token(rng: Random) -> str:
    return rng.choice(
        (
            f"[card:1:{wrong_digit(rng, card_number(rng))}]",
            f"[email:1:{drawn(rng, HEX, 16)}]",
            f"[iban:2:{wrong_iban(rng)}]",
        )
    )


def imei(rng: Random) -> str:
    payload = rng.choice(("35", "86", "01", "99")) + drawn(rng, DIGITS, 12)
    return payload + luhn_digit(payload)


def iccid(rng: Random) -> str:
    payload = "89" + rng.choice(("49", "33", "44", "01")) + drawn(rng, DIGITS, rng.choice((14, 15)))
    return payload + luhn_digit(payload)


def tracking_number(rng: Random) -> str:
    kinds = (
        "1Z" + drawn(rng, DIGITS + UPPER, 6) + drawn(rng, DIGITS, 10),
        "94" + drawn(rng, DIGITS, 20),
        "9400 1" + " ".join((drawn(rng, DIGITS, 3), *(drawn(rng, DIGITS, 4) for _ in range(3)), drawn(rng, DIGITS, 2))),
        "JJD" + drawn(rng, DIGITS, 18),
        "00340" + drawn(rng, DIGITS, 15),
        drawn(rng, "123456789", 1) + drawn(rng, DIGITS, 9),
        "RX" + drawn(rng, DIGITS, 9) + "DE",
    )
    return rng.choice(kinds)


def epoch_seconds(rng: Random) -> str:
    return str(rng.randint(FIRST_SECONDS, LAST_SECONDS))


def epoch_millis(rng: Random) -> str:
    return epoch_seconds(rng) + drawn(rng, DIGITS, 3)


def epoch_micros(rng: Random) -> str:
    return epoch_seconds(rng) + drawn(rng, DIGITS, 6)


def ean_13(rng: Random) -> str:
    twelve = rng.choice(("40", "50", "30", "84", "76")) + drawn(rng, DIGITS, 10)
    return twelve + str(-sum(int(digit) * (1 + place % 2 * 2) for place, digit in enumerate(twelve)) % 10)


def isbn(rng: Random) -> str:
    body = "978" + rng.choice("03") + drawn(rng, DIGITS, 8)
    check = str(-sum(int(digit) * (1 + place % 2 * 2) for place, digit in enumerate(body)) % 10)
    return rng.choice((body + check, f"{body[:3]}-{body[3]}-{body[4:7]}-{body[7:]}-{check}"))


def version(rng: Random) -> str:
    """A version in four parts, half of them with a part that no IP address has."""
    if rng.random() < 0.5:
        return f"10.0.{rng.randint(1000, 22631)}.{rng.randint(0, 4000)}"
    return f"{rng.randint(1, 12)}.{rng.randint(0, 20)}.{rng.randint(0, 9)}.{rng.randint(0, 99)}"


def uuid_4(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def git_hash(rng: Random) -> str:
    return drawn(rng, HEX, rng.choice((7, 40)))


def transaction_hash(rng: Random) -> str:
    return "0x" + drawn(rng, HEX, 64)


def wrong_crypto_address(rng: Random) -> str:
    """An address with its last character changed, so that its checksum fails."""
    while (address := crypto_address(rng)).startswith("0x"):
        pass
    last = rng.choice([character for character in "qpzry9x8" if character != address[-1]])
    return address[:-1] + last


def colour(rng: Random) -> str:
    return "#" + drawn(rng, HEX, 6)


def time(rng: Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}" + rng.choice(("", f":{rng.randint(0, 59):02d}"))


def price(rng: Random) -> str:
    value = f"{rng.randint(1, 999)}.{rng.randint(0, 99):02d}"
    return rng.choice(
        (f"${value}", f"{value} EUR", f"€{value}", value.replace(".", ",") + " €", f"£{value}", f"{value} PLN")
    )


def amount(rng: Random) -> str:
    """A large amount with separators of thousands."""
    written = f"{rng.randint(10**6, 10**11):,}"
    cents = f"{rng.randint(0, 99):02d}"
    layouts = (f"{written}.{cents}", f"{written.replace(',', '.')},{cents}", f"{written.replace(',', ' ')},{cents}")
    return rng.choice(layouts)


def dimensions(rng: Random) -> str:
    mark = rng.choice(("x", " x ", "×", " × "))
    return mark.join(str(rng.randint(20, 2400)) for _ in range(3)) + rng.choice((" mm", " cm", ""))


def coordinates(rng: Random) -> str:
    return f"{rng.uniform(-80, 80):.6f}, {rng.uniform(-170, 170):.6f}"


def part_number(rng: Random) -> str:
    layouts = (
        f"{drawn(rng, UPPER, 2)}-{drawn(rng, DIGITS, 4)}-{drawn(rng, DIGITS, 3)}",
        f"{drawn(rng, DIGITS, 4)}.{drawn(rng, DIGITS, 2)}.{drawn(rng, UPPER, 1)}",
        f"{drawn(rng, UPPER, 3)}{drawn(rng, DIGITS, 7)}",
    )
    return rng.choice(layouts)


def nine_digits(rng: Random) -> str:
    return rng.choice("12345678") + drawn(rng, DIGITS, 8)


def account_number(rng: Random) -> str:
    return rng.choice("123456789") + drawn(rng, DIGITS, rng.randint(7, 11))


def plain_url(rng: Random) -> str:
    path = rng.choice(
        ("shop/item", "a/b?id=" + drawn(rng, DIGITS, 9), "@anna/status/" + drawn(rng, DIGITS, 19), "docs#v2:1")
    )
    return f"https://{rng.choice(('www.example.com', 'docs.example.org', 'localhost:8080'))}/{path}"


def mention(rng: Random) -> str:
    return "@" + rng.choice(("anna", "ben_k", "support-team", "luca99", "all"))


def package(rng: Random) -> str:
    names = ("@types/node", "@babel/core@7.24.0", "lodash@4.17.21", "@acme/ui-kit", "icon@2x.png", "react@^18.2.0")
    return rng.choice(names)


def empty_secret(rng: Random) -> str:
    """What stands in the place of a secret that is not there."""
    return rng.choice(("********", "${API_KEY}", "<hidden>", "null", "REDACTED", "xxxxxxxx", "{{ vault.key }}"))


def quantity(rng: Random) -> str:
    return str(rng.randint(1, 5000))


def sku(rng: Random) -> str:
    return f"SKU-{drawn(rng, UPPER + DIGITS, 6)}"


LOOKALIKES: dict[str, Callable[[Random], str]] = {
    "order": order_number,
    "wrong_card": wrong_card,
    "wrong_iban": wrong_iban,
    "masked": masked_card,
    "token": token,
    "imei": imei,
    "iccid": iccid,
    "tracking": tracking_number,
    "epoch": epoch_seconds,
    "millis": epoch_millis,
    "micros": epoch_micros,
    "ean": ean_13,
    "isbn": isbn,
    "version": version,
    "uuid": uuid_4,
    "git": git_hash,
    "txhash": transaction_hash,
    "wrong_crypto": wrong_crypto_address,
    "colour": colour,
    "time": time,
    "price": price,
    "amount": amount,
    "dimensions": dimensions,
    "coordinates": coordinates,
    "part": part_number,
    "nine": nine_digits,
    "account": account_number,
    "url": plain_url,
    "mention": mention,
    "package": package,
    "no_secret": empty_secret,
    "quantity": quantity,
    "sku": sku,
}

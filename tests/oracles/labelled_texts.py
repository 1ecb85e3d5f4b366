"""Made-up texts with every sensitive value marked, in many languages and layouts, without any code of the detectors.

``labelled_texts`` makes notes, chats, forms, log lines and fragments of files, of which nearly half hold nothing
sensitive but look-alikes. ``disguised_cards`` hides cards behind Unicode. What a span covers:

* a value without the quotes, brackets and punctuation around it;
* a telephone number from its ``+``, ``(`` or first digit to its last digit, without the extension;
* a card from its first to its last digit;
* a secret without its name and quotes, a private key with its BEGIN and END lines;
* of a URL with a password in it, the whole URL; of a date of birth, the date alone.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from oracles import labelled_secrets, labelled_values, lookalikes
from oracles.labelled_phones import any_phone, unmistakable_phone
from oracles.labelled_templates import CLEAN, FILLER, SENSITIVE

__all__ = ["ENTITIES", "LabelledText", "Span", "disguised_cards", "labelled_texts"]

Span = tuple[int, int, str]

ENTITIES = {
    "CREDIT_CARD": 16,
    "EMAIL": 12,
    "PHONE": 20,
    "IBAN": 9,
    "IP_ADDRESS": 6,
    "SECRET": 8,
    "DATE_OF_BIRTH": 7,
    "US_SSN": 5,
    "US_ITIN": 2,
    "MAC_ADDRESS": 3,
    "UK_NINO": 3,
    "UK_NHS": 3,
    "CRYPTO": 3,
    "URL_WITH_CREDENTIALS": 3,
}
"""The entities and how often each is chosen, relative to the others."""

CLEAN_SHARE = 0.45
PLAIN_PHONE_SHARE = 0.3
ONE_BY_LINE = {"log", "json", "csv", "form", "mail"}
NAMES = (
    "Anna Kowalska",
    "Ben Carter",
    "Chiara Rossi",
    "Jürgen Groß",
    "Élise Martin",
    "José Núñez",
    "佐藤 健",
    "Ana Souza",
)
CITIES = ("London", "Köln", "Lyon", "Sevilla", "Torino", "Łódź", "São Paulo", "大阪", "Springfield")

Maker = Callable[..., str]
"""Makes a value from the source of randomness and, if the field has one, its argument."""

SENSITIVE_FIELDS: dict[str, tuple[str, Maker]] = {
    "card": ("CREDIT_CARD", labelled_values.written_card),
    "rare_card": ("CREDIT_CARD", partial(labelled_values.written_card, kinds=labelled_values.RARE_CARDS)),
    "iban": ("IBAN", labelled_values.written_iban),
    "email": ("EMAIL", labelled_values.email),
    "phone": ("PHONE", any_phone),
    "plain_phone": ("PHONE", unmistakable_phone),
    "ssn": ("US_SSN", labelled_values.ssn),
    "bare_ssn": ("US_SSN", labelled_values.bare_ssn),
    "itin": ("US_ITIN", labelled_values.itin),
    "ip": ("IP_ADDRESS", labelled_values.ip),
    "ipv4": ("IP_ADDRESS", labelled_values.ip_v4),
    "ipv6": ("IP_ADDRESS", labelled_values.ip_v6),
    "mac": ("MAC_ADDRESS", labelled_values.mac),
    "nino": ("UK_NINO", labelled_values.written_nino),
    "nhs": ("UK_NHS", labelled_values.written_nhs),
    "crypto": ("CRYPTO", labelled_secrets.crypto_address),
    "login_url": ("URL_WITH_CREDENTIALS", labelled_secrets.credential_url),
    "secret": ("SECRET", labelled_secrets.token),
    "jwt": ("SECRET", labelled_secrets.jwt),
    "aws_id": ("SECRET", partial(labelled_secrets.token, kind="aws_id")),
    "aws_secret": ("SECRET", labelled_secrets.aws_secret),
    "api_key": ("SECRET", labelled_secrets.api_key),
    "password": ("SECRET", labelled_secrets.password),
    "pem": ("SECRET", labelled_secrets.pem_block),
    "dob": ("DATE_OF_BIRTH", labelled_values.date_of_birth),
}


def _name(rng: Random) -> str:
    return rng.choice(NAMES)


def _city(rng: Random) -> str:
    return rng.choice(CITIES)


ORDINARY_FIELDS: dict[str, Maker] = {
    "name": _name,
    "city": _city,
    "date": partial(labelled_values.date, first_year=2019, last_year=2027),
    **lookalikes.LOOKALIKES,
}

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202c"
COMBINING = "\u0301\u0332\u20dd\u0336"
WIDE_GAPS = "\u2002\u2003\u2007\u2009\u200a\u202f\u205f\u3000"
OTHER_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"
OTHER_DIGITS = {
    "full-width": "０１２３４５６７８９",
    "Arabic-Indic": "٠١٢٣٤٥٦٧٨٩",
    "extended Arabic-Indic": "۰۱۲۳۴۵۶۷۸۹",
    "Devanagari": "०१२३४५६७८९",
}
SURROUNDINGS = (("Card: ", ""), ("", ""), ("paid with ", " today"), ("カード番号は", "です"), ("«", "»"))


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text and its sensitive values: start, end and entity, in code points, disjoint and in order."""

    text: str
    spans: tuple[Span, ...] = ()


def labelled_texts(count: int, seed: int) -> list[LabelledText]:
    """Returns ``count`` texts; the same seed gives the same ones, and more of them begin with the fewer."""
    rng = Random(seed)
    return [_clean(rng) if rng.random() < CLEAN_SHARE else _sensitive(rng) for _ in range(count)]


def disguised_cards(seed: int) -> list[LabelledText]:
    """Returns texts with one card each, written so that a search for ASCII digits and common separators misses it.

    Each way of writing is there with several cards. A span runs from the first to the last digit.
    """
    rng = Random(seed)
    ways = [*(("digits", digits) for digits in OTHER_DIGITS.values()), *(("invisible", mark) for mark in INVISIBLE)]
    ways += [("combining", mark) for mark in COMBINING]
    ways += [("gaps", gap) for gap in (*WIDE_GAPS, *OTHER_DASHES, WIDE_GAPS, OTHER_DASHES, WIDE_GAPS + OTHER_DASHES)]
    made = []
    for way, characters in ways * 3:
        value = _disguised(rng, labelled_values.card_number(rng), way, characters)
        before, after = rng.choice(SURROUNDINGS)
        made.append(LabelledText(before + value + after, ((len(before), len(before) + len(value), "CREDIT_CARD"),)))
    return made


def _disguised(rng: Random, number: str, way: str, characters: str) -> str:
    groups = labelled_values.card_groups(number)
    match way:
        case "digits":
            written = rng.choice(("", " ", "-", "\u200b")).join(groups)
            return written.translate(dict(zip(map(ord, string.digits), characters, strict=True)))
        case "gaps":
            return "".join(group + rng.choice(characters) for group in groups)[:-1]
        case "invisible":
            return characters.join(rng.choice((groups, list(number))))
    marked = rng.sample(range(len(number) - 1), 3)
    return "".join(digit + characters * (place in marked) for place, digit in enumerate(number))


def _clean(rng: Random) -> LabelledText:
    voice = rng.choice(["en"] * 6 + list(CLEAN))
    templates = [rng.choice(CLEAN[voice]) for _ in range(rng.choice((1, 1, 2, 3)))]
    return _joined(rng, voice, templates)


def _sensitive(rng: Random) -> LabelledText:
    entity = rng.choices(list(ENTITIES), list(ENTITIES.values()))[0]
    voice = rng.choice([voice for voice, templates in SENSITIVE.items() if entity in templates])
    templates = [_template(rng, voice, entity)]
    if rng.random() < 0.2:
        other = rng.choice([other for other in SENSITIVE[voice] if other in ENTITIES])
        templates.append(_template(rng, voice, other))
    templates += [rng.choice(CLEAN[voice]) for _ in range(rng.choice((0, 0, 1, 2)))]
    return _joined(rng, voice, templates)


def _template(rng: Random, voice: str, entity: str) -> str:
    choices = SENSITIVE[voice]
    if entity == "PHONE" and "PLAIN_PHONE" in choices and rng.random() < PLAIN_PHONE_SHARE:
        entity = "PLAIN_PHONE"
    return rng.choice(choices[entity])


def _joined(rng: Random, voice: str, templates: list[str]) -> LabelledText:
    """The templates in any order, filled, with a sentence about nothing in between now and then."""
    templates = templates + [rng.choice(FILLER[voice]) for _ in range(rng.choice((0, 0, 1)))]
    rng.shuffle(templates)
    joint = "\n" if voice in ONE_BY_LINE else rng.choice(("" if voice == "ja" else " ", "\n", "\r\n", "\n\n"))
    if any(template[-1] not in ".?。" for template in templates):
        joint = joint.strip(" ") or "\n"  # a value at the end of its sentence must not run into the next one
    text, spans = "", []
    for template in templates:
        filled = _filled(rng, template)
        text += joint if text else ""
        spans += [(len(text) + start, len(text) + end, entity) for start, end, entity in filled.spans]
        text += filled.text
    return LabelledText(text, tuple(spans))


def _filled(rng: Random, template: str) -> LabelledText:
    text, spans = "", []
    for literal, field, argument, _ in string.Formatter().parse(template):
        text += literal
        if field is None:
            continue
        arguments = [argument] if argument else []
        if field in SENSITIVE_FIELDS:
            entity, make = SENSITIVE_FIELDS[field]
            value = make(rng, *arguments)
            spans.append((len(text), len(text) + len(value), entity))
        else:
            value = ORDINARY_FIELDS[field](rng, *arguments)
        text += value
    return LabelledText(text, tuple(spans))

"""Made-up sensitive values for labelled texts and columns, right in every check digit, length and structure.

Each maker takes a ``random.Random`` first and returns one value as a person or a program would write it. Telephone
numbers are in ``labelled_phones``, secrets in ``labelled_secrets``, values that only look sensitive in ``lookalikes``.
"""

from __future__ import annotations

import ipaddress
import re
import string
from random import Random

DIGITS = string.digits
UPPER = string.ascii_uppercase
LOWER = string.ascii_lowercase
HEX = "0123456789abcdef"

# First digits from, first digits to, length.
COMMON_CARDS = (
    ("4", "4", 16),
    ("51", "55", 16),
    ("2221", "2720", 16),
    ("34", "34", 15),
    ("37", "37", 15),
    ("6011", "6011", 16),
    ("644", "649", 16),
    ("65", "65", 16),
    ("300", "305", 14),
    ("36", "36", 14),
    ("38", "39", 14),
    ("3528", "3589", 16),
    ("622126", "622925", 16),
    ("624", "626", 16),
)
RARE_CARDS = (
    ("4", "4", 13),
    ("4", "4", 19),
    ("622126", "622925", 17),
    ("622126", "622925", 18),
    ("624", "626", 19),
    ("5018", "5018", 13),
    ("5020", "5020", 16),
    ("5038", "5038", 18),
    ("6304", "6304", 19),
    ("6759", "6759", 16),
    ("6761", "6763", 17),
)
TEST_CARDS = (
    "4111111111111111",
    "4242424242424242",
    "4012888888881881",
    "4222222222222",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
)
CARD_SEPARATORS = (" ", " ", " ", "-", "-", ".", "\u00a0", "\u202f")
CARD_GROUPS = {13: (4, 4, 5), 14: (4, 6, 4), 15: (4, 6, 5)}

# The part after the two check digits: n digit, a capital letter, c digit or capital letter, r and k the national check
# digits that RULES or ``italian_letter`` gives.
IBAN_STRUCTURES = {
    "AE": "19n",
    "AT": "16n",
    "BE": "10n2r",
    "BG": "4a6n8c",
    "BR": "23n1a1c",
    "CH": "5n12c",
    "CY": "8n16c",
    "CZ": "20n",
    "DE": "18n",
    "DK": "14n",
    "EE": "16n",
    "ES": "8n2r10n",
    "FI": "14n",
    "FR": "21n2r",
    "GB": "4a14n",
    "GR": "7n16c",
    "HR": "17n",
    "HU": "24n",
    "IE": "4a14n",
    "IL": "19n",
    "IT": "1k22n",
    "LI": "5n12c",
    "LT": "16n",
    "LU": "3n13c",
    "LV": "4a13c",
    "MT": "4a5n18c",
    "NL": "4a10n",
    "NO": "10n1r",
    "PL": "24n",
    "PT": "19n2r",
    "RO": "4a16c",
    "SA": "2n18c",
    "SE": "20n",
    "SI": "15n",
    "SK": "20n",
    "TR": "5n1z16c",
}
ITALIAN_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)

FIRST_NAMES = ("anna", "ben", "chiara", "david", "elena", "felix", "grace", "hugo", "ines", "jonas", "katja", "luca")
LAST_NAMES = (
    "smith",
    "mueller",
    "rossi",
    "garcia",
    "kowalski",
    "martin",
    "silva",
    "tanaka",
    "jones",
    "oconnor",
    "weber",
)
MAIL_HOSTS = (
    "example.com",
    "gmail.com",
    "web.de",
    "orange.fr",
    "mail.example.co.uk",
    "eu.corp.example.org",
    "uol.com.br",
)
UNICODE_HOSTS = ("müller-büro.de", "例え.jp", "café.fr")


def drawn(rng: Random, alphabet: str, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def luhn_digit(payload: str) -> str:
    """The digit that makes ``payload`` and it pass Luhn."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(payload))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def card_number(rng: Random, kinds: tuple[tuple[str, str, int], ...] = COMMON_CARDS) -> str:
    """The digits of a card."""
    if kinds is COMMON_CARDS and rng.random() < 0.08:
        return rng.choice(TEST_CARDS)
    first, last, length = rng.choice(kinds)
    payload = str(rng.randint(int(first), int(last)))
    payload += drawn(rng, DIGITS, length - 1 - len(payload))
    return payload + luhn_digit(payload)


def card_groups(number: str) -> list[str]:
    """The digits as they stand in groups on the card: four and four, Amex and Diners in their own way."""
    groups, place = [], 0
    for size in CARD_GROUPS.get(len(number), (4, 4, 4, 4, 3)):
        groups.append(number[place : place + size])
        place += size
    return [group for group in groups if group]


def written_card(rng: Random, kinds: tuple[tuple[str, str, int], ...] = COMMON_CARDS) -> str:
    """A card plain, or in groups with one kind of separator."""
    number = card_number(rng, kinds)
    return number if rng.random() < 0.4 else rng.choice(CARD_SEPARATORS).join(card_groups(number))


def mod_97(text: str) -> int:
    return int("".join(str(int(character, 36)) for character in text)) % 97


def iban(rng: Random, country: str = "") -> str:
    """An IBAN without separators, of any country or of one."""
    country = country or rng.choice(list(IBAN_STRUCTURES))
    alphabets = {"n": DIGITS, "a": UPPER, "c": DIGITS + UPPER, "r": "0", "k": "0", "z": "0"}
    parts = re.findall(r"(\d+)(\w)", IBAN_STRUCTURES[country])
    bban = _with_national_check(country, "".join(drawn(rng, alphabets[kind], int(size)) for size, kind in parts))
    return f"{country}{98 - mod_97(bban + country + '00'):02d}{bban}"


def written_iban(rng: Random, country: str = "") -> str:
    """An IBAN plain or in groups of four, one in ten in small letters."""
    value = iban(rng, country)
    if rng.random() < 0.55:
        value = rng.choice((" ", " ", "\u00a0")).join(re.findall(".{1,4}", value))
    return value.lower() if rng.random() < 0.1 else value


def _with_national_check(country: str, bban: str) -> str:
    match country:
        case "BE":
            account = "001" + bban[3:10]  # the registry of banks knows few first digits
            return f"{account}{int(account) % 97 or 97:02d}"
        case "FR":
            return f"{bban[:21]}{97 - int(bban[:21] + '00') % 97:02d}"
        case "PT":
            return f"{bban[:19]}{98 - int(bban[:19] + '00') % 97:02d}"
        case "ES":
            return bban[:8] + _spanish_digit("00" + bban[:8]) + _spanish_digit(bban[10:]) + bban[10:]
        case "NO":
            return _norwegian(bban[:10])
        case "IT":
            return _italian_letter(bban[1:]) + bban[1:]
    return bban


def _spanish_digit(ten: str) -> str:
    rest = 11 - sum(int(digit) * 2**place for place, digit in enumerate(ten)) % 11
    return str({10: 1, 11: 0}.get(rest, rest))


def _norwegian(ten: str) -> str:
    rest = -sum(int(digit) * weight for digit, weight in zip(ten, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=True)) % 11
    return ten + str(rest) if rest < 10 else _norwegian(f"{(int(ten) + 1) % 10**10:010d}")


def _italian_letter(digits: str) -> str:
    values = (int(digit) if place % 2 else ITALIAN_ODD[int(digit)] for place, digit in enumerate(digits))
    return UPPER[sum(values) % 26]


def ssn(rng: Random) -> str:
    """A social security number with dashes."""
    while (area := rng.randint(1, 899)) == 666:
        pass
    return f"{area:03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}"


def bare_ssn(rng: Random) -> str:
    return ssn(rng).replace("-", "")


def itin(rng: Random) -> str:
    group = rng.choice([*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)])
    return f"9{rng.randint(0, 99):02d}-{group}-{rng.randint(0, 9999):04d}"


def nino(rng: Random) -> str:
    """A UK National Insurance number, plain."""
    while True:
        prefix = rng.choice("ABCEGHJKLMNOPRSTWXYZ") + rng.choice("ABCEGHJKLMNPRSTWXYZ")
        if prefix not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}:
            return prefix + drawn(rng, DIGITS, 6) + rng.choice("ABCD")


def written_nino(rng: Random) -> str:
    value = nino(rng)
    return value if rng.random() < 0.5 else " ".join((value[:2], value[2:4], value[4:6], value[6:8], value[8:]))


def nhs_number(rng: Random) -> str:
    """Ten digits, the last by mod 11."""
    while True:
        nine = rng.choice("4567") + drawn(rng, DIGITS, 8)
        check = 11 - sum(int(digit) * (10 - place) for place, digit in enumerate(nine)) % 11
        if check != 10:
            return nine + str(check % 11)


def written_nhs(rng: Random) -> str:
    value = nhs_number(rng)
    return f"{value[:3]} {value[3:6]} {value[6:]}"


def email(rng: Random, domains: str = "") -> str:
    """An address; one in thirty in an international domain, unless ``domains`` is ``ascii``."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    local = rng.choice(
        (f"{first}.{last}", f"{first}_{last}", f"{first[0]}{last}", f"{first}{rng.randint(1, 99)}", "info")
    )
    if rng.random() < 0.15:
        local += "+" + rng.choice(("news", "shop", "2024", "orders"))
    host = rng.choice(UNICODE_HOSTS if domains != "ascii" and rng.random() < 0.03 else MAIL_HOSTS)
    return f"{local}@{host}" if rng.random() < 0.93 else f"{local.title()}@{host.title()}"


def ip_v4(rng: Random) -> str:
    first = rng.choice((10, 192, 172, rng.randint(11, 126), rng.randint(128, 223)))
    return ".".join(map(str, (first, rng.randint(0, 255), rng.randint(0, 255), rng.randint(1, 254))))


def ip_v6(rng: Random) -> str:
    """An IPv6 address: in full, with zeros left out, or mapped from IPv4."""
    match rng.choice(("full", "compressed", "compressed", "mapped")):
        case "full":
            return "2001:0db8:" + ":".join(drawn(rng, HEX, 4) for _ in range(6))
        case "mapped":
            return f"::ffff:{ip_v4(rng)}"
    prefix = rng.choice((0x2001_0DB8 << 96, 0xFE80 << 112, 0x2A00_1450 << 96))
    return str(ipaddress.IPv6Address(prefix + rng.getrandbits(rng.choice((8, 32, 60)))))


def ip(rng: Random) -> str:
    return ip_v4(rng) if rng.random() < 0.65 else ip_v6(rng)


def mac(rng: Random) -> str:
    """An address with colons, dashes or in Cisco's three groups."""
    pairs = [rng.choice(("00", drawn(rng, HEX, 2))), *(drawn(rng, HEX, 2) for _ in range(5))]
    dotted = ".".join(first + second for first, second in zip(pairs[::2], pairs[1::2], strict=True))
    written = rng.choice((":".join(pairs), "-".join(pairs), dotted))
    return written.upper() if rng.random() < 0.4 else written


MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
}
DATE_LAYOUTS = {
    "en": (
        "{d:02}/{m:02}/{y}",
        "{m}/{d}/{y}",
        "{d} {month} {y}",
        "{month} {d}, {y}",
        "{d:02}-{abc}-{y}",
        "{y}-{m:02}-{d:02}",
    ),
    "de": ("{d:02}.{m:02}.{y}", "{d}.{m}.{y}", "{d}. {month} {y}", "{d:02}.{m:02}.{yy:02}"),
    "fr": ("{d:02}/{m:02}/{y}", "{d} {month} {y}", "{d:02}-{m:02}-{y}"),
    "es": ("{d:02}/{m:02}/{y}", "{d} de {month} de {y}", "{d}-{m}-{y}"),
    "it": ("{d:02}/{m:02}/{y}", "{d} {month} {y}"),
    "pl": ("{d:02}.{m:02}.{y}", "{d} {month} {y}", "{y}-{m:02}-{d:02}"),
    "pt": ("{d:02}/{m:02}/{y}", "{d} de {month} de {y}"),
    "ja": ("{y}年{m}月{d}日", "{y}/{m:02}/{d:02}"),
    "hi": ("{d:02}/{m:02}/{y}", "{d:02}-{m:02}-{y}"),
    "iso": ("{y}-{m:02}-{d:02}",),
}


def date(rng: Random, language: str, first_year: int, last_year: int) -> str:
    """A day in one of the layouts of a language, or ``iso``."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(first_year, last_year)
    name = MONTHS.get(language, MONTHS["en"]).split()[month - 1]
    layout = rng.choice(DATE_LAYOUTS[language])
    return layout.format(d=day, m=month, y=year, yy=year % 100, month=name, abc=name[:3])


def date_of_birth(rng: Random, language: str = "iso") -> str:
    return date(rng, language, 1935, 2008)

"""Whether a value, as a whole, is of an entity; one rule for each, on skeletons without space around.

What digits alone cannot prove (a bare telephone or social security number, a date of birth) is of its entity only
where the column's header says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address

from ...schemas.info_types import Entity
from .birth_dates import is_birth_date
from .cards import card_brand, luhn
from .ibans import is_iban
from .network import EMAIL, MAC, URL
from .person_numbers import is_itin, is_nhs, is_ssn
from .phones import is_phone, is_unmistakable_phone
from .secrets import SHAPES, WEB_TOKEN
from .wallets import is_wallet

__all__ = ["CHANCE", "NAMED", "PROVEN", "digits_of", "is_whole", "proven_entity"]

SEPARATED = re.compile(rb"[0-9][0-9 .-]*[0-9]")
ACCOUNT = re.compile(rb"[A-Z]{2}[0-9]{2}[0-9A-Z]{10,30}")
NINE = re.compile(rb"\d{3}-\d\d-\d{4}")
NINO = re.compile(rb"(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ -]?\d\d[ -]?\d\d[ -]?\d\d[ -]?[A-D]")

Rule = Callable[[bytes], bool]

CHANCE = {
    Entity.CREDIT_CARD: 0.10,
    Entity.UK_NHS: 0.09,
    Entity.IBAN: 0.01,
    Entity.US_SSN: 0.89,
    Entity.US_ITIN: 0.04,
    Entity.PHONE: 0.45,
}
"""Which share of random values of the right length and characters would pass."""


def digits_of(text: bytes) -> bytes:
    """Returns the digits of a value that has nothing but digits, spaces, dots and dashes; else nothing."""
    return re.sub(rb"[^0-9]", b"", text) if SEPARATED.fullmatch(text) else b""


def _card(text: bytes) -> bool:
    digits = digits_of(text)
    return card_brand(digits) is not None and luhn(digits)


def _iban(text: bytes) -> bool:
    compact = re.sub(rb"[ -]", b"", text).upper()
    return ACCOUNT.fullmatch(compact) is not None and is_iban(compact)


def _email(text: bytes) -> bool:
    return EMAIL.fullmatch(text) is not None and not text.endswith(b".invalid")  # nobody's (RFC 2606): a token


def _address(text: bytes) -> bool:
    try:
        ip_address(text.decode("ascii"))
    except ValueError:
        return False
    return True


def _nine(test: Rule, *, bare: bool) -> Rule:
    def passes(text: bytes) -> bool:
        digits = digits_of(text)
        if bare and text == digits and len(digits) == 8:  # a number has lost its zero
            digits = b"0" + digits
        return len(digits) == 9 and test(digits) and (bare or NINE.fullmatch(text) is not None)

    return passes


def _health_number(text: bytes) -> bool:
    digits = digits_of(text)
    return len(digits) == 10 and is_nhs(digits)


def _matches(*wanted: object) -> Rule:
    return lambda text: any(each.fullmatch(text) is not None for each in wanted)  # type: ignore[attr-defined]


PROVEN: Mapping[Entity, Rule] = {
    Entity.CREDIT_CARD: _card,
    Entity.IBAN: _iban,
    Entity.EMAIL: _email,
    Entity.PHONE: is_unmistakable_phone,
    Entity.US_SSN: _nine(is_ssn, bare=False),
    Entity.US_ITIN: _nine(is_itin, bare=False),
    Entity.IP_ADDRESS: _address,
    Entity.MAC_ADDRESS: _matches(MAC),
    Entity.UK_NINO: _matches(NINO),
    Entity.CRYPTO: is_wallet,
    Entity.URL_WITH_CREDENTIALS: lambda text: URL.fullmatch(text) is not None and b":" in text.partition(b"://")[2],
    Entity.SECRET: _matches(SHAPES, WEB_TOKEN),
}
"""Values that prove themselves, whatever the header says."""

NAMED: Mapping[Entity, Rule] = {
    Entity.PHONE: is_phone,
    Entity.US_SSN: _nine(is_ssn, bare=True),
    Entity.US_ITIN: _nine(is_itin, bare=True),
    Entity.UK_NHS: _health_number,
    Entity.DATE_OF_BIRTH: is_birth_date,
    Entity.SECRET: lambda text: len(text) >= 8 and b" " not in text and not text.isalpha(),
}
"""Values that are of an entity if the header names it."""

LEAST = 0.1
"""Share of values that settles what a column holds besides what it should."""
FEWEST = 3
CERTAIN = frozenset(
    {Entity.EMAIL, Entity.IBAN, Entity.CRYPTO, Entity.SECRET, Entity.URL_WITH_CREDENTIALS, Entity.MAC_ADDRESS}
)
"""What no value is by chance, so that one tells; of any other entity it takes ``FEWEST``."""
DIGITS, HEX = b"0123456789", b"0123456789abcdefABCDEF"
NEEDS: Mapping[Entity, tuple[int, bytes, bytes]] = {
    Entity.CREDIT_CARD: (13, b"", DIGITS),
    Entity.IBAN: (15, b"", b""),
    Entity.EMAIL: (6, b"@", b""),
    Entity.PHONE: (8, b"+(-./ ", DIGITS + b"+("),
    Entity.US_SSN: (11, b"-", DIGITS),
    Entity.US_ITIN: (11, b"-", DIGITS),
    Entity.IP_ADDRESS: (3, b".:", HEX + b":"),
    Entity.MAC_ADDRESS: (14, b":-.", HEX),
    Entity.UK_NINO: (9, b"", b""),
    Entity.CRYPTO: (25, b"", b""),
    Entity.URL_WITH_CREDENTIALS: (10, b"@", b""),
    Entity.SECRET: (16, b"", b""),
}
"""What a look at a value tells before its rule is asked: fewest characters, signs of which each value has one, and
those that it may begin with; empty: any."""


def is_whole(entity: Entity, text: bytes) -> bool:
    """Returns whether a value is of an entity, where it may be one by itself or by a header."""
    return any(rule is not None and rule(text) for rule in (PROVEN.get(entity), NAMED.get(entity)))


def proven_entity(texts: Sequence[bytes], permitted: Collection[Entity]) -> Entity | None:
    """Returns the entity, of those that are not permitted, that a tenth and more of the values prove themselves to be.

    Args:
        texts: Skeletons without space around.
        permitted: What the values may be.
    """
    counts = Counter[Entity]()
    for entity, rule in PROVEN.items():
        long = [] if entity in permitted else _possible(entity, texts)
        count = sum(map(rule, long))
        enough = count >= max(LEAST * len(texts), 1 if entity in CERTAIN else FEWEST)
        if enough and not (entity is Entity.CREDIT_CARD and _by_chance(long, count)):
            counts[entity] = count
    return counts.most_common(1)[0][0] if counts else None


def _possible(entity: Entity, texts: Sequence[bytes]) -> list[bytes]:
    """Returns the values that may be of an entity at first sight."""
    shortest, signs, begins = NEEDS[entity]
    long = [text for text in texts if len(text) >= shortest and (not begins or text[0] in begins)]
    return [text for text in long if text.translate(None, signs) != text] if signs else long


def _by_chance(texts: Sequence[bytes], cards: int) -> bool:
    """Whether numbers that look like cards pass Luhn about as often as any do."""
    return 2 * cards < sum(card_brand(digits_of(text)) is not None for text in texts)

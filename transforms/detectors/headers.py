"""What the header of a column promises; a prior and no proof."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...schemas.info_types import Entity
from .skeletons import folded
from .words import words

__all__ = ["are_versions", "promised"]

CAMEL = re.compile(rb"(?<=[a-z0-9])(?=[A-Z])")
PROMISES = {
    Entity.CREDIT_CARD: words("pan cc ccn cc_num", "card credit_card kreditkart tarjeta carte_ karta kartennummer"),
    Entity.IBAN: words("iban", "iban bank_account bankverbindung kontonummer"),
    Entity.EMAIL: words("mail", "email e_mail correo courriel"),
    Entity.PHONE: words(
        "phone tel mobile cell fax handy ph msisdn movil whatsapp landline telno contact_no contact_number",
        "phone telef telep mobil cellul handy rufnummer movil celul fax msisdn contact_n komork portable",
    ),
    Entity.US_SSN: words("ssn ss_no", "ssn social_sec"),
    Entity.US_ITIN: words("itin", "itin taxpayer"),
    Entity.UK_NHS: words("nhs", "nhs"),
    Entity.UK_NINO: words("nino ni ni_number ni_no", "nino national_ins"),
    Entity.IP_ADDRESS: words("ip ipv4 ipv6", "ip_addr"),
    Entity.MAC_ADDRESS: words("mac", "mac_addr"),
    Entity.DATE_OF_BIRTH: words(
        "dob geb birthday birthdate born bday ne_le",
        "dob birth geburt nacim fecha_nac naiss nascit nascim urodz 生年月日",
    ),
    Entity.SECRET: words(
        "password passwd pwd secret token apikey", "passw api_key secret access_token auth_token passwort"
    ),
    Entity.CRYPTO: words("wallet btc eth", "wallet bitcoin"),
}


VERSION = words("version versions ver build release firmware fw", "version release firmware")
LATEST = 40
"""Hardly a version is later, and addresses seldom all begin so low."""
FOUR_PARTS = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


def are_versions(header: str, texts: Sequence[bytes]) -> frozenset[Entity]:
    """Returns what values are not since they are versions: their header says so, and none of them speaks against it."""
    four = [int(text.partition(b".")[0]) for text in texts if FOUR_PARTS.fullmatch(text)]
    says = VERSION.within(_plain(header)) is not None and Entity.IP_ADDRESS not in promised(header)
    return frozenset({Entity.IP_ADDRESS}) if says and four and max(four) <= LATEST else frozenset()


def promised(header: str) -> frozenset[Entity]:
    """Returns the entities that a header names.

    >>> sorted(promised("customerPhoneNo"))
    [<Entity.PHONE: 'PHONE'>]
    """
    text = _plain(header)
    return frozenset(entity for entity, known in PROMISES.items() if known.within(text) is not None)


def _plain(header: str) -> bytes:
    return CAMEL.sub(b" ", folded(header)).lower().replace(b"_", b" ").replace(b".", b" ").strip()

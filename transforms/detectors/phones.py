"""Telephone numbers: international ones by their plus, national ones by a word beside them or an unmistakable layout.

Rules settle what may be a number of which region; ``phonenumbers`` then says whether it is valid there, once for each
number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText
from .number_chains import Chain
from .words import words

__all__ = ["is_phone", "is_unmistakable_phone", "phone_region", "phones"]

SHORTEST, LONGEST = 7, 15

# What national numbers look like as they are dialled, trunk prefix included; first match wins.
NATIONAL = tuple(
    (region, re.compile(shape))
    for region, shape in (
        ("US", rb"1?[2-9]\d{2}[2-9]\d{6}"),
        ("GB", rb"0[12378]\d{8,9}"),
        ("FR", rb"0[1-9]\d{8}"),
        ("DE", rb"0[1-9]\d{6,11}"),
        ("AU", rb"0[23478]\d{8}|1[38]00\d{6}"),
        ("JP", rb"0\d{9,10}"),
        ("IT", rb"0\d{6,10}|3\d{8,9}"),
        ("ES", rb"[6789]\d{8}"),
        ("PL", rb"[1-9]\d{8}"),
        ("IN", rb"0?[1-9]\d{9}"),
        ("BR", rb"0?[1-9]\d9?\d{8}"),
        ("NL", rb"0[1-9]\d{8}"),
        ("BE", rb"0[1-9]\d{7,8}"),
        ("CH", rb"0[2-9]\d{8}"),
        ("AT", rb"0[1-9]\d{6,11}"),
        ("PT", rb"[239]\d{8}"),
        ("SE", rb"0[1-9]\d{6,8}"),
        ("NO", rb"[2-9]\d{7}"),
        ("DK", rb"[2-9]\d{7}"),
        ("IE", rb"0[1-9]\d{7,8}"),
        ("MX", rb"[1-9]\d{9}"),
        ("CN", rb"1[3-9]\d{9}|0[1-9]\d{8,10}"),
    )
)
# National layouts that people read as a telephone number without any word.
PLAIN = re.compile(rb"\+?[0-9 ()./-]{6,30}")
DECIMALS = re.compile(rb",\d\d?(?!\d)")
UNMISTAKABLE = re.compile(
    rb"\([2-9]\d\d\) ?[2-9]\d\d[-. ]\d{4}"
    rb"|[2-9]\d\d([-.])[2-9]\d\d\1\d{4}"
    rb"|1[-. ][2-9]\d\d[-. ][2-9]\d\d[-. ]\d{4}"
    rb"|\(?0[1-9]\d{1,4}\)?[ /-]\d{3,4}[ -]?\d{3,4}"
    rb"|0[1-9]([ .-])\d\d(?:\2\d\d){3}"
    rb"|\(?0\d{1,4}\)?[-/ ]{1,3}\d{1,4}[- ]\d{3,4}"
    rb"|\(0\d\) \d{4} \d{4}|04\d\d \d{3} \d{3}"
    rb"|01[567]\d{1,2}[ /-]{1,3}\d{6,8}|0[2-9]\d{1,3} ?/ ?\d{4,8}"
    rb"|\(\d\d\) ?9?\d{4}-\d{4}"
)
EXIT = re.compile(rb"00[1-9]")
CODE = re.compile(rb"[A-Z0-9]{2,} $")
"""The end of a code in capitals, of which the digits that follow may be a part."""
PHONE = words(
    "call calls called phone phones tel telephone mobile mob cell fax whatsapp sms ring reach dial contact hotline ph "
    "mobil fon rufnummer appel appeler appelez portable joindre movil telefono llamar llame celular fono ligue "
    "ligar telemovel telefone cellulare chiamare chiama numero_di zadzwon zadzwonic tel_kom kom komorka fijo "
    "viber telegram signal text txt callback voicemail landline facsimile gsm zap",
    "phone t: p: f: m: w: h: telef tél telephon mobil cellul handy rufnummer rückruf anruf anrufen rufen erreichbar durchwahl festnetz téléph rappel "
    "llam marcar chiam zadzwo dzwon komork komórk celul whats call_ contact_n number_is reach_ 電話 携帯 連絡先 फोन मोबाइल नंबर "
    "ligar ligue contato contat",
)
OTHER = words(
    "order orders invoice ref reference ticket tracking track serial sn sku ean isbn upc gtin part item items model case "
    "rma account acct customer policy contract vat tax id imei iccid sim iban ssn itin nhs nino card version v epoch ts "
    "timestamp bestellung auftrag rechnung kundennummer commande facture colis pedido factura ordine fattura zamowienie "
    "faktura passport po lot batch meter zip plz postcode steuer siret siren nip pesel regon kvk abn lat lon lng build "
    "amount total price qty quantity",
    "order_n order_id tracking sendung bestell auftrag rechnung artikel seriennummer suivi envio spedizione przesyłk "
    "zamowien member account_n kontonummer konto customer_n booking reservation buchung",
)


def phones(text: JoinedText, chain: Chain) -> Iterator[Finding]:
    """Yields the telephone numbers in a chain."""
    sizes = [end - start for start, end in chain.groups]
    first = 0
    while first < len(sizes):
        found = _phone_from(text, chain, sizes, first)
        if found is None:
            first += 1
            continue
        last, finding = found
        yield finding
        first = last + 1


def _phone_from(text: JoinedText, chain: Chain, sizes: list[int], first: int) -> tuple[int, Finding] | None:
    start = chain.groups[first][0]
    lead = text.data[max(0, start - 2) : start]
    runs = _runs(sizes, first)
    if not runs:
        return None
    if lead[-1:] == b"+" or lead == b"+(":
        return _international(text, chain, first, runs, start - (2 if lead == b"+(" else 1))
    if not text.begins(chain.start):
        return None  # the chain is the end of a code
    if EXIT.match(chain.cut(first, first)):
        spaced = len(chain.groups) > first + 1 and chain.sizes(first, first)[0] < SHORTEST
        if spaced or PHONE.last(text.before(start)) >= 0:
            found = _international(text, chain, first, runs, start)
            if found is not None:
                return found
    return _national(text, chain, first, runs)


def _runs(sizes: list[int], first: int) -> list[int]:
    """Returns the last groups that a number from ``first`` may have, the longest run first."""
    total, runs = 0, []
    for last in range(first, len(sizes)):
        total += sizes[last]
        if total > LONGEST + 2:
            break
        if total >= SHORTEST:
            runs.append(last)
    return runs[::-1]


def _international(
    text: JoinedText, chain: Chain, first: int, runs: list[int], start: int
) -> tuple[int, Finding] | None:
    for last in runs:
        end = chain.groups[last][1]
        written = chain.cut(first, last)
        digits = re.sub(rb"[^0-9]", b"", re.sub(rb"\(0\)", b"", written))
        region = phone_region(b"+" + (digits[2:] if EXIT.match(digits) and start == chain.groups[first][0] else digits))
        if region and text.data[end] not in b"\xe0" and not text.data[end : end + 1].isalnum() and _calm(written):
            return last, Finding(start, end, Entity.PHONE, 0.9, f"international number, valid in {region}")
    return None


def _calm(written: bytes) -> bool:
    """Returns whether the separators could stand in one number."""
    return b"+" not in written and not re.search(rb"[-./]{2}|  ", written)


def _national(text: JoinedText, chain: Chain, first: int, runs: list[int]) -> tuple[int, Finding] | None:
    start = chain.groups[first][0]
    if (
        start
        and text.data[start - 1 : start] == b"("
        and b")" in chain.cut(first, min(first + 1, len(chain.groups) - 1))
    ):
        start -= 1
    before = text.before(start)
    named, other = PHONE.governing(before), OTHER.governing(before)
    if other > named:
        return None
    for last in runs:
        end = chain.groups[last][1]
        written = text.data[start:end]
        digits = re.sub(rb"[^0-9]", b"", written)
        if not _calm(written) or not text.whole(start, end) or _continues(text, start, end) or len(digits) < 8:
            continue
        after = text.after(end, 18)
        near = named >= 0 or PHONE.first(after) >= 0
        alone = first == 0 and last == len(chain.groups) - 1
        if not near and not (
            alone and UNMISTAKABLE.fullmatch(written) and not CODE.search(text.data[start - 6 : start])
        ):
            continue
        if not near and OTHER.first(after[:10]) >= 0:
            continue
        region = _national_region(digits)
        if region is None:
            continue
        told = (
            f"after the word '{PHONE.name(before)}'"
            if named >= 0
            else "beside a word for it"
            if near
            else "in a usual layout"
        )
        score = 0.85 if near else 0.7
        return last, Finding(start, end, Entity.PHONE, score, f"national number, valid in {region}, {told}")
    return None


def _continues(text: JoinedText, start: int, end: int) -> bool:
    """Returns whether digits or signs around say that the number is longer, a decimal or a formula."""
    around = text.data[max(0, start - 1) : start] + b" " + text.data[end : end + 4]
    bare = text.data[start:end].isdigit()
    return bool(
        re.match(rb"[.#-] |.? (?:[.:/-]\d|[%*=])", around) or (bare and DECIMALS.match(around, around.index(b" ") + 1))
    )


def _national_region(digits: bytes) -> str | None:
    for region, shape in NATIONAL:
        if shape.fullmatch(digits) and _valid(digits.decode(), region):
            return region
    return None


def is_unmistakable_phone(written: bytes) -> bool:
    """Returns whether a value is international with its plus, or national in a layout of telephone numbers, and valid."""
    if written.startswith(b"+"):
        return _is_international(written)
    return bool(UNMISTAKABLE.fullmatch(written)) and _national_region(_digits(written)) is not None


def is_phone(written: bytes) -> bool:
    """Returns whether a value is a telephone number where its header says so: valid in some region."""
    if not PLAIN.fullmatch(written):
        return False
    digits = _digits(written)
    return _is_international(written) or _national_region(digits) is not None or phone_region(b"+" + digits) is not None


def _is_international(written: bytes) -> bool:
    digits = _digits(written.replace(b"(0)", b""))
    if EXIT.match(digits) and not written.startswith(b"+"):
        digits = digits[2:]
    elif not written.startswith(b"+"):
        return False
    return PLAIN.fullmatch(written) is not None and phone_region(b"+" + digits) is not None


def _digits(written: bytes) -> bytes:
    return re.sub(rb"[^0-9]", b"", written)


def phone_region(digits: bytes) -> str | None:
    """Returns the region of an E.164 number, ``ZZ`` where many share it, None where it is no valid number."""
    return _region(digits.decode())


@lru_cache(maxsize=65_536)
def _region(number: str) -> str | None:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.region_code_for_number(parsed) or "ZZ"


@lru_cache(maxsize=65_536)
def _valid(digits: str, region: str) -> bool:
    try:
        parsed = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_valid_number_for_region(parsed, region))

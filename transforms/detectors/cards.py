"""Payment card numbers (ISO/IEC 7812): digits of an issuer's range, of its length, that pass Luhn."""

from __future__ import annotations

from collections.abc import Iterator

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText
from .number_chains import Chain
from .words import words

__all__ = ["card_brand", "cards", "luhn"]

SHORTEST, LONGEST = 13, 19
FEW_DIGITS = frozenset(b"0123456789")

# First and last value of a number's first six digits, lengths, brand, and whether ranges so wide need a word.
RANGES = (
    (400000, 499999, (16,), "Visa", False),
    (400000, 499999, (13, 19), "Visa", True),
    (510000, 559999, (16,), "Mastercard", False),
    (222100, 272099, (16,), "Mastercard", False),
    (340000, 349999, (15,), "American Express", False),
    (370000, 379999, (15,), "American Express", False),
    (601100, 601199, (16,), "Discover", False),
    (644000, 659999, (16,), "Discover", False),
    (601100, 601199, (17, 18, 19), "Discover", True),
    (644000, 659999, (17, 18, 19), "Discover", True),
    (300000, 305999, (14, 16), "Diners Club", False),
    (309500, 309599, (14, 16), "Diners Club", False),
    (360000, 369999, (14,), "Diners Club", False),
    (380000, 399999, (14, 16), "Diners Club", False),
    (352800, 358999, (16,), "JCB", False),
    (352800, 358999, (17, 18, 19), "JCB", True),
    (620000, 629999, (16,), "UnionPay", False),
    (810000, 817199, (16,), "UnionPay", True),
    (620000, 629999, (17, 18, 19), "UnionPay", True),
    (220000, 220499, (16,), "Mir", False),
    (500000, 509999, (16,), "Maestro", False),
    (560000, 589999, (16,), "Maestro", False),
    (600000, 699999, (16,), "Maestro", True),
    (500000, 509999, (13, 14, 15, 17, 18, 19), "Maestro", True),
    (560000, 699999, (13, 14, 15, 17, 18, 19), "Maestro", True),
)
LAYOUTS = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4, 1), (4, 5, 6), (6, 13)}
LAYOUTS |= {(4, 4, 4, 3), (4, 4, 5), (4, 4, 4, 1), (8, 8), (6, 10), (4, 4, 4, 2)}

CARD = words(
    "card cc pan visa mastercard amex maestro discover jcb diners unionpay karte carte tarjeta carta karta kartę cartao "
    "paid payment pay charged charge bezahlt paye payé pagado pagato pago zapłacono zaplacono",
    "card credit_card debit_card kreditkart kartennummer carte_bancaire carta_di karty cartao zahlkart bankkart "
    "master_card american_express カード 卡 कार्ड",
)
OTHER = words(
    "order orders imei iccid sim tracking track invoice ref reference ticket serial sn upc ean isbn gtin barcode awb "
    "barcodes shipment parcel package case rma sku meid udid account acct iban bestellung auftrag rechnung commande "
    "facture pedido factura ordine fattura zamowienie faktura timestamp epoch ts ms transaction txn po lot batch meter",
    "order_n order_id tracking sendung bestell auftrags rechnungs colis suivi envio spedizione przesyłk zamowien "
    "kundennummer customer_n member artikel seriennummer device",
)


def cards(text: JoinedText, chain: Chain) -> Iterator[Finding]:
    """Yields the card numbers in a chain."""
    sizes = [end - start for start, end in chain.groups]
    if sum(sizes) < SHORTEST:
        return
    first = 0
    while first < len(sizes):
        found = _card_from(text, chain, sizes, first)
        if found is None:
            first += 1
            continue
        last, finding = found
        yield finding
        first = last + 1


def _card_from(text: JoinedText, chain: Chain, sizes: list[int], first: int) -> tuple[int, Finding] | None:
    total = 0
    for last in range(first, len(sizes)):
        total += sizes[last]
        if total > LONGEST:
            return None
        if total >= SHORTEST:
            finding = _card(text, chain, first, last)
            if finding is not None:
                return last, finding
    return None


def _card(text: JoinedText, chain: Chain, first: int, last: int) -> Finding | None:
    digits = bytes(byte for byte in chain.cut(first, last) if byte in FEW_DIGITS)
    brand = card_brand(digits)
    if brand is None or not luhn(digits):
        return None
    start, end = chain.groups[first][0], chain.groups[last][1]
    if not _stands_alone(text, chain, first, last):
        return None
    before, after = text.before(start), text.after(end, 24)
    named, other = CARD.governing(before), OTHER.governing(before)
    near = named >= 0 or CARD.first(after) >= 0
    if other > named or (named < 0 and OTHER.first(after[:12]) >= 0):
        return None
    name, needs_word = brand
    if _longer(chain, first, last):
        return None
    sizes = chain.sizes(first, last)
    if not near and (needs_word or not _usual(chain, first, last, sizes)):
        return None
    told = f", after the word '{CARD.name(before)}'" if named >= 0 else ", beside a word for cards" if near else ""
    score = 0.99 if near else 0.95
    return Finding(start, end, Entity.CREDIT_CARD, score, f"{len(digits)} digits, {name} range, Luhn valid{told}")


def _usual(chain: Chain, first: int, last: int, sizes: tuple[int, ...]) -> bool:
    """Returns whether digits are grouped as on cards, or not at all, with one separator between groups."""
    if len(sizes) == 1:
        return True
    gaps = {chain.groups[at + 1][0] - chain.groups[at][1] for at in range(first, last)}
    return sizes in LAYOUTS and gaps <= {1, 2, 3}


def _stands_alone(text: JoinedText, chain: Chain, first: int, last: int) -> bool:
    """Returns whether the run is no part of something longer: a word, an account number, a longer row of groups."""
    start, end = chain.groups[first][0], chain.groups[last][1]
    if not text.whole(start, end):
        return False
    if start and text.data[start - 1] in b"+.":
        return False
    if text.data[end : end + 1] == b"." and text.data[end + 1] in FEW_DIGITS:
        return False
    around = text.data[max(0, start - 5) : start]
    if len(around) == 5 and around[:2].isalpha() and around[2:4].isdigit() and around[4] in b" -":
        return False  # a country and check digits stand in front: an account number
    sizes = chain.sizes(first, last)
    same = set(sizes[:-1]) == {4}
    if first and same and len(sizes) > 1 and chain.sizes(first - 1, first - 1) == (4,) and not _far(chain, first):
        return False
    more = last + 1 < len(chain.groups)
    return not (
        more and same and sizes[-1] == 4 and chain.sizes(last + 1, last + 1) == (4,) and not _far(chain, last + 1)
    )


def _longer(chain: Chain, first: int, last: int) -> bool:
    """Returns whether a short group follows that belongs to a longer number of the same brand."""
    if last + 1 >= len(chain.groups) or chain.sizes(last + 1, last + 1)[0] > 3 or _far(chain, last + 1):
        return False
    brand = card_brand(bytes(byte for byte in chain.cut(first, last + 1) if byte in FEW_DIGITS))
    return brand is not None and chain.sizes(last, last) == (4,)


def _far(chain: Chain, place: int) -> bool:
    """Returns whether a group is set apart from the one before by more than what parts groups of one number."""
    gap = chain.text[chain.groups[place - 1][1] - chain.start : chain.groups[place][0] - chain.start]
    return len(gap) > 1 or gap in (b"/",)


def card_brand(digits: bytes) -> tuple[str, bool] | None:
    """Returns the brand of a number's range and length, and whether it takes a word to believe it; None: no card's."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return None
    head, length = int(digits[:6]), len(digits)
    for low, high, lengths, name, needs_word in RANGES:
        if low <= head <= high and length in lengths:
            return name, needs_word
    return None


def luhn(digits: bytes) -> bool:
    """Returns whether a number passes Luhn (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = 2 * value - 9 * (value > 4)
        total += value
    return total % 10 == 0

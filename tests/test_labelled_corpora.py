"""The labelled texts and columns hold what their labels say, checked by code that did not make them."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import string
import unicodedata
from collections.abc import Callable
from random import Random

import phonenumbers
import pytest
from oracles import labelled_values, lookalikes
from oracles.detection_score import score
from oracles.labelled_columns import FREE_TEXT, MIXED, LabelledColumn, labelled_columns
from oracles.labelled_phones import CODES, UNMISTAKABLE, any_phone, unmistakable_phone
from oracles.labelled_secrets import BASE_58, BECH_32, GENERATORS, bech_32, eip_55, keccak_256
from oracles.labelled_templates import CLEAN, FILLER, SENSITIVE
from oracles.labelled_texts import (
    ENTITIES,
    ORDINARY_FIELDS,
    SENSITIVE_FIELDS,
    LabelledText,
    disguised_cards,
    labelled_texts,
)
from stdnum import iban, luhn
from stdnum.gb import nhs
from stdnum.us import ssn

SEED = 20
TEXTS = labelled_texts(6000, SEED)
COLUMNS = labelled_columns(SEED)
CARD = re.compile(r"(4|5[1-5]|2[2-7]|3[04-9]|6[0-7]|50)\d+")
MONTH_OR_NUMBERS = re.compile(
    r"[\d./-]{8,10}|\d\d-[A-Z][a-z]{2}-\d{4}|.*[^\W\d]{3,} .*\d{4}|\w{3,} \d+, \d{4}|\d{4}年\d+月\d+日"
)
SECRET = re.compile(
    r"A(KI|SI)A[A-Z2-7]{16}|gh[pos]_\w{36}|github_pat_\w{82}|sk_live_\w{24,}|AIza[\w-]{35}|xoxb-\d{12}-\d{13}-\w{24}"
    r"|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{43}|-----BEGIN [A-Z ]+-----\n[\w+/=\n]+\n-----END [A-Z ]+-----|[\w+/!#$%*-]{9,40}"
)


def digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def is_card(text: str) -> bool:
    number = digits(text)
    written = re.fullmatch(r"\d[\d .\u00a0\u202f-]+\d", text) and 13 <= len(number) <= 19
    scheme = re.match("3[47]" if len(number) == 15 else CARD, number)
    return bool(written and scheme) and luhn.is_valid(number)


def is_phone(text: str, regions: tuple[str, ...] = tuple(CODES)) -> bool:
    """Whether it is valid as dialled in one of the regions."""
    dialled = "+" + text[2:] if text.startswith("00") else text
    for region in regions:
        with contextlib.suppress(phonenumbers.NumberParseException):
            if phonenumbers.is_valid_number(phonenumbers.parse(dialled, region)):
                return True
    return False


def is_address(text: str) -> bool:
    """Whether ``ipaddress`` reads it; it refuses zeros in front in IPv4 only."""
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def is_crypto(text: str) -> bool:
    if text.startswith("0x"):
        return len(text) == 42 and text[2:] in (text[2:].lower(), eip_55(text[2:].lower()))
    if re.fullmatch(f"(bc|ltc)1[{BECH_32}]+", text):
        return bech_32_check(text) == (0x2BC830A3 if text.startswith("bc1p") else 1)
    return bool(re.fullmatch("[13LM][1-9A-HJ-NP-Za-km-z]{24,33}", text)) and base_58_check_fits(text)


def base_58_check_fits(text: str) -> bool:
    number = 0
    for character in text:
        number = number * 58 + BASE_58.index(character)
    data = number.to_bytes(25)
    return hashlib.sha256(hashlib.sha256(data[:21]).digest()).digest()[:4] == data[21:]


def bech_32_check(text: str) -> int:
    """The residue of BIP 173 over the whole address, which is 1 there and another constant in BIP 350."""
    prefix, data = text.rsplit("1", 1)
    residue = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *map(BECH_32.index, data)]:
        top, residue = residue >> 25, (residue & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            residue ^= generator if top >> place & 1 else 0
    return residue


def matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: bool(re.fullmatch(pattern, text))


CHECKS: dict[str, Callable[[str], bool]] = {
    "CREDIT_CARD": is_card,
    "IBAN": lambda text: iban.is_valid(text.replace("\u00a0", "")),
    "EMAIL": matches(r"[\w.+]+@(?:[\w-]+\.)+\w+"),
    "PHONE": is_phone,
    "US_SSN": ssn.is_valid,
    "US_ITIN": matches(r"9\d\d-(5\d|6[0-5]|7\d|8[0-8]|9[0-2]|9[4-9])-\d{4}"),
    "IP_ADDRESS": is_address,
    "MAC_ADDRESS": matches(r"(?i)([\da-f]{2}([:-]))([\da-f]{2}\2){4}[\da-f]{2}|([\da-f]{4}\.){2}[\da-f]{4}"),
    "UK_NINO": matches(r"[A-Z]{2}( ?\d\d){3} ?[A-D]"),
    "UK_NHS": nhs.is_valid,
    "CRYPTO": is_crypto,
    "URL_WITH_CREDENTIALS": matches(r"[a-z+]+://\w+:[^@\s]+@[\w.-]+(:\d+)?(/[\w./?=]*)?"),
    "SECRET": lambda text: bool(SECRET.fullmatch(text)),
    "DATE_OF_BIRTH": lambda text: bool(MONTH_OR_NUMBERS.fullmatch(text)),
}


def labelled(entity: str) -> list[str]:
    return [item.text[start:end] for item in TEXTS for start, end, kind in item.spans if kind == entity]


def columns(kind: str) -> list[LabelledColumn]:
    return [column for column in COLUMNS if column.kind == kind]


def name_of(column: LabelledColumn) -> str:
    return f"{column.kind}-{column.feed}-{column.column}".encode("ascii", "replace").decode()


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_labelled_value_passes_a_check_of_its_entity(entity: str) -> None:
    values = labelled(entity)
    assert len(values) > 50
    assert [value for value in values if not CHECKS[entity](value)] == []


def test_every_template_names_known_fields_and_has_a_value_of_its_entity() -> None:
    def fields(template: str) -> set[str]:
        return {field for _, field, _, _ in string.Formatter().parse(template) if field}

    for entities in SENSITIVE.values():
        for entity, templates in entities.items():
            for template in templates:
                found = {SENSITIVE_FIELDS[field][0] for field in fields(template) if field not in ORDINARY_FIELDS}
                assert entity.removeprefix("PLAIN_") in found
    for voices in (CLEAN, FILLER):
        assert voices.keys() == SENSITIVE.keys()
        assert all(fields(template) <= ORDINARY_FIELDS.keys() for texts in voices.values() for template in texts)


def test_spans_are_inside_in_order_disjoint_and_without_what_stands_around() -> None:
    for item in TEXTS:
        place = 0
        for start, end, _ in item.spans:
            assert place <= start < end <= len(item.text)
            assert item.text[start].isalnum() or item.text[start] in "(+:-/"
            assert item.text[end - 1].isalnum() or item.text[end - 1] in "-+/"
            assert not re.match(r"[0-9A-Za-z]", item.text[end:])
            assert not re.match(r"[0-9A-Za-z]", item.text[:start][-1:])
            place = end


def test_the_same_seed_gives_the_same_corpora_and_another_one_others() -> None:
    assert labelled_texts(100, SEED) == TEXTS[:100] != labelled_texts(100, SEED + 1)
    assert labelled_columns(SEED) == COLUMNS != labelled_columns(SEED + 1)
    assert disguised_cards(SEED) == disguised_cards(SEED) != disguised_cards(SEED + 1)


def test_nearly_half_of_the_texts_hold_nothing_sensitive() -> None:
    assert 0.42 < sum(not item.spans for item in TEXTS) / len(TEXTS) < 0.48


def test_cards_come_in_all_schemes_lengths_and_with_all_separators() -> None:
    cards = labelled("CREDIT_CARD")
    assert {len(digits(card)) for card in cards} == set(range(13, 20))
    assert {separator for card in cards for separator in card if not separator.isdigit()} == set(" -.\u00a0\u202f")
    assert {card[0] for card in cards} == set("23456")
    assert "4111111111111111" in {digits(card) for card in cards}
    assert any(re.fullmatch(r"3[47]\d\d \d{6} \d{5}", card) for card in cards)


@pytest.mark.parametrize("country", labelled_values.IBAN_STRUCTURES)
def test_ibans_have_the_structure_and_check_digits_of_their_country(country: str) -> None:
    rng = Random(SEED)
    assert all(iban.is_valid(labelled_values.iban(rng, country)) for _ in range(50))


@pytest.mark.parametrize("region", CODES)
def test_telephone_numbers_are_valid_in_their_region(region: str) -> None:
    rng = Random(SEED)
    for _ in range(100):
        assert is_phone(any_phone(rng, region), (region,))
        plain = unmistakable_phone(rng, region)
        assert is_phone(plain, (region,))
        assert plain.startswith("+") or re.fullmatch(UNMISTAKABLE[region], plain)


def test_hashes_and_addresses_agree_with_published_ones() -> None:
    assert keccak_256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert eip_55("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed") == "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    hashed = bytes.fromhex("751e76e8199196d454941c45d1b3a323f1433bd6")
    assert bech_32("bc", 0, hashed) == "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
    key = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    assert bech_32("bc", 1, key) == "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"


@pytest.mark.parametrize("name", sorted(set(lookalikes.LOOKALIKES) - {"package"}))
def test_look_alikes_are_no_card_no_iban_no_email_and_no_address(name: str) -> None:
    rng = Random(SEED)
    for _ in range(300):
        value = lookalikes.LOOKALIKES[name](rng)
        # Thirteen digits under EAN are a card by chance; only the word tells.
        assert name in ("ean", "part", "wrong_iban") or not is_card(value)
        assert not CHECKS["IBAN"](value) and not CHECKS["EMAIL"](value) and not is_crypto(value)
        assert name == "version" or not is_address(value)


def test_device_numbers_pass_luhn_and_are_no_cards() -> None:
    rng = Random(SEED)
    assert all(luhn.is_valid(make(rng)) for make in (lookalikes.imei, lookalikes.iccid) for _ in range(100))


def test_a_disguised_card_is_a_card_once_its_digits_are_read() -> None:
    items = disguised_cards(SEED)
    for item in items:
        ((start, end, entity),) = item.spans
        value = item.text[start:end]
        assert entity == "CREDIT_CARD" and value[0].isdigit() and value[-1].isdigit()
        assert is_card("".join(str(unicodedata.digit(character)) for character in value if character.isdigit()))
        assert not re.search(r"[0-9](?:[ .-]?[0-9]){12}", item.text)
    used = {character for item in items for character in item.text}
    assert set("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200f\u0301\u2003\u2011０٠۰") <= used


def test_a_perfect_answer_scores_one_and_leaks_nothing() -> None:
    result = score(TEXTS, [item.spans for item in TEXTS])
    assert (result.overall.precision, result.overall.recall, result.overall.f1) == (1, 1, 1)
    assert result.overall.leaked_share == 0
    assert set(result.entities) == set(ENTITIES)
    assert (result.misses, result.false_hits) == ((), ())


def test_a_shifted_span_is_a_miss_and_a_false_hit_and_leaks_what_it_leaves_bare() -> None:
    item = LabelledText("pay 0123456789 now", ((4, 14, "UK_NHS"),))
    result = score([item, LabelledText("x")], [[(4, 12, "UK_NHS")], []])
    assert (result.overall.hits, result.overall.misses, result.overall.false_hits) == (0, 1, 1)
    assert result.overall.leaked_share == 0.2
    assert str(result.misses[0]) == "0: UK_NHS 4:14 pay ⟦0123456789⟧ now"
    assert str(result.false_hits[0]) == "0: UK_NHS 4:12 pay ⟦01234567⟧89 now"


def test_a_wrong_entity_is_a_false_hit_but_does_not_leak() -> None:
    result = score([LabelledText("0123456789", ((0, 10, "UK_NHS"),))], [[(0, 10, "PHONE")]])
    assert result.entities["PHONE"].precision == 0 and result.entities["UK_NHS"].recall == 0
    assert result.overall.leaked_share == 0


def test_the_table_has_a_line_for_all_and_one_for_each_entity() -> None:
    lines = str(score(TEXTS[:500], [()] * 500)).splitlines()
    assert lines[0].split() == ["entity", "labelled", "found", "precision", "recall", "F1", "leaked"]
    assert lines[1].split()[0] == "all" and lines[1].split()[-2:] == ["0.0000", "1.0000"]
    assert len(lines) == 2 + len({entity for item in TEXTS[:500] for *_, entity in item.spans})


def test_texts_and_found_spans_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        score(TEXTS[:2], [()])


@pytest.mark.parametrize("column", [column for column in COLUMNS if column.expected in ENTITIES], ids=name_of)
def test_a_column_of_an_entity_holds_it(column: LabelledColumn) -> None:
    values = [str(value).strip() for value in column.values if value is not None]
    right = sum(CHECKS[str(column.expected)](value) for value in values)
    assert right / len(values) >= (0.84 if column.kind == "untidy" else 1)


@pytest.mark.parametrize("column", columns("leak"), ids=name_of)
def test_one_value_in_a_hundred_strayed(column: LabelledColumn) -> None:
    assert column.expected is None and 1000 <= len(column.values) <= 5000
    strayed = sum(CHECKS[str(column.leak)](str(value)) for value in column.values)
    assert strayed == len(column.values) // 100


@pytest.mark.parametrize("column", columns("mixed"), ids=name_of)
def test_a_mixed_column_holds_two_entities_by_halves(column: LabelledColumn) -> None:
    assert column.expected == MIXED
    shares = [
        sum(CHECKS[entity](str(value)) for value in column.values) / len(column.values)
        for entity in CHECKS
        if entity != "SECRET"
    ]
    assert len([share for share in shares if 0.4 < share < 0.6]) == 2


@pytest.mark.parametrize("column", [item for item in COLUMNS if item.expected is None and not item.leak], ids=name_of)
def test_an_ordinary_column_holds_cards_ibans_and_emails_by_chance_only(column: LabelledColumn) -> None:
    filled = [str(value) for value in column.values if value is not None]
    for entity in ("CREDIT_CARD", "IBAN", "EMAIL"):
        assert sum(CHECKS[entity](value) for value in filled) <= 0.1 * len(filled)


def test_headers_that_say_nothing_or_the_wrong_thing_are_there() -> None:
    assert {column.kind for column in COLUMNS} == {
        *("honest", "cryptic", "misleading", "lying", "ordinary", "integers"),
        *("few", "nulls", "untidy", "mixed", "text", "leak"),
    }
    assert {column.expected for column in columns("text")} == {FREE_TEXT}
    assert any(column.column == "" and column.expected for column in columns("cryptic"))
    assert all(isinstance(value, int) for column in columns("integers") for value in column.values)
    assert all(len(column.values) == 5 for column in columns("few"))
    assert any(set(column.values) == {None} for column in columns("nulls"))

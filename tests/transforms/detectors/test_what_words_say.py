"""Words in many languages say what a number is; numbers that pass Luhn by chance are no cards after most of them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.column_type import ColumnKind
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.column_types import column_type
from consentry.transforms.detectors.free_text import find_in_texts

PASSING = "5299269077697258"  # a number of Mastercard's range that passes Luhn


def found(text: str) -> list[tuple[str, str]]:
    findings = [each for _, some in find_in_texts(pa.array([text])) for each in some]
    return [(each.entity.value, text[each.start : each.end]) for each in findings if each.entity is not None]


@pytest.mark.parametrize(
    "label",
    [
        "Número de serie", "Número de série", "Numéro de série", "Numero di serie", "Numer seryjny", "S/N", "IMEISV",
        "シリアル番号", "追跡番号", "注文番号", "Número de seguimiento", "Código de rastreio", "Waybill", "UPS",
        "FedEx", "Policy no.", "Contract no.", "Vertragsnummer", "Booking", "Receipt no.", "Voucher code", "request_id",
        "msg_id", "offset=", "Aktenzeichen", "dossier",
    ],
)  # fmt: skip
def test_a_number_that_passes_luhn_is_no_card_after_a_word_for_something_else(label: str) -> None:
    assert found(f"{label} {PASSING}") == []
    assert found(f"order 77, {label}: {PASSING}.") == []


@pytest.mark.parametrize(
    "text",
    [
        f"order number 991 and {PASSING} is the card",
        f"carte utilisée pour la commande 991: {PASSING}",
        f"カード番号 {PASSING}",
        f"Rechnung 17 bitte mit {PASSING} bezahlen",
        f"policy 12, card {PASSING}",
        f"Can you take the old card off my account? {PASSING}.",
        f"Hotel booking for Noah Dubois, guaranteed with {PASSING}",
        f"tracking says lost, refund {PASSING} please",
    ],
)
def test_a_denial_that_has_a_number_of_its_own_hides_no_card(text: str) -> None:
    assert found(text) == [("CREDIT_CARD", PASSING)]


def test_a_word_in_an_address_says_nothing() -> None:
    text = f"38636905;Noah Khan;sofia+orders@gmail.com;{PASSING};2071.71"
    assert found(text) == [("EMAIL", "sofia+orders@gmail.com"), ("CREDIT_CARD", PASSING)]


@pytest.mark.parametrize("key", ["shipmentId", "waybillNo", "parcelId", "consignmentNumber", "msg_id"])
def test_keys_of_documents_are_words(key: str) -> None:
    assert found(f'{{"{key}":"{PASSING}"}}') == []


def test_a_denial_holds_for_a_list_of_numbers() -> None:
    assert found(f"order ids: 6011427777851360, {PASSING}, 6011434230414026") == []


def test_an_expiry_date_stands_for_a_word() -> None:
    visa = "4467889943014190064"
    assert found(f"{visa}|09|2027|123") == found(f"read out as {visa}, expiry 11/26") == [("CREDIT_CARD", visa)]
    assert found(f"{visa} of 2027") == []


@pytest.mark.parametrize(
    "text",
    [
        "open() failed, client: 81.2.69.142, server: shop", "took 134ms client=81.2.69.142", "the app at 81.2.69.142",
        "[api] dhcp lease 81.2.69.142", "version 2.1 running on 81.2.69.142",
    ],
)  # fmt: skip
def test_clients_have_addresses(text: str) -> None:
    assert ("IP_ADDRESS", "81.2.69.142") in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "versions 1.2.3.4 and 1.2.3.5",
        "Mise à jour 8.17.1.52 impossible",
        "firmware 9.9.9.32",
        "version: 4.12.0.18",
        "> Which version?\n7.10.6.50, built from c52d88ae2516",
    ],
)
def test_versions_are_no_addresses(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "entity", "value"),
    [
        ("MACアドレス:A4-ED-1A-31-F9-92", "MAC_ADDRESS", "A4-ED-1A-31-F9-92"),
        ("mac:a4:ed:1a:31:f9:92", "MAC_ADDRESS", "a4:ed:1a:31:f9:92"),
        ("パスワード:s3cr3tP@ss", "SECRET", "s3cr3tP@ss"),
        ("パスワードは s3cr3tP@ss です", "SECRET", "s3cr3tP@ss"),
        ("my password is hunter2", "SECRET", "hunter2"),
        ("user anna, password hunter2", "SECRET", "hunter2"),
        ("Nací el 23-08-1999 en Sevilla", "DATE_OF_BIRTH", "23-08-1999"),
        ("Ich wurde am 03.04.1984 in Hamburg geboren", "DATE_OF_BIRTH", "03.04.1984"),
        ("né(e) le 21 juillet 1946", "DATE_OF_BIRTH", "21 juillet 1946"),
        ("DOB: 03041984", "DATE_OF_BIRTH", "03041984"),
        ("DOB: Mar-03-1984", "DATE_OF_BIRTH", "Mar-03-1984"),
        ("F.Nac. 03/04/1984", "DATE_OF_BIRTH", "03/04/1984"),
        ("cumpleaños: 3 de marzo de 1984", "DATE_OF_BIRTH", "3 de marzo de 1984"),
        ("Mobil: (0221) 4710165", "PHONE", "(0221) 4710165"),
        ("msisdn=+39 02 86453355 sms sent, mem=1234567890 bytes", "PHONE", "+39 02 86453355"),
        ("card says nothing, direct line 020 7070 3303 ext. 14", "PHONE", "020 7070 3303"),
        ("Può richiamarmi al 06 69495750 dopo le 15?", "PHONE", "06 69495750"),
        ("Proszę o kontakt pod numerem 22 462 64 94", "PHONE", "22 462 64 94"),
        ("mi número es el 900 615 877, gracias", "PHONE", "900 615 877"),
        ("sms sent to=09565011845 id=7", "PHONE", "09565011845"),
        ("ping fe80::2bdd:1716:2056:3eac: no answer", "IP_ADDRESS", "fe80::2bdd:1716:2056:3eac"),
        ("Zählerstand 4702152712 / Mobil: (0221) 4710165", "PHONE", "(0221) 4710165"),
    ],
)
def test_what_is_said_in_other_ways_is_found_and_nothing_else(text: str, entity: str, value: str) -> None:
    assert found(text) == [(entity, value)]


@pytest.mark.parametrize(
    "text",
    [
        "Vorgangsnummer 237-555-9532", "Aktenzeichen 0339-682286", "Ticket: 0098-212545", "Numer klienta 5263977713",
        "Móvil / Referencia 7175752657", "Artikelnummer 415-62-1037", "product code 078-05-1120",
        "Handyvertrag 3534788338, gekündigt", "phone bill 3534788338", "Geburtstagsaktion bis 05.02.2022",
        "birth certificate issued 12/05/2019", "birthday offer valid until 05/02/2025", "a0:b1-c2:A4-ED-1A-31-F9-92-00",
    ],
)  # fmt: skip
def test_what_words_say_is_something_else_is_not_found(text: str) -> None:
    assert found(text) == []


def test_versions_in_a_column_are_no_addresses_unless_they_look_like_them() -> None:
    versions = pa.array([f"{n % 12}.{n % 31}.{n % 97}.{n % 200}" for n in range(300)])
    addresses = pa.array([f"{50 + n % 150}.{n % 251}.{n % 97}.{n % 200}" for n in range(300)])
    assert column_type(versions, "app_version").kind is ColumnKind.ORDINARY
    assert column_type(versions, "app_version").leaks == ()
    assert column_type(addresses, "app_version").entity is Entity.IP_ADDRESS, "a header is no proof"


def test_numbers_laid_out_like_those_of_social_security_are_that_only_where_nearly_all_may_be() -> None:
    any_numbers = pa.array([f"{n * 37 % 1000:03}-{n * 7 % 100:02}-{n * 7919 % 10000:04}" for n in range(400)])
    real = pa.array([f"{1 + n * 37 % 664:03}-{1 + n * 7 % 99:02}-{1 + n * 7919 % 9999:04}" for n in range(400)])
    assert column_type(any_numbers, "part_no").kind is ColumnKind.ORDINARY
    assert column_type(real, "").entity is Entity.US_SSN

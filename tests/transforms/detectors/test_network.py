"""Addresses of people and machines."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<joe@example.com>;", "joe@example.com"),
        ("mailto:joe@example.com?x=1", "joe@example.com"),
        ("joe@example.com.", "joe@example.com"),
        ("_joe@example.com_", "joe@example.com"),
        ("email=joe%40example.com&x=1", "joe%40example.com"),
        ("o'neill+a@b.co.uk", "o'neill+a@b.co.uk"),
        ("\\u003cjoe@example.com\\u003e", "joe@example.com"),
        ("müller@büro.de", "müller@büro.de"),
        ("x\\njoe@example.com", "joe@example.com"),
    ],
)
def test_emails_are_found_without_what_stands_around(text: str, address: str) -> None:
    assert values(text, Entity.EMAIL) == [address]


@pytest.mark.parametrize(
    "text",
    [
        "joe@localhost",
        "icon@2x.png",
        "lodash@4.17.21",
        "@anna",
        "10@3.50",
        "git@github.com:acme/app.git",
        "https://user@example.com/",
        "https://u:${PW}@example.com/",
    ],
)
def test_what_is_no_email_is_none(text: str) -> None:
    assert values(text, Entity.EMAIL) == []


@pytest.mark.parametrize(
    "address",
    [
        "192.168.1.254",
        "8.8.8.8",
        "2001:db8::1",
        "::1",
        "fe80::1",
        "::ffff:10.1.2.3",
        "::FFFF:c000:0201",
        "2001:db8:85a3::8a2e:370:7334",
    ],
)
def test_ip_addresses_are_found(address: str) -> None:
    assert values(f"from [{address}]:", Entity.IP_ADDRESS) == [address]


def test_ports_masks_and_ranges_are_no_part_of_an_address() -> None:
    assert values("::ffff:10.1.2.3:51000", Entity.IP_ADDRESS) == ["::ffff:10.1.2.3"]
    assert values("1.2.3.4:80 10.0.0.0/8", Entity.IP_ADDRESS) == ["1.2.3.4", "10.0.0.0"]
    assert values("10.0.0.1-10.0.0.20", Entity.IP_ADDRESS) == ["10.0.0.1", "10.0.0.20"]


@pytest.mark.parametrize(
    "text",
    [
        "version 10.0.1.4",
        "Chrome/120.0.0.99",
        "1.2.3.4.5",
        "256.1.1.1",
        "12:34:56",
        "std::vector",
        "dead::beef",
        "1.3.6.1.4.1.311",
        "section 1.2.3.4",
        "app v 10.0.1.4",
    ],
)
def test_versions_times_and_names_of_programs_are_no_addresses(text: str) -> None:
    assert values(text, Entity.IP_ADDRESS) == []


def test_a_word_of_the_line_before_says_nothing() -> None:
    assert values("version=x1\n10.245.140.181 GET", Entity.IP_ADDRESS) == ["10.245.140.181"]


@pytest.mark.parametrize("address", ["00:1B:44:11:3A:B7", "00-1a-2b-3c-4d-5e", "0011.2233.aabb"])
def test_hardware_addresses_are_found_in_pairs_and_in_fours(address: str) -> None:
    assert values(f"({address})", Entity.MAC_ADDRESS) == [address]


@pytest.mark.parametrize("text", ["00:11:22:33:44", "00:11:22:33:44:55:66", "1234.5678.9012", "123456789abc"])
def test_other_lengths_and_bare_digits_are_no_hardware_addresses(text: str) -> None:
    assert values(text, Entity.MAC_ADDRESS) == []


@pytest.mark.parametrize(
    "around", ["{}", "**{}**", "a,{},b", "a;{};b", "a|{}|b", '"{}"', "<{}>", "{}.", "\\n{}\\n", "{},{}", "{};{}"]
)
def test_urls_with_a_password_end_where_a_list_goes_on(around: str) -> None:
    url = "postgres://app:s3cr3t@db.example.com:5432/shop"
    found = values(around.replace("{}", url), Entity.URL_WITH_CREDENTIALS)
    assert found == [url] * around.count("{}")


def test_a_url_may_have_several_hosts() -> None:
    url = "mongodb://u:p4ss@h1:27017,h2:27017/db?x=1"
    assert values(url, Entity.URL_WITH_CREDENTIALS) == [url]


def test_urls_without_a_password_are_none() -> None:
    assert values("https://example.com:80/a?b=c ftp://u@h.de/ redis://u:****@h", Entity.URL_WITH_CREDENTIALS) == []

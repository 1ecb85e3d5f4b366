"""Keys, tokens and passwords."""

from __future__ import annotations

import pyarrow as pa
import pytest
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.free_text import find_in_texts


def values(text: str, entity: Entity) -> list[str]:
    findings = dict(find_in_texts(pa.array([text]))).get(0, [])
    return [text[each.start : each.end] for each in findings if each.entity is entity]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password: hunter2!", "hunter2!"),
        ("pwd:12345678", "12345678"),
        ("Password=abcdef", "abcdef"),
        ("DB_PASS=abc123xyz", "abc123xyz"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("<password>Zx9!kk2p</password>", "Zx9!kk2p"),
        ("the password for the admin account is Adm1n#Pass.", "Adm1n#Pass"),
        ("my password's Fluffy2019", "Fluffy2019"),
        ("mot de passe : Azerty123!", "Azerty123!"),
        ("hasło: Haslo#2024", "Haslo#2024"),
        ("secret|x1y2z3a4|b: token: q1w2e3r4t5", "q1w2e3r4t5"),
        ("id AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("?password=Sup3rS3cret&ssl=true", "Sup3rS3cret"),
    ],
)
def test_what_is_named_or_marked_as_a_secret_is_found(text: str, secret: str) -> None:
    assert values(text, Entity.SECRET) == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "Please change your password every 90 days.",
        "password: ********",
        "token: null",
        "api_key=${API_KEY}",
        "password: required",
        "password = os.environ['PW']",
        "Passwort vergessen",
        "the token expired",
        "the secret ingredient is love",
        "password reset requested",
    ],
)
def test_talk_about_secrets_is_none(text: str) -> None:
    assert values(text, Entity.SECRET) == []


def test_private_keys_are_found_with_their_lines_and_public_ones_are_not() -> None:
    block = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    assert values(f"x\n{block}\ny", Entity.SECRET) == [block]
    assert values(block.replace("PRIVATE", "PUBLIC"), Entity.SECRET) == []


def test_a_private_key_without_an_end_reaches_to_the_end_of_its_text_and_no_further() -> None:
    texts = ["-----BEGIN PRIVATE KEY-----\nMIIE", "harmless"]
    ((row, (finding,)),) = find_in_texts(pa.array(texts))
    assert (row, finding.start, finding.end) == (0, 0, len(texts[0]))

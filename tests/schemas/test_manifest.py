"""A manifest has one spelling, and every other is refused without a crash."""

from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785
from consentry.schemas.errors import IntegrityError
from consentry.schemas.manifest import (
    Books,
    ConsentOutcomes,
    FieldTreatment,
    Inputs,
    KeyVersions,
    Manifest,
    OutputFile,
    PolicyUsed,
    SignatureText,
    SoftwareUsed,
    VaultWrites,
    parse_manifest,
    signed_bytes,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

DIGEST = hashlib.sha256(b"").hexdigest()
MANIFEST = Manifest(
    run="r-1",
    tenant="shop",
    dataset="orders",
    now="2026-11-01T00:00:00Z",
    ledger_position=3,
    started_at="2026-11-01T00:00:00Z",
    finished_at="2026-11-01T00:00:01.500000Z",
    policy=PolicyUsed(version=1, digest=DIGEST),
    software=SoftwareUsed(digest=DIGEST, versions={"python": "3.11"}),
    key_versions=KeyVersions(token=1, vault=1, proof=1),
    inputs=Inputs(files=1, bytes=1),
    books=Books(in_=3, out=1, dropped=1, dead_lettered=1),
    reasons={"wrong_type": 1},
    consent=ConsentOutcomes(token_only=1),
    fields={"größe": FieldTreatment(action="keep", outcomes={"kept": 1})},
    drift={},
    absent=("x",),
    vault=VaultWrites(),
    files=(OutputFile(path="data/part-1.parquet", sha256=DIGEST, rows=1, bytes=9),),
    signature=SignatureText(key_id="0" * 16, value="0" * 128),
)
TEXT = MANIFEST.dumps().encode()


def test_what_is_written_is_read_again() -> None:
    manifest, signed = parse_manifest(TEXT)
    assert manifest == MANIFEST
    assert signed == rfc8785.dumps({name: value for name, value in json.loads(TEXT).items() if name != "signature"})


def test_the_books_are_written_by_the_names_that_other_programs_read() -> None:
    assert json.loads(TEXT)["books"] == {"in": 3, "out": 1, "dropped": 1, "dead_lettered": 1}


def test_the_signature_is_not_part_of_what_is_signed() -> None:
    unsigned = MANIFEST.model_copy(update={"signature": None})
    assert signed_bytes(unsigned.as_json()) == signed_bytes(MANIFEST.as_json())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a": ' + b"9" * 6_000 + b"}",
        b'{\n  "a": "\\ud800"\n}\n',
        b'{\n  "a": NaN\n}\n',
        TEXT.rstrip(b"\n"),
        TEXT.replace(b'"rows": 1', b'"rows": 1.0'),
        TEXT.replace(b'"rows": 1', b'"rows": "1"'),
        TEXT.replace(b'"rows": 1', b'"rows": -1'),
        TEXT.replace(b'"rows": 1', b'"rows": 9007199254740992'),
        TEXT.replace(b'"tenant"', b'"format": "consentry-manifest-1",\n  "tenant"'),
        TEXT.replace("ö".encode(), b"\\u00f6"),
        TEXT.replace(b"data/part-1", b"data/../part"),
        TEXT.replace(b"data/part-1", b"/etc/passwd"),
        TEXT.replace(b"00:00:00Z", b"00:00:00+00:00"),
        json.dumps(json.loads(TEXT)).encode(),
        (json.dumps({**json.loads(TEXT), "more": 1}, indent=2, ensure_ascii=False) + "\n").encode(),
    ],
)
def test_other_spellings_and_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not as `consentry protect` wrote it") as caught:
        parse_manifest(data)
    assert caught.value.reason == "manifest_damaged"


@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_what_must_be_signed(place: int, flip: int) -> None:
    data = bytearray(TEXT)
    data[place] ^= flip
    try:
        manifest, signed = parse_manifest(bytes(data))
    except IntegrityError:
        return
    assert (signed, manifest.signature) != (signed_bytes(MANIFEST.as_json()), MANIFEST.signature)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_manifest(data)


def test_counts_are_whole_numbers_that_every_reader_of_json_holds() -> None:
    for wrong in (-1, 2**53, 1.0, "1", True):
        with pytest.raises(ValidationError):
            Books(in_=wrong, out=0, dropped=0, dead_lettered=0)


def test_books_that_lose_or_double_a_record_do_not_balance() -> None:
    assert MANIFEST.books.balanced
    assert not Books(in_=3, out=1, dropped=1, dead_lettered=0).balanced
    assert not Books(in_=3, out=2, dropped=1, dead_lettered=1).balanced

"""Passphrases and key files wrap and unwrap, and refuse with a next step."""

from __future__ import annotations

import base64
import copy
import os
import pickle
from pathlib import Path

import pytest
from consentry.schemas.errors import ConfigError, IntegrityError, KekError, SecretError
from consentry.transforms.crypto import kek_local
from consentry.transforms.crypto.kek_local import FileKek, PassphraseKek, create_key_file
from consentry.transforms.crypto.open_kek import open_kek

SECRET = b"thirty-two bytes of a key to wrap"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "kek.key"
    create_key_file(path)
    return path


def test_a_passphrase_unwraps_what_it_wrapped() -> None:
    kek = PassphraseKek("correct horse")
    blob = kek.wrap(SECRET, b"set")
    assert SECRET not in blob
    assert PassphraseKek("correct horse").unwrap(blob, b"set") == SECRET


def test_a_passphrase_is_the_same_typed_composed_or_decomposed() -> None:
    assert PassphraseKek("gr\u00fcn").unwrap(PassphraseKek("gru\u0308n").wrap(SECRET, b""), b"") == SECRET


def test_a_wrong_passphrase_is_refused_with_a_next_step() -> None:
    blob = PassphraseKek("correct horse").wrap(SECRET, b"set")
    with pytest.raises(KekError, match=r"SHOP_KEY does not open it: the passphrase is wrong.*set the right passphrase"):
        PassphraseKek("battery staple", source="the passphrase in SHOP_KEY").unwrap(blob, b"set")


def test_every_flipped_byte_of_a_passphrase_blob_is_refused() -> None:
    kek = PassphraseKek("correct horse")
    blob = kek.wrap(b"x", b"set")
    for position in [*range(8), 20, 30, len(blob) - 1]:
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(KekError):
            kek.unwrap(bytes(changed), b"set")


@pytest.mark.parametrize("parameters", [(40, 8, 1), (15, 255, 1), (15, 8, 255), (10, 8, 1), (0, 8, 1), (15, 8, 0)])
def test_scrypt_parameters_out_of_bounds_are_refused_before_anything_is_computed(
    parameters: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = PassphraseKek("correct horse")
    blob = kek.wrap(SECRET, b"")
    monkeypatch.delattr(kek_local, "Scrypt")
    with pytest.raises(KekError, match="out of bounds"):
        kek.unwrap(blob[:4] + bytes(parameters) + blob[7:], b"")


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(KekError, match="is empty"):
        PassphraseKek("")


def test_a_key_file_unwraps_what_it_wrapped(key_file: Path) -> None:
    blob = FileKek.read(key_file).wrap(SECRET, b"set")
    assert FileKek.read(key_file).unwrap(blob, b"set") == SECRET
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_every_flipped_byte_of_a_key_file_blob_is_refused(key_file: Path) -> None:
    kek = FileKek.read(key_file)
    blob = kek.wrap(SECRET, b"set")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 0x20
        with pytest.raises((KekError, IntegrityError)):
            kek.unwrap(bytes(changed), b"set")
    with pytest.raises(IntegrityError):
        kek.unwrap(blob, b"other set")


@pytest.mark.parametrize("length", [0, 3, 11, 30])
def test_a_cut_blob_is_refused(key_file: Path, length: int) -> None:
    for kek in (FileKek.read(key_file), PassphraseKek("correct horse")):
        with pytest.raises((KekError, IntegrityError)):
            kek.unwrap(kek.wrap(SECRET, b"")[:length], b"")


def test_another_key_file_is_told_apart_from_damage(key_file: Path, tmp_path: Path) -> None:
    create_key_file(tmp_path / "other.key")
    blob = FileKek.read(key_file).wrap(SECRET, b"")
    with pytest.raises(KekError, match=r"other\.key: is not the key that wrapped it"):
        FileKek.read(tmp_path / "other.key").unwrap(blob, b"")


def test_another_kind_of_kek_says_so(key_file: Path) -> None:
    passphrase, file = PassphraseKek("correct horse"), FileKek.read(key_file)
    with pytest.raises(KekError, match="a key file wrapped it"):
        passphrase.unwrap(file.wrap(SECRET, b""), b"")
    with pytest.raises(KekError, match="a passphrase wrapped it"):
        file.unwrap(passphrase.wrap(SECRET, b""), b"")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_a_key_file_open_to_others_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KekError, match="chmod 600"):
        FileKek.read(key_file)


@pytest.mark.parametrize("content", [b"", b"AAAA", b"not base64!", base64.b64encode(bytes(31)), bytes(100_000)])
def test_a_file_that_holds_no_key_is_refused(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)
    with pytest.raises(KekError, match="holds no base64 of 32 bytes"):
        FileKek.read(key_file)


def test_a_key_file_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(KekError, match="never overwritten"):
        create_key_file(key_file)
    assert key_file.read_bytes() == before


def test_a_uri_opens_its_kek(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "correct horse")
    by_name = open_kek("file:kek.key", key_file.parent)
    assert open_kek(f"file:{key_file}", Path("/")).unwrap(by_name.wrap(SECRET, b""), b"") == SECRET
    assert open_kek("passphrase:env:SHOP_KEY", Path()).unwrap(PassphraseKek("correct horse").wrap(SECRET, b""), b"")


def test_a_missing_variable_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KekError, match="NO_SUCH_VARIABLE is not set"):
        open_kek("passphrase:env:NO_SUCH_VARIABLE", tmp_path)
    with pytest.raises(KekError, match=r"gone\.key: key file cannot be read"):
        open_kek("file:gone.key", tmp_path)


@pytest.mark.parametrize("uri", ["", "file", "file:", "passphrase:env", "passphrase:env:", "passphrase:x", "ftp://kek"])
def test_an_unknown_uri_names_the_schemes(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write one of: file:PATH, passphrase:env:NAME"):
        open_kek(uri, tmp_path)


def test_keks_hide_their_keys(key_file: Path) -> None:
    key = key_file.read_text().strip()
    for kek in (FileKek.read(key_file), PassphraseKek("correct horse")):
        assert key not in repr(kek) and "horse" not in repr(kek)
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(SecretError):
                leak(kek)


def test_a_passphrase_from_undecodable_bytes_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SHOP_KEY", os.fsdecode(b"gr\xfcn"))
    kek = open_kek("passphrase:env:SHOP_KEY", Path())
    assert kek.unwrap(kek.wrap(SECRET, b""), b"") == SECRET

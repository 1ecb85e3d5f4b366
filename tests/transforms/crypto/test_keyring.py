"""The keyring keeps keys through rotation, and refuses whatever is not as it was written."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from pathlib import Path

import pytest
from consentry.schemas.errors import IntegrityError, KekError, KeyringError, SecretError, SignatureError
from consentry.transforms.crypto.kek_local import FileKek, PassphraseKek
from consentry.transforms.crypto.key_sets import PublicKeys, Signature, SignatureContext, TokenKeys, version_digit
from consentry.transforms.crypto.keyring import Keyring, KeySet, KeyState

NOW = 1_793_000_000_000_000
KEK = FileKek(bytes(range(32)))
KEKS = dict.fromkeys(KeySet, KEK)
REFUSALS = (KeyringError, IntegrityError, KekError)
USE = {"use": "token", "domain": "card", "format": "pan", "alphabet": "0123456789"}


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.create("shop", KEKS, now=NOW)


@pytest.fixture
def saved(keyring: Keyring, tmp_path: Path) -> Path:
    keyring.save(tmp_path / "keyring.json")
    return tmp_path / "keyring.json"


def unlock_all(keyring: Keyring) -> None:
    keyring.unlock_token(KEK)
    keyring.unlock_vault(KEK)
    keyring.unlock_proof(KEK)


def with_right_checksum(document: dict) -> bytes:
    document.pop("checksum", None)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    document["checksum"] = "sha256:" + hashlib.sha256(canonical).hexdigest()
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def test_a_saved_keyring_loads_to_the_same(keyring: Keyring, saved: Path) -> None:
    assert Keyring.load(saved) == keyring
    assert saved.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in saved.parent.iterdir()] == ["keyring.json"]


def test_the_file_holds_no_key(keyring: Keyring, saved: Path) -> None:
    data = saved.read_bytes()
    vault, token = keyring.unlock_vault(KEK), keyring.unlock_token(KEK)
    for key in (vault.reference_key, token.derive(1, **USE), bytes(range(32))):
        assert key not in data and key.hex().encode() not in data


def test_a_keyring_is_overwritten_only_on_demand(keyring: Keyring, saved: Path) -> None:
    with pytest.raises(KeyringError, match="never overwritten"):
        keyring.save(saved)
    rotated = keyring.rotate(KeySet.VAULT, KEK, NOW)
    rotated.save(saved, overwrite=True)
    assert Keyring.load(saved) == rotated


def test_every_flipped_byte_of_the_file_is_refused_at_loading(saved: Path) -> None:
    data = saved.read_bytes()
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            changed = bytearray(data)
            changed[position] ^= mask
            saved.write_bytes(changed)
            with pytest.raises(KeyringError, match="damaged or was edited"):
                Keyring.load(saved)


def test_every_change_under_a_right_checksum_is_refused_at_unlocking(keyring: Keyring, saved: Path) -> None:
    keyring = keyring.rotate(KeySet.PROOF, KEK, NOW + 1)
    keyring.save(saved, overwrite=True)
    data = saved.read_bytes()
    original = json.loads(data)
    tried = 0
    for position in range(len(data)):
        for mask in (0x01, 0x04):
            changed = bytearray(data)
            changed[position] ^= mask
            try:
                document = json.loads(changed)
            except ValueError:
                continue
            document.pop("checksum", None)
            if document == {key: value for key, value in original.items() if key != "checksum"}:
                continue
            tried += 1
            saved.write_bytes(with_right_checksum(document))
            with pytest.raises(REFUSALS):
                unlock_all(Keyring.load(saved))
    assert tried > 1000


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"sets": 1, "tenant": "x"}'])
def test_what_is_no_keyring_is_refused(saved: Path, data: bytes) -> None:
    saved.write_bytes(data)
    with pytest.raises(KeyringError, match="damaged"):
        Keyring.load(saved)


def test_a_cut_or_reformatted_file_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    for changed in (data[:-1], data + b"\n", json.dumps(json.loads(data)).encode(), data.replace(b"\n", b"\r\n")):
        saved.write_bytes(changed)
        with pytest.raises(KeyringError):
            Keyring.load(saved)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="consentry keys create"):
        Keyring.load(tmp_path / "none.json")


def test_sets_cannot_be_exchanged_among_keyrings(keyring: Keyring, saved: Path) -> None:
    document = json.loads(saved.read_bytes())
    for other in (Keyring.create("shop", KEKS, now=NOW), Keyring.create("shoq", KEKS, now=NOW)):
        other.save(saved, overwrite=True)
        mixed = json.loads(saved.read_bytes())
        mixed["tenant"] = "shop"
        mixed["sets"]["token"]["wrapped"] = document["sets"]["vault"]["wrapped"]
        saved.write_bytes(with_right_checksum(mixed))
        with pytest.raises(IntegrityError, match="'token' was changed"):
            Keyring.load(saved).unlock_token(KEK)
    mixed["sets"]["vault"] = json.loads(saved.read_bytes())["sets"]["vault"]
    saved.write_bytes(with_right_checksum(mixed))
    with pytest.raises(IntegrityError):
        Keyring.load(saved).unlock_vault(KEK)


def test_each_set_opens_by_its_own_kek_only() -> None:
    keks = {KeySet.TOKEN: FileKek(bytes(32)), KeySet.VAULT: PassphraseKek("correct horse"), KeySet.PROOF: KEK}
    keyring = Keyring.create("shop", keks, now=NOW)
    keyring.unlock_vault(keks[KeySet.VAULT])
    keyring.unlock_proof(KEK)
    with pytest.raises(KekError, match=r"key set 'token': .*is not the key that wrapped it"):
        keyring.unlock_token(KEK)
    with pytest.raises(KekError, match=r"key set 'vault': .*the passphrase is wrong"):
        keyring.unlock_vault(PassphraseKek("battery staple"))


def test_a_keyring_needs_all_its_keks() -> None:
    with pytest.raises(KeyringError, match="token, vault, proof"):
        Keyring.create("shop", {KeySet.TOKEN: KEK}, now=NOW)


def test_rotation_adds_a_version_and_old_keys_still_derive(keyring: Keyring) -> None:
    before = keyring.unlock_token(KEK).derive(1, **USE)
    rotated = keyring.rotate(KeySet.TOKEN, KEK, NOW + 5)
    keys = rotated.unlock_token(KEK)
    assert (keys.versions, keys.primary) == ((1, 2), 2)
    assert keys.derive(1, **USE) == before != keys.derive(2, **USE)
    states = [(each.version, each.state, each.created_at) for each in rotated.status() if each.key_set == "token"]
    assert states == [(1, "active", NOW), (2, "primary", NOW + 5)]
    assert keyring.unlock_token(KEK).versions == (1,)


def test_rotation_of_the_vault_leaves_roots_and_old_wrappings_alone(keyring: Keyring) -> None:
    old = keyring.unlock_vault(KEK)
    wrapped = old.wrap(b"data key", b"subject")
    new = keyring.rotate(KeySet.VAULT, KEK, NOW).unlock_vault(KEK)
    assert new.reference_key == old.reference_key
    assert new.derive_root("event-id") == old.derive_root("event-id") != new.reference_key
    assert new.unwrap(wrapped, b"subject") == b"data key"
    assert new.wrap(b"", b"")[:2] == b"\x00\x02"
    with pytest.raises(IntegrityError, match="version 2, which this keyring cannot use"):
        old.unwrap(new.wrap(b"data key", b"subject"), b"subject")


def test_the_tenth_token_version_waits_until_the_first_is_destroyed(keyring: Keyring) -> None:
    for _ in range(8):
        keyring = keyring.rotate(KeySet.TOKEN, KEK, NOW)
    with pytest.raises(KeyringError, match="token version 10 needs version 1 destroyed first"):
        keyring.rotate(KeySet.TOKEN, KEK, NOW)
    disabled = keyring.change_state(KeySet.TOKEN, 1, KeyState.DISABLED, KEK)
    with pytest.raises(KeyringError, match="needs version 1 destroyed"):
        disabled.rotate(KeySet.TOKEN, KEK, NOW)
    rotated = disabled.change_state(KeySet.TOKEN, 1, KeyState.DESTROYED, KEK).rotate(KeySet.TOKEN, KEK, NOW)
    keys = rotated.unlock_token(KEK)
    assert keys.versions == tuple(range(2, 11))
    assert len({version_digit(version) for version in keys.versions}) == 9
    for _ in range(9):
        rotated.rotate(KeySet.VAULT, KEK, NOW)


def test_a_disabled_version_can_come_back_and_a_destroyed_one_not(keyring: Keyring) -> None:
    key = keyring.unlock_token(KEK).derive(1, **USE)
    keyring = keyring.rotate(KeySet.TOKEN, KEK, NOW)
    disabled = keyring.change_state(KeySet.TOKEN, 1, KeyState.DISABLED, KEK)
    with pytest.raises(KeyringError, match="version 1 is unknown, disabled or destroyed; usable versions: 2"):
        disabled.unlock_token(KEK).derive(1, **USE)
    enabled = disabled.change_state(KeySet.TOKEN, 1, KeyState.ACTIVE, KEK)
    assert enabled.unlock_token(KEK).derive(1, **USE) == key
    destroyed = disabled.change_state(KeySet.TOKEN, 1, KeyState.DESTROYED, KEK)
    with pytest.raises(KeyringError, match="cannot come back"):
        destroyed.change_state(KeySet.TOKEN, 1, KeyState.ACTIVE, KEK)


@pytest.mark.parametrize(
    ("version", "state", "says"),
    [(9, "disabled", "has no version 9"), (2, "disabled", "only rotation"), (1, "primary", "only rotation")],
)
def test_impossible_changes_of_state_are_refused(keyring: Keyring, version: int, state: str, says: str) -> None:
    with pytest.raises(KeyringError, match=says):
        keyring.rotate(KeySet.TOKEN, KEK, NOW).change_state(KeySet.TOKEN, version, KeyState(state), KEK)


def test_rewrapping_changes_the_kek_and_no_key(keyring: Keyring) -> None:
    other = FileKek(b"o" * 32)
    moved = keyring.rewrap(KeySet.TOKEN, KEK, other)
    assert moved.unlock_token(other).derive(1, **USE) == keyring.unlock_token(KEK).derive(1, **USE)
    with pytest.raises(KekError):
        moved.unlock_token(KEK)


def test_each_part_of_a_use_gives_its_own_key(keyring: Keyring) -> None:
    keys = keyring.unlock_token(KEK)
    changes = [{name: value + "x"} for name, value in USE.items()]
    derived = {keys.derive(1, **{**USE, **change}) for change in [{}, *changes]}
    assert len(derived) == 1 + len(USE) and {len(key) for key in derived} == {32}
    moved = {**USE, "use": "tokencard", "domain": ""}
    assert keys.derive(1, **moved) not in derived


def test_tenants_with_the_same_secret_derive_different_keys() -> None:
    keys = [TokenKeys(tenant=name, secrets={1: bytes(32)}, primary=1, root=bytes(32)) for name in ("a", "b")]
    assert keys[0].derive(1, **USE) != keys[1].derive(1, **USE)
    assert keys[0].derive_root("join", domain="card") != keys[1].derive_root("join", domain="card")


def test_unlocked_keys_hide_themselves(keyring: Keyring) -> None:
    for keys in (keyring.unlock_token(KEK), keyring.unlock_vault(KEK), keyring.unlock_proof(KEK)):
        assert "hidden" in repr(keys)
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(SecretError):
                leak(keys)


@pytest.mark.parametrize("context", SignatureContext)
def test_a_signature_verifies_in_its_own_context_only(keyring: Keyring, context: SignatureContext) -> None:
    signature = keyring.unlock_proof(KEK).sign(context, b"payload")
    public = keyring.public_keys()
    public.verify(context, b"payload", signature)
    for other in set(SignatureContext) - {context}:
        with pytest.raises(SignatureError):
            public.verify(other, b"payload", signature)
    with pytest.raises(SignatureError, match="the signed bytes were changed"):
        public.verify(context, b"payloae", signature)
    with pytest.raises(SignatureError, match="does not fit"):
        public.verify(context, b"payload", Signature(signature.key_id, b"short"))


def test_old_signatures_verify_after_rotation_and_destruction(keyring: Keyring) -> None:
    old = keyring.unlock_proof(KEK).sign(SignatureContext.MANIFEST, b"old")
    rotated = keyring.rotate(KeySet.PROOF, KEK, NOW)
    rotated = rotated.change_state(KeySet.PROOF, 1, KeyState.DESTROYED, KEK)
    new = rotated.unlock_proof(KEK).sign(SignatureContext.MANIFEST, b"new")
    public = PublicKeys.parse(rotated.public_keys().dumps())
    public.verify(SignatureContext.MANIFEST, b"old", old)
    public.verify(SignatureContext.MANIFEST, b"new", new)
    with pytest.raises(SignatureError, match="is not trusted"):
        keyring.public_keys().verify(SignatureContext.MANIFEST, b"new", new)


def test_public_keys_survive_their_file(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "proof.pub"
    path.write_text(keyring.public_keys().dumps())
    assert PublicKeys.load(path) == keyring.public_keys()


def test_a_changed_public_key_is_refused(keyring: Keyring) -> None:
    text = keyring.public_keys().dumps()
    for entry in json.loads(text)["keys"]:
        for part in (entry["id"], entry["key"]):
            changed = text.replace(part, ("1" if part[0] == "0" else "0") + part[1:])
            with pytest.raises(KeyringError, match="damaged"):
                PublicKeys.parse(changed)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"format": "x", "tenant": "", "keys": []}', "[" * 50_000])
def test_what_is_no_file_of_public_keys_is_refused(text: str) -> None:
    with pytest.raises(KeyringError, match="consentry keys public"):
        PublicKeys.parse(text)


def test_missing_public_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="cannot be read"):
        PublicKeys.load(tmp_path / "none.pub")

"""A project's keys are created once, opened set by set, and rotated in place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from consentry.pipelines.keyring_files import (
    create_keys,
    open_keyring,
    open_proof_keys,
    open_token_keys,
    open_vault_keys,
    rotate_keys,
)
from consentry.schemas.errors import ConfigError, IntegrityError, KekError, KeyringError
from consentry.schemas.project import Project
from consentry.transforms.crypto.key_sets import PublicKeys, SignatureContext

NOW = 1_793_000_000_000_000
SECRET = b"a secret of the vault"


def project_in(folder: Path, *, kek: str | dict[str, str] = "file:kek.key", tenant: str = "shop") -> Project:
    project = Project.model_validate(
        {
            "tenant": tenant,
            "policy": folder / "policy.yaml",
            "keyring": folder / "keyring.json",
            "kek": kek,
            **{name: f"sqlite:{folder / name}.db" for name in ("vault", "data_keys", "ledger", "access_log")},
            "trust": folder / "proof.pub",
        }
    )
    project._root = folder
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = project_in(tmp_path)
    create_keys(project, now=NOW)
    return project


def test_created_keys_open_and_sign_what_the_trust_file_verifies(project: Project) -> None:
    assert open_token_keys(project).versions == open_vault_keys(project).versions == (1,)
    signature = open_proof_keys(project).sign(SignatureContext.MANIFEST, b"manifest")
    PublicKeys.load(project.trust).verify(SignatureContext.MANIFEST, b"manifest", signature)
    assert (project.root / "kek.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", ["keyring.json", "proof.pub"])
def test_keys_are_never_overwritten(project: Project, kept: str) -> None:
    for path in project.root.iterdir():
        if path.name != kept:
            path.unlink()
    before = (project.root / kept).read_bytes()
    with pytest.raises(KeyringError, match="never overwritten"):
        create_keys(project, now=NOW)
    assert [path.name for path in project.root.iterdir()] == [kept]
    assert (project.root / kept).read_bytes() == before


def test_an_existing_key_file_is_used_as_it_is(project: Project) -> None:
    key = (project.root / "kek.key").read_bytes()
    project.keyring.unlink()
    project.trust.unlink()
    create_keys(project, now=NOW)
    assert (project.root / "kek.key").read_bytes() == key
    open_vault_keys(project)


def test_each_set_may_have_a_kek_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_VAULT", "correct horse")
    keks = {"token": "file:token.key", "vault": "passphrase:env:SHOP_VAULT", "proof": "file:proof.key"}
    create_keys(project_in(tmp_path, kek=keks), now=NOW)
    (tmp_path / "token.key").unlink()
    desk_place = project_in(tmp_path, kek={"vault": "passphrase:env:SHOP_VAULT"})
    open_vault_keys(desk_place)
    with pytest.raises(ConfigError, match="kek: names none for the key set 'token'"):
        open_token_keys(desk_place)
    with pytest.raises(KekError, match=r"token\.key: key file cannot be read"):
        open_token_keys(project_in(tmp_path, kek=keks))
    monkeypatch.setenv("SHOP_VAULT", "battery staple")
    with pytest.raises(KekError, match="the passphrase is wrong"):
        open_vault_keys(desk_place)


def test_creating_needs_a_kek_for_every_set_and_leaves_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kek: names none for the key set 'token'"):
        create_keys(project_in(tmp_path, kek={"vault": "file:kek.key"}), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_that_is_not_set_creates_nothing(tmp_path: Path) -> None:
    assert "NO_SUCH_VARIABLE" not in os.environ
    with pytest.raises(KekError, match="NO_SUCH_VARIABLE is not set"):
        create_keys(project_in(tmp_path, kek="passphrase:env:NO_SUCH_VARIABLE"), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_another_tenants_keyring_is_refused(project: Project) -> None:
    with pytest.raises(KeyringError, match="belongs to tenant 'shop', not 'other'"):
        open_keyring(project_in(project.root, tenant="other"))


def test_rotation_is_on_disk_and_old_wrappings_open(project: Project) -> None:
    wrapped = open_vault_keys(project).wrap(SECRET, b"place")
    assert rotate_keys(project, "vault", now=NOW + 1) == 2
    keys = open_vault_keys(project)
    assert (keys.primary, keys.versions) == (2, (1, 2))
    assert keys.unwrap(wrapped, b"place") == SECRET
    assert open_token_keys(project).versions == (1,)


def test_a_damaged_keyring_is_refused(project: Project) -> None:
    data = bytearray(project.keyring.read_bytes())
    data[len(data) // 2] ^= 1
    project.keyring.write_bytes(data)
    for opening in (open_token_keys, open_vault_keys, open_proof_keys):
        with pytest.raises((KeyringError, IntegrityError)):
            opening(project)

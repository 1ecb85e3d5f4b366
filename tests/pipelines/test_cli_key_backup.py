"""The drill for loss: keyring, KEK or both are gone, and a backup brings everything back, or says what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracles.shop_commands import AT, CARDS, SUBJECTS, Done, Shop, run

KEK = ("--kek", "passphrase:env:BACKUP_PASSPHRASE")


@pytest.fixture
def shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("BACKUP_PASSPHRASE", "correct horse battery staple")
    (shop.folder / "outputs.db").unlink()
    ok(shop.protect("--at", AT, "--replace"))
    return shop


@pytest.fixture
def backup(shop: Shop) -> Path:
    made = shop.place / "keyring.backup"
    ok(shop.run("keys", "backup", "--to", made, *KEK))
    return made


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.err
    return done


def states(shop: Shop) -> list[str]:
    return [row["state"] for row in ok(shop.run("keys", "status", "--json")).json() if row["set"] == "token"]


def value(shop: Shop) -> str | None:
    shown: str | None = shop.detokenize("card", shop.card_token(0), subject=SUBJECTS[0]).json()[0]["value"]
    return shown


def test_all_is_as_before_after_keyring_and_kek_were_lost(shop: Shop, backup: Path) -> None:
    rows = shop.rows()
    for lost in ("keyring.json", "kek.key", "proof.pub"):
        (shop.folder / lost).unlink()
    ok(shop.run("keys", "restore", backup, *KEK))
    assert value(shop) == CARDS[0]
    assert (shop.folder / "kek.key").stat().st_mode & 0o777 == 0o600
    ok(shop.run("verify", shop.out))
    ok(shop.protect("--at", AT, "--replace"))
    assert shop.rows() == rows, "the same keys make the same tokens"


def test_a_backup_is_only_opened_by_its_own_kek(shop: Shop, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("BACKUP_PASSPHRASE", "wrong")
    before = shop.stored()
    for kek in (KEK, ("--kek", f"file:{shop.folder / 'kek.key'}")):
        said = ok(shop.run("keys", "restore", backup, *kek), 2).said
        assert f"--kek: does not open {backup}: name what wrapped this backup" in said and "project file" not in said
    for kek, says in (("passphrase:env:NO_SUCH", "--kek: the environment variable"), ("vault:x", "--kek: cannot use")):
        assert says in ok(shop.run("keys", "restore", backup, "--kek", kek), 2).said
    assert shop.stored() == before


def test_a_backup_is_not_wrapped_by_what_wraps_the_keyring(shop: Shop) -> None:
    copied = shop.place / "copy of the key"
    copied.write_bytes((shop.folder / "kek.key").read_bytes())
    copied.chmod(0o600)
    for path in (shop.folder / "kek.key", copied):
        done = ok(shop.run("keys", "backup", "--to", shop.place / "new.backup", "--kek", f"file:{path}"), 2)
        assert "--kek: it wraps the key set 'token' of the keyring itself" in done.said
    assert not (shop.place / "new.backup").exists()


def test_a_backup_never_takes_versions_away(shop: Shop, backup: Path) -> None:
    ok(shop.run("keys", "rotate"))
    assert (
        "versions of the key set 'token' that the backup does not know"
        in ok(shop.run("keys", "restore", backup, *KEK), 2).said
    )
    ok(shop.protect("--at", AT, "--replace"))
    (shop.folder / "keyring.json").unlink()
    said = ok(shop.run("keys", "restore", backup, *KEK), 2).said
    assert "is older than the stores" in said and "token [2]" in said
    assert not (shop.folder / "keyring.json").exists()
    ok(shop.run("keys", "restore", backup, *KEK, "--accept-loss"))
    assert states(shop) == ["active", "destroyed", "primary"], "no new key ever has the number of a lost one"


def test_what_was_destroyed_since_stays_destroyed(shop: Shop) -> None:
    ok(shop.run("keys", "rotate"))
    ok(shop.run("keys", "rotate"))
    backup = shop.place / "three.backup"
    ok(shop.run("keys", "backup", "--to", backup, *KEK))
    ok(shop.run("retokenize", shop.out))
    ok(shop.run("keys", "destroy", "1", "--yes"))
    ok(shop.run("keys", "disable", "2"))
    ok(shop.run("keys", "restore", backup, *KEK))
    assert states(shop) == ["destroyed", "disabled", "primary"]


@pytest.mark.parametrize("trusted", [True, False])
def test_the_keyring_of_another_project_of_the_same_name_is_refused(shop: Shop, tmp_path: Path, trusted: bool) -> None:
    other = Shop(tmp_path / "elsewhere")
    other.place.mkdir()
    ok(run("init", other.folder, "--tenant", "shop"))
    backup = shop.place / "other.backup"
    ok(other.run("keys", "backup", "--to", backup, *KEK))
    (shop.folder / "keyring.json").unlink()
    if not trusted:
        (shop.folder / "proof.pub").unlink()
    assert "the keyring of another project" in ok(shop.run("keys", "restore", backup, *KEK), 2).said
    assert not (shop.folder / "keyring.json").exists()


def test_a_newer_backup_takes_the_place_of_an_older_keyring(shop: Shop, backup: Path) -> None:
    older = (shop.folder / "keyring.json").read_bytes()
    ok(shop.run("keys", "rotate"))
    newer = shop.place / "newer.backup"
    ok(shop.run("keys", "backup", "--to", newer, *KEK))
    (shop.folder / "keyring.json").write_bytes(older)
    ok(shop.run("keys", "restore", newer, *KEK))
    versions = ok(shop.run("keys", "status", "--json")).json()
    assert [row["version"] for row in versions if row["set"] == "token"] == [1, 2]


def test_a_backup_is_never_overwritten_and_a_damaged_one_is_refused(shop: Shop, backup: Path) -> None:
    assert "exists" in ok(shop.run("keys", "backup", "--to", backup, *KEK), 2).said
    backup.write_bytes(backup.read_bytes().replace(b'"primary"', b'"active"', 1))
    assert "damaged" in ok(shop.run("keys", "restore", backup, *KEK), 2).said


def test_a_backup_of_another_tenant_is_refused(shop: Shop, backup: Path, tmp_path: Path) -> None:
    other = Shop(tmp_path / "elsewhere")
    other.place.mkdir()
    ok(run("init", other.folder, "--tenant", "other"))
    assert "belongs to tenant 'shop'" in ok(other.run("keys", "restore", backup, *KEK), 2).said


def test_a_refusal_leaves_no_key_file_and_no_new_keyring_is_made_beside_full_stores(shop: Shop, backup: Path) -> None:
    ok(shop.run("keys", "rotate"))
    ok(shop.protect("--at", AT, "--replace"))
    for lost in ("keyring.json", "kek.key", "proof.pub"):
        (shop.folder / lost).unlink()
    before = sorted(path.name for path in shop.folder.iterdir())
    assert "is older than the stores" in ok(shop.run("keys", "restore", backup, *KEK), 2).said
    assert "bring the keyring back with `consentry keys restore`" in ok(shop.run("keys", "create"), 2).said
    assert sorted(path.name for path in shop.folder.iterdir()) == before

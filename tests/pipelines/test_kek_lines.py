"""The ``kek`` of a configuration: its value is exchanged, every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from consentry.pipelines.kek_lines import kek_change, kek_of_options
from consentry.schemas.errors import ConfigError
from consentry.schemas.project import read_project

KEY = "gcp-kms://projects/tea-shop/locations/europe-west3/keyRings/consentry/cryptoKeys"
ALL = {"token": f"{KEY}/all", "vault": f"{KEY}/all", "proof": f"{KEY}/all"}
REST = """\
vault: sqlite:vault.db   # kek: not here
data_keys: sqlite:data_keys.db
ledger: sqlite:ledger.db
access_log: sqlite:access.db
trust: proof.pub
"""
HEAD = "# Kék\ntenant: shop\npolicy: policy.yaml\nkeyring: keyring.json\n"


def written(tmp_path: Path, kek: str) -> Path:
    path = tmp_path / "consentry.yaml"
    path.write_bytes((HEAD + kek + REST).encode())
    path.chmod(0o640)
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kek: file:kek.key\n", "kek: NEW\n"),
        ("kek:   'file:kek.key'   # or a passphrase\n", "kek: NEW   # or a passphrase\n"),
        ("kek: {token: file:t.key, vault: file:v.key, proof: file:p.key} # each\n", "kek: NEW # each\n"),
        ("kek:\n  token: file:t.key  # one\n  vault: file:v.key # last\n# next\n", "kek: NEW # last\n# next\n"),
        ("kek: file:kek.key\r\n", "kek: NEW\r\n"),
        ('"kek": "file:kek.key"\n', '"kek": NEW\n'),
        ("kek:\n  file:kek.key\n", "kek: NEW\n"),
    ],
)
def test_only_the_value_changes(tmp_path: Path, before: str, after: str) -> None:
    path = written(tmp_path, before)
    change = kek_change(path, read_project(path), ALL)
    assert path.read_bytes() == (HEAD + before + REST).encode(), "nothing is written yet"
    change.write()
    assert path.read_bytes() == (HEAD + after.replace("NEW", f"{KEY}/all") + REST).encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert read_project(path).kek == change.project.kek == ALL
    assert [each.name for each in tmp_path.iterdir()] == ["consentry.yaml"]


def test_each_set_has_its_own_in_brackets(tmp_path: Path) -> None:
    path = written(tmp_path, "kek: file:kek.key\n")
    kek = {"token": f"{KEY}/token", "vault": "file:a key #1.key", "proof": "passphrase:env:PROOF"}
    kek_change(path, read_project(path), kek).write()
    assert read_project(path).kek == kek
    line = f'kek: {{token: {KEY}/token, vault: "file:a key #1.key", proof: passphrase:env:PROOF}}\n'
    assert line in path.read_text()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = written(tmp_path / "real", "kek: file:kek.key\n")
    link = tmp_path / "consentry.yaml"
    link.symlink_to(path)
    kek_change(link, read_project(link), ALL).write()
    assert link.is_symlink()
    assert read_project(path).kek == ALL


def test_the_same_kek_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "kek: file:kek.key\n")
    project = read_project(path)
    assert kek_change(path, project, project.kek).text is None


@pytest.mark.parametrize("kek", ["kek: # a secret place\n  file:kek.key\n", "kek:\n  # one for all\n  file:kek.key\n"])
def test_what_cannot_be_exchanged_alone_is_left_to_people(tmp_path: Path, kek: str) -> None:
    path = written(tmp_path, kek)
    with pytest.raises(
        ConfigError, match=r"names another `kek`; write this line there first: kek: gcp-kms://"
    ) as caught:
        kek_change(path, read_project(path), ALL)
    assert caught.value.exit_code == 2
    assert path.read_bytes() == (HEAD + kek + REST).encode()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    path = written(tmp_path, "kek: file:kek.key\n")
    project = read_project(path)
    with pytest.raises(ConfigError, match="write this line there first"):
        kek_change(tmp_path / "gone" / "consentry.yaml", project, ALL)


@pytest.mark.parametrize(
    ("options", "kek"),
    [
        ([], dict.fromkeys(("token", "vault", "proof"), "file:kek.key")),
        ([f"{KEY}/all"], ALL),
        ([f"vault={KEY}/all"], {"token": "file:kek.key", "vault": f"{KEY}/all", "proof": "file:kek.key"}),
        ([f"token={KEY}/t", f"{KEY}/all"], {**ALL, "token": f"{KEY}/t"}),
        (["file:vault=1.key"], dict.fromkeys(("token", "vault", "proof"), "file:vault=1.key")),
    ],
)
def test_options_say_it_for_all_sets_or_for_one(tmp_path: Path, options: list[str], kek: dict[str, str]) -> None:
    assert kek_of_options(options, read_project(written(tmp_path, "kek: file:kek.key\n"))) == kek


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["hunter"], "--kek: unknown kind of key-encryption key"),
        (["tokn=file:x"], "--kek: unknown kind"),
        ([f"vault={KEY}/a/cryptoKeyVersions/1"], "--kek: names a version of a Cloud KMS key"),
        (["gcp-kms://hunter"], "--kek: is no full name of a Cloud KMS key"),
        (["file:a", "file:b"], "--kek: two are for all key sets"),
        (["vault=file:a", "vault=file:b"], "--kek: two are for vault"),
    ],
)
def test_options_of_another_form_are_refused_unquoted(tmp_path: Path, options: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        kek_of_options(options, read_project(written(tmp_path, "kek: file:kek.key\n")))
    assert "hunter" not in str(caught.value)

"""The project file: paths are made absolute, and no URI comes back in a message."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from consentry.schemas.errors import PolicyError
from consentry.schemas.project import Project, read_project


@pytest.fixture
def read(tmp_path: Path, contract_project: str) -> Callable[..., Project]:
    def reading(*changes: tuple[str, str]) -> Project:
        text = contract_project
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "consentry.yaml"
        path.write_text(text, encoding="utf-8")
        return read_project(path)

    return reading


@pytest.fixture
def broken(read: Callable[..., Project], tmp_path: Path) -> Callable[..., list[str]]:
    def found(*changes: tuple[str, str]) -> list[str]:
        with pytest.raises(PolicyError) as caught:
            read(*changes)
        assert caught.value.exit_code == 2
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return found


def test_the_project_of_the_contracts_is_read_as_it_stands(read, tmp_path):
    project = read()
    assert project.root == tmp_path
    assert project.tenant == "shop"
    assert project.policy == tmp_path / "policy.yaml"
    assert project.keyring == tmp_path / "keyring.json"
    assert project.trust == tmp_path / "proof.pub"
    assert project.vault == f"sqlite:{tmp_path / 'vault.db'}"
    assert project.kek == {"token": "file:kek.key", "vault": "file:kek.key", "proof": "file:kek.key"}
    assert project.actors == {"ana": ("support_agent",)}
    assert pickle.loads(pickle.dumps(project)) == project


def test_each_key_set_may_have_a_key_of_its_own_and_the_desk_may_lack_one(read):
    project = read(("kek: file:kek.key ", "kek: {vault: file:v.key, proof: 'passphrase:env:PROOF'} "))
    assert project.kek == {"vault": "file:v.key", "proof": "passphrase:env:PROOF"}


def test_absolute_paths_and_servers_stay_as_they_are(read):
    project = read(
        ("vault: sqlite:vault.db", "vault: sqlite:/srv/vault.db"),
        ("ledger: sqlite:ledger.db", "ledger: postgresql://db/shop"),
    )
    assert project.vault == "sqlite:/srv/vault.db"
    assert project.ledger == "postgresql://db/shop?tenant=shop"


def test_a_password_in_a_store_s_uri_is_refused_with_its_line_and_a_better_place(broken):
    for uri in ("postgresql://shop:hunter@db/shop", "postgresql://db/shop?password=hunter"):
        (said,) = broken(("vault: sqlite:vault.db", f"vault: {uri}"))
        assert said.startswith("consentry.yaml:5: vault: holds a password; let libpq find it: PGPASSWORD, PGPASSFILE")
        assert "hunter" not in said


def test_a_store_s_tenant_is_that_of_the_project(broken):
    (said,) = broken(("vault: sqlite:vault.db", "vault: postgresql://db/shop?tenant=other"))
    assert said == "consentry.yaml:5: vault: names a tenant of its own; remove it: stores are those of 'tenant'"


def test_actors_are_optional(read):
    assert read(("actors: {ana: [support_agent]}", "# nobody")).actors is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kek: file:kek.key",
            "kek: hunter",
            "consentry.yaml:4: kek.token: unknown kind of key-encryption key; "
            "write file:PATH, passphrase:env:NAME or gcp-kms://projects/…/cryptoKeys/…",
        ),
        (
            "kek: file:kek.key",
            "kek: {}",
            "consentry.yaml:4: kek: names no key set; write a URI, or one for token, vault or proof",
        ),
        (
            "kek: file:kek.key",
            "kek: {tokn: hunter}",
            "consentry.yaml:4: kek.tokn: unknown key set 'tokn'; write one of: proof, token, vault",
        ),
        (
            "vault: sqlite:vault.db",
            "vault: hunter://x",
            "consentry.yaml:5: vault: unknown kind of store; write sqlite:FILE or postgresql://…",
        ),
        (
            "ledger: sqlite:ledger.db",
            "ledger: sqlite:./vault.db",
            "consentry.yaml:7: ledger: is the same file as 'vault'; give each store a file of its own",
        ),
        ("tenant: shop", "tenat: shop", "consentry.yaml:1: tenant: is missing; add 'tenant'"),
        (
            "tenant: shop",
            "tenant: hunter two",
            "consentry.yaml:1: tenant: is no plain name; write letters, digits, _ and -, a letter first",
        ),
        ("tenant: shop", "tenant: shop\nvalt: x", "consentry.yaml:2: valt: unknown key; did you mean 'vault'?"),
        (
            "tenant: shop",
            "tenant: shop\nroot: /",
            "consentry.yaml:2: root: unknown key; write one of: access_log, actors, checkpoints, data_keys, detectors, "
            "erasures, kek, keyring, ledger, outputs, policy, tenant, trust, vault",
        ),
        (
            "[support_agent]",
            "support_agent",
            "consentry.yaml:10: actors.ana: is no list; write it in brackets, as [support]",
        ),
        ("trust: proof.pub", "trust: 5", "consentry.yaml:9: trust: is no path; write the name of a file"),
    ],
)
def test_a_slip_is_reported_with_its_line_and_without_its_value(broken, old, new, message):
    found = broken((old, new))
    assert message in found
    assert "hunter" not in "".join(found)


def test_all_slips_are_reported_at_once(broken):
    assert (
        len(broken(("tenant: shop", "tenat: shop"), ("trust: proof.pub", "trust: [x]"), ("[support_agent]", "5"))) == 4
    )


def test_a_password_in_a_broken_file_is_not_repeated(broken):
    for new in ("vault: postgresql://u:hunter@h/d: x", "vault: [postgresql://u:hunter@h/d", "vault: *hunter"):
        assert "hunter" not in "".join(broken(("vault: sqlite:vault.db", new)))


def test_checkpoints_go_to_a_folder_or_a_uri_and_have_sound_times(read, broken, tmp_path):
    rule = read(("tenant: shop", "tenant: shop\ncheckpoints: {path: proofs}")).checkpoints
    assert (rule.path, rule.every, rule.or_after) == (str(tmp_path / "proofs"), 1000, timedelta(minutes=15))
    rule = read(("tenant: shop", "tenant: shop\ncheckpoints: {path: 'gs://b/c', every: 7, or_after: 2h}")).checkpoints
    assert (rule.path, rule.every, rule.or_after) == ("gs://b/c", 7, timedelta(hours=2))
    assert read().checkpoints is None
    for wrong in ("{path: x, every: 0}", "{path: x, or_after: soon}", "{every: 3}", "{path: ''}", "{path: x, each: 1}"):
        assert broken(("tenant: shop", f"tenant: shop\ncheckpoints: {wrong}")), wrong

"""``consentry keys``: created once, shown without a secret, rotated without losing what older versions made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from oracles.shop_commands import AT, CARDS, Shop, event, process, run, write_lines

PASSPHRASE = "correct horse battery staple"


def with_kek(folder: Path, shop: Shop, kek: str) -> Path:
    """A configuration of one's own, with the shop's policy and nothing else beside it."""
    folder.mkdir()
    (folder / "policy.yaml").write_bytes((shop.folder / "policy.yaml").read_bytes())
    config = shop.config.read_text().replace("kek: file:kek.key ", f"kek: {kek} ")
    assert kek in config
    (folder / "consentry.yaml").write_text(config)
    return folder / "consentry.yaml"


def test_status_shows_every_set_and_needs_no_secret(shop: Shop) -> None:
    (shop.folder / "kek.key").unlink()
    done = shop.process("keys", "status", "--json")
    assert (done.code, done.err) == (0, "")
    assert [(row["set"], row["version"], row["state"]) for row in done.json()] == [
        ("token", 1, "primary"), ("vault", 1, "primary"), ("proof", 1, "primary"),
    ]  # fmt: skip
    assert done.json()[0].keys() == {"set", "version", "state", "created_at"}
    table = shop.run("keys", "status").out
    assert [line.split()[:3] for line in table.splitlines() if "primary" in line] == [
        ["token", "1", "primary"], ["vault", "1", "primary"], ["proof", "1", "primary"],
    ]  # fmt: skip


def test_public_prints_the_trust_file_or_writes_it(shop: Shop) -> None:
    trust = (shop.folder / "proof.pub").read_text()
    done = shop.process("keys", "public")
    assert (done.code, done.out, done.err) == (0, trust, "")
    assert shop.run("keys", "public", "--json").out == trust
    written = shop.run("keys", "public", "--out", shop.place / "given.pub")
    assert (written.code, written.out) == (0, "")
    assert (shop.place / "given.pub").read_text() == trust
    assert shop.run("keys", "public", "--out", shop.place / "given.pub", "--json").json() == json.loads(trust)


def test_a_place_that_cannot_be_written_is_wrong_use(shop: Shop) -> None:
    for place in (shop.place, shop.place / "none" / "proof.pub"):
        done = shop.run("keys", "public", "--out", place)
        assert (done.code, done.out) == (2, "")
        assert f"{place}: cannot be written" in done.err


def test_create_refuses_where_keys_are(shop: Shop) -> None:
    before = shop.stored()
    done = shop.process("keys", "create", "--json")
    assert (done.code, done.out) == (2, "")
    assert "never overwritten" in done.err
    assert shop.stored() == before


def test_a_project_under_a_passphrase_is_created_ready_to_run(shop: Shop, tmp_path: Path) -> None:
    config = ("--config", with_kek(tmp_path / "own", shop, "passphrase:env:TEA_PASSPHRASE"))
    events = write_lines(tmp_path / "consents.jsonl", [event("c-1")])
    created = process("keys", "create", "--json", *config, TEA_PASSPHRASE=PASSPHRASE)
    assert created.code == 0, created.err
    assert created.json() == {
        "keyring": str(tmp_path / "own" / "keyring.json"), "trust": str(tmp_path / "own" / "proof.pub"),
    }  # fmt: skip
    assert not (tmp_path / "own" / "kek.key").exists()
    for name in ("keyring.json", "ledger.db", "vault.db", "data_keys.db", "access.db"):
        assert (tmp_path / "own" / name).stat().st_mode & 0o777 == 0o600, name
    assert process("consent", "import", events, *config, TEA_PASSPHRASE=PASSPHRASE).code == 0

    wrong = process("consent", "verify", "--json", *config, TEA_PASSPHRASE="battery staple")
    assert (wrong.code, wrong.out) == (2, "")
    assert "TEA_PASSPHRASE does not open it: the passphrase is wrong" in wrong.err
    assert "staple" not in wrong.err
    for command in ("consent verify", "keys rotate vault"):
        done = run(*command.split(), *config)
        assert (done.code, done.out) == (2, "")
        assert "TEA_PASSPHRASE is not set" in done.err
    assert run("keys", "status", *config).code == 0, "needs no secret"


def test_a_passphrase_that_is_not_set_creates_nothing(shop: Shop, tmp_path: Path) -> None:
    config = with_kek(tmp_path / "own", shop, "passphrase:env:NO_SUCH_VARIABLE")
    done = run("keys", "create", "--config", config)
    assert (done.code, done.out) == (2, "")
    assert "NO_SUCH_VARIABLE is not set" in done.err
    assert sorted(path.name for path in config.parent.iterdir()) == ["consentry.yaml", "policy.yaml"]


def test_each_set_under_a_key_of_its_own(shop: Shop, tmp_path: Path) -> None:
    config = with_kek(tmp_path / "own", shop, "{token: file:token.key, vault: file:vault.key, proof: file:proof.key}")
    assert run("keys", "create", "--config", config).code == 0
    for name in ("token.key", "vault.key", "proof.key"):
        assert (config.parent / name).stat().st_mode & 0o777 == 0o600, name
    (config.parent / "token.key").unlink()
    assert run("keys", "rotate", "vault", "--config", config).code == 0
    done = run("keys", "rotate", "token", "--config", config)
    assert (done.code, done.out) == (2, "")
    assert "token.key: key file cannot be read" in done.err


def test_tokens_of_an_older_version_still_decode_after_a_rotation(shop: Shop) -> None:
    old = shop.card_token(0)
    rotated = shop.process("keys", "rotate", "--json")
    assert (rotated.code, rotated.json()) == (0, {"set": "token", "version": 2})
    assert shop.protect("--at", AT, out=shop.place / "newer").code == 0
    new = shop.card_token(0, shop.place / "newer")
    assert old != new
    for version, token in (("1", old), ("2", new)):
        (answer,) = shop.detokenize("card", token, key_version=version).json()
        assert (answer["decision"], answer["value"]) == ("allowed", CARDS[0])
    states = [(row["version"], row["state"]) for row in shop.run("keys", "status", "--json").json()[:2]]
    assert states == [(1, "active"), (2, "primary")]


def test_a_vault_set_that_was_rotated_still_opens_what_it_sealed(shop: Shop) -> None:
    token = shop.card_token(0)
    done = shop.run("keys", "rotate", "vault", "--json")
    assert (done.code, done.json()) == (0, {"set": "vault", "version": 2})
    assert shop.detokenize("card", token).json()[0]["value"] == CARDS[0]
    assert shop.run("consent", "verify").code == 0


def test_a_rotated_proof_key_says_what_auditors_need(shop: Shop) -> None:
    done = shop.run("keys", "rotate", "proof")
    assert done.code == 0
    assert f"consentry keys public --out {shop.folder / 'proof.pub'}" in done.err
    assert shop.protect(out=shop.place / "newer").code == 0
    assert shop.run("verify", shop.place / "newer").code == 1, "signed by a key that is not trusted yet"
    assert shop.run("keys", "public", "--out", shop.folder / "proof.pub").code == 0
    assert shop.run("verify", shop.place / "newer").code == 0
    assert shop.run("verify", shop.out).code == 0, "outputs of before hold too"


@pytest.mark.parametrize(
    ("change", "command", "says"),
    [
        ("rm keyring.json", "status", "keyring cannot be read (No such file or directory)"),
        ("rm keyring.json", "public", "bring it back with `consentry keys restore`"),
        ("rm keyring.json", "rotate", "keyring cannot be read"),
        ("rm kek.key", "rotate", "key file cannot be read"),
        ("chmod kek.key", "rotate", "others may read this key file; run `chmod 600"),
        ("other kek.key", "rotate", "is not the key that wrapped it"),
        ("cut kek.key", "rotate", "holds no base64 of 32 bytes"),
        ("cut keyring.json", "status", "keyring"),
        ("", "rotate stamps", "'stamps' is not one of 'token', 'vault', 'proof'"),
    ],
)
def test_keys_that_cannot_be_used_are_told_and_left_alone(shop: Shop, change: str, command: str, says: str) -> None:
    kind, _, name = change.partition(" ")
    path = shop.folder / (name or "policy.yaml")
    match kind:
        case "rm":
            path.unlink()
        case "chmod":
            path.chmod(0o644)
        case "other":
            path.write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
        case "cut":
            path.write_bytes(path.read_bytes()[:20])
    before = shop.stored()
    done = shop.run("keys", *command.split())
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert shop.stored() == before

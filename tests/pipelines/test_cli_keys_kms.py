"""A project under Cloud KMS, by the command line: created, run, asked once per set, and through its outages."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from consentry.schemas.project import KEY_SETS, read_project
from consentry.transforms.crypto.keyring import Keyring
from oracles.shop_commands import AT, CARDS, Shop, event, process, run, write_lines
from servers.cloud_kms import CloudKms, Fault, cloud_kms

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ONCE_EACH = Counter({("Decrypt", "token"): 1, ("Decrypt", "vault"): 1, ("Decrypt", "proof"): 1})


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudKms]:
    """A server that commands find by their environment."""
    with cloud_kms() as server:
        monkeypatch.setenv("CONSENTRY_KMS_ENDPOINT", server.address)
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands try for some seconds only."""
    monkeypatch.setenv("CONSENTRY_KMS_TIMEOUT", "3")


@pytest.fixture
def uris(kms: CloudKms) -> dict[str, str]:
    return {key_set: kms.add_key(key_set) for key_set in KEY_SETS}


@pytest.fixture
def kms_shop(shop: Shop, kms: CloudKms, uris: dict[str, str]) -> Shop:
    """The shop, each key set moved to a key of its own; the server has forgotten the calls."""
    for key_set, uri in uris.items():
        done = shop.run("keys", "rewrap", key_set, "--to", uri)
        assert done.code == 0, done.err
    (shop.folder / "kek.key").unlink()
    kms.calls.clear()
    return shop


@pytest.fixture
def bare(shop: Shop, tmp_path: Path) -> Path:
    """The configuration of a project that has no keys yet and names a key file."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "policy.yaml").write_bytes((shop.folder / "policy.yaml").read_bytes())
    (folder / "consentry.yaml").write_bytes(shop.config.read_bytes())
    return folder / "consentry.yaml"


# ---- creating


def test_create_wraps_every_set_by_the_key_that_is_named(kms: CloudKms, bare: Path) -> None:
    uri, before = kms.add_key("all"), bare.read_text()
    done = process("keys", "create", "--kek", uri, "--config", bare, "--json")
    assert done.code == 0, done.err
    assert done.json() == {"keyring": str(bare.parent / "keyring.json"), "trust": str(bare.parent / "proof.pub")}
    assert kms.counts() == {("Encrypt", "all"): 3, ("Decrypt", "all"): 1}
    assert f"{bare}: says now: kek: {uri}" in done.said
    assert bare.read_text() == before.replace("kek: file:kek.key ", f"kek: {uri} ")
    made = {path.name for path in bare.parent.iterdir() if not path.name.endswith(("-wal", "-shm"))}
    assert made == {
        "consentry.yaml", "outputs.db", "policy.yaml", "keyring.json", "proof.pub",
        "vault.db", "data_keys.db", "ledger.db", "access.db",
    }  # fmt: skip
    assert run("keys", "status", "--config", bare).code == 0
    assert run("consent", "verify", "--config", bare).code == 0


def test_create_takes_a_key_for_each_set(kms: CloudKms, uris: dict[str, str], bare: Path) -> None:
    options = [text for key_set, uri in uris.items() for text in ("--kek", f"{key_set}={uri}")]
    done = run("keys", "create", *options, "--config", bare)
    assert done.code == 0, done.err
    assert read_project(bare).kek == uris
    assert kms.counts() == Counter({("Encrypt", name): 1 for name in KEY_SETS} | {("Decrypt", "vault"): 1})


def test_create_without_the_option_goes_by_the_configuration(kms: CloudKms, bare: Path) -> None:
    uri = kms.add_key("all")
    bare.write_text(bare.read_text().replace("kek: file:kek.key ", f"kek: {uri} "))
    before = bare.read_text()
    assert run("keys", "create", "--config", bare).code == 0
    assert run("keys", "create", "--kek", uri, "--config", bare).code == 2, "never overwritten"
    assert bare.read_text() == before


@pytest.mark.parametrize(
    ("trouble", "code", "says"),
    [
        ("Encrypt", 2, "ask for the permission cloudkms.cryptoKeyVersions.useToEncrypt"),
        ("Decrypt", 2, "ask for the permission cloudkms.cryptoKeyVersions.useToDecrypt"),
        ("gone", 2, "there is no such key"),
        ("disabled", 2, "is disabled; enable it in Cloud KMS"),
        ("outage", 3, "Cloud KMS gives no answer, for up to 3 seconds"),
        ("outage later", 3, "Cloud KMS gives no answer"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_where_the_key_cannot_be_used_nothing_is_created(
    kms: CloudKms, bare: Path, trouble: str, code: int, says: str
) -> None:
    uri = kms.add_key("all")
    match trouble:
        case "gone":
            kms.keys.clear()
        case "disabled":
            kms.set_state(uri, 1, "DISABLED")
        case "outage" | "outage later":
            kms.faults.append(Fault(code=UNAVAILABLE, after=3 if trouble == "outage later" else 0))
        case _:
            kms.key(uri).permissions.remove(trouble)
    before = bare.read_bytes()
    done = run("keys", "create", "--kek", uri, "--config", bare)
    assert (done.code, done.out) == (code, "")
    assert says in done.said
    assert bare.read_bytes() == before
    assert sorted(path.name for path in bare.parent.iterdir()) == ["consentry.yaml", "policy.yaml"]
    kms.faults.clear()


def test_a_key_name_that_is_none_is_told_with_its_line(bare: Path) -> None:
    bare.write_text(bare.read_text().replace("kek: file:kek.key ", "kek: gcp-kms://token "))
    done = run("keys", "create", "--config", bare)
    assert (done.code, done.out) == (2, "")
    assert "consentry.yaml:5: kek.token: is no full name of a Cloud KMS key; write gcp-kms://projects/" in done.said
    done = run("keys", "create", "--kek", "gcp-kms://token", "--config", bare)
    assert done.code == 2


# ---- running


def test_a_whole_run_asks_once_for_each_set(kms: CloudKms, kms_shop: Shop) -> None:
    done = kms_shop.process(
        "protect", kms_shop.orders, "--dataset=orders", "--at", AT, "--out", kms_shop.place / "new", "--json"
    )
    assert done.code == 0, done.err
    assert done.json()["books"] == {"in": 25, "out": 24, "dropped": 0, "dead_lettered": 1}
    assert kms.counts() == ONCE_EACH
    assert kms_shop.rows(kms_shop.place / "new") == kms_shop.rows(), "the same keys, so the same tokens"


def test_workers_that_are_processes_ask_once_each(kms: CloudKms, kms_shop: Shop) -> None:
    done = kms_shop.process(
        "protect", kms_shop.orders, "--dataset=orders", "--out", kms_shop.place / "new", "--runner=FnApiRunner",
        "--direct_running_mode=multi_processing", "--direct_num_workers=2",
    )  # fmt: skip
    assert done.code == 0, done.err
    counts = kms.counts()
    assert counts["Decrypt", "proof"] == 1, "by the launcher alone"
    assert 1 <= counts["Decrypt", "token"] <= 2, "by each worker that had work"
    assert counts["Decrypt", "vault"] == counts["Decrypt", "token"] + 1


def test_the_desk_asks_once_for_the_vault_and_never_for_tokens(kms: CloudKms, kms_shop: Shop) -> None:
    for key_set in ("token", "proof"):
        kms.key(f"gcp-kms://{next(name for name in kms.keys if name.endswith(key_set))}").permissions.clear()
    (answer,) = kms_shop.detokenize("card", kms_shop.card_token(0)).json()
    assert (answer["decision"], answer["value"]) == ("allowed", CARDS[0])
    asked = [name.rpartition("/")[2] for _, name, *_ in kms.calls]
    assert asked == ["vault", "proof"], (
        "the log key only for a checkpoint that is due, and the answer stands without it"
    )


def test_an_auditor_needs_no_permission_at_all(kms: CloudKms, kms_shop: Shop) -> None:
    for key in kms.keys.values():
        key.permissions.clear()
    assert kms_shop.run("verify", kms_shop.out).code == 0
    assert kms_shop.run("keys", "status").code == 0
    assert kms.calls == []


@pytest.mark.parametrize("lacking", ["token", "vault", "proof"])
def test_a_run_that_may_not_open_a_set_shows_nothing(
    kms: CloudKms, kms_shop: Shop, uris: dict[str, str], lacking: str
) -> None:
    kms.key(uris[lacking]).permissions.clear()
    before = kms_shop.visible()
    done = kms_shop.process("protect", kms_shop.orders, "--dataset=orders", "--out", kms_shop.place / "new")
    assert (done.code, done.out) == (2, "")
    assert f"key set '{lacking}'" in done.said and f"cryptoKeys/{lacking}: who asks may not decrypt" in done.said
    assert kms_shop.visible() == before


def test_each_role_does_what_its_permissions_are_for(kms: CloudKms, kms_shop: Shop, uris: dict[str, str]) -> None:
    """Consents and rotations of one set need that set alone."""
    kms.key(uris["token"]).permissions.clear()
    assert kms_shop.run("consent", "record", "--subject", "c-5", "--purpose", "support", "--decision", "granted",
                        "--source", "form").code == 0  # fmt: skip
    assert kms_shop.run("keys", "rotate", "proof").code == 0
    done = kms_shop.run("keys", "rotate", "token")
    assert (done.code, done.out) == (2, "")
    assert "cryptoKeys/token: who asks may not decrypt" in done.said


def test_a_rotated_key_of_the_service_changes_nothing(kms: CloudKms, kms_shop: Shop, uris: dict[str, str]) -> None:
    kms.rotate(uris["vault"])
    assert kms_shop.detokenize("card", kms_shop.card_token(0)).json()[0]["value"] == CARDS[0]
    kms.set_state(uris["vault"], 1, "DESTROYED")
    done = kms_shop.detokenize("card", kms_shop.card_token(0))
    assert (done.code, done.out) == (2, "")
    assert "is destroyed; restore a keyring that another key wrapped" in done.said


# ---- outages


@pytest.mark.usefixtures("impatient")
def test_an_outage_before_the_workers_have_keys_fails_the_run_cleanly(kms: CloudKms, kms_shop: Shop) -> None:
    """The launcher has opened two sets when the service goes."""
    before = kms_shop.visible()
    kms.faults.append(Fault(code=UNAVAILABLE, after=2))
    done = kms_shop.process("protect", kms_shop.orders, "--dataset=orders", "--at", AT, "--out", kms_shop.place / "new")
    assert (done.code, done.out) == (3, "")
    assert "key set 'token'" in done.said and "Cloud KMS gives no answer, for up to 3 seconds" in done.said
    assert "Traceback" not in done.err
    assert kms_shop.visible() == before
    kms.faults.clear()
    assert kms_shop.protect("--at", AT, out=kms_shop.place / "new").code == 0
    assert kms_shop.rows(kms_shop.place / "new") == kms_shop.rows()


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.usefixtures("impatient")
def test_an_outage_at_the_begin_fails_before_anything_is_done(kms: CloudKms, kms_shop: Shop, after: int) -> None:
    stored, before = kms_shop.stored(), kms_shop.visible()
    kms.faults.append(Fault(code=UNAVAILABLE, after=after))
    done = kms_shop.process("protect", kms_shop.orders, "--dataset=orders", "--out", kms_shop.place / "new")
    assert (done.code, done.out) == (3, "")
    assert "gives no answer" in done.said
    assert (kms_shop.stored(), kms_shop.visible()) == (stored, before)


def test_an_outage_after_the_keys_are_open_is_not_noticed(kms: CloudKms, kms_shop: Shop) -> None:
    kms.faults.append(Fault(code=UNAVAILABLE, after=3))
    done = kms_shop.process("protect", kms_shop.orders, "--dataset=orders", "--at", AT, "--out", kms_shop.place / "new")
    assert done.code == 0, done.err
    assert kms.counts() == ONCE_EACH
    assert kms_shop.rows(kms_shop.place / "new") == kms_shop.rows()


def test_an_outage_that_ends_in_time_is_waited_for(kms: CloudKms, kms_shop: Shop) -> None:
    kms.faults.append(Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, after=1, times=4))
    kms.faults.append(Fault(garble="answer", times=1))
    assert kms_shop.protect("--at", AT, out=kms_shop.place / "new").code == 0
    assert kms_shop.rows(kms_shop.place / "new") == kms_shop.rows()


@pytest.mark.usefixtures("impatient")
def test_the_desk_tells_an_outage_and_shows_nothing(kms: CloudKms, kms_shop: Shop) -> None:
    kms.stop()
    done = kms_shop.detokenize("card", kms_shop.card_token(0))
    assert (done.code, done.out) == (3, "")
    assert "cryptoKeys/vault: Cloud KMS gives no answer" in done.said


def streamed(shop: Shop, folder: Path) -> list[str | Path]:
    return ["stream", "--dataset=orders", "--from", f"dir://{folder}", "--out", shop.place / "stream", "--until-idle"]


@pytest.mark.usefixtures("impatient")
def test_a_stream_asks_once_for_each_set_and_resumes_after_an_outage(kms: CloudKms, kms_shop: Shop) -> None:
    folder = kms_shop.place / "drop"
    folder.mkdir()
    (folder / "one.jsonl").write_bytes(kms_shop.orders.read_bytes())
    kms.faults.append(Fault(code=UNAVAILABLE, after=2))
    done = kms_shop.process(*streamed(kms_shop, folder))
    assert done.code == 3
    assert "Cloud KMS gives no answer" in done.said
    assert not list((kms_shop.place / "stream").glob("data/**/*.parquet"))
    kms.faults.clear()
    kms.calls.clear()
    kms.faults.append(Fault(code=UNAVAILABLE, after=3))
    done = kms_shop.process(*streamed(kms_shop, folder))
    assert done.code == 0, done.err
    assert kms.counts() == ONCE_EACH
    told = json.loads((kms_shop.place / "stream" / "manifest.json").read_text())
    assert told["books"] == {"in": 25, "out": 24, "dropped": 0, "dead_lettered": 1}


def test_a_replay_asks_once_for_each_set(kms: CloudKms, kms_shop: Shop) -> None:
    assert kms_shop.run("dead-letters", "replay", kms_shop.out).code in (0, 1)
    assert kms.counts() == ONCE_EACH


# ---- moving a keyring


def test_rewrap_moves_the_keys_and_changes_nothing_else(shop: Shop, kms: CloudKms) -> None:
    uri, before = kms.add_key("all"), shop.stored()
    status, public = (shop.run("keys", each).out for each in ("status", "public"))
    done = shop.process("keys", "rewrap", "--to", uri, "--json")
    assert done.code == 0, done.err
    assert done.json() == {
        "keyring": str(shop.folder / "keyring.json"), "sets": list(KEY_SETS), "kek": dict.fromkeys(KEY_SETS, uri),
    }  # fmt: skip
    assert f"says now: kek: {uri}" in done.said and "destroy it, or them" in done.said
    assert kms.counts() == {("Encrypt", "all"): 3, ("Decrypt", "all"): 3}, "each set is opened again before it counts"
    changed = {name for name, data in shop.stored().items() if before[name] != data}
    assert changed == {"keyring.json", "consentry.yaml"}
    (shop.folder / "kek.key").unlink()
    assert (shop.run("keys", "status").out, shop.run("keys", "public").out) == (status, public)
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["value"] == CARDS[0]
    assert shop.run("verify", shop.out).code == 0


def test_rewrap_moves_one_set_and_back(shop: Shop, kms: CloudKms, uris: dict[str, str]) -> None:
    before = shop.config.read_text()
    assert shop.run("keys", "rewrap", "vault", "--to", uris["vault"]).code == 0
    assert read_project(shop.config).kek == {
        "token": "file:kek.key", "vault": uris["vault"], "proof": "file:kek.key",
    }  # fmt: skip
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["value"] == CARDS[0]
    assert shop.run("keys", "rewrap", "vault", "--to", "file:kek.key").code == 0
    assert shop.config.read_text() == before
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["value"] == CARDS[0]


@pytest.mark.parametrize("trouble", ["Encrypt", "Decrypt", "outage"])
@pytest.mark.usefixtures("impatient")
def test_rewrap_writes_nothing_where_the_new_key_would_not_open_it_again(
    shop: Shop, kms: CloudKms, trouble: str
) -> None:
    uri, before = kms.add_key("all"), shop.stored()
    if trouble == "outage":
        kms.faults.append(Fault(code=UNAVAILABLE, after=3))
    else:
        kms.key(uri).permissions.remove(trouble)
    done = shop.run("keys", "rewrap", "--to", uri)
    assert done.code == (3 if trouble == "outage" else 2)
    assert shop.stored() == before


def test_a_rewrap_that_was_killed_before_the_configuration_is_finished_by_another(shop: Shop, kms: CloudKms) -> None:
    uri, before = kms.add_key("all"), shop.config.read_bytes()
    assert shop.run("keys", "rewrap", "--to", uri).code == 0
    shop.config.write_bytes(before)
    done = shop.run("keys", "rotate", "vault")
    assert (done.code, done.out) == (2, "")
    assert "a Cloud KMS key wrapped it; check `kek` in the project file" in done.said
    assert shop.run("keys", "rewrap", "--to", uri).code == 0
    assert shop.detokenize("card", shop.card_token(0)).json()[0]["value"] == CARDS[0]


def test_rewrap_opens_what_has_been_rotated_since(shop: Shop, kms: CloudKms, uris: dict[str, str]) -> None:
    old = shop.card_token(0)
    for _ in range(3):
        assert shop.run("keys", "rotate", "token").code == 0
    assert shop.run("keys", "rewrap", "token", "--to", uris["token"]).code == 0
    assert shop.protect("--at", AT, out=shop.place / "newer").code == 0
    assert shop.detokenize("card", old).json()[0]["value"] == CARDS[0]
    states = [status.version for status in Keyring.load(shop.folder / "keyring.json").status()]
    assert states == [1, 2, 3, 4, 1, 1]


def test_rewrap_with_the_same_key_takes_its_newest_version(kms: CloudKms, kms_shop: Shop, uris: dict[str, str]) -> None:
    config = kms_shop.config.read_bytes()
    kms.rotate(uris["vault"])
    assert kms_shop.run("keys", "rewrap", "vault", "--to", uris["vault"]).code == 0
    kms.set_state(uris["vault"], 1, "DESTROYED")
    assert kms_shop.detokenize("card", kms_shop.card_token(0)).json()[0]["value"] == CARDS[0]
    assert kms_shop.config.read_bytes() == config


# ---- secrecy


def test_what_the_service_decrypted_is_nowhere_to_be_found(kms: CloudKms, kms_shop: Shop) -> None:
    events = write_lines(kms_shop.place / "more.jsonl", [event("c-4")])
    said = [
        kms_shop.process("protect", kms_shop.orders, "--dataset=orders", "--out", kms_shop.place / "new").err,
        kms_shop.process("consent", "import", events).err,
        kms_shop.process("keys", "rotate", "token").err,
        kms_shop.process("keys", "rewrap", "vault", "--to", kms.add_key("other"), "--json").err,
    ]
    files = [path.read_bytes() for path in kms_shop.place.rglob("*") if path.is_file()]
    assert len(kms.plaintexts) >= 4
    for seen in kms.plaintexts:
        for form in (seen, seen.hex().encode(), b64encode(seen), repr(seen).encode()[2:-1]):
            assert not any(form in data for data in (*files, *(text.encode() for text in said)))

"""``consentry log``: checkpoints come when they are due, never at the cost of an answer, and hold the logs fast."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.checkpoints import Checkpoints
from consentry.pipelines.keyring_files import open_proof_keys
from consentry.schemas.checkpoint import Checkpoint, digest_of_file
from consentry.schemas.errors import IntegrityError
from consentry.schemas.manifest import SignatureText
from consentry.schemas.project import read_project
from consentry.transforms.crypto.key_sets import SignatureContext
from consentry.transforms.stores.access_log import open_access_log
from oracles.shop_commands import CARDS, Done, MadeShop, Shop, event, run, write_lines
from oracles.store_place import record_of

NOW = 1_793_000_000_000_000
MINUTE = 60_000_000


def folder(shop: Shop) -> Path:
    return shop.folder / "checkpoints"


def exported(shop: Shop) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(folder(shop).iterdir())]


def checks(done: Done) -> dict[str, tuple[bool, str]]:
    return {each["check"]: (each["ok"], each["detail"]) for each in done.json()["checks"]}


def raw(shop: Shop, store: str, *statements: str) -> None:
    connection = sqlite3.connect(shop.folder / f"{store}.db", isolation_level=None)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def configured(shop: Shop, text: str) -> None:
    lines = shop.config.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("checkpoints:")]
    shop.config.write_text("\n".join([*kept, text]) + "\n")


def asked_often(shop: Shop, times: int) -> None:
    for _ in range(times):
        assert shop.detokenize("card", shop.card_token(0)).code == 0


# Export


def test_whoever_appends_first_exports_a_checkpoint(shop: Shop) -> None:
    (first,) = exported(shop)
    assert (first["store"], first["entries"], first["number"]) == ("ledger", 3, 1)
    assert "previous" not in first
    asked_often(shop, 1)
    _, second = exported(shop)
    assert (second["store"], second["entries"], second["number"]) == ("access_log", 1, 2)
    assert second["previous"] == digest_of_file((folder(shop) / "checkpoint-000000001.json").read_bytes())
    asked_often(shop, 1)
    assert len(exported(shop)) == 2, "none is due"
    for path in folder(shop).iterdir():
        assert path.stat().st_mode & 0o222 == 0


def test_one_is_due_after_so_many_entries(shop: Shop) -> None:
    configured(shop, "checkpoints: {path: checkpoints, every: 3}")
    asked_often(shop, 7)
    assert [each["entries"] for each in exported(shop) if each["store"] == "access_log"] == [1, 4, 7]


def test_one_is_due_after_some_time_if_there_is_something_new(shop: Shop) -> None:
    project, told = read_project(shop.config), list[str]()
    log, clock = open_access_log(project.access_log), [NOW]
    with Checkpoints(project, clock=lambda: clock[0], told=told.append) as checkpoints:
        for minutes, expected in ((0, 1), (1, 1), (14, 1), (15, 2), (16, 2), (29, 2), (31, 3)):
            clock[0] = NOW + minutes * MINUTE
            checkpoints.appended("access_log", log.append([record_of(minutes)]))
            assert len(exported(shop)) == 1 + expected, minutes
        clock[0] += 60 * MINUTE
        checkpoints.appended("access_log", 7)
        assert len(exported(shop)) == 4, "nothing is new"
    assert told == []
    log.close()


def test_a_checkpoint_on_command_covers_the_rest_and_again_is_nothing(shop: Shop) -> None:
    asked_often(shop, 3)
    done = shop.run("log", "checkpoint", "--json")
    assert (done.code, done.err) == (0, "")
    (made,) = done.json()
    assert made == exported(shop)[-1] and (made["store"], made["entries"]) == ("access_log", 3)
    assert shop.run("log", "checkpoint", "--json").json() == []
    asked_often(shop, 1)
    assert shop.run("log", "checkpoint", "--store", "ledger", "--json").json() == []
    assert shop.run("log", "checkpoint", "--store", "vault").code == 2


def test_a_project_without_a_place_has_none(shop: Shop) -> None:
    configured(shop, "")
    shutil.rmtree(folder(shop))
    asked_often(shop, 1)
    assert not folder(shop).exists()
    done = shop.run("log", "checkpoint")
    assert (done.code, "the configuration names no place" in done.err) == (2, True)
    done = shop.run("log", "verify", "--json")
    assert done.code == 0
    assert "not checked: the configuration names no place" in checks(done)["checkpoints"][1]


def test_runs_and_imports_export_what_is_due(shop: Shop) -> None:
    configured(shop, "checkpoints: {path: checkpoints, every: 1}")
    events = write_lines(shop.place / "more.jsonl", [event("c-5"), event("c-6")])
    assert shop.run("consent", "import", events).code == 0
    assert (exported(shop)[-1]["store"], exported(shop)[-1]["entries"]) == ("ledger", 5)
    log = open_access_log(read_project(shop.config).access_log)
    log.append([record_of(1)])
    log.close()
    assert shop.protect(out=shop.place / "again").code == 0
    assert (exported(shop)[-1]["store"], exported(shop)[-1]["entries"]) == ("access_log", 1)


# Never at the cost of an answer


def without_proof(shop: Shop) -> None:
    kek = next(line for line in shop.config.read_text().splitlines() if line.startswith("kek:"))
    shop.config.write_text(shop.config.read_text().replace(kek, "kek: {vault: file:kek.key}"))


def unwritable(shop: Shop) -> None:
    configured(shop, "checkpoints: {path: policy.yaml/checkpoints}")
    (shop.folder / ".consentry-checkpoints.json").unlink()


def forged(shop: Shop) -> None:
    (folder(shop) / "checkpoint-000000002.json").write_text("{}")


@pytest.mark.parametrize("hindered", [without_proof, unwritable, forged])
def test_where_none_can_be_exported_the_answer_is_given_and_logged_all_the_same(
    shop: Shop, hindered: Callable[[Shop], None]
) -> None:
    token = shop.card_token(0)
    hindered(shop)
    done = shop.detokenize("card", token)
    assert (done.code, done.json()[0]["value"]) == (0, CARDS[0])
    assert "no checkpoint of the access log was exported: " in done.err
    assert CARDS[0] not in done.err
    connection = sqlite3.connect(shop.folder / "access.db")
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    connection.close()


def test_a_failed_export_is_not_tried_with_every_answer(shop: Shop) -> None:
    without_proof(shop)
    project, told, clock = read_project(shop.config), list[str](), [NOW]
    with Checkpoints(project, clock=lambda: clock[0], told=told.append) as checkpoints:
        log = open_access_log(project.access_log)
        for seconds, expected in ((0, 1), (1, 1), (59, 1), (61, 2)):
            clock[0] = NOW + seconds * 1_000_000
            checkpoints.appended("access_log", log.append([record_of(seconds)]))
            assert len(told) == expected
        log.close()


# It never goes back, and signs nothing that was changed


def test_a_log_that_was_cut_is_not_signed(shop: Shop) -> None:
    asked_often(shop, 4)
    assert shop.run("log", "checkpoint").code == 0
    raw(shop, "access", "DELETE FROM entries WHERE position > 2")
    before = exported(shop)
    done = shop.run("log", "checkpoint")
    assert done.code == 3
    assert "access_log: entry 4 is not the one that its newest checkpoint saw" in done.err
    configured(shop, "checkpoints: {path: checkpoints, every: 1}")
    asked_often(shop, 5)
    assert exported(shop) == before, "even when it has as many entries again"


def test_what_changed_since_the_newest_checkpoint_is_not_signed_on_command(shop: Shop) -> None:
    asked_often(shop, 5)
    raw(shop, "access", "UPDATE entries SET actor = 'bob' WHERE position = 3")
    done = shop.run("log", "checkpoint")
    assert done.code == 3 and "access_log: entry 3 was changed, moved or taken out" in done.err


@pytest.mark.parametrize("note", ["kept", "lost", "old", "damaged"])
def test_numbers_go_on_whatever_became_of_the_note(shop: Shop, note: str) -> None:
    path = shop.folder / ".consentry-checkpoints.json"
    old = path.read_bytes()
    configured(shop, "checkpoints: {path: checkpoints, every: 1}")
    asked_often(shop, 3)
    if note == "lost":
        path.unlink()
    elif note != "kept":
        path.write_bytes(old if note == "old" else b'{"number": "x"')
    asked_often(shop, 2)
    assert [each["number"] for each in exported(shop)] == [1, 2, 3, 4, 5, 6]
    done = shop.run("log", "verify", "--json")
    is_lost = note in ("lost", "damaged")
    assert (done.code, checks(done)["note"][0]) == (int(is_lost), not is_lost)
    assert json.loads(path.read_bytes())["number"] == 6


def test_threads_that_export_at_once_leave_one_row_of_checkpoints(shop: Shop) -> None:
    project = read_project(shop.config)
    log = open_access_log(project.access_log)

    def work() -> None:
        with Checkpoints(project, clock=lambda: NOW) as checkpoints:
            for number in range(10):
                log.append([record_of(number)])
                checkpoints.export("access_log")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    numbers = [each["number"] for each in exported(shop)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 10
    assert shop.run("log", "verify").code == 0
    assert [path.name for path in folder(shop).iterdir() if path.name.startswith(".")] == []


def test_checkpoints_go_to_any_file_system_of_beam(shop: Shop, shelf: Callable[[str], str]) -> None:
    place = shelf("checkpoints")
    configured(shop, f"checkpoints: {{path: '{place}', every: 1}}")
    (shop.folder / ".consentry-checkpoints.json").unlink()
    asked_often(shop, 3)
    done = shop.run("log", "verify", "--json")
    assert checks(done)["access_log"][0] and "3, signed" in checks(done)["checkpoints"][1]


# Verification


@pytest.fixture
def covered(shop: Shop) -> Shop:
    """Five checkpoints of the access log, one of the ledger, and entries behind them."""
    configured(shop, "checkpoints: {path: checkpoints, every: 2}")
    asked_often(shop, 10)
    assert [each["entries"] for each in exported(shop)] == [3, 1, 3, 5, 7, 9]
    return shop


def test_untouched_logs_hold_and_what_is_not_covered_is_told(covered: Shop) -> None:
    done = covered.run("log", "verify", "--json")
    assert (done.code, done.err) == (0, "")
    assert list(done.json()) == ["ok", "checks"]
    found = checks(done)
    assert list(found) == ["checkpoints", "note", "ledger", "access_log", "ledger_tags"]
    assert found["checkpoints"][1] == "6, signed, numbered without a gap"
    assert found["access_log"][1].startswith("the chain of 10 entries is whole; 1 came after its newest checkpoint")
    assert found["ledger"][1].split()[-1] == covered.run("consent", "verify", "--json").json()["head"]


def test_an_auditor_needs_no_secret_and_no_project_folder(covered: Shop, tmp_path: Path) -> None:
    place = tmp_path / "auditor"
    place.mkdir()
    for name in ("ledger.db", "access.db", "consentry.yaml"):
        shutil.copy(covered.folder / name, place)
    shutil.copytree(folder(covered), place / "copies")
    shutil.copy(covered.folder / "proof.pub", tmp_path / "trusted.pub")
    config = ("--config", place / "consentry.yaml")
    done = run(
        "log", "verify", *config, "--trust", tmp_path / "trusted.pub", "--checkpoints", place / "copies", "--json"
    )
    assert done.code == 0, done.out
    assert checks(done)["ledger_tags"] == (
        True, "not checked: the key set vault, or the data keys, cannot be opened here",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE entries SET actor = 'bob' WHERE position = 4", "access_log: entry 4 was changed"),
        ("DELETE FROM entries WHERE position = 4", "access_log: entry 4 was changed"),
        (
            "DELETE FROM entries WHERE position > 6",
            "access_log: ends at entry 6, checkpoint-000000005.json saw 7: entries 7 to 7 were taken out",
        ),
        ("DELETE FROM entries", "access_log: ends at entry 0, checkpoint-000000002.json saw 1"),
    ],
)
def test_a_changed_log_is_found_and_its_place_named(covered: Shop, statement: str, says: str) -> None:
    raw(covered, "access", statement)
    done = covered.run("log", "verify", "--json")
    assert done.code == 1
    ok, detail = checks(done)["access_log"]
    assert not ok and detail.startswith(says), detail


def test_a_log_written_anew_is_found_though_its_chain_is_whole(covered: Shop) -> None:
    project = read_project(covered.config)
    (covered.folder / "access.db").unlink()
    log = open_access_log(project.access_log, create=True)
    log.append([record_of(number) for number in range(30)])
    assert log.verify().entries == 30
    log.close()
    ok, detail = checks(covered.run("log", "verify", "--json"))["access_log"]
    assert not ok and "an entry from 1 to 1 was changed, moved or taken out, and all links behind it" in detail


@pytest.mark.parametrize("store", ["ledger", "access"])
def test_a_log_that_is_gone_cannot_be_looked_at(covered: Shop, store: str) -> None:
    (covered.folder / f"{store}.db").unlink()
    done = covered.run("log", "verify", "--json")
    assert done.code == 3
    assert "is missing" in checks(done)["ledger" if store == "ledger" else "access_log"][1]


def rename(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.chmod(0o600), other.chmod(0o600)
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def path_of(shop: Shop, number: int) -> Path:
    return folder(shop) / f"checkpoint-{number:09}.json"


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda shop: path_of(shop, 3).unlink(), "checkpoint-000000003.json: is missing"),
        (lambda shop: path_of(shop, 1).unlink(), "checkpoint-000000001.json: is missing"),
        (lambda shop: path_of(shop, 6).unlink(), "checkpoint-000000006.json: is missing"),
        (
            lambda shop: [path_of(shop, number).unlink() for number in (4, 5)],
            "checkpoint-000000004.json to checkpoint-000000005.json: is missing",
        ),
        (lambda shop: rename(path_of(shop, 3), path_of(shop, 4)), "checkpoint-000000003.json: is not as it was"),
        (
            lambda shop: shutil.rmtree(folder(shop)),
            "checkpoint-000000001.json to checkpoint-000000006.json: is missing",
        ),
        (
            lambda shop: (folder(shop) / "checkpoint-999999999999.json").write_text("{}"),
            "checkpoint-999999999999.json: is not as it was",
        ),
    ],
)
def test_a_checkpoint_that_is_withheld_or_changed_is_found(
    covered: Shop, tamper: Callable[[Shop], Any], says: str
) -> None:
    tamper(covered)
    done = covered.run("log", "verify", "--json")
    assert done.code == 1
    ok, detail = checks(done)["checkpoints"]
    assert not ok and says in detail, detail


def test_every_changed_byte_of_a_checkpoint_is_found(covered: Shop) -> None:
    path = path_of(covered, 3)
    data = path.read_bytes()
    path.chmod(0o600)
    for place in range(0, len(data), 29):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        done = covered.run("log", "verify", "--json")
        assert done.code == 1 and not checks(done)["checkpoints"][0], place


def test_a_row_of_checkpoints_that_somebody_else_signed_is_not_believed(
    covered: Shop, tmp_path: Path, made_shop: MadeShop
) -> None:
    """Who has keys of their own, and the stores, but not the trusted ones."""
    run("init", tmp_path / "other" / "shop", "--tenant", read_project(covered.config).tenant)
    other = Shop(tmp_path / "other")
    shutil.copy(covered.folder / "access.db", other.folder / "access.db")
    assert other.run("log", "checkpoint").code == 0
    done = covered.run("log", "verify", "--checkpoints", folder(other), "--json")
    assert done.code == 1
    assert "which is not trusted" in checks(done)["checkpoints"][1]
    assert "none of its 10 entries is in a checkpoint" in checks(done)["access_log"][1]


def test_a_signature_for_another_end_is_none_of_a_checkpoint(covered: Shop) -> None:
    path = path_of(covered, 6)
    made = Checkpoint.model_validate_json(path.read_bytes())
    keys = open_proof_keys(read_project(covered.config))
    for context in (SignatureContext.MANIFEST, SignatureContext.CERTIFICATE):
        signature = keys.sign(context, made.signed_bytes())
        changed = made.signed_with(SignatureText(key_id=signature.key_id, value=signature.value.hex()))
        path.chmod(0o600)
        path.write_bytes(changed.dumps())
        assert not checks(covered.run("log", "verify", "--json"))["checkpoints"][0]


def test_after_a_rotation_of_proof_keys_old_checkpoints_hold(covered: Shop) -> None:
    assert covered.run("keys", "rotate", "proof").code == 0
    assert covered.run("keys", "public", "--out", covered.folder / "proof.pub").code == 0
    assert covered.run("log", "checkpoint").code == 0
    assert len({each["signature"]["key_id"] for each in exported(covered)}) == 2
    assert covered.run("log", "verify").code == 0


def test_a_ledger_forged_behind_the_last_checkpoint_is_found_by_its_tags(shop: Shop) -> None:
    assert shop.run("consent", "import", write_lines(shop.place / "more.jsonl", [event("c-5")])).code == 0
    raw(shop, "ledger", "UPDATE entries SET entry = substr(entry, 1, length(entry) - 1) || x'00' WHERE position = 4")
    found = checks(shop.run("log", "verify", "--json"))
    assert not found["ledger_tags"][0] and not found["ledger"][0]


def test_people_get_a_table(covered: Shop) -> None:
    raw(covered, "access", "DELETE FROM entries WHERE position > 6")
    done = covered.run("log", "verify")
    assert done.code == 1
    assert "failed" in done.out and "entries 7 to 7 were taken out" in done.out


def test_programs_are_told_that_a_log_was_changed(covered: Shop) -> None:
    raw(covered, "access", "DELETE FROM entries WHERE position > 6")
    with (
        Checkpoints(read_project(covered.config), clock=lambda: NOW) as checkpoints,
        pytest.raises(IntegrityError) as caught,
    ):
        checkpoints.export("access_log")
    assert caught.value.reason == "log_changed"

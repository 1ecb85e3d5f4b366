"""The rights of a data subject on the command line, as people and programs use them."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from oracles.needles import contents, leaks
from oracles.shop_commands import CARDS, PROGRAM, SUBJECTS, Shop, run

PERSON = SUBJECTS[1]
MAIL = "kim1@example.com"
JANUARY = "2026-01-01T00:00:00Z"


def test_an_export_shows_everything_that_is_held_and_logs_each_value(shop: Shop) -> None:
    token = shop.card_token(1)
    assert shop.detokenize("card", token).code == 0
    done = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--outputs", shop.out, "--json")
    assert done.code == 0 and done.err == ""
    found = done.json()
    assert {(each["what"], each["value"]) for each in found["values"]} == {("card", CARDS[1]), ("email", MAIL)}
    card = next(each for each in found["values"] if each["what"] == "card")
    assert card["token"] == token and {each["purpose"] for each in card["for"]} == {"fraud_review", "support"}
    (event,) = found["consent_events"]
    assert (event["purpose"], event["decision"], event["source"]) == ("support", "granted", "form")
    assert {each["purpose"]: each["permitted"] for each in found["purposes"]} == {
        "fulfilment": True, "fraud_review": True, "support": True, "analytics": True,
    }  # fmt: skip
    assert [(each["actor"], each["purpose"], each["decision"], each["shown"]) for each in found["accesses"]] == [
        ("finn", "fraud_review", "allowed", "full")
    ]
    assert found["erased"] is False and found["dead_letters"] == []
    again = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--json").json()
    assert [(each["actor"], each["rule"]) for each in again["accesses"][1:]] == [("ana", "subject_export")] * 3


def test_an_export_is_readable_and_can_go_to_a_file_of_its_owner(shop: Shop) -> None:
    done = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana")
    assert done.code == 0 and CARDS[1] in done.out and "To stop misuse of payment cards." in done.out
    path = shop.place / "export.json"
    done = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--out", path)
    assert done.code == 0 and CARDS[1] not in done.out + done.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and CARDS[1] in path.read_text()
    refused = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--out", path)
    assert refused.code == 2 and "is not overwritten" in refused.said


def test_an_export_needs_who_asks_and_a_log_that_can_be_written(shop: Shop) -> None:
    assert shop.run("subject", "export", "--subject", PERSON).code == 2
    blank = shop.run("subject", "export", "--subject", PERSON, "--actor", " ")
    assert blank.code == 2 and "--actor: is blank" in blank.said
    log = shop.folder / "access.db"
    log.rename(shop.folder / "gone.db")
    done = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--json")
    assert done.code == 2 and done.out == "" and "access log is missing" in done.said


def test_a_stranger_s_export_holds_nothing(shop: Shop) -> None:
    found = shop.run("subject", "export", "--subject", "nobody-1", "--actor", "ana", "--json").json()
    assert found["values"] == found["consent_events"] == found["accesses"] == []


def test_an_id_of_which_nothing_is_known_is_told_from_a_person(shop: Shop) -> None:
    for _ in range(2):  # the first export is in the log, and makes nobody known
        done = shop.run("subject", "export", "--subject", "nobody-1", "--actor", "ana", "--json")
        assert done.code == 0 and done.json()["known"] is False
        assert "Nothing is known of this id" in done.said and "No value is held." in done.said
    known = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--json")
    assert known.json()["known"] is True and "Nothing is known" not in known.said
    erased = shop.run("subject", "erase", "--yes", "--subject", "nobody-1")
    assert erased.code == 0 and "Nothing is known of this id" in erased.said
    assert "later records of this id permit nothing" in erased.said and "nobody-1" not in erased.out + erased.err
    again = shop.run("subject", "erase", "--yes", "--subject", "nobody-1")
    assert again.code == 0 and "Nothing is known" not in again.said


def test_an_erasure_that_nobody_confirms_is_wrong_use_and_does_nothing(shop: Shop) -> None:
    before = shop.stored()
    done = shop.run("subject", "erase", "--subject", PERSON)
    assert done.code == 2 and "add --yes; nothing was done" in done.said
    assert shop.run("subject", "cases", "--json").json() == []
    assert shop.stored() == before
    assert shop.run("subject", "erase", "--yes", "--subject", PERSON).code == 0
    assert shop.run("subject", "erase", "--resume", "--subject", PERSON).code == 0, "it was confirmed when it was begun"


@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("\x04", 2), ("y", 0)])
def test_at_a_terminal_an_erasure_asks_first(shop: Shop, answer: str, code: int) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, "subject", "erase", "--subject", PERSON, "--config", shop.config],
        stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        os.close(follower)
        os.write(leader, f"{answer}\n".encode())
        _, err = started.communicate(timeout=120)
    os.close(leader)
    assert started.returncode == code
    assert "Erase this person for good (2 vault entries, 1 consent event)? It cannot be undone." in err
    assert ("subject erase: was not confirmed; nothing was done" in err) is (code == 2)
    assert len(shop.run("subject", "cases", "--json").json()) == (code == 0)


def test_an_erasure_certifies_what_it_did(shop: Shop) -> None:
    token = shop.card_token(1)
    done = shop.run("subject", "erase", "--yes", "--subject", PERSON, "--outputs", shop.out, "--json")
    assert done.code == 0, done.err
    certificate = done.json()
    assert [each["path"] for each in certificate["outputs"]] == [str(shop.out)]
    path = shop.folder / "certificates" / f"{certificate['case']}.json"
    assert json.loads(path.read_text()) == certificate
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(path.parent.iterdir()) == [path]
    checked = run("subject", "certificate", "verify", path, "--trust", shop.folder / "proof.pub", "--json")
    assert checked.code == 0 and checked.json()["ok"] is True
    assert shop.run("verify", shop.out).code == 0
    assert shop.detokenize("card", token).code == 1
    assert leaks([MAIL, CARDS[1]], [("said", (done.out + done.err).encode()), *contents(shop.folder)]) == []
    again = shop.run("subject", "erase", "--subject", PERSON, "--resume", "--json")
    assert again.code == 0 and again.json() == certificate
    listed = shop.run("subject", "cases", "--json").json()
    assert [(each["case"], each["state"]) for each in listed] == [(certificate["case"], "certified")]
    exported = shop.run("subject", "export", "--subject", PERSON, "--actor", "ana", "--json").json()
    assert exported["erased"] is True and exported["values"] == []
    assert exported["held_back"] == [{"what": "card", "purposes": ["fraud_review"], "until": None}]
    assert {each["evidence"] for each in exported["consent_events"]} == {None}


def test_a_certificate_that_was_changed_is_refused(shop: Shop) -> None:
    assert shop.run("subject", "erase", "--yes", "--subject", PERSON).code == 0
    (path,) = (shop.folder / "certificates").iterdir()
    path.write_text(path.read_text().replace('"vault_entries": 2', '"vault_entries": 3'))
    done = shop.run("subject", "certificate", "verify", path, "--json")
    assert done.code == 1 and done.json()["ok"] is False
    assert shop.run("subject", "certificate", "verify", shop.place / "nothing.json").code == 2


def test_a_certificate_that_cannot_be_written_leaves_no_draft_and_can_be_had_again(shop: Shop) -> None:
    decoy = shop.place / "decoy"
    decoy.write_text("untouched")
    (shop.place / ".mine.json.part").symlink_to(decoy)
    named = ("--certificate", shop.place / "mine.json")
    assert shop.run("subject", "erase", "--yes", "--subject", PERSON, *named).code == 0
    assert decoy.read_text() == "untouched"
    (shop.place / "taken").mkdir()
    before = shop.visible()
    done = shop.run("subject", "erase", "--yes", "--subject", PERSON, "--certificate", shop.place / "taken")
    assert done.code == 2 and "the erasure is certified; run it again with another --certificate" in done.said
    assert shop.visible() == before


def test_several_outputs_follow_one_option(shop: Shop) -> None:
    for name in ("a", "b"):
        assert shop.protect(out=shop.place / name).code == 0
    done = shop.run(
        "subject", "erase", "--yes", "--subject", PERSON, "--outputs", shop.place / "a", shop.place / "b", "--json"
    )
    assert [Path(each["path"]).name for each in done.json()["outputs"]] == ["a", "b"]
    assert shop.run("subject", "erase", "stray", "--yes", "--subject", PERSON).code == 2
    assert shop.run("subject", "erase", "--yes", "--outputs", shop.place / "a", "--what", "--subject", PERSON).code == 2


def test_the_id_can_come_from_standard_input(shop: Shop) -> None:
    done = shop.run("subject", "erase", "--yes", "--subject", "-", "--json", input=f"{PERSON}\n".encode())
    assert done.code == 0 and done.json()["vault_entries"] == 2
    assert shop.run("subject", "erase", "--yes", "--subject", "-", input=b"\xff").code == 2


def test_what_is_held_back_is_shown_for_the_obligation_alone(shop: Shop) -> None:
    case = shop.run("subject", "erase", "--yes", "--subject", PERSON, "--json").json()["case"]

    def held(purpose: str, role: str, *more: str) -> list[str]:
        return ["subject", "held", "--case", case, "--purpose", purpose, "--role", role, "--actor", "finn", *more]

    shown = shop.run(*held("fraud_review", "fraud_analyst", "--json"))
    assert shown.code == 0 and [each["value"] for each in shown.json()] == [CARDS[1]]
    assert CARDS[1] in shop.run(*held("fraud_review", "fraud_analyst")).out
    refused = shop.run(*held("support", "support_agent"))
    assert refused.code == 1 and CARDS[1] not in refused.out
    unknown = shop.run(*held("support", "support_agent")[:3], "e-0", *held("fraud_review", "fraud_analyst")[4:])
    assert unknown.code == 1


def test_a_hold_that_an_older_store_of_data_keys_lost_is_told_by_whoever_could_notice(shop: Shop) -> None:
    keys = shop.folder / "data_keys.db"
    before = keys.read_bytes()
    case = shop.run("subject", "erase", "--yes", "--subject", PERSON, "--json").json()["case"]
    assert shop.run("vault", "status", "--json").json()["held_back"] == [
        {"case": case, "what": "card", "until": None, "lost": False}
    ]
    assert "cannot be opened" not in shop.run("vault", "status").said
    for path in shop.folder.glob("data_keys.db*"):
        path.unlink()
    keys.write_bytes(before)
    says = f"erasure {case}: what is held back of 'card' cannot be opened"
    assert says in shop.run("vault", "status").said
    assert shop.run("vault", "status", "--json").json()["held_back"][0]["lost"] is True
    who = ("--purpose", "fraud_review", "--role", "fraud_analyst", "--actor", "finn")
    held = shop.run("subject", "held", "--case", case, *who)
    assert held.code == 3 and says in held.said and held.out == ""
    other = shop.run("subject", "erase", "--yes", "--subject", SUBJECTS[0])
    assert other.code == 0 and says in other.said


def test_redact_says_what_it_removed(shop: Shop) -> None:
    assert shop.run("redact", shop.out, "--json").json()["changed"] is False
    unchanged = shop.run("redact", shop.out)
    assert unchanged.code == 0 and "nothing changed" in unchanged.said
    withdrawn = (
        "--purpose",
        "analytics",
        "--decision",
        "withdrawn",
        "--source",
        "call",
        "--at",
        "2026-01-01T00:00:00Z",
    )
    assert shop.run("consent", "record", "--subject", PERSON, *withdrawn).code == 0, "an objection"
    done = shop.run("redact", shop.out)
    assert done.code == 0 and "their subject permits them no more" in done.out
    assert shop.rows()["o-1"]["customer"]["birth_date"] == "[redacted]"
    assert shop.run("verify", shop.out).code == 0
    missing = shop.run("redact", shop.place / "nowhere")
    assert missing.code == 2


WITHOUT_BEAM = """
import sys
from unittest import mock
from consentry.pipelines.cli import main
with mock.patch.object(sys, "argv", ["consentry", *sys.argv[1:]]):
    try:
        main()
    except SystemExit as exit_:
        assert not exit_.code, exit_.code
assert not [name for name in sys.modules if name.startswith("apache_beam")], "Beam was loaded"
"""


@pytest.mark.parametrize(
    "command", [["export", "--subject", PERSON, "--actor", "ana"], ["erase", "--yes", "--subject", PERSON], ["cases"]]
)
def test_without_outputs_nothing_loads_beam(shop: Shop, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BEAM, "subject", *command, "--config", str(shop.config)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_redacting_what_is_permitted_leaves_every_byte_of_the_output(shop: Shop) -> None:
    before = {path: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()}
    done = shop.run("redact", shop.out)
    assert done.code == 0 and "nothing changed" in done.said
    assert {path: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()} == before

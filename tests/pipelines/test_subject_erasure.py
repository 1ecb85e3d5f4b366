"""An erasure says done only when it is, goes on after every kill, and leaves nothing of the person unnamed."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines import subject_erasure
from consentry.pipelines.desk import create_stores, open_desk, open_stores
from consentry.pipelines.erasure_certificate import verified_certificate
from consentry.pipelines.held_values import show_held
from consentry.pipelines.keyring_files import alone_with_keyring
from consentry.pipelines.known_outputs import note_output
from consentry.pipelines.letters import open_letter_output, open_stored, stored_letters
from consentry.pipelines.lost_holds import hold_states
from consentry.pipelines.output_versions import known_from_output
from consentry.pipelines.subject_erasure import EraseOptions, erase_subject
from consentry.schemas.certificate import Certificate, parse_certificate
from consentry.schemas.consent import format_instant
from consentry.schemas.errors import ConfigError, IntegrityError, RunError, SignatureError, StoreError
from consentry.schemas.policy_file import read_policy
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.stores.access_log import open_access_log
from consentry.transforms.stores.erasure_journal import ErasureCase, ErasureState, open_erasures
from oracles.dying_process import dying_process
from oracles.needles import contents, leaks
from oracles.redacted_shop import DAY, HOUR, NOW, SUBJECTS, RedactedShop, record
from oracles.shop_commands import CARDS
from servers.postgres import Postgres

PERSON = "kunde-004711"
CARD = "5105105105105100"
MAIL = "erase.me@kanarie.example"
SECRETS = (PERSON, CARD, MAIL, "kanarie")


def theirs(number: int) -> dict[str, Any]:
    return {
        "order_id": f"p-{number}",
        "placed_at": "2026-03-01T09:00:00Z",
        "customer": {"id": PERSON, "email": MAIL, "birth_date": "1985-08-11", "phone": "+49 30 1234567", "age": 33},
        "referred_by": SUBJECTS[1],
        "payment": {"card": {"number": CARD}},
        "items": [{"sku": "TEA", "gift_note": f"card {CARD} of {MAIL}", "recipient": MAIL}],
        "remark": f"write to {MAIL}",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop that has orders of eight people, and dead letters of one of them, who is to be erased."""
    place = tmp_path_factory.mktemp("erasures")
    shop = RedactedShop(place)
    path = place / "shop" / "policy.yaml"
    path.write_text(path.read_text().replace("on_drift: drop", "on_drift: dead_letter"))
    chance = random.Random(1)
    records: list[Any] = [record(chance, number) for number in range(40)]
    records += [theirs(number) for number in range(4)]
    records += [{**theirs(7), "surprise": f"{CARD} kanarie"}, '{"broken": "' + MAIL]
    records.append({**record(chance, 90), "remark": f"friend of {PERSON}", "referred_by": PERSON})
    shop.write(records)
    everybody = (*SUBJECTS, PERSON)
    shop.say(*((each, purpose, "granted", NOW - 200 * DAY) for each in everybody for purpose in ("support", "news")))
    shop.protect()
    shutil.copytree(shop.out, place / "other")
    shop.orders.unlink()
    return place


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> RedactedShop:
    shutil.copytree(made, tmp_path / "place")
    shop = RedactedShop(tmp_path / "place")
    (tmp_path / "place" / "shop" / "outputs.db").unlink()  # it knows the place that the shop was copied from
    note_output(shop.project, known_from_output(shop.project, read_policy(shop.project.policy), str(shop.out)))
    return shop


def erase(
    shop: RedactedShop, *outputs: Path, clock: int = NOW + HOUR, subject: str = PERSON, **options: Any
) -> Certificate:
    named = EraseOptions(outputs=tuple(map(str, outputs)), **options)
    return erase_subject(shop.project, subject, named, clock=lambda: clock)


def case_of(shop: RedactedShop, subject: str = PERSON) -> ErasureCase | None:
    with open_stores(shop.project) as stores, closing(open_erasures(shop.project.erasures, create=True)) as journal:
        reference = subject_reference(subject, stores.keys.reference_key)
        assert reference is not None
        return journal.case_of(reference)


def trust(shop: RedactedShop) -> PublicKeys:
    return PublicKeys.load(shop.project.trust)


def openable(shop: RedactedShop) -> int:
    """How many vault entries and dead letters of the person can be opened."""
    output = open_letter_output(str(shop.out), trust(shop))
    with open_stores(shop.project) as stores:
        reference = subject_reference(PERSON, stores.keys.reference_key)
        assert reference is not None
        letters = [each for some in stored_letters(output) for each in some if each.keys.subject == reference]
        opened = open_stored(letters, stores.data_keys, "shop", at=0) if letters else []
        assert letters
        return len(stores.vault.entries_of(reference)) + sum(each is not None for each in opened)


def tokens_of(shop: RedactedShop) -> set[str]:
    rows = [row for row in shop.rows() if row["order_id"].startswith("p-")]
    return {rows[0]["customer"]["id"], rows[0]["customer"]["email"], rows[0]["payment"]["card"]["number"]}


def test_nothing_of_the_person_is_in_any_byte_of_the_project_or_the_output(
    shop: RedactedShop, capfd: pytest.CaptureFixture[str]
) -> None:
    tokens = tokens_of(shop)
    assert openable(shop) == 3
    certificate = erase(shop, shop.out)
    assert openable(shop) == 0 and shop.failed() == []
    said = capfd.readouterr()
    told = [("certificate", certificate.dumps().encode()), ("said", (said.out + said.err).encode())]
    shutil.rmtree(shop.place / "other")
    assert leaks(SECRETS, [*contents(shop.place), *told]) == []
    assert not [
        name for name, data in [*contents(shop.place), *told] if any(token.encode() in data for token in tokens)
    ]
    rows = shop.rows()
    assert not any(row["order_id"].startswith("p-") for row in rows), "the dataset permits none of their rows"
    mention = next(row for row in rows if row["order_id"] == "o-90")
    assert mention["remark"] == "friend of [redacted]" and mention["referred_by"] == "[redacted]"


def test_the_certificate_says_what_was_done_and_what_remains_and_verifies_without_a_project(shop: RedactedShop) -> None:
    certificate = erase(shop, shop.out)
    path = shop.place / "certificate.json"
    path.write_text(certificate.dumps())
    assert verified_certificate(path, trust(shop)) == certificate
    assert list(certificate.steps) == ["requested", "frozen", "shredded", "redacted", "verified"]
    (output,) = certificate.outputs
    assert output.removed["rows_no_permission"] == 4 and output.letters == 1 and output.path == str(shop.out)
    (held,) = certificate.held_back
    assert (held.domain, held.purposes, held.until) == ("card", ("fraud_review",), None)
    remains = {each.what: each for each in certificate.remains}
    always = {"dead_letters", "other_outputs", "tokens", "backups_of_data_keys", "access_log"}
    assert remains.keys() == {*always, "held_back"}
    assert remains["dead_letters"].until == format_instant(NOW + HOUR + 8 * DAY)
    assert f"(named: {shop.out}; known to the project and not named: none)" in remains["other_outputs"].says


def test_the_certificate_names_outputs_that_the_project_knows_and_that_were_not_named(shop: RedactedShop) -> None:
    (other,) = {each.what: each for each in erase(shop).remains}.keys() & {"other_outputs"}
    says = {each.what: each.says for each in erase(shop).remains}[other]
    assert f"(named: none; known to the project and not named: {shop.out.resolve()})" in says


def test_a_changed_certificate_is_found_out(shop: RedactedShop) -> None:
    text = erase(shop).dumps()
    path = shop.place / "certificate.json"
    for change in ('"vault_entries": 5', '"tenant": "ship"', '"outputs": [ ]'):
        name = change.partition(":")[0]
        start = text.index(name)
        path.write_text(text[:start] + change + text[text.index("\n", start) - 1 :])
        with pytest.raises(IntegrityError):
            verified_certificate(path, trust(shop))
    document = json.loads(text)
    document["case"] = "e-20260101-00000000"
    path.write_text(json.dumps(document, indent=2) + "\n")
    with pytest.raises(SignatureError):
        verified_certificate(path, trust(shop))
    with pytest.raises(IntegrityError):
        parse_certificate(b"{}")


def test_restored_backups_of_vault_and_dead_letters_stay_unreadable(shop: RedactedShop) -> None:
    backup = shop.place / "backup"
    shutil.copytree(shop.place / "shop", backup)
    letters = {path: path.read_bytes() for path in shop.out.glob("dead_letters/*")}
    erase(shop, shop.out)
    for path in (shop.place / "shop").glob("vault.db*"):
        path.unlink()
    for path in backup.glob("vault.db*"):
        shutil.copy(path, shop.place / "shop" / path.name)
    assert letters == {path: path.read_bytes() for path in shop.out.glob("dead_letters/*")}
    with open_stores(shop.project) as stores:
        reference = subject_reference(PERSON, stores.keys.reference_key)
        assert reference is not None
        entries = stores.vault.entries_of(reference)
        assert entries
        for entry in entries:
            with pytest.raises(IntegrityError, match="is gone"):
                stores.vault.open_value(entry)
    with open_desk(shop.project, clock=lambda: NOW + DAY) as desk:
        asked = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
        (answer,) = desk.detokenize("card", [entries[0].token], **asked)
        assert answer.decision == "refused"
    with open_stores(shop.project) as stores:
        assert stores.vault.entries_of(reference) == [], "it follows the ledger before it answers"


def test_keys_that_a_backup_brought_back_go_with_the_next_erasure_of_anybody(shop: RedactedShop) -> None:
    backup = shop.place / "backup"
    shutil.copytree(shop.place / "shop", backup)
    first = erase(shop, shop.out)
    for store in ("vault", "data_keys"):
        for path in (shop.place / "shop").glob(f"{store}.db*"):
            path.unlink()
        for path in backup.glob(f"{store}.db*"):
            shutil.copy(path, shop.place / "shop" / path.name)
    assert openable(shop) == 3
    erase(shop, subject=SUBJECTS[0])
    with open_stores(shop.project) as stores:
        reference = subject_reference(PERSON, stores.keys.reference_key)
        assert reference is not None
        assert stores.data_keys.keys_for([reference], create=False) == {}
    second = erase(shop, clock=NOW + DAY)
    assert openable(shop) == 0 and second.case == first.case


def test_a_later_record_of_the_erased_is_without_permission(shop: RedactedShop) -> None:
    erase(shop, shop.out)
    shop.say((PERSON, "support", "granted", NOW + 2 * HOUR))
    shop.write([theirs(1), {**theirs(2), "surprise": "x"}, record(random.Random(5), 2)])
    later = shop.place / "later"
    manifest = shop.protect(later, now=NOW + 3 * HOUR)
    assert (manifest.books.in_, manifest.books.out, manifest.books.dropped) == (3, 1, 2)
    assert not any(row["order_id"].startswith("p-") for row in shop.rows(later))
    shop.orders.unlink()
    shutil.rmtree(shop.place / "other")
    assert leaks(SECRETS, contents(shop.place)) == []


def test_the_ledger_stays_whole_and_names_nobody(shop: RedactedShop) -> None:
    certificate = erase(shop)
    with open_stores(shop.project) as stores:
        verified = stores.ledger.verify()
        assert (verified.entries, verified.head.hex()) == (certificate.ledger_position, certificate.ledger_head)
        assert PERSON not in stores.ledger.known_subjects().ids
        assert {event.evidence for event in stores.ledger.events_of(PERSON)} == {None}
        assert {event.evidence for event in stores.ledger.events_of(SUBJECTS[0])} == {"letter"}


def test_an_output_that_is_named_later_is_redacted_too_and_certified_anew(shop: RedactedShop) -> None:
    first = erase(shop, shop.out)
    assert erase(shop, shop.out) == first == erase(shop, resume=True), "what is done is done"
    other = shop.place / "other"
    second = erase(shop, other, clock=NOW + 2 * HOUR)
    assert second.case == first.case and [each.path for each in second.outputs] == [str(shop.out), str(other)]
    assert shop.failed(other) == [] and not any(row["order_id"].startswith("p-") for row in shop.rows(other))


def test_an_output_that_was_not_named_is_redacted_later_without_the_name(shop: RedactedShop) -> None:
    erase(shop)
    assert any(row["order_id"].startswith("p-") for row in shop.rows())
    report = shop.redact(now=NOW + HOUR)
    assert report.removed["rows_no_permission"] == 4 and report.removed["values_erased"] >= 1
    mention = next(row for row in shop.rows() if row["order_id"] == "o-90")
    assert mention["referred_by"] == "[redacted]"


def test_what_a_legal_obligation_holds_back_is_shown_for_it_alone_and_logged(shop: RedactedShop) -> None:
    case = erase(shop, shop.out).case

    def held(purpose: str = "fraud_review", role: str = "fraud_analyst") -> list[tuple[str, str]]:
        found = show_held(shop.project, case, purpose=purpose, role=role, actor="finn", clock=lambda: NOW + DAY)
        return [(each.value, each.shown) for each in found]

    assert held() == [(CARD, "full")]
    for purpose, role in (("support", "support_agent"), ("fraud_review", "support_agent"), ("fraud_review", "nobody")):
        assert held(purpose, role) == []
    with closing(open_access_log(shop.project.access_log)) as log:
        records = [(each.decision, each.rule, each.shown) for each in log.records()]
    assert records == [("allowed", "legal_hold", "full"), *[("refused", "legal_hold", None)] * 3]
    again = erase(shop, hold=False, clock=NOW + 2 * DAY)
    assert again.held_back == () and held() == []


def test_what_is_held_back_ends_in_time(shop: RedactedShop) -> None:
    certificate = erase(shop, hold_until=NOW + 10 * DAY)
    assert certificate.held_back[0].until == format_instant(NOW + 10 * DAY)
    asked = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn"}
    assert len(show_held(shop.project, certificate.case, **asked, clock=lambda: NOW + 9 * DAY)) == 1
    assert show_held(shop.project, certificate.case, **asked, clock=lambda: NOW + 10 * DAY) == [], "swept or not"
    with open_stores(shop.project) as stores:
        stores.data_keys.sweep(NOW + 11 * DAY)
    assert show_held(shop.project, certificate.case, **asked, clock=lambda: NOW + 11 * DAY) == []


def test_a_hold_whose_key_an_older_store_of_data_keys_lacks_is_told_and_not_certified(shop: RedactedShop) -> None:
    keys, backup = shop.place / "shop" / "data_keys.db", shop.place / "backup.db"
    for source, target in ((keys, backup), (keys, shop.place / "newer.db")):
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)
        if target == backup:
            first = erase(shop)
    asked = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn", "clock": lambda: NOW + DAY}
    assert not any(each.is_lost for each in hold_states(shop.project, now=NOW + DAY))

    def restore(source: Path) -> None:
        for path in keys.parent.glob("data_keys.db*"):
            path.unlink()
        shutil.copy(source, keys)

    restore(backup)
    states = hold_states(shop.project, now=NOW + DAY)
    assert [(each.case, each.domain, each.is_lost) for each in states] == [(first.case, "card", True)]
    with pytest.raises(StoreError, match="what is held back of 'card' cannot be opened"):
        show_held(shop.project, first.case, **asked)
    stranger = {**asked, "role": "support_agent"}
    assert show_held(shop.project, first.case, **stranger) == [], "who may see nothing is told nothing"
    with closing(open_access_log(shop.project.access_log)) as log:
        assert [each.decision for each in log.records()] == ["refused", "refused"]
    second = erase(shop, clock=NOW + DAY)
    assert second.held_back == () and "hold_lost" in {each.what for each in second.remains}
    assert erase(shop, clock=NOW + 2 * DAY) == second, "what is certified is certified"
    restore(shop.place / "newer.db")
    third = erase(shop, clock=NOW + 3 * DAY)
    assert [each.domain for each in third.held_back] == ["card"]
    assert [each.value for each in show_held(shop.project, first.case, **asked)] == [CARD]


def test_keys_and_checkpoints_do_not_wait_for_an_erasure(shop: RedactedShop) -> None:
    with subject_erasure._alone(shop.project), pytest.raises(StoreError, match="another erasure is at work"):
        with alone_with_keyring(shop.project):  # waits for whoever has it, and nobody does
            pass
        erase(shop)


def test_nothing_is_held_back_where_nothing_shall_be(shop: RedactedShop) -> None:
    certificate = erase(shop, hold=False)
    assert certificate.held_back == () and "held_back" not in {each.what for each in certificate.remains}


def test_what_cannot_be_redacted_is_refused_before_anything_is_done(shop: RedactedShop) -> None:
    with pytest.raises(ConfigError):
        erase(shop, shop.out, shop.place / "nowhere")
    path = shop.place / "shop" / "policy.yaml"
    text = path.read_text()
    path.write_text(text.replace("customer.phone: phone", "customer.phone: redact"))
    with pytest.raises(ConfigError, match="says otherwise"):
        erase(shop, shop.out)
    path.write_text(text)
    assert case_of(shop) is None and openable(shop) == 3
    with pytest.raises(ConfigError, match="no erasure of this person was begun"):
        erase(shop, resume=True)
    with pytest.raises(ConfigError, match="is blank"):
        erase(shop, subject=" ")


def test_an_output_that_is_gone_can_be_left_out_and_is_named(
    shop: RedactedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("consentry.pipelines.redact.Redactor.redact", _fail)
        with pytest.raises(RunError, match="stop here"):
            erase(shop, shop.out)
    shutil.rmtree(shop.out)
    with pytest.raises(ConfigError):
        erase(shop)
    certificate = erase(shop, without=(str(shop.out),))
    assert certificate.outputs == ()
    assert str(shop.out) in next(each.says for each in certificate.remains if each.what == "left_out")


def _fail(*_: Any, **__: Any) -> Any:
    raise RunError("stop here")


def test_an_output_that_still_names_the_person_is_never_certified(
    shop: RedactedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("consentry.pipelines.redact.Redactor.redact", lambda *_, **__: None)
        with pytest.raises(RunError, match="names the person in"):
            erase(shop, shop.out)
    case = case_of(shop)
    assert case is not None and case.state is ErasureState.FROZEN and case.certificate is None
    assert erase(shop).outputs[0].removed["rows_no_permission"] == 4


def test_an_output_that_a_run_is_writing_is_not_certified(shop: RedactedShop) -> None:
    from consentry.pipelines.publication import open_publication

    with (
        open_publication(str(shop.out), run="r-77", replace=True),
        pytest.raises(RunError, match="another run is writing to it"),
    ):
        erase(shop, shop.out)
    assert erase(shop, shop.out).outputs


WATCHED = (
    "subject_erasure.py", "erasure_journal.py", "sqlite_erasures.py", "held_values.py", "leftovers.py",
    "erasure_certificate.py", "output_state.py", "redact.py", "sqlite_data_keys.py", "publication.py",
)  # fmt: skip
STRIDE = 5 if os.environ.get("CONSENTRY_SOAK") else 97


def test_an_erasure_that_is_killed_anywhere_goes_on_and_never_says_done_early(made: Path, tmp_path: Path) -> None:
    place, line, died, states = tmp_path / "place", 1, 0, set()
    with dying_process(*WATCHED) as process:
        while True:
            shutil.copytree(made, place)
            shop = RedactedShop(place)
            killed = process.do(line, shop.config, shop.out, NOW + HOUR, PERSON)
            before = case_of(shop)
            if before is not None:
                states.add(before.state)
                if before.state is ErasureState.CERTIFIED:
                    _check_done(shop)
            certificate = erase(shop, shop.out)
            assert before is None or certificate.case == before.id
            assert [held.domain for held in certificate.held_back] == ["card"]
            _check_done(shop)
            shutil.rmtree(place)
            if not killed:
                break
            died += 1
            line += STRIDE
    assert died > 4 and states >= {*ErasureState} - {ErasureState.CERTIFIED}


def _check_done(shop: RedactedShop) -> None:
    assert openable(shop) == 0 and shop.failed() == []
    assert not any(row["order_id"].startswith("p-") for row in shop.rows())
    assert not [path for path in shop.place.iterdir() if path.name.startswith(".out")]
    case = case_of(shop)
    assert case is not None and case.state is ErasureState.CERTIFIED


def test_two_erasures_at_once_are_kept_apart(shop: RedactedShop) -> None:
    from consentry.pipelines.subject_erasure import _alone

    with _alone(shop.project), pytest.raises(StoreError, match="another erasure is at work") as refused:
        erase(shop)
    assert refused.value.exit_code == 2, "nothing was done"
    assert case_of(shop) is None


def test_cards_of_others_stay(shop: RedactedShop) -> None:
    erase(shop, shop.out)
    with open_stores(shop.project) as stores:
        reference = subject_reference(SUBJECTS[0], stores.keys.reference_key)
        assert reference is not None
        values = {stores.vault.open_value(entry) for entry in stores.vault.entries_of(reference)}
    assert values & {*CARDS}


def in_tables(postgres: Postgres) -> bytes:
    """All bytes of the server's tables; its write-ahead log has more, as the docs say."""
    with postgres.connect() as connection:
        connection.execute("CHECKPOINT")
    return b"".join(file.read_bytes() for file in (postgres.data / "base").rglob("*") if file.is_file())


def test_an_erasure_from_stores_on_a_server_leaves_nothing_of_the_person_there(
    tmp_path: Path, postgres: Postgres
) -> None:
    shop = RedactedShop(tmp_path)
    database = postgres.new_database()
    path = shop.config
    lines = path.read_text().splitlines()
    for store in ("vault", "data_keys", "ledger", "access_log"):
        lines = [f"{store}: {postgres.uri(database)}" if line.startswith(f"{store}:") else line for line in lines]
    path.write_text("\n".join(lines) + "\n")
    for left in (tmp_path / "shop").glob("*.db*"):
        left.unlink()
    shop = RedactedShop(tmp_path)
    create_stores(shop.project)
    shop.write([theirs(1), record(random.Random(1), 2)])
    shop.say(*((PERSON, purpose, "granted", NOW - 200 * DAY) for purpose in ("support", "news")))
    shop.protect()
    with open_stores(shop.project) as stores:
        reference = subject_reference(PERSON, stores.keys.reference_key)
        assert reference is not None
        entries = len(stores.vault.entries_of(reference))
        (wrapped,) = stores.data_keys._table.subject_keys([reference]).values()
    assert entries and wrapped is not None and wrapped in in_tables(postgres)
    certificate = erase(shop, shop.out)
    assert certificate.vault_entries == entries and shop.failed() == []
    with open_stores(shop.project) as stores:
        assert stores.vault.entries_of(reference) == []
        assert stores.data_keys.keys_for([reference], create=False) == {}
        assert PERSON not in stores.ledger.known_subjects().ids
    # Removed entries of the vault stand in its pages until the server reuses them: noise without the key.
    assert wrapped not in in_tables(postgres)
    postgres.drop_database(database)

"""A redacted output is what a run with today's consents would have written, and nothing of the erased is in it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_stores
from consentry.pipelines.redact import redact_output
from consentry.pipelines.subject_erasure import EraseOptions, erase_subject
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import ConfigError, RunError, StoreError
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.stores.erasure_journal import ErasureCase, ErasureState, open_erasures
from oracles.needles import contents, leaks
from oracles.redacted_shop import DAY, NOW, SUBJECTS, RedactedShop, histories, policy_text, record

MakeShop = Callable[..., RedactedShop]
KINDS = ("surrogate", "reversible", "keep")


@pytest.fixture
def make(tmp_path: Path) -> MakeShop:
    return lambda kind="surrogate", collect="fulfilment": RedactedShop(tmp_path, kind, collect)


def records(count: int, *, seed: int) -> list[Any]:
    chance = random.Random(seed)
    return [record(chance, number) for number in range(count)]


@pytest.mark.parametrize("seed", range(9))
def test_a_redacted_output_is_what_a_run_with_later_withdrawals_writes(make: MakeShop, seed: int) -> None:
    chance = random.Random(seed)
    shop = make(KINDS[seed % 3], ("fulfilment", "analytics, support")[seed % 2])
    shop.write([record(chance, number) for number in range(120)])
    shop.say(*histories(chance, decisions=("granted", "granted", "withdrawn")))
    shop.protect()
    assert shop.redact().removed.keys() <= {"values_of_nobody_known"} and shop.failed() == []
    shop.say(*histories(chance, decisions=("withdrawn",)))
    report = shop.redact()
    assert shop.failed() == [] and report.manifest == shop.manifest()
    shop.protect(shop.place / "anew")
    assert shop.rows() == shop.rows(shop.place / "anew")
    anew = shop.manifest(shop.place / "anew")
    assert report.manifest.consent == anew.consent and report.manifest.books == anew.books
    assert not shop.redact().changed, "what is redacted stays so"


def test_a_later_grant_brings_nothing_back(make: MakeShop) -> None:
    shop = make()
    shop.write(records(30, seed=1))
    shop.protect()
    rows = shop.rows()
    shop.say(
        *((subject, purpose, "granted", NOW - 200 * DAY) for subject in SUBJECTS for purpose in ("support", "news"))
    )
    assert not shop.redact().changed and shop.rows() == rows


def test_a_late_withdrawal_of_the_past_counts_at_the_event_time(make: MakeShop) -> None:
    shop = make()
    subject = SUBJECTS[0]
    made = {**record(random.Random(1), 1), "placed_at": "2026-03-01T00:00:00Z"}
    shop.write([{**made, "customer": {"id": subject, "email": "a@example.com"}}])
    shop.say((subject, "support", "granted", NOW - 200 * DAY))
    shop.protect()
    assert shop.rows()[0]["customer"]["email"].endswith(".invalid")
    # Withdrawn before the order, granted again after it.
    shop.say((subject, "support", "withdrawn", NOW - 150 * DAY), (subject, "support", "granted", NOW - 10 * DAY))
    assert shop.redact().removed["values_no_permission"] >= 1
    assert shop.rows()[0]["customer"]["email"] == "[redacted]"


def erase(shop: RedactedShop, subject: str, *, marked: bool = True) -> None:
    """Records an erasure in the ledger and, with its marks, in the journal."""
    from consentry.pipelines.keyring_files import open_token_keys
    from consentry.schemas.policy_file import read_policy
    from consentry.transforms.crypto.subject_references import subject_reference
    from consentry.transforms.subject_marks import SubjectMarks, marked_rules
    from consentry.transforms.tokens.open_tokenizer import open_tokenizer

    keys = open_token_keys(shop.project)
    with open_stores(shop.project) as stores:
        reference = subject_reference(subject, stores.keys.reference_key)
        assert reference is not None
        stores.ledger.record_erasure(reference, NOW)
        stores.data_keys.destroy([reference])
        rules = marked_rules(read_policy(shop.project.policy))
        marks = SubjectMarks(stores.keys).of_subject(
            subject, rules, keys.primary, lambda rule, version: open_tokenizer(rule, keys, version=version)
        )
    if marked:
        journal = open_erasures(shop.project.erasures, create=True)
        case = ErasureCase(id=subject, subject=reference, state=ErasureState.FROZEN, requested_at=NOW)
        journal.put(case, marks=marks)
        journal.close()


def words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for each in value.values() for word in words(each)]
    if isinstance(value, list):
        return [word for each in value for word in words(each)]
    return [str(value)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_events", [True, False])
def test_rows_of_the_erased_lose_everything_personal(make: MakeShop, kind: str, with_events: bool) -> None:
    shop = make(kind, "fulfilment, analytics")
    made = records(100, seed=7)
    shop.write(made)
    if with_events:
        shop.say(*((each, "support", "granted", NOW - 200 * DAY) for each in SUBJECTS))
    shop.protect()
    before = shop.rows()
    erase(shop, SUBJECTS[0])
    report = shop.redact()
    assert shop.failed() == []
    gone = [each["order_id"] for each in made if each["customer"]["id"] == SUBJECTS[0]]
    kept = [row for row in before if row["order_id"] not in gone]
    assert report.removed["rows_no_permission"] == len(gone) > 5
    assert [row["order_id"] for row in shop.rows()] == [row["order_id"] for row in kept]
    by_id = {row["order_id"]: row for row in shop.rows()}
    referred = {each["order_id"] for each in made if each["referred_by"] == SUBJECTS[0]} & by_id.keys()
    assert referred and all(by_id[order]["referred_by"] == "[redacted]" for order in referred)
    for row in kept:
        if row["order_id"] not in referred:
            assert by_id[row["order_id"]] == row, "nobody else loses anything"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_erased_stay_without_a_value_where_the_dataset_asks_nothing(tmp_path: Path, kind: str) -> None:
    shop = RedactedShop(tmp_path, kind)
    path = tmp_path / "shop" / "policy.yaml"
    path.write_text(path.read_text().replace("    collect: [fulfilment]\n", ""))
    made = records(60, seed=3)
    shop.write(made)
    shop.protect()
    erase(shop, SUBJECTS[1])
    shop.redact()
    assert shop.failed() == [] and shop.manifest().books.out == 60
    theirs = {each["order_id"] for each in made if each["customer"]["id"] == SUBJECTS[1]}
    assert len(theirs) > 3
    for row in shop.rows():
        if row["order_id"] in theirs:
            left = {*words({**row, "order_id": None, "placed_at": None})}
            assert left <= {"[redacted]", "None", "TEA"}
    assert not shop.redact().changed


def test_nothing_is_judged_when_the_journal_of_erasures_is_lost(make: MakeShop) -> None:
    shop = make()
    shop.write(records(5, seed=3))
    shop.protect()
    erase(shop, SUBJECTS[1], marked=False)
    with pytest.raises(StoreError, match="lacks 1 of 1 erased subjects"):
        shop.redact()


def test_an_output_that_does_not_tell_whose_rows_it_has_is_redacted_wholly_or_not_at_all(make: MakeShop) -> None:
    shop = make("drop", "fulfilment")
    path = shop.place / "shop" / "policy.yaml"
    path.write_text(path.read_text().replace("    collect: [fulfilment]\n", ""))
    shop.write(records(9, seed=3))
    shop.protect()
    rows = shop.rows()
    with pytest.raises(ConfigError, match="add --all-rows"):
        shop.redact()
    assert shop.rows() == rows
    report = shop.redact(all_rows=True)
    assert report.removed.keys() == {"values_of_nobody_known"} and shop.failed() == []
    for row in shop.rows():
        assert {*words({**row, "order_id": None, "placed_at": None})} <= {"[redacted]", "None", "TEA"}


def test_a_policy_that_treats_a_field_otherwise_is_refused(make: MakeShop) -> None:
    shop = make()
    shop.write(records(9, seed=3))
    shop.protect()
    path = shop.place / "shop" / "policy.yaml"
    path.write_text(policy_text().replace("customer.phone: phone", "customer.phone: redact"))
    with pytest.raises(ConfigError, match=r"field customer\.phone: was written as mask phone"):
        shop.redact()


def test_an_output_without_event_times_is_judged_by_the_present_and_says_so(make: MakeShop) -> None:
    shop = make()
    path = shop.place / "shop" / "policy.yaml"
    path.write_text(policy_text().replace("placed_at: keep", "placed_at: drop"))
    shop.write(records(9, seed=3))
    shop.say(*((each, "support", "granted", NOW - 200 * DAY) for each in SUBJECTS))
    shop.protect()
    assert not shop.redact().event_times
    shop.say(*((each, "support", "withdrawn", NOW - 1) for each in SUBJECTS))
    report = shop.redact()
    assert not report.event_times and report.removed["values_no_permission"] > 0
    assert {row["customer"]["phone"] for row in shop.rows()} <= {"[redacted]", None}


def test_a_numeric_subject_column_that_is_kept_becomes_null_for_the_erased(make: MakeShop) -> None:
    shop = make("keep")
    path = shop.place / "shop" / "policy.yaml"
    path.write_text(path.read_text().replace("    collect: [fulfilment]\n", ""))
    shop.write([{**record(random.Random(3), n), "customer": {"id": 1000 + n, "email": "a@b.de"}} for n in range(4)])
    shop.protect()
    erase(shop, "1002")
    shop.redact()
    assert shop.failed() == [] and sorted(str(row["customer"]["id"]) for row in shop.rows()) == [
        "1000",
        "1001",
        "1003",
        "None",
    ]
    assert pq.read_schema(next(shop.out.glob("data/*.parquet"))).field("customer").type.field("id").nullable


def test_an_output_in_an_object_store_is_redacted_and_a_person_erased_from_it(
    make: MakeShop, shelf: Callable[[str], str], tmp_path: Path
) -> None:
    shop, out = make(), shelf("orders")
    shop.write(records(40, seed=3))
    shop.say(*((each, "support", "granted", NOW - 200 * DAY) for each in SUBJECTS))
    run_protect(shop.project, [str(shop.orders)], "orders", out, now=NOW, clock=lambda: NOW)
    shop.say(*((each, "support", "withdrawn", NOW - 1) for each in SUBJECTS[2:]))
    assert redact_output(shop.project, out, now=NOW, clock=lambda: NOW).removed["values_no_permission"] > 0
    options = EraseOptions(outputs=(out,), hold=False)
    certificate = erase_subject(shop.project, SUBJECTS[1], options, clock=lambda: NOW)
    assert certificate.outputs[0].path == out and certificate.outputs[0].removed["rows_no_permission"] > 0
    assert verify_output(out, PublicKeys.load(shop.project.trust)).ok
    shop.orders.unlink()
    assert leaks([SUBJECTS[1]], contents(tmp_path)) == []


def test_a_file_that_no_manifest_lists_keeps_an_erasure_from_being_certified(
    make: MakeShop, shelf: Callable[[str], str], tmp_path: Path
) -> None:
    shop, out = make(), shelf("orders")
    shop.write(records(20, seed=3))
    run_protect(shop.project, [str(shop.orders)], "orders", out, now=NOW, clock=lambda: NOW)
    (old,) = (tmp_path / "shelf" / "bucket" / "orders" / "data").iterdir()
    shutil.copy(old, old.with_name("part-of-another-run.parquet"))
    options = EraseOptions(outputs=(out,), hold=False)
    with pytest.raises(RunError, match=r"data/part-of-another-run\.parquet is listed nowhere"):
        erase_subject(shop.project, SUBJECTS[1], options, clock=lambda: NOW)
    old.with_name("part-of-another-run.parquet").unlink()
    assert erase_subject(shop.project, SUBJECTS[1], options, clock=lambda: NOW).outputs


def test_the_id_of_the_erased_goes_out_of_a_struct_that_is_kept_whole(make: MakeShop) -> None:
    shop = make("keep")
    path = shop.place / "shop" / "policy.yaml"
    text = path.read_text().replace("    collect: [fulfilment]\n", "")
    lines = [line for line in text.splitlines() if not line.strip().startswith("customer.")]
    path.write_text(
        "\n".join(lines).replace("      placed_at: keep", "      placed_at: keep\n      customer: keep") + "\n"
    )
    people = [{"id": f"person-{n}", "tags": [f"of person-{n}", "x"]} for n in range(4)]
    shop.write([{**record(random.Random(3), n), "customer": each} for n, each in enumerate(people)])
    shop.protect()
    options = EraseOptions(outputs=(str(shop.out),), hold=False)
    erase_subject(shop.project, "person-2", options, clock=lambda: NOW)
    assert shop.failed() == []
    found = {row["order_id"]: row["customer"] for row in shop.rows()}
    assert found["o-2"] == {"id": "[redacted]", "tags": ["of [redacted]", "x"]} and found["o-1"] == people[1]

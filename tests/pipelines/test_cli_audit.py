"""``consentry audit``: with and without a project, what it writes and never overwrites, and how it fails."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest
from oracles.audit_cases import CARDS, EMAILS, WORDS, table_of
from oracles.form_detector import column_type
from oracles.shop_commands import AT, RAW, Done, Shop, order, run, write_lines

DETECTOR = "consentry.transforms.detectors.column_types"


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small detector in the place of the real one, so that these tests are of the command."""
    module = ModuleType(DETECTOR)
    module.column_type = column_type  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, DETECTOR, module)


def audit(shop: Shop, *words: str | Path) -> Done:
    return shop.run("audit", shop.orders, "--dataset", "orders", "--at", AT, *words)


def test_it_writes_a_page_and_says_what_it_found(shop: Shop) -> None:
    report = shop.place / "audit.html"
    done = audit(shop, "--report", report)
    assert done.code == 0, done.err
    assert report.read_text().startswith("<!doctype html>")
    assert done.err == f"Report: {report}\n"
    for text in ("collected", "with something sensitive", "not declared as what they are", "not needed, it seems"):
        assert text in done.out
    assert not [raw for raw in RAW if raw in report.read_text() + done.out + done.err]


def test_a_program_gets_json_on_standard_output_and_nothing_else(shop: Shop) -> None:
    done = audit(shop, "--json", "-")
    assert (done.code, done.err) == (0, "")
    document = done.json()
    assert (document["audit"], document["dataset"], document["made_at"]) == (1, "orders", AT)
    assert document["coverage"]["subjects"] == 6


def test_page_and_document_are_written_together(shop: Shop) -> None:
    report, document = shop.place / "audit.html", shop.place / "audit.json"
    assert audit(shop, "--report", report, "--json", document).code == 0
    assert json.loads(document.read_text())["inputs"]["sampled"] == 24
    assert document.read_text() == audit(shop, "--json", "-").out


def test_the_same_audit_writes_the_same_bytes(shop: Shop) -> None:
    one, other = shop.place / "one.html", shop.place / "other.html"
    audit(shop, "--report", one)
    audit(shop, "--report", other)
    assert one.read_bytes() == other.read_bytes()


def test_a_file_alone_is_enough(tmp_path: Path) -> None:
    table_of(tmp_path / "a.parquet", card=CARDS, mail=EMAILS)
    done = run("audit", "a.parquet", "--report", "x.html", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "There is no policy here" in (tmp_path / "x.html").read_text()


def test_a_project_in_the_working_folder_is_used(shop: Shop) -> None:
    done = run("audit", shop.orders, "--json", "-", cwd=shop.folder)
    assert done.code == 0, done.err
    assert done.json()["policy"] is not None
    assert done.json()["dataset"] is None
    assert {verdict["verdict"] for column in done.json()["columns"] for verdict in column["verdicts"]} <= {
        "undeclared",
        "not_needed",
    }


def test_folders_and_globs_are_inputs(tmp_path: Path) -> None:
    for number in range(3):
        table_of(tmp_path / f"part-{number}.parquet", word=WORDS)
    done = run("audit", str(tmp_path / "part-*.parquet"), "--json", "-", cwd=tmp_path)
    assert (done.json()["inputs"]["file_count"], done.json()["inputs"]["rows"]) == (3, 120)


def test_an_earlier_report_is_exchanged(shop: Shop) -> None:
    report, document = shop.place / "audit.html", shop.place / "audit.json"
    audit(shop, "--report", report, "--json", document)
    write_lines(shop.orders, [order(number) for number in range(3)])
    assert audit(shop, "--report", report, "--json", document).code == 0
    assert json.loads(document.read_text())["inputs"]["sampled"] == 3
    assert shop.visible() == ["audit.html", "audit.json", "consents.jsonl", "orders.jsonl", "out", "shop"]


def refused(done: Done, *, code: int = 2) -> str:
    assert done.code == code, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    return done.said


def test_an_input_is_never_overwritten(shop: Shop) -> None:
    before = shop.orders.read_bytes()
    link = shop.place / "link.html"
    link.symlink_to(shop.orders)
    assert "never overwritten" in refused(audit(shop, "--json", shop.orders))
    assert "never overwritten" in refused(audit(shop, "--report", link))
    assert shop.orders.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["consentry.yaml", "policy.yaml", "keyring.json", "kek.key", "vault.db", "ledger.db", "proof.pub"]
)
def test_nothing_of_the_project_is_overwritten(name: str, shop: Shop) -> None:
    before = shop.stored()
    assert "never overwritten" in refused(audit(shop, "--report", shop.folder / name))
    assert shop.stored() == before


def test_a_file_that_is_no_earlier_audit_is_not_overwritten(shop: Shop) -> None:
    notes = shop.place / "notes.html"
    notes.write_text("my notes")
    assert "is no earlier audit" in refused(audit(shop, "--report", notes))
    assert notes.read_text() == "my notes"


def test_what_cannot_be_written_is_refused_before_anything_is_read(shop: Shop) -> None:
    assert "is no file that can be written" in refused(audit(shop, "--report", shop.place / "no" / "audit.html"))
    assert "is no file that can be written" in refused(audit(shop, "--report", shop.place))
    report = shop.place / "audit.html"
    assert "is the file of the report" in refused(audit(shop, "--report", report, "--json", report))


def test_something_must_be_asked_for(shop: Shop) -> None:
    assert "--report: is missing" in refused(audit(shop))
    assert "INPUT is missing or blank" in refused(shop.run("audit", " ", "--report", "x.html"))


def test_a_dataset_needs_a_project_that_has_it(shop: Shop, tmp_path: Path) -> None:
    said = refused(run("audit", shop.orders, "--dataset", "orders", "--json", "-", cwd=tmp_path))
    assert "leave --dataset out" in said
    said = refused(shop.run("audit", shop.orders, "--dataset", "trips", "--json", "-"))
    assert "no dataset 'trips'" in said


def test_a_missing_input_and_a_broken_policy_are_wrong_use(shop: Shop) -> None:
    assert "no such file" in refused(shop.run("audit", shop.place / "missing.csv", "--json", "-"))
    (shop.folder / "policy.yaml").write_text("version: 2\n")
    assert "policy.yaml:1: version" in refused(shop.run("audit", shop.orders, "--json", "-"))


def test_a_damaged_input_fails_and_leaves_nothing(shop: Shop) -> None:
    path = table_of(shop.place / "a.parquet", word=EMAILS)
    data = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(2).dictionary_page_offset
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data)
    refused(shop.run("audit", path, "--report", shop.place / "audit.html"), code=3)
    assert "audit.html" not in shop.visible()
    assert not [name for name in shop.visible() if name.startswith(".")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_forbids_writing_fails(shop: Shop) -> None:
    (shop.place / "closed").mkdir(mode=0o500)
    refused(audit(shop, "--report", shop.place / "closed" / "audit.html"), code=3)


def test_stores_that_cannot_be_opened_are_told_and_are_no_failure(shop: Shop) -> None:
    (shop.folder / "kek.key").unlink()
    report = shop.place / "audit.html"
    done = audit(shop, "--report", report)
    assert done.code == 0
    assert "The consent ledger could not be looked at" in done.err
    assert "The consent ledger could not be looked at" in report.read_text()


def test_its_help_says_what_it_does() -> None:
    done = run("audit", "--help")
    assert done.code == 0
    said = " ".join(done.out.split())
    for text in ("what nobody declared", "--dataset", "--report", "--json", "Works without a project", "policy.yaml"):
        assert text in said

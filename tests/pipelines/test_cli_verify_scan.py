"""``consentry verify --scan``: yes for a run that let nothing through, no for one that did, and never a value."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from consentry.schemas.project import read_project
from consentry.transforms.crypto.keyring import Keyring
from consentry.transforms.crypto.open_kek import open_kek
from oracles.leaky_output import table, write_table
from oracles.shop_commands import CARDS, RAW, MadeShop, Shop, order, process, run, write_lines

CHECKS = ["manifest", "signature", "files", "rows", "unlisted", "books", "reasons", "fields"]


def leaky(shop: Shop, **columns: object) -> Path:
    """An output that the shop's own keys have signed, with values in clear."""
    project = read_project(shop.config)
    keys = Keyring.load(project.keyring).unlock_proof(open_kek("file:kek.key", shop.folder))
    write_table(str(shop.place / "leaky"), table(**columns), keys)
    return shop.place / "leaky"


def test_a_run_holds_nothing_in_clear(made_shop: MadeShop) -> None:
    shop = made_shop.shop
    done = shop.process("verify", "--scan", "--json", shop.out)
    assert (done.code, done.err) == (0, "")
    document = done.json()
    assert list(document) == ["ok", "checks", "leaks", "scan"]
    assert [check["check"] for check in document["checks"]] == [*CHECKS, "scan"]
    assert (document["ok"], document["leaks"]) == (True, [])
    assert document["scan"]["complete"] is True
    assert document["scan"]["not_scanned"][0].startswith("dead_letters/: sealed")
    columns = {each["column"]: each["checked"] for each in document["scan"]["columns"]}
    assert columns["payment.card.number"].startswith("every value has the marks of a token of format pan")
    assert columns["items[].sku"].startswith("searched by all detectors")
    said = shop.run("verify", shop.out, "--scan")
    assert said.code == 0
    assert "every one of the 24 rows was looked at" in said.out
    assert "Not searched: dead_letters/: sealed" in said.err


def test_canaries_of_the_source_are_not_in_the_output(made_shop: MadeShop, tmp_path: Path) -> None:
    canaries = tmp_path / "canaries.txt"
    canaries.write_text("\n".join([*CARDS, "kim0@example.com", "", "kim1@example.com"]))
    done = made_shop.shop.run("verify", made_shop.shop.out, "--scan", "--canaries", canaries, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json()["checks"][-1] == {
        "check": "canaries", "ok": True, "detail": "8 canaries, none of them in the rows",
    }  # fmt: skip


def test_a_canary_that_no_detector_knows_is_caught_in_a_real_run(shop: Shop) -> None:
    hidden = base64.b64encode(CARDS[0].encode()).decode()
    items = [{"sku": f"X-{hidden}", "quantity": 1, "price": 1.5, "gift_note": "call Ann"}]
    write_lines(shop.orders, [order(0), order(1, items=items)])
    assert shop.protect("--replace").code == 0
    canaries = shop.place / "canaries.txt"
    canaries.write_text(f"nothing-of-it\n{CARDS[0]}\n")
    done = shop.process("verify", shop.out, "--scan", "--canaries", canaries, "--json")
    assert done.code == 1
    (leak,) = done.json()["leaks"]
    assert (leak["column"], leak["kind"], leak["values"]) == ("items[].sku", "CANARY", 1)
    assert [place["masked"] for place in leak["places"]] == ["canary of line 2, base64"]
    assert not any(value in done.out + done.err for value in (*RAW, hidden))


def test_a_leaky_output_is_a_no_with_counts_and_masked_places(shop: Shop) -> None:
    out = leaky(shop, sku=["kim@example.com", f"card {CARDS[0]}", "kim@example.com"], card=[CARDS[1], None, None])
    done = shop.process("verify", out, "--scan", "--json")
    assert (done.code, done.err) == (1, "")
    document = done.json()
    assert document["ok"] is False
    assert [check["check"] for check in document["checks"] if not check["ok"]] == ["scan"]
    assert [(leak["column"], leak["kind"], leak["values"]) for leak in document["leaks"]] == [
        ("card", "CREDIT_CARD", 1), ("sku", "CREDIT_CARD", 1), ("sku", "EMAIL", 2),
    ]  # fmt: skip
    assert document["leaks"][1]["places"][0]["masked"] == "************1111"
    assert [place["row"] for place in document["leaks"][2]["places"]] == [1, 3]
    assert document["leaks"][2]["says"].startswith("The policy keeps this column as it is")
    said = shop.process("verify", out, "--scan")
    assert said.code == 1
    assert "sku holds 1 × CREDIT_CARD, 2 × EMAIL" in " ".join(said.out.split())
    for shown in (done.out, said.out, said.err):
        assert not any(value in shown for value in (CARDS[0], CARDS[1], "kim@example.com"))


def test_without_scan_nothing_is_searched(shop: Shop) -> None:
    out = leaky(shop, sku=["kim@example.com", None, None])
    done = shop.run("verify", out, "--json")
    assert (done.code, done.json().keys()) == (0, {"ok", "checks"})


def test_tokens_in_texts_are_known_by_the_project_s_policy_and_without_it_too(shop: Shop) -> None:
    write_lines(shop.orders, [order(0, items=[{"sku": "TEA", "gift_note": f"card {CARDS[0]}, mail kim@example.com"}])])
    assert shop.protect("--replace").code == 0
    note = shop.rows()["o-0"]["items"][0]["gift_note"]
    assert "[card:1:" in note
    for arguments in ([], ["--trust", shop.folder / "proof.pub"]):
        done = run("verify", shop.out, "--scan", "--json", *(arguments or ["--config", shop.config]))
        assert (done.code, done.json()["leaks"]) == (0, [])


def test_a_sample_states_its_bound(made_shop: MadeShop) -> None:
    done = made_shop.shop.run("verify", made_shop.shop.out, "--scan", "--sample", "10", "--json")
    scan = done.json()["scan"]
    assert (done.code, scan["rows"], scan["rows_total"], scan["complete"]) == (0, 10, 24, False)
    assert (scan["frequency"], scan["seen_with"]) == (0.001, pytest.approx(1 - 0.999**10))
    assert "10 of 24 rows were looked at" in done.json()["checks"][-1]["detail"]


def test_files_that_are_not_those_that_were_signed_are_not_read(shop: Shop) -> None:
    (path,) = (shop.out / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    done = shop.run("verify", shop.out, "--scan", "--json")
    assert done.code == 1
    assert done.json()["checks"][-1] == {
        "check": "scan", "ok": False, "detail": "not searched: the files are not as they were signed",
    }  # fmt: skip
    assert "leaks" not in done.json()


def test_another_machine_needs_no_project(shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.out, tmp_path / "copied")
    shutil.copy(shop.folder / "proof.pub", tmp_path / "shop.pub")
    done = process("verify", "copied", "--trust", "shop.pub", "--scan", "--json", cwd=tmp_path)
    assert (done.code, done.json()["leaks"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "content", "says"),
    [
        (["--sample", "5"], "", "--sample: belongs to a search of the rows; add --scan"),
        (["--canaries", "c.txt"], "", "--canaries: belongs to a search of the rows; add --scan"),
        (["--scan", "--sample", "0"], "", "--sample"),
        (["--scan", "--canaries", "missing.txt"], "", "--canaries missing.txt: cannot be read"),
        (["--scan", "--canaries", "c.txt"], "\n\n", "c.txt: holds 0 canaries"),
        (["--scan", "--canaries", "c.txt"], "long-enough\n12-34\n", "c.txt:2: has fewer than 6 letters and digits"),
        (["--scan", "--canaries", "c.txt"], "\n".join(f"canary-{n:06}" for n in range(1001)), "holds 1001 canaries"),
    ],
)
def test_wrong_use_searches_nothing(
    made_shop: MadeShop, tmp_path: Path, arguments: list[str], content: str, says: str
) -> None:
    (tmp_path / "c.txt").write_text(content)
    shop = made_shop.shop
    done = run("verify", shop.out, "--config", shop.config, *arguments, "--json", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert "12-34" not in done.err


def test_the_document_is_plain_json(made_shop: MadeShop) -> None:
    json.dumps(made_shop.shop.run("verify", made_shop.shop.out, "--scan", "--json").json(), allow_nan=False)

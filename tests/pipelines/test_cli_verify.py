"""``consentry verify``: yes for what a run left, no for anything else, with nothing but a trusted public key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from oracles.shop_commands import MadeShop, Shop, process, run

CHECKS = ["manifest", "signature", "files", "rows", "unlisted", "books", "reasons", "fields"]


def verify(shop: Shop, *arguments: str | Path) -> tuple[int, list[str]]:
    """The exit code, and the checks that failed."""
    done = shop.run("verify", shop.out, "--json", *arguments)
    assert done.err == ""
    assert done.json()["ok"] is (done.code == 0)
    return done.code, [check["check"] for check in done.json()["checks"] if not check["ok"]]


def test_a_run_is_what_it_was(made_shop: MadeShop) -> None:
    done = made_shop.shop.process("verify", "--json", made_shop.shop.out)
    assert (done.code, done.err) == (0, "")
    assert done.json().keys() == {"ok", "checks"}
    assert [check["check"] for check in done.json()["checks"]] == CHECKS
    assert all(check.keys() == {"check", "ok", "detail"} for check in done.json()["checks"])
    said = made_shop.shop.run("verify", made_shop.shop.out)
    assert (said.code, said.err) == (0, "")
    assert [line.split()[:2] for line in said.out.splitlines() if " ok " in line] == [[name, "ok"] for name in CHECKS]


def test_another_machine_needs_the_output_and_the_public_keys_alone(made_shop: MadeShop, tmp_path: Path) -> None:
    shutil.copytree(made_shop.shop.out, tmp_path / "copied")
    shutil.copy(made_shop.shop.folder / "proof.pub", tmp_path / "shop.pub")
    done = process("verify", "copied", "--trust", "shop.pub", "--json", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.json()["ok"] is True
    without = run("verify", "copied", "--json", cwd=tmp_path)
    assert (without.code, without.out) == (2, "")
    assert "there is no configuration here; name the public keys to believe with --trust FILE" in without.err


@pytest.mark.parametrize("folder", ["data", "dead_letters", "."])
def test_any_changed_byte_is_a_no(shop: Shop, folder: str) -> None:
    (path,) = [path for path in (shop.out / folder).iterdir() if path.is_file()]
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 12)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        code, failed = verify(shop)
        assert code == 1 and failed, place
    path.write_bytes(whole)
    assert verify(shop) == (0, [])


def test_a_file_more_or_less_is_a_no(shop: Shop) -> None:
    (shop.out / "data" / "note.txt").write_text("x")
    assert verify(shop) == (1, ["unlisted"])
    (shop.out / "data" / "note.txt").unlink()
    next((shop.out / "dead_letters").iterdir()).unlink()
    code, failed = verify(shop)
    assert code == 1 and "files" in failed
    done = shop.process("verify", shop.out)
    assert (done.code, done.err) == (1, "")
    assert "is missing" in done.out and "Traceback" not in done.out


def test_a_key_found_inside_the_output_is_not_believed(shop: Shop, tmp_path: Path) -> None:
    run("init", tmp_path / "stranger", "--tenant", "shop")
    stranger = tmp_path / "stranger" / "proof.pub"
    code, failed = verify(shop, "--trust", stranger)
    assert code == 1 and "signature" in failed
    shutil.copy(shop.folder / "proof.pub", shop.out / "proof.pub")
    code, failed = verify(shop, "--trust", stranger)
    assert code == 1 and {"signature", "unlisted"} <= set(failed)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--trust", "shop/proof.pub"], "nowhere: there is no such folder"),
        ([".", "--trust", "shop/proof.pub"], "holds no manifest.json, so it is no output of `consentry protect`"),
        (["out", "--trust", "missing.pub"], "missing.pub: public keys cannot be read"),
        (["out", "--trust", "orders.jsonl"], "orders.jsonl: damaged or not a file of public keys"),
        (["out", "--config", "missing.yaml"], "missing.yaml: there is no configuration here"),
        ([], "Missing argument 'DIR'"),
        (["out", "out"], "unexpected extra argument"),
    ],
)
def test_what_cannot_be_checked_is_wrong_use_and_no_answer(shop: Shop, arguments: list[str], says: str) -> None:
    done = run("verify", *arguments, "--json", cwd=shop.place)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert "4111" not in done.err

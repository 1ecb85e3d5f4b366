"""``consentry init`` leaves a project that is ready to run, and never touches what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracles.shop_commands import MadeShop, Shop, process, run

SECRET = ("access.db", "data_keys.db", "kek.key", "keyring.json", "ledger.db", "outputs.db", "vault.db")
OPEN = (".gitignore", "consentry.yaml", "policy.yaml", "proof.pub")


def test_init_leaves_everything_that_the_configuration_names(made_shop: MadeShop) -> None:
    assert made_shop.init.code == 0, made_shop.init.err
    assert sorted(made_shop.init.err.split()) == sorted((*SECRET, *OPEN))
    later = {"checkpoints", ".consentry-checkpoints.json"}  # of the import that came after
    assert {path.name for path in made_shop.shop.folder.iterdir()} - later == {*SECRET, *OPEN}
    assert str(made_shop.shop.config) in made_shop.init.out, "what it prints can be copied"


def test_init_lets_nobody_else_in(tmp_path: Path) -> None:
    run("init", tmp_path / "shop")
    assert (tmp_path / "shop").stat().st_mode & 0o777 == 0o700
    for name in SECRET:
        assert (tmp_path / "shop" / name).stat().st_mode & 0o777 == 0o600, name


def test_a_new_project_is_ready_for_every_command(tmp_path: Path) -> None:
    run("init", tmp_path / "shop", "--tenant", "tea")
    config = ("--config", tmp_path / "shop" / "consentry.yaml")
    for command in ("policy check", "policy explain --for customer", "keys status", "consent verify"):
        done = run(*command.split(), *config)
        assert done.code == 0, (command, done.err)
    assert run("keys", "public", *config).json()["tenant"] == "tea"
    for name in ("kek.key", "keyring.json", "*.db"):
        assert name in (tmp_path / "shop" / ".gitignore").read_text()


def test_init_answers_a_program_with_one_document(tmp_path: Path) -> None:
    done = process("init", tmp_path / "shop", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json() == {"folder": str(tmp_path / "shop"), "made": sorted((*SECRET, *OPEN))}


def test_an_empty_folder_is_taken_even_the_one_where_one_stands(tmp_path: Path) -> None:
    (tmp_path / "My Shop!").mkdir()
    assert run("init", ".", cwd=tmp_path / "My Shop!").code == 0
    assert "tenant: My-Shop\n" in (tmp_path / "My Shop!" / "consentry.yaml").read_text()


@pytest.mark.parametrize("present", ["note.txt", ".hidden", "consentry.yaml"])
def test_init_never_overwrites(tmp_path: Path, present: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / present).write_text("mine")
    done = run("init", tmp_path / "shop", "--json")
    assert (done.code, done.out) == (2, "")
    assert "is not empty, and init never overwrites" in done.err
    assert [path.read_text() for path in (tmp_path / "shop").iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["shop"], "no draft is left"


def test_a_second_init_changes_nothing(shop: Shop) -> None:
    before = shop.stored()
    assert run("init", shop.folder).code == 2
    assert shop.stored() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["file"], "is not empty"),
        (["file/shop"], "cannot be written"),
        (["/proc/shop"], "cannot be written"),
        (["new", "--tenant", "no good"], "--tenant: letters, digits"),
        (["new", "--tenant", ""], "--tenant: letters, digits"),
        (["new", "--tenant", "x" * 65], "64 at most"),
        ([], "Missing argument"),
        (["new", "newer"], "unexpected extra argument"),
    ],
)
def test_a_place_or_name_that_does_not_do_is_wrong_use(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "file").write_text("mine")
    done = run("init", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert says in done.said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

"""No version goes while something needs it, and who asks is told what; one program at a time changes a keyring."""

from __future__ import annotations

import subprocess

import pytest
from consentry.pipelines.known_outputs import KnownOutput, note_output
from consentry.schemas.project import read_project
from oracles.shop_commands import AT, CARDS, PROGRAM, SUBJECTS, Done, Shop


@pytest.fixture
def shop(shop: Shop) -> Shop:
    (shop.folder / "outputs.db").unlink()  # it knows the place that the shop was copied from
    ok(shop.protect("--at", AT, "--replace"))
    ok(shop.run("keys", "rotate"))
    return shop


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.err
    return done


def states(shop: Shop, key_set: str = "token") -> list[str]:
    return [row["state"] for row in ok(shop.run("keys", "status", "--json")).json() if row["set"] == key_set]


@pytest.mark.parametrize("command", [("disable", "1"), ("destroy", "1", "--yes")])
def test_a_version_that_vault_and_outputs_need_stays_and_both_are_named(shop: Shop, command: tuple[str, ...]) -> None:
    said = ok(shop.run("keys", *command), 2).said
    assert "token version 1 is still needed" in said
    assert "entries of domain 'card' under it" in said
    assert f"the output {shop.out.resolve()} (orders) has tokens of it" in said.replace("\n", " ")
    assert "run `consentry retokenize DIR`" in said
    assert states(shop) == ["active", "primary"]


def test_a_version_that_nothing_needs_can_be_disabled_brought_back_and_destroyed(shop: Shop) -> None:
    ok(shop.run("retokenize", shop.out))
    ok(shop.run("keys", "disable", "1"))
    assert states(shop) == ["disabled", "primary"]
    ok(shop.run("keys", "enable", "1"))
    assert states(shop) == ["active", "primary"]
    assert ok(shop.run("keys", "destroy", "1", "--yes", "--json")).json() == {
        "set": "token", "version": 1, "state": "destroyed",
    }  # fmt: skip
    assert states(shop) == ["destroyed", "primary"]
    assert "cannot come back" in ok(shop.run("keys", "enable", "1"), 2).said
    assert shop.detokenize("card", shop.card_token(0), subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]


def test_destroying_asks_and_does_nothing_without_a_yes(shop: Shop) -> None:
    ok(shop.run("retokenize", shop.out))
    for answer in (b"", b"n\n"):
        assert "was not confirmed" in ok(shop.run("keys", "destroy", "1", input=answer), 2).said
    assert states(shop) == ["active", "primary"]
    ok(shop.run("keys", "destroy", "1", input=b"y\n"))
    assert states(shop) == ["destroyed", "primary"]


def test_a_vault_version_stays_while_it_wraps_data_keys(shop: Shop) -> None:
    ok(shop.run("keys", "rotate", "vault"))
    said = ok(shop.run("keys", "destroy", "1", "vault", "--yes"), 2).said
    assert "vault version 1 is still needed" in said and "data keys are wrapped under it" in said
    ok(shop.run("vault", "rewrap"))
    ok(shop.run("keys", "destroy", "1", "vault", "--yes"))
    assert shop.detokenize("card", shop.card_token(0), subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    ok(shop.protect("--at", AT, "--replace"))


def test_a_vault_version_stays_while_a_run_may_still_wrap_keys_under_it(shop: Shop) -> None:
    ok(shop.run("keys", "rotate", "vault"))
    ok(shop.run("vault", "rewrap"))
    hidden = shop.place / ".new.consentry-r9"
    hidden.mkdir()
    running = KnownOutput(
        place=str(shop.place / "new"), run="r9", dataset="orders", published=False, versions={"card": 2}, noted_at=0
    )
    note_output(read_project(shop.config), running)
    said = ok(shop.run("keys", "destroy", "1", "vault", "--yes"), 2).said
    assert f"a run that is at work on {running.place} (orders) may still make data keys under it" in said
    hidden.rmdir()
    ok(shop.run("keys", "destroy", "1", "vault", "--yes"))


def test_a_vault_version_stays_while_a_stream_on_an_engine_may_still_wrap_keys_under_it(shop: Shop) -> None:
    ok(shop.run("keys", "rotate", "vault"))
    ok(shop.run("vault", "rewrap"))
    place = shop.place / "streamed"
    (place / "_stream").mkdir(parents=True)
    (place / "_stream/engine.json").touch()
    streamed = KnownOutput(
        place=str(place), run="engine-1", dataset="orders", published=True, versions={"card": 2}, noted_at=0
    )
    note_output(read_project(shop.config), streamed)
    said = ok(shop.run("keys", "destroy", "1", "vault", "--yes"), 2).said
    assert f"a run that is at work on {place} (orders) may still make data keys under it" in said
    (place / "_stream/closed").touch()
    ok(shop.run("keys", "destroy", "1", "vault", "--yes"))


def test_an_old_proof_version_is_needed_by_nothing_and_its_signatures_still_verify(shop: Shop) -> None:
    ok(shop.run("keys", "rotate", "proof"))
    ok(shop.run("keys", "destroy", "1", "proof", "--yes"))
    ok(shop.run("verify", shop.out))


def test_the_primary_and_what_does_not_exist_are_refused(shop: Shop) -> None:
    assert "only rotation makes or replaces a primary" in ok(shop.run("keys", "disable", "2"), 2).said
    assert "token has no version 7; it has 1 to 2" in ok(shop.run("keys", "destroy", "7", "--yes"), 2).said


def test_rotations_at_the_same_time_make_one_version_each(shop: Shop) -> None:
    running = [
        subprocess.Popen([PROGRAM, "keys", "rotate", "--config", str(shop.config)], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    for process in running:
        assert process.stderr is not None
        process.stderr.close()
    assert states(shop) == ["active", "active", "active", "active", "primary"]


def test_a_forgotten_output_needs_nothing_and_a_known_one_can_be_added(shop: Shop) -> None:
    (listed,) = ok(shop.run("outputs", "list", "--json")).json()
    assert listed["output"] == str(shop.out.resolve()) and listed["key_versions"]["card"] == 1 and listed["published"]
    ok(shop.run("outputs", "forget", shop.out))
    assert ok(shop.run("outputs", "list", "--json")).json() == []
    assert "is no output that the project knows of" in ok(shop.run("outputs", "forget", shop.out), 2).said
    assert "the output" not in ok(shop.run("keys", "disable", "1"), 2).said
    ok(shop.run("outputs", "add", shop.out))
    (again,) = ok(shop.run("outputs", "list", "--json")).json()
    assert {**again, "noted_at": 0} == {**listed, "noted_at": 0}
    assert "manifest.json" in ok(shop.run("outputs", "add", shop.place), 2).said

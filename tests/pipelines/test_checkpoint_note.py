"""What a machine remembers of its checkpoints: its loss is told, and so is a place that was moved or cannot be read."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from consentry.transforms.stores import postgres_database
from oracles.server_shop import renamed
from oracles.shop_commands import Done, Shop

SAYS = "whoever removed it can take away the newest checkpoints together with the end of a log"


@pytest.fixture
def covered(shop: Shop) -> Shop:
    """Each entry of the access log has a checkpoint of its own: 1 is of the ledger, 2 to 5 are of the access log."""
    configured(shop, "checkpoints: {path: checkpoints, every: 1}")
    asked(shop, 4)
    assert numbers(shop) == [1, 2, 3, 4, 5]
    return shop


def configured(shop: Shop, text: str) -> None:
    lines = shop.config.read_text().splitlines()
    shop.config.write_text("\n".join([*(line for line in lines if not line.startswith("checkpoints:")), text]) + "\n")


def asked(shop: Shop, times: int) -> str:
    said = ""
    for _ in range(times):
        done = shop.detokenize("card", shop.card_token(0))
        assert done.code == 0
        said += done.said
    return said


def numbers(shop: Shop, place: str = "checkpoints") -> list[int]:
    return [json.loads(path.read_bytes())["number"] for path in sorted((shop.folder / place).iterdir())]


def note(shop: Shop) -> Path:
    return shop.folder / ".consentry-checkpoints.json"


def cut(shop: Shop, entries: int, *checkpoints: int) -> None:
    """Takes away the end of the access log, and checkpoints."""
    connection = sqlite3.connect(shop.folder / "access.db", isolation_level=None)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("DELETE FROM entries WHERE position > ?", (entries,))
    connection.close()
    for number in checkpoints:
        (shop.folder / "checkpoints" / f"checkpoint-{number:09}.json").unlink()


def failing(done: Done) -> dict[str, str]:
    return {each["check"]: each["detail"] for each in done.json()["checks"] if not each["ok"]}


@pytest.mark.parametrize("lost", ["removed", "not json", "of other words", "a folder"])
def test_a_lost_note_fails_the_check_and_says_what_it_is_good_for(covered: Shop, lost: str) -> None:
    note(covered).unlink()
    if lost == "a folder":
        note(covered).mkdir()
    elif lost != "removed":
        note(covered).write_text("{" if lost == "not json" else '{"number": 5}')
    done = covered.run("log", "verify", "--json")
    assert done.code == 1
    assert list(failing(done)) == ["note"]
    is_missing = lost == "removed"
    assert failing(done)["note"].startswith(f"{note(covered).name} is {'missing' if is_missing else 'damaged'}: {SAYS}")
    assert (
        "compare the checkpoints with a copy elsewhere, then run `consentry log checkpoint --renew-note`"
        in (failing(done)["note"])
    )


def test_who_takes_away_the_end_with_its_checkpoints_and_the_note_is_found_out(covered: Shop) -> None:
    cut(covered, 2, 4, 5)
    done = covered.run("log", "verify", "--json")
    assert "checkpoint-000000004.json to checkpoint-000000005.json: is missing" in failing(done)["checkpoints"]
    note(covered).unlink()
    done = covered.run("log", "verify", "--json")
    assert done.code == 1 and list(failing(done)) == ["note"]
    asked(covered, 3)
    assert numbers(covered) == [1, 2, 3, 4, 5, 6], "exports go on, at the cost of no answer"
    done = covered.run("log", "verify", "--json")
    assert done.code == 1 and list(failing(done)) == ["note"], "and do not heal it"
    assert (
        "was missing or damaged when checkpoint-000000003.json was the newest, and begun anew"
        in (failing(done)["note"])
    )
    assert covered.run("log", "checkpoint").code == 0
    assert covered.run("log", "verify").code == 1


def test_who_has_looked_begins_the_note_anew(covered: Shop) -> None:
    note(covered).write_text("lost")
    asked(covered, 1)
    done = covered.run("log", "checkpoint", "--renew-note")
    assert done.code == 0 and "checkpoint 6 is the newest that this machine knows of now" in done.said
    assert "begun_behind" not in json.loads(note(covered).read_bytes())
    assert covered.run("log", "verify").code == 0
    asked(covered, 1)
    assert covered.run("log", "verify").code == 0
    cut(covered, 5, 6, 7)
    assert "checkpoints" in failing(covered.run("log", "verify", "--json")), "from then on it remembers again"


def test_a_note_is_not_renewed_over_a_checkpoint_that_nobody_believes(covered: Shop) -> None:
    note(covered).unlink()
    (covered.folder / "checkpoints" / "checkpoint-000000006.json").write_text("{}")
    done = covered.run("log", "checkpoint", "--renew-note")
    assert done.code == 3 and "checkpoint-000000006.json: is not as it was exported" in done.said
    assert not note(covered).exists()


def test_a_machine_that_never_exported_names_the_place(covered: Shop) -> None:
    note(covered).unlink()
    done = covered.run("log", "verify", "--checkpoints", covered.folder / "checkpoints", "--json")
    assert done.code == 0
    (detail,) = [each["detail"] for each in done.json()["checks"] if each["check"] == "note"]
    assert detail == "not checked: there is no .consentry-checkpoints.json, as where none was ever exported"


def test_a_new_project_has_nothing_to_remember(shop: Shop) -> None:
    shutil.rmtree(shop.folder / "checkpoints")
    note(shop).unlink()
    done = shop.run("log", "verify", "--json")
    assert list(failing(done)) == ["ledger"] and "none of its 3 entries is in a checkpoint" in failing(done)["ledger"]


# A place that was moved


def moved_place(shop: Shop) -> str:
    configured(shop, "checkpoints: {path: elsewhere, every: 1}")
    return f"elsewhere: has not the checkpoints up to number 5, which were exported to {shop.folder / 'checkpoints'}"


def test_a_place_that_was_moved_without_its_files_is_told_with_the_way_out(covered: Shop) -> None:
    says = moved_place(covered)
    done = covered.run("log", "checkpoint")
    assert done.code == 2 and says in done.said and "copy all of them there" in done.said
    assert says in asked(covered, 1), "whoever exports by the way says so, too"
    assert not (covered.folder / "elsewhere").exists()
    done = covered.run("log", "verify", "--json")
    assert done.code == 1 and says in failing(done)["checkpoints"]
    shutil.copytree(covered.folder / "checkpoints", covered.folder / "elsewhere")
    assert covered.run("log", "verify").code == 0
    assert covered.run("log", "checkpoint").code == 0
    assert numbers(covered, "elsewhere") == [1, 2, 3, 4, 5, 6]
    shutil.rmtree(covered.folder / "checkpoints")
    assert covered.run("log", "verify").code == 0


def test_where_the_newest_one_is_missing_it_is_not_said_that_nothing_is_new(covered: Shop) -> None:
    cut(covered, 4, 5)
    done = covered.run("log", "checkpoint")
    assert done.code == 3
    assert f"checkpoint-000000005.json: is missing in {covered.folder / 'checkpoints'}, where it was" in done.said
    asked(covered, 1)
    assert numbers(covered)[-1] == 6, "what is new is covered all the same"


def test_a_note_of_an_older_release_is_read(covered: Shop) -> None:
    document: dict[str, Any] = json.loads(note(covered).read_bytes())
    del document["place"]
    note(covered).write_text(json.dumps(document))
    assert covered.run("log", "verify").code == 0
    asked(covered, 1)
    assert json.loads(note(covered).read_bytes())["place"] == str(covered.folder / "checkpoints")


# What cannot be looked at is no answer


def test_a_wrong_place_is_a_wrong_use(covered: Shop, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "none"):
        done = covered.run("log", "verify", "--checkpoints", place)
        assert done.code == 2 and f"--checkpoints: {place} holds no checkpoint; name the folder that has" in done.said


def test_a_server_that_is_down_is_no_answer_and_a_changed_log_beside_it_is(
    covered: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "OPENING_SECONDS", 0.1)
    renamed(covered, "postgresql:///shop?host=/nowhere", "ledger")
    done = covered.run("log", "verify", "--json")
    assert done.code == 3 and done.json()["ok"] is False
    assert set(failing(done)) == {"ledger", "ledger_tags"}
    assert all("cannot be reached" in detail for detail in failing(done).values())
    cut(covered, 2)
    done = covered.run("log", "verify", "--json")
    assert done.code == 1 and "were taken out" in failing(done)["access_log"]


def test_a_missing_file_is_no_answer_and_a_damaged_one_is(covered: Shop) -> None:
    kept = (covered.folder / "access.db").read_bytes()
    (covered.folder / "access.db").unlink()
    done = covered.run("log", "verify", "--json")
    assert done.code in (2, 3) and "is missing" in failing(done)["access_log"]
    (covered.folder / "access.db").write_bytes(kept[:100] + b"\xff" * (len(kept) - 100))
    done = covered.run("log", "verify", "--json")
    assert done.code == 1 and "access_log" in failing(done)

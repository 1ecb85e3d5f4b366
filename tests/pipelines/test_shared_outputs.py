"""The list of outputs beside a vault on a server: machines see each other's, and none is lost on the way there."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from consentry.pipelines.known_outputs import KnownOutput, open_known_outputs
from consentry.schemas.project import read_project
from consentry.schemas.store_uri import of_tenant
from consentry.transforms.stores.known_output_table import open_known_output_table
from consentry.transforms.stores.postgres_outputs import PostgresOutputTable
from oracles.server_shop import FILES, moved, users
from oracles.shop_commands import AT, Shop
from servers.postgres import Postgres

HERE = platform.node()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def there(shop: Shop, postgres: Postgres, database: str) -> Shop:
    """A shop that was moved to a server, with its list."""
    forgotten = shop.run("outputs", "list", "--json").json()
    for each in forgotten:  # of the place that the shop was copied from
        assert shop.run("outputs", "forget", each["output"]).code == 0
    assert shop.run("outputs", "add", shop.out).code == 0
    moved(shop, postgres.uri(database))
    (shop.folder / "outputs.db").unlink()  # of this machine alone, which tests take for another
    return shop


def on_another_machine(monkeypatch: pytest.MonkeyPatch, name: str = "warehouse-2") -> None:
    monkeypatch.setattr(platform, "node", lambda: name)


def listed(shop: Shop) -> list[tuple[str, str | None, bool]]:
    found = shop.run("outputs", "list", "--json")
    assert found.code == 0, found.err
    return [(each["output"], each["machine"], each["published"]) for each in found.json()]


def test_what_one_machine_publishes_another_sees(there: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(there) == [(str(there.out), None, True)]
    assert there.protect("--at", AT, out=there.place / "again").code == 0
    on_another_machine(monkeypatch)
    assert listed(there) == [(str(there.place / "again"), HERE, True), (str(there.out), HERE, True)]
    assert there.run("keys", "rotate").code == 0
    assert there.protect("--at", AT, out=there.place / "third").code == 0
    refused = there.run("keys", "destroy", "1", "--yes")
    assert refused.code == 2 and f"the output {there.out} on {HERE} (orders) has tokens of it" in refused.said
    assert "outputs forget" in refused.said


def test_retokenize_keeps_what_an_output_of_another_machine_needs_and_drops_the_rest(
    there: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = there.place / "again"
    shutil.copytree(there.out, again)
    on_another_machine(monkeypatch)
    assert there.run("outputs", "add", again).code == 0
    assert there.run("keys", "rotate").code == 0
    done = there.run("retokenize", again, "--json").json()
    assert done["vault"]["copied"] > 0 and done["vault"]["dropped"] == 0
    assert done["waiting"] == {f"{there.out} on {HERE}": [1]}
    monkeypatch.undo()
    done = there.run("retokenize", there.out, "--json").json()
    assert done["vault"]["dropped"] > 0 and done["waiting"] == {}
    assert there.run("keys", "destroy", "1", "--yes").code == 0
    assert there.detokenize("card", there.card_token(1)).json()[0]["value"] == "5555555555554444"


def test_a_list_that_others_may_not_be_on_yet_drops_nothing_unasked(
    there: Shop, postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:  # as after an update of a vault that was in use
        connection.execute("UPDATE consentry_vault_shop.outputs_listed SET complete = false")
    assert there.run("keys", "rotate").code == 0
    done = there.run("retokenize", there.out, "--json").json()
    assert done["vault"]["copied"] > 0 and done["vault"]["dropped"] == 0
    assert there.run("retokenize", there.out, "--drop-entries", "--json").json()["vault"]["dropped"] > 0


def test_an_update_of_a_vault_in_use_knows_that_the_list_begins_late(
    there: Shop, postgres: Postgres, database: str
) -> None:
    with postgres.connect(database) as connection:
        connection.execute("UPDATE consentry_vault_shop.store SET version = 1")
        connection.execute("DROP TABLE consentry_vault_shop.outputs, consentry_vault_shop.outputs_listed")
        connection.execute("DROP FUNCTION consentry_vault_shop.note_applied")
    assert there.run("vault", "migrate").code == 0
    with closing(open_known_outputs(read_project(there.config))) as known:
        assert not known.is_complete


def test_what_a_machine_had_noted_before_is_taken_over(there: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine has a list of its own from before the vault had one."""
    on_another_machine(monkeypatch)
    old = KnownOutput(
        place="/elsewhere/out", run="r7", dataset="orders", published=True, versions={"card": 1}, noted_at=1
    )
    with closing(open_known_output_table(f"sqlite:{there.folder / 'outputs.db'}")) as before:
        before.put(old)
    assert ("/elsewhere/out", None, True) in listed(there)
    monkeypatch.undo()
    assert ("/elsewhere/out", "warehouse-2", True) in listed(there)
    with closing(open_known_output_table(f"sqlite:{there.folder / 'outputs.db'}")) as before:
        assert before.all() == ()


def test_who_may_only_look_sees_what_was_noted_before_and_loses_nothing(there: Shop, postgres: Postgres) -> None:
    assert there.run("vault", "migrate", "--roles").code == 0
    old = KnownOutput(place="/late", run="r7", dataset="orders", published=True, versions={"card": 1}, noted_at=1)
    stale = KnownOutput(place="/gone", run="r8", dataset="orders", published=False, versions={"card": 1}, noted_at=1)
    with closing(open_known_output_table(f"sqlite:{there.folder / 'outputs.db'}")) as before:
        before.put(old)
    with closing(open_known_outputs(read_project(there.config))) as known:
        known.note(stale)
    with closing(open_known_output_table(f"sqlite:{there.folder / 'outputs.db'}")) as before:
        before.put(old)
    with users(postgres) as names:
        as_owner = there.config.read_text()
        there.config.write_text(as_owner.replace("user=owner", f"user={names['eraser']}"))
        assert ("/late", None, True) in listed(there)
        there.config.write_text(as_owner)
    assert ("/late", None, True) in listed(there)


def test_a_run_of_another_machine_is_settled_by_that_machine_alone(
    there: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = KnownOutput(place="/data/out", run="r9", dataset="orders", published=False, versions={"card": 1}, noted_at=1)
    project = read_project(there.config)
    with monkeypatch.context() as other:
        on_another_machine(other)
        with closing(open_known_output_table(project.outputs)) as table:
            table.put(run)
    assert ("/data/out", "warehouse-2", False) in listed(there), "here nothing is at that place"
    assert there.run("outputs", "forget", "/data/out").code == 2
    assert there.run("outputs", "forget", "/data/out", "--machine", "warehouse-2").code == 0
    assert listed(there) == [(str(there.out), None, True)]
    with monkeypatch.context() as other:
        on_another_machine(other)
        with closing(open_known_output_table(project.outputs)) as table:
            table.put(run)
        assert listed(there) == [(str(there.out), HERE, True)]


def test_an_output_in_an_object_store_is_one_for_all_machines(there: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = read_project(there.config).outputs
    assert uri == read_project(there.config).vault
    made = KnownOutput(
        place="gs://bucket/out", run="r1", dataset="orders", published=True, versions={"card": 1}, noted_at=1
    )
    with closing(PostgresOutputTable(uri, machine="a")) as one, closing(PostgresOutputTable(uri, machine="b")) as two:
        one.put(made)
        assert made.place in {each.place for each in two.all()}
        two.put(replace(made, run="r2", versions={"card": 2}))
        assert [(each.run, each.machine) for each in one.all() if each.place == made.place] == [("r2", "")]
        assert one.remove(made.place) == 1


def test_a_copy_of_a_vault_brings_its_list(there: Shop, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    target = postgres.new_database()
    source = read_project(there.config).vault.replace("&tenant=shop", "")
    assert there.run("vault", "copy", source, postgres.uri(target)).code == 0
    with closing(PostgresOutputTable(of_tenant(postgres.uri(target), "shop"))) as table:
        assert [each.place for each in table.all()] == [str(there.out)] and table.is_complete
    postgres.drop_database(target)
    on_another_machine(monkeypatch)
    done = there.run("vault", "copy", source, f"sqlite:{there.folder / 'back.db'}")
    assert done.code == 0, done.err
    with closing(open_known_output_table(f"sqlite:{there.folder / 'outputs.db'}")) as table:
        assert [each.place for each in table.all()] == [f"{there.out} on {HERE}"]


def test_a_list_of_its_own_stays_where_the_configuration_says(shop: Shop, postgres: Postgres, database: str) -> None:
    shop.config.write_text(shop.config.read_text().replace("sqlite:outputs.db", "sqlite:mine.db"))
    moved(shop, postgres.uri(database))
    assert read_project(shop.config).outputs == f"sqlite:{shop.folder / 'mine.db'}"
    assert shop.run("keys", "rotate").code == 0
    assert shop.run("retokenize", shop.out, "--json").json()["vault"]["dropped"] == 0


def test_beside_a_file_the_list_is_in_its_folder(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    shutil.move(shop.folder / FILES["vault"], tmp_path / "stores" / "vault.db")
    shop.config.write_text(shop.config.read_text().replace("sqlite:vault.db", f"sqlite:{tmp_path}/stores/vault.db"))
    assert read_project(shop.config).outputs == f"sqlite:{tmp_path}/stores/outputs.db"
    before = len(listed(shop))
    assert before > 0, "what was noted beside the configuration is taken over"
    assert (tmp_path / "stores" / "outputs.db").exists()

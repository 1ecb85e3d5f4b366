"""The stores of a project on a real server: moved there and back, and runs that outlive what happens to them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from consentry.transforms.stores.postgres_schema import VERSIONS
from oracles.server_shop import FILES, moved, renamed
from oracles.shop_commands import AT, PROGRAM, Shop, order, run, write_lines
from servers.postgres import Postgres


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = postgres.new_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def uri(postgres: Postgres, database: str) -> str:
    return postgres.uri(database)


def test_a_project_moves_to_a_server_and_back_and_nothing_changes(shop: Shop, uri: str) -> None:
    token = shop.card_token(1)
    before = shop.run("vault", "status", "--json").json()
    asked = {"subject": "c-1"}
    (answer,) = shop.detokenize("card", token, **asked).json()
    moved(shop, uri)
    status = shop.run("vault", "status", "--json").json()
    assert status["vault"]["fields"] == before["vault"]["fields"] and status["vault"]["entries"] > 0
    assert status["data_keys"]["living"] == before["data_keys"]["living"]
    assert status["ledger"]["head"] == before["ledger"]["head"]
    assert {status[store]["kind"] for store in FILES} == {"postgresql"}
    assert shop.detokenize("card", token, **asked).json() == [answer] and answer["value"] == "5555555555554444"
    assert shop.run("consent", "verify").code == 0
    assert shop.run("consent", "record", "--subject", "c-1", "--purpose", "support", "--decision", "withdrawn",
                    "--source", "form").code == 0  # fmt: skip
    status = shop.run("vault", "status", "--json").json()
    assert status["vault"]["applied"]["position"] == 4 and status["ledger_entries_not_applied"] == 0
    again = shop.protect("--at", AT, "--json", out=shop.place / "again")
    assert again.json()["books"]["out"] == 24 and again.json()["vault"]["written"] == 0
    for store, name in FILES.items():
        done = shop.run("vault", "copy", uri, f"sqlite:{shop.folder / name}", "--store", store)
        assert done.code == 0 and "the same on both sides" in done.said
    shop.config.write_text(shop.config.read_text().replace(uri, "sqlite:vault.db", 1))
    assert shop.run("vault", "status", "--json").json()["vault"]["kind"] == "sqlite"


def test_status_reads_like_a_report(shop: Shop, uri: str) -> None:
    moved(shop, uri)
    done = shop.run("vault", "status")
    assert done.code == 0
    for text in ("vault", "postgresql", "keys, 0 destroyed", "card", "key version"):
        assert text in done.out
    assert "The vault has followed the ledger to entry 3; 0 are newer." in done.said


def test_a_new_project_begins_on_a_server(tmp_path: Path, uri: str) -> None:
    assert run("init", tmp_path / "shop").code == 0
    shop = Shop(tmp_path)
    for name in FILES.values():
        (shop.folder / name).unlink()
    renamed(shop, uri)
    done = shop.run("protect", write_lines(shop.orders, [order(0)]), "--dataset", "orders", "--out", shop.out)
    assert done.code == 2 and "is missing; restore it, or make the stores of a new project with" in done.said
    done = shop.run("vault", "migrate", "--json")
    assert done.json() == [{"store": store, "before": 0, "after": VERSIONS[store]} for store in FILES]
    assert [each["before"] for each in shop.run("vault", "migrate", "--roles", "--json").json()] == [*VERSIONS.values()]
    assert "vault: is at version 2" in shop.run("vault", "migrate").said
    assert shop.protect().code == 0


def test_keys_create_makes_the_stores_of_a_server_too(tmp_path: Path, uri: str) -> None:
    assert run("init", tmp_path / "shop").code == 0
    shop = Shop(tmp_path)
    for name in (*FILES.values(), "keyring.json", "proof.pub"):
        (shop.folder / name).unlink()
    renamed(shop, uri)
    assert shop.run("keys", "create").code == 0
    assert shop.run("vault", "status", "--json").json()["ledger"]["entries"] == 0


def test_a_store_that_was_lost_is_not_made_anew_unasked(shop: Shop, uri: str) -> None:
    renamed(shop, uri, "ledger")
    done = shop.run("vault", "migrate")
    assert done.code == 2
    assert "ledger: missing, while there is vault, data_keys, access_log: an empty ledger in the place of" in done.said
    assert shop.run("vault", "status").code == 2
    assert shop.run("vault", "migrate", "--create").code == 0
    assert shop.run("vault", "status", "--json").json()["ledger"]["entries"] == 0


def test_a_project_without_a_server_has_nothing_to_migrate(shop: Shop) -> None:
    done = shop.run("vault", "migrate")
    assert done.code == 0 and "there is nothing to do" in done.said


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("sqlite:a.db", "postgresql://u:hunter@h/d", "TO: holds a password; let libpq find it"),
        ("postgresql://h/d?password=hunter", "sqlite:a.db", "FROM: holds a password; let libpq find it"),
        ("a.db", "sqlite:b.db", "FROM: unknown kind of store; write sqlite:FILE or postgresql://…"),
        ("sqlite:a.db", "sqlite:./a.db", "FROM and TO are the same store; name another"),
        ("sqlite:none.db", "sqlite:b.db", "the vault is missing"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(shop: Shop, source: str, target: str, says: str) -> None:
    done = shop.run("vault", "copy", source, target)
    assert done.code in (2, 3) and says in done.said and "hunter" not in done.out + done.err


def test_a_password_in_the_configuration_stops_every_command(shop: Shop) -> None:
    renamed(shop, "postgresql://shop:hunter@db/shop", "vault")
    for command in (["vault", "status"], ["keys", "status"], ["consent", "verify"]):
        done = shop.run(*command)
        assert done.code == 2 and "vault: holds a password; let libpq find it: PGPASSWORD" in done.said
        assert "hunter" not in done.out + done.err


def test_a_server_that_is_not_there_is_told_in_one_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from consentry.transforms.stores import postgres_database, postgres_schema

    for module in (postgres_database, postgres_schema):
        monkeypatch.setattr(module, "OPENING_SECONDS", 0.1)
    renamed(shop, "postgresql:///shop?host=/nowhere")
    for command in (["vault", "status"], ["vault", "migrate"]):
        done = shop.run(*command)
        assert done.code == 3 and "postgresql:///nowhere/shop: the" in done.said and "cannot be reached" in done.said
    (answer,) = [shop.detokenize("card", shop.card_token(1))]
    assert answer.code == 3 and "5555" not in answer.out + answer.err


# Runs


def card(number: int) -> str:
    """A card number of its own."""
    digits = f"411111{number:09d}"
    total = sum(
        sum(divmod(int(digit) * 2, 10)) if place % 2 == 0 else int(digit) for place, digit in enumerate(digits[::-1])
    )
    return digits + str(-total % 10)


COUNT = 6000


@pytest.fixture
def busy_shop(shop: Shop, uri: str) -> Shop:
    """On a server, with an order and a card for each of many customers."""
    moved(shop, uri)
    orders = []
    for number in range(COUNT):
        made = order(number, customer={"id": f"k-{number}", "email": f"k{number}@example.com"})
        made["payment"]["card"]["number"] = card(number)
        orders.append(made)
    write_lines(shop.orders, orders)
    return shop


def started(shop: Shop, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = [PROGRAM, "protect", shop.orders, "--dataset", "orders", "--at", AT, "--out", shop.place / "busy"]
    return subprocess.Popen(
        [*command, "--config", shop.config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )


def wait_for_the_vault(postgres: Postgres, database: str, program: subprocess.Popen[bytes]) -> None:
    """Waits until somebody has begun to write values, in a transaction that is not committed."""
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%pg_temp.wanted%%' "
        "AND xact_start IS NOT NULL"
    )
    with postgres.connect() as connection:
        while program.poll() is None and connection.execute(asked, (database,)).fetchone() == (0,):
            time.sleep(0.001)


def all_is_there(shop: Shop, postgres: Postgres, database: str) -> None:
    assert len(shop.rows(shop.place / "busy")) == COUNT
    assert shop.run("verify", shop.place / "busy").code == 0
    with postgres.connect(database) as connection:
        counted = connection.execute(
            "SELECT count(*), count(DISTINCT token) FROM consentry_vault_shop.entries WHERE domain = 'card'"
        ).fetchone()
    assert counted == (COUNT + 6, COUNT + 6)
    some = [shop.card_token(number, shop.place / "busy") for number in range(0, COUNT, 1500)]
    answers = shop.detokenize("card", *some).json()
    assert [answer["value"] for answer in answers] == [card(number) for number in range(0, COUNT, 1500)]


def nothing_raw(shop: Shop, postgres: Postgres, said: bytes) -> None:
    seen = said + postgres.log.read_bytes() + b"".join(path.read_bytes() for path in files_beside(shop))
    assert not any(card(number).encode() in seen for number in range(0, COUNT, 7))


def files_beside(shop: Shop) -> list[Path]:
    return [path for path in shop.place.rglob("*") if path.is_file() and path != shop.orders]


@pytest.mark.slow
def test_a_run_whose_server_restarts_in_the_middle_goes_on(busy_shop: Shop, postgres: Postgres, database: str) -> None:
    with started(busy_shop) as program:
        wait_for_the_vault(postgres, database, program)
        postgres.crash()
        time.sleep(2)
        postgres.start()
        said = program.communicate(timeout=120)[1]
    assert program.returncode == 0, said
    all_is_there(busy_shop, postgres, database)
    nothing_raw(busy_shop, postgres, said)


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_writes_the_vault_is_run_again(
    busy_shop: Shop, postgres: Postgres, database: str
) -> None:
    for _ in range(3):
        with started(busy_shop) as program:
            wait_for_the_vault(postgres, database, program)
            program.kill()
            said = program.communicate(timeout=60)[1]
        assert not (busy_shop.place / "busy").exists()
        nothing_raw(busy_shop, postgres, said)
    with started(busy_shop) as program:
        said = program.communicate(timeout=120)[1]
    assert program.returncode == 0, said
    all_is_there(busy_shop, postgres, database)


@pytest.mark.slow
def test_a_run_whose_server_stays_away_fails_cleanly_and_is_run_again(
    busy_shop: Shop, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    impatient = tmp_path / "sitecustomize.py"  # the patience of minutes, as seconds
    impatient.write_text(
        "from consentry.transforms.stores import postgres_database\npostgres_database.RECONNECTING_SECONDS = 1\n"
    )
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [
        PROGRAM,
        "protect",
        busy_shop.orders,
        "--dataset",
        "orders",
        "--at",
        AT,
        "--out",
        busy_shop.place / "busy",
    ]
    with subprocess.Popen(
        [*command, "--config", busy_shop.config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as program:
        wait_for_the_vault(postgres, database, program)
        postgres.crash()
        said = program.communicate(timeout=120)[1]
    postgres.start()
    assert program.returncode == 3 and b"cannot be reached" in said, said
    assert not (busy_shop.place / "busy").exists()
    nothing_raw(busy_shop, postgres, said)
    with started(busy_shop) as program:
        said = program.communicate(timeout=120)[1]
    assert program.returncode == 0, said
    all_is_there(busy_shop, postgres, database)

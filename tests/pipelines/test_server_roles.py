"""Every command that works with stores, as a user of each group role: done where the guide says so, else refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from oracles.server_shop import moved, users
from oracles.shop_commands import AT, CARDS, MadeShop, Shop, event, write_lines
from servers.postgres import Postgres

DENIED = (
    "does not let this user do that; give the user the role that may, which `consentry vault migrate --roles` makes"
)
WRITER, READER, ERASER, AUDITOR = "writer", "reader", "eraser", "auditor"
ASKED = ("--purpose", "fraud_review", "--role", "fraud_analyst", "--actor", "finn")
Command = Callable[[Shop], tuple[str | Path, ...]]


def imported(shop: Shop) -> tuple[str | Path, ...]:
    return "consent", "import", write_lines(shop.place / "more.jsonl", [event("c-4"), event("c-5")])


def withdrawn(shop: Shop) -> tuple[str | Path, ...]:
    lines = write_lines(shop.place / "less.jsonl", [event("c-0", "withdrawn", purpose="support")])
    assert shop.run("consent", "import", lines).code == 0
    return "redact", shop.out


def letter(shop: Shop) -> str:
    found: str = shop.run("dead-letters", "list", shop.out, "--json").json()["letters"][0]["id"]
    return found


COMMANDS: dict[str, tuple[tuple[str, ...], Command]] = {
    "protect": (
        (WRITER,),
        lambda shop: ("protect", shop.orders, "--dataset", "orders", "--at", AT, "--out", shop.place / "again"),
    ),
    "consent import": ((WRITER, ERASER), imported),
    "consent record": (
        (WRITER, ERASER),
        lambda _: (
            "consent",
            "record",
            "--subject",
            "c-5",
            "--purpose",
            "support",
            "--decision",
            "granted",
            "--source",
            "form",
        ),
    ),
    "consent show": ((WRITER, READER, ERASER), lambda _: ("consent", "show", "--subject", "c-1")),
    "consent verify": ((WRITER, READER, ERASER), lambda _: ("consent", "verify")),
    "detokenize": ((READER, ERASER), lambda shop: ("detokenize", "card", shop.card_token(1), *ASKED)),
    "vault status": ((WRITER, ERASER), lambda _: ("vault", "status")),
    "vault sweep": ((WRITER, ERASER), lambda _: ("vault", "sweep")),
    "vault rewrap": ((ERASER,), lambda _: ("vault", "rewrap")),
    "vault migrate": ((), lambda _: ("vault", "migrate")),
    "vault migrate --roles": ((), lambda _: ("vault", "migrate", "--roles")),
    "retokenize": ((WRITER,), lambda shop: ("retokenize", shop.out, "--drop-entries")),
    "redact": ((WRITER, READER, ERASER), withdrawn),
    "dead-letters show": ((WRITER, ERASER), lambda shop: ("dead-letters", "show", shop.out, letter(shop))),
    # There is none that could be recovered, which takes no more than to read.
    "dead-letters replay": ((WRITER, ERASER), lambda shop: ("dead-letters", "replay", shop.out)),
    "keys disable": ((WRITER, ERASER), lambda _: ("keys", "disable", "1", "vault")),
    "subject export": ((ERASER,), lambda _: ("subject", "export", "--subject", "c-1", "--actor", "pia")),
    "subject erase": ((ERASER,), lambda shop: ("subject", "erase", "--yes", "--subject", "c-1", "--outputs", shop.out)),
    "log verify": ((ERASER, AUDITOR), lambda _: ("log", "verify", "--json")),
    "log checkpoint": ((ERASER, AUDITOR), lambda _: ("log", "checkpoint")),
}


@dataclass(frozen=True)
class Ward:
    """A shop on a server, whose configuration names a user."""

    shop: Shop
    server: Postgres
    database: str
    names: dict[str, str]

    def become(self, role: str) -> None:
        text = self.shop.config.read_text()
        for user in ("owner", *self.names.values()):
            text = text.replace(f"user={user}", f"user={self.names.get(role, role)}")
        self.shop.config.write_text(text)

    def stored(self) -> dict[str, Any]:
        """Digests of what the stores hold, but for what an attempt may note: who asked, and how far it has followed."""
        found = {}
        with self.server.connect(self.database) as connection:
            for table in ("vault_shop.entries", "data_keys_shop.subject_keys", "data_keys_shop.day_keys",
                          "ledger_shop.entries"):  # fmt: skip
                asked = f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM consentry_{table} AS t"
                found[table] = connection.execute(asked.encode()).fetchone()
        return found


@pytest.fixture(scope="module")
def template(made_shop: MadeShop, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """A shop on a server, with a version of each key set to be done away with, and its users."""
    place = tmp_path_factory.mktemp("ward") / "place"
    shutil.copytree(made_shop.shop.place, place)
    shop, database = Shop(place), postgres.new_database()
    moved(shop, postgres.uri(database))
    assert shop.run("vault", "migrate", "--roles").code == 0
    for key_set in ("vault", "token"):
        assert shop.run("keys", "rotate", key_set).code == 0
    for _ in range(2):  # of the first, a checkpoint is exported
        assert shop.detokenize("card", shop.card_token(0)).code == 0
    with users(postgres) as names:
        yield Ward(shop, postgres, database, names)
        postgres.drop_database(database)


@pytest.fixture
def ward(template: Ward, tmp_path: Path) -> Iterator[Ward]:
    """A copy, with a database of its own."""
    shutil.copytree(template.shop.place, tmp_path / "place")
    shop, database = Shop(tmp_path / "place"), f"{template.database}_copy"
    with template.server.connect() as connection:
        connection.execute(f"CREATE DATABASE {database} TEMPLATE {template.database}".encode())
    shop.config.write_text(shop.config.read_text().replace(f"/{template.database}?", f"/{database}?"))
    yield Ward(shop, template.server, database, template.names)
    template.server.drop_database(database)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_for_these_roles_and_no_others(ward: Ward, name: str) -> None:
    allowed, command = COMMANDS[name]
    arguments = command(ward.shop)
    if name == "keys disable":
        assert ward.shop.run("vault", "rewrap").code == 0
    before = ward.stored()
    files = {path: each for path, each in ward.shop.stored().items() if path.endswith((".json", ".pub"))}
    for role in sorted(ward.names, key=lambda role: role in allowed):
        ward.become(role)
        done = ward.shop.run(*arguments)
        said = (role, done.code, done.said)
        if role in allowed:
            assert done.code == 0, said
            assert DENIED not in done.said, said
            if name == "keys disable":
                ward.become("owner")
                assert ward.shop.run("keys", "enable", "1", "vault").code == 0
            shutil.rmtree(ward.shop.place / "again", ignore_errors=True)
        else:
            assert done.code == 3, said
            assert DENIED in done.said + done.out, said
            assert ward.stored() == before, said
            assert not any(secret in done.out + done.err for secret in (*CARDS, *ward.names.values()))
            now = {path: each for path, each in ward.shop.stored().items() if path in files}
            assert now == files, said


def test_the_owner_alone_makes_schemas_and_copies_into_them(ward: Ward) -> None:
    target = ward.server.new_database()
    for role, code in ((READER, 3), (WRITER, 3), (ERASER, 3), ("owner", 0)):
        user = ward.names.get(role, role)
        ward.become("owner")
        source, to = ward.server.uri(ward.database), ward.server.uri(target, user)
        done = ward.shop.run("vault", "copy", source, to, "--store", "ledger")
        assert done.code == code, (role, done.said)
        assert code == 0 or DENIED in done.said
    ward.server.drop_database(target)


def test_a_project_whose_roles_count_elsewhere_is_told_so(ward: Ward, template: Ward) -> None:
    done = ward.shop.run("vault", "migrate", "--roles")
    assert done.code == 0
    assert f"the group roles of tenant 'shop' have privileges in {template.database}, too" in done.said

"""What a server keeps that logs every statement with its parameters: nothing that opens, and nobody's reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from oracles.server_shop import moved
from oracles.shop_commands import AT, RAW, Shop, event, order, write_lines
from servers.availability import Server, require
from servers.postgres import Postgres, postgres_server

ALL_IT_CAN = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
}
SECRETS = (
    "SELECT subject FROM consentry_data_keys_shop.subject_keys",
    "SELECT wrapped FROM consentry_data_keys_shop.subject_keys WHERE wrapped IS NOT NULL",
    "SELECT wrapped FROM consentry_data_keys_shop.day_keys",
    "SELECT sealed FROM consentry_vault_shop.entries",
    "SELECT subject FROM consentry_vault_shop.entries",
    "SELECT subject FROM consentry_ledger_shop.entries",
    "SELECT event_id FROM consentry_ledger_shop.entries",
    "SELECT entry FROM consentry_ledger_shop.entries",
    "SELECT token_ref FROM consentry_access_log_shop.entries",
    "SELECT subject_ref FROM consentry_access_log_shop.entries WHERE subject_ref IS NOT NULL",
)


@pytest.fixture(scope="module")
def talkative() -> Iterator[Postgres]:
    require(Server.POSTGRES)
    with postgres_server(**ALL_IT_CAN) as server:
        yield server


class Watched:
    """All secrets that were ever in the stores, looked at after each command."""

    def __init__(self, server: Postgres, database: str) -> None:
        self.secrets: set[bytes] = set()
        self._server, self._database = server, database

    def look(self) -> None:
        with self._server.connect(self._database) as connection:
            for asked in SECRETS:
                self.secrets |= {bytes(secret) for (secret,) in connection.execute(asked.encode()).fetchall()}


def test_no_statement_log_has_a_wrapped_key_a_sealed_value_or_a_reference(
    shop: Shop, talkative: Postgres, tmp_path: Path
) -> None:
    database = talkative.new_database()
    watched = Watched(talkative, database)
    moved(shop, talkative.uri(database))
    watched.look()

    def do(*command: str | Path) -> None:
        done = shop.run(*command)
        assert done.code == 0, (command, done.err)
        watched.look()

    many = write_lines(shop.place / "many.jsonl", [*(order(number) for number in range(30)), "{broken"])
    events = write_lines(shop.place / "more.jsonl", [event("c-3"), event("c-4"), event("c-1", "withdrawn")])
    out = shop.place / "second"
    do("consent", "import", events)
    do("protect", many, "--dataset", "orders", "--at", AT, "--out", out)
    tokens = [shop.card_token(number, out) for number in range(3)]
    asked = ("--purpose", "fraud_review", "--role", "fraud_analyst", "--actor", "finn")
    do("detokenize", "card", *tokens, *asked)
    lines = write_lines(shop.place / "asked.csv", ["token", *tokens])
    do(
        "detokenize",
        "--domain",
        "card",
        "--from",
        lines,
        "--column",
        "token",
        "--out",
        shop.place / "answers.csv",
        *asked,
    )
    do("consent", "show", "--subject", "c-2")
    do("subject", "export", "--subject", "c-2", "--actor", "pia")
    do("keys", "rotate", "vault")
    do("vault", "rewrap")
    do("keys", "rotate", "token")
    do("retokenize", out, "--drop-entries")
    do("redact", out)
    do("subject", "erase", "--yes", "--subject", "c-2", "--outputs", out)
    do("vault", "sweep")
    do("vault", "copy", talkative.uri(database), f"sqlite:{tmp_path / 'copy.db'}", "--store", "data_keys")
    do("log", "verify")

    logged = talkative.log.read_bytes()
    assert b"DETAIL:  parameters: $1 = 'card'" in logged, "the server logs parameters"
    assert len(watched.secrets) > 60
    found = [secret for secret in watched.secrets if secret in logged or _spelled(secret, logged)]
    assert found == []
    assert not any(raw.encode() in logged for raw in (*RAW, "c-2"))


def _spelled(secret: bytes, logged: bytes) -> bool:
    """Whether bytes are there in one of the ways in which the server writes ``bytea``: hex, or escaped."""
    escaped = b"".join(bytes([byte]) if 32 <= byte < 127 else f"\\{byte:03o}".encode() for byte in secret)
    hexes = (secret.hex(), secret.hex().upper(), secret.hex()[:32], secret.hex()[-32:])
    return any(spelling in logged for spelling in (escaped, *(each.encode() for each in hexes)))


def test_the_search_finds_what_a_parameter_leaves(talkative: Postgres) -> None:
    secrets = [hashlib.sha256(name).digest() for name in (b"a value", b"in a list", b"never sent")]
    with talkative.connect() as connection:
        connection.execute("SELECT %s::bytea", (secrets[0],))
        connection.execute("SELECT %b::bytea[]", ([secrets[1]],))
    logged = talkative.log.read_bytes()
    assert [_spelled(secret, logged) for secret in secrets] == [True, True, False]

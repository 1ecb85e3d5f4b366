"""A shop whose stores are on a server: moved there, and driven as users of its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from consentry.transforms.stores.postgres_schema import ROLES, role_of
from oracles.shop_commands import Shop
from servers.postgres import Postgres

FILES = {"vault": "vault.db", "data_keys": "data_keys.db", "ledger": "ledger.db", "access_log": "access.db"}


def renamed(shop: Shop, uri: str, *stores: str) -> None:
    """Names the server in the configuration for some stores, or for all."""
    text = shop.config.read_text()
    for store in stores or FILES:
        text = text.replace(f"sqlite:{FILES[store]}", uri)
    shop.config.write_text(text)


def moved(shop: Shop, uri: str) -> None:
    """Copies the stores of a project to a server, and names it in the configuration."""
    for store, name in FILES.items():
        done = shop.run("vault", "copy", f"sqlite:{shop.folder / name}", uri, "--store", store, "--json")
        assert done.code == 0, done.err
    renamed(shop, uri)
    for name in FILES.values():
        (shop.folder / name).unlink()


@contextmanager
def users(postgres: Postgres, tenant: str = "shop") -> Iterator[dict[str, str]]:
    """Users of the database, each in one group role, by the role; ``vault migrate --roles`` has made these."""
    names = {role: f"a_{role}" for role in ROLES}
    with postgres.connect() as connection:
        for role, name in names.items():
            connection.execute(f"DROP ROLE IF EXISTS {name}".encode())
            connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE {role_of(role, tenant)}".encode())
    try:
        yield names
    finally:
        with postgres.connect() as connection:
            for name in names.values():
                connection.execute(f"DROP ROLE {name}".encode())

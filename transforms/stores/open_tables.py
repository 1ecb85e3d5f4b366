"""Opens the tables of a store by its URI: ``sqlite:FILE``, or ``postgresql://…`` (the extra ``postgres``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...schemas.store_uri import POSTGRESQL
from .sqlite_database import sqlite_path

if TYPE_CHECKING:
    from .access_log_table import AccessLogTable
    from .data_key_table import DataKeyTable
    from .ledger_table import LedgerTable
    from .vault_table import VaultTable

__all__ = ["open_access_log_table", "open_data_key_table", "open_ledger_table", "open_vault_table"]


def open_vault_table(uri: str, *, create: bool = False) -> VaultTable:
    """Returns the tables of a vault.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    if _on_a_server(uri):
        from .postgres_vault import PostgresVaultTable

        return PostgresVaultTable(uri, create=create)
    from .sqlite_vault import SqliteVaultTable

    return SqliteVaultTable(sqlite_path(uri, store="vault"), create=create)


def open_data_key_table(uri: str, *, create: bool = False) -> DataKeyTable:
    """Returns the tables of data keys; arguments and errors as for ``open_vault_table``."""
    if _on_a_server(uri):
        from .postgres_data_keys import PostgresDataKeyTable

        return PostgresDataKeyTable(uri, create=create)
    from .sqlite_data_keys import SqliteDataKeyTable

    return SqliteDataKeyTable(sqlite_path(uri, store="data_keys"), create=create)


def open_ledger_table(uri: str, *, create: bool = False) -> LedgerTable:
    """Returns the table of a ledger; arguments and errors as for ``open_vault_table``."""
    if _on_a_server(uri):
        from .postgres_ledger import PostgresLedgerTable

        return PostgresLedgerTable(uri, create=create)
    from .sqlite_ledger import SqliteLedgerTable

    return SqliteLedgerTable(sqlite_path(uri, store="ledger"), create=create)


def open_access_log_table(uri: str, *, create: bool = False) -> AccessLogTable:
    """Returns the table of an access log; arguments and errors as for ``open_vault_table``."""
    if _on_a_server(uri):
        from .postgres_access_log import PostgresAccessLogTable

        return PostgresAccessLogTable(uri, create=create)
    from .sqlite_access_log import SqliteAccessLogTable

    return SqliteAccessLogTable(sqlite_path(uri, store="access_log"), create=create)


def _on_a_server(uri: str) -> bool:
    return uri.startswith(f"{POSTGRESQL}:")

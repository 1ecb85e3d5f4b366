"""What an operator does with the stores of a project as such: brings them up to date, copies them, looks at them.

Needs no key and shows no value. Never imports Beam.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError
from ..schemas.project import Project, list_beside
from ..schemas.store_uri import POSTGRESQL, SQLITE, STORES, of_tenant, uri_problem
from ..transforms.stores.copying import Copied, copy_store
from ..transforms.stores.known_output_table import open_known_output_table
from ..transforms.stores.open_tables import (
    open_access_log_table,
    open_data_key_table,
    open_ledger_table,
    open_vault_table,
)
from ..transforms.stores.postgres_connection import server_of
from ..transforms.stores.postgres_outputs import PostgresOutputTable
from ..transforms.stores.postgres_schema import VERSIONS, databases_of_roles, migrate_store, store_version
from ..transforms.stores.sqlite_database import schema_version
from .lost_holds import hold_states

__all__ = ["Migrated", "copy_between", "migrate_stores", "shared_roles", "store_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """A store on a server and its schema version, before and after; 0: there was none."""

    store: str
    before: int
    after: int


def migrate_stores(project: Project, *, create: bool, roles: bool) -> list[Migrated]:
    """Makes the project's stores on servers, or brings them up to date, and returns what was done with each.

    Args:
        project: Names them.
        create: Whether a missing store is made where others of the project exist.
        roles: Whether the tenant's group roles are made, and given their privileges.

    Raises:
        ConfigError: A store is missing beside others; nothing was done.
        StoreError: A server cannot be reached, or does not let the user do it.
    """
    uris = {name: getattr(project, name) for name in STORES}
    on_servers = {name: uri for name, uri in uris.items() if uri.startswith(f"{POSTGRESQL}:")}
    missing = [name for name, uri in on_servers.items() if not store_version(uri, name)]
    there = [name for name, uri in uris.items() if name not in missing and (name in on_servers or _is_file(uri))]
    if missing and there and not create:
        raise ConfigError(
            f"{', '.join(missing)}: missing, while there is {', '.join(there)}: an empty ledger in the place of a lost "
            "one would permit what customers refused; restore what is lost, or add --create to make empty ones"
        )
    done = []
    for name, uri in on_servers.items():
        before, after = migrate_store(uri, name, roles=roles)
        done.append(Migrated(store=name, before=before, after=after))
    return done


def shared_roles(project: Project) -> tuple[str, ...]:
    """Returns the databases beside those of the project in which its tenant's group roles have privileges, too.

    Raises:
        StoreError: A server cannot be reached.
    """
    uris = {name: uri for name in STORES if (uri := getattr(project, name)).startswith(f"{POSTGRESQL}:")}
    own = {server_of(uri, store=name).parameters.get("dbname") for name, uri in uris.items()}
    found = {each for name, uri in uris.items() for each in databases_of_roles(uri, name)}
    return tuple(sorted(found - own))


def copy_between(project: Project, store: str, source: str, target: str) -> Copied:
    """Copies a store of the project's tenant from one place to another, and proves that both hold the same.

    Args:
        project: Names the tenant.
        store: Name of the store.
        source: ``sqlite:FILE`` or ``postgresql://…``; paths start from the working folder.
        target: The same; made if it is missing.

    Raises:
        ConfigError: A URI cannot be used.
        PrivacyError: As ``copy_store``.
    """
    places = {"FROM": source, "TO": target}
    for name, uri in places.items():
        if (problem := uri_problem(uri)) is not None:
            raise ConfigError(f"{name}: {problem.rule}; {problem.hint}")
    one, other = (_settled(uri, project.tenant) for uri in places.values())
    if one == other:
        raise ConfigError("FROM and TO are the same store; name another")
    copied = copy_store(store, one, other)
    if store == "vault":
        _copy_list(project, one, other)
    return copied


def _copy_list(project: Project, source: str, target: str) -> None:
    """Has the outputs whose tokens are in a vault known beside its copy, too."""
    with closing(open_known_output_table(_list_of(project, source))) as one:
        outputs, complete = one.all(), one.is_complete
    with closing(open_known_output_table(_list_of(project, target))) as other:
        if isinstance(other, PostgresOutputTable):
            other.take_over(outputs, complete=complete)
            return
        for output in outputs:  # what is on another machine stays known by both its names
            other.put(replace(output, place=output.told, published=True) if output.machine else output)


def _list_of(project: Project, vault: str) -> str:
    """Returns where the list of outputs is that belongs to a vault."""
    return list_beside(vault) if project.outputs == list_beside(project.vault) else project.outputs


def store_status(project: Project, *, now: int) -> dict[str, Any]:
    """Returns what each store of a project holds, in numbers, as the document of ``vault status --json``.

    Args:
        project: Names the stores.
        now: Microseconds UTC, by which what is held back for a legal obligation is over, or lost.

    Raises:
        StoreError: A store is missing or cannot be read.
    """
    document = {name: _of_table(name, opening, getattr(project, name), count) for name, opening, count in _LOOKS}
    follows = document["vault"]["applied"]
    behind = document["ledger"]["entries"] - (0 if follows is None else follows["position"])
    holds = [each.as_json() for each in hold_states(project, now=now)]
    return {**document, "ledger_entries_not_applied": max(0, behind), "held_back": holds}


def _of_table(
    name: str, opening: Callable[[str], Any], uri: str, count: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    kind = uri.partition(":")[0]
    with closing(opening(uri)) as table:  # which refuses every other version
        version = VERSIONS[name] if kind == POSTGRESQL else schema_version(name)
        return {"kind": kind, "schema_version": version, **count(table), "bytes": table.size()}


def _vault(table: Any) -> dict[str, Any]:
    applied = table.applied()
    fields = [
        {"domain": domain, "key_version": version, "entries": entries} for domain, version, entries in table.counts()
    ]
    return {
        "entries": sum(field["entries"] for field in fields),
        "fields": fields,
        "applied": None if applied is None else {"position": applied.position, "at": format_instant(applied.at)},
    }


def _data_keys(table: Any) -> dict[str, Any]:
    living, destroyed = table.counts()
    return {"living": living, "destroyed": destroyed, "days": len(table.day_keys())}


def _chain(table: Any) -> dict[str, Any]:
    last = table.last()
    return {"entries": 0 if last is None else last[0], "head": None if last is None else last[1].hex()}


_LOOKS: tuple[tuple[str, Callable[[str], Any], Callable[[Any], dict[str, Any]]], ...] = (
    ("vault", open_vault_table, _vault),
    ("data_keys", open_data_key_table, _data_keys),
    ("ledger", open_ledger_table, _chain),
    ("access_log", open_access_log_table, _chain),
)


def _is_file(uri: str) -> bool:
    return uri.startswith(f"{SQLITE}:") and Path(uri.partition(":")[2]).exists()


def _settled(uri: str, tenant: str) -> str:
    scheme, _, rest = uri.partition(":")
    return f"{SQLITE}:{Path(rest).absolute()}" if scheme == SQLITE else of_tenant(uri, tenant)

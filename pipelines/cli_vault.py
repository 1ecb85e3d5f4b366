"""``consentry vault``: the stores of a project as an operator sees them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from .cli_options import FLAG, ConfigOption, JsonOption, now_us, open_project, remember_config
from .cli_vault_keeping import rewrap, sweep
from .console import counted, notice, print_json, print_table

__all__ = ["vault_app"]

vault_app = typer.Typer(help="Keep the stores: versions, copies, what they hold.", no_args_is_help=True)
vault_app.callback()(remember_config)
vault_app.command()(sweep)
vault_app.command()(rewrap)


class StoreName(StrEnum):
    """The stores by the names that consentry.yaml gives them."""

    VAULT = "vault"
    DATA_KEYS = "data_keys"
    LEDGER = "ledger"
    ACCESS_LOG = "access_log"


@vault_app.command()
def migrate(
    context: typer.Context,
    roles: Annotated[
        bool, typer.Option("--roles", metavar=FLAG, help="Also make group roles with the least privileges.")
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", metavar=FLAG, help="Also make an empty store where others exist.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Make or update the schemas of the project's stores on PostgreSQL.

    Needs a database user that may create schemas, and roles with --roles. No
    other command needs that much.
    """
    from .store_care import migrate_stores, shared_roles

    project = open_project(context, config)
    done = migrate_stores(project, create=create, roles=roles)
    if roles and (others := shared_roles(project)):
        notice(
            f"the group roles of tenant {project.tenant!r} have privileges in {', '.join(others)}, too: whoever is in "
            "one has it there; where that is another project, give it a tenant of its own",
            style="yellow",
        )
    if json:
        print_json([{"store": each.store, "before": each.before, "after": each.after} for each in done])
        return
    for each in done:
        if each.before == each.after:
            notice(f"{each.store}: is at version {each.after}")
        else:
            notice(f"{each.store}: {'made, empty' if not each.before else 'updated'}, at version {each.after}")
    if not done:
        notice("No store of this project is on PostgreSQL; there is nothing to do.")


@vault_app.command()
def copy(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="sqlite:FILE or postgresql://…, as in consentry.yaml.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; made if it is missing.")],
    store: Annotated[
        StoreName, typer.Option(metavar="NAME", help="vault, data_keys, ledger or access_log.")
    ] = StoreName.VAULT,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a store from one place to another and prove that both hold the same.

    Stop what uses the project first. Needs no key. A copy that was broken off
    goes on when it is run again. Nothing is ever removed from TO. Afterwards
    name TO in consentry.yaml.
    """
    from .store_care import copy_between

    done = copy_between(open_project(context, config), store.value, source, target)
    if json:
        print_json({"store": store.value, "entries": done.entries, "copied": done.copied, "digest": done.digest})
    else:
        notice(
            f"{store.value}: {done.entries:,} entries, the same on both sides; {done.copied:,} were new", style="green"
        )


@vault_app.command()
def status(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what the stores hold, in numbers. Needs no key."""
    from .held_values import lost_words
    from .store_care import store_status

    found = store_status(open_project(context, config), now=now_us())
    if json:
        print_json(found)
        return
    stores = ("vault", "data_keys", "ledger", "access_log")
    rows = [(name, found[name]["kind"], found[name]["schema_version"], _held(found[name])) for name in stores]
    sizes = [found[name]["bytes"] for name in stores]
    columns = ("store", "kind", "version", "holds", "bytes")
    print_table("Stores", columns, [(*row, size) for row, size in zip(rows, sizes, strict=True)])
    print_table(
        "Vault", ("domain", "key version", "entries"), [tuple(row.values()) for row in found["vault"]["fields"]]
    )
    applied = found["vault"]["applied"]
    if applied is not None:
        newer = counted(found["ledger_entries_not_applied"], "is", "are")
        notice(f"The vault has followed the ledger to entry {applied['position']:,}; {newer} newer.")
    if held := found["held_back"]:
        print_table("Held back for legal obligations", tuple(held[0]), [tuple(each.values()) for each in held])
    for each in held:
        if each["lost"]:
            notice(lost_words(each["case"], each["what"]), style="red")


def _held(store: dict[str, Any]) -> str:
    if "living" in store:
        return f"{store['living']:,} keys, {store['destroyed']:,} destroyed, {store['days']:,} of days"
    return f"{store['entries']:,} entries"

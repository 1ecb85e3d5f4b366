"""``consentry policy``: check a policy, have it explain itself, compare two."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import ConfigError, PolicyError
from .cli_options import ConfigOption, JsonOption, UnusedConfigOption, open_project, remember_config
from .console import notice, print_json, print_text

if TYPE_CHECKING:
    from ..schemas.policy import Policy

__all__ = ["policy_app"]

policy_app = typer.Typer(help="Check, explain and compare policies.", no_args_is_help=True)
policy_app.callback()(remember_config)

PolicyArgument = Annotated[
    Path | None, typer.Argument(metavar="POLICY", help="A policy file. Default: the one of the configuration.")
]


class Audience(StrEnum):
    """Whom an explanation is for."""

    CUSTOMER = "customer"
    STAFF = "staff"
    ENGINEER = "engineer"


@policy_app.command()
def check(
    context: typer.Context, policy: PolicyArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Check a policy and report every problem at once, as FILE:LINE: PATH: RULE; HINT."""
    try:
        read = _read(context, policy, config)
    except PolicyError as error:
        if json:
            print_json({"ok": False, "problems": [asdict(problem) for problem in error.problems]})
        raise
    if json:
        print_json({"ok": True, "digest": read.digest, "datasets": sorted(read.datasets)})
    else:
        notice(
            f"The policy is sound: {len(read.purposes)} purposes, {len(read.info_types)} info types, "
            f"{len(read.datasets)} datasets.",
            style="green",
        )


@policy_app.command()
def explain(
    context: typer.Context,
    audience: Annotated[
        Audience, typer.Option("--for", metavar="WHOM", help="Whom the text is for: customer, staff or engineer.")
    ],
    policy: PolicyArgument = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say in whole sentences what the policy means for a customer, for staff or for an engineer."""
    from ..schemas.policy_text import explain_policy

    text = explain_policy(_read(context, policy, config), audience.value).rstrip("\n")
    if json:
        print_json({"for": audience.value, "text": text})
    else:
        print_text(text)


@policy_app.command()
def schema(config: UnusedConfigOption = None, json: JsonOption = False) -> None:
    """Print the JSON Schema of the policy language, by which editors complete and check."""
    from ..schemas.policy_file import policy_json_schema

    print_json(policy_json_schema())


@policy_app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The policy as it was.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policy as it will be.")],
    config: UnusedConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what a change of policy means for customers, staff and engineers."""
    from ..schemas.policy_diff import diff_policies
    from ..schemas.policy_file import read_policy

    changes = diff_policies(read_policy(old), read_policy(new))
    if json:
        print_json([change.as_json() for change in changes])
    elif not changes:
        print_text("Nothing changes for anyone.")
    else:
        print_text("\n".join(str(change) for change in changes))


def _read(context: typer.Context, policy: Path | None, config: Path | None) -> Policy:
    from ..schemas.policy_file import read_policy

    if policy is None:
        policy = open_project(context, config).policy
    if not policy.exists():
        raise ConfigError(f"{policy}: there is no such policy file; name one, or run `consentry init DIR`")
    return read_policy(policy)

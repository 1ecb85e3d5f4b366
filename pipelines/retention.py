"""What time has run out for: values of the vault and keys of dead letters, at the start of a run and by command."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.access.detokenize import oldest_kept
from ..transforms.stores.data_keys import DataKeys, open_data_keys
from ..transforms.stores.vault import Vault, open_vault
from .desk import check_stores
from .keyring_files import open_vault_keys

__all__ = ["Swept", "sweep_expired", "sweep_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was removed.

    Attributes:
        day_keys: Keys of dead letters that were destroyed.
        values: Entries that were removed from the vault.
        clean: Whether nothing of removed values is left in the files of the vault; True where nobody looked.
    """

    day_keys: int
    values: int
    clean: bool = True


def sweep_expired(data_keys: DataKeys, vault: Vault | None, policy: Policy, now: int) -> Swept:
    """Destroys keys of dead letters and removes values whose time is over.

    Args:
        data_keys: Of the project.
        vault: Of the project; None where it is not open.
        policy: Has the times.
        now: Microseconds UTC, by the clock.

    Raises:
        StoreError: A store cannot be written, or a reader keeps destroyed keys in the files.
    """
    keys = data_keys.sweep(now)
    return Swept(day_keys=keys, values=0 if vault is None else vault.sweep(oldest_kept(policy, now)))


def sweep_project(project: Project, now: int) -> Swept:
    """Does at once what each run does when it begins, and sees to it that the files are clean.

    Raises:
        StoreMissingError: A store is missing.
        PrivacyError: Policy, keys or stores cannot be used.
    """
    policy = read_policy(project.policy)
    keys = open_vault_keys(project)
    check_stores(project, ("data_keys", "vault"))
    with (
        closing(open_data_keys(project.data_keys, keys)) as data_keys,
        closing(open_vault(project.vault, keys, data_keys)) as vault,
    ):
        swept = sweep_expired(data_keys, vault, policy, now)
        # Even where nothing was: another program may have been held up by a reader after it removed some.
        return Swept(day_keys=swept.day_keys, values=swept.values, clean=vault.forget_removed())

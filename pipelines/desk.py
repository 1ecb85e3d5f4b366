"""Opens the stores of a project and the desk that detokenizes from them. Never imports Beam.

The desk unwraps the ``vault`` key set alone: it works, by design, where ``token`` cannot be unwrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa

from ..schemas.errors import KeyringError, StoreMissingError
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..schemas.store_uri import told_store
from ..transforms.access.detokenize import Desk, distribution_rules, oldest_kept
from ..transforms.crypto.cmac_columns import ColumnCmac
from ..transforms.crypto.envelope import associated_data, text_fields
from ..transforms.crypto.key_sets import VaultKeys
from ..transforms.crypto.subject_references import subject_references
from ..transforms.stores.access_log import open_access_log
from ..transforms.stores.consent_ledger import ConsentLedger, open_ledger
from ..transforms.stores.data_keys import DataKeys, open_data_keys
from ..transforms.stores.open_tables import open_data_key_table
from ..transforms.stores.vault import Vault, open_vault
from ..transforms.values.masking import masked
from ..transforms.values.token_spelling import canonical_tokens
from .checkpoints import Checkpoints
from .keyring_files import create_keys, open_keyring, open_vault_keys, rotate_keys

__all__ = [
    "STORES",
    "Stores",
    "check_no_keys_stored",
    "check_stores",
    "create_keys",
    "create_stores",
    "distribution_rules",
    "oldest_kept",
    "open_desk",
    "open_keyring",
    "open_stores",
    "rotate_keys",
]

STORES = ("data_keys", "ledger", "vault")


@dataclass(slots=True, kw_only=True)
class Stores:
    """The open stores of a project; close them, or use them in a ``with`` block."""

    keys: VaultKeys
    data_keys: DataKeys
    ledger: ConsentLedger
    vault: Vault
    _closing: ExitStack = field(default_factory=ExitStack, repr=False)

    def close(self) -> None:
        """Closes all of them."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_stores(project: Project, vault_keys: VaultKeys | None = None, *, create: bool = False) -> Stores:
    """Returns the project's ledger, data keys and vault, opened with the vault key set.

    Args:
        project: Names the stores and, where ``vault_keys`` is None, the keyring and its KEK.
        vault_keys: Already unlocked.
        create: Whether missing stores are made.

    Raises:
        StoreMissingError: A store is missing.
        StoreError: A store is damaged or locked.
        KekError: The vault key set cannot be unwrapped.
    """
    keys = vault_keys if vault_keys is not None else open_vault_keys(project)
    if not create:
        check_stores(project)
    with ExitStack() as opening:
        data_keys = opening.enter_context(closing(open_data_keys(project.data_keys, keys, create=create)))
        ledger = opening.enter_context(closing(open_ledger(project.ledger, keys, data_keys, create=create)))
        vault = opening.enter_context(closing(open_vault(project.vault, keys, data_keys, create=create)))
        return Stores(keys=keys, data_keys=data_keys, ledger=ledger, vault=vault, _closing=opening.pop_all())


def check_stores(project: Project, names: Iterable[str] = STORES) -> None:
    """Refuses a project whose stores are not all there, before any of them is opened.

    Only files are looked for; whether a server has its stores shows when it is asked.

    Args:
        project: Names the stores.
        names: Which of them are needed; the access log is for who detokenizes.

    Raises:
        StoreMissingError: Names all that are missing.
    """
    files = {name: getattr(project, name).partition(":") for name in names}
    missing = [
        f"{file}: the {told_store(name)} is missing; restore it, or begin a project with `consentry init`"
        for name, (scheme, _, file) in files.items()
        if scheme == "sqlite" and not Path(file).exists()
    ]
    if missing:
        raise StoreMissingError("\n".join(missing))


def check_no_keys_stored(project: Project) -> None:
    """Refuses a new keyring where data keys of another are stored: they, and all that they seal, could not be read.

    Raises:
        KeyringError: There are some.
        StoreError: The store cannot be read.
    """
    if project.data_keys.startswith("sqlite:") and not Path(project.data_keys.partition(":")[2]).exists():
        return
    try:
        with closing(open_data_key_table(project.data_keys)) as table:
            stored = sum(table.headers().values())
    except StoreMissingError:
        return
    if stored:
        raise KeyringError(
            f"{project.keyring}: the store of data keys holds {stored} that another keyring wraps, and with a new one "
            "nothing of them could be read; bring the keyring back with `consentry keys restore`, or name new stores",
            reason="keyring_lost",
        )


def create_stores(project: Project, vault_keys: VaultKeys | None = None) -> None:
    """Creates the stores that the project names and that do not exist yet, empty and ready.

    Args:
        project: Names them.
        vault_keys: Already unlocked.

    Raises:
        StoreError: A store cannot be created.
        KekError: The vault key set cannot be unwrapped.
    """
    from .known_outputs import open_known_outputs

    with ExitStack() as opened:
        opened.enter_context(open_stores(project, vault_keys, create=True))
        opened.enter_context(closing(open_access_log(project.access_log, create=True)))
        opened.enter_context(closing(open_known_outputs(project)))


def open_desk(project: Project, *, clock: Callable[[], int]) -> Desk:
    """Returns the desk of a project: the vault key set is unwrapped, ``token`` is not touched.

    When a checkpoint of the access log is due, ``proof`` is unwrapped to sign it; where that cannot be, it is told, and
    the answer is given all the same.

    Args:
        project: Names policy, stores, keyring and actors.
        clock: The time now, microseconds UTC.

    Raises:
        PolicyError: The policy breaks its rules.
        KekError: The vault key set cannot be unwrapped.
        StoreMissingError: A store is missing.
        StoreError: A store is damaged or locked.
    """
    policy = read_policy(project.policy)
    check_stores(project, (*STORES, "access_log"))
    with ExitStack() as opening:
        stores = opening.enter_context(open_stores(project))
        access_log = opening.enter_context(closing(open_access_log(project.access_log)))
        checkpoints = opening.enter_context(Checkpoints(project, clock=clock))
        reference_key = stores.keys.reference_key
        token_references = ColumnCmac(stores.keys.derive_root("access-log"))

        def reference_tokens(domain: str, texts: Sequence[str]) -> list[bytes]:
            named = associated_data(domain)
            told = [named + text for text in text_fields(texts)]
            digests = token_references.digest(pa.array(told, pa.binary())).tobytes()
            return [digests[start : start + 16] for start in range(0, len(digests), 16)]

        def reference_subjects(subjects: Sequence[str]) -> list[bytes | None]:
            found: list[bytes | None] = subject_references(pa.array(subjects, pa.string()), reference_key).to_pylist()
            return found

        return Desk(
            policy=policy,
            vault=stores.vault,
            ledger=stores.ledger,
            access_log=access_log,
            actors=project.actors,
            canonical_tokens=canonical_tokens,
            mask=masked,
            reference_subjects=reference_subjects,
            reference_tokens=reference_tokens,
            clock=clock,
            logged=lambda position: checkpoints.appended("access_log", position),
            close=opening.pop_all().close,
        )

"""The keys of a project on disk: creates them, opens them, adds versions. Never imports Beam."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..schemas.errors import ConfigError, KeyringError
from ..schemas.project import Project
from ..transforms.crypto.kek import Kek
from ..transforms.crypto.kek_local import create_key_file
from ..transforms.crypto.key_sets import ProofKeys, TokenKeys, VaultKeys
from ..transforms.crypto.keyring import Keyring, KeySet
from ..transforms.crypto.open_kek import open_kek

__all__ = [
    "alone_with_keyring",
    "create_keys",
    "create_missing_key_files",
    "kek_uri",
    "open_keyring",
    "open_project_kek",
    "open_proof_keys",
    "open_token_keys",
    "open_vault_keys",
    "rotate_keys",
    "write_trust",
]

FILE_SCHEME = "file:"


def create_keys(project: Project, *, now: int) -> VaultKeys:
    """Writes the key files that are named but missing, the keyring, and the trust file with its public keys.

    The keyring is written only when the set ``vault`` has been opened again: no store works without it.

    Args:
        project: Names all the files; its keyring must not exist.
        now: Microseconds UTC, the keys' creation time.

    Returns:
        The vault keys, for the stores that are made next.

    Raises:
        KeyringError: The keyring or trust file exists, or cannot be written.
        KekError: A KEK cannot be made or used.
    """
    for path in (project.keyring, project.trust):
        if path.exists():
            raise KeyringError(f"{path}: exists, and keys are never overwritten; name another path")
    uris = {key_set: kek_uri(project, key_set) for key_set in KeySet}
    create_missing_key_files(project, uris.values())
    opened = {uri: open_kek(uri, project.root) for uri in set(uris.values())}
    keks = {key_set: opened[uri] for key_set, uri in uris.items()}
    keyring = Keyring.create(project.tenant, keks, now=now)
    vault_keys = keyring.unlock_vault(keks[KeySet.VAULT])
    keyring.save(project.keyring)
    write_trust(project.trust, keyring)
    return vault_keys


def create_missing_key_files(project: Project, uris: Iterable[str]) -> None:
    """Writes the key files among ``uris`` that do not exist.

    Raises:
        KekError: One cannot be written.
    """
    for uri in sorted(set(uris)):
        path = project.root / uri.removeprefix(FILE_SCHEME)
        if uri.startswith(FILE_SCHEME) and not path.exists():
            create_key_file(path)


def open_keyring(project: Project) -> Keyring:
    """Returns the project's keyring, all sets still wrapped.

    Raises:
        KeyringError: The keyring is missing, damaged, or another tenant's.
    """
    keyring = Keyring.load(project.keyring)
    if keyring.tenant != project.tenant:
        raise KeyringError(
            f"{project.keyring}: belongs to tenant {keyring.tenant!r}, not {project.tenant!r}; name the right keyring"
        )
    return keyring


@contextmanager
def alone_with_keyring(project: Project) -> Iterator[None]:
    """Keeps programs apart that read a keyring to change it; each waits for the one before."""
    try:
        folder = os.open(project.keyring.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise KeyringError(f"{project.keyring}: its folder cannot be read ({error.strerror})") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def open_project_kek(project: Project, key_set: KeySet) -> Kek:
    """Returns the KEK that the project names for one key set; others are not touched.

    Raises:
        ConfigError: The project names none for this set.
        KekError: It is missing or unsafe.
    """
    return open_kek(kek_uri(project, key_set), project.root)


def open_token_keys(project: Project) -> TokenKeys:
    """Returns the project's token keys; raises ``KekError``, ``KeyringError`` or ``IntegrityError``."""
    return open_keyring(project).unlock_token(open_project_kek(project, KeySet.TOKEN))


def open_vault_keys(project: Project) -> VaultKeys:
    """Returns the project's vault keys; raises ``KekError``, ``KeyringError`` or ``IntegrityError``."""
    return open_keyring(project).unlock_vault(open_project_kek(project, KeySet.VAULT))


def open_proof_keys(project: Project) -> ProofKeys:
    """Returns the project's signing keys; raises ``KekError``, ``KeyringError`` or ``IntegrityError``."""
    return open_keyring(project).unlock_proof(open_project_kek(project, KeySet.PROOF))


def rotate_keys(project: Project, key_set: str, *, now: int) -> int:
    """Adds a primary version to one key set on disk and returns its number.

    Raises:
        KeyringError: The keyring cannot be read or written, or no version is free.
        KekError: The set's KEK does not open it.
    """
    rotated = KeySet(key_set)
    with alone_with_keyring(project):
        keyring = open_keyring(project).rotate(rotated, open_project_kek(project, rotated), now)
        keyring.save(project.keyring, overwrite=True)
    return max(status.version for status in keyring.status() if status.key_set is rotated)


def kek_uri(project: Project, key_set: KeySet) -> str:
    """Returns the URI of the KEK that the project names for a key set.

    Raises:
        ConfigError: It names none.
    """
    for name, uri in project.kek.items():
        if name == key_set.value:
            return uri
    raise ConfigError(f"kek: names none for the key set {key_set.value!r}, which this command needs; add one")


def write_trust(path: Path, keyring: Keyring) -> None:
    """Writes the public keys of a keyring to a new file.

    Raises:
        KeyringError: The file exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(keyring.public_keys().dumps())
    except OSError as error:
        raise KeyringError(f"{path}: trust file cannot be written ({error.strerror})") from None

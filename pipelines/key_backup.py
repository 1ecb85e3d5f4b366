"""A copy of a keyring for the day when keyring or KEK are lost, wrapped by a KEK of its own; and the way back.

Whoever loses the keyring, or what wraps it, loses every vaulted value and the way from one token version to the next.
A backup is a keyring file like any other, so that nothing but its KEK opens it: keep the two apart, and both apart from
the stores.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from ..schemas.errors import KeyringError
from ..schemas.project import Project
from ..transforms.crypto.kek import Kek
from ..transforms.crypto.keyring import Keyring, KeySet
from .desk import open_stores
from .keyring_files import (
    alone_with_keyring,
    create_missing_key_files,
    kek_uri,
    open_keyring,
    open_project_kek,
    write_trust,
)
from .known_outputs import open_known_outputs

__all__ = ["back_up_keyring", "restore_keyring"]


def back_up_keyring(project: Project, to: Path, kek: Kek) -> None:
    """Writes all key sets to a new file, wrapped by another KEK, and checks that it opens them.

    Args:
        project: Names keyring and KEKs; all sets must open.
        to: Must not exist.
        kek: Of the backup alone.

    Raises:
        KeyringError: The file exists or cannot be written, or the keyring cannot be read.
        KekError: A KEK cannot be used.
    """
    keyring = open_keyring(project)
    for key_set in KeySet:
        keyring = keyring.rewrap(key_set, open_project_kek(project, key_set), kek)
    keyring.save(to)
    _check_opens(Keyring.load(to), kek)


def restore_keyring(project: Project, source: Path, kek: Kek, *, accept_loss: bool = False) -> None:
    """Writes the project's keyring from a backup, wrapped by the project's KEKs; key files that are missing are made.

    Args:
        project: Names keyring, KEKs and trust file.
        source: A backup.
        kek: That wraps it.
        accept_loss: Whether to go on although vault or outputs need versions that the backup does not know.

    Raises:
        KeyringError: The backup is damaged, another tenant's, or older than what is there; nothing was done.
        KekError: A KEK cannot be used; nothing was done.
    """
    with alone_with_keyring(project):
        _restore(project, source, kek, accept_loss=accept_loss)


def _restore(project: Project, source: Path, kek: Kek, *, accept_loss: bool) -> None:
    keyring = Keyring.load(source)
    if keyring.tenant != project.tenant:
        raise KeyringError(f"{source}: belongs to tenant {keyring.tenant!r}, not {project.tenant!r}; name its backup")
    _check_opens(keyring, kek)
    _check_not_older(project, keyring)
    create_missing_key_files(project, [kek_uri(project, key_set) for key_set in KeySet])
    for key_set in KeySet:
        keyring = keyring.rewrap(key_set, kek, open_project_kek(project, key_set))
    if not accept_loss:
        _check_complete(project, keyring, source)
    keyring.save(project.keyring, overwrite=True)
    if not project.trust.exists():
        write_trust(project.trust, keyring)


def _check_opens(keyring: Keyring, kek: Kek) -> None:
    keyring.unlock_token(kek)
    keyring.unlock_vault(kek)
    keyring.unlock_proof(kek)


def _check_not_older(project: Project, backup: Keyring) -> None:
    """Refuses to take versions, or their ends, out of the keyring that is there, if that can be read at all."""
    try:
        present = open_keyring(project)
    except KeyringError:
        return
    for key_set in KeySet:
        there, kept = present.sets[key_set].versions, backup.sets[key_set].versions
        if [each.created_at for each in there] != [each.created_at for each in kept[: len(there)]]:
            raise KeyringError(
                f"{project.keyring}: has versions of the key set {key_set.value!r} that the backup does not know; "
                "move the file aside if it is really to be replaced, and run again"
            )


def _check_complete(project: Project, keyring: Keyring, source: Path) -> None:
    newest = max(status.version for status in keyring.status() if status.key_set is KeySet.TOKEN)
    vault_keys = keyring.unlock_vault(open_project_kek(project, KeySet.VAULT))
    with open_stores(project, vault_keys) as stores, closing(open_known_outputs(project)) as known:
        versions = {version for _, version in stores.vault.counts()}
        versions |= {version for output in known.all() for version in output.versions.values()}
        wrapped = {*stores.data_keys.versions()} - {*vault_keys.versions}
    lost = sorted(version for version in versions if version > newest)
    if lost or wrapped:
        raise KeyringError(
            f"{source}: is older than the stores: vault, data keys or outputs are of versions that it does not know "
            f"(token {lost or 'none'}, vault {sorted(wrapped) or 'none'}); find a newer backup, or add --accept-loss "
            "and lose what they hold",
            reason="backup_too_old",
        )

"""A copy of a keyring for the day when keyring or KEK are lost, wrapped by a KEK of its own; and the way back.

Whoever loses the keyring, or what wraps it, loses every vaulted value and the way from one token version to the next.
A backup is a keyring file like any other, so that nothing but its KEK opens it: keep the two apart, and both apart from
the stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from ..schemas.errors import KekError, KekUnavailableError, KeyringError
from ..schemas.project import Project
from ..transforms.crypto.kek import Kek
from ..transforms.crypto.key_sets import PublicKeys
from ..transforms.crypto.keyring import Keyring, KeySet, KeyState
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
        KekError: A KEK cannot be used, or that of the backup wraps the keyring itself; nothing was done.
    """
    keyring = open_keyring(project)
    _check_apart(keyring, kek)
    for key_set in KeySet:
        keyring = keyring.rewrap(key_set, open_project_kek(project, key_set), kek)
    keyring.save(to)
    _check_opens(Keyring.load(to), kek)


def restore_keyring(project: Project, source: Path, kek: Kek, *, now: int, accept_loss: bool = False) -> None:
    """Writes the project's keyring from a backup, wrapped by the project's KEKs; key files that are missing are made.

    Args:
        project: Names keyring, KEKs and trust file.
        source: A backup.
        kek: That wraps it.
        now: Microseconds UTC.
        accept_loss: Whether to go on although vault or outputs need versions that the backup does not know.

    Raises:
        KeyringError: The backup is damaged, another tenant's, or older than what is there; nothing was done.
        KekError: A KEK cannot be used; nothing was done.
    """
    with alone_with_keyring(project):
        _restore(project, source, kek, now=now, accept_loss=accept_loss)


def _restore(project: Project, source: Path, kek: Kek, *, now: int, accept_loss: bool) -> None:
    keyring = Keyring.load(source)
    if keyring.tenant != project.tenant:
        raise KeyringError(f"{source}: belongs to tenant {keyring.tenant!r}, not {project.tenant!r}; name its backup")
    _check_opens_backup(keyring, kek, source)
    keyring = _with_ends(_checked_present(project, keyring), keyring, kek)
    _check_trusted(project, keyring, source)
    lost = _lost(project, keyring, kek, source)
    if any(lost.values()):
        if not accept_loss:
            raise _too_old(source, lost)
        keyring = _without_lost_numbers(keyring, kek, lost, now)
    # Only now: a refusal leaves nothing behind, not even a key file.
    create_missing_key_files(project, [kek_uri(project, key_set) for key_set in KeySet])
    for key_set in KeySet:
        keyring = keyring.rewrap(key_set, kek, open_project_kek(project, key_set))
    keyring.save(project.keyring, overwrite=True)
    if not project.trust.exists():
        write_trust(project.trust, keyring)


def _check_apart(keyring: Keyring, kek: Kek) -> None:
    """Refuses a KEK that wraps the keyring itself: whoever loses it would lose both."""
    for key_set, unlock in zip(KeySet, (keyring.unlock_token, keyring.unlock_vault, keyring.unlock_proof), strict=True):
        with suppress(KekError):
            unlock(kek)
            raise KeyringError(
                f"--kek: it wraps the key set {key_set.value!r} of the keyring itself, so that who loses it loses "
                "keyring and backup; name one of the backup's own, as passphrase:env:NAME; nothing was done",
                reason="kek_not_apart",
            )


def _check_opens(keyring: Keyring, kek: Kek) -> None:
    keyring.unlock_token(kek)
    keyring.unlock_vault(kek)
    keyring.unlock_proof(kek)


def _check_opens_backup(keyring: Keyring, kek: Kek, source: Path) -> None:
    """Refuses a KEK that does not open the backup, by the option that named it."""
    try:
        _check_opens(keyring, kek)
    except KekUnavailableError:
        raise
    except KekError:
        raise KekError(
            f"--kek: does not open {source}: name what wrapped this backup when it was made, not the KEK of the "
            "project; nothing was done"
        ) from None


def _checked_present(project: Project, backup: Keyring) -> Keyring | None:
    """Returns the keyring that is there, if it can be read; refuses to take versions out of it."""
    try:
        present = open_keyring(project)
    except KeyringError:
        return None
    for key_set in KeySet:
        there, kept = present.sets[key_set].versions, backup.sets[key_set].versions
        if [each.created_at for each in there] != [each.created_at for each in kept[: len(there)]]:
            raise KeyringError(
                f"{project.keyring}: has versions of the key set {key_set.value!r} that the backup does not know; "
                "move the file aside if it is really to be replaced, and run again"
            )
    return present


def _with_ends(present: Keyring | None, backup: Keyring, kek: Kek) -> Keyring:
    """Returns a backup in which what has been disabled or destroyed since is so again."""
    for status in () if present is None else present.status():
        kept = backup.sets[status.key_set].versions[status.version - 1].state
        if status.state in (KeyState.DISABLED, KeyState.DESTROYED) and kept not in (status.state, KeyState.DESTROYED):
            backup = backup.change_state(status.key_set, status.version, status.state, kek)
    return backup


def _check_trusted(project: Project, backup: Keyring, source: Path) -> None:
    """Refuses the keyring of another project, whose tenant has the same name."""
    if not project.trust.exists():
        return
    ours = {(key.version, key.use): key.value for key in backup.public_keys().keys}
    trusted = PublicKeys.load(project.trust).keys
    if any(ours.get((key.version, key.use), key.value) != key.value for key in trusted):
        raise KeyringError(
            f"{source}: its public keys are not those of {project.trust}, so it is the keyring of another project; "
            "name the backup of this one"
        )


def _lost(project: Project, keyring: Keyring, kek: Kek, source: Path) -> dict[KeySet, set[int]]:
    """Returns the versions that vault, outputs and data keys are of and that a keyring does not know.

    Raises:
        KeyringError: No data key opens: it is the keyring of another project.
    """
    known = {key_set: {each.version for each in keyring.sets[key_set].versions} for key_set in KeySet}
    vault_keys = keyring.unlock_vault(kek)
    with open_stores(project, vault_keys) as stores, closing(open_known_outputs(project)) as outputs:
        used = {version for _, version in stores.vault.counts()}
        used |= {version for output in outputs.all() for _, version in output.needs}
        wrapped = {*stores.data_keys.versions()}
        if not stores.data_keys.opens_some():
            raise KeyringError(
                f"{source}: opens no data key of {project.data_keys.partition(':')[2] or 'the store'}, so it is the "
                "keyring of another project; name the backup of this one"
            )
    return {KeySet.TOKEN: used - known[KeySet.TOKEN], KeySet.VAULT: wrapped - known[KeySet.VAULT]}


def _too_old(source: Path, lost: Mapping[KeySet, set[int]]) -> KeyringError:
    told = ", ".join(f"{key_set.value} {sorted(versions) or 'none'}" for key_set, versions in lost.items())
    return KeyringError(
        f"{source}: is older than the stores: vault, data keys or outputs are of versions that it does not know "
        f"({told}); find a newer backup, or add --accept-loss and lose what they hold",
        reason="backup_too_old",
    )


def _without_lost_numbers(keyring: Keyring, kek: Kek, lost: Mapping[KeySet, set[int]], now: int) -> Keyring:
    """Returns a keyring in which the numbers of lost versions are destroyed ones, so that no new key ever has them."""
    for key_set, versions in lost.items():
        while versions and keyring.sets[key_set].versions[-1].version <= max(versions):
            keyring = keyring.rotate(key_set, kek, now)
        for version in sorted(versions):
            keyring = keyring.change_state(key_set, version, KeyState.DESTROYED, kek)
    return keyring

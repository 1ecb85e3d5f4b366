"""Moves the key sets of a keyring from one key-encryption key to another; the keys stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..schemas.errors import KekError
from ..schemas.project import KeySetName, Project
from ..transforms.crypto.kek import Kek
from ..transforms.crypto.keyring import Keyring, KeySet
from ..transforms.crypto.open_kek import open_kek
from .keyring_files import alone_with_keyring, create_missing_key_files, open_keyring, open_project_kek

__all__ = ["rewrap_keys"]


def rewrap_keys(project: Project, key_sets: Iterable[KeySetName], kek: Mapping[KeySetName, str]) -> None:
    """Writes the keyring with some sets wrapped by other KEKs; it is exchanged at one moment.

    Nothing is written unless each new KEK opens what it has wrapped, so that nobody locks himself out. A set that its
    new KEK wraps already, because an earlier attempt was killed before the configuration was written, stays.

    Args:
        project: With the KEKs that wrap the sets now.
        key_sets: Which sets.
        kek: The new KEK of each; key files that are named but missing are made.

    Raises:
        KekError: A KEK cannot be used, or does not open its set.
        KeyringError: The keyring cannot be read or written.
        IntegrityError: A set was changed.
    """
    names = tuple(key_sets)
    create_missing_key_files(project, (kek[name] for name in names))
    opened = {uri: open_kek(uri, project.root) for uri in {kek[name] for name in names}}
    with alone_with_keyring(project):
        keyring = open_keyring(project)
        for name in names:
            keyring = _rewrapped(project, keyring, KeySet(name), opened[kek[name]])
        keyring.save(project.keyring, overwrite=True)


def _rewrapped(project: Project, keyring: Keyring, key_set: KeySet, new: Kek) -> Keyring:
    try:
        rewrapped = keyring.rewrap(key_set, open_project_kek(project, key_set), new)
    except KekError:
        if _opens(keyring, key_set, new):
            return keyring
        raise
    rewrapped.check(key_set, new)
    return rewrapped


def _opens(keyring: Keyring, key_set: KeySet, kek: Kek) -> bool:
    try:
        keyring.check(key_set, kek)
    except KekError:
        return False
    return True

"""Takes versions of a key set out of use, and back; refuses while something still needs them, and says what.

What needs a version of ``token`` are the vault's entries and the outputs that the project knows of: both move by
``retokenize``. What needs one of ``vault`` are the data keys that it wraps: they move by ``vault rewrap``. Nothing
needs an old version of ``proof``: its public key stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from ..schemas.errors import KeyringError, OutputError
from ..schemas.project import Project
from ..transforms.crypto.keyring import Keyring, KeySet, KeyState
from .desk import open_stores
from .keyring_files import alone_with_keyring, open_keyring, open_project_kek
from .known_outputs import KnownOutput, open_known_outputs
from .streams.output import is_at_engine, is_stream_output, open_stream_output

__all__ = ["change_key_state", "checked_change", "needs_of_version"]

SHOWN = 10
NEXT_STEP = {
    KeySet.TOKEN: "run `consentry retokenize DIR` for each output named; `consentry outputs forget DIR` for one that "
    "does not exist any more",
    KeySet.VAULT: "run `consentry vault rewrap`",
}


def change_key_state(project: Project, key_set: KeySet, version: int, state: KeyState) -> None:
    """Makes a version that is not primary disabled, destroyed, or active again.

    Args:
        project: Names keyring, stores and the list of outputs.
        key_set: The set.
        version: Of it.
        state: Not primary.

    Raises:
        KeyringError: The version is unknown, primary or destroyed, or still needed; nothing was done.
        KekError: The KEK does not open the set.
        StoreError: A store cannot be asked.
    """
    with alone_with_keyring(project):
        checked_change(project, key_set, version, state).save(project.keyring, overwrite=True)


def checked_change(project: Project, key_set: KeySet, version: int, state: KeyState) -> Keyring:
    """Returns the keyring as ``change_key_state`` would write it; arguments and errors as there."""
    changed = open_keyring(project).change_state(key_set, version, state, open_project_kek(project, key_set))
    needs = [] if state is KeyState.ACTIVE else list(needs_of_version(project, key_set, version))
    if needs:
        raise KeyringError(
            f"keyring: {key_set} version {version} is still needed, so it was not {state}:\n"
            + "\n".join(f"  * {need}" for need in needs[:SHOWN])
            + (f"\n  * and {len(needs) - SHOWN} more" if len(needs) > SHOWN else "")
            + f"\n{NEXT_STEP[key_set]}",
            reason="version_needed",
        )
    return changed


def needs_of_version(project: Project, key_set: KeySet, version: int) -> Iterator[str]:
    """Yields what still needs a version of a key set, for people.

    Raises:
        StoreError: A store cannot be asked.
    """
    if key_set is KeySet.PROOF:
        return
    with open_stores(project) as stores:
        if key_set is KeySet.VAULT:
            count = stores.data_keys.versions().get(version, 0)
            if count:
                yield f"{count} data keys are wrapped under it"
            yield from _at_work(project)
            return
        for (domain, used), count in sorted(stores.vault.counts().items()):
            if used == version:
                yield f"the vault holds {count} entries of domain {domain!r} under it"
    with closing(open_known_outputs(project)) as known:
        yield from (_told(output) for output in known.all() if version in {used for _, used in output.needs})


def _at_work(project: Project) -> Iterator[str]:
    """Yields the runs and streams that are at work: they wrap new data keys under the version that they began with."""
    with closing(open_known_outputs(project)) as known:
        for output in known.all():
            if not output.published or (not output.machine and _streams(output.place)):
                yield f"a run that is at work on {output.told} ({output.dataset}) may still make data keys under it"


def _streams(place: str) -> bool:
    if is_at_engine(place):
        return True
    if not is_stream_output(place):
        return False
    try:
        with open_stream_output(place):
            return False
    except OutputError:
        return True


def _told(output: KnownOutput) -> str:
    what = f"the output {output.told}" if output.published else f"a run that is at work on {output.told}"
    return f"{what} ({output.dataset}) has tokens of it"

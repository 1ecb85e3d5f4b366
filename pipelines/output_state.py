"""A state of an output that a command works on and then replaces by the next one, as its readers see it at one moment.

A local output is exchanged by one system call, and only if it still is the state that was read; files that stay are
hard links. Several commands do so (replays of dead letters, rewritings), and no two of them at once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..schemas.errors import ConfigError, IntegrityError, OutputError, RunError
from ..schemas.manifest import MANIFEST_NAME, Manifest, OutputFile
from ..schemas.project import Project
from ..transforms.crypto.key_sets import ProofKeys, PublicKeys
from .engines.settings import is_engine_output
from .exchange import exchange_folders
from .letters import LetterOutput, open_letter_output
from .manifest_file import sign_manifest
from .publication import FILE_SCHEME, LocalPublication, has_unpublished, is_local, remove_abandoned
from .verify import verify_output

__all__ = ["alone_in", "check_still", "exchange_state", "is_being_written", "sound_output"]


@contextmanager
def alone_in(out: str) -> Iterator[None]:
    """Keeps two commands that replace the state of one local output apart.

    Raises:
        ConfigError: There is no such folder.
        OutputError: Another command is at work there.
    """
    try:
        lock = os.open(_folder(out), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be read ({error.strerror}); name an output of `consentry protect`") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{out}: another replay or rewriting is at work there; wait until it is done") from None
        yield
    finally:
        os.close(lock)


def sound_output(project: Project, out: str) -> LetterOutput:
    """Returns an output that is as it was signed: what a new manifest vouches for must be true before.

    Raises:
        ConfigError: There is no such output.
        IntegrityError: It is not as its run left it, or not signed by a trusted key.
    """
    if is_engine_output(out):
        raise ConfigError(f"{out}: a stream on an engine writes it; stop the job, then `consentry stream close {out}`")
    trust = PublicKeys.load(project.trust)
    report = verify_output(out, trust)
    failed = [check.check for check in report.checks if not check.ok]
    if failed:
        raise IntegrityError(
            f"{out}: is not as its run left it ({', '.join(failed)}), so nothing was changed; see `consentry verify`, "
            "and restore the output or protect the inputs again"
        )
    return open_letter_output(out, trust)


def is_being_written(out: str) -> bool:
    """Tells whether a run that lives is making the next state of a local output."""
    if not is_local(out):
        return False
    remove_abandoned(_folder(out))
    return has_unpublished(_folder(out))


def exchange_state(
    publication: LocalPublication,
    output: LetterOutput,
    manifest: Manifest,
    keys: ProofKeys,
    *,
    kept: Iterable[OutputFile],
) -> Manifest:
    """Makes the new state the output, if it still is the one that was read, and returns the signed manifest.

    Args:
        publication: Holds the new files.
        output: The state that was read.
        manifest: Of the new state.
        keys: Sign it.
        kept: Files of the state before that stay.

    Raises:
        RunError: The output was replaced meanwhile, or the disk refused; the output is as it was.
    """
    signed = sign_manifest(manifest, keys)
    check_still(output)
    for file in kept:
        _link(_folder(output.name) / file.path, Path(publication.place) / file.path, output)
    check_still(output)
    publication.publish([file.path for file in signed.files], signed.dumps())
    if not _is_state(Path(publication.place), output):
        # Another run came in between after all: what was exchanged is its output, which gets its place back.
        exchange_folders(Path(publication.place), _folder(output.name))
        check_still(output)
    return signed


def check_still(output: LetterOutput) -> None:
    """Refuses to take the place of another state than the one that was read.

    Raises:
        RunError: The manifest is another one by now.
    """
    try:
        same = output.folder.read(MANIFEST_NAME) == output.text
    except OSError:
        same = False
    if not same:
        raise RunError(f"{output.name}: was replaced by another run meanwhile, and stays as that left it; run it again")


def _folder(out: str) -> Path:
    return Path(out.removeprefix(FILE_SCHEME)).resolve()


def _is_state(folder: Path, output: LetterOutput) -> bool:
    try:
        return (folder / MANIFEST_NAME).read_bytes() == output.text
    except OSError:
        return False


def _link(file: Path, place: Path, output: LetterOutput) -> None:
    try:
        os.link(file, place)
    except OSError as error:
        raise RunError(
            f"{output.name}: its files cannot be linked ({error.strerror}); the output is as it was; move it to a file "
            "system with hard links"
        ) from None

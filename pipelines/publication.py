"""Where an output is written, and how it becomes visible: all of it at one moment, or not at all.

On a local disk a run writes into a hidden sibling of the output, ``.NAME.consentry-RUN``, which takes the output's
name by one ``rename``; an earlier output is exchanged by one system call, so that every instant shows the old one or
the new one. On an object store nothing can be renamed as a whole: data files get names that no other run uses, and
readers go by ``manifest.json``, which is written last.

The hidden folder is locked (``flock``) while its run lives. Folders of runs that were killed are removed by the next
run into the same place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ..schemas.errors import IntegrityError, OutputError, RunError
from ..schemas.manifest import MANIFEST_NAME, parse_manifest
from .durable import sync_folder
from .exchange import exchange_folders, exchange_works

__all__ = [
    "DATA",
    "DEAD_LETTERS",
    "FILE_SCHEME",
    "NOTES",
    "PART",
    "STREAM",
    "LocalPublication",
    "ObjectPublication",
    "Publication",
    "has_unpublished",
    "is_local",
    "open_publication",
    "remove_abandoned",
]

DATA = "data"
DEAD_LETTERS = "dead_letters"
PART = "part-"
MARK = ".consentry-"
NOTES = "_consentry-"
STREAM = "_stream"
"""What a stream remembers beside its output."""
FILE_SCHEME = "file://"


class Publication(Protocol):
    """An output that is being made."""

    @property
    def place(self) -> str:
        """Folder below which workers write ``data/…`` and ``dead_letters/…``."""
        ...

    @property
    def notes(self) -> str:
        """Folder for what workers tell the launcher; it never becomes visible."""
        ...

    def publish(self, files: Collection[str], manifest: str) -> None:
        """Makes the output visible: ``files``, by their paths below ``place``, and the manifest. Nothing else."""
        ...


@contextmanager
def open_publication(out: str, *, run: str, replace: bool) -> Iterator[Publication]:
    """Yields the publication of ``out``; what is not published when the block ends is removed.

    Args:
        out: A local folder, or one of any Beam file system.
        run: Id of the run: letters, digits and dashes; used once.
        replace: Whether an earlier output of ours may be exchanged.

    Raises:
        OutputError: ``out`` holds something, and it may not or cannot be replaced; nothing was changed.
    """
    publication = LocalPublication(out, run=run, replace=replace) if is_local(out) else _remote(out, run, replace)
    try:
        yield publication
    finally:
        publication.close()


def is_local(out: str) -> bool:
    """Tells whether ``out`` is a path of this machine, written plainly or as ``file://PATH``."""
    return "://" not in out or out.startswith(FILE_SCHEME)


class LocalPublication:
    """An output in a local folder; see the module.

    Args:
        out: The folder; made with its parents when it is published. A link is followed.
        run: Id of the run.
        replace: Whether an earlier output may be exchanged.
    """

    def __init__(self, out: str, *, run: str, replace: bool) -> None:
        self._out = Path(out.removeprefix(FILE_SCHEME)).resolve()
        self._replace = replace
        self._check()
        try:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self._out)
            if self._occupied() and not exchange_works(self._out.parent, f".{self._out.name}{MARK}{run}"):
                raise OutputError(
                    f"{self._out}: this file system cannot exchange two folders at once; name another --out"
                )
            self._work = self._out.with_name(f".{self._out.name}{MARK}{run}")
            self._lock = _locked_folder(self._work)
            for folder in (DATA, DEAD_LETTERS, "notes"):
                (self._work / folder).mkdir()
        except OSError as error:
            raise OutputError(f"{self._out}: cannot be written ({error.strerror}); name a folder of your own") from None

    @property
    def place(self) -> str:
        """The hidden folder."""
        return str(self._work)

    @property
    def notes(self) -> str:
        """A folder in it, gone before it is published."""
        return str(self._work / "notes")

    def publish(self, files: Collection[str], manifest: str) -> None:
        """Makes the hidden folder the output.

        Raises:
            OutputError: Something took the output's place meanwhile; it stays.
            RunError: The disk refused.
        """
        try:
            shutil.rmtree(self._work / "notes")
            _keep_only(self._work, files)
            with (self._work / MANIFEST_NAME).open("x", encoding="utf-8") as file:
                file.write(manifest)
                file.flush()
                os.fsync(file.fileno())
            for folder in (self._work / DATA, self._work / DEAD_LETTERS, self._work):
                sync_folder(folder)
            self._appear()
            sync_folder(self._out.parent)
        except OSError as error:
            raise RunError(f"{self._out}: cannot be published ({error.strerror}); nothing became visible") from None

    def close(self) -> None:
        """Removes what was not published, or what was replaced, and unlocks."""
        shutil.rmtree(self._work, ignore_errors=True)
        os.close(self._lock)

    def _check(self) -> None:
        if self._out.exists() and not self._out.is_dir():
            raise OutputError(f"{self._out}: is no folder; name another --out")
        if self._occupied():
            _may_replace(str(self._out), self._replace, lambda: (self._out / MANIFEST_NAME).read_bytes())

    def _occupied(self) -> bool:
        return self._out.is_dir() and any(self._out.iterdir())

    def _appear(self) -> None:
        if self._occupied():
            self._check()  # once more: a run takes long, and another may have come first
            exchange_folders(self._work, self._out)
        else:
            # POSIX: takes the place of an empty folder, and fails if it is empty no more.
            self._work.rename(self._out)


class ObjectPublication:
    """An output in an object store, or any other Beam file system that is not local; see the module.

    Args:
        out: URI of the folder.
        run: Id of the run.
        replace: Whether an earlier output may be replaced.
    """

    def __init__(self, out: str, *, run: str, replace: bool) -> None:
        from .object_store import ObjectFolder

        self._folder = ObjectFolder(out)
        self._run = run
        self._published = False
        self._before: tuple[str, ...] = ()
        if not all(_of_a_run(path) for path in self._folder.paths()):
            _may_replace(out, replace, lambda: self._folder.read(MANIFEST_NAME))
            manifest, _ = parse_manifest(self._folder.read(MANIFEST_NAME))
            self._before = tuple(file.path for file in manifest.files)

    @property
    def place(self) -> str:
        """The output itself: nobody reads a file that no manifest lists."""
        return self._folder.uri

    @property
    def notes(self) -> str:
        """A folder in it that is removed at the end."""
        return self._folder.join(NOTES + self._run)

    def publish(self, files: Collection[str], manifest: str) -> None:
        """Writes the manifest, and then removes the files of the output that it replaces.

        Raises:
            RunError: The store refused.
        """
        self._folder.remove(self._leftovers(files))
        self._folder.write(MANIFEST_NAME, manifest.encode())
        self._published = True
        # From here the new output stands; what cannot be removed is only listed nowhere.
        with suppress(RunError):
            self._folder.remove(path for path in self._before if path not in files)

    def close(self) -> None:
        """Removes what this run wrote and did not publish."""
        with suppress(RunError):
            mine = [path for path in self._folder.paths() if self._run in path]
            self._folder.remove(path for path in mine if path.startswith(NOTES) or not self._published)

    def _leftovers(self, files: Collection[str]) -> list[str]:
        return [path for path in self._folder.paths() if self._run in path and path not in files]


def _remote(out: str, run: str, replace: bool) -> ObjectPublication:
    return ObjectPublication(out, run=run, replace=replace)


def _of_a_run(path: str) -> bool:
    """Whether a run wrote this, and nothing lists it: what a killed run leaves in an object store."""
    return path.startswith((NOTES, f"{DATA}/{PART}", f"{DEAD_LETTERS}/{PART}"))


def _may_replace(out: str, replace: bool, manifest: Callable[[], bytes]) -> None:
    if not replace:
        raise OutputError(f"{out}: is not empty; name another --out, or add --replace to exchange an earlier output")
    try:
        parse_manifest(manifest())
    except (OSError, RunError, IntegrityError):
        raise OutputError(
            f"{out}: holds no {MANIFEST_NAME} of a run, so it is not replaced; "
            "remove it yourself if it is not needed, or name another --out"
        ) from None


def remove_abandoned(out: Path) -> int:
    """Removes the hidden folders of runs into ``out`` that live no more, and returns how many there were."""
    removed = 0
    for folder in out.parent.glob(f".{_escaped(out.name)}{MARK}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        except OSError:
            continue  # its run lives
        finally:
            os.close(lock)
    return removed


def has_unpublished(out: Path) -> bool:
    """Whether there is a hidden folder of a run into ``out``."""
    return any(True for _ in out.parent.glob(f".{_escaped(out.name)}{MARK}*"))


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _locked_folder(folder: Path) -> int:
    """Makes a folder and returns the descriptor that locks it.

    The folder itself is locked, no file in it, so that nothing has to be removed before it is published.
    """
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A cleaner may have come between the two calls above.
        if os.fstat(lock).st_nlink == 0 or folder.stat().st_ino != os.fstat(lock).st_ino:
            raise FileNotFoundError(2, "was removed by another run; try again")
    except OSError:
        os.close(lock)
        raise
    return lock


def _keep_only(work: Path, files: Collection[str]) -> None:
    """Removes files of attempts that a runner gave up and did again."""
    for folder in (DATA, DEAD_LETTERS):
        for path in (work / folder).iterdir():
            if f"{folder}/{path.name}" not in files:
                path.unlink()

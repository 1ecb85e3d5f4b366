"""The output of a stream: data and dead letters that grow by whole epochs, and beside them what the stream remembers.

    OUT/data/event_date=2026-03-01/*.parquet     protected rows
    OUT/dead_letters/*.parquet
    OUT/manifest.json                            exchanged after each epoch; readers who want one state go by it
    OUT/_stream/                                 journal, lock, and the files of the epoch that is being made

Files are made in ``_stream`` and moved, complete, to where readers look.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...schemas.errors import OutputError, RunError
from ...schemas.manifest import MANIFEST_NAME
from ..durable import exchange_text, sync_folder
from ..publication import DATA, DEAD_LETTERS, FILE_SCHEME, STREAM, is_local
from ..sinks import Receipt
from .compaction import made_merge, show_merge
from .journal import Merge

__all__ = [
    "CLOSED",
    "ENGINE",
    "JOURNAL",
    "LOCK",
    "StreamOutput",
    "check_no_engine",
    "is_at_engine",
    "is_stream_output",
    "open_stream_output",
]

STAGING = "staging"
MERGING = "merging"
LOCK = "lock"
JOURNAL = "journal.db"
ENGINE = "engine.json"
"""The settings of a stream on an engine, in the place of a journal."""
CLOSED = "closed"
"""A file whose presence ends all publication of a stream on an engine."""
ATTEMPTS = 10


class StreamOutput:
    """The output of a stream, locked. Make it with ``open_stream_output``.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self._root / STREAM / JOURNAL

    @property
    def staging(self) -> Path:
        """Where the files of an epoch are made, under the paths that they will have."""
        return self._root / STREAM / STAGING

    def clear_staging(self) -> None:
        """Removes what an epoch that is not sealed has left, and makes room for the next."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for name in (DATA, DEAD_LETTERS):
            (self.staging / name).mkdir(parents=True)

    def sync_staging(self) -> None:
        """Has the disk hold the names of the files in staging; the files are synced as they are completed."""
        for top, _, _ in os.walk(self.staging):
            sync_folder(Path(top))

    def reveal(self, receipts: Iterable[Receipt]) -> None:
        """Moves files from staging to where readers look; those that are there already stay.

        Raises:
            RunError: A file is neither here nor there, or the disk refused.
        """
        folders = set()
        for receipt in receipts:
            made, place = self.staging / receipt.path, self._root / receipt.path
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.rename(place)
            except FileNotFoundError:
                if not place.exists():
                    raise RunError(f"{place}: is gone; restore it from a backup, or begin a new --out") from None
            except OSError as error:
                raise RunError(f"{place}: cannot be written ({error.strerror}); make room and start again") from None
            folders |= {place.parent, place.parent.parent}
        for folder in folders:
            sync_folder(folder)

    def write_manifest(self, text: str) -> None:
        """Exchanges the manifest, so that every instant shows the old one or the new one."""
        exchange_text(self._root / MANIFEST_NAME, text)

    def remove(self, paths: Iterable[str]) -> None:
        """Removes files that no manifest lists any more, if they are there still.

        Raises:
            RunError: The disk refused.
        """
        for path in paths:
            try:
                (self._root / path).unlink(missing_ok=True)
            except OSError as error:
                raise RunError(
                    f"{self._root / path}: cannot be removed ({error.strerror}); see to the folder and start again"
                ) from None

    def merged(self, receipts: Sequence[Receipt]) -> Merge | None:
        """Makes one file of some, aside; see ``compaction.made_merge``."""
        merge = made_merge(self._root, self._merging, receipts)
        if merge is not None:
            sync_folder(self._merging / merge.folder)
        return merge

    def show_merge(self, merge: Merge) -> None:
        """Has readers find the merged file in place of those that it holds."""
        show_merge(self._root, self._merging, merge)
        sync_folder(self._root / merge.folder)

    def forget_merge(self) -> None:
        """Removes what a merge left."""
        shutil.rmtree(self._merging, ignore_errors=True)

    @property
    def _merging(self) -> Path:
        return self._root / STREAM / MERGING


def is_stream_output(out: str) -> bool:
    """Whether a stream has written to a folder."""
    return is_local(out) and (Path(out.removeprefix(FILE_SCHEME)) / STREAM / JOURNAL).is_file()


def is_at_engine(out: str) -> bool:
    """Whether a stream on an engine writes to a folder, or may go on there."""
    folder = Path(out.removeprefix(FILE_SCHEME)) / STREAM
    return is_local(out) and (folder / ENGINE).is_file() and not (folder / CLOSED).exists()


def check_no_engine(out: str) -> None:
    """Refuses the output of a stream on an engine: how far its shards were, no journal can tell.

    Raises:
        OutputError: It is one, closed or not.
    """
    if is_local(out) and (Path(out.removeprefix(FILE_SCHEME)) / STREAM / ENGINE).exists():
        raise OutputError(f"{out}: a stream on an engine wrote it; go on with --runner, or name a new --out")


@contextmanager
def open_stream_output(out: str) -> Iterator[StreamOutput]:
    """Yields the output in a folder, made where there is none, that no other program writes to meanwhile.

    Raises:
        OutputError: The folder holds something else, cannot be written, or is another stream's at this moment.
    """
    if not is_local(out):
        raise OutputError(
            f"{out}: a stream writes to a local folder; copy its files on, or send to a topic as well with --to; a "
            "topic alone needs --runner"
        )
    root = Path(out.removeprefix(FILE_SCHEME)).resolve()
    try:
        if root.is_dir() and any(root.iterdir()) and not (root / STREAM).is_dir():
            raise OutputError(f"{root}: is not empty, and no output of a stream; name another --out")
        for folder in (root / STREAM, root / DATA, root / DEAD_LETTERS):
            folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / STREAM / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"{root}: cannot be written ({error.strerror}); name a folder of your own") from None
    try:
        if not _locked(lock):
            raise OutputError(f"{root}: another stream writes to it; stop that one, or name another --out")
        (root / STREAM).chmod(0o700)
        yield StreamOutput(root)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """Locks a file, or returns False; who only asks whether it is locked has it for a moment."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02)
    return False

"""What one shard writes: files under numbers that a replay gives again, so that nothing is ever to be seen twice.

    OUT/_stream/shards/03/000000017.json     what the publication of that number wrote, and what it counts
    OUT/_stream/shards/03/owner, lock        who began to write last
    OUT/_stream/staging/03/                  files that are being made

An engine that has lost a worker goes back to its last checkpoint, and with it the number that a shard's state holds.
Whoever publishes next takes the shard over: what has that number or a higher one goes, for its rows are about to come
again. Files are named in a note before any is shown, so that what a crash has left is found. So a row can be gone for a
moment after a crash, but there is no moment in which it is twice.

A worker that an engine has given up may live on, and it must take nothing over: what it would take back is in nobody's
checkpoint any more. Each publication begins by drawing a lot, which the shard's state carries on. So whoever publishes
must hold the last lot in its state, or must have found it when it began to work; what has gone on since refuses it.

A stream that is launched anew without the engine's state goes on behind what earlier launches published: the notes say
how far that was, partition by partition, and what a shard has published it does not take again.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...schemas.errors import OutputError, RunError
from ..durable import exchange_text, sync_folder
from ..publication import DATA, DEAD_LETTERS, STREAM
from ..streams.output import CLOSED
from .shard_notes import Published, Resumption, ShardNote, common_ends

__all__ = [
    "SHARDS",
    "SHOWN",
    "ShardOutput",
    "begin_launch",
    "end_publication",
    "published_ends",
    "read_note",
]

SHARDS = "shards"
STAGING = "staging"
OWNER, LOCK = "owner", "lock"
LAUNCH = "launch"
"""A file with the id of the one launch that may publish."""
SHOWN, BEGUN = ".json", ".begun"


class ShardOutput:
    """The files of one shard; used by one thread. All workers see the folder, and its locks.

    Make it before the engine hands out states: who has published since then is not to be taken over.

    Args:
        root: Folder of the output.
        shard: Number.
        launch: Id of the launch that it belongs to.
    """

    def __init__(self, root: Path, shard: int, launch: str) -> None:
        self._root = root.resolve()
        self._launch = launch
        self._name = f"{shard:02d}"
        self._folder = self._root / STREAM / SHARDS / self._name
        self._staging = self._root / STREAM / STAGING / self._name
        self._found = self._last_lot()

    def publish(self, number: int, lot: str, write: Callable[[str, str], ShardNote]) -> Published:
        """Publishes what a step of the shard comes to, and returns it.

        Args:
            number: As the shard's state has it; the next publication has the next one.
            lot: Of the publication before, as the state has it.
            write: Given a folder and a name for the files, writes them there and returns what it comes to.

        Raises:
            RunError: Another worker has the shard, or the disk refused.
            OutputError: What a note names is not of this shard.
        """
        try:
            with self._locked():
                self._check_launch()
                self._take_over(number, lot)
                note = write(str(self._staging), self._files_of(number))
                self._show(number, note)
        except OSError as error:
            raise RunError(
                f"{self._folder}: cannot be written ({error.strerror}); make room, then it goes on"
            ) from None
        return Published(note, self._found)

    def resumption(self) -> Resumption:
        """Returns where the shard goes on if the engine remembers nothing of it.

        What this launch has published itself does not count: it is about to come again.
        """
        offsets: dict[str, int] = {}
        letters: dict[str, int] = {}
        number = 0
        with self._locked():
            for path in (each for each in self._notes() if each.suffix == SHOWN):
                note = read_note(path)
                if note.launch == self._launch:
                    break
                number = int(path.stem) + 1
                for known, found in ((offsets, note.offsets), (letters, note.letters)):
                    known.update({partition: max(known.get(partition, 0), end) for partition, end in found.items()})
        return Resumption(number=number, offsets=offsets, letters=letters)

    def take_back_unfinished(self) -> None:
        """Removes what a publication that died has left, once nobody may publish any more."""
        with self._locked():
            for path in (each for each in self._notes() if each.suffix == BEGUN):
                self._take_back(path)
            shutil.rmtree(self._staging, ignore_errors=True)

    def _check_launch(self) -> None:
        if (self._root / STREAM / CLOSED).exists():
            raise RunError(f"shard {self._name}: the stream of this output was closed; name a new --out")
        if (self._root / STREAM / LAUNCH).read_text(encoding="ascii") != self._launch:
            raise RunError(f"shard {self._name}: the stream was launched anew, and goes on there; cancel this job")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not (self._root / STREAM).is_dir():
            raise RunError(f"shard {self._name}: the output was replaced by another one; cancel this job")
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _last_lot(self) -> str:
        try:
            return (self._folder / OWNER).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def _take_over(self, number: int, lot: str) -> None:
        """Makes sure that this is who writes the shard, and that nothing of this number or a higher one is there."""
        last = self._last_lot()
        if last not in (lot, self._found):
            raise RunError(f"shard {self._name}: another worker has taken it over; this one goes back")
        # Before anything goes, so that nobody else, who knows less, may go on from what there was.
        self._found = secrets.token_hex(8)
        exchange_text(self._folder / OWNER, self._found, outlasting=False)  # nor would who it shuts out outlast it
        if last != lot or not lot:
            for path in reversed(self._notes()):
                if int(path.stem) >= number:
                    self._take_back(path)
        shutil.rmtree(self._staging, ignore_errors=True)
        for name in (DATA, DEAD_LETTERS):
            (self._staging / name).mkdir(parents=True)

    def _notes(self) -> list[Path]:
        """Returns the notes by number; what is being exchanged is none yet."""
        return sorted(
            path for path in self._folder.iterdir() if path.suffix in (SHOWN, BEGUN) and path.stem.isdecimal()
        )

    def _files_of(self, number: int) -> str:
        return f"{self._name}-{number:09d}"

    def _take_back(self, note: Path) -> None:
        own = [self._own(receipt.path, int(note.stem), note) for receipt in read_note(note).outcome.receipts]
        for path in own:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in own if path.parent.is_dir()}:
            sync_folder(folder)
        note.unlink()

    def _own(self, path: str, number: int, note: Path) -> Path:
        """Returns where a file of a publication is to be seen: a note that names any other one was forged."""
        folder, _, name = path.rpartition("/")
        target = self._root / folder
        is_data = folder.split("/", 1)[0] in (DATA, DEAD_LETTERS)
        if not is_data or target.resolve() != target or self._files_of(number) not in name:
            raise OutputError(f"{note}: names a file that is not of this shard; restore the output from a backup")
        return target / name

    def _show(self, number: int, note: ShardNote) -> None:
        begun = self._folder / f"{number:09d}{BEGUN}"
        paths = [receipt.path for receipt in note.outcome.receipts]
        targets = [self._own(path, number, begun) for path in paths]
        exchange_text(begun, json.dumps(note.document()))
        _move([self._staging / path for path in paths], targets)
        begun.replace(begun.with_suffix(SHOWN))
        sync_folder(self._folder)


def read_note(path: Path) -> ShardNote:
    """Returns what a note says.

    Raises:
        OutputError: It is damaged.
        FileNotFoundError: It is gone: the shard was taken over.
    """
    text = path.read_text(encoding="utf-8")
    try:
        return ShardNote.of(json.loads(text))
    except ValueError:
        raise OutputError(f"{path}: is damaged; restore the output's folder {STREAM} from a backup") from None


def begin_launch(root: Path, launch: str) -> None:
    """Lets one launch publish, and no other one from now on."""
    (root / STREAM).mkdir(parents=True, exist_ok=True)
    exchange_text(root / STREAM / LAUNCH, launch)


def end_publication(root: Path) -> None:
    """Lets nobody publish any more, and returns when nobody does; what had only begun is taken back."""
    (root / STREAM / CLOSED).touch()
    for folder in sorted((root / STREAM / SHARDS).glob("*")):
        if folder.name.isdecimal():
            ShardOutput(root, int(folder.name), "").take_back_unfinished()


def published_ends(root: Path, shards: int) -> dict[str, int]:
    """Returns by partition the offset before which all shards have published all records; none where one has nothing.

    Args:
        root: Folder of the output.
        shards: How many there are.
    """
    return common_ends([ShardOutput(root, number, "").resumption().offsets for number in range(shards)])


def _move(paths: Sequence[Path], targets: Sequence[Path]) -> None:
    folders = set()
    for path, target in zip(paths, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        folders.add(target.parent)
    for folder in folders:
        sync_folder(folder)

"""What one shard writes: files under numbers that a replay gives again, so that nothing is ever to be seen twice.

    OUT/_stream/shards/03/000000017.json     what the publication of that number wrote, and what it counts
    OUT/_stream/shards/03/owner, lock        who writes now
    OUT/_stream/staging/03/                  files that are being made

An engine that has lost a worker goes back to its last checkpoint, and with it the number that a shard's state holds.
Whoever publishes next takes the shard over: what has that number or a higher one goes, for its rows are about to come
again, and who owned the shard before can publish no more. Files are named in a note before any is shown, so that what a
crash has left is found. So a row can be gone for a moment after a crash, but there is no moment in which it is twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...schemas.errors import OutputError, RunError
from ...transforms.tally import Tally
from ..outcome import Outcome
from ..publication import DATA, DEAD_LETTERS, STREAM
from ..sinks import Receipt

__all__ = ["SHARDS", "ShardNote", "ShardOutput", "read_note"]

SHARDS = "shards"
STAGING = "staging"
OWNER, LOCK = "owner", "lock"
SHOWN, BEGUN = ".json", ".begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardNote:
    """What one publication of a shard comes to.

    Attributes:
        outcome: Counts and files.
        offsets: By partition, the offset behind the last record in it.
        now: Instant of its decisions, microseconds UTC.
        ledger_position: Of its decisions.
        published_at: By the clock, microseconds UTC.
    """

    outcome: Outcome
    offsets: dict[str, int] = field(default_factory=dict)
    now: int
    ledger_position: int
    published_at: int

    def as_json(self) -> str:
        """Returns it as the note that stands in the folder of the shard."""
        receipts = [
            {**asdict(receipt), "reasons": [[list(key), count] for key, count in receipt.reasons.items()]}
            for receipt in self.outcome.receipts
        ]
        document = {
            "files": receipts,
            "tally": [[list(key), count] for key, count in self.outcome.tally.counts.items()],
            "offsets": self.offsets,
            "now": self.now,
            "ledger_position": self.ledger_position,
            "published_at": self.published_at,
        }
        return json.dumps(document)


def read_note(path: Path) -> ShardNote:
    """Returns what a note says.

    Raises:
        OutputError: It is damaged.
        FileNotFoundError: It is gone: the shard was taken over.
    """
    text = path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
        receipts = tuple(
            Receipt(**{**each, "reasons": {tuple(key): count for key, count in each["reasons"]}})
            for each in document["files"]
        )
        tally = Tally({tuple(key): count for key, count in document["tally"]})
        return ShardNote(
            outcome=Outcome(tally, receipts),
            offsets=document["offsets"],
            now=document["now"],
            ledger_position=document["ledger_position"],
            published_at=document["published_at"],
        )
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{path}: is damaged; restore the output's folder {STREAM} from a backup") from None


class ShardOutput:
    """The files of one shard; used by one thread. All workers see the folder, and its locks.

    Args:
        root: Folder of the output.
        shard: Number.
    """

    def __init__(self, root: Path, shard: int) -> None:
        self._root = root
        self._name = f"{shard:02d}"
        self._folder = root / STREAM / SHARDS / self._name
        self._staging = root / STREAM / STAGING / self._name
        self._owner = secrets.token_hex(8)
        self._next: int | None = None

    def publish(self, number: int, write: Callable[[str, str], ShardNote]) -> ShardNote:
        """Publishes what a step of the shard comes to, and returns it.

        Args:
            number: As the shard's state has it; the next publication has the next one.
            write: Given a folder and a name for the files, writes them there and returns what it comes to.

        Raises:
            RunError: Another worker has taken the shard over, or the disk refused.
        """
        try:
            with self._locked():
                self._take_over(number)
                self._next = None
                note = write(str(self._staging), f"{self._name}-{number:09d}")
                self._show(number, note)
                self._next = number + 1
        except OSError as error:
            raise RunError(
                f"{self._folder}: cannot be written ({error.strerror}); make room, then it goes on"
            ) from None
        return note

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _take_over(self, number: int) -> None:
        """Makes sure that this is who writes the shard, and that nothing of this number or a higher one is there."""
        owner = self._folder / OWNER
        if self._next == number:
            if owner.read_text(encoding="ascii") != self._owner:
                raise RunError(f"shard {self._name}: another worker has taken it over; this one goes back")
            self._clear_staging()
            return
        self._owner = secrets.token_hex(8)
        _replace(owner, self._owner)
        for path in sorted(self._folder.iterdir(), reverse=True):
            if path.suffix in (SHOWN, BEGUN) and int(path.stem) >= number:
                self._take_back(path)
        self._clear_staging()

    def _clear_staging(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        for name in (DATA, DEAD_LETTERS):
            (self._staging / name).mkdir(parents=True)

    def _take_back(self, note: Path) -> None:
        for receipt in read_note(note).outcome.receipts:
            (self._root / receipt.path).unlink(missing_ok=True)
        note.unlink()

    def _show(self, number: int, note: ShardNote) -> None:
        begun = self._folder / f"{number:09d}{BEGUN}"
        _replace(begun, note.as_json())
        _move(self._staging, self._root, [receipt.path for receipt in note.outcome.receipts])
        begun.replace(begun.with_suffix(SHOWN))
        _sync(self._folder)


def _move(start: Path, end: Path, paths: Sequence[str]) -> None:
    folders = set()
    for path in paths:
        target = end / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (start / path).rename(target)
        folders.add(target.parent)
    for folder in folders:
        _sync(folder)


def _replace(path: Path, text: str) -> None:
    made = path.with_name(f".{path.name}")
    with made.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)


def _sync(folder: Path) -> None:
    handle: Any = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

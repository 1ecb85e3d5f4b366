"""What this machine remembers of the checkpoints it has exported: how far each log was, and the newest of them.

It tells without a look into a place far away whether a new one is due, and shows when the newest ones are withheld
there. It never goes back, and one that had to be begun anew says so until somebody has looked. It is no proof: what is
proven is signed, in the checkpoints.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..schemas.checkpoint import LOGS, Checkpoint, LogName, digest_of_file
from ..schemas.consent import parse_instant
from ..schemas.errors import IntegrityError, OutputError
from ..schemas.project import Project

__all__ = ["NOTE_NAME", "CheckpointNote", "Exported", "note_path", "read_note", "usable_note", "write_note"]

NOTE_NAME = ".consentry-checkpoints.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The newest checkpoint of one log: entries and link of the last of them, and when (microseconds UTC)."""

    entries: int
    head: bytes
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointNote:
    """What is remembered.

    Attributes:
        number: Of the newest checkpoint, 0 for none.
        digest: Of its file.
        logs: The newest of each log.
        place: Where it was exported to; None: not known.
        begun_behind: Number of the newest checkpoint that was there when the note was begun without one before it,
            so that newer ones may have been taken away; 0: it was begun with the first, or somebody has looked.
    """

    number: int = 0
    digest: str | None = None
    logs: Mapping[LogName, Exported] = field(default_factory=dict)
    place: str | None = None
    begun_behind: int = 0

    def with_(self, checkpoint: Checkpoint) -> CheckpointNote:
        """Returns the note with a checkpoint taken into it; nothing goes back."""
        known = self.logs.get(checkpoint.store)
        logs = dict(self.logs)
        if known is None or checkpoint.entries >= known.entries:
            at = parse_instant(checkpoint.at)
            at = at if known is None else max(at, known.at)
            head = bytes.fromhex(checkpoint.head)
            logs[checkpoint.store] = Exported(entries=checkpoint.entries, head=head, at=at)
        if checkpoint.number <= self.number:
            return replace(self, logs=logs)
        return replace(self, number=checkpoint.number, digest=digest_of_file(checkpoint.dumps()), logs=logs)

    def joined(self, other: CheckpointNote) -> CheckpointNote:
        """Returns what both know, the newest of each; whether it was begun anew, this one knows."""
        newest = self if self.number >= other.number else other
        logs = dict(self.logs)
        for name, exported in other.logs.items():
            if name not in logs or exported.entries > logs[name].entries:
                logs[name] = exported
        return replace(self, number=newest.number, digest=newest.digest, place=newest.place, logs=logs)


def note_path(project: Project) -> Path:
    """Returns where the note of a project is."""
    return project.root / NOTE_NAME


def read_note(path: Path) -> CheckpointNote | None:
    """Returns the note; None where there is none.

    Raises:
        IntegrityError: It is damaged, or cannot be read.
    """
    try:
        return _parsed(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise IntegrityError(f"{path.name}: is damaged", reason="checkpoint_note_damaged") from None


def usable_note(path: Path) -> CheckpointNote | None:
    """Returns the note; None where there is none that can be read."""
    try:
        return read_note(path)
    except IntegrityError:
        return None


def write_note(path: Path, note: CheckpointNote, *, anew: bool = False) -> CheckpointNote:
    """Writes what the note and the stored one know together, and returns it.

    Args:
        path: Of the note.
        note: What is known.
        anew: Whether what is stored does not count.

    Raises:
        OutputError: The note cannot be written.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with _alone(path):
            stored = None if anew else usable_note(path)
            joined = note if stored is None else stored.joined(note)
            draft.write_text(json.dumps(_document(joined), indent=2) + "\n", encoding="utf-8")
            draft.replace(path)
            return joined
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); see to its folder") from None
    finally:
        with suppress(OSError):
            draft.unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps two writers apart, by a lock on the folder, so that no file of locks is left."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _document(note: CheckpointNote) -> dict[str, Any]:
    logs = {name: {"entries": each.entries, "head": each.head.hex(), "at": each.at} for name, each in note.logs.items()}
    known = {"number": note.number, "digest": note.digest, "logs": logs, "place": note.place}
    return {**known, "begun_behind": note.begun_behind} if note.begun_behind else known


def _parsed(document: Any) -> CheckpointNote:
    logs = {
        name: Exported(entries=int(each["entries"]), head=bytes.fromhex(each["head"]), at=int(each["at"]))
        for name in LOGS
        if (each := document["logs"].get(name)) is not None
    }
    return CheckpointNote(
        number=int(document["number"]),
        digest=document["digest"],
        logs=logs,
        place=document.get("place"),
        begun_behind=int(document.get("begun_behind", 0)),
    )

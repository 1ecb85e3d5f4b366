"""Exports signed checkpoints of ledger and access log: by command, and by whoever appends, when one is due.

An export never changes a log and never holds up an answer: where it cannot be made, because the signing keys or the
place are out of reach, that is told and tried again later. Nor does it sign a log that is not what the newest
checkpoint says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Self

from ..schemas.checkpoint import LOGS, Checkpoint, LogName, checkpoint_name, parse_checkpoint
from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError, IntegrityError, OutputError, PrivacyError
from ..schemas.manifest import SignatureText
from ..schemas.project import CheckpointRule, Project
from ..schemas.store_uri import told_store
from ..transforms.crypto.key_sets import ProofKeys, PublicKeys, Signature, SignatureContext
from ..transforms.stores.chained_log import ChainedLog, open_chained_log
from ..transforms.stores.hash_chain import START
from .checkpoint_folder import CheckpointFolder, open_checkpoint_folder
from .checkpoint_note import CheckpointNote, Exported, note_path, usable_note, write_note
from .console import notice
from .keyring_files import open_proof_keys

__all__ = ["Checkpoints", "believed_checkpoint", "checkpoint_rule", "moved_sentence"]

PAUSE = 60_000_000
"""Microseconds after which a failed export is tried again."""
ATTEMPTS = 8
NOTHING = Exported(entries=0, head=START, at=0)


def checkpoint_rule(project: Project) -> CheckpointRule:
    """Returns when and where checkpoints of a project are exported.

    Raises:
        ConfigError: The configuration does not say.
    """
    if project.checkpoints is None:
        raise ConfigError("checkpoints: the configuration names no place; add checkpoints: {path: FOLDER}")
    return project.checkpoints


def believed_checkpoint(name: str, data: bytes, trust: PublicKeys) -> Checkpoint:
    """Returns the checkpoint of a file, if a trusted key signed it for this tenant.

    Raises:
        IntegrityError: It is damaged, of another tenant, or signed by nobody who is trusted.
    """
    found = parse_checkpoint(name, data)
    if found.tenant != trust.tenant:
        raise IntegrityError(f"{name}: is of another tenant than the trusted keys; restore the right one")
    assert found.signature is not None, "an unsigned one is not parsed"
    try:
        signature = Signature(found.signature.key_id, bytes.fromhex(found.signature.value))
        trust.verify(SignatureContext.LOG, found.signed_bytes(), signature)
    except IntegrityError as error:
        raise IntegrityError(f"{name}: {error}") from None
    return found


def moved_sentence(note: CheckpointNote, place: str) -> str | None:
    """Returns what to do where checkpoints were exported to another place than now; None where they were not."""
    if note.place in (None, place):
        return None
    return (
        f"{place}: has not the checkpoints up to number {note.number}, which were exported to {note.place} before the "
        "configuration named another place; copy all of them there, because they prove only together"
    )


class Checkpoints:
    """The checkpoints of a project, for who appends to its logs.

    Nothing is opened before a checkpoint is due.

    Args:
        project: Names the logs, the place and the keys; where it names no place, none is ever due.
        clock: Microseconds UTC.
        told: Takes the sentence about an export that failed.
    """

    def __init__(
        self,
        project: Project,
        *,
        clock: Callable[[], int],
        told: Callable[[str], None] = lambda text: notice(text, style="yellow"),
    ) -> None:
        self._project = project
        self._rule = project.checkpoints
        self._clock = clock
        self._told = told
        self._note = CheckpointNote() if self._rule is None else usable_note(note_path(project)) or CheckpointNote()
        self._keys: ProofKeys | None = None
        self._not_before = 0
        self._lock = threading.Lock()
        self._opened: dict[LogName, ChainedLog] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what was opened."""
        self._closing.close()
        self._opened.clear()

    def appended(self, name: LogName, position: int) -> None:
        """Exports a checkpoint if one is due now that a log has come so far; a failure is told and goes no further."""
        if self._rule is None or not self._lock.acquire(blocking=False):
            return  # another thread is about it
        try:
            if self._due(name, position, self._rule):
                self.export(name)
        except PrivacyError as error:
            self._failed(name, error)
        finally:
            self._lock.release()

    def look(self) -> None:
        """Exports a checkpoint of each log that has come far enough, whoever appended to it."""
        for name in LOGS if self._rule is not None and self._clock() >= self._not_before else ():
            scheme, _, file = getattr(self._project, name).partition(":")
            if scheme == "sqlite" and not Path(file).exists():
                continue  # kept on another machine
            try:
                position, _ = self._log(name).end()
            except PrivacyError as error:
                self._failed(name, error)
            else:
                self.appended(name, position)

    def export(self, name: LogName, *, recompute: bool = False) -> Checkpoint | None:
        """Exports a checkpoint of what a log holds now, and returns it; None where nothing is new.

        Args:
            name: Which log.
            recompute: Whether the chain is recomputed from the newest checkpoint on before it is signed.

        Raises:
            IntegrityError: The log, or the newest checkpoint, is not what it was; nothing is signed.
            ConfigError: The configuration names no place, or another one than before, without the checkpoints.
            PrivacyError: Keys, log or place cannot be used.
        """
        place = checkpoint_rule(self._project).path
        folder = open_checkpoint_folder(place)
        for _ in range(ATTEMPTS):
            is_there = self._catch_up(folder)
            if not is_there and (moved := moved_sentence(self._note, place)) is not None:
                raise ConfigError(moved, reason="checkpoints_moved")
            made = self._next(name, recompute)
            if made is None and not is_there:
                raise IntegrityError(
                    f"{checkpoint_name(self._note.number)}: is missing in {place}, where it was exported; restore it "
                    "from a copy, and run `consentry log verify`",
                    reason="checkpoint_missing",
                )
            if made is None:
                return None
            if folder.add(made.name, made.dumps()):
                self._note = write_note(note_path(self._project), replace(self._note.with_(made), place=place))
                return made
        raise OutputError("checkpoints: others export to the same place at the same time; give each machine its own")

    def renew_note(self) -> int:
        """Begins the note anew by the checkpoints that are there, and returns the number of the newest of them.

        For who has looked, after the note was lost: with it goes what it knew of checkpoints that are not there.

        Raises:
            PrivacyError: The newest of each log cannot be believed, or the place cannot be used.
        """
        place = checkpoint_rule(self._project).path
        self._note = CheckpointNote()
        self._catch_up(open_checkpoint_folder(place), anew=True)
        self._note = write_note(note_path(self._project), replace(self._note, place=place, begun_behind=0), anew=True)
        return self._note.number

    def _failed(self, name: LogName, error: PrivacyError) -> None:
        self._not_before = self._clock() + PAUSE
        self._told(f"no checkpoint of the {told_store(name)} was exported: {error}")

    def _due(self, name: LogName, position: int, rule: CheckpointRule) -> bool:
        now, known = self._clock(), self._note.logs.get(name)
        if now < self._not_before:
            return False
        if known is None:
            return position > 0
        patience = rule.or_after // timedelta(microseconds=1)
        return position - known.entries >= rule.every or (position > known.entries and now - known.at >= patience)

    def _catch_up(self, folder: CheckpointFolder, *, anew: bool = False) -> bool:
        """Takes into the note what others have exported meanwhile; returns whether the newest one is there, if any."""
        stored = None if anew else usable_note(note_path(self._project))
        note = self._note if stored is None else stored.joined(self._note)
        trust, files = PublicKeys.load(self._project.trust), folder.numbers()
        if stored is None and not note.number and files:
            note = replace(note, begun_behind=max(files))
        new, seen = [number for number in files if number > note.number], set[LogName]()
        for number in sorted(new, reverse=True):
            found = believed_checkpoint(files[number], folder.read(files[number]), trust)
            note = note.with_(found)
            seen.add(found.store)
            if len(seen) == len(LOGS):
                break
        self._note = note
        return not note.number or note.number in files

    def _next(self, name: LogName, recompute: bool) -> Checkpoint | None:
        known, log = self._note.logs.get(name, NOTHING), self._log(name)
        entries, head = log.end()
        sound = isinstance(head, bytes) and len(head) == len(START)
        if log.link(known.entries) != known.head or entries < known.entries or not sound:
            raise IntegrityError(
                f"{name}: entry {known.entries} is not the one that its newest checkpoint saw; "
                "nothing is signed; run `consentry log verify`",
                reason="log_changed",
            )
        if entries == known.entries:
            return None
        if recompute:
            checked = log.recomputed(after=known.entries, head=known.head)
            entries, head = checked.entries, checked.head
        unsigned = Checkpoint(
            tenant=self._project.tenant,
            number=self._note.number + 1,
            previous=self._note.digest,
            store=name,
            entries=entries,
            head=head.hex(),
            at=format_instant(max(self._clock(), known.at)),
        )
        self._keys = self._keys or open_proof_keys(self._project)
        signature = self._keys.sign(SignatureContext.LOG, unsigned.signed_bytes())
        return unsigned.signed_with(SignatureText(key_id=signature.key_id, value=signature.value.hex()))

    def _log(self, name: LogName) -> ChainedLog:
        if name not in self._opened:
            self._opened[name] = self._closing.enter_context(open_chained_log(name, getattr(self._project, name)))
        return self._opened[name]

"""Checks ledger and access log against every checkpoint that was exported. Needs public keys and nothing else.

Up to its last checkpoint no change of a log goes unfound: the chain shows a change of single entries, and a checkpoint
that the end was cut off or all links were computed anew. Where the key set ``vault`` is at hand, the tags of the ledger
are checked as well, which bind entries beyond the last checkpoint, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas.checkpoint import LOGS, Checkpoint, LogName, checkpoint_name, digest_of_file
from ..schemas.errors import ConfigError, IntegrityError, PrivacyError, StoreDamagedError, StoreError
from ..schemas.project import Project
from ..transforms.crypto.key_sets import PublicKeys
from ..transforms.stores.chained_log import ChainedLog, open_chained_log
from ..transforms.stores.hash_chain import Verified
from .checkpoint_folder import CheckpointFolder, open_checkpoint_folder
from .checkpoint_note import NOTE_NAME, CheckpointNote, note_path, read_note
from .checkpoints import believed_checkpoint, moved_sentence

__all__ = ["LogCheck", "LogReport", "check_log", "read_checkpoints", "verify_logs"]

SHOWN = 3
NOTE = "note"
LOST_NOTE = (
    "whoever removed it can take away the newest checkpoints together with the end of a log, and nothing here would "
    "show it; compare the checkpoints with a copy elsewhere, then run `consentry log checkpoint --renew-note`"
)


@dataclass(frozen=True, slots=True)
class LogCheck:
    """One check: its name, whether it holds, and what was found."""

    check: str
    ok: bool
    detail: str
    unseen: int | None = None
    """Exit code of what kept it from looking at all; None: it looked."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """All checks of the logs."""

    checks: tuple[LogCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0: every check holds. 1: one does not. 2 or 3: all that failed could not look at what they check."""
        failed = [check for check in self.checks if not check.ok]
        codes = [check.unseen for check in failed if check.unseen is not None]
        return max(codes) if failed and len(codes) == len(failed) else int(bool(failed))

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``log verify --json``."""
        checks = [{"check": each.check, "ok": each.ok, "detail": each.detail} for each in self.checks]
        return {"ok": self.ok, "checks": checks}


def verify_logs(project: Project, trust: PublicKeys, place: str | None = None) -> LogReport:
    """Returns what the logs of a project prove.

    Args:
        project: Names the logs, and the place of checkpoints; nothing else of it is needed.
        trust: The public keys that are believed.
        place: Another place of checkpoints, as an auditor's copy.

    Raises:
        ConfigError: The place's file system is not installed, or another place holds no checkpoint at all.
        PrivacyError: The place cannot be read.
    """
    own = None if project.checkpoints is None else project.checkpoints.path
    checks, known = [], list[Checkpoint]()
    used = place or own
    if used is None:
        checks.append(LogCheck("checkpoints", True, "not checked: the configuration names no place of any"))
    else:
        # Read before the logs, which may grow meanwhile.
        folder, is_own = open_checkpoint_folder(used), own is not None and _settled(used) == _settled(own)
        if not is_own and not folder.numbers():
            raise ConfigError(f"--checkpoints: {used} holds no checkpoint; name the folder that has them")
        noted = _NotedOnce(project, is_own, is_named=place is not None)
        known, problems = read_checkpoints(folder, trust, noted.note)
        if problems and is_own and (moved := moved_sentence(noted.note, used)) is not None:
            problems.insert(0, moved)
        checks.append(_check("checkpoints", problems, f"{len(known)}, signed, numbered without a gap"))
        checks.append(noted.check(bool(folder.numbers())))
    for name in LOGS:
        mine = [each for each in known if each.store == name]
        checks.append(_log_check(project, name, mine, expected=used is not None))
    return LogReport((*checks, _tags_check(project)))


class _NotedOnce:
    """The note of this machine, read once, and what there is to say about it.

    Args:
        project: Whose checkpoints they are.
        is_own: Whether those that are looked at are where the project exports them to.
        is_named: Whether somebody named that place, as on a machine that never exported one.
    """

    def __init__(self, project: Project, is_own: bool, *, is_named: bool) -> None:
        self._is_own, self._is_named = is_own, is_named
        self._damaged, found = False, None
        if is_own:
            try:
                found = read_note(note_path(project))
            except IntegrityError:
                self._damaged = True
        self._is_missing = found is None
        self.note = found or CheckpointNote()

    def check(self, exported: bool) -> LogCheck:
        """Returns whether what this machine remembers can be counted on.

        Args:
            exported: Whether there are checkpoints.
        """
        if not self._is_own:
            return LogCheck(NOTE, True, "not checked: it is of the configuration's place, and another one was named")
        if self._damaged:
            return LogCheck(NOTE, False, f"{NOTE_NAME} is damaged: {LOST_NOTE}")
        if self._is_missing and not exported:
            return LogCheck(NOTE, True, "not checked: nothing was exported yet")
        if self._is_missing and self._is_named:
            return LogCheck(NOTE, True, f"not checked: there is no {NOTE_NAME}, as where none was ever exported")
        if self._is_missing:
            here = "; where this machine never exported any, name their place by --checkpoints"
            return LogCheck(NOTE, False, f"{NOTE_NAME} is missing: {LOST_NOTE}{here}")
        if behind := self.note.begun_behind:
            begun = f"{NOTE_NAME} was missing or damaged when {checkpoint_name(behind)} was the newest, and begun anew"
            return LogCheck(NOTE, False, f"{begun}: {LOST_NOTE}")
        return LogCheck(NOTE, True, f"{checkpoint_name(self.note.number)} is the newest that this machine knows of")


def read_checkpoints(
    folder: CheckpointFolder, trust: PublicKeys, note: CheckpointNote
) -> tuple[list[Checkpoint], list[str]]:
    """Returns the checkpoints that can be believed, in order, and what is wrong with the folder.

    Args:
        folder: Holds all of them.
        trust: The public keys that are believed.
        note: What this machine remembers to have exported there; an empty one remembers nothing.

    Raises:
        PrivacyError: The folder cannot be read.
    """
    names, found, problems = folder.numbers(), list[Checkpoint](), list[str]()
    before: tuple[int, str | None] = (0, None)
    furthest: dict[LogName, int] = {}
    for number in sorted({note.number, *names} - {0}):
        problems += _gap(before[0], number if number in names else number + 1)
        if number not in names:
            continue
        data = folder.read(names[number])
        try:
            each = believed_checkpoint(names[number], data, trust)
        except IntegrityError as error:
            problems.append(str(error))
        else:
            if before[0] == number - 1 and each.previous != before[1]:
                problems.append(f"{each.name}: does not follow on the one before it")
            if each.entries <= furthest.get(each.store, 0):
                problems.append(f"{each.name}: tells of fewer entries than one before it")
            furthest[each.store] = each.entries
            found.append(each)
        before = number, digest_of_file(data)
    if note.number == before[0] and note.digest != before[1]:
        problems.append(f"{checkpoint_name(note.number)}: is another one than was exported")
    return found, problems


def _settled(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _gap(before: int, number: int) -> list[str]:
    if number <= before + 1:
        return []
    last = "" if number == before + 2 else f" to {checkpoint_name(number - 1)}"
    return [f"{checkpoint_name(before + 1)}{last}: is missing; restore it from a copy"]


def _log_check(project: Project, name: LogName, known: Sequence[Checkpoint], *, expected: bool) -> LogCheck:
    try:
        with open_chained_log(name, getattr(project, name)) as log:
            return check_log(log, known, expected=expected)
    except StoreDamagedError as error:
        return LogCheck(name, False, str(error))
    except StoreError as error:
        return LogCheck(name, False, str(error), error.exit_code)


def check_log(log: ChainedLog, known: Sequence[Checkpoint], *, expected: bool = True) -> LogCheck:
    """Returns whether a log is what its checkpoints saw.

    Args:
        log: Open.
        known: Its checkpoints, believed, in order.
        expected: Whether a log with entries has to have one.

    Raises:
        StoreError: The log cannot be read.
    """
    try:
        checked = log.recomputed(wanted={each.entries for each in known})
    except IntegrityError as error:
        return LogCheck(log.name, False, str(error))
    problems = list(_differences(log.name, checked, known))
    if not known and expected and checked.entries:
        problems.append(f"{log.name}: none of its {checked.entries} entries is in a checkpoint; export one")
    newest = known[-1].entries if known else 0
    rest = f"; {checked.entries - newest} came after its newest checkpoint" if known else ""
    head = f"its head is {checked.head.hex()}"
    return _check(log.name, problems, f"the chain of {checked.entries} entries is whole{rest}; {head}")


def _differences(name: LogName, checked: Verified, known: Sequence[Checkpoint]) -> Iterator[str]:
    """Yields where a log is not what its checkpoints saw; once it is not, all that follow tell no more."""
    sound = 0
    for each in known:
        if each.entries > checked.entries:
            yield (
                f"{name}: ends at entry {checked.entries}, {each.name} saw {each.entries}: "
                f"entries {checked.entries + 1} to {each.entries} were taken out"
            )
            return
        if checked.links[each.entries].hex() != each.head:
            yield (
                f"{name}: an entry from {sound + 1} to {each.entries} was changed, moved or taken out, and all links "
                f"behind it were computed anew: {each.name} saw another entry {each.entries}"
            )
            return
        sound = each.entries


def _tags_check(project: Project) -> LogCheck:
    from ..transforms.stores.consent_ledger import open_ledger
    from ..transforms.stores.data_keys import open_data_keys
    from .keyring_files import open_vault_keys

    name = "ledger_tags"
    try:
        keys = open_vault_keys(project)
        data_keys = open_data_keys(project.data_keys, keys)
    except PrivacyError:
        return LogCheck(name, True, "not checked: the key set vault, or the data keys, cannot be opened here")
    with closing(data_keys):
        try:
            with closing(open_ledger(project.ledger, keys, data_keys)) as ledger:
                checked = ledger.verify()
        except (IntegrityError, StoreDamagedError) as error:
            return LogCheck(name, False, str(error))
        except StoreError as error:
            return LogCheck(name, False, str(error), error.exit_code)
    return LogCheck(name, True, f"{checked.entries} entries bear tags of the key set vault")


def _check(name: str, problems: Sequence[str], fine: str) -> LogCheck:
    if not problems:
        return LogCheck(name, True, fine)
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return LogCheck(name, False, "; ".join(problems[:SHOWN]) + more)

"""Checks ledger and access log against every checkpoint that was exported. Needs public keys and nothing else.

Up to its last checkpoint no change of a log goes unfound: the chain shows a change of single entries, and a checkpoint
that the end was cut off or all links were computed anew. Where the key set ``vault`` is at hand, the tags of the ledger
are checked as well, which bind entries beyond the last checkpoint, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..schemas.checkpoint import LOGS, Checkpoint, LogName, checkpoint_name, digest_of_file
from ..schemas.errors import IntegrityError, PrivacyError, StoreError
from ..schemas.project import Project
from ..transforms.crypto.key_sets import PublicKeys
from ..transforms.stores.chained_log import ChainedLog, open_chained_log
from ..transforms.stores.hash_chain import Verified
from .checkpoint_folder import CheckpointFolder, open_checkpoint_folder
from .checkpoint_note import CheckpointNote, note_path, read_note
from .checkpoints import believed_checkpoint

__all__ = ["LogCheck", "LogReport", "check_log", "read_checkpoints", "verify_logs"]

SHOWN = 3


@dataclass(frozen=True, slots=True)
class LogCheck:
    """One check: its name, whether it holds, and what was found."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class LogReport:
    """All checks of the logs."""

    checks: tuple[LogCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

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
        ConfigError: The place's file system is not installed.
        PrivacyError: The place cannot be read.
    """
    own = None if project.checkpoints is None else project.checkpoints.path
    checks, known = [], list[Checkpoint]()
    used = place or own
    if used is None:
        checks.append(LogCheck("checkpoints", True, "not checked: the configuration names no place of any"))
    else:
        # Read before the logs, which may grow meanwhile.
        note = read_note(note_path(project)) if used == own else CheckpointNote()
        known, problems = read_checkpoints(open_checkpoint_folder(used), trust, note)
        checks.append(_check("checkpoints", problems, f"{len(known)}, signed, numbered without a gap"))
    for name in LOGS:
        mine = [each for each in known if each.store == name]
        checks.append(_log_check(project, name, mine, expected=used is not None))
    return LogReport((*checks, _tags_check(project)))


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


def _gap(before: int, number: int) -> list[str]:
    if number <= before + 1:
        return []
    last = "" if number == before + 2 else f" to {checkpoint_name(number - 1)}"
    return [f"{checkpoint_name(before + 1)}{last}: is missing; restore it from a copy"]


def _log_check(project: Project, name: LogName, known: Sequence[Checkpoint], *, expected: bool) -> LogCheck:
    try:
        with open_chained_log(name, getattr(project, name)) as log:
            return check_log(log, known, expected=expected)
    except StoreError as error:
        return LogCheck(name, False, str(error))


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
        except (IntegrityError, StoreError) as error:
            return LogCheck(name, False, str(error))
    return LogCheck(name, True, f"{checked.entries} entries bear tags of the key set vault")


def _check(name: str, problems: Sequence[str], fine: str) -> LogCheck:
    if not problems:
        return LogCheck(name, True, fine)
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return LogCheck(name, False, "; ".join(problems[:SHOWN]) + more)

"""Whether anything is known of a person: a slip in an id otherwise looks like a right that was granted."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ..schemas.errors import ConfigError
from ..schemas.project import Project
from ..transforms.crypto.subject_references import subject_reference
from ..transforms.stores.erasure_journal import erasures_exist, open_erasures
from .desk import open_stores

__all__ = ["SubjectTraces", "traces_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTraces:
    """What the stores know of a person, in numbers.

    Attributes:
        vault_entries: Values in the vault.
        consent_events: Events of theirs in the ledger.
        has_key: Whether there is a data key of theirs, under which dead letters may be sealed as well.
        erasure_begun: Whether their erasure was begun, or is done.
    """

    vault_entries: int
    consent_events: int
    has_key: bool
    erasure_begun: bool

    @property
    def is_known(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.vault_entries or self.consent_events or self.has_key or self.erasure_begun)


def traces_of(project: Project, subject: str) -> SubjectTraces:
    """Returns what the stores know of a person; outputs are not looked at.

    Args:
        project: Names keys and stores.
        subject: The raw id, as the datasets spell it.

    Raises:
        ConfigError: The id is blank.
        PrivacyError: Keys or stores cannot be used.
    """
    with open_stores(project) as stores:
        reference = subject_reference(subject, stores.keys.reference_key)
        if reference is None:
            raise ConfigError("--subject: is blank; name the person by the id that the datasets have")
        return SubjectTraces(
            vault_entries=len(stores.vault.entries_of(reference)),
            consent_events=len(stores.ledger.events_of(subject)),
            has_key=bool(stores.data_keys.keys_for([reference], create=False)),
            erasure_begun=_erasure_begun(project, reference),
        )


def _erasure_begun(project: Project, reference: bytes) -> bool:
    if not erasures_exist(project.erasures):
        return False
    with closing(open_erasures(project.erasures)) as journal:
        return journal.case_of(reference) is not None

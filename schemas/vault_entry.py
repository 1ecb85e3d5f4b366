"""An entry of the vault: one sealed value, held for one data subject under one token."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EntryKey", "VaultEntry"]


class EntryKey(NamedTuple):
    """What makes an entry one, within a tenant; the attributes are those of ``VaultEntry``."""

    domain: str
    token: str
    key_version: int
    subject_ref: bytes


class VaultEntry(NamedTuple):
    """One entry, as stored.

    Attributes:
        domain: Token domain.
        key_version: Version of the ``token`` key set that made the token.
        token: Canonical token.
        subject_ref: 16 bytes, the keyed reference of the subject whose value it is.
        event_time: Microseconds UTC: the latest event time that was permitted; the entry is judged by it.
        sealed: Envelope of the canonical value under the subject's data key.
    """

    domain: str
    key_version: int
    token: str
    subject_ref: bytes
    event_time: int
    sealed: bytes

    @property
    def key(self) -> EntryKey:
        """What makes the entry one."""
        return EntryKey(self.domain, self.token, self.key_version, self.subject_ref)

    def __repr__(self) -> str:
        return f"<VaultEntry: domain {self.domain}, key version {self.key_version}; token and value hidden>"

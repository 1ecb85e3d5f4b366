"""Consent events from a topic into the ledger, in the order of the topic.

An event that cannot be read neither stops those behind it nor is lost: it is handed back, for the dead letters. Taking
the same messages again adds nothing and hands back the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...schemas.consent import ConsentEvent
from ...schemas.policy import Policy
from ...transforms.stores.consent_ledger import ConsentLedger
from ..consent_files import consent_event
from ..consent_records import FaultyError, consent_record
from ..splits import RejectedLine
from .sources import Messages

__all__ = ["ConsentFeed", "FeedResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedResult:
    """What came of some messages; each is counted once.

    Attributes:
        added: Events that are new.
        known: Events that the ledger had already.
        faulty: What is no event, with its offset, a reason code and its bytes, in the order of the topic.
    """

    added: int
    known: int
    faulty: tuple[RejectedLine, ...] = field(repr=False)


class ConsentFeed:
    """Appends consent messages to a ledger.

    Args:
        ledger: Open.
        policy: Its purposes are those that events may name.
    """

    def __init__(self, ledger: ConsentLedger, policy: Policy) -> None:
        self._ledger = ledger
        self._purposes: Mapping[str, object] = policy.purposes

    def take(self, messages: Messages, *, now: int) -> FeedResult:
        """Appends the events of some messages, all of them or none.

        Args:
            messages: One JSON event each, as CONTRACTS has them.
            now: Microseconds UTC; the time of recording of events that name none.

        Raises:
            StoreError: The ledger cannot be written.
        """
        events: list[ConsentEvent] = []
        faulty: list[RejectedLine] = []
        for offset, value in zip(messages.offsets.tolist(), messages.values, strict=True):
            try:
                events.append(consent_event(consent_record(value or b""), self._purposes))
            except FaultyError as fault:
                faulty.append(RejectedLine(position=offset, reason=fault.reason, raw=value or b""))
        if not events:
            return FeedResult(added=0, known=0, faulty=tuple(faulty))
        appended = self._ledger.append(events, now=now)
        return FeedResult(added=appended.added, known=appended.known, faulty=tuple(faulty))

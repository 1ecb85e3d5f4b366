"""Records of accesses: one by one as they are read and checked, and as columns, as a desk writes many at once."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, Self

from ..crypto.envelope import associated_data, bytes_field, bytes_fields, number_field
from .hash_chain import ChainRow, links

__all__ = [
    "LINK_BYTES",
    "REFERENCE_BYTES",
    "AccessAnswer",
    "AccessRecord",
    "AccessRun",
    "LinkedAccesses",
    "LinkedRun",
    "LoggedAccess",
    "linked_runs",
    "runs_of",
]

REFERENCE_BYTES, LINK_BYTES = 16, 32
"""Sizes of what a record holds of token and customer, and of its link."""

NOBODY, SOMEBODY = associated_data(0), associated_data(1)
"""Before a value that may be missing, so that nothing looks like no other value."""

AccessRow = tuple[int, int, str, str, str, str, bytes, bytes | None, str, str, str | None, bytes]
"""Position, attributes of the record in their order, and link."""


class AccessRecord(NamedTuple):
    """One answer for one token and one customer.

    Attributes:
        at: Microseconds UTC.
        actor: Who asked.
        role: In which role.
        purpose: For which purpose.
        domain: Token domain.
        token_ref: 16 bytes, keyed reference of domain and token.
        subject_ref: 16 bytes, reference of the customer; None where none is known.
        decision: ``allowed`` or ``refused``.
        rule: Code of the rule that decided.
        shown: ``full``, ``masked`` or None.
    """

    at: int
    actor: str
    role: str
    purpose: str
    domain: str
    token_ref: bytes
    subject_ref: bytes | None
    decision: str
    rule: str
    shown: str | None

    @property
    def body(self) -> bytes:
        """The record as it is chained, apart from its position: ``associated_data`` of its attributes in order."""
        # Most records differ in their references alone, so what is around these is encoded once.
        return (
            _asked(self.at, self.actor, self.role, self.purpose, self.domain)
            + bytes_field(self.token_ref)
            + (NOBODY if self.subject_ref is None else SOMEBODY + bytes_field(self.subject_ref))
            + _answered(self.decision, self.rule, self.shown)
        )


class LoggedAccess(NamedTuple):
    """A record in its place, with its link."""

    position: int
    record: AccessRecord
    chain: bytes

    def as_row(self) -> ChainRow:
        """Returns position, the entry as it is chained, and link; None for an entry that cannot have been chained."""
        try:
            return self.position, number_field(self.position) + self.record.body, self.chain
        except (TypeError, AttributeError, ValueError, OverflowError, struct.error):
            return self.position, None, self.chain


class AccessAnswer(NamedTuple):
    """What was answered; the attributes are those of ``AccessRecord``."""

    decision: str
    rule: str
    shown: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRun:
    """Records that follow each other, all of one request; the attributes are those of ``AccessRecord``, as columns."""

    at: int
    actor: str
    role: str
    purpose: str
    domain: str
    token_refs: Sequence[bytes]
    subject_refs: Sequence[bytes | None]
    answers: Sequence[AccessAnswer]

    def __len__(self) -> int:
        return len(self.token_refs)

    def part(self, start: int, stop: int) -> AccessRun:
        """Returns the records from one place to before another."""
        return AccessRun(
            at=self.at,
            actor=self.actor,
            role=self.role,
            purpose=self.purpose,
            domain=self.domain,
            token_refs=self.token_refs[start:stop],
            subject_refs=self.subject_refs[start:stop],
            answers=self.answers[start:stop],
        )

    def bodies(self, position: int) -> Iterator[bytes]:
        """Yields what is chained of each record, the first of which stands behind a position."""
        asked = _asked(self.at, self.actor, self.role, self.purpose, self.domain)
        answered = {answer: _answered(*answer) for answer in set(self.answers)}
        known = iter(bytes_fields([subject for subject in self.subject_refs if subject is not None]))
        subjects = [NOBODY if subject is None else SOMEBODY + next(known) for subject in self.subject_refs]
        columns = zip(bytes_fields(self.token_refs), subjects, self.answers, strict=True)
        for place, (token, subject, answer) in enumerate(columns, position + 1):
            yield number_field(place) + asked + token + subject + answered[answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedRun:
    """A run in its place.

    Attributes:
        run: The records.
        position: Of the first of them.
        chain: Link of each.
    """

    run: AccessRun
    position: int
    chain: Sequence[bytes]

    @property
    def is_even(self) -> bool:
        """Whether references and links all have the sizes that they should have."""
        known = [subject for subject in self.run.subject_refs if subject is not None]
        sized = (REFERENCE_BYTES, (*self.run.token_refs, *known)), (LINK_BYTES, self.chain)
        return all({*map(type, values)} == {bytes} and {*map(len, values)} == {size} for size, values in sized)

    def rows(self) -> Iterator[AccessRow]:
        """Yields each record as it is stored."""
        run = self.run
        columns = zip(run.token_refs, run.subject_refs, run.answers, self.chain, strict=True)
        for position, (token, subject, answer, link) in enumerate(columns, self.position):
            yield position, run.at, run.actor, run.role, run.purpose, run.domain, token, subject, *answer, link


class LinkedAccesses:
    """Entries that are to be added, with their places and links.

    Args:
        runs: One after the other.
    """

    def __init__(self, runs: Sequence[LinkedRun]) -> None:
        self.runs = runs

    @classmethod
    def of(cls, entries: Sequence[LoggedAccess]) -> Self:
        """Returns entries that have places and links already."""
        found = []
        for _, several in groupby(enumerate(entries), key=lambda placed: placed[1].position - placed[0]):
            following = [entry for _, entry in several]
            start = 0
            for run in runs_of(entry.record for entry in following):
                some = following[start : start + len(run)]
                found.append(LinkedRun(run=run, position=some[0].position, chain=[entry.chain for entry in some]))
                start += len(run)
        return cls(found)

    def __iter__(self) -> Iterator[LoggedAccess]:
        for run in self.runs:
            for position, *values, link in run.rows():
                yield LoggedAccess(position, AccessRecord._make(values), link)


def runs_of(records: Iterable[AccessRecord]) -> list[AccessRun]:
    """Returns records as runs, in their order."""
    found = []
    for (at, actor, role, purpose, domain), some in groupby(records, key=lambda record: record[:5]):
        tokens, subjects, *answers = zip(*(record[5:] for record in some), strict=True)
        found.append(
            AccessRun(
                at=at,
                actor=actor,
                role=role,
                purpose=purpose,
                domain=domain,
                token_refs=tokens,
                subject_refs=subjects,
                answers=list(map(AccessAnswer, *answers)),
            )
        )
    return found


def linked_runs(runs: Iterable[AccessRun], position: int, head: bytes) -> LinkedAccesses:
    """Returns the entries that follow on a position and its link.

    Raises:
        UnicodeEncodeError: A text is none.
    """
    found: list[LinkedRun] = []
    for run in runs:
        chain = links(head, run.bodies(position))
        found.append(LinkedRun(run=run, position=position + 1, chain=chain))
        position, head = position + len(run), chain[-1]
    return LinkedAccesses(found)


# Both tell True from 1 and 1.0, which are equal as keys: who reads a changed store must not be given another's bytes.
@lru_cache(maxsize=256, typed=True)
def _asked(at: int, actor: str, role: str, purpose: str, domain: str) -> bytes:
    return associated_data(at, actor, role, purpose, domain)


@lru_cache(maxsize=256, typed=True)
def _answered(decision: str, rule: str, shown: str | None) -> bytes:
    return associated_data(decision, rule) + (NOBODY if shown is None else SOMEBODY + associated_data(shown))

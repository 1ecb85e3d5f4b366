"""What the log gets of judged tokens: a record for each customer whose value is shown, else one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ..stores.access_records import AccessAnswer, AccessRun
from .explain import Rule
from .judged_tokens import Judged, Lot

__all__ = ["Accesses", "accesses_of", "runs_in_order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """The records of a lot.

    Attributes:
        run: All of them, in the order of the lot's tokens.
        ends: Behind which record those of each token end.
    """

    run: AccessRun
    ends: Sequence[int]


def accesses_of(lot: Lot, judged: Judged, token_refs: Sequence[bytes], *, at: int) -> Accesses:
    """Returns what the log gets of a lot.

    Args:
        lot: Tokens that were asked for.
        judged: What became of each.
        token_refs: Keyed reference of each.
        at: Microseconds UTC.
    """
    request, named = lot.request, [None] * len(lot.tokens) if lot.subjects is None else lot.subjects
    shown = None if judged.domain is None else judged.domain.see[request.role].value
    said = {
        rule: AccessAnswer("allowed", rule.value, shown)
        if rule is Rule.PERMITTED
        else AccessAnswer("refused", rule.value, None)
        for rule in set(judged.rules)
    }
    run = AccessRun(
        at=at,
        actor=request.actor,
        role=request.role,
        purpose=request.purpose,
        domain=request.domain,
        token_refs=token_refs,
        subject_refs=[owner or subject or None for owner, subject in zip(judged.owners, named, strict=True)],
        answers=[said[rule] for rule in judged.rules],
    )
    return _with_further(run, judged.further) if judged.further else Accesses(run=run, ends=range(1, len(run) + 1))


def _with_further(run: AccessRun, further: Mapping[int, Sequence[bytes]]) -> Accesses:
    """Returns the records of a run, each followed by those of the further customers at its place."""
    places = [place for place in range(len(run)) for _ in range(1 + len(further.get(place, ())))]
    subjects = [subject for place, first in enumerate(run.subject_refs) for subject in (first, *further.get(place, ()))]
    whole = replace(
        run,
        token_refs=[run.token_refs[place] for place in places],
        subject_refs=subjects,
        answers=[run.answers[place] for place in places],
    )
    counts = (1 + len(further.get(place, ())) for place in range(len(run)))
    return Accesses(run=whole, ends=list(accumulate(counts)))


def runs_in_order(accesses: Sequence[Accesses], places: Sequence[int]) -> list[AccessRun]:
    """Returns the records of several lots in the order of their tokens.

    Args:
        accesses: Of each lot.
        places: The place of each token, lot by lot.
    """
    if len(accesses) == 1:
        return [accesses[0].run]
    owners = [lot for lot, each in enumerate(accesses) for _ in each.ends]
    starts = [start for each in accesses for start in (0, *each.ends[:-1])]
    ends = [end for each in accesses for end in each.ends]
    parts: list[tuple[int, int, int]] = []
    for _, lot, start, end in sorted(zip(places, owners, starts, ends, strict=True)):
        if parts and parts[-1][0] == lot and parts[-1][2] == start:
            start = parts.pop()[1]
        parts.append((lot, start, end))
    return [accesses[lot].run.part(start, end) for lot, start, end in parts]

"""Findings: where a sensitive value stands in a text, what it is, how sure that is, and why."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from ...schemas.info_types import Entity

__all__ = ["Finding", "disjoint"]

START, PLACE = itemgetter(0), itemgetter(0, 1)


class Finding(NamedTuple):
    """A sensitive value.

    Attributes:
        start: Where it begins.
        end: Behind its last character.
        entity: What it is; None for what looks like a value and is known to be none, such as a serial number.
        score: How sure that is, 0 to 1.
        reason: Why, in words for people, without the value.
    """

    start: int
    end: int
    entity: Entity | None
    score: float
    reason: str


def disjoint(findings: Iterable[Finding]) -> list[Finding]:
    """Returns findings that do not overlap, in order: of those that do, the surest stays, among equals the longest.

    Findings without entity keep others away and are not returned.
    """
    kept: list[Finding] = []
    group: list[Finding] = []
    reach = -1
    for finding in sorted(findings, key=PLACE):
        if finding.start >= reach:
            kept += group if len(group) < 2 else _best(group)
            group, reach = [finding], finding.end
        else:
            group.append(finding)
            reach = max(reach, finding.end)
    kept += _best(group)
    return [finding for finding in kept if finding.entity is not None]


def _best(group: list[Finding]) -> list[Finding]:
    """Of findings that overlap in a chain, those that stay."""
    chosen: list[Finding] = []
    for finding in sorted(group, key=lambda each: (-each.score, each.start - each.end, each.start)):
        place = bisect(chosen, finding.start, key=START)
        if (not place or chosen[place - 1].end <= finding.start) and (
            place == len(chosen) or finding.end <= chosen[place].start
        ):
            chosen.insert(place, finding)
    return chosen

"""Finds sensitive values in texts, over whole columns.

Most texts hold nothing, so a gate looks first, at the speed of the memory: digits close together by numpy, all else by
one pattern. What passes is joined to one text and searched by each detector; values that overlap are settled by how
sure they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from ..values.byte_rows import Bools, Bytes, Int64s, places_of
from .birth_dates import birth_dates
from .cards import cards
from .findings import Finding, disjoint
from .ibans import COUNTRIES, ibans
from .joined_text import JoinedText, first_in, pattern
from .network import emails, ip_addresses, mac_addresses, urls
from .number_chains import SHORTEST, chains
from .person_numbers import insurance_numbers, personal_numbers
from .phones import phones
from .recognizers import Recognizer, recognized
from .secrets import secrets
from .skeletons import Skeletons, skeletons
from .wallets import wallets

__all__ = ["find_in_texts"]

GATE = pattern(
    r"@|%40|://|[0-9]\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]:[0-9A-Fa-f:]{0,4}:|::[0-9A-Fa-f]"
    r"|[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]"
    r"|[0-9A-Za-z_-]{20}|-----BEGIN"
    rf"|(?i:{COUNTRIES}) ?[0-9]{{2}}[ -]?(?:[0-9A-Za-z]{{4}}[ -]?){{2}}[0-9A-Za-z]{{3}}"
    r"|[A-Za-z]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-Da-d]"
    r"|(?i:passw|passphrase|passcode|passwd|pwd|secret|api.?key|token|kennwort|mot de passe|contrase|clave|senha"
    r"|has[l\xe0]o|bearer|access.?key|(?:mdp|pass|pw)[^0-9a-z]|authoriz|palavra|parola|credential"
    r"|\x94\x95\x96|nac\. ?[0-9]|ne\(e\)|cumplea|complean|aniver"
    r"|born|birth|ur\. ?[0-9]|dob|bday|geb|naiss|dsels|f[o\xe0]d[dt]|syntym|narozen|szulet|dogum|nacim|nascim|nee? le "
    r"|naci|nasci|nato |nata |urodz|\x8b|d\.o\.b)|[Nn]ee? (?:a|en) [A-Z]"
)
NEAR = 20
"""Bytes within which seven digits may be one value."""
FEWEST_DIGITS = SHORTEST
CHUNK = 1 << 17

SHIELDS = (
    (pattern(r"\[[A-Za-z][0-9A-Za-z_-]{0,63}:[0-9]{1,9}:[^\[\]\x00]{1,200}\]"), 1.0, "a token"),
    (pattern(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"), 0.992, "a UUID"),
    (
        pattern(r"\b(?:19|20)[0-9]{2}[-/.](?:0[1-9]|1[0-2])[-/.](?:0[1-9]|[12][0-9]|3[01])(?:[T ][0-9]{2})?\b"),
        0.92,
        "a date",
    ),
    (pattern(r"\b(?:0?[1-9]|[12][0-9]|3[01])[-/.](?:0?[1-9]|[12][0-9]|3[01])[-/.](?:19|20)[0-9]{2}\b"), 0.92, "a date"),
)
"""What looks like values and is none: how surely, and what it is."""


def find_in_texts(
    column: pa.Array, recognizers: Sequence[Recognizer] = (), *, tokens: bool = True
) -> Iterator[tuple[int, list[Finding]]]:
    """Yields the rows in which something was found with their findings, disjoint and in order.

    Args:
        column: ``string`` or ``large_string``; nulls hold nothing.
        recognizers: Detectors of other makers that are asked, too.
        tokens: Whether ``[card:1:…]`` is taken for a token, in which nothing is found. In texts that were never
            protected it is what anybody may have written.

    Yields:
        Row and findings; ``start`` and ``end`` count code points of the row's text.

    >>> [(row, found.entity.value, found.start, found.end)
    ...  for row, findings in find_in_texts(pa.array(["no", "card 4111 1111 1111 1111"])) for found in findings]
    [(1, 'CREDIT_CARD', 5, 24)]
    """
    found: list[tuple[int, Finding]] = []
    for part in skeletons(column):
        chosen = _passing(part)
        if len(chosen):
            text = JoinedText(part.take(chosen) if len(chosen) < len(part) else part)
            found += text.in_rows(_found(text, tokens))
    found += recognized(column, recognizers, tokens=tokens)
    found.sort(key=itemgetter(0))
    for row, group in groupby(found, itemgetter(0)):
        findings = [finding for _, finding in group]
        yield row, disjoint(findings) if recognizers else findings


def _passing(part: Skeletons) -> Int64s:
    """Returns the rows of some skeletons in which something may be found; each as if it stood alone."""
    data, ends = part.data[part.offsets[0] : part.offsets[-1]], part.offsets[1:] - part.offsets[0]
    passes = np.zeros(len(part), np.bool_)
    digits = _digits(data)
    lead, rear = digits[: 1 - FEWEST_DIGITS], digits[FEWEST_DIGITS - 1 :]
    near = rear - lead <= NEAR
    first, last = _rows(ends, lead[near], rear[near])
    passes[first[first == last]] = True
    _gate(data, ends, passes)
    return np.flatnonzero(passes)


def _digits(data: Bytes) -> Int64s:
    """Returns the places of digits, a cache's worth of bytes at a time."""
    found, flags = [np.empty(0, np.int64)], np.empty(min(len(data), CHUNK), np.uint8)
    for start in range(0, len(data), CHUNK):
        chunk = data[start : start + CHUNK]
        np.subtract(chunk, ord("0"), out=flags[: len(chunk)])
        found.append(places_of(flags[: len(chunk)] < 10) + start)
    return np.concatenate(found)


def _gate(data: Bytes, ends: Int64s, passes: Bools) -> None:
    """Marks the rows in which the gate's pattern begins; after a hit the next row is looked at.

    What reaches into the next row is no hit, but the row may be looked at in vain.
    """
    text, limits, place, row = data.tobytes(), ends.tolist(), 0, 0
    while (start := first_in(GATE, text, place)) >= 0:
        row = bisect_right(limits, start, row)
        passes[row] = True
        place = limits[row]


def _rows(ends: Int64s, first: Int64s, last: Int64s) -> tuple[Int64s, Int64s]:
    return np.searchsorted(ends, first, side="right"), np.searchsorted(ends, last, side="right")


def _found(text: JoinedText, tokens: bool) -> list[Finding]:
    found = [finding for detect in DETECTORS for finding in detect(text)]
    previous = -1
    for chain in chains(text):
        found_cards = list(cards(text, chain)) if chain.cards else []
        found += found_cards
        if found_cards and any(card.start <= chain.start and chain.end <= card.end for card in found_cards):
            continue
        if chain.persons:
            found += personal_numbers(text, chain)
        numbers = list(phones(text, chain, previous))
        if numbers:
            found += numbers
            previous = numbers[-1].end
    if found:
        for shield, score, what in SHIELDS if tokens else SHIELDS[1:]:
            found += [Finding(start, end, None, score, what) for start, end in text.spans(shield)]
    return disjoint(found)


DETECTORS: tuple[Callable[[JoinedText], Iterator[Finding]], ...] = (
    emails,
    urls,
    ip_addresses,
    mac_addresses,
    ibans,
    insurance_numbers,
    wallets,
    secrets,
    birth_dates,
)

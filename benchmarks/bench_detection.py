"""How fast sensitive values are found in texts, rows per second, beside RE2 itself and the peers on the same rows.

Peers take a text at a time; they get an even part of the rows, and their rate is per row. Texts come from the labelled
set of the tests, whose makers know nothing of the detectors.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import re2
from consentry.schemas.text_tokens import Replacement, escaped_around
from consentry.transforms.detection import replaced_spans
from consentry.transforms.detectors.free_text import find_in_texts
from consentry.transforms.prepared_spans import DEFAULT, PreparedSpan, prepared, with_replacements
from detection_peers import Peer, peers
from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import RecognizerResult

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from oracles.labelled_texts import labelled_texts

ROWS = 1_000_000
DENSE_ROWS = 20_000
BATCH = 65_536
REPEATS = 3
TOKEN = "[card:1:4000005123450003]"
LENGTH = 63
"""Bytes of a row, on average."""
HOLDING = 0.02
"""Rows that hold something; of the others a quarter has a small number, the rest are words."""
LOOKING = 0.18
"""Rows with look-alikes that are nothing: serial numbers, dates, amounts, versions."""
SIMPLE = r"[0-9][0-9 -]{11,17}[0-9]"
WORDS = (
    "please call me back about the order I placed last week and tell the driver to ring twice at the side door since "
    "nobody hears the bell thanks for your patience we are looking into it the parcel was damaged when it arrived so "
    "could you send another one or return the money the colour is not what was shown and it is too small for us "
)


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row per kind of texts and peer: rows/s of ours, of the peer or limit, and their ratio."""
    count, rng = max(20_000, int(ROWS * scale)), Random(20)
    dense = [item.text for item in labelled_texts(max(4_000, int(DENSE_ROWS * scale)), 20)]
    clean, numbers = _clean(rng, count), _with_numbers(rng, count)
    mixed, looking = _mixed(rng, count, looking=0), _mixed(rng, count, looking=LOOKING)
    others = peers()
    gc.freeze()  # else the collector walks these lists again and again, on everybody's time
    rows = _beside(f"{count:,} rows, 2 % hold something", mixed, others)
    rows += _beside("the same, found and replaced by tokens, beside finding alone", mixed, others, _replacing_rate)
    rows += _beside("2 % hold something, 18 % look like it", looking, others)
    rows += _beside("labelled texts, half hold something", dense, others)
    rows += _beside("rows of words, nothing to find", clean, others)
    rows.append(_against_re2("rows of words, nothing to find", clean))
    rows.append(_against_re2("rows with a small number each, nothing to find", numbers))
    rows.append(_replacing(max(2_000, int(20_000 * scale))))
    return rows


def _beside(
    name: str,
    texts: Sequence[str],
    others: Sequence[Peer | str],
    our_rate: Callable[[Sequence[str]], float] | None = None,
) -> list[dict[str, Any]]:
    rate = (our_rate or _our_rate)(texts)
    return [{"name": name, "rate_per_s": rate, **_peer_rate(texts, rate, other)} for other in others]


def _peer_rate(texts: Sequence[str], rate: float, other: Peer | str) -> dict[str, Any]:
    if isinstance(other, str):
        return {"peer": other, "peer_rate": None, "ratio": None}
    part = texts[:: max(1, len(texts) // other.rows)]
    peer_rate = _rate(lambda: [other.find(text) for text in part], len(part))
    return {"peer": other.name, "peer_rate": peer_rate, "ratio": rate / peer_rate}


def _against_re2(name: str, texts: Sequence[str]) -> dict[str, Any]:
    rate, pattern = _our_rate(texts), re2.compile(SIMPLE.encode())
    joined = ["\0".join(texts[start : start + BATCH]).encode() for start in range(0, len(texts), BATCH)]
    limit = _rate(lambda: [sum(1 for _ in pattern.finditer(part)) for part in joined], len(texts))
    what = "RE2, one simple pattern over the joined bytes"
    return {"name": name, "rate_per_s": rate, "limit": what, "limit_rate": limit, "ratio": rate / limit}


def _replacing(count: int) -> dict[str, Any]:
    """Replacing one span a text by what is known: many texts a call, a text a call, and by bare slices."""
    value = "4111 1111 1111 1111"
    texts = [f"paid with {value} on day {number}, please check" for number in range(count)]
    start, end = 10, 10 + len(value)
    engine = AnonymizerEngine()
    engine.add_anonymizer(PreparedSpan)
    found = Replacement(start=start, end=end, entity="CREDIT_CARD", text=TOKEN, is_token=True)

    def one_by_one() -> list[str]:
        return [
            engine.anonymize(
                text,
                [RecognizerResult("CREDIT_CARD", start, end, 1.0)],
                {DEFAULT: prepared([TOKEN])},
                merge_entities_with_spaces=False,
            ).text
            for text in texts
        ]

    def ours() -> list[str]:
        return with_replacements(escaped_around(text, [found]) for text in texts)

    def sliced() -> list[str]:
        return [text[:start] + TOKEN + text[end:] for text in texts]

    if not ours() == one_by_one() == sliced():
        raise AssertionError("presidio-anonymizer and we disagree")
    rate, peer, limit = (_rate(work, count) for work in (ours, one_by_one, sliced))
    return {
        "name": "replacing a span, texts/s",
        "rate_per_s": rate,
        "peer": "presidio-anonymizer, a text a call",
        "peer_rate": peer,
        "ratio": rate / peer,
        "limit": "slices in Python",
        "limit_rate": limit,
    }


def _our_rate(texts: Sequence[str]) -> float:
    column = pa.array(texts, pa.string())
    parts = [column.slice(start, BATCH) for start in range(0, len(column), BATCH)]
    return _rate(lambda: [sum(1 for _ in find_in_texts(part)) for part in parts], len(texts))


def _replacing_rate(texts: Sequence[str]) -> float:
    """The pipeline's whole way of free text, except for making the tokens."""
    column = pa.array(texts, pa.string())
    parts = [column.slice(start, BATCH) for start in range(0, len(column), BATCH)]
    return _rate(lambda: [replaced_spans(part, _tokens) for part in parts], len(texts))


def _tokens(_entity: Any, values: pa.StringArray, _rows: Any) -> list[tuple[str, bool]]:
    return [(TOKEN, True)] * len(values)


def _mixed(rng: Random, count: int, *, looking: float) -> list[str]:
    """Rows of ``LENGTH`` bytes on average of which ``HOLDING`` hold something and ``looking`` look like it."""
    short = [item for item in labelled_texts(max(2_000, count // 10), 21) if len(item.text.encode()) < 2 * LENGTH]
    kinds: list[Callable[[], str]] = [
        partial(rng.choice, [item.text for item in short if item.spans]),
        partial(rng.choice, [item.text for item in short if not item.spans]),
        partial(_numbered, rng),
        partial(_words, rng),
    ]
    others = 1 - HOLDING - looking
    return [make() for make in rng.choices(kinds, [HOLDING, looking, others / 4, others * 3 / 4], k=count)]


def _clean(rng: Random, count: int) -> list[str]:
    return [_words(rng) for _ in range(count)]


def _with_numbers(rng: Random, count: int) -> list[str]:
    return [_numbered(rng) for _ in range(count)]


def _numbered(rng: Random) -> str:
    return f"{_words(rng)[:-4]} {rng.randrange(10, 999)}"


def _words(rng: Random) -> str:
    length, first = int(rng.uniform(0.5, 1.5) * LENGTH), rng.randrange(len(WORDS))
    return (WORDS[first:] + WORDS)[:length]


def _rate(work: Callable[[], Any], rows: int) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return rows / best

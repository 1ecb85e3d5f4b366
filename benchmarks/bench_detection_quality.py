"""How well sensitive values are found, beside the peers on the same labelled texts, and what columns are taken for.

A peer is compared on the entities that it and we know: of the labels and of what either finds only these count. F1 is
of exact spans, ``leaked`` the share of labelled characters that no found span covers. A column counts as right if it
is taken for what it is labelled as, and a leak into it is told.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from detection_peers import Peer, Spans, our_spans, peers, settled

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from oracles.detection_score import Score, score
from oracles.labelled_columns import LabelledColumn, labelled_columns
from oracles.labelled_texts import LabelledText, labelled_texts

TEXTS = 6_000
SEED = 404
CARD = "CREDIT_CARD"


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row for all entities, one per peer for the entities in common, and one for columns."""
    labelled = labelled_texts(max(1_000, int(TEXTS * scale)), SEED)
    ours = our_spans([item.text for item in labelled])
    rows = [{"name": "labelled texts, all entities", **_figures(score(labelled, ours))}]
    rows += [_beside(labelled, ours, other) for other in peers()]
    return [*rows, *_columns()]


def _beside(labelled: Sequence[LabelledText], ours: Sequence[Spans], other: Peer | str) -> dict[str, Any]:
    if isinstance(other, str):
        return {"name": "labelled texts", "peer": other}
    common = [LabelledText(item.text, tuple(_of(item.spans, other.entities))) for item in labelled]
    mine = score(common, [_of(spans, other.entities) for spans in ours])
    theirs = max(_scores(common, other), key=lambda each: each.overall.f1)
    figures = {f"peer_{name}": value for name, value in _figures(theirs).items()}
    name = f"labelled texts, {len(other.entities)} entities in common"
    return {"name": name, **_figures(mine), "peer": other.name, **figures}


def _scores(common: Sequence[LabelledText], other: Peer) -> list[Score]:
    found = [other.find(item.text) for item in common]
    return [score(common, [settled(each, least) for each in found]) for least in other.least_scores]


def _of(spans: Sequence[tuple[int, int, str]], entities: frozenset[str]) -> Spans:
    return [span for span in spans if span[2] in entities]


def _figures(found: Score) -> dict[str, float]:
    cards, all_of_them = found.entities[CARD], found.overall
    return {
        "f1": all_of_them.f1,
        "leaked": all_of_them.leaked_share,
        "card_recall": cards.recall,
        "card_precision": cards.precision,
    }


def _columns() -> list[dict[str, Any]]:
    try:
        from consentry.transforms.detectors.column_types import column_type
    except ImportError:
        return []
    columns = labelled_columns(SEED)
    right = [_is_right(column_type(_array(each), each.column), each) for each in columns]
    return [
        {"name": f"{len(columns)} labelled columns, share taken for what they are", "right": sum(right) / len(right)}
    ]


def _array(column: LabelledColumn) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in column.values], pa.string())


def _is_right(found: Any, column: LabelledColumn) -> bool:
    kind = found.kind.value
    taken = found.entity.value if kind == "ENTITY" else kind if kind in {"MIXED", "FREE_TEXT"} else None
    leaks = {leak.entity.value for leak in found.leaks}
    return taken == column.expected and (column.leak is None or column.leak in leaks)

"""How well found spans agree with labelled ones: exact spans by entity, and the share of characters that leak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oracles.labelled_texts import LabelledText, Span

__all__ = ["Score", "Tally", "score"]

CONTEXT = 30


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of exact spans, and of labelled characters: all, and those that no found span covers."""

    hits: int = 0
    misses: int = 0
    false_hits: int = 0
    characters: int = 0
    leaked: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.hits + other.hits,
            self.misses + other.misses,
            self.false_hits + other.false_hits,
            self.characters + other.characters,
            self.leaked + other.leaked,
        )

    @property
    def precision(self) -> float:
        return _share(self.hits, self.hits + self.false_hits)

    @property
    def recall(self) -> float:
        return _share(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        return _share(2 * self.hits, 2 * self.hits + self.misses + self.false_hits)

    @property
    def leaked_share(self) -> float:
        return self.leaked / self.characters if self.characters else 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """A span that was missed or found wrongly, and in which text."""

    index: int
    text: str
    span: Span

    def __str__(self) -> str:
        start, end, entity = self.span
        around = self.text[max(0, start - CONTEXT) : start], self.text[start:end], self.text[end : end + CONTEXT]
        return f"{self.index}: {entity} {start}:{end} {'⟦'.join(around[:2])}⟧{around[2]}".replace("\n", "⏎")


@dataclass(frozen=True, slots=True)
class Score:
    """The tallies by entity; ``str`` prints them as a table, ``misses`` and ``false_hits`` say which spans.

    A span that is found with other ends, or as another entity, is a miss and a false hit. What leaks does not ask for
    the entity: a character is safe if any found span covers it.
    """

    entities: dict[str, Tally]
    misses: tuple[Finding, ...]
    false_hits: tuple[Finding, ...]

    @property
    def overall(self) -> Tally:
        return sum(self.entities.values(), Tally())

    def __str__(self) -> str:
        rows = [("all", self.overall), *sorted(self.entities.items())]
        lines = [f"{'entity':<22}{'labelled':>9}{'found':>8}{'precision':>11}{'recall':>9}{'F1':>9}{'leaked':>9}"]
        lines += [
            f"{name:<22}{row.hits + row.misses:>9}{row.hits + row.false_hits:>8}"
            f"{row.precision:>11.4f}{row.recall:>9.4f}{row.f1:>9.4f}{row.leaked_share:>9.4f}"
            for name, row in rows
        ]
        return "\n".join(lines)


def score(labelled: Sequence[LabelledText], found: Sequence[Iterable[Span]]) -> Score:
    """Returns how ``found``, the spans of each text as (start, end, entity), agrees with the labels."""
    tallies: dict[str, Tally] = {}
    missed, wrong = [], []
    for index, (item, spans) in enumerate(zip(labelled, found, strict=True)):
        expected, given = set(item.spans), {(start, end, str(entity)) for start, end, entity in spans}
        covered = {place for start, end, _ in given for place in range(start, end)}
        for span in sorted(expected | given):
            start, end, entity = span
            if span in expected:
                leaked = sum(place not in covered for place in range(start, end))
                change = Tally(span in given, span not in given, 0, end - start, leaked)
            else:
                change = Tally(false_hits=1)
            tallies[entity] = tallies.get(entity, Tally()) + change
        missed += [Finding(index, item.text, span) for span in sorted(expected - given)]
        wrong += [Finding(index, item.text, span) for span in sorted(given - expected)]
    return Score(tallies, tuple(missed), tuple(wrong))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0

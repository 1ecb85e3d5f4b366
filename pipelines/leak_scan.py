"""Searches the rows of an output for values that are in clear, and for canaries that were planted in its source.

Reads batch by batch, so memory does not grow with the output. A sample takes rows at random from row groups that lie
at equal steps of all rows, seeded: the same output gives the same rows. Dead letters are sealed, and not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.info_types import Format, KeepRule, TokenizeRule
from ..schemas.manifest import Manifest
from ..schemas.policy import Policy
from ..transforms.canaries import Canaries
from ..transforms.leaf_columns import Leaf, leaves
from ..transforms.leak_search import find_leaks
from ..transforms.plain_layouts import plain_batch
from ..transforms.values.masking import masked_text
from .leak_report import CANARY, Bound, Leak, LeakReport, Place, ScannedColumn
from .leak_wording import CANARY_SAYS, checked_how, says_of
from .output_folder import OutputFolder

__all__ = ["Progress", "scan_output"]

Progress = Callable[[int, int], None]

BATCH_ROWS = 32_768
GROUPS = 64
SEED = 0
SHOWN = 20
"""Places told of each kind in each column; all are counted."""


def scan_output(
    folder: OutputFolder,
    manifest: Manifest,
    *,
    policy: Policy | None = None,
    canaries: Canaries | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> LeakReport:
    """Returns what the data files of an output hold in clear.

    Args:
        folder: Holds the output; its files must be those that the manifest lists.
        manifest: Of the output.
        policy: Tells the formats of tokens in texts, of which the manifest has those of columns alone, and what is
            kept on purpose: what an info type that keeps ``finds``. None: nothing is.
        canaries: Searched in all values and names.
        sample: Rows to look at; None, or as many as there are: all.
        progress: Called with rows looked at and to look at.

    Raises:
        RunError: An object store cannot be asked.
    """
    files = [file.path for file in manifest.files if file.kind == "data"]
    groups = [group for path in files for group in _groups(folder, path)]
    quotas = _quotas(groups, sample)
    rules = {} if policy is None else policy.info_types
    told = {name: rule.format for name, rule in rules.items() if isinstance(rule, TokenizeRule)}
    kept = {name: frozenset(map(str, rule.finds)) for name, rule in rules.items() if isinstance(rule, KeepRule)}
    found = _Found({**_formats(manifest), **told}, kept, canaries)
    done, total = 0, sum(quotas)
    for path in files:
        chosen = [(group, quota) for group, quota in zip(groups, quotas, strict=True) if group.path == path]
        found.look_at_names(path, folder)
        for first, rows, batch in _batches(folder, path, chosen):
            found.look_at(path, first, rows, batch)
            done += batch.num_rows
            if progress is not None:
                progress(done, total)
    bound = Bound(
        rows=done,
        rows_total=sum(group.rows for group in groups),
        groups=sum(quota > 0 for quota in quotas),
        groups_total=len(groups),
    )
    return found.report(bound)


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group: the file and its place in it, how many rows come before it there and how many it has."""

    path: str
    place: int
    first: int
    rows: int


Rows = np.ndarray


def _groups(folder: OutputFolder, path: str) -> Iterator[_Group]:
    with folder.open(path) as opened, pq.ParquetFile(opened) as parquet:
        first = 0
        for place in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(place).num_rows
            yield _Group(path, place, first, rows)
            first += rows


def _quotas(groups: Sequence[_Group], sample: int | None) -> list[int]:
    """Returns how many rows of each group are looked at."""
    sizes = [group.rows for group in groups]
    if sample is None or sample >= sum(sizes):
        return sizes
    chosen = _chosen(sizes, sample)
    quotas = [0] * len(groups)
    left = sample
    for done, place in enumerate(sorted(chosen, key=lambda place: sizes[place])):
        quotas[place] = min(sizes[place], -(-left // (len(chosen) - done)))
        left -= quotas[place]
    return quotas


def _chosen(sizes: Sequence[int], sample: int) -> list[int]:
    """Returns groups at equal steps of all rows, as many as the sample needs and some more, so that it is spread."""
    ends = np.cumsum(sizes)
    count = min(GROUPS, sample)
    while True:
        step = ends[-1] / count
        start = np.random.default_rng(SEED).uniform(0, step)
        places = np.searchsorted(ends, start + step * np.arange(count), side="right")
        chosen: list[int] = np.unique(np.minimum(places, len(sizes) - 1)).tolist()
        if sum(sizes[place] for place in chosen) >= sample:
            return chosen
        count *= 2


def _batches(
    folder: OutputFolder, path: str, chosen: Sequence[tuple[_Group, int]]
) -> Iterator[tuple[int, Rows | None, pa.RecordBatch]]:
    """Yields where each batch begins in its file, which of its rows were taken (None: all), and those rows."""
    with folder.open(path) as opened, pq.ParquetFile(opened, memory_map=False) as parquet:
        for group, quota in chosen:
            if quota:
                random = np.random.default_rng((SEED, *group.path.encode(), group.place))
                taken = None if quota == group.rows else np.sort(random.choice(group.rows, quota, replace=False))
                yield from _of_group(parquet, group, taken)


def _of_group(
    parquet: pq.ParquetFile, group: _Group, taken: Rows | None
) -> Iterator[tuple[int, Rows | None, pa.RecordBatch]]:
    start = 0
    for batch in parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group.place]):
        end = start + batch.num_rows
        if taken is None:
            yield group.first + start, None, plain_batch(batch)
        else:
            rows = taken[(taken >= start) & (taken < end)] - start
            if len(rows):
                yield group.first + start, rows, plain_batch(batch).take(pa.array(rows))
        start = end


def _formats(manifest: Manifest) -> dict[str, Format]:
    return {
        each.info_type: Format(each.format)
        for each in manifest.fields.values()
        if each.info_type is not None and each.format in tuple(Format)
    }


@dataclass(slots=True)
class _Tally:
    """What was seen of one kind in one column."""

    says: str
    values: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, place: Place) -> None:
        self.values += 1
        if len(self.places) < SHOWN:
            self.places.append(place)


@dataclass(slots=True)
class _Found:
    """What was seen so far."""

    formats: Mapping[str, Format]
    kept: Mapping[str, frozenset[str]]
    canaries: Canaries | None
    columns: dict[str, ScannedColumn] = field(default_factory=dict)
    on_purpose: dict[str, Counter[str]] = field(default_factory=dict)
    leaks: dict[tuple[str, str], _Tally] = field(default_factory=dict)

    def look_at_names(self, path: str, folder: OutputFolder) -> None:
        """Searches names and metadata of a file's columns for canaries."""
        if self.canaries is None:
            return
        with folder.open(path) as opened, pq.ParquetFile(opened) as parquet:
            schema = parquet.schema_arrow
        for name in [path, *_names(schema)]:
            told = self.canaries.find_in(name)
            if told is not None:
                self._add(masked_text(name), CANARY, CANARY_SAYS, Place(path, None, _written(*told)))

    def look_at(self, path: str, first: int, rows: Rows | None, batch: pa.RecordBatch) -> None:
        """Searches a batch whose rows are the ``rows`` of the file behind ``first``."""
        for leaf in leaves(batch):
            column = self._column(leaf)
            where = _Where(path, first, rows, leaf)
            permitted = self._permitted(leaf)
            for leaked in find_leaks(leaf, self.formats):
                if leaked.kind in permitted:
                    self.on_purpose.setdefault(column, Counter())[leaked.kind] += 1
                    continue
                self._add(column, leaked.kind, says_of(leaf, leaked.kind), where.of(leaked.place, leaked.masked))
            if self.canaries is not None:
                for place, line, how in self.canaries.find(leaf.values):
                    self._add(column, CANARY, CANARY_SAYS, where.of(place, _written(line, how)))

    def report(self, bound: Bound) -> LeakReport:
        """Returns what was seen."""
        leaks = [
            Leak(column=column, kind=kind, values=tally.values, says=tally.says, places=tuple(tally.places))
            for (column, kind), tally in self.leaks.items()
        ]
        return LeakReport(
            bound=bound,
            columns=tuple(
                replace(each, kept_on_purpose=dict(self.on_purpose.get(name, {})))
                for name, each in self.columns.items()
            ),
            leaks=tuple(sorted(leaks, key=lambda leak: (leak.kind == CANARY, leak.column, leak.kind))),
            canaries=None if self.canaries is None else len(self.canaries),
        )

    def _permitted(self, leaf: Leaf) -> frozenset[str]:
        """Returns what may stand in a column: in a kept one what its info type finds, in texts what any such does."""
        match leaf.marks.get("action"):
            case "keep":
                return self.kept.get(leaf.marks.get("info_type", ""), frozenset())
            case "scan":
                return frozenset().union(*self.kept.values())
            case _:
                return frozenset()

    def _column(self, leaf: Leaf) -> str:
        name = str(leaf.path)
        if self.canaries is not None and self.canaries.find_in(name) is not None:
            name = masked_text(name)
        before = self.columns.get(name)
        values = (0 if before is None else before.values) + len(leaf.values) - leaf.values.null_count
        action = leaf.marks.get("action")
        self.columns[name] = ScannedColumn(
            column=name, action=action, values=values, checked=checked_how(leaf), kept_on_purpose={}
        )
        return name

    def _add(self, column: str, kind: str, says: str, place: Place) -> None:
        self.leaks.setdefault((column, kind), _Tally(says)).add(place)


@dataclass(frozen=True, slots=True)
class _Where:
    path: str
    first: int
    rows: Rows | None
    leaf: Leaf

    def of(self, place: int, masked: str) -> Place:
        row = self.leaf.row(place)
        return Place(self.path, self.first + (row if self.rows is None else int(self.rows[row])) + 1, masked)


def _written(line: int, how: str) -> str:
    return f"canary of line {line}, {how}"


def _names(schema: pa.Schema) -> Iterator[str]:
    for key, value in (schema.metadata or {}).items():
        yield from (key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
    for child in schema:
        yield from _names_of(child)


def _names_of(column: pa.Field) -> Iterator[str]:
    yield column.name
    for key, value in (column.metadata or {}).items():
        yield from (key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
    for place in range(column.type.num_fields):
        yield from _names_of(column.type.field(place))

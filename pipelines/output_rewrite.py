"""Rewrites the rows of an existing output and publishes the result as its new state, at one moment for readers.

Data files are read batch by batch. A file of which something changes is written anew, all others stay as they are (hard
links; in an object store the objects themselves). Dead letters stay. The new manifest is the old one with the
rewriting's counts added, and signed. Killed anywhere, the output is in its old state or in its new one, and the next
command there removes what was left. The output of a stream is rewritten by ``streams.stream_rewrite``.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError, RunError
from ..schemas.manifest import Books, ConsentOutcomes, FieldTreatment, Manifest, OutputFile
from ..schemas.project import Project
from ..transforms.crypto.key_sets import ProofKeys
from ..transforms.failures import guarded
from ..transforms.tally import Tally
from .letters import LetterOutput
from .manifest_file import sign_manifest, software_used
from .output_folder import OutputFolder
from .output_state import alone_in, check_still, exchange_state, sound_output
from .publication import DATA, LocalPublication, Publication, is_local, open_publication
from .sinks import FileWriter, Receipt, write_empty

__all__ = ["MakeRewriting", "Rewriting", "RewrittenFiles", "rewrite_files", "rewrite_output", "run_name", "tallied"]

BATCH_ROWS = 65_536


class Rewriting(Protocol):
    """What becomes of the rows of one output; made for it, used once, by one thread."""

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Returns the schema of a file's new form, field metadata included; an equal one where it stays."""
        ...

    def rewrite(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the rows that stay, of the new schema; the same object where nothing changes.

        Called once for each batch, in order of files and rows.
        """
        ...

    def tally(self) -> Tally:
        """Returns what the counts of ``transforms.tally`` change by, once all rows were seen; some are negative.

        ``rows`` and ``field`` must stay true of the rows that remain: ``verify`` adds them up. What was removed is
        counted under ``removed`` by its reason. Rows that were dropped are counted here by who rewrites.
        """
        ...

    def outdated(self, manifest: Manifest) -> bool:
        """Whether the manifest must be told anew even where no file changes."""
        ...

    def before_shown(self) -> None:
        """Does what must be done first: called when all new files are complete and before any of them is visible."""
        ...

    def told(self, manifest: Manifest) -> Manifest:
        """Returns the manifest with what else the rewriting changed, as key versions; not yet signed.

        The manifest of a stream is made of what its journal knows, so that it is not asked there.
        """
        ...


MakeRewriting = Callable[[Manifest], Rewriting]
"""Makes the rewriting for an output that was verified and is locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenFiles:
    """What came of the data files.

    Attributes:
        kept: Those that stay as they are.
        gone: Those that are written anew.
        made: Their new form; with one file without rows, if there would be none at all.
        dropped: How many rows were left out.
    """

    kept: tuple[OutputFile, ...]
    gone: tuple[OutputFile, ...]
    made: tuple[Receipt, ...]
    dropped: int


def rewrite_output(
    project: Project,
    out: str,
    make: MakeRewriting,
    *,
    keys: ProofKeys,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Manifest:
    """Rewrites the rows of an output, and returns the manifest of its state; the old one where nothing changed.

    Args:
        project: Names the public keys to believe.
        out: An output of ``protect``, local or in an object store. In an object store no other run may write to it.
        make: Makes what rewrites the rows.
        keys: Sign the new manifest.
        clock: Microseconds UTC; for the manifest.

    Raises:
        ConfigError: There is no such output, or it is a stream's; nothing was done.
        OutputError: It cannot be exchanged, or another command is at work there; nothing was done.
        IntegrityError: It is not as it was signed; nothing was done.
        RunError: The rewriting failed; the output is as it was.
    """
    if not is_local(out):
        return _rewritten(project, out, make, keys, clock)
    with alone_in(out):
        return _rewritten(project, out, make, keys, clock)


def _rewritten(project: Project, out: str, make: MakeRewriting, keys: ProofKeys, clock: Callable[[], int]) -> Manifest:
    started_at = clock()
    output = sound_output(project, out)
    if output.manifest.stream is not None:
        raise ConfigError(f"{out}: is the output of a stream without its journal; rewrite it where the stream writes")
    run = run_name(started_at)
    rewriting = make(output.manifest)
    with open_publication(out, run=run, replace=True) as publication:
        found = rewrite_files(output.folder, output.manifest, rewriting, place=publication.place, run=run)
        if not found.gone and not rewriting.outdated(output.manifest):
            return output.manifest
        rewriting.before_shown()
        manifest = rewriting.told(
            _manifest_after(output.manifest, found, rewriting.tally()).model_copy(
                update={
                    "run": run,
                    "software": software_used(),
                    "started_at": format_instant(started_at),
                    "finished_at": format_instant(clock()),
                }
            )
        )
        return _published(publication, output, manifest, keys, found)


def run_name(started_at: int) -> str:
    """Returns a name for a rewriting, used once."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started_at // 1_000_000))}-{secrets.token_hex(4)}"


@guarded("rewrite")
def rewrite_files(
    folder: OutputFolder, manifest: Manifest, rewriting: Rewriting, *, place: str, run: str
) -> RewrittenFiles:
    """Writes the new form of the data files that change, and returns what came of all.

    Args:
        folder: Of the output, as its manifest says.
        manifest: Verified.
        rewriting: What becomes of the rows.
        place: Where new files are made, under the paths that they will have.
        run: Part of their names.

    Raises:
        RunError: A file cannot be read or written.
    """
    files = [file for file in manifest.files if file.kind == DATA]
    kept: list[OutputFile] = []
    gone: list[OutputFile] = []
    made: list[Receipt] = []
    dropped = 0
    schema: pa.Schema | None = None
    for file in files:
        with folder.open(file.path) as opened, pq.ParquetFile(opened, memory_map=False) as parquet:
            schema = rewriting.schema(parquet.schema_arrow)
            receipts = _rewritten_file(parquet, rewriting, schema, _Target(place, _folder_of(file), run))
        if receipts is None:
            kept.append(file)
            continue
        gone.append(file)
        made += receipts
        dropped += file.rows - sum(receipt.rows for receipt in receipts)
    if gone and not kept and not made and schema is not None:
        made.append(write_empty(place, schema, run=run, folder=_folder_of(gone[-1])))
    return RewrittenFiles(kept=tuple(kept), gone=tuple(gone), made=tuple(made), dropped=dropped)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the new form of a file goes."""

    place: str
    folder: str
    run: str

    def writer(self, schema: pa.Schema) -> FileWriter:
        if is_local(self.place):
            (Path(self.place) / self.folder).mkdir(parents=True, exist_ok=True)
        return FileWriter(self.place, self.folder, schema, run=self.run)


def _rewritten_file(
    parquet: pq.ParquetFile, rewriting: Rewriting, schema: pa.Schema, target: _Target
) -> Sequence[Receipt] | None:
    """Returns the receipts of a file's new form; None where nothing of it changes.

    Until the first change nothing is written; what was read without one is then read again.
    """
    writer = None if _same(schema, parquet.schema_arrow) else target.writer(schema)
    try:
        for place, batch in enumerate(_batches(parquet)):
            changed = rewriting.rewrite(batch)
            if writer is None and changed is not batch and not changed.equals(batch):
                writer = target.writer(schema)
                for before in _first(parquet, place):
                    writer.write(before)
            if writer is not None and changed.num_rows:
                writer.write(changed)
        return None if writer is None else writer.finish()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise


def _same(one: pa.Schema, other: pa.Schema) -> bool:
    return bool(one.remove_metadata().equals(other.remove_metadata(), check_metadata=True))


def _batches(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False)


def _first(parquet: pq.ParquetFile, count: int) -> Iterator[pa.RecordBatch]:
    for _, batch in zip(range(count), _batches(parquet), strict=False):
        yield batch


def _folder_of(file: OutputFile) -> str:
    return file.path.rpartition("/")[0]


def _manifest_after(old: Manifest, found: RewrittenFiles, tally: Tally) -> Manifest:
    """Returns the manifest of the new state by what the rewriting counted."""
    made = [OutputFile(path=each.path, sha256=each.sha256, rows=each.rows, bytes=each.bytes) for each in found.made]
    letters = [file for file in old.files if file.kind != DATA]
    books = Books(
        in_=old.books.in_,
        out=sum(file.rows for file in (*found.kept, *made)),
        dropped=old.books.dropped + found.dropped,
        dead_lettered=old.books.dead_lettered,
    )
    counted = tallied(old, tally)
    if not books.balanced or counted.consent.total != books.out:
        raise RunError("the books do not balance, so the output is as it was; report it", reason="books_unbalanced")
    files = tuple(sorted((*found.kept, *made, *letters), key=lambda file: file.path))
    return counted.model_copy(update={"books": books, "files": files, "signature": None})


def tallied(old: Manifest, tally: Tally) -> Manifest:
    """Returns a manifest with the counts of rows, fields and removals changed by a tally."""
    names = ConsentOutcomes.model_fields
    return old.model_copy(
        update={
            "consent": ConsentOutcomes(**{name: getattr(old.consent, name) + tally[("rows", name)] for name in names}),
            "fields": {path: _field_after(each, tally.under("field", path)) for path, each in old.fields.items()},
            "removed": _sums(old.removed or {}, tally.under("removed")) or None,
        }
    )


def _field_after(old: FieldTreatment, changes: Mapping[tuple[str, ...], int]) -> FieldTreatment:
    return old.model_copy(update={"outcomes": _sums(old.outcomes, changes)}) if changes else old


def _sums(old: Mapping[str, int], changes: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    sums = {name: old.get(name, 0) + changes.get((name,), 0) for name in sorted({*old, *(name for (name,) in changes)})}
    return {name: count for name, count in sums.items() if count}


def _published(
    publication: Publication, output: LetterOutput, manifest: Manifest, keys: ProofKeys, found: RewrittenFiles
) -> Manifest:
    if isinstance(publication, LocalPublication):
        letters = [file for file in manifest.files if file.kind != DATA]
        return exchange_state(publication, output, manifest, keys, kept=(*found.kept, *letters))
    signed = sign_manifest(manifest, keys)
    check_still(output)
    publication.publish([file.path for file in signed.files], signed.dumps())
    return signed

"""Checks an output against its manifest, believing nothing but a trusted public key.

Hashes come first: no Parquet reader sees a byte that the signature does not cover. Whatever the bytes are, the answer
is a report; only a place that holds no output at all is an error. Works on local folders without Beam.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..schemas.dataset import EACH, FieldPath
from ..schemas.dead_letter import DEAD_LETTER_SCHEMA
from ..schemas.errors import ConfigError, PrivacyError, RunError
from ..schemas.manifest import ABSENT, MANIFEST_NAME, Manifest, OutputFile, parse_manifest
from ..transforms.crypto.key_sets import PublicKeys, Signature, SignatureContext
from ..transforms.leaf_columns import marks_of
from .output_folder import OutputFolder, open_output_folder
from .publication import DATA, DEAD_LETTERS, NOTES, PART, STREAM

__all__ = ["Check", "VerifyReport", "check_of", "signature_check", "verify_output"]

BLOCK = 2**20
PART_PREFIXES = (f"{DATA}/{PART}", f"{DEAD_LETTERS}/{PART}", NOTES)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, whether it holds, and what was found, in one sentence."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of an output; it is as its run left it only if all hold. ``manifest`` is None if it is none."""

    checks: tuple[Check, ...]
    manifest: Manifest | None = None

    @property
    def ok(self) -> bool:
        """Whether all checks hold."""
        return all(check.ok for check in self.checks)

    @property
    def readable(self) -> bool:
        """Whether the files are those that were signed, so that they may be read."""
        held = {check.check for check in self.checks if check.ok}
        return {"manifest", "signature", "files", "rows"} <= held

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``verify --json``."""
        checks = [{"check": check.check, "ok": check.ok, "detail": check.detail} for check in self.checks]
        return {"ok": self.ok, "checks": checks}


def verify_output(out: str, trust: PublicKeys) -> VerifyReport:
    """Returns what holds of the output in ``out``.

    Args:
        out: A local folder, or one of any Beam file system.
        trust: The public keys to believe, and the tenant whose outputs they sign.

    Raises:
        ConfigError: There is no folder, or no ``manifest.json`` in it.
        RunError: An object store cannot be asked.
    """
    folder = open_output_folder(out)
    sizes = folder.paths()
    if MANIFEST_NAME not in sizes:
        raise ConfigError(f"{out}: holds no {MANIFEST_NAME}, so it is no output of `consentry protect`; check the path")
    try:
        manifest, signed = parse_manifest(folder.read(MANIFEST_NAME))
    except (OSError, PrivacyError) as error:
        return VerifyReport((Check("manifest", False, _said(error)),))
    signature = signature_check(manifest, signed, trust)
    files, found = _file_checks(folder, sizes, manifest, trusted=signature.ok)
    return VerifyReport(
        (
            Check("manifest", True, f"run {manifest.run} of {manifest.finished_at}"),
            signature,
            *files,
            _unlisted_check(folder, sizes, manifest),
            *_content_checks(manifest, found),
        ),
        manifest,
    )


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, PrivacyError) else f"cannot be read ({type(error).__name__})"


def signature_check(manifest: Manifest, signed: bytes, trust: PublicKeys) -> Check:
    """Returns whether a trusted key of the tenant has signed the manifest."""
    name = "signature"
    if manifest.signature is None:
        return Check(name, False, "the manifest is not signed")
    if manifest.tenant != trust.tenant:
        return Check(name, False, "the manifest is of another tenant than the trusted keys")
    key_id = manifest.signature.key_id
    try:
        trust.verify(SignatureContext.MANIFEST, signed, Signature(key_id, bytes.fromhex(manifest.signature.value)))
    except PrivacyError as error:
        return Check(name, False, str(error))
    return Check(name, True, f"by the trusted key {key_id}")


@dataclass(slots=True)
class _Found:
    """What the files themselves say; ``unread`` of them could not be asked."""

    trusted: bool
    rows: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    marks: list[tuple[OutputFile, dict[str, dict[str, str]]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unread: int = 0


def _file_checks(
    folder: OutputFolder, sizes: dict[str, int], manifest: Manifest, *, trusted: bool
) -> tuple[tuple[Check, ...], _Found]:
    """Hashes every file of the manifest and opens those whose bytes are the signed ones."""
    found = _Found(trusted)
    changed: list[str] = []
    for file in manifest.files:
        problem = _changed(folder, sizes, file)
        if problem is not None:
            changed.append(f"{file.path} {problem}")
        if problem is not None or not trusted:
            found.unread += 1
            continue
        try:
            _look_into(folder, file, found)
        except (pa.ArrowException, OSError, ValueError, KeyError, RunError) as error:
            found.wrong.append(f"{file.path} is no readable Parquet file ({type(error).__name__})")
    twice = [path for path, count in Counter(file.path for file in manifest.files).items() if count > 1]
    changed += [f"{path} is listed twice" for path in twice]
    bytes_read = sum(file.bytes for file in manifest.files)
    rows = f"{sum(found.rows.values())} rows"
    return (
        check_of("files", changed, f"{len(manifest.files)} files, {bytes_read} bytes, all as they were hashed"),
        check_of("rows", [*_not_read(found), *found.wrong], f"{rows}, as many in each file as listed"),
    ), found


def _changed(folder: OutputFolder, sizes: dict[str, int], file: OutputFile) -> str | None:
    if file.path not in sizes:
        return "is missing"
    if sizes[file.path] != file.bytes:
        return f"has another size than the {file.bytes} bytes listed" if sizes[file.path] >= 0 else "is no plain file"
    digest = hashlib.sha256()
    try:
        with folder.open(file.path) as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
    except (OSError, RunError) as error:
        return f"cannot be read ({type(error).__name__})"
    return None if digest.hexdigest() == file.sha256 else "was changed: its hash is another"


def _look_into(folder: OutputFolder, file: OutputFile, found: _Found) -> None:
    with folder.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
        rows = parquet.metadata.num_rows
        found.rows[file.kind] += rows
        if rows != file.rows:
            found.wrong.append(f"{file.path} has {rows} rows, listed are {file.rows}")
        if file.kind == "data":
            found.marks.append((file, dict(_marks(parquet.schema_arrow))))
        elif parquet.schema_arrow.names != DEAD_LETTER_SCHEMA.names:
            found.wrong.append(f"{file.path} has not the columns of dead letters")
        else:
            for batch in parquet.iter_batches(columns=["reason"]):
                found.reasons.update(batch.column(0).to_pylist())


def _marks(schema: pa.Schema) -> Iterator[tuple[str, dict[str, str]]]:
    for child in schema:
        yield from _marks_of(child, FieldPath((child.name,)))


def _marks_of(column: pa.Field, path: FieldPath) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the marks of a field and of those below it; a field without any has none of its own to show."""
    marks = marks_of(column)
    kind = column.type
    if marks:
        yield str(path), marks
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _marks_of(child, path.child(child.name))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _marks_of(kind.value_field, path.child(EACH))
    else:
        yield str(path), {}


def _unlisted_check(folder: OutputFolder, sizes: dict[str, int], manifest: Manifest) -> Check:
    listed = {MANIFEST_NAME, *(file.path for file in manifest.files)}
    unlisted = sorted(sizes.keys() - listed)
    if manifest.stream is not None:
        unlisted = [path for path in unlisted if not path.startswith(f"{STREAM}/")]
    if not folder.strict:
        left = [path for path in unlisted if path.startswith(PART_PREFIXES)]
        if left and len(left) == len(unlisted):
            # Nothing can be written at one moment there: a run that was killed leaves files that no manifest lists.
            return Check("unlisted", True, f"{len(left)} files of other runs, which are no part of the output")
    return check_of(
        "unlisted", [f"{path} is not listed" for path in unlisted], "no file that the manifest does not list"
    )


def _content_checks(manifest: Manifest, found: _Found) -> Iterable[Check]:
    unread = _not_read(found)
    books = manifest.books
    counts = f"in {books.in_} = out {books.out} + dropped {books.dropped} + dead-lettered {books.dead_lettered}"
    yield check_of("books", unread or list(_book_problems(manifest, found)), counts)
    reasons = dict(found.reasons)
    yield check_of(
        "reasons",
        unread or ([] if reasons == dict(manifest.reasons) else ["the dead letters have other reasons than listed"]),
        f"{sum(reasons.values())} dead letters, {len(reasons)} reasons",
    )
    yield check_of(
        "fields",
        unread or list(_field_problems(manifest, found)),
        f"{sum(treatment.action != 'drop' for treatment in manifest.fields.values())} fields, marked as listed",
    )


def _book_problems(manifest: Manifest, found: _Found) -> Iterator[str]:
    books = manifest.books
    if not books.balanced:
        yield "they do not balance"
    if books.out != found.rows["data"]:
        yield f"out says {books.out}, the files hold {found.rows['data']}"
    if books.dead_lettered != found.rows["dead_letters"]:
        yield f"dead_lettered says {books.dead_lettered}, the files hold {found.rows['dead_letters']}"
    if manifest.consent.total != books.out:
        yield f"the outcomes of consent add up to {manifest.consent.total}, out says {books.out}"
    for path, treatment in manifest.fields.items():
        # A field in a list has as many values as the lists have; any other has one for each record.
        if EACH in FieldPath.parse(path).steps or treatment.action == "drop":
            continue
        if treatment.values != books.out:
            yield f"the outcomes of {path} add up to {treatment.values}, out says {books.out}"


def _field_problems(manifest: Manifest, found: _Found) -> Iterator[str]:
    expected = {path: each.marks for path, each in manifest.fields.items() if each.action != "drop"}
    absent: Counter[str] = Counter()
    for file, marks in found.marks:
        for path in sorted(marks.keys() | expected.keys()):
            if manifest.stream is not None and path not in marks:
                absent[path] += file.rows
            elif marks.get(path) != expected.get(path):
                yield f"{file.path}: field {path} is not marked as listed"
    for path, each in manifest.fields.items():
        # What a stream had written before it first met a field does not have it.
        if EACH not in FieldPath.parse(path).steps and absent[path] != each.outcomes.get(ABSENT, 0):
            yield f"field {path} is missing in {absent[path]} rows, listed are {each.outcomes.get(ABSENT, 0)}"


def _not_read(found: _Found) -> list[str]:
    if not found.trusted:
        return ["not looked at: the signature does not hold"]
    return [f"{found.unread} files were not opened: they are not as they were hashed"] if found.unread else []


def check_of(name: str, problems: list[str], fine: str) -> Check:
    """Returns a check that holds where there are no problems, else with the first three of them."""
    if not problems:
        return Check(name, True, fine)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return Check(name, False, "; ".join(problems[:3]) + more)

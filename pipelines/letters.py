"""The dead letters of an output, as they stand in its files and as they are opened in memory.

Only files that the signed manifest lists are read, and only if their hash is the listed one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow.parquet as pq

from ..schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter, LetterKeys
from ..schemas.errors import ConfigError, IntegrityError, SecretError
from ..schemas.manifest import MANIFEST_NAME, Manifest, OutputFile, parse_manifest
from ..transforms.crypto.key_sets import PublicKeys, Signature, SignatureContext
from ..transforms.dead_letters import letter_keys, open_letter
from ..transforms.failures import guarded
from ..transforms.stores.data_keys import DataKeys
from .json_records import JsonFault, load_record
from .output_folder import OutputFolder, open_output_folder

__all__ = [
    "CONSENT_STAGE",
    "ID_DIGITS",
    "LetterOutput",
    "OpenedLetter",
    "StoredLetter",
    "open_letter_output",
    "open_stored",
    "stored_letter",
    "stored_letters",
]

CONSENT_STAGE = "consent"
"""Stage of letters that hold faulty consent events, which are no records."""
ID_DIGITS = 12
BLOCK = 1 << 20
BATCH_ROWS = 1024
RAW_LINE = b"r"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterOutput:
    """An output whose manifest is signed by a trusted key."""

    name: str
    folder: OutputFolder
    manifest: Manifest
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLetter:
    """A letter as it stands in a file; ``digest`` is the SHA-256 of its seal in hexadecimal."""

    digest: str
    letter: DeadLetter
    keys: LetterKeys

    @property
    def id(self) -> str:
        """What people call it."""
        return self.digest[:ID_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OpenedLetter:
    """A letter with what it holds, raw; never printed, never copied.

    Attributes:
        stored: As it stands in the file.
        day_key: That opened it.
        subject_key: The same.
        record: What it holds, where that is a record; numbers as ``load_record`` gives them.
    """

    stored: StoredLetter
    day_key: bytes
    subject_key: bytes | None
    record: dict[str, Any] | None

    def __repr__(self) -> str:
        return f"<OpenedLetter {self.stored.id}; values hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("an opened letter holds raw values and keys, and cannot be copied")


def open_letter_output(out: str, trust: PublicKeys) -> LetterOutput:
    """Returns an output whose letters may be read.

    Raises:
        ConfigError: There is no such output.
        IntegrityError: The manifest is not as it was written, or is not signed by a trusted key.
    """
    folder = open_output_folder(out)
    if MANIFEST_NAME not in folder.paths():
        raise ConfigError(f"{out}: holds no {MANIFEST_NAME}, so it is no output of `consentry protect`; check the path")
    text = folder.read(MANIFEST_NAME)
    manifest, signed = parse_manifest(text)
    if manifest.signature is None or manifest.tenant != trust.tenant:
        raise IntegrityError(f"{out}: is not signed for this tenant; name an output of this project")
    signature = Signature(manifest.signature.key_id, bytes.fromhex(manifest.signature.value))
    trust.verify(SignatureContext.MANIFEST, signed, signature)
    return LetterOutput(name=out, folder=folder, manifest=manifest, text=text)


def stored_letters(output: LetterOutput) -> Iterator[list[StoredLetter]]:
    """Yields all letters of an output, some at a time.

    Raises:
        IntegrityError: A file is not the one that was signed, or a letter is damaged.
    """
    for file in output.manifest.files:
        if file.kind == "dead_letters":
            yield from _letters_of(output, file)


@guarded("read dead letters")
def _letters_of(output: LetterOutput, file: OutputFile) -> Iterator[list[StoredLetter]]:
    _check_hash(output, file)
    with output.folder.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
        if parquet.schema_arrow.names != DEAD_LETTER_SCHEMA.names:
            raise IntegrityError(f"{file.path}: has not the columns of dead letters; restore the output")
        for group in range(parquet.num_row_groups):  # one at a time: a single letter can have many megabytes
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
                yield [stored_letter(DeadLetter(**row)) for row in batch.to_pylist()]


def _check_hash(output: LetterOutput, file: OutputFile) -> None:
    digest = hashlib.sha256()
    try:
        with output.folder.open(file.path) as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
    except FileNotFoundError:
        raise IntegrityError(f"{output.name}: {file.path} is missing; restore the output") from None
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(
            f"{output.name}: {file.path} was changed since it was written, so no letter in it is read; "
            "restore the output, or protect the inputs again"
        )


def stored_letter(letter: DeadLetter) -> StoredLetter:
    """Returns a letter with its digest and the names of its keys.

    Raises:
        IntegrityError: The seal is damaged.
    """
    return StoredLetter(digest=hashlib.sha256(letter.sealed).hexdigest(), letter=letter, keys=letter_keys(letter))


@guarded("open dead letters")
def open_stored(
    letters: Sequence[StoredLetter], data_keys: DataKeys, tenant: str, *, at: int
) -> list[OpenedLetter | None]:
    """Returns letters with what they hold; None for those of which a key is destroyed, or whose time is over.

    Args:
        letters: As they are stored.
        data_keys: Of the tenant.
        tenant: Whose letters they are.
        at: Microseconds UTC, by the clock.

    Raises:
        IntegrityError: A letter was changed, or belongs to other keys.
    """
    days = {day: data_keys.find_day_key(day, at=at) for day in sorted({each.keys.day for each in letters})}
    subjects = sorted({each.keys.subject for each in letters if each.keys.subject is not None})
    known = data_keys.keys_for(subjects, create=False) if subjects else {}
    return [_opened(each, days[each.keys.day], known.get(each.keys.subject or b""), tenant) for each in letters]


def _opened(stored: StoredLetter, day_key: bytes | None, subject_key: bytes | None, tenant: str) -> OpenedLetter | None:
    if day_key is None or (stored.keys.subject is not None and subject_key is None):
        return None
    plain = open_letter(stored.letter, day_key=day_key, subject_key=subject_key, tenant=tenant)
    record = JsonFault.INVALID_JSON if _is_no_json(stored.letter, plain) else load_record(plain[1:])
    return OpenedLetter(
        stored=stored,
        day_key=day_key,
        subject_key=subject_key,
        record=None if isinstance(record, JsonFault) else record,
    )


def _is_no_json(letter: DeadLetter, plain: bytes) -> bool:
    """Whether a letter holds what is no JSON, as CSV: without the header of its file nobody knows its columns."""
    name = (letter.source or "").lower().removesuffix(".gz")
    return plain[:1] == RAW_LINE and (letter.reason not in tuple(JsonFault) or name.endswith((".csv", ".tsv")))

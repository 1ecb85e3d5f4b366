"""Keyed references to data subjects, over columns: what ledger, vault and data keys know a person by.

A reference is AES-CMAC (SP 800-38B) of the canonical subject id under the vault set's reference key: 16 bytes, the
same for the same person everywhere in a tenant, and not computable or invertible without that key. Who holds the key
can test whether a given id is there.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.errors import ConfigError
from .cmac_columns import ColumnCmac

__all__ = ["REFERENCE_BYTES", "canonical_subjects", "subject_reference", "subject_references"]

REFERENCE_BYTES = 16


def canonical_subjects(column: pa.Array) -> pa.StringArray:
    """Returns subject ids in canonical form: text in NFC, trimmed; null where null or nothing is left.

    Args:
        column: Strings of any Arrow layout, dictionaries of them, integers or decimals. Numbers become decimal
            text without trailing zeros after the point, so that ``17``, ``17.00`` and ``"17"`` are one person.

    Raises:
        ConfigError: The column has another type, which would not name people reliably (floats, dates, …).
    """
    if pa.types.is_dictionary(column.type):
        return canonical_subjects(column.dictionary).take(column.indices)
    text = _as_text(column)
    text = pc.utf8_trim_whitespace(_composed(text))
    empty = pc.equal(pc.binary_length(text), 0)
    return pc.if_else(empty, pa.scalar(None, pa.string()), text) if pc.any(empty).as_py() else text


def subject_references(column: pa.Array, key: bytes) -> pa.FixedSizeBinaryArray:
    """Returns the reference of each subject id as ``fixed_size_binary(16)``; null where there is no id.

    Args:
        column: As for ``canonical_subjects``.
        key: 32 bytes, ``VaultKeys.reference_key``.

    Raises:
        ConfigError: The column's type cannot name subjects.
    """
    if pa.types.is_dictionary(column.type):
        return subject_references(column.dictionary, key).take(column.indices)
    subjects = canonical_subjects(column)
    digests = np.ascontiguousarray(ColumnCmac(key).digest(subjects), dtype=np.uint8)
    validity = None
    if subjects.null_count:
        validity = pa.py_buffer(np.packbits(np.asarray(subjects.is_valid()), bitorder="little"))
    buffers = [validity, pa.py_buffer(digests)]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(REFERENCE_BYTES), len(subjects), buffers)


def subject_reference(subject: str, key: bytes) -> bytes | None:
    """Returns the 16-byte reference of one subject id, or None where the id is blank."""
    reference: bytes | None = subject_references(pa.array([subject], pa.string()), key)[0].as_py()
    return reference


def _as_text(column: pa.Array) -> pa.StringArray:
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_decimal(kind):
        text = column.cast(pa.string())
        return pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".") if kind.scale > 0 else text
    raise ConfigError(f"subject: a column of type {kind} cannot name people; use a text, integer or decimal column")


def _composed(text: pa.StringArray) -> pa.StringArray:
    # Not pc.utf8_normalize: up to Arrow 25 it leaves NFC decomposed (apache/arrow#51225), and a later release that
    # composes would give people new references.
    wide = pc.fill_null(pc.not_equal(pc.binary_length(text), pc.utf8_length(text)), False)
    if not pc.any(wide).as_py():
        return text
    composed = [unicodedata.normalize("NFC", value) for value in text.filter(wide).to_pylist()]
    return pc.replace_with_mask(text, wide, pa.array(composed, pa.string()))

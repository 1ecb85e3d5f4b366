"""Signed outputs whose rows are given as they are, so that a search for leaks has something to find."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from consentry.pipelines.manifest_file import output_files, sign_manifest
from consentry.pipelines.outcome import Outcome
from consentry.pipelines.publication import open_publication
from consentry.pipelines.sinks import FileWriter
from consentry.schemas.manifest import Books, ConsentOutcomes, FieldTreatment, Manifest
from consentry.transforms.crypto.key_sets import ProofKeys
from oracles.small_output import manifest_of, marked

CLEAN = {
    "card": ["4111111112111111", "[redacted]", None],
    "mail": ["abcdefghijklmnop@abcdefghijklmnop.invalid", "[redacted]", None],
    "note": ["paid [card:1:4111111112111111]", "see [[card:1:77]", None],
    "name": ["[redacted]", "[redacted]", None],
    "sku": ["TEA-250", "CUP-4", None],
    "amount": [1250, 4_111_111_111, None],
}
FIELDS: dict[str, dict[str, str]] = {
    "card": {"action": "tokenize", "info_type": "card", "format": "pan", "domain": "card", "key_version": "1"},
    "mail": {"action": "tokenize", "info_type": "email", "format": "email", "domain": "email", "key_version": "1"},
    "note": {"action": "scan", "info_type": "note"},
    "name": {"action": "redact"},
    "sku": {"action": "keep"},
    "amount": {"action": "keep"},
}


def table(**columns: Any) -> pa.Table:
    """The clean columns with some exchanged; those with no name of theirs are kept ones."""
    values = {**CLEAN, **columns}
    arrays = {name: each if isinstance(each, pa.Array) else pa.array(each) for name, each in values.items()}
    fields = [
        pa.field(name, array.type, metadata=marked(**FIELDS.get(name, {"action": "keep"})))
        for name, array in arrays.items()
    ]
    return pa.Table.from_arrays(list(arrays.values()), schema=pa.schema(fields))


def write_table(
    out: str, rows: pa.Table, keys: ProofKeys, *, row_group: int = 1000, file_bytes: int = 1 << 40
) -> Manifest:
    """Writes a table as the output of a run that left it so, a file for each ``row_group`` rows."""
    count = rows.num_rows
    with open_publication(out, run="r1", replace=False) as publication:
        receipts = []
        for start in range(0, count, row_group):
            writer = FileWriter(publication.place, "data", rows.schema, run=f"r{start}")
            for batch in rows.slice(start, row_group).combine_chunks().to_batches():
                writer.write(batch)
            receipts += writer.finish()
        outcome = Outcome(receipts=tuple(receipts))
        fields = {}
        for field in rows.schema:
            marks: dict[str, Any] = {
                key.decode().removeprefix("consentry."): value.decode() for key, value in (field.metadata or {}).items()
            }
            if "key_version" in marks:
                marks["key_version"] = int(marks["key_version"])
            fields[field.name] = FieldTreatment(**marks, outcomes={"kept": count})
        manifest = manifest_of(
            outcome, run="r1", out=count, dead=0, fields=fields, drift={}, reasons={},
            books=Books(in_=count, out=count, dropped=0, dead_lettered=0),
            consent=ConsentOutcomes(distributable=count), files=output_files(outcome),
        )  # fmt: skip
        signed = sign_manifest(manifest, keys)
        publication.publish([file.path for file in signed.files], signed.dumps())
        return signed

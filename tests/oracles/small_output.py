"""Writes small signed outputs by the real writer and publication, without running a pipeline."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
from consentry.pipelines.manifest_file import output_files, reasons_of, sign_manifest
from consentry.pipelines.outcome import Outcome
from consentry.pipelines.publication import open_publication
from consentry.pipelines.sinks import FileWriter
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA
from consentry.schemas.manifest import (
    Books,
    ConsentOutcomes,
    FieldTreatment,
    Inputs,
    KeyVersions,
    Manifest,
    PolicyUsed,
    SoftwareUsed,
    VaultWrites,
)
from consentry.transforms.crypto.key_sets import ProofKeys

CARD = {"action": "tokenize", "info_type": "card", "format": "pan", "domain": "card", "key_version": "1"}


def marked(**marks: str) -> dict[str, str]:
    return {f"consentry.{name}": value for name, value in marks.items()}


SKU = pa.field("sku", pa.string(), metadata=marked(action="keep"))
SCHEMA = pa.schema(
    [
        pa.field("order_id", pa.string(), metadata=marked(action="keep")),
        pa.field("card", pa.string(), metadata=marked(**CARD)),
        pa.field("items", pa.list_(pa.field("item", pa.struct([SKU])))),
    ]
)


def rows(count: int, mark: str = "o") -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"order_id": f"{mark}-{n}", "card": f"tok{n}", "items": [{"sku": "TEA"}] * (n % 3)} for n in range(count)],
        schema=SCHEMA,
    )


def letters(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {"stage": "read", "reason": ("invalid_json", "wrong_type")[n % 2], "source": "orders.jsonl",
             "position": n + 1, "dataset": "orders", "sealed": bytes([1, n % 256])}
            for n in range(count)
        ],
        schema=DEAD_LETTER_SCHEMA,
    )  # fmt: skip


def manifest_of(outcome: Outcome, *, run: str, out: int, dead: int, **changes: Any) -> Manifest:
    items = sum(n % 3 for n in range(out))
    card = {**CARD, "key_version": 1}
    facts: dict[str, Any] = {
        "run": run, "tenant": "shop", "dataset": "orders", "ledger_position": 7,
        "now": "2026-11-01T00:00:00Z", "started_at": "2026-11-01T00:00:00Z", "finished_at": "2026-11-01T00:00:01.5Z",
        "policy": PolicyUsed(version=1, digest=hashlib.sha256(b"").hexdigest()),
        "software": SoftwareUsed(digest=hashlib.sha256(b"").hexdigest(), versions={"python": "3.11"}),
        "key_versions": KeyVersions(token=1, vault=1, proof=1), "inputs": Inputs(files=1, bytes=10),
        "books": Books(in_=out + dead + 1, out=out, dropped=1, dead_lettered=dead),
        "reasons": reasons_of(outcome), "consent": ConsentOutcomes(distributable=out),
        "fields": {
            "order_id": FieldTreatment(action="keep", outcomes={"kept": out}),
            "card": FieldTreatment(**card, outcomes={"tokenized": out, "vault_candidate": out}),
            "items[].sku": FieldTreatment(action="keep", outcomes={"kept": items}),
            "card_cvv": FieldTreatment(action="drop"),
        },
        "drift": {"ünknown": 2}, "absent": (), "vault": VaultWrites(written=3), "files": output_files(outcome),
    }  # fmt: skip
    facts["finished_at"] = "2026-11-01T00:00:01.500000Z"
    return Manifest(**{**facts, **changes})


def write_output(
    out: str,
    keys: ProofKeys,
    *,
    run: str = "r1",
    replace: bool = False,
    mark: str = "o",
    count: int = 5,
    dead: int = 3,
    **changes: Any,
) -> Manifest:
    with open_publication(out, run=run, replace=replace) as publication:
        data = FileWriter(publication.place, "data", SCHEMA, run=run)
        data.write(rows(count, mark))
        refused = FileWriter(publication.place, "dead_letters", DEAD_LETTER_SCHEMA, run=run)
        refused.write(letters(dead))
        outcome = Outcome(receipts=(*data.finish(), *refused.finish()))
        manifest = sign_manifest(manifest_of(outcome, run=run, out=count, dead=dead, **changes), keys)
        publication.publish([file.path for file in manifest.files], manifest.dumps())
        return manifest

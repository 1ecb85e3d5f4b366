"""A small detector of columns for tests of the audit: by form alone, and honest about it."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
from consentry.schemas.column_type import ColumnKind, ColumnType, Leak
from consentry.schemas.info_types import Entity

FORMS = {
    Entity.CREDIT_CARD: r"(?:\d[ -]?){12,18}\d",
    Entity.EMAIL: r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    Entity.IBAN: r"[A-Z]{2}\d\d[A-Z0-9]{11,30}",
    Entity.IP_ADDRESS: r"\d{1,3}(?:\.\d{1,3}){3}",
}
HEADERS = {"phone": Entity.PHONE, "birth_date": Entity.DATE_OF_BIRTH}
ENOUGH = 0.8
WORDS = 4


def column_type(values: pa.Array, header: str) -> ColumnType:
    """Says what a column is by the forms of its values."""
    texts = [text for text in pc.unique(values).to_pylist() if text and text.strip()]
    if not texts:
        return ColumnType(kind=ColumnKind.EMPTY)
    count, examples = len(texts), tuple(f"{text[0]}***" for text in texts[:3])
    shares = {entity: sum(bool(re.fullmatch(form, text)) for text in texts) / count for entity, form in FORMS.items()}
    if header in HEADERS:
        shares[HEADERS[header]] = 1.0
    best = max(shares, key=lambda entity: shares[entity])
    said = {"sample": count, "examples": examples, "evidence": f"{shares[best]:.0%} of {count} have the form"}
    if shares[best] >= ENOUGH:
        return ColumnType(kind=ColumnKind.ENTITY, entity=best, share=shares[best], chance=0.1, **said)
    if sum(shares.values()) >= ENOUGH:
        return ColumnType(kind=ColumnKind.MIXED, share=sum(shares.values()), **said)
    found = {entity: sum(bool(re.search(form, text)) for text in texts) for entity, form in FORMS.items()}
    leaks = [Leak(entity=entity, count=hits, share=hits / count) for entity, hits in found.items() if hits]
    wordy = sum(text.count(" ") >= WORDS for text in texts) / count > 0.3
    kind = ColumnKind.FREE_TEXT if wordy else ColumnKind.ORDINARY
    return ColumnType(kind=kind, leaks=tuple(sorted(leaks, key=lambda leak: -leak.count)), **said)

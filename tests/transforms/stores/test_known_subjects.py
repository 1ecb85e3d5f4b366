"""The ledger tells the ids of the living to who has the keys, and of the erased no more than that they are erased."""

from __future__ import annotations

import pytest
from consentry.schemas.errors import IntegrityError
from oracles.consent_oracle import Said
from oracles.store_place import Place, event_of


def said(subject: str, at: int = 10) -> Said:
    return Said(subject, "support", "granted", at)


def test_the_ids_of_the_living_can_be_told_by_who_has_the_keys(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(said(each)) for each in ("c-1", "ü" * 70, "17")], now=1)
    ledger.append([event_of(said(" c-1 ", 11))], now=1)
    known = place.ledger().known_subjects()
    expected = {each: place.reference(each) for each in ("c-1", "ü" * 70, "17")}
    assert dict(zip(known.ids, known.references, strict=True)) == expected
    assert known.erased == frozenset() and "c-1" not in repr(known)


def test_the_erased_are_told_by_reference_alone_whether_or_not_their_key_is_gone_yet(place: Place) -> None:
    ledger = place.ledger()
    ledger.append([event_of(said(each)) for each in ("c-1", "c-2", "c-3")], now=1)
    ledger.record_erasure(place.reference("c-1"), 2)
    place.data_keys().destroy([place.reference("c-2")])
    ledger.record_erasure(place.reference("stranger"), 2)
    known = ledger.known_subjects()
    assert known.ids == ("c-3",)
    assert known.erased == {place.reference("c-1"), place.reference("stranger")}
    ledger.append([event_of(said("c-1", 12))], now=1)
    assert ledger.known_subjects().ids == ("c-3",)


def test_an_id_that_is_not_of_the_entry_s_subject_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = place.ledger()
    ledger.append([event_of(said("c-1"))], now=1)
    opened = ledger._opened
    monkeypatch.setattr(ledger, "_opened", lambda *each: [*opened(*each)[:2], "c-2"])
    with pytest.raises(IntegrityError, match="names another subject"):
        ledger.known_subjects()


def test_an_id_of_any_text_comes_back(place: Place) -> None:
    ledger = place.ledger()
    ids = ['"', "\\", "[redacted]", "a\u0000b", "\U0001f600", "null"]
    ledger.append([event_of(said(each)) for each in ids], now=1)
    assert list(ledger.known_subjects().ids) == ids

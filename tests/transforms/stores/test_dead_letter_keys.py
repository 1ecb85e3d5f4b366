"""Dead letters can be opened while their keys are there: the day's until it expires, the subject's until erasure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from consentry.schemas.dataset import FieldPath
from consentry.schemas.dead_letter import DeadLetter
from consentry.schemas.errors import IntegrityError
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.dead_letters import Sealer, key_period, letter_keys, open_letter
from consentry.transforms.stores.data_keys import DataKeys
from hypothesis import given
from hypothesis import strategies as st
from oracles.store_place import Place

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Line:
    """A line that a source refused."""

    position: int | None
    raw: bytes
    parsed: dict[str, Any] | None
    reason: str = "not_json"


def sealed(place: Place, data_keys: DataKeys, *lines: Line, now: int = NOW, **parts: Any) -> list[DeadLetter]:
    sealer = Sealer(
        data_keys,
        **{
            "tenant": "shop",
            "dataset": "orders",
            "subject": FieldPath.parse("customer.id"),
            "dropped": [FieldPath.parse("card.cvv")],
            "retain": WEEK,
            "now": now,
            "reference": lambda subject: subject_reference(subject, place.keys.reference_key),
            **parts,
        },
    )
    return [DeadLetter(**row) for row in sealer.seal_lines(lines, "orders.jsonl").to_pylist()]


def opened(letter: DeadLetter, data_keys: DataKeys, tenant: str = "shop") -> bytes:
    names = letter_keys(letter)
    keys = {} if names.subject is None else data_keys.keys_for([names.subject], create=False)
    return open_letter(
        letter,
        day_key=data_keys.find_day_key(names.day, at=0),
        subject_key=None if names.subject is None else keys.get(names.subject),
        tenant=tenant,
    )


KNOWN = Line(3, b"", {"customer": {"id": "ana"}, "card": {"cvv": "737", "number": "4111"}}, "bad_type")
UNKNOWN = Line(4, b'{"customer": {"id": "ana"', None)


DESTROYED = "a dead letter's key is destroyed: its time is over, or its subject was erased"


def test_a_letter_of_a_known_subject_is_under_both_keys_and_one_of_nobody_under_the_days(place: Place) -> None:
    data_keys = place.data_keys()
    known, unknown = sealed(place, data_keys, KNOWN, UNKNOWN)
    day = key_period(NOW, WEEK)[0]
    assert [(letter_keys(each).day, letter_keys(each).subject) for each in (known, unknown)] == [
        (day, place.reference("ana")),
        (day, None),
    ]
    assert opened(known, data_keys) == b'j{"customer": {"id": "ana"}, "card": {"number": "4111"}}'
    assert opened(unknown, data_keys) == b'r{"customer": {"id": "ana"'
    assert (known.stage, known.reason, known.source, known.position) == ("read", "bad_type", "orders.jsonl", 3)
    assert b"4111" not in known.sealed and b"ana" not in unknown.sealed


def test_neither_key_alone_opens_a_letter_of_a_known_subject(place: Place) -> None:
    data_keys = place.data_keys()
    (letter,) = sealed(place, data_keys, KNOWN)
    names = letter_keys(letter)
    day_key = data_keys.find_day_key(names.day, at=0)
    subject_key = data_keys.keys_for([place.reference("ana")], create=False)[place.reference("ana")]
    for one, two in ((None, subject_key), (day_key, None), (None, None)):
        with pytest.raises(IntegrityError, match=DESTROYED):
            open_letter(letter, day_key=one, subject_key=two, tenant="shop")
    for one, two in ((day_key, day_key), (subject_key, subject_key), (subject_key, day_key), (bytes(32), subject_key)):
        with pytest.raises(IntegrityError, match="do not open"):
            open_letter(letter, day_key=one, subject_key=two, tenant="shop")


def test_an_erasure_makes_the_subjects_letters_noise_and_no_others(place: Place) -> None:
    data_keys = place.data_keys()
    ana, bob = sealed(place, data_keys, KNOWN, replace(KNOWN, parsed={"customer": {"id": "bob"}}))
    data_keys.destroy([place.reference("ana")])
    with pytest.raises(IntegrityError, match=DESTROYED):
        opened(ana, data_keys)
    assert opened(bob, data_keys) == b'j{"customer": {"id": "bob"}}'


def test_letters_of_the_erased_are_sealed_under_the_day(place: Place) -> None:
    data_keys = place.data_keys()
    data_keys.destroy([place.reference("ana")])
    (letter,) = sealed(place, data_keys, KNOWN)
    assert letter_keys(letter).subject is None
    assert opened(letter, data_keys).startswith(b"j")


@pytest.mark.parametrize("subject", [None, "", "  ", 1.5, True, {"id": "x"}])
def test_what_names_nobody_is_sealed_under_the_day(place: Place, subject: Any) -> None:
    (letter,) = sealed(place, place.data_keys(), Line(1, b"", {"customer": {"id": subject}}))
    assert letter_keys(letter).subject is None


@pytest.mark.parametrize("line", [KNOWN, UNKNOWN], ids=["of a known subject", "of nobody"])
def test_letters_cannot_be_opened_after_their_time(place: Place, line: Line) -> None:
    data_keys = place.data_keys()
    (letter,) = sealed(place, data_keys, line)
    expires = key_period(NOW, WEEK)[1]
    assert NOW + 6 * DAY < expires <= NOW + 7 * DAY
    assert data_keys.sweep(expires - 1) == 0
    opened(letter, data_keys)
    assert data_keys.sweep(expires) == 1
    with pytest.raises(IntegrityError, match=DESTROYED):
        opened(letter, data_keys)


@given(st.integers(0, 4 * 10**15), st.integers(2, 60 * 24 * 40))
def test_no_letter_can_be_opened_for_longer_than_it_is_retained(now: int, minutes: int) -> None:
    retain = timedelta(minutes=minutes)
    name, expires = key_period(now, retain)
    length = retain // timedelta(microseconds=1)
    assert now + length // 2 <= expires <= now + length
    assert key_period(now, retain) == (name, expires)
    assert key_period(now + DAY, retain)[0] != name


@pytest.mark.parametrize(
    "change",
    [{"stage": "decide"}, {"reason": "other"}, {"source": None}, {"source": "x"}, {"position": 5}, {"position": None},
     {"dataset": "returns"}],
    ids=str,
)  # fmt: skip
def test_a_relabelled_letter_does_not_open(place: Place, change: dict[str, Any]) -> None:
    data_keys = place.data_keys()
    for letter in sealed(place, data_keys, KNOWN, UNKNOWN):
        with pytest.raises(IntegrityError, match="do not open"):
            opened(replace(letter, **change), data_keys)


def test_a_letter_that_was_changed_anywhere_does_not_open(place: Place) -> None:
    data_keys = place.data_keys()
    (letter,) = sealed(place, data_keys, KNOWN)
    day_key = data_keys.find_day_key(letter_keys(letter).day, at=0)
    subject_key = data_keys.keys_for([place.reference("ana")], create=False)[place.reference("ana")]
    length = len(letter.sealed)
    changed = [bytearray(letter.sealed) for _ in range(length)]
    for position in range(length):
        changed[position][position] ^= 1
    for damaged in [*changed, *(letter.sealed[:end] for end in range(length)), letter.sealed + b"x"]:
        with pytest.raises(IntegrityError):
            open_letter(replace(letter, sealed=bytes(damaged)), day_key=day_key, subject_key=subject_key, tenant="shop")
    with pytest.raises(IntegrityError, match="do not open"):
        opened(letter, data_keys, tenant="shop2")

"""What the reasons of dead letters mean, each in one sentence, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Meaning", "is_known", "known_reasons", "meaning_of"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reason in words.

    Attributes:
        says: What it means.
        next: What to do.
    """

    says: str
    next: str

    def next_of(self, *, holds_record: bool) -> str:
        """Returns what to do about a letter: a replay cannot read one that holds no record."""
        return self.next if holds_record or REPLAY not in self.next else SOURCE


REPLAY = "dead-letters replay"
SOURCE = "Repair the producer; this record can be sent again, or its file protected again with --replace."
NUMBERS = (
    "Have the producer write the number within the column's range, or as text everywhere, and send the record again, "
    "or protect its file again with --replace; a replay does not make room for it."
)
SCHEMA = "Register the schema, or have the producer write with one that is registered, and send the record again."
TYPES = (
    "Have the producer write one type; once the policy or the reader is repaired, `consentry dead-letters replay DIR`."
)
VALUE = "Repair the policy's format or on_invalid, then `consentry dead-letters replay DIR`; or repair the producer."
EVENT = "Until it is repaired and sent again the customer's decision is not known; it is not replayed."
DECLARE = "Declare it in the dataset's fields, for instance as drop, then `consentry dead-letters replay DIR`."

_READ: Mapping[str, Meaning] = {
    "invalid_json": Meaning("The line is no JSON, or holds more than one value.", SOURCE),
    "not_an_object": Meaning("The line is JSON, but a list, a number or a text.", SOURCE),
    "duplicate_key": Meaning("An object has a key twice.", SOURCE),
    "invalid_utf8": Meaning("The line is not UTF-8.", SOURCE),
    "wrong_type": Meaning("A value is of another kind than most records have at that path.", TYPES),
    "number_out_of_range": Meaning("The column cannot hold a number of this record exactly.", NUMBERS),
    "too_deep": Meaning("The record has more than 64 levels of objects and lists.", SOURCE),
    "too_many_fields": Meaning("The records have too many different fields: data seem to stand in names.", SOURCE),
    "line_too_long": Meaning("The line has more than 64 MiB; only its beginning was kept.", SOURCE),
    "wrong_column_count": Meaning("The record has more or fewer fields than the header.", SOURCE),
    "unbalanced_quote": Meaning("A quote is not closed, or closed where no field ends.", SOURCE),
    "invalid_csv": Meaning("The record is no CSV.", SOURCE),
    "invalid_avro": Meaning("The message is no Avro of its schema.", SOURCE),
    "unknown_schema": Meaning("The schema registry does not know the schema that the message names.", SCHEMA),
    "unsupported_schema": Meaning("The schema that the message names makes no columns of a table.", SCHEMA),
    "nothing_declared": Meaning("The record has no field at all.", SOURCE),
}

_DECIDE: Mapping[str, Meaning] = {
    "event_time_invalid": Meaning(
        "The event time is no instant with an offset, so no consent can be asked for.", SOURCE
    ),
}

_PROTECT: Mapping[str, Meaning] = {
    "undeclared_field": Meaning(
        "The record has a field that the policy does not name (on_drift: dead_letter).", DECLARE
    ),
    "contradicting_value": Meaning(
        "A value is not what its field is declared as (on_drift: dead_letter).",
        "Declare the field as what it holds, then `consentry dead-letters replay DIR`.",
    ),
    "nothing_declared": Meaning("The record has no field that the policy names.", DECLARE),
    "not_digits": Meaning("A value has characters that are no digits.", VALUE),
    "wrong_length": Meaning("A value is too short or too long for its format.", VALUE),
    "checksum_failed": Meaning("The check digits of a value are wrong.", VALUE),
    "domain_too_small": Meaning("A value is so short that its token could be guessed by trying all.", VALUE),
    "wrong_characters": Meaning("A value has characters that its format does not know.", VALUE),
    "unknown_country": Meaning("A value begins with no country that its format knows.", VALUE),
    "not_a_phone": Meaning("A value is no phone number; a national one needs the policy's region.", VALUE),
    "not_an_email": Meaning("A value is no e-mail address.", VALUE),
    "not_a_date": Meaning("A value is no date.", VALUE),
    "not_a_number": Meaning("A value is no number.", VALUE),
    "not_an_ip": Meaning("A value is no IP address.", VALUE),
    "empty": Meaning("A value is empty text.", VALUE),
    "wrong_type": Meaning("A value is of a kind that its format does not take, as a list or a truth value.", VALUE),
    "not_text": Meaning("A value is no text, as half of a character.", VALUE),
}

_CONSENT: Mapping[str, Meaning] = {
    "invalid_json": Meaning("The consent event is no JSON object.", EVENT),
    "not_an_object": Meaning("The consent event is JSON, but a list, a number or a text.", EVENT),
    "duplicate_key": Meaning("The consent event names a field twice.", EVENT),
    "unknown_field": Meaning("The consent event has a field that no event has.", EVENT),
    "missing_field": Meaning("The consent event lacks a field, or has a blank one.", EVENT),
    "unknown_purpose": Meaning("The consent event names a purpose that the policy does not know.", EVENT),
    "unknown_decision": Meaning("The consent event says neither granted nor withdrawn.", EVENT),
    "wrong_type": Meaning("A field of the consent event is no text.", EVENT),
    "instant_invalid": Meaning("An instant of the consent event has no offset, or is none.", EVENT),
}

_STAGES = {"consent": _CONSENT, "read": _READ, "build": _READ, "decide": _DECIDE, "protect": _PROTECT}

_UNKNOWN = Meaning("This version knows no more of the reason.", "See the notes of the version that wrote the output.")


def is_known(stage: str, reason: str) -> bool:
    """Tells whether a reason has a sentence."""
    return reason in _STAGES.get(stage, {})


def known_reasons() -> tuple[str, ...]:
    """Returns all reasons that have a sentence, of whatever stage, in the order of the alphabet."""
    return tuple(sorted({reason for reasons in _STAGES.values() for reason in reasons}))


def meaning_of(stage: str, reason: str) -> Meaning:
    """Returns what a reason of a stage means.

    >>> meaning_of("read", "duplicate_key").says
    'An object has a key twice.'
    """
    return _STAGES.get(stage, {}).get(reason, _UNKNOWN)

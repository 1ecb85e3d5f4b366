"""Dates of birth: dates in any usual layout with a word for birth just before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText, pattern
from .skeletons import folded
from .words import told, words

__all__ = ["birth_dates", "is_birth_date"]

MONTHS = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mai|okt|dez|janv|fev|avr|juin|juil|aou|ene|abr|ago|dic|gen|mag|"
    "giu|lug|set|ott|sty|lut|kwi|maj|cze|lip|sie|wrz|pa\\xa0|pa\\xe0|paz|lis|gru|out|m\\xe0r|fevr|styc"
)
NUMBERS = r"(?:[12][0-9]|3[01]|0?[1-9])"
YEAR = r"(?:19|20)[0-9]{2}"
SHAPE = (
    rf"{NUMBERS} {NUMBERS} {YEAR}|{YEAR}[-/.](?:1[0-2]|0?[1-9])[-/.]{NUMBERS}"
    rf"|{NUMBERS}[-/.] ?{NUMBERS}[-/.] ?(?:{YEAR}|[0-9]{{2}})|(?:[0-2][0-9]|3[01])(?:[0-2][0-9]|3[01]){YEAR}"
    rf"|{NUMBERS}(?:st|nd|rd|th|\.|er|\xba)?[ -](?:of |de |d')?(?:{MONTHS})[a-z\xe0]*\.?,?[ -](?:de |del )?{YEAR}"
    rf"|(?:{MONTHS})[a-z\xe0]*\.?[ -]{NUMBERS}(?:st|nd|rd|th)?,?[ -]{YEAR}"
    rf"|{YEAR}\x8c ?[0-9]{{1,2}}\x8d ?[0-9]{{1,2}}\x8e|{YEAR}[ -](?:{MONTHS})[a-z]*[ -]{NUMBERS}|(?:19|20)[0-9]{{6}}"
)
DATE = pattern(f"(?i){SHAPE}")
WHOLE = re.compile(SHAPE.encode("latin-1"), re.IGNORECASE)
BIRTH = words(
    "born dob birth birthday bday birthdate geb geboren geburtsdatum geburtstag ne nee naissance nacido nacida "
    "nacimiento nato nata nascita nascido nascida nascimento urodzony urodzona urodzenia ur d_o_b d.o.b "
    "date_of_birth birth_date naci nacio nasci nasceu ne(e) f.nac f_nac fec_nac cumpleaños compleanno aniversario",
    "geboorte fødsels fodsels född født syntym narozen szület dogum geburts naiss nacim nasci nascit urodz "
    "birth_ date_of_birth geboren 生年月日 誕生 जन्म",
)
BORN_SIGN = folded("生")
BORN = re.compile(
    BORN_SIGN + rb"|[ ,]{0,2}(?:(?:in [a-z\xe0 .-]{2,20} )?geboren|"
    rb"is (?:my|his|her|their|your) (?:birthday|dob|date of birth))|"
    rb" ?\((?:dob|d\.o\.b\.?|birthday|date of birth|birth date|geburtsdatum)\)"
)
END = re.compile(rb"[^0-9A-Za-z_\xe0]|T[0-9]{2}")
CLOSED = re.compile(rb"</[^<>]*>")
"""Ends an element: what it names is over."""
GOES_ON = re.compile(rb"[-/.]\d")
OFFERED = re.compile(rb"offer|aktion|certificat|valid|until|issued|expir|promo|campa|discount|gutschein|rabatt|order")
"""What has a date of its own."""
PARTED = re.compile(rb"[.!?;\n]\s")
REACH = 32


def birth_dates(text: JoinedText) -> Iterator[Finding]:
    """Yields dates of birth: the first date after a word for birth, and none that another date parts from it."""
    previous = -1
    for start, end in text.spans(DATE):
        near, previous = max(0, start - REACH, previous), end
        if (
            not (text.begins(start) and END.match(text.data, end))
            or (start and text.data[start - 1] in b"-/.")
            or GOES_ON.match(text.data, end)
        ):
            continue
        if BORN.match(text.after(end, REACH)):
            yield Finding(start, end, Entity.DATE_OF_BIRTH, 0.96, "a date before a word for birth")
        elif BIRTH.last_before(text, start, start - near) is not None:
            before = CLOSED.sub(b"\n ", text.before(start, start - near))
            named = BIRTH.within(before)
            if named is not None and not PARTED.search(before, named[1] + 2) and not OFFERED.search(before, named[0]):
                name = told(before[slice(*named)])
                yield Finding(start, end, Entity.DATE_OF_BIRTH, 0.96, f"a date after the word '{name}'")


def is_birth_date(text: bytes) -> bool:
    """Returns whether a skeleton is a date and nothing else, in the past century or so."""
    return bool(WHOLE.fullmatch(text)) and not re.search(rb"20[3-9]\d", text)

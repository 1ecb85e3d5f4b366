"""Secrets: keys and tokens of known shape, private keys, JSON Web Tokens, and what is named as a password or key."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText, pattern
from .skeletons import folded
from .words import words

__all__ = ["secrets"]

PRIVATE_KEY = pattern(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"[^\x00]*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\x00|$)"
)
WEB_TOKEN = pattern(r"eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}")
# Prefixes by which those who issue keys mark them.
SHAPES = pattern(
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}|gh[pousr]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{22,}|glpat-[0-9A-Za-z_-]{20,}"
    r"|(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{10,}|whsec_[0-9A-Za-z+/=]{20,}|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}"
    r"|xox[abeoprs]-[0-9A-Za-z-]{10,}|xapp-[0-9A-Za-z-]{10,}|SG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}"
    r"|npm_[0-9A-Za-z]{36}|pypi-[0-9A-Za-z_-]{50,}|sk-[0-9A-Za-z_-]{20,}|hf_[0-9A-Za-z]{30,}|dop_v1_[0-9a-f]{64}"
    r"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dckr_pat_[0-9A-Za-z_-]{20,}|lin_api_[0-9A-Za-z]{30,}|hvs\.[0-9A-Za-z_-]{20,}"
    r"|[0-9]{8,10}:AA[0-9A-Za-z_-]{33}|key-[0-9a-f]{32}|AC[0-9a-f]{32}|SK[0-9a-f]{32}|EAAC[0-9A-Za-z]{20,}"
    r"|https://hooks\.slack\.com/services/[0-9A-Za-z/]{20,}|AccountKey=[0-9A-Za-z+/=]{40,}"
)
NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|pw|secret(?:[ _-]?(?:access)?[ _-]?key)?|(?:api|access|auth|private|app|account|"
    r"encryption|signing|master|shared)[ _-]?(?:key|token|secret|password)|client[ _-]?secret|(?:[a-z0-9]{1,20}_){0,3}"
    r"(?:token|secret|passwd|password|pass|pwd|pw|apikey|api_key|secret_key|access_key)|token|bearer|authorization|apikey|credentials?|passwort|"
    r"kennwort|mot de passe|mdp|contrase.a|clave|senha|has.o|parola d.accesso|palavra.passe"
    rf"|{folded('パスワード').decode('latin-1')}"
)
SIGN = (
    r" (?:for|of|to) [0-9a-z_. -]{1,30}?(?: is |: ?|=)|[ \t]*(?::=|=>|[:=>])[ \t]*|'s |"
    r" (?:is now|is|was|lautet|ist|est|es|to|jest|e|=>)[ :]+|\xa0[ \xa0]?| "
)
"""What joins a name and its value."""
NAMED = pattern(
    rf"(?i)(?:^|[^0-9a-z])({NAMES})(?:[ _-]?(?:value|id))?[\"'`\]]*({SIGN})(?:(?:bearer|basic) )?"
    r"[\"'`]?([^\x00-\x20\"'`,;|<>]{6,200})"
)
QUERY = re.compile(rb"&[A-Za-z_]\w*=")
ENDS = b".,;:?)]}'\"\xa0"
DULL = re.compile(
    rb"(?i)(?:none|null|nil|true|false|undefined|redacted|hidden|required|optional|string|example|changeme|password\d?|"
    rb"your[_-].*|my[_-].*|\$\{?.*|\{\{.*|\[.*|<.*|%.*%|x+|\*+|\.+|-+|_+|\xa0+|os\.environ.*|process\.env.*|env\..*|https?:.*|"
    rb"getenv.*|config\..*|self\..*|.*\(.*\).*)"
)
CERTAIN = re.compile(rb"password|passwd|pwd|passwort|kennwort|passphrase|passcode")
"""What can only be followed by a password or by talk of one."""
STRONG = words("password passwd pwd passphrase passcode secret pass", "password passwort kennwort api_key")


def secrets(text: JoinedText) -> Iterator[Finding]:
    """Yields secrets."""
    for start, end in text.spans(PRIVATE_KEY):
        end -= text.data[end - 1 : end] == b"\0"
        yield Finding(start, end, Entity.SECRET, 0.999, "a private key in PEM")
    for start, end in text.spans(WEB_TOKEN):
        yield Finding(start, end, Entity.SECRET, 0.998, "a JSON Web Token")
    for start, end in text.spans(SHAPES):
        if text.begins(start) or text.data[start - 1 : start] in b"=_":
            yield Finding(start, end, Entity.SECRET, 0.997, "a key or token with the prefix of its issuer")
    yield from _named(text)


def _named(text: JoinedText) -> Iterator[Finding]:
    for match in NAMED.finditer(text.data):
        start, end = match.span(3)
        value = QUERY.split(text.data[start:end], maxsplit=1)[0].rstrip(ENDS)
        if len(value) >= 6 and not DULL.fullmatch(value) and _secretive(value, match[2], match[1].lower()):
            yield Finding(start, start + len(value), Entity.SECRET, 0.9, "what is named as a password, key or token")


def _secretive(value: bytes, sign: bytes, name: bytes) -> bool:
    """Returns whether a value looks made up rather than said: after ``:`` or ``=`` less is asked of it."""
    digits = any(48 <= byte < 58 for byte in value)
    letters = any(byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" for byte in value)
    signs = any(byte in b"!@#$%^&*+=?~_-/\\|." for byte in value)
    mixed = value.lower() != value and value.upper() != value and value[1:].lower() != value[1:]
    if sign.strip() in (b":", b"=", b":=", b"=>", b">"):
        if name.endswith((b"pass", b"password", b"passwd", b"pwd", b"pw", b"code")) and (sign == b"=" or not letters):
            return letters or digits
        return letters and (digits or signs or mixed or len(value) >= 16)
    enough = 6 if CERTAIN.fullmatch(name) else 8
    return (letters and digits and (signs or len(value) >= enough)) or (letters and signs and mixed)

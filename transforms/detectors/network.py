"""What names people and machines on networks: e-mail addresses, IP and MAC addresses, URLs with credentials in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from typing import Any

from ...schemas.info_types import Entity
from .findings import Finding
from .joined_text import JoinedText, pattern
from .words import words

__all__ = ["emails", "ip_addresses", "mac_addresses", "urls"]

ATOM = r"[0-9A-Za-z\xe0%'+_~-]"
LABEL = r"[0-9A-Za-z\xe0\x80-\xa0]"
EMAIL = pattern(
    rf"{ATOM}+(?:\.{ATOM}+)*(?:@|%40)(?:{LABEL}(?:[0-9A-Za-z\xe0\x80-\xa0-]{{0,61}}{LABEL})?\.)+"
    r"[A-Za-z\xe0][0-9A-Za-z\xe0-]{1,62}"
)
FILES = set(b"png jpg jpeg gif svg webp pdf css js ts json html ico txt".split())
LEADING = b"'~%-"
AT: Any = re.compile(rb"(.*)(@|%40)(.*)", re.DOTALL)

URL_SIGN = r"[^\x00-\x20\"'<>`|\\,;]"
# A comma may part hosts and a semicolon parameters; else a list goes on behind the URL.
URL = pattern(
    r"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\x00-\x20/?#@\"'<>`]+@"
    rf"{URL_SIGN}+(?:[,;][0-9a-z-]+[.:=][^\x00-\x20\"'<>`|\\,;/]{URL_SIGN}*)*"
)
TRAILING = b".,;:!?)]}*_\xa0"

LONGEST = 45
RANGE = re.compile(rb"(?:^|[^0-9.])\d{1,3}(?:\.\d{1,3}){3} ?-$")
PORT = re.compile(rb":[0-9]{2,5}(?![0-9:.])")
IPV4 = re.compile(rb"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}")
IPV4_PLACE = pattern(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
IPV6 = pattern(r"[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:]*(?:\.[0-9]{1,3}){0,3}")
VERSION = words(
    "version versions ver rev release releases build firmware fw kernel sdk patch update upgrade schema chapter "
    "section clause paragraph win windows agent chrome safari firefox edge oid mise_a_jour aktualisierung "
    "aggiornamento actualizacion atualizacao",
    "version release firmware wersj",
)
IP = words(
    "ip ips ipv4 ipv6 host hosts server client_ip remote addr address from source dns gateway router subnet client",
    "ip_",
)

MAC = pattern(
    r"\b(?:(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})"
)

SAME_VERSION = re.compile(rb"[^0-9]*|[^0-9]{0,3}(?:[0-9][0-9.]*(?: ?[,&/-] ?| and | or | to | und | et | y | e | i ))+")
"""Between a word for versions and the number: no other number, or more versions."""
AS_VERSION = re.compile(rb"[a-z]/$|\bv\.? ?$")
LONGER = re.compile(rb"[-.]$|::$|(?<![0-9A-Za-z_])[0-9A-Fa-f]{1,2}:$")
"""In front of pairs or fours: there are more of them."""
GOES_ON = re.compile(rb":[^\s\x00]")
SIZED = re.compile(rb"(?i)\d+x\.|\d+x$")
"""Pictures for screens of so many times the usual density: ``logo@2x.png``."""
PLACEHOLDER = re.compile(rb"[<{$\[].*|\*+|x+|\.+|password|pass", re.IGNORECASE)


def emails(text: JoinedText) -> Iterator[Finding]:
    """Yields e-mail addresses."""
    for start, end in text.spans(EMAIL):
        local, sign, domain = AT.match(text.data[start:end]).groups()
        stripped = local.lstrip(LEADING)
        if stripped.startswith(b"_") and text.data[end : end + 1] == b"_":
            stripped = stripped.lstrip(b"_")  # emphasis of Markdown
        start += len(local) - len(stripped)
        if domain.endswith(b"-"):
            domain = domain.rstrip(b"-")
            end = start + len(stripped) + len(sign) + len(domain)
        suffix = domain.rpartition(b".")[2].lower()
        if not stripped or suffix in FILES or SIZED.match(domain):
            continue
        if text.data[end : end + 1] == b"@" or (start and text.data[start - 1 : start] == b"@"):
            continue
        if stripped == b"git" and text.data[end : end + 1] == b":":
            continue  # the place of a repository
        yield Finding(start, end, Entity.EMAIL, 0.96, "an address with '@' and a domain name")


def urls(text: JoinedText) -> Iterator[Finding]:
    """Yields URLs with a password, or a long token, in front of their host; others keep e-mail addresses away."""
    for start, end in text.spans(URL):
        written = text.data[start:end].rstrip(TRAILING)
        end = start + len(written)
        user, found, password = written.partition(b"://")[2].rpartition(b"@")[0].partition(b":")
        if found and password:
            if PLACEHOLDER.fullmatch(password):
                yield Finding(start, end, None, 0.97, "a URL with nothing in the place of its password")
                continue
            yield Finding(
                start, end, Entity.URL_WITH_CREDENTIALS, 0.995, "a URL with user and password before its host"
            )
        elif len(user) >= 20:
            yield Finding(start, end, Entity.URL_WITH_CREDENTIALS, 0.995, "a URL with a token before its host")
        elif b"." not in user:
            yield Finding(start, end, None, 0.97, "a URL with a user before its host")


def ip_addresses(text: JoinedText) -> Iterator[Finding]:
    """Yields IPv4 and IPv6 addresses."""
    mapped: set[int] = set()
    for start, end in text.spans(IPV6):
        finding = _ipv6(text, start, end)
        if finding is not None:
            mapped.update(range(finding.start, finding.end))
            yield finding
    for start, end in text.spans(IPV4_PLACE):
        if start not in mapped:
            yield from _ipv4(text, start, end)


def _ipv6(text: JoinedText, start: int, end: int) -> Finding | None:
    written = text.data[start:end]
    while written.endswith(b":") and not written.endswith(b"::"):
        written, end = written[:-1], end - 1
    if written.startswith(b":") and not written.startswith(b"::"):
        written, start = written[1:], start + 1
    if not 3 <= len(written) <= LONGEST or not text.whole(start, end) or written.count(b":") < 2:
        return None
    if (start and text.data[start - 1] in b":.") or (b"." not in written and GOES_ON.match(text.data, end)):
        return None
    try:
        address = IPv6Address(written.decode())
    except (AddressValueError, UnicodeDecodeError):
        return None
    groups = [group for group in written.split(b":") if group]
    if len(groups) < 3 and not any(byte in b"0123456789" for byte in written):
        return None
    kind = "an IPv4 address mapped into IPv6" if address.ipv4_mapped else "an IPv6 address"
    return Finding(start, end, Entity.IP_ADDRESS, 0.95, kind)


def _ipv4(text: JoinedText, start: int, end: int) -> Iterator[Finding]:
    if not IPV4.fullmatch(text.data[start:end]) or not text.whole(start, end):
        return
    before = text.before(start, 32)
    ranged = RANGE.search(before) or (text.data[end : end + 1] == b"-" and IPV4.match(text.data, end + 1))
    if re.search(rb"\.$" if ranged else rb"[.-]$", before) or re.match(
        rb"\.\d" if ranged else rb"[.-]\d", text.data[end : end + 2]
    ):
        return
    named, version = IP.governing(text, start, 32), VERSION.governing(text, start, 32)
    if (version > named and SAME_VERSION.fullmatch(text.lower, version, start)) or AS_VERSION.search(before):
        return
    if named < 0 and re.match(rb",\d\d(?![0-9a-z,])", text.data[end : end + 4]):
        return
    small = all(len(part) == 1 for part in text.data[start:end].split(b"."))
    if small and named < 0 and len(set(text.data[start:end])) > 2 and not PORT.match(text.data[end : end + 7]):
        return
    yield Finding(start, end, Entity.IP_ADDRESS, 0.93 if named >= 0 else 0.85, "four numbers to 255, an IPv4 address")


def mac_addresses(text: JoinedText) -> Iterator[Finding]:
    """Yields hardware addresses in pairs, or in the fours of Cisco."""
    for start, end in text.spans(MAC):
        if not text.whole(start, end) or LONGER.search(text.data, max(0, start - 4), start) or text.data[end] in b":-":
            continue
        written = text.data[start:end]
        if (
            b"." in written
            and written.replace(b".", b"").isdigit()
            and not re.search(rb"mac|hw|ether", text.before(start))
        ):
            continue
        yield Finding(start, end, Entity.MAC_ADDRESS, 0.96, "six bytes of a hardware address")

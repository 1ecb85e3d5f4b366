"""Made-up crypto addresses, credentials and keys; checksums are right where the format has one."""

from __future__ import annotations

import base64
import hashlib
import json
import string
import zlib
from random import Random

from oracles.labelled_values import DIGITS, FIRST_NAMES, HEX, LOWER, UPPER, drawn, ip_v4

ALNUM = DIGITS + UPPER + LOWER
BASE_58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH_32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH_32M = 0x2BC830A3
SECRET_KINDS = ("aws_id", "github", "github_pat", "stripe", "google", "slack", "jwt")
WORDS = ("sunset", "Tiger", "winter", "Coffee", "maple", "Rocket", "harbour", "Violin")


def crypto_address(rng: Random) -> str:
    """An address of Bitcoin, Litecoin or Ethereum."""
    match rng.choice(("p2pkh", "p2sh", "segwit", "taproot", "ethereum", "ethereum", "litecoin")):
        case "p2pkh":
            return base_58_check(b"\x00" + rng.randbytes(20))
        case "p2sh":
            return base_58_check(b"\x05" + rng.randbytes(20))
        case "segwit":
            return bech_32("bc", 0, rng.randbytes(rng.choice((20, 20, 32))))
        case "taproot":
            return bech_32("bc", 1, rng.randbytes(32))
        case "litecoin":
            return (
                base_58_check(b"\x30" + rng.randbytes(20))
                if rng.random() < 0.5
                else bech_32("ltc", 0, rng.randbytes(20))
            )
    address = drawn(rng, HEX, 40)
    return "0x" + (eip_55(address) if rng.random() < 0.6 else address)


def base_58_check(payload: bytes) -> str:
    data = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, written = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        written = BASE_58[digit] + written
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + written


def bech_32(prefix: str, version: int, program: bytes) -> str:
    """A segregated-witness address: BIP 173 for version 0, BIP 350 from version 1."""
    bits = "".join(f"{byte:08b}" for byte in program)
    bits += "0" * (-len(bits) % 5)
    values = [version, *(int(bits[place : place + 5], 2) for place in range(0, len(bits), 5))]
    spread = [ord(character) >> 5 for character in prefix] + [0] + [ord(character) & 31 for character in prefix]
    residue = bech_32_residue(spread + values + [0] * 6) ^ (BECH_32M if version else 1)
    return f"{prefix}1" + "".join(
        BECH_32[v] for v in [*values, *(residue >> shift & 31 for shift in range(25, -1, -5))]
    )


def bech_32_residue(values: list[int]) -> int:
    residue = 1
    for value in values:
        top = residue >> 25
        residue = (residue & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            residue ^= generator * (top >> place & 1)
    return residue


def eip_55(address: str) -> str:
    """Forty hexadecimal digits with capitals where the hash of them says so."""
    marks = keccak_256(address.encode()).hex()
    return "".join(c.upper() if int(mark, 16) > 7 else c for c, mark in zip(address, marks, strict=False))


def keccak_256(message: bytes) -> bytes:
    """Keccak as Ethereum uses it, for messages of one block; ``hashlib`` has only the padding of SHA-3."""
    block = bytearray(message.ljust(136, b"\x00"))
    block[len(message)] ^= 1
    block[135] ^= 0x80
    lanes = [int.from_bytes(block[8 * place : 8 * place + 8], "little") for place in range(17)] + [0] * 8
    register = 1
    for _ in range(24):
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        lanes = [lane ^ columns[(i + 4) % 5] ^ _rotated(columns[(i + 1) % 5], 1) for i, lane in enumerate(lanes)]
        x, y, current = 1, 0, lanes[1]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x + 5 * y] = lanes[x + 5 * y], _rotated(current, (step + 1) * (step + 2) // 2)
        rows = [lanes[5 * y : 5 * y + 5] for y in range(5)]
        lanes = [row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]) for row in rows for x in range(5)]
        for place in range(7):
            register = (register << 1 ^ (register >> 7) * 0x71) % 256
            lanes[0] ^= (register >> 1 & 1) << ((1 << place) - 1)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _rotated(lane: int, count: int) -> int:
    return (lane << count % 64 | lane >> (64 - count % 64)) & (1 << 64) - 1


def credential_url(rng: Random) -> str:
    """A URL with user and password in it."""
    scheme, port = rng.choice(
        (("postgresql", ":5432/app"), ("https", "/repo.git"), ("redis", ":6379/0"), ("ftp", "/pub/x"))
    )
    if rng.random() < 0.3:
        scheme, port = rng.choice((("amqp", ":5672/orders"), ("mongodb+srv", "/shop?retryWrites=true"), ("https", "")))
    host = rng.choice(("db.internal", "git.example.com", "cache-01.example.net", "localhost", ip_v4(rng)))
    return f"{scheme}://{rng.choice((*FIRST_NAMES, 'svc_app', 'root'))}:{url_password(rng)}@{host}{port}"


def url_password(rng: Random) -> str:
    return rng.choice(
        (drawn(rng, ALNUM, 12), f"{rng.choice(WORDS)}{rng.randint(10, 99)}!", f"p%40ss{rng.randint(1, 999)}")
    )


def password(rng: Random) -> str:
    """A password people choose, without quotes, spaces or a mark at its end."""
    word, other = rng.sample(WORDS, 2)
    kinds = (
        f"{word}!{rng.randint(100, 9999)}",
        f"{word}-{other}-{rng.randint(10, 99)}",
        f"{rng.choice(LOWER)}{drawn(rng, ALNUM + '#$%*', 12)}x9",
    )
    return rng.choice(kinds)


def api_key(rng: Random) -> str:
    return rng.choice((drawn(rng, HEX, 32), drawn(rng, ALNUM, rng.choice((24, 32, 40)))))


def aws_secret(rng: Random) -> str:
    return drawn(rng, ALNUM + "/+", 40)


def token(rng: Random, kind: str = "") -> str:
    """A secret that is one by its look: of one of SECRET_KINDS."""
    match kind or rng.choice(SECRET_KINDS):
        case "aws_id":
            return rng.choice(("AKIA", "AKIA", "ASIA")) + drawn(rng, UPPER + "234567", 16)
        case "github":
            return github_token(rng)
        case "github_pat":
            return f"github_pat_{drawn(rng, ALNUM, 22)}_{drawn(rng, ALNUM, 59)}"
        case "stripe":
            return f"sk_live_{drawn(rng, ALNUM, rng.choice((24, 24, 99)))}"
        case "google":
            return "AIza" + drawn(rng, ALNUM + "-_", 34) + drawn(rng, ALNUM, 1)
        case "slack":
            return f"xoxb-{drawn(rng, DIGITS, 12)}-{drawn(rng, DIGITS, 13)}-{drawn(rng, ALNUM, 24)}"
        case "jwt":
            return jwt(rng)
    raise ValueError(kind)


def github_token(rng: Random) -> str:
    """A token whose last six characters are the CRC-32 of the thirty before, in base 62."""
    body = drawn(rng, ALNUM, 30)
    number, check, alphabet = zlib.crc32(body.encode()), "", DIGITS + string.ascii_uppercase + LOWER
    for _ in range(6):
        number, digit = divmod(number, 62)
        check = alphabet[digit] + check
    return f"{rng.choice(('ghp', 'gho', 'ghs'))}_{body}{check}"


def jwt(rng: Random) -> str:
    claims = {
        "sub": drawn(rng, DIGITS, 8),
        "name": rng.choice(FIRST_NAMES),
        "iat": rng.randint(1_600_000_000, 1_800_000_000),
    }
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), rng.randbytes(32)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def pem_block(rng: Random) -> str:
    """A private key block; what is in it is noise."""
    kind = rng.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"))
    body = base64.b64encode(b"0\x82" + rng.randbytes(rng.randint(150, 400))).decode()
    lines = [body[place : place + 64] for place in range(0, len(body), 64)]
    return "\n".join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"))

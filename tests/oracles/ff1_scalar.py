"""FF1 one value at a time, written straight from NIST SP 800-38G: slow, and the reference for the columnar one."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def _aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def _num(numerals: list[int], radix: int) -> int:
    x = 0
    for numeral in numerals:
        x = x * radix + numeral
    return x


def _str(x: int, radix: int, m: int) -> list[int]:
    digits = []
    for _ in range(m):
        digits.append(x % radix)
        x //= radix
    return digits[::-1]


def _prf(key: bytes, data: bytes) -> bytes:
    y = bytes(16)
    for at in range(0, len(data), 16):
        y = _aes(key, bytes(p ^ q for p, q in zip(y, data[at : at + 16], strict=True)))
    return y


def _setup(key: bytes, radix: int, n: int, tweak: bytes) -> tuple[int, int, int, int, bytes]:
    u = n // 2
    v = n - u
    bits = 0
    while 2**bits < radix**v:
        bits += 1
    b = -(-bits // 8)
    d = 4 * -(-b // 4) + 4
    p = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big")
    return u, v, b, d, p + len(tweak).to_bytes(4, "big")


def _y(key: bytes, p: bytes, tweak: bytes, b: int, d: int, i: int, number: int) -> int:
    q = tweak + bytes((-len(tweak) - b - 1) % 16) + bytes([i]) + number.to_bytes(b, "big")
    r = _prf(key, p + q)
    s = r
    j = 1
    while len(s) < d:
        s += _aes(key, bytes(x ^ y for x, y in zip(r, j.to_bytes(16, "big"), strict=True)))
        j += 1
    return int.from_bytes(s[:d], "big")


def encrypt(key: bytes, radix: int, x: list[int], tweak: bytes = b"") -> list[int]:
    u, v, b, d, p = _setup(key, radix, len(x), tweak)
    left, right = x[:u], x[u:]
    for i in range(10):
        m = u if i % 2 == 0 else v
        c = (_num(left, radix) + _y(key, p, tweak, b, d, i, _num(right, radix))) % radix**m
        left, right = right, _str(c, radix, m)
    return left + right


def decrypt(key: bytes, radix: int, x: list[int], tweak: bytes = b"") -> list[int]:
    u, v, b, d, p = _setup(key, radix, len(x), tweak)
    left, right = x[:u], x[u:]
    for i in reversed(range(10)):
        m = u if i % 2 == 0 else v
        c = (_num(right, radix) - _y(key, p, tweak, b, d, i, _num(left, radix))) % radix**m
        left, right = _str(c, radix, m), left
    return left + right

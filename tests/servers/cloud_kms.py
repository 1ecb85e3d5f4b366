"""A server that behaves like Cloud KMS for Encrypt and Decrypt, with keys of its own, and fails as it is told to.

It speaks gRPC with the client library's own messages. Keys are real (AES-256-GCM), associated data are bound, checksums
are verified and sent as the service's reference says, and refusals have its codes and words.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud import kms_v1

__all__ = ["CloudKms", "Fault", "cloud_kms"]

SERVICE = "google.cloud.kms.v1.KeyManagementService"
LIMIT = 65_536
NONCE = 12
PROJECT = "projects/tea-shop/"
BY_NUMBER = re.compile(r"^projects/[0-9]+/")
NOTHING = grpc.StatusCode.OK


@dataclass
class Version:
    """A version of a key; once it is destroyed its bytes are gone."""

    key: bytes | None = field(default_factory=lambda: os.urandom(32), repr=False)
    state: str = "ENABLED"


@dataclass
class Key:
    """A key: its versions by number, and what may be done with it."""

    versions: dict[int, Version] = field(default_factory=lambda: {1: Version()})
    primary: int = 1
    permissions: set[str] = field(default_factory=lambda: {"Encrypt", "Decrypt"})
    purpose: str = "ENCRYPT_DECRYPT"


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        code: The status of the answer; OK: an answer comes, but ``garble`` is done to it or to what came.
        garble: ``plaintext``, ``ciphertext`` or ``aad`` (as received), ``answer`` (as sent), ``flags`` (the service
            says that it has verified nothing), ``name`` (the answer is of another key).
        times: How often; None: until told otherwise.
        after: Calls that go well before.
        method: Encrypt or Decrypt; None: both.
    """

    code: grpc.StatusCode = NOTHING
    garble: str = ""
    times: int | None = None
    after: int = 0
    method: str | None = None

    def strikes(self, method: str) -> bool:
        """Whether this call is struck; counts."""
        if self.method not in (None, method) or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class CloudKms:
    """The server.

    Attributes:
        address: ``HOST:PORT``; stays the same.
        keys: By resource name.
        faults: What goes wrong; the first that strikes counts.
        latency: Seconds before each answer.
        calls: Each call as (method, key, status).
        plaintexts: Whatever was encrypted or decrypted: what must never be seen elsewhere.
    """

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.calls: list[tuple[str, str, str]] = []
        self.plaintexts: set[bytes] = set()
        self.address = ""
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None

    def add_key(self, name: str) -> str:
        """Makes a key in a ring of tests, and returns its URI."""
        resource = f"{PROJECT}locations/europe-west3/keyRings/consentry/cryptoKeys/{name}"
        self.keys[resource] = Key()
        return f"gcp-kms://{resource}"

    def key(self, uri: str) -> Key:
        """The key of a URI."""
        return self.keys[uri.removeprefix("gcp-kms://")]

    def rotate(self, uri: str) -> None:
        """Gives a key a new primary version."""
        key = self.key(uri)
        key.primary = max(key.versions) + 1
        key.versions[key.primary] = Version()

    def set_state(self, uri: str, version: int, state: str) -> None:
        """Puts a version into a state; DESTROYED takes its bytes."""
        found = self.key(uri).versions[version]
        found.state = state
        if state == "DESTROYED":
            found.key = None

    def count(self, method: str, uri: str | None = None, status: str = "OK") -> int:
        """How many calls of a method, on a key, ended so."""
        name = None if uri is None else uri.removeprefix("gcp-kms://")
        return sum(call[0] == method and name in (None, call[1]) and call[2] == status for call in self.calls)

    def counts(self) -> Counter[tuple[str, str]]:
        """Calls that went well, by method and last part of the key's name."""
        return Counter((method, name.rpartition("/")[2]) for method, name, status in self.calls if status == "OK")

    def start(self) -> None:
        """Listens, at the same port as before if there was one."""
        server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        handlers = {
            "Encrypt": self._handler(self._encrypt, kms_v1.EncryptRequest, kms_v1.EncryptResponse),
            "Decrypt": self._handler(self._decrypt, kms_v1.DecryptRequest, kms_v1.DecryptResponse),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        server.start()
        self._server = server

    def stop(self) -> None:
        """Is gone: nobody listens. An answer that is on its way still arrives, one that takes longer does not."""
        if self._server is not None:
            self._server.stop(grace=0.2).wait()
            self._server = None

    def _handler(self, work: Callable[..., Any], request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda asked, context: self._answered(work, asked, context),
            request_deserializer=request.deserialize,
            response_serializer=response.serialize,
        )

    def _answered(self, work: Callable[..., Any], asked: Any, context: grpc.ServicerContext) -> Any:
        method = type(asked).__name__.removesuffix("Request")
        time.sleep(self.latency)
        with self._lock:
            fault = next((fault for fault in self.faults if fault.strikes(method)), Fault())
        try:
            if fault.code is not NOTHING:
                raise _Refused(fault.code, f"told to fail with {fault.code.name}")
            answer = work(_garbled(asked, fault.garble), fault.garble)
        except _Refused as refused:
            self.calls.append((method, asked.name, refused.code.name))
            context.abort(refused.code, refused.says)
        self.calls.append((method, asked.name, "OK"))
        return answer

    def _encrypt(self, asked: kms_v1.EncryptRequest, garble: str) -> kms_v1.EncryptResponse:
        key = self._permitted("Encrypt", asked.name)
        _verify("plaintext", asked.plaintext, asked.plaintext_crc32c, LIMIT)
        _verify("additional_authenticated_data", asked.additional_authenticated_data,
                asked.additional_authenticated_data_crc32c, LIMIT)  # fmt: skip
        version = f"{asked.name}/cryptoKeyVersions/{key.primary}"
        nonce = os.urandom(NONCE)
        sealed = _cipher(version, key.versions[key.primary]).encrypt(nonce, asked.plaintext, _bound(asked))
        ciphertext = key.primary.to_bytes(4, "big") + nonce + sealed
        self.plaintexts.add(bytes(asked.plaintext))
        return kms_v1.EncryptResponse(
            name=f"{asked.name}-2/cryptoKeyVersions/1" if garble == "name" else BY_NUMBER.sub(PROJECT, version),
            ciphertext=_flipped(ciphertext) if garble == "answer" else ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=asked.plaintext_crc32c is not None and garble != "flags",
            verified_additional_authenticated_data_crc32c=asked.additional_authenticated_data_crc32c is not None,
        )

    def _decrypt(self, asked: kms_v1.DecryptRequest, garble: str) -> kms_v1.DecryptResponse:
        key = self._permitted("Decrypt", asked.name)
        _verify("ciphertext", asked.ciphertext, asked.ciphertext_crc32c, 10 * LIMIT)
        _verify("additional_authenticated_data", asked.additional_authenticated_data,
                asked.additional_authenticated_data_crc32c, LIMIT)  # fmt: skip
        number, rest = int.from_bytes(asked.ciphertext[:4], "big"), asked.ciphertext[4:]
        failed = _Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
        )
        if number not in key.versions:
            raise failed
        cipher = _cipher(f"{asked.name}/cryptoKeyVersions/{number}", key.versions[number])
        try:
            plaintext = cipher.decrypt(rest[:NONCE], rest[NONCE:], _bound(asked))
        except (InvalidTag, ValueError):
            raise failed from None
        self.plaintexts.add(plaintext)
        return kms_v1.DecryptResponse(
            plaintext=_flipped(plaintext) if garble == "answer" else plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext),
            used_primary=number == key.primary,
        )

    def _permitted(self, method: str, name: str) -> Key:
        key = self.keys.get(name)
        if key is None:
            raise _Refused(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        if method not in key.permissions:
            said = f"Permission 'cloudkms.cryptoKeyVersions.useTo{method}' denied on resource '{name}'."
            raise _Refused(grpc.StatusCode.PERMISSION_DENIED, said)
        if key.purpose != "ENCRYPT_DECRYPT":
            raise _Refused(grpc.StatusCode.FAILED_PRECONDITION, f"{name} has purpose {key.purpose}.")
        return key


class _Refused(Exception):  # noqa: N818 - an answer, no error of this server
    def __init__(self, code: grpc.StatusCode, says: str) -> None:
        super().__init__(says)
        self.code, self.says = code, says


def _verify(what: str, data: bytes, crc: int | None, limit: int) -> None:
    if len(data) > limit:
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{what} is longer than {limit} bytes.")
    if crc is not None and google_crc32c.value(bytes(data)) != crc:
        said = f"The checksum in field {what}_crc32c did not match the data in field {what}."
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, said)


def _cipher(name: str, version: Version) -> AESGCM:
    if version.state != "ENABLED" or version.key is None:
        raise _Refused(
            grpc.StatusCode.FAILED_PRECONDITION, f"{name} is not enabled, current state is: {version.state}."
        )
    return AESGCM(version.key)


def _bound(asked: Any) -> bytes:
    return bytes(asked.additional_authenticated_data) + asked.name.encode()


def _garbled(asked: Any, what: str) -> Any:
    """What arrives of a request on a bad line."""
    name = {"aad": "additional_authenticated_data"}.get(what, what)
    if name in ("plaintext", "ciphertext", "additional_authenticated_data") and name in type(asked).meta.fields:
        changed = type(asked)(asked)
        setattr(changed, name, _flipped(getattr(asked, name)))
        return changed
    return asked


def _flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + bytes(data[1:])


@contextmanager
def cloud_kms() -> Iterator[CloudKms]:
    """Yields a server that listens; it is gone when the block ends."""
    server = CloudKms()
    server.start()
    try:
        yield server
    finally:
        server.stop()

"""Encrypts and decrypts a few bytes with a key of Cloud KMS: checked both ways, tried again, explained when refused.

Every call sends CRC32C checksums of what it sends and compares those of what it gets, as the service's guide to data
integrity asks; an answer that does not fit is thrown away and asked for again, three times at most. Answers that say
"later" (UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL) are asked for again with growing random pauses,
until the time is over. Each call opens and closes a connection of its own, so that no thread of it stays in a process
that may fork.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ...schemas.errors import IntegrityError, KekError, KekUnavailableError, PrivacyError
from .kms_endpoint import ENDPOINT_VARIABLE, TIMEOUT_VARIABLE, KmsEndpoint

if TYPE_CHECKING:
    from google.cloud.kms_v1 import DecryptResponse, EncryptResponse, KeyManagementServiceClient

__all__ = ["KmsKey"]

T = TypeVar("T")

ATTEMPT_SECONDS = 20.0
FIRST_PAUSE, LONGEST_PAUSE, PAUSE_GROWTH = 0.2, 15.0, 2.0
GARBLED_TRIES = 3
# A channel that lost its server would otherwise wait up to two minutes before it looks again.
CHANNEL_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5000)]
# A loopback address is on this machine, whatever proxy the environment names.
LOCAL_OPTIONS = [*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)]
SAID_STATE = re.compile(r"state is:? ?(DISABLED|DESTROYED|DESTROY_SCHEDULED|PENDING_\w+)")


class KmsKey:
    """A symmetric key of Cloud KMS.

    Args:
        name: Its full resource name, without a version.
        endpoint: Where and how long the service is asked.
    """

    __slots__ = ("_endpoint", "name")

    def __init__(self, name: str, endpoint: KmsEndpoint) -> None:
        self.name = name
        self._endpoint = endpoint

    def encrypt(self, plaintext: bytes, bound: bytes) -> bytes:
        """Returns the ciphertext under the key's primary version, bound to ``bound``.

        Raises:
            KekError: The key cannot be used by who asks.
            KekUnavailableError: No usable answer came in time.
        """
        from google.cloud.kms_v1 import EncryptRequest

        request = EncryptRequest(
            name=self.name,
            plaintext=plaintext,
            plaintext_crc32c=_crc32c(plaintext),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=_crc32c(bound),
        )

        def attempt(client: KeyManagementServiceClient, seconds: float) -> bytes:
            answer: EncryptResponse = client.encrypt(request=request, retry=None, timeout=seconds)
            ciphertext = bytes(answer.ciphertext)
            if not (
                answer.verified_plaintext_crc32c
                and answer.verified_additional_authenticated_data_crc32c
                and answer.ciphertext_crc32c == _crc32c(ciphertext)
                and _within_project(answer.name).startswith(f"{_within_project(self.name)}/cryptoKeyVersions/")
            ):
                raise _GarbledError
            return ciphertext

        return self._asked("Encrypt", attempt)

    def decrypt(self, ciphertext: bytes, bound: bytes) -> bytes:
        """Returns the plaintext of ``encrypt``.

        Raises:
            IntegrityError: The ciphertext or ``bound`` is not what was encrypted.
            KekError: The key cannot be used by who asks.
            KekUnavailableError: No usable answer came in time.
        """
        from google.cloud.kms_v1 import DecryptRequest

        request = DecryptRequest(
            name=self.name,
            ciphertext=ciphertext,
            ciphertext_crc32c=_crc32c(ciphertext),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=_crc32c(bound),
        )

        def attempt(client: KeyManagementServiceClient, seconds: float) -> bytes:
            answer: DecryptResponse = client.decrypt(request=request, retry=None, timeout=seconds)
            plaintext = bytes(answer.plaintext)
            if answer.plaintext_crc32c != _crc32c(plaintext):
                raise _GarbledError
            return plaintext

        return self._asked("Decrypt", attempt)

    def _asked(self, method: str, attempt: Callable[[KeyManagementServiceClient, float], bytes]) -> bytes:
        """Returns what ``attempt`` gives at last, or raises why it gives nothing."""
        from google.api_core.exceptions import GoogleAPIError
        from google.api_core.retry import Retry
        from google.auth.exceptions import GoogleAuthError

        end = time.monotonic() + self._endpoint.seconds
        try:
            with _opened(self._endpoint) as client:

                def once() -> bytes:
                    return _told(lambda: attempt(client, max(0.1, min(ATTEMPT_SECONDS, end - time.monotonic()))))

                retry = Retry(
                    predicate=_worth_another_try(),
                    initial=FIRST_PAUSE,
                    maximum=LONGEST_PAUSE,
                    multiplier=PAUSE_GROWTH,
                    timeout=self._endpoint.seconds,
                )
                return retry(once)()
        except (GoogleAPIError, GoogleAuthError, _GarbledError) as error:
            refusal = self._refusal(method, error)
        # Outside of the handler: what the client raised would be the context, and may quote what was sent.
        raise refusal

    def _refusal(self, method: str, error: Exception) -> PrivacyError:
        """Returns what to tell of an error, without the server's own words, which nobody vouches for."""
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        key, verb = self.name, method.lower()
        last = error.cause if isinstance(error, exceptions.RetryError) and error.cause is not None else error
        right = f"cloudkms.cryptoKeyVersions.useTo{method}"
        match last:
            case exceptions.PermissionDenied():
                return KekError(
                    f"{key}: who asks may not {verb} with this key; ask for the permission {right} on it "
                    f"(role roles/cloudkms.cryptoKey{method}er), and check that the key and its project exist"
                )
            case exceptions.Unauthenticated() | GoogleAuthError() if not _is_transient(last):
                return KekError(
                    f"{key}: this machine has no credentials that Google accepts; run `gcloud auth "
                    "application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
                )
            case exceptions.NotFound():
                return KekError(f"{key}: there is no such key; check `kek` in the project file, or create the key")
            case exceptions.FailedPrecondition():
                return KekError(f"{key}: {_unusable(str(last))}")
            case exceptions.InvalidArgument() if method == "Decrypt":
                return IntegrityError(f"{key}: does not open it: it was changed, or encrypted by another key")
            case exceptions.ResourceExhausted():
                return self._later("refuses for want of quota (RESOURCE_EXHAUSTED)", "raise the project's quota")
            case _GarbledError() | exceptions.InvalidArgument() if _is_garbled(last):
                return self._later("gives answers whose checksums do not fit (CRC32C)", "look for a faulty proxy")
            case _ if "metadata from plugin failed" in str(last):
                return self._later("cannot be asked, because Google gives no access token", "renew the credentials")
            case exceptions.GoogleAPICallError() if not _is_transient(last):
                code = "an error" if last.grpc_status_code is None else last.grpc_status_code.name
                return KekError(f"{key}: Cloud KMS refuses to {verb} ({code}); see the key in the Cloud console")
        return self._later("gives no answer", f"check network, service status and {ENDPOINT_VARIABLE}")

    def _later(self, what: str, to_do: str) -> KekUnavailableError:
        seconds = f"{self._endpoint.seconds:g}"
        return KekUnavailableError(
            f"{self.name}: Cloud KMS {what}, for up to {seconds} seconds; {to_do}, and try again, "
            f"or let it be tried longer by {TIMEOUT_VARIABLE}"
        )


class _GarbledError(Exception):
    """What was sent or received is not what the other side received or sent."""


def _within_project(name: str) -> str:
    """The name of a key or version without its project, which the service may call by id where we say its number."""
    return name.partition("/locations/")[2]


def _told(attempt: Callable[[], T]) -> T:
    """Returns what ``attempt`` gives; that the service got something garbled is told as what it is."""
    from google.api_core.exceptions import InvalidArgument

    try:
        return attempt()
    except InvalidArgument as error:
        if not _is_garbled(error):
            raise
    raise _GarbledError


def _is_garbled(error: object) -> bool:
    return isinstance(error, _GarbledError) or re.search("checksum|crc32c", str(error), re.IGNORECASE) is not None


def _worth_another_try() -> Callable[[Exception], bool]:
    """Returns what tells whether to try again after an error, and counts the garbled answers of one call."""
    garbled = 0

    def worth(error: Exception) -> bool:
        nonlocal garbled
        if isinstance(error, _GarbledError):
            garbled += 1
            return garbled < GARBLED_TRIES
        return _is_transient(error)

    return worth


def _is_transient(error: Exception) -> bool:
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError

    later = (
        exceptions.ServiceUnavailable,
        exceptions.GatewayTimeout,
        exceptions.TooManyRequests,
        exceptions.InternalServerError,
        TransportError,
    )
    return isinstance(error, later)


def _unusable(said: str) -> str:
    state = SAID_STATE.search(said)
    match state[1] if state is not None else None:
        case "DISABLED":
            return "the version of the key that is needed is disabled; enable it in Cloud KMS"
        case "DESTROY_SCHEDULED":
            return "the version of the key that is needed is about to be destroyed; restore it in Cloud KMS at once"
        case "DESTROYED":
            return "the version of the key that is needed is destroyed; restore a keyring that another key wrapped"
    return (
        "cannot be used now (FAILED_PRECONDITION); its purpose must be ENCRYPT_DECRYPT, and the version that is needed "
        "enabled: not disabled, not destroyed"
    )


@contextmanager
def _opened(endpoint: KmsEndpoint) -> Iterator[KeyManagementServiceClient]:
    """Yields a client of the service, and closes its connection.

    It is Google's own, but for two things: it reconnects soon, and it never logs what it sends, as it would on the
    level DEBUG.
    """
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport as Transport,
    )

    logging.getLogger(Transport.__module__).setLevel(logging.INFO)
    if endpoint.is_local:
        client = KeyManagementServiceClient(transport=_local_transport(str(endpoint.host)))
    else:

        def transport(**options: Any) -> Transport:
            return Transport(**options, channel=lambda host, **rest: _patient_channel(host, **rest))

        options = None if endpoint.host is None else {"api_endpoint": endpoint.host}
        client = KeyManagementServiceClient(transport=transport, client_options=options)
    with client:
        yield client


def _local_transport(host: str) -> Any:
    import grpc
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport as Transport,
    )

    channel = grpc.insecure_channel(host, options=LOCAL_OPTIONS)
    return Transport(host=host, channel=channel, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]


def _patient_channel(host: str, *, options: list[tuple[str, int]] | None = None, **rest: Any) -> Any:
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport as Transport,
    )

    return Transport.create_channel(host, options=[*(options or []), *CHANNEL_OPTIONS], **rest)


def _crc32c(data: bytes) -> int:
    from google_crc32c import value

    return int(value(data))

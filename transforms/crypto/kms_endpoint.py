"""Where Cloud KMS is asked, and how long: what the environment may say, and what it may not.

``CONSENTRY_KMS_ENDPOINT`` names another place than Google's own. Only two kinds are taken: a host of googleapis.com
(private and regional endpoints) over TLS, because the machine's access token goes there; and a loopback address in
plain text without credentials, for a local server in tests. ``CONSENTRY_KMS_TIMEOUT`` says for how many seconds a call
is tried again.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...schemas.errors import ConfigError

__all__ = ["ENDPOINT_VARIABLE", "TIMEOUT_VARIABLE", "KmsEndpoint", "kms_endpoint"]

ENDPOINT_VARIABLE = "CONSENTRY_KMS_ENDPOINT"
TIMEOUT_VARIABLE = "CONSENTRY_KMS_TIMEOUT"
DEFAULT_SECONDS = 60.0
MOST_SECONDS = 86_400.0
GOOGLE_HOST = re.compile(r"(?:[a-z0-9-]+\.)+googleapis\.com(?::443)?")
LOCAL_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsEndpoint:
    """Where and how long Cloud KMS is asked.

    Attributes:
        host: ``HOST`` or ``HOST:PORT``; None: where Google's client finds it.
        is_local: Whether it is a loopback address: plain text, no credentials.
        seconds: For how long a call is tried again.
    """

    host: str | None = None
    is_local: bool = False
    seconds: float = DEFAULT_SECONDS


def kms_endpoint(environment: Mapping[str, str]) -> KmsEndpoint:
    """Returns what the environment says, or the defaults.

    >>> kms_endpoint({"CONSENTRY_KMS_ENDPOINT": "127.0.0.1:8085"}).is_local
    True

    Raises:
        ConfigError: A variable names a place that is not allowed, or no time.
    """
    host = environment.get(ENDPOINT_VARIABLE) or None
    is_local = host is not None and _is_loopback(host)
    if host is not None and not is_local and not GOOGLE_HOST.fullmatch(host):
        raise ConfigError(
            f"{ENDPOINT_VARIABLE}: is neither a host of googleapis.com nor a loopback address with a port; "
            "write HOST.googleapis.com, 127.0.0.1:PORT or [::1]:PORT, or unset it"
        )
    return KmsEndpoint(host=host, is_local=is_local, seconds=_seconds(environment.get(TIMEOUT_VARIABLE) or None))


def _is_loopback(host: str) -> bool:
    # By number only: what a name means is for others to say.
    found = LOCAL_HOST.fullmatch(host)
    try:
        return found is not None and ipaddress.ip_address(found["six"] or found["four"]).is_loopback
    except ValueError:
        return False


def _seconds(text: str | None) -> float:
    if text is None:
        return DEFAULT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise ConfigError(f"{TIMEOUT_VARIABLE}: is no number of seconds up to {MOST_SECONDS:.0f}; write one, as 60")
    return seconds

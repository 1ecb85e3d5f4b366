"""Asks a schema registry for Avro schemas by their id, as Confluent's REST interface has it.

Schemas of an id never change, so each is fetched once. A registry that cannot be reached stops the run, for nobody can
tell whether a message is good; an id that it does not know is a fault of the message.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from typing import Any, NoReturn

from ...schemas.errors import ConfigError, RunError, SecretError

__all__ = ["SchemaRegistry"]

LARGEST = 16 * 2**20
"""Bytes of an answer."""

NOT_FOUND = 40403
"""The registry's code for an unknown schema; without it, 404 says that something else lives there."""

MOST_UNKNOWN = 10_000
"""Unknown ids that are remembered."""


class SchemaRegistry:
    """The schemas of a registry; may be shared by threads.

    Args:
        url: ``http`` or ``https``, as ``http://HOST:8081``; a user and password in it are sent, and never shown.
        seconds: To wait for an answer.

    Raises:
        ConfigError: The URL is none of these.
    """

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("schema registry: the URL is no http or https URL; write http://HOST:8081")
        place = parts.netloc.rpartition("@")[2]
        self._url = f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._seconds = seconds
        # A redirect could carry the password elsewhere.
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._known: dict[int, dict[str, Any]] = {}
        self._unknown: set[int] = set()

    def __repr__(self) -> str:
        return f"SchemaRegistry({self._url!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("a schema registry may hold a password and cannot be copied")

    def answer(self, schema_id: int) -> dict[str, Any] | None:
        """Returns what the registry says of an id: ``schema``, and maybe ``schemaType`` and ``references``.

        Returns:
            None where it knows no such id.

        Raises:
            RunError: It cannot be reached, or does not answer as a registry.
        """
        if schema_id in self._unknown:
            return None
        if schema_id not in self._known:
            found = self._asked(schema_id)
            if found is None:
                if len(self._unknown) < MOST_UNKNOWN:
                    self._unknown.add(schema_id)
                return None
            self._known[schema_id] = found
        return self._known[schema_id]

    def _asked(self, schema_id: int) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{self._url}/schemas/ids/{schema_id}", headers=self._headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._seconds) as response:
                return self._read(response.read(LARGEST + 1))
        except urllib.error.HTTPError as error:
            with error:
                self._check_unknown(error)
            return None
        except (OSError, HTTPException) as error:
            kind = type(getattr(error, "reason", error)).__name__
        raise RunError(
            f"schema registry {self._url}: cannot be reached ({kind}); check that it runs, then start the stream again"
        )

    def _check_unknown(self, error: urllib.error.HTTPError) -> None:
        if error.code == 404 and _code_of(error) == NOT_FOUND:
            return
        raise RunError(
            f"schema registry {self._url}: answers with HTTP {error.code}; check the URL, the user and the password"
        ) from None

    def _read(self, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text) if len(text) <= LARGEST else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and isinstance(found.get("schema"), str):
            return found
        raise RunError(f"schema registry {self._url}: does not answer as a schema registry; check the URL")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _code_of(error: urllib.error.HTTPError) -> int | None:
    try:
        found = json.loads(error.read(LARGEST))
    except (OSError, ValueError, HTTPException, RecursionError):
        return None
    return found.get("error_code") if isinstance(found, dict) else None

"""The certificate of an erasure: what was done for one person, how it was checked, and what remains; signed.

It is the JSON of ``Certificate``, indented by two. The signature covers the RFC 8785 form of the document without its
``signature``, in the context of certificates. It names nobody: the subject stands in it as a keyed reference, which
only who has the ``vault`` key set can compute from an id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self

import rfc8785
from pydantic import Field, ValidationError

from .errors import IntegrityError
from .manifest import Count, Digest, Instant, Part, SignatureText, signed_bytes

__all__ = ["CERTIFICATE_FORMAT", "Certificate", "CertifiedOutput", "HeldValues", "Remainder", "parse_certificate"]

CERTIFICATE_FORMAT: Literal["consentry-erasure-certificate-1"] = "consentry-erasure-certificate-1"
BIGGEST_CERTIFICATE = 16 * 2**20

Reference = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class CertifiedOutput(Part):
    """An output that was redacted and searched."""

    path: str = Field(description="As it was named.")
    run: str
    manifest_sha256: Digest = Field(description="Of its manifest.json after that.")
    rows: Count = Field(description="Rows that were searched.")
    removed: Mapping[str, Count] = Field(description="What rewritings took out of it so far, by reason.")
    letters: Count = Field(description="Dead letters of the subject, which nobody can open any more.")


class HeldValues(Part):
    """Values that a legal obligation holds back, sealed under a key of their own."""

    domain: str
    purposes: tuple[str, ...]
    until: Instant | None = Field(default=None, description="When their key is destroyed; none: when it is released.")


class Remainder(Part):
    """Something of the person that remains, or may remain."""

    what: str = Field(description="A code.")
    says: str
    until: Instant | None = None


class Certificate(Part):
    """The whole certificate."""

    format: Literal["consentry-erasure-certificate-1"] = CERTIFICATE_FORMAT
    case: str
    tenant: str
    subject: Reference = Field(description="Keyed reference of the subject.")
    requested_at: Instant
    certified_at: Instant
    steps: Mapping[str, Instant] = Field(description="When each step of the erasure was done.")
    ledger_position: Count = Field(description="The last entry of the consent ledger, whose chain was whole.")
    ledger_head: Digest = Field(description="Link of that entry.")
    vault_entries: Count = Field(description="Vault entries when it was requested, all of which are gone.")
    outputs: tuple[CertifiedOutput, ...]
    held_back: tuple[HeldValues, ...]
    remains: tuple[Remainder, ...]
    signature: SignatureText | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the document; what is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def dumps(self) -> str:
        """Returns the text of the certificate."""
        return _rendered(self.as_json())

    def signed_with(self, signature: SignatureText) -> Self:
        """Returns the certificate with its signature."""
        return self.model_copy(update={"signature": signature})


def parse_certificate(data: bytes) -> tuple[Certificate, bytes]:
    """Returns a certificate, and the bytes that its signature must cover.

    Only the one spelling that ``Certificate.dumps`` writes is accepted, so that every changed byte shows.

    Raises:
        IntegrityError: It is anything else. The content is not quoted.
    """
    try:
        if len(data) > BIGGEST_CERTIFICATE:
            raise ValueError
        document = json.loads(data.decode("utf-8"), parse_float=_refused, parse_constant=_refused)
        if not isinstance(document, dict) or _rendered(document).encode("utf-8") != data:
            raise ValueError
        return Certificate.model_validate(document), signed_bytes(document)
    except (ValueError, TypeError, RecursionError, OverflowError, ValidationError, rfc8785.CanonicalizationError):
        raise IntegrityError(
            "certificate: is not as `consentry subject erase` wrote it; get it again, with the same command",
            reason="certificate_damaged",
        ) from None


def _rendered(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _refused(_: str) -> NoReturn:
    raise ValueError("a certificate holds integers only")

"""A checkpoint: a signed statement of how far a log went at some moment, kept apart from the log.

Each one is a file of its own, ``checkpoint-000000007.json``. They are numbered, for both logs of a project together,
and each names the digest of the one before: a file that is withheld leaves a gap. The file is the JSON of
``Checkpoint``, indented by two; the signature covers the RFC 8785 form of the document without its ``signature``.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, NoReturn, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import IntegrityError
from .manifest import Digest, Instant, SignatureText, signed_bytes

__all__ = [
    "LOGS",
    "Checkpoint",
    "LogName",
    "checkpoint_name",
    "checkpoint_number",
    "digest_of_file",
    "parse_checkpoint",
]

NAME = re.compile(r"checkpoint-([0-9]{9,15})\.json")
LARGEST = 4096

LogName = Literal["ledger", "access_log"]
LOGS: tuple[LogName, ...] = ("ledger", "access_log")

Ordinal = Annotated[int, Field(ge=1, le=2**53 - 1, strict=True)]


class Checkpoint(BaseModel):
    """What one checkpoint says.

    Attributes:
        tenant: Whose log it is.
        number: From 1, over both logs.
        previous: SHA-256 of the file of the checkpoint before; None of the first.
        store: Which log.
        entries: How many entries it had.
        head: Link of the last of them.
        at: When that was.
        signature: By a log key of the ``proof`` set; None until it is signed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["consentry-checkpoint-1"] = "consentry-checkpoint-1"
    tenant: str
    number: Ordinal
    previous: Digest | None = None
    store: LogName
    entries: Ordinal
    head: Digest
    at: Instant
    signature: SignatureText | None = None

    @property
    def name(self) -> str:
        """The name of its file."""
        return checkpoint_name(self.number)

    def as_json(self) -> dict[str, Any]:
        """Returns the document; what is not set is left out."""
        return self.model_dump(mode="json", exclude_none=True)

    def dumps(self) -> bytes:
        """Returns the bytes of its file."""
        return _rendered(self.as_json())

    def signed_bytes(self) -> bytes:
        """Returns what is signed."""
        return signed_bytes(self.as_json())

    def signed_with(self, signature: SignatureText) -> Self:
        """Returns the checkpoint with its signature."""
        return self.model_copy(update={"signature": signature})


def checkpoint_name(number: int) -> str:
    """Returns the name of the file of a checkpoint.

    >>> checkpoint_name(7)
    'checkpoint-000000007.json'
    """
    return f"checkpoint-{number:09}.json"


def checkpoint_number(name: str) -> int | None:
    """Returns the number that a file's name tells; None where it is not the name of a checkpoint.

    >>> checkpoint_number("checkpoint-000000007.json"), checkpoint_number("notes.txt")
    (7, None)
    """
    found = NAME.fullmatch(name)
    return int(found[1]) if found and checkpoint_name(int(found[1])) == name else None


def digest_of_file(data: bytes) -> str:
    """Returns what the next checkpoint says of a file as ``previous``."""
    return hashlib.sha256(data).hexdigest()


def parse_checkpoint(name: str, data: bytes) -> Checkpoint:
    """Returns the checkpoint of a file; its signature is not looked at.

    Only the one spelling that ``dumps`` writes is accepted, so that every changed byte shows.

    Raises:
        IntegrityError: It is anything else, or another one than its name tells. The content is not quoted.
    """
    try:
        if len(data) > LARGEST:
            raise ValueError
        document = json.loads(data.decode("utf-8"), parse_float=_refused, parse_constant=_refused)
        found = Checkpoint.model_validate(document)
        if found.dumps() != data or found.name != name or found.signature is None:
            raise ValueError
    except (ValueError, TypeError, RecursionError, ValidationError, rfc8785.CanonicalizationError):
        raise IntegrityError(
            f"{name}: is not as it was exported; restore it from a copy", reason="checkpoint_damaged"
        ) from None
    return found


def _rendered(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _refused(_: str) -> NoReturn:
    raise ValueError("a checkpoint holds integers only")

"""The manifest of a run: what went in, what came out, under which policy, keys and software; signed.

``OUT/manifest.json`` is the JSON of ``Manifest``, indented by two, keys in the order of the models. The signature
covers the RFC 8785 form of the document without its ``signature``. Instants are RFC 3339 texts in UTC. No path of an
input and no value of a record is ever in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, Self

import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .consent import format_instant, parse_instant
from .errors import IntegrityError

__all__ = [
    "ABSENT",
    "MANIFEST_NAME",
    "Books",
    "ConsentOutcomes",
    "Count",
    "Digest",
    "FieldTreatment",
    "FileKind",
    "Inputs",
    "Instant",
    "KeyVersions",
    "Manifest",
    "MessageChain",
    "OutputFile",
    "Part",
    "PolicyUsed",
    "SignatureText",
    "SoftwareUsed",
    "StreamProgress",
    "VaultWrites",
    "parse_manifest",
    "signed_bytes",
]

MANIFEST_NAME = "manifest.json"
ABSENT = "absent"
"""Outcome of the rows in files that a stream wrote before it first met a field."""
CANDIDATE, FOUND = "vault_candidate", "found:"
"""What outcomes begin with that are counted beside a value's own."""
SAFE_INTEGER = 2**53 - 1  # RFC 8785 keeps to the integers that every JSON reader holds exactly
BIGGEST_MANIFEST = 64 * 2**20

FileKind = Literal["data", "dead_letters"]
"""The folder of a file, and what its rows are."""


def _instant(text: str) -> str:
    if format_instant(parse_instant(text)) != text:
        raise ValueError("an instant is written in UTC, as 2026-03-01T09:00:00Z")
    return text


Count = Annotated[int, Field(ge=0, le=SAFE_INTEGER, strict=True)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Instant = Annotated[str, AfterValidator(_instant)]


class Part(BaseModel):
    """A part of a signed document: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Books(Part):
    """Records counted at four places, each by who handles them: the reader, both writers, and protection."""

    in_: Count = Field(alias="in")
    out: Count
    dropped: Count
    dead_lettered: Count

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost and nothing came from nowhere."""
        return self.in_ == self.out + self.dropped + self.dead_lettered


class ConsentOutcomes(Part):
    """Records of the output by the most that their permissions allow; they add up to ``out``."""

    distributable: Count = 0
    token_only: Count = 0
    redacted: Count = 0
    no_subject: Count = 0

    @property
    def total(self) -> int:
        """All records."""
        return self.distributable + self.token_only + self.redacted + self.no_subject


class FieldTreatment(Part):
    """What became of a field. ``outcomes`` counts its values, nulls too; a dropped field has none.

    Beside these, ``vault_candidate`` and ``found:ENTITY`` count what was found among them.
    """

    action: str
    info_type: str | None = None
    format: str | None = None
    domain: str | None = None
    parameters: str | None = None
    key_version: Annotated[int, Field(ge=1, le=SAFE_INTEGER, strict=True)] | None = None
    outcomes: Mapping[str, Count] = {}

    @property
    def values(self) -> int:
        """How many values there are, nulls too: each has one outcome."""
        beside = (CANDIDATE, FOUND)
        return sum(count for name, count in self.outcomes.items() if not name.startswith(beside))

    @property
    def marks(self) -> dict[str, str]:
        """The metadata that the field carries in every data file, names without ``consentry.``."""
        names = ("action", "info_type", "format", "domain", "parameters", "key_version")
        return {name: str(value) for name in names if (value := getattr(self, name)) is not None}


class VaultWrites(Part):
    """Vault entries of a run; ``purged`` are those that the ledger's news removed while it published."""

    written: Count = 0
    refreshed: Count = 0
    present: Count = 0
    refused: Count = 0
    purged: Count = 0


class OutputFile(Part):
    """A file of the output, by its path below the output's folder."""

    path: str = Field(
        pattern=r"^(data(/event_date=[0-9A-Za-z_-]{1,40})?|dead_letters)/[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.parquet$"
    )
    sha256: Digest
    rows: Count
    bytes: Count

    @property
    def kind(self) -> FileKind:
        """Data or dead letters."""
        return "data" if self.path.startswith("data/") else "dead_letters"


class PolicyUsed(Part):
    """The policy: its version and the SHA-256 of its RFC 8785 form."""

    version: Annotated[int, Field(ge=1, le=SAFE_INTEGER, strict=True)]
    digest: Digest


class SoftwareUsed(Part):
    """Versions of the parts that shape an output, and the SHA-256 over the installed sources of Consentry."""

    digest: Digest
    versions: Mapping[str, str]


class KeyVersions(Part):
    """The primary version of each key set."""

    token: Count
    vault: Count
    proof: Count


class Inputs(Part):
    """How much was read; which files is nobody's business.

    Of a stream: its partitions, and the bytes of its records in memory.
    """

    files: Count
    bytes: Count


class StreamProgress(Part):
    """How far a stream is whose output this is.

    ``corrections`` counts vault entries that were removed because of what was learned after they were written.
    """

    source: str
    epochs: Count
    offsets: Mapping[str, Count]
    corrections: Count


class SignatureText(Part):
    """An Ed25519 signature in hexadecimal, and the id of the key that made it."""

    key_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    value: str = Field(pattern=r"^[0-9a-f]{128}$")


class MessageChain(Part):
    """What one shard has sent to one partition of a topic: how many messages, and the last hash of their chain."""

    topic: str
    partition: Count
    shard: Count
    messages: Count
    sha256: Digest


class Manifest(Part):
    """What a run did. ``signature`` is None until it is signed."""

    format: Literal["consentry-manifest-1"] = "consentry-manifest-1"
    run: str = Field(pattern=r"^[0-9A-Za-z-]{1,64}$", description="Id of the run; part of its files' names.")
    tenant: str
    dataset: str
    now: Instant = Field(description="The instant of all decisions.")
    ledger_position: Count = Field(description="The last consent event that decisions knew.")
    started_at: Instant
    finished_at: Instant
    policy: PolicyUsed
    software: SoftwareUsed
    key_versions: KeyVersions
    inputs: Inputs
    books: Books
    reasons: Mapping[str, Count] = Field(description="Dead letters by reason.")
    consent: ConsentOutcomes
    fields: Mapping[str, FieldTreatment] = Field(description="By path.")
    drift: Mapping[str, Count] = Field(description="Undeclared paths, and how many records had a value there.")
    absent: tuple[str, ...] = Field(description="Declared paths that no input had.")
    vault: VaultWrites
    removed: Mapping[str, Count] | None = Field(
        default=None, description="What was removed from the rows after they were written, by reason."
    )
    stream: StreamProgress | None = Field(default=None, description="Of an output that grows.")
    topic: str | None = Field(default=None, description="The topic that has the records, where no file has.")
    chains: tuple[MessageChain, ...] | None = Field(default=None, description="Of the messages on topics.")
    files: tuple[OutputFile, ...]
    signature: SignatureText | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the document; what is not set is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def dumps(self) -> str:
        """Returns the text of ``manifest.json``."""
        return _rendered(self.as_json())

    def signed_with(self, signature: SignatureText) -> Self:
        """Returns the manifest with its signature."""
        return self.model_copy(update={"signature": signature})


def signed_bytes(document: Mapping[str, Any]) -> bytes:
    """Returns what is signed: the RFC 8785 form of a manifest's document without its signature."""
    return rfc8785.dumps({name: value for name, value in document.items() if name != "signature"})


def parse_manifest(data: bytes) -> tuple[Manifest, bytes]:
    """Returns the manifest of a ``manifest.json``, and the bytes that its signature must cover.

    Only the one spelling that ``Manifest.dumps`` writes is accepted, so that every changed byte shows.

    Raises:
        IntegrityError: It is anything else. The content is not quoted.
    """
    try:
        if len(data) > BIGGEST_MANIFEST:
            raise ValueError
        document = json.loads(data.decode("utf-8"), parse_float=_refused, parse_constant=_refused)
        if not isinstance(document, dict) or _rendered(document).encode("utf-8") != data:
            raise ValueError
        manifest = Manifest.model_validate(document)
        return manifest, signed_bytes(document)
    except (ValueError, TypeError, RecursionError, OverflowError, ValidationError, rfc8785.CanonicalizationError):
        raise IntegrityError(
            f"{MANIFEST_NAME}: is not as `consentry protect` wrote it; restore it, or protect the inputs again",
            reason="manifest_damaged",
        ) from None


def _rendered(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _refused(_: str) -> NoReturn:
    raise ValueError("a manifest holds integers only")

"""Info types: what a value is, how it is treated, and for which purposes it may be kept and given out.

The models are what people write under ``info_types`` in the policy. ``InfoType`` is a union told apart by ``action``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)

from .vocabulary import (
    Basis,
    Count,
    Duration,
    Entity,
    Format,
    InvalidReason,
    KeptDigits,
    Name,
    OnDrift,
    OnInvalid,
    Sight,
    Written,
    parse_duration,
)

__all__ = [
    "Basis",
    "Bucket",
    "DropRule",
    "Duration",
    "Entity",
    "Format",
    "GeneralizeRule",
    "InfoType",
    "InvalidReason",
    "IpPrefix",
    "KeepRule",
    "MaskRule",
    "Name",
    "OnDrift",
    "OnInvalid",
    "Prefix",
    "RedactRule",
    "ScanRule",
    "Sight",
    "TokenizeRule",
    "Written",
    "parse_duration",
]

DEFAULT_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DEFAULT_SEPARATORS = " -./_:"
DEFAULT_KEPT = 4


class _Treated(Written):
    """Keys that every info type knows."""

    distribute: tuple[Name, ...] = Field(
        default=(), description="Purposes of which one must permit, else the raw value never enters the vault."
    )
    see: dict[Name, Sight] = Field(
        default_factory=dict, description="What each role sees of a value; a role not named sees nothing."
    )
    finds: tuple[Entity, ...] = Field(
        default=(), description="What detection finds in free text and undeclared columns is treated as this info type."
    )
    retain: Duration | None = Field(default=None, description="How long the vault keeps a value at most, as 400d.")


class _Collected(_Treated):
    collect: tuple[Name, ...] = Field(
        min_length=1,
        description="Purposes of which one must permit, else the value is redacted and not even a token remains.",
    )


class _Discarded(_Treated):
    collect: tuple[Name, ...] = Field(default=(), description="Allowed for symmetry; nothing is kept anyway.")


class TokenizeRule(_Collected):
    """Swaps the value for a token of the same shape."""

    action: Literal["tokenize"] = Field(description="What becomes of the value.")
    format: Format = Field(description="The shape of value and token.")
    domain: Name = Field(description="Same domain, same token: columns of one domain join.")
    keep_last: KeptDigits | None = Field(default=None, description="pan only: digits kept in clear; default 4.")
    alphabet: str | None = Field(default=None, description="alphanumeric only: the characters that are swapped.")
    separators: str | None = Field(default=None, description="alphanumeric only: characters that stay in place.")
    region: str | None = Field(
        default=None, pattern=r"^[A-Z]{2}$", description="phone only: country of numbers written without a code, as US."
    )
    email_domain: Literal["hash", "keep"] | None = Field(
        default=None, description="email only: what becomes of the part after the @; default hash."
    )
    on_invalid: OnInvalid = Field(default=OnInvalid.REDACT, description="What becomes of a value that does not fit.")

    @model_validator(mode="after")
    def _parameters_fit(self) -> TokenizeRule:
        owners = {
            "keep_last": Format.PAN,
            "alphabet": Format.ALPHANUMERIC,
            "separators": Format.ALPHANUMERIC,
            "region": Format.PHONE,
            "email_domain": Format.EMAIL,
        }
        for name, owner in owners.items():
            if getattr(self, name) is not None and self.format is not owner:
                raise ValueError(f"'{name}' belongs to format {owner}; take it out or change the format")
        if self.format is Format.EMAIL and self.domain in {"hash", "keep"}:
            raise ValueError(
                f"'domain' is the token domain; write 'email_domain: {self.domain}' and a domain as 'email'"
            )
        _check_alphabet(self.alphabet, self.separators)
        return self

    @property
    def kept_digits(self) -> int:
        """``keep_last`` with its default."""
        return DEFAULT_KEPT if self.keep_last is None else self.keep_last

    @property
    def numeral_alphabet(self) -> str:
        """``alphabet`` with its default."""
        return DEFAULT_ALPHABET if self.alphabet is None else self.alphabet

    @property
    def kept_separators(self) -> str:
        """``separators`` with their default, without characters of the alphabet."""
        if self.separators is not None:
            return self.separators
        return "".join(mark for mark in DEFAULT_SEPARATORS if mark not in self.numeral_alphabet)

    @property
    def hashes_email_domain(self) -> bool:
        """Whether the part after the @ becomes a surrogate too."""
        return self.email_domain != "keep"

    @property
    def parameters(self) -> str | None:
        """What shapes the tokens besides format and domain, as JSON; None where all of it is the default."""
        shaping = {
            "keep_last": None if self.kept_digits == DEFAULT_KEPT else self.kept_digits,
            "alphabet": None if self.numeral_alphabet == DEFAULT_ALPHABET else self.numeral_alphabet,
            "separators": self.separators,
            "email_domain": None if self.hashes_email_domain else "keep",
        }
        named = {name: value for name, value in shaping.items() if value is not None}
        return json.dumps(named) if named else None


def _check_alphabet(alphabet: str | None, separators: str | None) -> None:
    for name, characters in (("alphabet", alphabet), ("separators", separators)):
        if characters is None:
            continue
        if len(set(characters)) != len(characters) or not characters.isascii() or not characters.isprintable():
            raise ValueError(f"'{name}' is not made of distinct printable ASCII characters; name each once")
    if alphabet is not None and len(alphabet) < 2:
        raise ValueError("'alphabet' is too short; it needs two characters at least")
    if set(alphabet if alphabet is not None else DEFAULT_ALPHABET) & set(separators or ""):
        raise ValueError("'separators' shares characters with the alphabet; name each in one of them")


class RedactRule(_Discarded):
    """Replaces the value by ``[redacted]``, or null where the column is no text."""

    action: Literal["redact"] = Field(description="What becomes of the value.")


class MaskRule(_Collected):
    """Shows some characters and hides the rest behind asterisks."""

    action: Literal["mask"] = Field(description="What becomes of the value.")
    show_last: Count | None = Field(default=None, ge=0, le=64, description="Characters at the end that stay.")
    show_first: Count | None = Field(default=None, ge=0, le=64, description="Characters at the start that stay.")

    @model_validator(mode="after")
    def _one_side(self) -> MaskRule:
        if (self.show_last is None) == (self.show_first is None):
            raise ValueError("mask shows one end; write exactly one of show_last and show_first")
        return self


class Bucket(Written):
    """Numbers, rounded down to a multiple."""

    bucket: Annotated[float, Strict()] = Field(gt=0, allow_inf_nan=False, description="Width of the bucket.")


class Prefix(Written):
    """Text, cut after some characters."""

    prefix: Count = Field(ge=1, le=64, description="Characters kept.")


class IpPrefix(Written):
    """IP addresses, cut to a network; IPv6 keeps twice the bits of IPv4."""

    ip_prefix: Count = Field(ge=1, le=32, description="Bits kept of an IPv4 address.")


Coarse = ("year", "month", "day")


def _coarseness(value: Any) -> str | None:
    """Which way of making coarser a written value means; None for no such way."""
    match value:
        case str() if value in Coarse:
            return "date"
        case Bucket() | {"bucket": _}:
            return "bucket"
        case Prefix() | {"prefix": _}:
            return "prefix"
        case IpPrefix() | {"ip_prefix": _}:
            return "ip_prefix"
        case _:
            return None


Coarseness = Annotated[
    Annotated[Literal["year", "month", "day"], Tag("date")]
    | Annotated[Bucket, Tag("bucket")]
    | Annotated[Prefix, Tag("prefix")]
    | Annotated[IpPrefix, Tag("ip_prefix")],
    Discriminator(
        _coarseness,
        custom_error_type="coarseness",
        custom_error_message="no such coarseness; write year, month, day, {bucket: 10}, {prefix: 3} or {ip_prefix: 24}",
    ),
]
"""How coarse ``generalize`` makes a value."""


class GeneralizeRule(_Collected):
    """Makes the value coarser."""

    action: Literal["generalize"] = Field(description="What becomes of the value.")
    to: Coarseness = Field(description="How coarse: year, month, day, {bucket: 10}, {prefix: 3} or {ip_prefix: 24}.")
    on_invalid: OnInvalid = Field(default=OnInvalid.REDACT, description="What becomes of a value that does not fit.")


class DropRule(_Discarded):
    """Takes the field out of the schema."""

    action: Literal["drop"] = Field(description="What becomes of the value.")


class KeepRule(_Collected):
    """Lets the value through where collecting is permitted."""

    action: Literal["keep"] = Field(description="What becomes of the value.")


class ScanRule(_Collected):
    """Free text: what detection finds in it is treated as the info type that ``finds`` it, else redacted."""

    action: Literal["scan"] = Field(description="What becomes of the value.")


InfoType = Annotated[
    TokenizeRule | RedactRule | MaskRule | GeneralizeRule | DropRule | KeepRule | ScanRule,
    Field(discriminator="action"),
]

"""Opens the tokenizer of a rule: from the policy's words and the unlocked keys to what works on columns."""

from __future__ import annotations

from ...schemas.info_types import Format, TokenizeRule
from ..crypto.key_sets import TokenKeys
from .alphanumeric import AlphanumericTokenizer
from .digits import DigitsTokenizer
from .email import EmailTokenizer
from .iban import IbanTokenizer
from .pan import PanTokenizer
from .phone import PhoneTokenizer
from .ssn import SsnTokenizer
from .surrogate import SurrogateTokenizer
from .tokenizer import Tokenizer

__all__ = ["open_tokenizer"]


def open_tokenizer(rule: TokenizeRule, keys: TokenKeys, *, version: int | None = None) -> Tokenizer:
    """Returns a new tokenizer for a token domain, for one thread.

    Args:
        rule: Format, domain and parameters.
        keys: The unlocked ``token`` key set.
        version: Of the key set; default is the primary.

    Raises:
        KeyringError: The version is unknown, disabled or destroyed.
    """
    version = keys.primary if version is None else version
    match rule.format:
        case Format.PAN:
            return PanTokenizer(rule, keys, version)
        case Format.DIGITS:
            return DigitsTokenizer(rule, keys, version)
        case Format.ALPHANUMERIC:
            return AlphanumericTokenizer(rule, keys, version)
        case Format.SSN:
            return SsnTokenizer(rule, keys, version)
        case Format.PHONE:
            return PhoneTokenizer(rule, keys, version)
        case Format.IBAN:
            return IbanTokenizer(rule, keys, version)
        case Format.EMAIL:
            return EmailTokenizer(rule, keys, version)
        case Format.SURROGATE:
            return SurrogateTokenizer(rule, keys, version)
    raise TypeError(f"no tokenizer for format {rule.format}")

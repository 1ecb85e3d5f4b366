"""The errors of Consentry: each names the place, the broken rule and the next step, and never a value.

Every error carries a stable ``reason`` code for machines and the ``exit_code`` that a command ends with
(2: wrong use or configuration, nothing was done; 3: the run failed, no output became visible). Errors survive
pickle, because Beam carries them from workers to the launcher.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessLogError",
    "ConfigError",
    "DomainTooSmallError",
    "InputError",
    "IntegrityError",
    "KekError",
    "KekUnavailableError",
    "KeySizeError",
    "KeyringError",
    "NotReversibleError",
    "NumeralLengthError",
    "NumeralRangeError",
    "OutputError",
    "PolicyError",
    "PrivacyError",
    "RecordsGoneError",
    "RunError",
    "SecretError",
    "SignatureError",
    "StoreDamagedError",
    "StoreError",
    "StoreLostError",
    "StoreMissingError",
    "TokenError",
]

WRONG_USE = 2
RUN_FAILED = 3


class PrivacyError(Exception):
    """Base of all errors of Consentry.

    Args:
        message: For people: place, rule, next step; no value, key or subject.
        reason: Stable code for machines; default is the class's own.
        exit_code: 2 or 3; default is the class's own.
    """

    reason: str = "privacy_error"
    exit_code: int = RUN_FAILED

    def __init__(self, message: str, *, reason: str | None = None, exit_code: int | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if exit_code is not None:
            self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, dict(self.__dict__))


def _rebuilt(kind: type[PrivacyError], args: tuple[Any, ...], state: dict[str, Any]) -> PrivacyError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(PrivacyError):
    """A configuration or an option is wrong; nothing was done."""

    reason = "config_invalid"
    exit_code = WRONG_USE


class PolicyError(ConfigError):
    """A policy, dataset or project file breaks its rules; ``problems`` holds all of them.

    Args:
        message: All problems, a line each.
        problems: The single problems, as their reader made them.
    """

    reason = "policy_invalid"

    def __init__(self, message: str, *, problems: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InputError(PrivacyError):
    """An input cannot be found or read at all; single bad records become dead letters instead."""

    reason = "input_invalid"
    exit_code = WRONG_USE


class OutputError(PrivacyError):
    """An output place cannot be used."""

    reason = "output_invalid"
    exit_code = WRONG_USE


class RunError(PrivacyError):
    """A run failed; no output became visible."""

    reason = "run_failed"


class StoppedError(RunError):
    """A run was told to stop before its end; no output became visible."""

    reason = "stopped"


class RecordsGoneError(RunError):
    """Records that were to be read are no longer where they were; to try again does not bring them back."""

    reason = "records_gone"


class KeyringError(PrivacyError):
    """A keyring cannot be used as asked."""

    reason = "keyring_invalid"
    exit_code = WRONG_USE


class KekError(PrivacyError):
    """A key-encryption key is missing, unsafe or does not fit."""

    reason = "kek_refused"
    exit_code = WRONG_USE


class KekUnavailableError(KekError):
    """The service of a key-encryption key gave no usable answer in time; to try again later may help."""

    reason = "kek_unavailable"
    exit_code = RUN_FAILED


class SecretError(PrivacyError):
    """Something tried to copy or pickle an object that holds key bytes."""

    reason = "secret_not_copyable"


class IntegrityError(PrivacyError):
    """Stored bytes are not what was stored: changed, swapped, cut or sealed under another key."""

    reason = "integrity_failed"


class SignatureError(IntegrityError):
    """A signature does not fit the bytes and the trusted keys."""

    reason = "signature_invalid"


class StoreError(PrivacyError):
    """A store cannot be opened, read or written."""

    reason = "store_failed"


class StoreDamagedError(StoreError):
    """The file of a store is no longer one; to try again does not repair it."""

    reason = "store_damaged"


class StoreLostError(StoreError):
    """The connection to a store broke, or another program came in between; what was not complete was undone."""

    reason = "store_lost"


class StoreMissingError(StoreError):
    """A store that the project names is not there; nothing was done."""

    reason = "store_missing"
    exit_code = WRONG_USE


class AccessLogError(StoreError):
    """The access log cannot be written, so nothing is shown."""

    reason = "access_log_failed"


class TokenError(PrivacyError, ValueError):
    """Values, numerals or parameters do not fit a token format."""

    reason = "token_invalid"
    exit_code = WRONG_USE


class KeySizeError(TokenError):
    """A key has a size that the cipher does not know."""

    reason = "key_size"


class NumeralLengthError(TokenError):
    """A numeral string is too short or too long for FF1 (SP 800-38G, section 5.1)."""

    reason = "numeral_length"


class NumeralRangeError(TokenError):
    """A numeral is not in 0 … radix - 1."""

    reason = "numeral_range"


class DomainTooSmallError(TokenError):
    """Fewer than ``min_domain`` strings of this length exist, so tokens could be guessed by trying all."""

    reason = "domain_too_small"


class NotReversibleError(TokenError):
    """The format is a surrogate: there is no inverse."""

    reason = "not_reversible"

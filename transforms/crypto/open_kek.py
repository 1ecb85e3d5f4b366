"""Opens the key-encryption key that a URI names: a key file, a passphrase in the environment, a key of Cloud KMS."""

from __future__ import annotations

import os
from pathlib import Path

from ...schemas.errors import ConfigError, KekError
from ...schemas.kek_uris import KEK_FORMS, KMS_SCHEME, kek_slip
from .kek import Kek
from .kek_google import GoogleKek
from .kek_local import FileKek, PassphraseKek

__all__ = ["open_kek"]


def open_kek(uri: str, root: Path) -> Kek:
    """Returns the KEK that ``uri`` names. Cloud KMS is not asked before something is wrapped or unwrapped.

    Args:
        uri: ``file:PATH`` (relative to ``root``), ``passphrase:env:NAME`` or ``gcp-kms://KEY``.
        root: Folder of the project file.

    Raises:
        ConfigError: The URI has another form.
        KekError: The file or variable is missing or unsafe.
    """
    match uri.split(":", 2):
        case ["file", *rest] if rest[0:1] not in ([], [""]):
            return FileKek.read(root / ":".join(rest))
        case ["passphrase", "env", name] if name:
            passphrase = os.environ.get(name)
            if passphrase is None:
                raise KekError(f"the environment variable {name} is not set; set it to the passphrase of the keyring")
            return PassphraseKek(passphrase, source=f"the passphrase in {name}")
        case ["gcp-kms", *_] if kek_slip(uri) is None:
            return GoogleKek.from_environment(uri.removeprefix(KMS_SCHEME), os.environ)
        case [scheme, *_]:
            slip = kek_slip(uri)
            if scheme == "gcp-kms" and slip is not None:
                raise ConfigError(f"kek: {slip.problem}; {slip.hint}")
            raise ConfigError(f"kek: cannot use scheme {scheme!r}; write one of: {KEK_FORMS}")
        case _:  # a text always splits into one part at least
            raise AssertionError

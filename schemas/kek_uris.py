"""How the URI of a key-encryption key is written: a key file, a passphrase in the environment, a key of Cloud KMS."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["KEK_FORMS", "KMS_SCHEME", "KekSlip", "is_kms_key_name", "kek_slip"]

KEK_FORMS = "file:PATH, passphrase:env:NAME or gcp-kms://projects/…/cryptoKeys/…"
KEK_SCHEMES = ("file", "passphrase", "gcp-kms")
KMS_SCHEME = "gcp-kms://"
KMS_FORM = f"{KMS_SCHEME}projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY"
# Projects by id, by number, or by id within a domain, as example.com:shop.
KMS_KEY = re.compile(
    r"projects/(?:[a-z0-9.-]{1,63}:)?[a-z0-9-]{1,63}/locations/[a-z0-9-]{1,63}"
    r"/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}"
)
KMS_VERSION = "/cryptoKeyVersions/"


class KekSlip(NamedTuple):
    """What is wrong with a URI, and what to write; neither quotes it."""

    problem: str
    hint: str


def kek_slip(uri: str) -> KekSlip | None:
    """Returns what is wrong with the form of ``uri``; None: nothing. Whether the key exists shows when it is used.

    >>> kek_slip("file:kek.key")
    >>> kek_slip("gcp-kms://projects/shop/locations/europe-west3/keyRings/consentry/cryptoKeys/token")
    >>> kek_slip("gcp-kms://token").problem
    'is no full name of a Cloud KMS key'
    """
    scheme, _, rest = uri.partition(":")
    if scheme not in KEK_SCHEMES or not rest:
        return KekSlip("unknown kind of key-encryption key", f"write {KEK_FORMS}")
    if scheme != "gcp-kms" or (uri.startswith(KMS_SCHEME) and is_kms_key_name(uri.removeprefix(KMS_SCHEME))):
        return None
    if KMS_VERSION in uri:
        return KekSlip("names a version of a Cloud KMS key", f"name the key, Cloud KMS finds the version: {KMS_FORM}")
    return KekSlip("is no full name of a Cloud KMS key", f"write {KMS_FORM}")


def is_kms_key_name(name: str) -> bool:
    """Tells whether ``name`` is the full resource name of a Cloud KMS key, without a version."""
    return KMS_KEY.fullmatch(name) is not None

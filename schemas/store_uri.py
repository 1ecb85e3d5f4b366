"""URIs of stores: ``sqlite:FILE``, or ``postgresql://HOST/DATABASE?…`` as libpq takes it.

A URI stands in a file that people share, travels to the workers of a run and shows in lists of processes. So one with
a password is refused: libpq takes passwords from elsewhere. What Consentry adds to a PostgreSQL URI is ``tenant``, so
that several tenants may live in one database and never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

__all__ = ["POSTGRESQL", "SQLITE", "STORES", "UriProblem", "of_tenant", "told_store", "uri_problem", "without_tenant"]

STORES = ("vault", "data_keys", "ledger", "access_log")
SQLITE, POSTGRESQL = "sqlite", "postgresql"
PASSWORDS = ("password", "sslpassword", "oauth_client_secret")
TENANT = "tenant"
ELSEWHERE = "let libpq find it: PGPASSWORD, PGPASSFILE or ~/.pgpass, or a service file"


@dataclass(frozen=True, slots=True)
class UriProblem:
    """What is wrong with a URI, and what to write instead; neither quotes it."""

    rule: str
    hint: str


_TOLD = {
    "data_keys": "store of data keys",
    "access_log": "access log",
    "erasures": "journal of erasures",
    "outputs": "list of outputs",
    "journal": "journal of the stream",
    "received": "store of received messages",
}


def told_store(store: str) -> str:
    """Returns what people call a store, without an article; always singular.

    >>> told_store("data_keys"), told_store("vault")
    ('store of data keys', 'vault')
    """
    return _TOLD.get(store, store)


def uri_problem(uri: str) -> UriProblem | None:
    """Returns what is wrong with the URI of a store; None: nothing.

    >>> uri_problem("sqlite:vault.db") is uri_problem("postgresql://db.internal:5433/shop?sslmode=verify-full") is None
    True
    >>> uri_problem("postgresql://shop:secret@db/shop").rule
    'holds a password'
    """
    scheme, _, rest = uri.partition(":")
    if scheme == SQLITE and rest:
        return None
    if scheme != POSTGRESQL or not rest.startswith("//"):
        return UriProblem("unknown kind of store", "write sqlite:FILE or postgresql://…")
    return _server_problem(uri)


def of_tenant(uri: str, tenant: str) -> str:
    """Returns a URI with the tenant whose store is meant; a file needs none.

    >>> of_tenant("postgresql://db/shop?sslmode=verify-full", "shop")
    'postgresql://db/shop?sslmode=verify-full&tenant=shop'
    """
    if not uri.startswith(f"{POSTGRESQL}:") or without_tenant(uri)[1] is not None:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{TENANT}={quote(tenant, safe='')}"


def without_tenant(uri: str) -> tuple[str, str | None]:
    """Returns a URI as libpq takes it, and the tenant; None where it names none."""
    head, mark, query = uri.partition("?")
    kept, tenant = [], None
    for part in query.split("&") if mark else []:
        pairs = parse_qsl(part, keep_blank_values=True)
        if pairs and pairs[0][0] == TENANT:
            tenant = pairs[0][1]
        else:
            kept.append(part)
    return head + (f"?{'&'.join(kept)}" if kept else ""), tenant


def _server_problem(uri: str) -> UriProblem | None:
    try:
        parts = urlsplit(uri)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return UriProblem("is no URI", "write postgresql://HOST:PORT/DATABASE, with what is special in it as %XX")
    names = [name.strip().lower() for name, _ in query]
    if parts.password is not None or any(name in PASSWORDS for name in names):
        return UriProblem("holds a password", ELSEWHERE)
    # A password with a slash or a number sign in it ends the part of the URI in which it would be found.
    if parts.fragment or "@" in parts.path or "#" in uri:
        return UriProblem("is no URI that libpq takes", "write what is special in it as %XX, and no password")
    return None

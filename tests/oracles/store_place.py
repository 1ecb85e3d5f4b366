"""A place with the stores of one tenant, for tests: opens them, and reaches around them to what is stored."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.info_types import Basis
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference, subject_references
from consentry.transforms.stores.access_log import AccessLog, AccessRecord, open_access_log
from consentry.transforms.stores.consent_ledger import ConsentLedger, open_ledger
from consentry.transforms.stores.data_keys import DataKeys, open_data_keys
from consentry.transforms.stores.vault import Candidates, Vault, open_vault
from oracles.consent_oracle import Said
from oracles.vault_oracle import Row

SECRETS = {1: b"\x01" * 32, 2: b"\x02" * 32}


def vault_keys(*versions: int) -> VaultKeys:
    """Keys with these versions, the last of them primary; all have one root."""
    used = versions or (1,)
    secrets = {version: SECRETS[version] for version in used}
    return VaultKeys(tenant="shop", secrets=secrets, primary=used[-1], root=bytes(range(32)))


class Place:
    """Stores in one place; each call of an opener is a connection of its own."""

    def __init__(self, backend: str, folder: Path | str) -> None:
        self.backend = backend
        self.folder = Path(folder)
        self.keys = vault_keys()
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.close()

    def uri(self, store: str) -> str:
        assert self.backend == "sqlite"
        return f"sqlite:{self.file(store)}"

    def file(self, store: str) -> Path:
        return self.folder / f"{store}.db"

    def data_keys(self, keys: VaultKeys | None = None) -> DataKeys:
        return self._kept(open_data_keys(self.uri("data_keys"), keys or self.keys, create=True))

    def ledger(self, name: str = "ledger", keys: VaultKeys | None = None) -> ConsentLedger:
        return self._kept(open_ledger(self.uri(name), keys or self.keys, self.data_keys(keys), create=True))

    def vault(self, keys: VaultKeys | None = None) -> Vault:
        return self._kept(open_vault(self.uri("vault"), keys or self.keys, self.data_keys(keys), create=True))

    def access_log(self) -> AccessLog:
        return self._kept(open_access_log(self.uri("access_log"), create=True))

    def reference(self, subject: str) -> bytes:
        reference = subject_reference(subject, self.keys.reference_key)
        assert reference is not None
        return reference

    @contextmanager
    def raw(self, store: str) -> Iterator[sqlite3.Connection]:
        """A connection behind the store's back, past its triggers and checks; commits at the end."""
        connection = sqlite3.connect(self.file(store), isolation_level=None)
        try:
            for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {trigger}")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def rows(self, store: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.file(store))
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            connection.close()

    def copy(self, store: str, name: str) -> None:
        """Copies a store as it is now."""
        source, target = sqlite3.connect(self.file(store)), sqlite3.connect(self.file(name))
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()

    def at_rest(self, *stores: str) -> bytes:
        """All bytes that stores keep on the disk, of the files beside the main one too."""
        names = [name for store in stores for name in sorted(self.folder.glob(f"{store}.db*"))]
        assert names
        return b"".join(name.read_bytes() for name in names)

    def _kept(self, store: Any) -> Any:
        self._closing.callback(store.close)
        return store


NewPlace = Callable[[], AbstractContextManager[Place]]


def event_of(said: Said, *, recorded_at: int | None = None, evidence: str | None = None) -> ConsentEvent:
    return ConsentEvent(
        subject=said.subject,
        purpose=said.purpose,
        decision=Decision(said.decision),
        effective_at=said.effective_at,
        source=said.source,
        recorded_at=recorded_at,
        evidence=evidence,
    )


def rules_of(rules: dict[str, list[str]], bases: dict[str, str]) -> dict[str, tuple[tuple[str, Basis], ...]]:
    return {domain: tuple((name, Basis(bases[name])) for name in names) for domain, names in rules.items()}


def candidates_of(rows: Sequence[Row], place: Place) -> list[Candidates]:
    """One batch of candidates for each domain and version among the rows."""
    return [
        Candidates(
            domain=domain,
            key_version=version,
            tokens=pa.array([row.token for row in chosen], pa.string()),
            values=pa.array([row.value for row in chosen], pa.string()),
            refs=subject_references(pa.array([row.subject for row in chosen], pa.string()), place.keys.reference_key),
            event_times=np.array([row.event_time for row in chosen], np.int64),
        )
        for domain, version in sorted({(row.domain, row.version) for row in rows})
        if (chosen := [row for row in rows if (row.domain, row.version) == (domain, version)])
    ]


def record_of(number: int, **changes: Any) -> AccessRecord:
    values: dict[str, Any] = {
        "at": 1_793_000_000_000_000 + number,
        "actor": "ana",
        "role": "support_agent",
        "purpose": "support",
        "domain": "card",
        "token_ref": number.to_bytes(16, "big"),
        "subject_ref": bytes(15) + b"\x07" if number % 2 else None,
        "decision": "refused" if number % 3 else "allowed",
        "rule": "no_entry" if number % 3 else "permitted",
        "shown": None if number % 3 else "full",
    }
    return AccessRecord(**{**values, **changes})


def spellings(text: str) -> list[bytes]:
    """A text as bytes in the ways in which it may stand somewhere without being meant to."""
    plain = text.encode()
    found = [plain, plain[::-1], text.encode("utf-16-le"), text.encode("utf-16-be")]
    found += [plain.hex().encode(), plain.hex().upper().encode()]
    for shift in range(3):
        # Where base64 begins inside a longer text, its first and last characters depend on what is around.
        encoded = base64.b64encode(bytes(shift) + plain + bytes(3))
        start = -(-shift * 8 // 6)
        found.append(encoded[start : start + len(plain) * 8 // 6 - 1])
    return found

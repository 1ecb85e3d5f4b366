"""A desk over real SQLite stores, for policies made in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.policy import Policy
from consentry.transforms.access.detokenize import Desk, distribution_rules
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_reference, subject_references
from consentry.transforms.stores.access_log import open_access_log
from consentry.transforms.stores.consent_ledger import open_ledger
from consentry.transforms.stores.data_keys import open_data_keys
from consentry.transforms.stores.vault import Candidates, open_vault

KEYS = {"tenant": "shop", "secrets": {1: bytes(32)}, "primary": 1, "root": bytes(range(32))}


@dataclass
class Office:
    """Stores in a folder, and desks that work on them."""

    folder: Path
    keys: VaultKeys = field(default_factory=lambda: VaultKeys(**KEYS))

    def __post_init__(self) -> None:
        self.closing = ExitStack()
        self.data_keys = open_data_keys(f"sqlite:{self.folder / 'data_keys.db'}", self.keys, create=True)
        self.ledger = open_ledger(f"sqlite:{self.folder / 'ledger.db'}", self.keys, self.data_keys, create=True)
        self.vault = open_vault(f"sqlite:{self.folder / 'vault.db'}", self.keys, self.data_keys, create=True)
        self.access_log = open_access_log(f"sqlite:{self.folder / 'access.db'}", create=True)
        for store in (self.access_log, self.vault, self.ledger, self.data_keys):
            self.closing.callback(store.close)

    def close(self) -> None:
        self.closing.close()

    def reference(self, subject: str) -> bytes | None:
        return subject_reference(subject, self.keys.reference_key)

    def consent(self, *events: tuple[str, str, str, int], now: int) -> None:
        self.ledger.append(
            [
                ConsentEvent(
                    subject=subject,
                    purpose=purpose,
                    decision=Decision(decision),
                    effective_at=effective_at,
                    recorded_at=None,
                    source="test",
                    evidence=None,
                )
                for subject, purpose, decision, effective_at in events
            ],
            now=now,
        )

    def write(self, policy: Policy, rows: Sequence[tuple[str, int, str, str, str, int]], *, now: int) -> None:
        """Writes (domain, key version, token, value, subject, event time) to the vault."""
        candidates = [
            Candidates(
                domain=domain,
                key_version=version,
                tokens=pa.array([token], pa.string()),
                values=pa.array([value], pa.string()),
                refs=subject_references(pa.array([subject], pa.string()), self.keys.reference_key),
                event_times=np.array([event_time], np.int64),
            )
            for domain, version, token, value, subject, event_time in rows
        ]
        self.vault.write(
            candidates,
            ledger=self.ledger,
            rules=distribution_rules(policy),
            now=now,
        )

    def desk(self, policy: Policy, *, now: int, actors: dict[str, Any] | None = None, **parts: Any) -> Desk:
        """A desk whose tokens are all texts that begin with t; masking shows the last character."""
        return Desk(
            **{
                "policy": policy,
                "vault": self.vault,
                "ledger": self.ledger,
                "access_log": self.access_log,
                "actors": actors,
                "canonical_tokens": lambda _rule, texts: [text if text.startswith("t") else None for text in texts],
                "mask": lambda _format, value: "*" + value[-1],
                "reference_subjects": lambda subjects: list(map(self.reference, subjects)),
                "reference_tokens": lambda domain, texts: [
                    self.reference(f"{domain} {text}") or bytes(16) for text in texts
                ],
                "clock": lambda: now,
                **parts,
            }
        )


@pytest.fixture
def open_office(tmp_path: Path) -> Iterator[Callable[[], Office]]:
    with ExitStack() as closing:

        def opened() -> Office:
            folder = tmp_path / f"office{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            office = Office(folder)
            closing.callback(office.close)
            return office

        yield opened


@pytest.fixture
def office(open_office: Callable[[], Office]) -> Office:
    return open_office()

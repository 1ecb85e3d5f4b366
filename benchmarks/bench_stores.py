"""Consent decisions, the ledger and the vault, on real stores in a temporary folder, one core.

The limit of a write is AES-256-GCM alone over as many values in the same process; that of a decision is a plain numpy
``searchsorted`` of as many random keys among as many subjects.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.info_types import Basis
from consentry.schemas.policy import Policy
from consentry.transforms.access.detokenize import Desk
from consentry.transforms.crypto.cmac_columns import ColumnCmac
from consentry.transforms.crypto.key_sets import VaultKeys
from consentry.transforms.crypto.subject_references import subject_references
from consentry.transforms.stores.access_log import open_access_log
from consentry.transforms.stores.consent_ledger import ConsentLedger, open_ledger
from consentry.transforms.stores.data_keys import open_data_keys
from consentry.transforms.stores.vault import Candidates, Vault, open_vault
from consentry.transforms.values.masking import masked
from consentry.transforms.values.token_spelling import canonical_tokens
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUBJECTS = 1_000_000
RECORDS = 1_000_000
VAULTED_SUBJECTS = 100_000
BATCH = 65_536
NOW = 1_790_000_000_000_000
GRANTED_AT, EVENT_TIME = NOW - 10**13, NOW - 10**12
DETOKENIZED, PORTION = 50_000, 16_384
POLICY = {
    "version": 1,
    "purposes": {"support": {"basis": "consent", "says": "So that our staff can help you."}},
    "roles": {"agent": {"purposes": ["support"]}},
    "info_types": {
        "card": {
            "action": "tokenize", "format": "digits", "domain": "card", "collect": ["support"],
            "distribute": ["support"], "see": {"agent": "full"},
        }
    },
}  # fmt: skip
RULES = {"card": (("support", Basis.CONSENT),)}
KEYS = {"tenant": "bench", "secrets": {1: bytes(32)}, "primary": 1, "root": bytes(range(32))}


def run(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns a row per operation: its rate, its limit's rate, their ratio."""
    subjects, records = (max(BATCH, int(number * scale)) for number in (SUBJECTS, RECORDS))
    vaulted = max(1000, int(VAULTED_SUBJECTS * scale))
    keys = VaultKeys(**KEYS)
    with tempfile.TemporaryDirectory(prefix="consentry-bench-") as folder:
        place = Path(folder)
        data_keys = open_data_keys(f"sqlite:{place / 'data_keys.db'}", keys, create=True)
        ledger = open_ledger(f"sqlite:{place / 'ledger.db'}", keys, data_keys, create=True)
        vault = open_vault(f"sqlite:{place / 'vault.db'}", keys, data_keys, create=True)
        events = [_event(number) for number in range(subjects)]
        sealing = _sealing_rate(subjects)
        rows = [_row("consent import, events/s", subjects / _seconds(lambda: ledger.append(events, now=NOW)), sealing)]
        opened = open_ledger(f"sqlite:{place / 'ledger.db'}", keys, data_keys)
        rows.append(_row("ledger opened and its chain checked, events/s", subjects / _seconds(opened.snapshot)))
        rows += _decisions(opened, keys, subjects, records)
        rows += _vault_writes(vault, opened, keys, vaulted, records, sealing)
        rows += _detokenizations(place, keys, vault, opened, min(vaulted, DETOKENIZED))
        for store in (vault, ledger, opened, data_keys):
            store.close()
    return rows


def _decisions(ledger: ConsentLedger, keys: VaultKeys, subjects: int, records: int) -> list[dict[str, Any]]:
    """Decides about records of random subjects, from their ids on."""
    ids = _ids(np.random.default_rng(1).integers(0, subjects, records))
    snapshot = ledger.snapshot()
    times, known = np.full(BATCH, EVENT_TIME, np.int64), np.ones(BATCH, np.bool_)

    def decide() -> None:
        for start in range(0, records, BATCH):
            located = snapshot.locate(subject_references(ids[start : start + BATCH], keys.reference_key))
            size = len(located)
            permits = snapshot.permits_record("support", Basis.CONSENT, located, times[:size], known[:size], NOW)
            if not permits.all():
                raise AssertionError("every subject of the benchmark permits")

    rng = np.random.default_rng(3)
    sorted_keys = np.sort(rng.integers(0, 2**63, subjects, np.int64))
    wanted = sorted_keys[rng.integers(0, subjects, records)]
    limit = records / _seconds(lambda: np.searchsorted(sorted_keys, wanted))
    return [_row(f"decisions over {subjects:,} subjects, records/s", records / _seconds(decide), limit, SEARCH)]


def _vault_writes(
    vault: Vault, ledger: ConsentLedger, keys: VaultKeys, subjects: int, records: int, sealing: float
) -> list[dict[str, Any]]:
    """Writes each customer's card as records meet it over and over: first nothing is there, then all."""
    customers = np.random.default_rng(2).integers(0, subjects, records)
    ids = _ids(customers)
    tokens = pa.array([f"{number:016d}" for number in customers.tolist()])

    def write() -> None:
        for start in range(0, records, BATCH):
            part = slice(start, start + BATCH)
            refs = subject_references(ids[part], keys.reference_key)
            candidates = Candidates(
                domain="card",
                key_version=1,
                tokens=tokens[part],
                values=tokens[part],
                refs=refs,
                event_times=np.full(len(refs), EVENT_TIME, np.int64),
            )
            vault.write([candidates], ledger=ledger, rules=RULES, now=NOW)

    first, again = _seconds(write), _seconds(write)
    entries = len(np.unique(customers))
    return [
        _row(f"vault, first write of {entries:,} entries, entries/s", entries / first, sealing),
        _row("vault, first write, records/s", records / first),
        _row("vault, rerun that writes nothing, records/s", records / again),
    ]


def _detokenizations(
    place: Path, keys: VaultKeys, vault: Vault, ledger: ConsentLedger, count: int
) -> list[dict[str, Any]]:
    """Detokenizes what the vault holds, a portion at a time as for a file; the limit is opening the values alone.

    By the processor's time: the log waits for the disk once a portion, and not for the processor.
    """
    policy = Policy.model_validate(POLICY)
    log = open_access_log(f"sqlite:{place / 'access.db'}", create=True)
    cmac = ColumnCmac(keys.derive_root("access-log"))
    desk = Desk(
        policy=policy,
        vault=vault,
        ledger=ledger,
        access_log=log,
        actors=None,
        canonical_tokens=canonical_tokens,
        mask=masked,
        reference_subjects=lambda ids: subject_references(pa.array(ids), keys.reference_key).to_pylist(),
        reference_tokens=lambda _, texts: _pieces(cmac.digest(pa.array(texts, pa.string())).tobytes()),
        clock=lambda: NOW,
    )
    tokens = [f"{number:016d}" for number in np.random.default_rng(4).permutation(count).tolist()]
    limit, spent, found = 0.0, 0.0, 0
    for start in range(0, len(tokens), PORTION):
        portion = tokens[start : start + PORTION]
        limit += _opening_seconds(len(portion))
        begun = time.process_time()
        column = desk.detokenize_column("card", portion, purpose="support", role="agent", actor="bench")
        spent += time.process_time() - begun
        found += sum(value is not None for value in column.values)
    if found < len(tokens) // 2:
        raise AssertionError("most tokens of the benchmark have a value that may be shown")
    log.close()
    name = f"detokenize {len(tokens):,} tokens, tokens/s of one core"
    return [_row(name, len(tokens) / spent, len(tokens) / limit, OPENING)]


def _opening_seconds(count: int) -> float:
    """Returns the processor's seconds for opening so many values, each under a key of its own, and nothing else."""
    key, nonce = os.urandom(32), os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, b"4111111111111111", b"bound")
    begun = time.process_time()
    for _ in range(count):
        AESGCM(key).decrypt(nonce, sealed, b"bound")
    return time.process_time() - begun


def _pieces(digests: bytes) -> list[bytes]:
    return [digests[start : start + 16] for start in range(0, len(digests), 16)]


OPENING = "AES-256-GCM, new key and open"
SEALING, SEARCH = "AES-256-GCM, new key and seal", "numpy searchsorted"


def _row(name: str, rate: float, limit: float | None = None, what: str = SEALING) -> dict[str, Any]:
    if limit is None:
        return {"name": name, "rate_per_s": rate}
    return {"name": name, "rate_per_s": rate, "limit": what, "limit_rate": limit, "ratio": rate / limit}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _event(number: int) -> ConsentEvent:
    return ConsentEvent(
        subject=f"c-{number:08d}",
        purpose="support",
        decision=Decision.GRANTED,
        effective_at=GRANTED_AT,
        source="bench",
    )


def _ids(numbers: np.ndarray) -> pa.StringArray:
    return pa.array([f"c-{number:08d}" for number in numbers.tolist()], pa.string())


def _sealing_rate(count: int) -> float:
    """Returns how often a second a key of its own can be made and seal a card number, and nothing else."""
    count = min(count, 200_000)

    def seal_all() -> None:
        for _ in range(count):
            AESGCM(os.urandom(32)).encrypt(os.urandom(12), b"4111111111111111", b"bound")

    return count / _seconds(seal_all)

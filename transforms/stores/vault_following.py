"""How the vault follows the ledger: what has news there is judged again, in the transaction of whoever calls."""

from __future__ import annotations

from ...schemas.errors import IntegrityError
from .consent_ledger import ConsentLedger
from .hash_chain import START
from .vault_judge import Judge, Rules, digest_of
from .vault_table import Applied, VaultTable

__all__ = ["followed", "has_news"]


def has_news(table: VaultTable, ledger: ConsentLedger, rules: Rules, now: int) -> bool:
    """Returns whether entries are to be judged again by ledger, rules or time; refuses another ledger."""
    applied = table.applied()
    if applied is None or applied.rules != digest_of(rules) or applied.position != ledger.position():
        return True
    if ledger.head(applied.position) != applied.head:
        raise _another_ledger()
    return bool(ledger.changed_subjects(after=applied.position, since=applied.at, until=now))


def followed(table: VaultTable, ledger: ConsentLedger, rules: Rules, now: int) -> int:
    """Judges again inside the caller's transaction. Time never goes back: a clock that lags counts for nothing."""
    snapshot, digest = ledger.snapshot(), digest_of(rules)
    before = table.applied()
    if before is not None and ledger.head(before.position) != before.head:
        raise _another_ledger()
    at = now if before is None else max(now, before.at)
    judge = Judge(snapshot=snapshot, rules=rules, instants=frozenset({at}))
    removed = 0
    for entries in table.judged(_affected(ledger, before, digest, at)):
        lost = judge.lost(entries)
        table.delete(lost)
        removed += len(lost)
    purges = (0 if before is None else before.purges) + bool(removed)
    latest = Applied(snapshot.position, ledger.head(snapshot.position) or START, at, digest, purges)
    if latest != before:
        table.set_applied(latest)
    return removed


def _affected(ledger: ConsentLedger, applied: Applied | None, digest: str, at: int) -> set[bytes] | None:
    """Returns the subjects whose entries are to be judged again; None: all."""
    if applied is None:  # nothing was ever written
        return set()
    if applied.rules != digest:
        return None
    return ledger.changed_subjects(after=applied.position, since=applied.at, until=at)


def _another_ledger() -> IntegrityError:
    return IntegrityError(
        "vault: has followed another ledger than this, or a newer state of it; restore the newest ledger",
        reason="ledger_rolled_back",
    )

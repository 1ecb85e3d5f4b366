"""Random histories of orders and consents, epoch by epoch through the functions of a stream, against a slow oracle.

``CONSENTRY_SOAK=1`` runs 100 histories of 1,000 subjects.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consentry.pipelines.scaffold import write_project
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.consent_decision import decide_batch
from consentry.transforms.crypto.subject_references import subject_reference
from consentry.transforms.protection import protect_batch
from consentry.transforms.stage import SharedStage, Stage, settle_stage
from oracles.consent_oracle import Entry, Erased
from oracles.store_place import event_of
from oracles.stream_oracle import (
    BASES,
    DAY,
    LOOSE,
    START,
    STRICT,
    WHOLE,
    Arrivals,
    Fate,
    Order,
    Rules,
    StreamModel,
    policy_text,
    random_arrivals,
)

SOAK = os.environ.get("CONSENTRY_SOAK") == "1"
HISTORIES, SUBJECTS = (100, 1000) if SOAK else (12, 250)
REDACTED = "[redacted]"


class FunctionStream:
    """What a stream does for each epoch, without topics, Beam and files."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        write_project(folder, tenant="shop", now=START)
        (folder / "policy.yaml").write_text(policy_text(rules))
        project = read_project(folder / "consentry.yaml")
        self._shared = SharedStage(settle_stage(project, read_policy(project.policy), "orders", now=START - 9 * DAY))
        self.stage: Stage = self._shared.open()
        self.tokens: dict[str, str] = {}

    def epoch(self, arrivals: Arrivals) -> list[Fate]:
        for entry in arrivals.consents:
            self._hear(entry)
        ledger, clock = self.stage.stores.ledger, arrivals.clock
        self.stage.follow_ledger(clock)
        config = self.stage.config
        settled = replace(config, now=max(config.now, clock), ledger_position=ledger.position(), started_at=clock)
        self.stage = self._shared.settled_anew(settled).open()
        return self._protected(arrivals.orders)

    def held(self) -> dict[tuple[str, bytes], int]:
        """What the vault holds, by token and subject reference; every value opens to the card of its token."""
        vault: Any = self.stage.stores.vault
        cards = {token: card for card, token in self.tokens.items()}
        found: dict[tuple[str, bytes], int] = {}
        for entries in list(vault._table.judged(None)):
            for key, time in entries:
                found[key.token, key.subject_ref] = time
                assert {vault.open_value(entry) for entry in vault.find(key.domain, key.token)} == {cards[key.token]}
        return found

    def reference(self, subject: str) -> bytes:
        reference = subject_reference(subject, self.stage.reference_key)
        assert reference is not None
        return reference

    def _hear(self, entry: Entry) -> None:
        ledger = self.stage.stores.ledger
        if isinstance(entry, Erased):
            ledger.record_erasure(self.reference(entry.subject), at=START)
        else:
            ledger.append([event_of(entry)], now=START)

    def _protected(self, orders: list[Order]) -> list[Fate]:
        stage, config = self.stage, self.stage.config
        batch = pa.record_batch({
            "number": pa.array(range(len(orders)), pa.int64()),
            "customer": pa.array([order.subject for order in orders], pa.string()),
            "placed_at": pa.array([order.event_time for order in orders], pa.timestamp("us", "UTC")),
            "card": pa.array([order.card for order in orders], pa.string()),
        })  # fmt: skip
        decided = decide_batch(batch, stage.dataset, config.policy, stage.snapshot, stage.reference_key, config.now,
                               purposes=stage.purposes)  # fmt: skip
        plan = stage.plan(decided.batch.schema)
        protected = protect_batch(decided.batch, plan, stage.tokenizers(plan))
        assert decided.rejected is None and protected.rejected is None
        stage.keep(protected.candidates)
        candidates = {
            (token, ref, time)
            for each in protected.candidates
            for token, ref, time in zip(each.tokens.to_pylist(), each.refs.to_pylist(), each.event_times.tolist(),
                                        strict=True)
        }  # fmt: skip
        fates = [Fate(dropped=True)] * len(orders)
        for row in protected.batch.to_pylist():
            order = orders[row["number"]]
            fates[row["number"]] = self._fate(order, row, candidates)
        return fates

    def _fate(self, order: Order, row: dict[str, Any], candidates: set[tuple[str, bytes, int]]) -> Fate:
        tokenized = {name for name in ("customer", "card") if row[name] not in (None, REDACTED)}
        if "card" not in tokenized:
            return Fate(dropped=False, tokenized=frozenset(tokenized))
        assert row["card"] != order.card and self.tokens.setdefault(order.card, row["card"]) == row["card"]
        assert order.subject is not None and order.event_time is not None
        candidate = (row["card"], self.reference(order.subject), order.event_time) in candidates
        return Fate(dropped=False, tokenized=frozenset(tokenized), candidate=candidate)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_stream_does_what_the_oracle_says_given_the_same_arrivals(tmp_path: Path, seed: int) -> None:
    rules = (WHOLE, STRICT, LOOSE)[seed % 3]
    model, stream = StreamModel(rules), FunctionStream(tmp_path / "shop", rules)
    with closing(stream.stage.stores.ledger), closing(stream.stage.stores.data_keys):
        for number, arrivals in enumerate(random_arrivals(seed, subjects=SUBJECTS, purposes=list(BASES))):
            wanted, found = model.epoch(arrivals), stream.epoch(arrivals)
            for order, one, other in zip(arrivals.orders, wanted, found, strict=True):
                assert one == other, (seed, number, order.number)
            held = {(stream.tokens[card], stream.reference(who)): at for (card, who), at in model.held.items()}
            assert stream.held() == held, (seed, number)
        assert model.held

"""A shop whose orders and consents flow at the same time, and what must become of each order, whatever the engine.

Customers are of two halves. In each round one half's consents arrive while the other half's orders do, and a round
begins when the orders of the one before are settled. So both topics flow all the time, and for each order it is certain
what was known when it was read: nothing else makes a single right answer.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.schemas.consent import format_instant
from oracles.consent_oracle import Entry, Said, permits_one_of
from oracles.stream_oracle import DAY, START, Rules, card_number
from oracles.topic_reader import messages_of

__all__ = ["CARD_PATH", "Produced", "Shop"]

CARD_PATH = "payment.card"
REDACTED = "[redacted]"
PARTITIONS = 4


@dataclass
class Produced:
    """What was sent so far, and what must come of it."""

    orders: int = 0
    dropped: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    fates: dict[int, frozenset[str]] = field(default_factory=dict)
    held: dict[tuple[str, str], int] = field(default_factory=dict)


class Shop:
    """Produces rounds to a broker, and knows the answers."""

    def __init__(self, address: str, name: str, rules: Rules, *, subjects: int, now: int, seed: int = 7) -> None:
        self._rules = rules
        self._now = now
        self._chance = random.Random(seed)
        self._subjects = [f"c-{seed}-{number:06d}" for number in range(subjects)]
        self._cards = [card_number(number) for number in self._chance.sample(range(10**8), subjects)]
        self._history: dict[str, list[Entry]] = {}
        self._cards_of: dict[str, set[tuple[str, str]]] = {}
        self._address = address
        self._producer = Producer({"bootstrap.servers": address, "enable.idempotence": True})
        self.orders_topic, self.consents_topic = f"{name}-orders", f"{name}-consents"
        self.protected_topic = f"{name}-protected"
        partitions = {self.protected_topic: 2, self.orders_topic: PARTITIONS, self.consents_topic: 2}
        topics = [NewTopic(topic, count, 1) for topic, count in partitions.items()]
        admin = AdminClient({"bootstrap.servers": address})
        for created in admin.create_topics(topics).values():
            created.result()
        self.produced = Produced()
        self._canaries = {each.encode() for each in (*self._cards, *self._subjects)}
        # Of the shapes of both, overlapping: to look for each of ten thousands takes hours.
        self._shape = re.compile(rb"(?=([0-9]{16}|c-%d-[0-9]{6}))" % seed)

    def raw_in(self, data: bytes) -> set[bytes]:
        """Which cards and customers are in some bytes."""
        return self._canaries.intersection(self._shape.findall(data))

    def fates_on_topic(self) -> dict[int, frozenset[str]]:
        """What a reader of the protected topic has, who takes the last of each record id; no raw card is there."""
        last: dict[bytes, dict[str, Any]] = {}
        for message in messages_of(self._address, self.protected_topic):
            assert not self.raw_in(message.value)
            last[message.key] = json.loads(message.value)
        assert len({row["number"] for row in last.values()}) == len(last)
        return {row["number"]: self._tokenized({"customer": None, **row}) for row in last.values()}

    def check_topic(self) -> None:
        """Compares a topic that is the output, and that of its dead letters, with the answers; nothing raw is there.

        What a transaction that was undone has left is searched as well.
        """
        rows = [json.loads(message.value) for message in messages_of(self._address, self.protected_topic)]
        numbers = Counter(row["number"] for row in rows)
        assert not [number for number, count in numbers.items() if count > 1], "orders that are there twice"
        found = {row["number"]: self._tokenized({"customer": None, **row}) for row in rows}
        assert found == self.produced.fates
        letters = messages_of(self._address, f"{self.protected_topic}.dead-letters")
        assert Counter(json.loads(message.value)["reason"] for message in letters) == self.produced.letters
        for topic in ("", ".dead-letters", ".books"):
            for message in messages_of(self._address, self.protected_topic + topic, committed=False):
                assert not self.raw_in(message.key + message.value)

    def round(self, number: int, orders: int, *, pace: Callable[[], None] = lambda: None) -> None:
        """Sends the consents of one half and the orders of the other, mixed."""
        halves = self._subjects[::2], self._subjects[1::2]
        hearing, buying = halves[number % 2], halves[1 - number % 2]
        # One word of a customer in a round: of two, nobody could tell whether the vault judges between them.
        words = self._chance.sample(hearing, min(len(hearing) * 2 // 3, orders))
        for place in range(orders):
            if place < len(words):
                self._hear(words[place])
            self._order(buying)
            if place % 1000 == 999:
                self._producer.flush()
                pace()
        self._producer.flush()

    def _hear(self, subject: str) -> None:
        said = Said(
            subject,
            self._chance.choice(list(self._rules.bases)),
            self._chance.choice(["granted", "granted", "withdrawn"]),
            START + self._chance.randrange(12) * DAY,
            "form",
        )
        self._history.setdefault(subject, []).append(said)
        event = {"subject": said.subject, "purpose": said.purpose, "decision": said.decision,
                 "effective_at": format_instant(said.effective_at), "source": said.source}  # fmt: skip
        self._send(self.consents_topic, 2, json.dumps(event).encode())
        held = self.produced.held
        for card, who in [key for key in self._cards_of.get(subject, ()) if key in held]:
            if not self._one_of(who, self._rules.distribute, held[card, who]):
                del held[card, who]

    def _order(self, buying: list[str]) -> None:
        chance, produced = self._chance, self.produced
        number = produced.orders
        produced.orders += 1
        if chance.random() < 0.002:
            produced.letters["invalid_json"] += 1
            self._send(self.orders_topic, PARTITIONS, b'{"number": ' + str(number).encode())
            return
        subject = None if chance.random() < 0.01 else chance.choice(buying)
        card = self._cards[number % len(self._cards)]
        if chance.random() < 0.002:
            produced.letters["event_time_invalid"] += 1
            self._send_order(number, subject, card, "yesterday")
            return
        time = None if chance.random() < 0.01 else START + chance.randrange(14) * DAY - chance.randrange(2)
        self._send_order(number, subject, card, None if time is None else format_instant(time))
        self._judge(number, subject, card, time)

    def _send_order(self, number: int, subject: str | None, card: str, placed_at: str | None) -> None:
        order = {"number": number, "customer": subject, "placed_at": placed_at, "payment": {"card": card}}
        self._send(self.orders_topic, PARTITIONS, json.dumps(order).encode())

    def _send(self, topic: str, partitions: int, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, partition=self._chance.randrange(partitions))
            except BufferError:
                self._producer.flush()
                continue
            self._producer.poll(0)
            return

    def _judge(self, number: int, subject: str | None, card: str, time: int | None) -> None:
        rules, produced = self._rules, self.produced
        if rules.record is not None and not self._one_of(subject, rules.record, time):
            produced.dropped += 1
            return
        fate = frozenset(name for name, purposes in rules.collect.items() if self._one_of(subject, purposes, time))
        produced.fates[number] = fate
        if "card" in fate and self._one_of(subject, rules.distribute, time):
            assert subject is not None and time is not None
            self._cards_of.setdefault(subject, set()).add((card, subject))
            produced.held[card, subject] = max(produced.held.get((card, subject), time), time)

    def _one_of(self, subject: str | None, purposes: list[str], time: int | None) -> bool:
        known = [] if subject is None else self._history.get(subject, [])
        return permits_one_of(self._rules.bases, known, subject, purposes, time, self._now)

    def check(self, out: Path) -> dict[str, str]:
        """Compares an output with the answers, and returns the tokens of cards."""
        rows: list[dict[str, Any]] = []
        for path in sorted(out.glob("data/*/*.parquet")):
            rows += pq.read_table(path, partitioning=None).to_pylist()
        numbers = Counter(row["number"] for row in rows)
        assert not [number for number, count in numbers.items() if count > 1], "orders that are there twice"
        found = {row["number"]: self._tokenized(row) for row in rows}
        assert found == self.produced.fates
        letters: Counter[str] = Counter()
        for path in sorted(out.glob("dead_letters/*.parquet")):
            letters.update(pq.read_table(path)["reason"].to_pylist())
        assert letters == self.produced.letters
        return {str(row["number"]): row["payment"]["card"] for row in rows if "card" in found[row["number"]]}

    @staticmethod
    def _tokenized(row: dict[str, Any]) -> frozenset[str]:
        values = {"customer": row["customer"], "card": (row.get("payment") or {}).get("card")}
        return frozenset(name for name, value in values.items() if value not in (None, REDACTED))

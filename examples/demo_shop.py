"""A made-up shop whose orders and consent changes flow over a real broker, for the demos of streams."""

from __future__ import annotations

import json
import random
import threading

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

__all__ = ["Shop"]

PARTITIONS = 2
CUSTOMERS = 400
CARDS = ("4111 1111 1111 1111", "5500-0055-5555-5559", "340000000000009", "6011000990139424", "4111111111111112")


class Shop(threading.Thread):
    """Sends orders and consent changes until it is stopped.

    Args:
        broker: ``HOST:PORT``, without topics yet.
        rate: Orders a second.
    """

    def __init__(self, broker: str, rate: int) -> None:
        super().__init__(daemon=True)
        admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        for made in admin.create_topics([NewTopic("orders", PARTITIONS, 1), NewTopic("consents", 1, 1)]).values():
            made.result()
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, "log_level": 0})
        self._rng = random.Random(7)
        self._rate = rate
        self.stopping = threading.Event()
        self.orders = self.consents = 0

    def run(self) -> None:
        """Sends."""
        while not self.stopping.wait(0.05):
            for _ in range(self._rate // 20):
                self._producer.produce("orders", self._order(), partition=self.orders % PARTITIONS)
                self.orders += 1
            for _ in range(3):
                self._producer.produce("consents", self._consent(), partition=0)
                self.consents += 1
            self._producer.poll(0)
        self._producer.flush()

    def _order(self) -> bytes:
        if self._rng.random() < 0.001:
            return b'{"order_id": "o-cut-off'
        customer = self._rng.randrange(CUSTOMERS)
        record = {
            "order_id": f"o-{self.orders:07d}",
            "placed_at": f"2026-07-{1 + self.orders // 20_000:02d}T10:00:00Z",
            "customer": {"id": f"c-{customer}", "email": f"kim{customer}@example.com"},
            "payment": {"card": {"number": self._rng.choice(CARDS), "cvv": "675"}},
            "items": [{"sku": "TEA-1", "quantity": 1, "price": 9.5}],
        }
        return json.dumps(record).encode()

    def _consent(self) -> bytes:
        event = {
            "subject": f"c-{self._rng.randrange(CUSTOMERS)}",
            "purpose": "support",
            "decision": self._rng.choice(["granted", "granted", "withdrawn"]),
            "effective_at": f"2026-06-{1 + self.consents % 28:02d}T00:00:00Z",
            "source": f"web-{self.consents}",
        }
        return json.dumps(event).encode()

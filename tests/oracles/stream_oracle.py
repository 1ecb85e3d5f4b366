"""A slow, separate reading of CONTRACTS on streams: what comes of each order as it arrives, and what the vault holds.

Plain lists and loops, nothing shared with the product. An epoch first takes the consents that arrived before it began,
then decides about its orders by all that was known then; the vault is judged again whenever the ledger or time moves.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

from oracles.consent_oracle import Entry, Erased, Said, permits_one_of

DAY = 86_400_000_000
START = 1_790_000_000_000_000


@dataclass(frozen=True)
class Order:
    """An order as it arrives; one that arrives twice has one number."""

    number: int
    subject: str | None
    event_time: int | None
    card: str


@dataclass(frozen=True)
class Arrivals:
    """What an epoch finds: by which clock it begins, the consents before that, and its orders."""

    clock: int
    consents: list[Entry]
    orders: list[Order]


@dataclass(frozen=True)
class Rules:
    """What a policy says of orders; ``record`` None: no permission is asked for the record as a whole."""

    bases: dict[str, str]
    record: list[str] | None
    collect: dict[str, list[str]]
    distribute: list[str]


BASES = {"delivery": "contract", "support": "consent", "news": "consent", "analytics": "legitimate_interest"}


def policy_text(rules: Rules, card: str = "card") -> str:
    """Returns the policy file that says what the rules say; ``card`` is the path of the card in an order."""
    purposes = "".join(f"  {name}: {{basis: {basis}, says: Why.}}\n" for name, basis in rules.bases.items())
    collect_customer, collect_card = (", ".join(rules.collect[name]) for name in ("customer", "card"))
    record = "" if rules.record is None else f"    collect: [{', '.join(rules.record)}]\n"
    return (
        f"version: 1\npurposes:\n{purposes}info_types:\n"
        f"  id: {{action: tokenize, format: surrogate, domain: customer, collect: [{collect_customer}]}}\n"
        f"  card: {{action: tokenize, format: pan, domain: card, collect: [{collect_card}],"
        f" distribute: [{', '.join(rules.distribute)}]}}\n"
        f"datasets:\n  orders:\n    subject: customer\n    event_time: placed_at\n{record}"
        f"    fields: {{number: keep, customer: id, placed_at: keep, {card}: card}}\ndead_letters: {{retain: 7d}}\n"
    )


# The kinds of rules: no permission for the record as a whole, one that few have, one that all have.
WHOLE = Rules(BASES, None, {"customer": ["analytics"], "card": ["support", "analytics"]}, ["news", "support"])
STRICT = Rules(BASES, ["support", "analytics"], {"customer": ["news"], "card": ["support", "news"]}, ["support"])
LOOSE = Rules(BASES, ["delivery"], {"customer": ["delivery"], "card": ["delivery"]}, ["analytics", "news"])


@dataclass(frozen=True)
class Fate:
    """What came of one order: dropped, or out with some fields tokenized, the others redacted; whether to vault."""

    dropped: bool
    tokenized: frozenset[str] = frozenset()
    candidate: bool = False


@dataclass
class StreamModel:
    """A stream, its ledger and its vault; ``held`` is the latest permitted event time by card and subject."""

    rules: Rules
    history: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    present: int | None = None

    def epoch(self, arrivals: Arrivals) -> list[Fate]:
        """Returns the fates of an epoch's orders, in their order."""
        for entry in arrivals.consents:
            if entry not in self.history[entry.subject]:
                self.history[entry.subject].append(entry)
        self.present = arrivals.clock if self.present is None else max(self.present, arrivals.clock)
        for card, subject in list(self.held):
            if not self._one_of(subject, self.rules.distribute, self.held[card, subject]):
                del self.held[card, subject]
        fates = [self._fate(order) for order in arrivals.orders]
        for order, fate in zip(arrivals.orders, fates, strict=True):
            if fate.candidate:
                assert order.subject is not None and order.event_time is not None
                key = order.card, order.subject
                self.held[key] = max(self.held.get(key, order.event_time), order.event_time)
        return fates

    def _fate(self, order: Order) -> Fate:
        subject, time = order.subject, order.event_time
        if self.rules.record is not None and not self._one_of(subject, self.rules.record, time):
            return Fate(dropped=True)
        tokenized = {name for name, purposes in self.rules.collect.items() if self._one_of(subject, purposes, time)}
        candidate = "card" in tokenized and self._one_of(subject, self.rules.distribute, time)
        return Fate(dropped=False, tokenized=frozenset(tokenized), candidate=candidate)

    def _one_of(self, subject: str | None, purposes: list[str], time: int | None) -> bool:
        assert self.present is not None
        known = [] if subject is None else self.history.get(subject, [])
        return permits_one_of(self.rules.bases, known, subject, purposes, time, self.present)


def random_arrivals(seed: int, *, subjects: int, purposes: list[str], epochs: int = 5) -> list[Arrivals]:
    """Returns one history of many subjects: everything may come late, twice, out of order or at one instant."""
    chance = random.Random(seed)
    consents: list[list[Entry]] = [[] for _ in range(epochs)]
    orders: list[list[Order]] = [[] for _ in range(epochs)]
    cards = [card_number(number) for number in chance.sample(range(10**8), max(1, subjects // 2))]
    number = 0
    for place in range(subjects):
        subject = f"s{place}"
        own = chance.sample(cards, min(2, len(cards)))
        for _ in range(chance.randrange(6)):
            said = Said(subject, chance.choice(purposes), chance.choice(["granted", "granted", "withdrawn"]),
                        START + chance.randrange(12) * DAY, chance.choice(["form", "call"]))  # fmt: skip
            for _ in range(chance.choice([1, 1, 1, 2])):
                consents[chance.randrange(epochs)].append(said)
        if chance.random() < 0.03:
            consents[chance.randrange(epochs)].append(Erased(subject))
        for _ in range(chance.randrange(5)):
            number += 1
            time = None if chance.random() < 0.03 else START + chance.randrange(14) * DAY - chance.randrange(2)
            order = Order(number, None if chance.random() < 0.03 else subject, time, chance.choice(own))
            for _ in range(chance.choice([1, 1, 1, 2])):
                orders[chance.randrange(epochs)].append(order)
    for some in (*consents, *orders):
        chance.shuffle(some)
    # The clock may be set back, and some event times and consents lie before or behind it.
    clocks = [START + (2 * epoch + chance.randrange(-1, 5)) * DAY for epoch in range(epochs)]
    return [Arrivals(*each) for each in zip(clocks, consents, orders, strict=True)]


def card_number(number: int) -> str:
    """Returns a number of 16 digits that ends in its Luhn digit."""
    payload = f"4000000{number:08d}"
    total = 0
    for place, digit in enumerate(reversed(payload)):
        doubled = int(digit) * 2 if place % 2 == 0 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled
    return payload + str(-total % 10)

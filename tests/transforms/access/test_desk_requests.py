"""A hundred thousand random requests against the oracle: no wrong answer, and none that tells what the vault holds.

Worlds of policies, roles, purposes and consents are random; each is asked by single tokens, by tokens for which one
customer is named, and by columns in which each row names a customer of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from consentry.schemas.policy import Policy
from consentry.transforms.access.detokenize import Desk
from oracles.desk_oracle import World

from .test_detokenize import NOW, random_world

WORLDS, REQUESTS = 40, 2_500
"""40 worlds, each asked for 2,500 tokens."""
COLUMN = 64
TOKENS = ["t0", "t1", "t2", "t3", "t4", "x"]
SUBJECTS = ["s0", "s1", "s2", "s3", "s4", "", " s0 "]


@dataclass
class Asked:
    """One way to ask, for some tokens."""

    domain: str
    tokens: list[str]
    subjects: list[str] | None
    version: int | None
    who: dict[str, str] = field(default_factory=dict)


def random_requests(dice: random.Random, world: World) -> list[Asked]:
    found, count = [], 0
    roles, purposes = ["r0", "r1", "r2", "r3"], ["p0", "p1", "p2", "p3", "p4"]
    while count < REQUESTS:
        size = dice.choice([1, 3, COLUMN, COLUMN, COLUMN])
        named = dice.random()
        subjects = None if named < 0.4 else [dice.choice(SUBJECTS)] * size
        if named > 0.7:
            subjects = [dice.choice(SUBJECTS) for _ in range(size)]
        role = dice.choice(roles)
        fitting = [*world.policy["roles"].get(role, {"purposes": purposes})["purposes"]]
        found.append(
            Asked(
                domain=f"d{dice.randint(0, 3)}",
                tokens=dice.choices(TOKENS, k=size),
                subjects=subjects,
                version=dice.choice([None, None, 1, 2]),
                who={
                    "purpose": dice.choice(fitting if dice.random() < 0.8 else purposes),
                    "role": role,
                    "actor": dice.choice(["a0", "a0", "a1", "a2"]),
                },
            )
        )
        count += size
    return found


def opened(office: Any, world: World, *, vaulted: bool) -> Desk:
    policy = Policy.model_validate(world.policy)
    office.consent(*world.before, now=world.written_at)
    if vaulted:
        office.write(policy, world.writable(), now=world.written_at)
    office.consent(*world.after, now=world.now)
    for subject in world.erased:
        office.ledger.record_erasure(office.reference(subject), world.now)
    actors = None if world.actors is None else {actor: tuple(roles) for actor, roles in world.actors.items()}
    office.reference = cache(office.reference)
    return office.desk(policy, now=world.now, actors=actors)  # type: ignore[no-any-return]


def expected(world: World, asked: Asked) -> list[tuple[str, str | None, str | None]]:
    subjects = asked.subjects or [None] * len(asked.tokens)
    found = []
    for token, subject in zip(asked.tokens, subjects, strict=True):
        named = None if subject is None else subject.strip()
        rule, value, shown = answer_of(world, asked, token, named)
        found.append((rule, "*" + value[-1] if value is not None and shown == "masked" else value, shown))
    return found


def answer_of(world: World, asked: Asked, token: str, subject: str | None) -> tuple[str, str | None, str | None]:
    known: dict[Any, Any] = world.__dict__.setdefault("known", {})
    key = (asked.domain, token, subject, asked.version, *asked.who.values())
    if key not in known:
        known[key] = world.answer(asked.domain, token, **asked.who, subject=subject, version=asked.version)
    answer: tuple[str, str | None, str | None] = known[key]
    return answer


@pytest.mark.parametrize("seed", range(WORLDS))
def test_every_answer_is_the_oracles_and_refusals_do_not_depend_on_the_vault(
    open_office: Callable[[], Any], seed: int
) -> None:
    dice = random.Random(7_000 + seed)
    world = random_world(dice)
    world.written_at = NOW - 2 * 86_400_000_000
    full, empty = open_office(), open_office()
    desk, blind = opened(full, world, vaulted=True), opened(empty, world, vaulted=False)
    shape: list[tuple[str, str | None, int]] = []
    for asked in random_requests(dice, world):
        column = {"subjects": asked.subjects, "key_version": asked.version, **asked.who}
        found = desk.detokenize_column(asked.domain, asked.tokens, **column)
        without = blind.detokenize_column(asked.domain, asked.tokens, **column)
        for place, (rule, value, shown) in enumerate(expected(world, asked)):
            assert (found.rules[place], found.values[place]) == (rule, value), (asked, place)
            shape.append((rule, shown, entries_of(world, asked, place, rule)))
            if tells_nothing(rule):
                assert (without.rules[place], without.values[place]) == (rule, None)
                assert found.says[found.rules[place]] == without.says[without.rules[place]]
        if len(asked.tokens) <= 3 and (asked.subjects is None or len(set(asked.subjects)) == 1):
            shape += same_singly(world, desk, asked, found.values, blind, without.rules)
    same_in_the_log(full, empty, shape)


def same_in_the_log(full: Any, empty: Any, shape: list[tuple[str, str | None, int]]) -> None:
    """Each token left as many entries as expected; those of refusals that tell nothing are the same in both logs."""
    records, others = list(full.access_log.records()), list(empty.access_log.records())
    assert full.access_log.verify().entries == sum(count for *_, count in shape)
    assert len(others) == len(shape), "where nothing is held, each token leaves one entry"
    start = 0
    for (rule, shown, count), other in zip(shape, others, strict=True):
        mine = records[start : start + count]
        start += count
        assert {(record.rule, record.shown) for record in mine} == {(rule, shown)}
        if tells_nothing(rule):
            assert mine == [other]


def tells_nothing(rule: str) -> bool:
    """Whether who gets this answer is not allowed to know if there is a value; the others may."""
    return rule not in ("permitted", "ambiguous_version", "no_entry")


def entries_of(world: World, asked: Asked, place: int, rule: str) -> int:
    """How many entries the log gets for a token: one for each customer whose value is shown, else one."""
    if rule != "permitted":
        return 1
    token, subjects = asked.tokens[place], asked.subjects
    rows = [row for row in held(world) if row[0] == asked.domain and row[2] == token]
    rows = [row for row in rows if asked.version in (None, row[1])]
    return len({row[4] for row in rows if subjects is None or row[4] == subjects[place].strip()})


def held(world: World) -> list[tuple[str, int, str, str, str, int]]:
    if "held_now" not in world.__dict__:
        world.__dict__["held_now"] = world.held()
    found: list[tuple[str, int, str, str, str, int]] = world.__dict__["held_now"]
    return found


def same_singly(
    world: World, desk: Desk, asked: Asked, values: Any, blind: Desk, blind_rules: Any
) -> list[tuple[str, str | None, int]]:
    """Asks again by the way of single tokens, compares, and returns what the log gets of it."""
    subject = None if asked.subjects is None else asked.subjects[0]
    request = {**asked.who, "subject": subject, "key_version": asked.version}
    answers = desk.detokenize(asked.domain, asked.tokens, **request)
    without = blind.detokenize(asked.domain, asked.tokens, **request)
    shape: list[tuple[str, str | None, int]] = []
    for place, (answer, other) in enumerate(zip(answers, without, strict=True)):
        assert (answer.value, other.rule) == (values[place], blind_rules[place])
        if tells_nothing(answer.rule):
            assert answer == other
        shape.append((answer.rule.value, answer.shown, entries_of(world, asked, place, answer.rule.value)))
    return shape

"""Chains over what a stream sends to a topic: whatever is done to the messages that were signed shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
from confluent_kafka import Message
from consentry.pipelines.engines.topic_chains import CHAIN, ChainCheck, Chains, message_chains
from consentry.schemas.manifest import MessageChain
from hypothesis import assume, given
from hypothesis import strategies as st

TOPIC, SHARDS = "out", 3
Sent = list[tuple[int, int, bytes, bytes]]
SENT = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), st.integers(0, 1), st.binary(max_size=3), st.binary(max_size=3)),
    min_size=2,
    max_size=25,
)
"""Shard, partition, key and text, in the order of time."""


def played(sent: Sent) -> tuple[list[Message], tuple[MessageChain, ...]]:
    """The messages of a topic by partition, and the chains as they are signed after the last one."""
    shards = [Chains(number, {}) for number in range(SHARDS)]
    messages = []
    for shard, partition, key, text in sent:
        messages.append(message(partition, key, text, [(CHAIN, shards[shard].add(TOPIC, partition, key, text))]))
        shards[shard] = Chains(shard, shards[shard].ends())  # another worker goes on
    found = sorted(messages, key=lambda each: each.partition() or 0)
    return found, tuple(chain for each in shards for chain in message_chains(each.ends()))


def message(partition: int, key: Any, text: Any, headers: Any) -> Message:
    return Message(topic=TOPIC, partition=partition, offset=7, key=key, value=text, headers=headers)


def problems(
    messages: Sequence[Message], chains: Sequence[MessageChain], *, shards: int = SHARDS, complete: bool = True
) -> list[str]:
    check = ChainCheck(chains, TOPIC, shards=shards, complete=complete)
    for each in messages:
        check.take(each)
    return list(check.problems())


def chain_of(each: Message) -> tuple[Any, Any]:
    headers: Any = each.headers()
    return each.partition(), headers[0][1].partition(b":")[0]


@given(SENT, st.data())
def test_what_was_sent_holds_also_where_retention_has_taken_the_first_ones(sent: Sent, data: st.DataObject) -> None:
    messages, chains = played(sent)
    assert problems(messages, chains) == []
    kept = []
    for partition in (0, 1):
        of_it = [each for each in messages if each.partition() == partition]
        # At least one of each chain is left: of a chain that is gone, nobody can say more.
        last = [max(place for place, each in enumerate(of_it) if chain_of(each) == chain)
                for chain in {chain_of(each) for each in of_it}]  # fmt: skip
        kept += of_it[data.draw(st.integers(0, min(last, default=0))) :]
    assert problems(kept, chains) == []


@given(SENT, SENT)
def test_what_comes_after_the_signing_is_not_judged_unless_the_stream_has_ended(sent: Sent, more: Sent) -> None:
    _, chains = played(sent)
    messages, _ = played(sent + more)
    assert problems(messages, chains, complete=False) == []
    assert problems(messages, chains, complete=True) != []


def changed(data: st.DataObject, messages: list[Message]) -> list[Message]:
    place = data.draw(st.integers(0, len(messages) - 1))
    each = messages[place]
    key, text, headers = each.key() or b"", each.value() or b"", each.headers()
    other = data.draw(st.sampled_from([(key, text + b"x"), (key + b"x", text), (key + text, b""), (key, None)]))
    assume(other != (key, text))
    return [*messages[:place], message(each.partition() or 0, *other, headers), *messages[place + 1 :]]


def pair(data: st.DataObject, messages: list[Message]) -> tuple[int, int]:
    """Places of two of one chain, in order."""
    pairs = [two for two in combinations(range(len(messages)), 2) if len({chain_of(messages[at]) for at in two}) == 1]
    assume(pairs)
    return data.draw(st.sampled_from(pairs))


def dropped(data: st.DataObject, messages: list[Message]) -> list[Message]:
    _, place = pair(data, messages)  # the first of a chain goes as retention takes it
    return messages[:place] + messages[place + 1 :]


def ended_early(data: st.DataObject, messages: list[Message]) -> list[Message]:
    chain = chain_of(data.draw(st.sampled_from(messages)))
    last = max(place for place, each in enumerate(messages) if chain_of(each) == chain)
    return messages[:last] + messages[last + 1 :]


def sent_again(data: st.DataObject, messages: list[Message]) -> list[Message]:
    each, place = data.draw(st.sampled_from(messages)), data.draw(st.integers(0, len(messages)))
    return [*messages[:place], each, *messages[place:]]


def swapped(data: st.DataObject, messages: list[Message]) -> list[Message]:
    one, two = pair(data, messages)
    found = list(messages)
    found[one], found[two] = found[two], found[one]
    return found


BEGIN = b"0" * 64
NO_LINKS: tuple[Any, ...] = (
    None,
    [],
    [("other", b"1")],
    [(CHAIN, None)],
    [(CHAIN, b"")],
    [(CHAIN, b"9" * 5000)],
    [(CHAIN, b"0:0:" + BEGIN)] * 2,
    [(CHAIN, b"0:-1:" + BEGIN)],
    [(CHAIN, b"0:99:" + BEGIN)],
    [(CHAIN, b"%d:0:" % SHARDS + BEGIN)],
    [(CHAIN, b"0:" + b"9" * 5000 + b":" + BEGIN)],
)


def forged(data: st.DataObject, messages: list[Message]) -> list[Message]:
    headers = data.draw(st.sampled_from(NO_LINKS))
    return [*messages, message(data.draw(st.integers(0, 1)), b"k", b"forged", headers)]


@pytest.mark.parametrize("tamper", [changed, dropped, ended_early, sent_again, swapped, forged])
@given(sent=SENT, data=st.data())
def test_whatever_is_done_to_what_was_signed_shows(
    tamper: Callable[[st.DataObject, list[Message]], list[Message]], sent: Sent, data: st.DataObject
) -> None:
    messages, chains = played(sent)
    found = problems(tamper(data, messages), chains)
    assert found and all(TOPIC in each or "end before what was signed" in each for each in found)


def test_a_chain_that_is_gone_is_told() -> None:
    _, chains = played([(0, 0, b"k", b"v"), (1, 0, b"k", b"v")])
    assert problems([], chains) == ["2 of 2 chains end before what was signed"]

"""Chains of hashes over what a stream sends to a topic: one for each shard and partition.

A message names its shard, its number in the chain, and the hash of all before it. The signed manifest has how long each
chain is and its last hash. So a reader can tell that no message of it was changed, put in, taken out or moved, even if
retention has taken the first ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...schemas.manifest import MessageChain

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["CHAIN", "ChainCheck", "ChainEnd", "Chains", "message_chains"]

CHAIN = "consentry-chain"
"""Header of a message: ``SHARD:NUMBER:HASH``, of which the number is how many are before it, and the hash is theirs."""


class ChainEnd(NamedTuple):
    """How long a chain is, and its last hash in hexadecimal."""

    messages: int
    sha256: str


NOTHING = ChainEnd(0, "0" * 64)
_WRITTEN = re.compile(rb"([0-9]{1,5}):([0-9]{1,18}):([0-9a-f]{64})")


class Chains:
    """The chains of one shard, as it sends; used by one thread.

    Args:
        shard: Its number.
        ends: Where they are, by ``TOPIC/PARTITION/SHARD``.
    """

    def __init__(self, shard: int, ends: Mapping[str, ChainEnd]) -> None:
        self._shard = shard
        self._ends = dict(ends)

    def add(self, topic: str, partition: int, key: bytes, text: bytes) -> bytes:
        """Puts a message to the end of its chain, and returns its header."""
        name = f"{topic}/{partition}/{self._shard}"
        number, before = self._ends.get(name, NOTHING)
        self._ends[name] = ChainEnd(number + 1, _linked(before, key, text))
        return f"{self._shard}:{number}:{before}".encode()

    def ends(self) -> dict[str, ChainEnd]:
        """Returns where they are now."""
        return dict(self._ends)


class _Link(NamedTuple):
    """What a message says of its place in a chain."""

    shard: int
    number: int
    before: str

    @classmethod
    def of(cls, message: Message) -> _Link | None:
        """Returns it; None where a message says none."""
        headers: Any = message.headers() or ()
        told = [value for name, value in headers if name == CHAIN]
        found = _WRITTEN.fullmatch(told[0]) if len(told) == 1 and isinstance(told[0], bytes) else None
        if found is None or message.value() is None:
            return None
        shard, number, before = found.groups()
        return cls(int(shard), int(number), before.decode())


def message_chains(ends: Mapping[str, ChainEnd]) -> Iterator[MessageChain]:
    """Yields what a manifest has of the chains of one shard."""
    for name, (messages, sha256) in ends.items():
        topic, partition, shard = name.split("/")
        yield MessageChain(
            topic=topic, partition=int(partition), shard=int(shard), messages=messages, sha256=sha256
        )  # fmt: skip


class ChainCheck:
    """Follows the chains of one topic through its messages, each partition's in order.

    Args:
        signed: Chains of the manifest, those of other topics among them.
        topic: Name.
        shards: How many the stream has.
        complete: Whether the stream has ended, and so sends nothing behind what is signed.
    """

    def __init__(self, signed: Iterable[MessageChain], topic: str, *, shards: int, complete: bool) -> None:
        self._signed = {
            (each.partition, each.shard): ChainEnd(each.messages, each.sha256)
            for each in signed
            if each.topic == topic
        }  # fmt: skip
        self._shards = shards
        self._complete = complete
        self._ends: dict[tuple[int, int], ChainEnd] = {}
        self._wrong = 0
        self._first = ""

    def take(self, message: Message) -> None:
        """Takes the next message."""
        link = _Link.of(message)
        if link is None or not self._follows(message.partition() or 0, link, message):
            self._first = self._first or f"{message.topic()}/{message.partition()}, offset {message.offset()}"
            self._wrong += 1

    def problems(self) -> Iterator[str]:
        """Yields what is wrong, in words."""
        if self._wrong:
            yield f"{self._wrong} are not what the stream sent there; the first is at {self._first}"
        short = [1 for chain, signed in self._signed.items() if self._end(chain).messages < signed.messages]
        if short:
            yield f"{len(short)} of {len(self._signed)} chains end before what was signed"

    def _follows(self, partition: int, link: _Link, message: Message) -> bool:
        """Notes the new end of a chain, and tells whether the message may be there."""
        chain = (partition, link.shard)
        known, signed = self._ends.get(chain), self._signed.get(chain, NOTHING)
        end = ChainEnd(link.number + 1, _linked(link.before, message.key() or b"", message.value() or b""))
        self._ends[chain] = end
        if known is None and link.number:
            # Retention has taken the first ones; the last hash tells whether these follow from what was sent.
            known = ChainEnd(link.number, link.before)
        return (
            link.shard < self._shards
            and (link.number, link.before) == (known or NOTHING)
            and (end.messages != signed.messages or end.sha256 == signed.sha256)
            and not (self._complete and end.messages > signed.messages)
        )

    def _end(self, chain: tuple[int, int]) -> ChainEnd:
        return self._ends.get(chain, NOTHING)


def _linked(before: str, key: bytes, text: bytes) -> str:
    return hashlib.sha256(b"%s:%d:%s" % (before.encode(), len(key), key) + text).hexdigest()

"""Checks a topic that a stream on an engine publishes to, against the signed manifest in its books.

Like ``verify`` it believes nothing but a trusted public key. The manifest has the ends of chains of hashes, and so this
tells that each record is there, once, and as it was sent. What came since it was signed is only counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...schemas.errors import ConfigError, PrivacyError
from ...schemas.manifest import Manifest, parse_manifest
from ...transforms.crypto.key_sets import PublicKeys
from ..streams.kafka_place import PATIENCE_SECONDS, KafkaPlace
from ..verify import Check, VerifyReport, check_of, signature_check
from .topic_books import LETTERS, books_of
from .topic_chains import ChainCheck
from .topic_messages import committed_messages
from .topic_output import MANIFEST, open_topic_output

__all__ = ["verify_topic"]


def verify_topic(out: str, trust: PublicKeys, *, patience: float = PATIENCE_SECONDS) -> VerifyReport:
    """Returns what holds of a topic, as far as its manifest goes: a stream that goes on has sent more since.

    Takes 8 bytes of memory for each message.

    Args:
        out: ``kafka://HOST:PORT/TOPIC``.
        trust: The public keys to believe, and the tenant whose outputs they sign.
        patience: Seconds for which the broker may not answer.

    Raises:
        ConfigError: It is no output, or nothing of it was signed yet.
        RunError: The broker cannot be read.
    """
    output = open_topic_output(out)
    settings = output.settings()  # before the manifest: that of a stream which has ended by now is the last one
    data = books_of(output.place).standing().get(MANIFEST)
    if data is None:
        raise ConfigError(f"{output.topic}: nothing is signed yet; `consentry stream seal {out}` signs")
    try:
        manifest, signed = parse_manifest(data)
    except PrivacyError as error:
        return VerifyReport((Check("manifest", False, str(error)),))
    signature = signature_check(manifest, signed, trust)
    chains = manifest.chains or ()

    def messages(topic: str, name: str, wanted: int) -> Check:
        check = ChainCheck(chains, topic, shards=settings.shards, complete=settings.closed)
        return _messages_check(name, _read(output.place, topic, check, patience), check, wanted)

    return VerifyReport(
        (
            Check("manifest", True, f"run {manifest.run} of {manifest.finished_at}"),
            signature,
            check_of("topic", list(_other_topic(manifest, output.topic)), f"{output.topic}, as was signed"),
            check_of("books", list(_unbalanced(manifest)), _books(manifest)),
            messages(output.topic, "records", manifest.books.out),
            messages(output.topic + LETTERS, "dead letters", manifest.books.dead_lettered),
        ),
        manifest,
    )


def _other_topic(manifest: Manifest, topic: str) -> Iterator[str]:
    if manifest.topic != topic:
        yield "the manifest is of another output"


def _books(manifest: Manifest) -> str:
    books = manifest.books
    return f"in {books.in_} = out {books.out} + dropped {books.dropped} + dead-lettered {books.dead_lettered}"


def _unbalanced(manifest: Manifest) -> Iterator[str]:
    if not manifest.books.balanced:
        yield "they do not balance"
    if manifest.consent.total != manifest.books.out:
        yield f"the outcomes of consent add up to {manifest.consent.total}, out says {manifest.books.out}"
    chained = sum(chain.messages for chain in manifest.chains or ())
    if chained != manifest.books.out + manifest.books.dead_lettered:
        yield f"the chains have {chained} messages"


class _Found(NamedTuple):
    """Committed messages, and how many ids they have."""

    messages: int
    distinct: int


def _messages_check(name: str, found: _Found, chains: ChainCheck, wanted: int) -> Check:
    messages, distinct = found
    problems = list(chains.problems())
    if distinct < wanted:
        problems.append(f"{wanted - distinct} of {wanted} are gone; see to the retention of the topic")
    if messages > distinct:
        problems.append(f"{messages - distinct} are there twice: of one id the last counts")
    more = f", and {distinct - wanted} since it was signed" if distinct > wanted else ""
    return check_of(name, problems, f"{wanted}, each once and as it was sent{more}")


def _read(place: KafkaPlace, topic: str, chains: ChainCheck, patience: float) -> _Found:
    hashes = array("q")
    for messages in committed_messages(place, topic, patience=patience):
        for message in messages:
            hashes.append(hash(message.key() or b""))
            chains.take(message)
    return _Found(len(hashes), len(np.unique(np.frombuffer(hashes, np.int64))))

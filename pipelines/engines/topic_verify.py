"""Checks a topic that a stream on an engine publishes to, against the signed manifest in its books.

Like ``verify`` it believes nothing but a trusted public key. A message has no signature of its own, so this tells that
each record is there, once, and not that nobody with the right to write to the topic has put others into their place.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from ...schemas.errors import ConfigError, PrivacyError
from ...schemas.manifest import Manifest, parse_manifest
from ...transforms.crypto.key_sets import PublicKeys
from ..streams.kafka_place import PATIENCE_SECONDS, KafkaPlace
from ..verify import Check, VerifyReport, check_of, signature_check
from .topic_books import LETTERS, books_of
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
    data = books_of(output.place).standing().get(MANIFEST)
    if data is None:
        raise ConfigError(f"{output.topic}: nothing is signed yet; `consentry stream seal {out}` signs")
    try:
        manifest, signed = parse_manifest(data)
    except PrivacyError as error:
        return VerifyReport((Check("manifest", False, str(error)),))
    signature = signature_check(manifest, signed, trust)
    found = {topic: _found(output.place, topic, patience) for topic in (output.topic, output.topic + LETTERS)}
    return VerifyReport(
        (
            Check("manifest", True, f"run {manifest.run} of {manifest.finished_at}"),
            signature,
            check_of("topic", list(_other_topic(manifest, output.topic)), f"{output.topic}, as was signed"),
            check_of("books", list(_unbalanced(manifest)), _books(manifest)),
            _count_check("records", *found[output.topic], manifest.books.out),
            _count_check("dead letters", *found[output.topic + LETTERS], manifest.books.dead_lettered),
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


def _count_check(name: str, messages: int, distinct: int, wanted: int) -> Check:
    problems = []
    if distinct < wanted:
        problems.append(f"{wanted - distinct} of {wanted} are gone; see to the retention of the topic")
    if messages > distinct:
        problems.append(f"{messages - distinct} are there twice: of one id the last counts")
    more = f", and {distinct - wanted} since it was signed" if distinct > wanted else ""
    return check_of(name, problems, f"{wanted}, each once{more}")


def _found(place: KafkaPlace, topic: str, patience: float) -> tuple[int, int]:
    """Returns how many committed messages there are, and how many ids they have."""
    hashes = array("q")
    for messages in committed_messages(place, topic, patience=patience):
        hashes.extend(hash(message.key() or b"") for message in messages)
    return len(hashes), len(np.unique(np.frombuffer(hashes, np.int64)))

"""A shard that publishes to a topic: its records, its dead letters and its note, in one transaction of Kafka.

Whoever publishes next takes the name of the shard, so that nobody else may commit, and then reads the last note of the
shard. What an engine that has lost a worker does again, and the note knows of, is not sent again: in a partition of the
source everything before the noted offset is published. So who reads committed messages sees every record once.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

import pyarrow as pa

from ...schemas.errors import OutputError, RunError
from ...schemas.record_columns import POSITION
from ..publication import DATA, DEAD_LETTERS
from ..sinks import Receipt
from ..streams.json_texts import json_texts
from ..streams.kafka_place import PATIENCE_SECONDS, KafkaPlace
from ..streams.kafka_transactions import KafkaTransactions, Outgoing, TakenOverError, open_transactions
from ..streams.record_sink import record_ids
from .shard_notes import Published, Resumption, ShardNote
from .shard_publication import Publication
from .topic_books import LETTERS, TopicBooks
from .topic_chains import CHAIN, ChainEnd, Chains

__all__ = ["CLOSED", "LAUNCH", "NOTE", "LastNote", "ShardTopic", "last_note"]

LAUNCH, CLOSED, NOTE = "launch", "closed", "note"
"""Keys in the books: the id of the one launch that may publish, whether nobody may any more, and a shard's note."""


class LastNote(NamedTuple):
    """What is published of a shard: the number and the lot of its last publication, and a note of all of them."""

    number: int
    lot: str
    note: ShardNote


class _Session(NamedTuple):
    """The time for which this worker has the shard; how many partitions a topic has is as at its beginning."""

    producer: KafkaTransactions
    last: LastNote | None
    partitions: Mapping[str, int]


class ShardTopic:
    """A ``ShardPlace``.

    Args:
        place: Of the topic.
        books: Of the output.
        shard: Number.
        launch: Id of the launch.
        in_order: Whether the engine gives a shard what a lane sends it in that order, also after it went back: if not,
            what is done again is sent again, under the same ids.
        patience: Seconds for which the broker may not answer.
    """

    def __init__(
        self,
        place: KafkaPlace,
        books: TopicBooks,
        shard: int,
        launch: str,
        *,
        in_order: bool = True,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._place = place
        self._books = books
        self._shard = shard
        self._launch = launch
        self._in_order = in_order
        self._patience = patience
        self._session: _Session | None = None

    def resumption(self, number: int, lot: str) -> Resumption | None:
        """Returns where a state goes on that does not know of the last publication.

        Raises:
            RunError: The broker cannot be used, or the stream was launched anew, or closed.
            OutputError: The note is damaged.
        """
        if self._session is not None and _lot_of(self._session.last) == lot:
            return None
        # Only who is to publish takes the name from who has it, or who has to know for certain what is published.
        if _lot_of(last_note(self._books, self._shard)) == lot:
            return None
        last = self._opened_anew().last
        if last is None or last.lot == lot:
            return None
        is_known = self._in_order or (not number and last.note.launch != self._launch)
        note = last.note
        offsets, letters = (note.offsets, note.letters) if is_known else ({}, {})
        return Resumption(number=last.number + 1, lot=last.lot, columns=note.columns, offsets=offsets, letters=letters)

    def publish(self, number: int, lot: str, publication: Publication) -> Published:
        """Publishes what a step comes to, and returns it; call ``resumption`` first.

        Raises:
            RunError: Another worker has the shard, or the broker refused. It is published, or not: the next one sees.
        """
        if self._session is not None:
            with suppress(TakenOverError):  # by another instance that has published nothing, as it may turn out
                return self._published(self._session, number, lot, publication)
        return self._published(self._opened_anew(), number, lot, publication)

    def _published(self, session: _Session, number: int, lot: str, publication: Publication) -> Published:
        producer, last, _ = session
        if _lot_of(last) != lot:
            raise TakenOverError(f"{self._name}: another worker has taken it over; this one goes back")
        outgoing, chains = self._chained(publication, session)
        note = replace(publication.note(self._receipts(publication)), chains=chains)
        noted = LastNote(number, secrets.token_hex(8), note if last is None else note.after(last.note))
        self._session = None  # until it is certain what became of it
        try:
            with producer.transaction():
                for topic, messages in outgoing.items():
                    producer.send(topic, messages)
                producer.send(self._books.topic, [self._as_message(noted)])
        except BaseException:
            producer.close()
            raise
        self._session = session._replace(last=noted)
        return Published(note, noted.lot)

    def shut_out(self) -> None:
        """Takes the name of the shard, so that who has it can commit nothing more.

        Raises:
            RunError: The broker cannot be used.
        """
        open_transactions(self._place, self._transactional_id, patience=self._patience).close()

    def close(self) -> None:
        """Lets go of the broker."""
        self._let_go()
        self._books.close()

    @property
    def _name(self) -> str:
        return f"{self._place.topic}, shard {self._shard:02d}"

    @property
    def _transactional_id(self) -> str:
        return f"consentry.{self._place.topic}.{self._shard:02d}"

    def _opened_anew(self) -> _Session:
        """Takes the name of the shard, and reads what is published under it."""
        self._let_go()
        self._check(self._books.standing())  # before the name is taken from who may rightly have it
        producer = open_transactions(self._place, self._transactional_id, patience=self._patience)
        try:
            self._check(self._books.standing())  # a launch or an end may have come first
            topics = (self._place.topic, self._place.topic + LETTERS)
            partitions = {topic: producer.partitions(topic) for topic in topics}
            self._session = _Session(producer, last_note(self._books, self._shard), partitions)
        except BaseException:
            producer.close()
            raise
        return self._session

    def _check(self, standing: Mapping[str, bytes]) -> None:
        if CLOSED in standing:
            raise RunError(f"{self._name}: the stream of this output was closed; name a new --out")
        if standing.get(LAUNCH) != self._launch.encode():
            raise RunError(f"{self._name}: the stream was launched anew, and goes on there; cancel this job")

    def _let_go(self) -> None:
        if self._session is not None:
            self._session.producer.close()
            self._session = None

    def _chained(
        self, publication: Publication, session: _Session
    ) -> tuple[dict[str, list[Outgoing]], Mapping[str, ChainEnd]]:
        """Returns the messages of a publication, and the new ends of their chains."""
        chains = Chains(self._shard, {} if session.last is None else session.last.note.chains)
        outgoing: dict[str, list[Outgoing]] = {}
        for topic, texts, ids in self._texts(publication):
            count = session.partitions[topic]
            messages = outgoing.setdefault(topic, [])
            for text, key in zip(texts, ids, strict=True):
                partition = crc32(key) % count  # as librdkafka does it, unless it is told otherwise
                link = chains.add(topic, partition, key, text)
                messages.append(Outgoing(partition, key, text, ((CHAIN, link),)))
        return outgoing, chains.ends()

    def _texts(self, publication: Publication) -> Iterator[tuple[str, list[bytes], list[bytes]]]:
        for rows in publication.rows:
            ids = [each.encode() for each in record_ids(rows)]
            yield self._place.topic, json_texts(rows.drop_columns([POSITION])), ids
        for letters in publication.letters:
            yield self._place.topic + LETTERS, json_texts(letters), _letter_ids(letters)

    def _as_message(self, noted: LastNote) -> Outgoing:
        document = {"number": noted.number, "lot": noted.lot, **noted.note.document()}
        return Outgoing(self._shard, NOTE.encode(), json.dumps(document).encode())

    def _receipts(self, publication: Publication) -> list[Receipt]:
        """Returns what stands in a note for files."""
        rows = sum(each.num_rows for each in publication.rows)
        reasons = Counter(
            key
            for each in publication.letters
            for key in zip(each["stage"].to_pylist(), each["reason"].to_pylist(), strict=True)
        )
        letters = sum(each.num_rows for each in publication.letters)
        return [
            Receipt(path=f"{DATA}/{self._place.topic}", sha256="", rows=rows, bytes=0),
            Receipt(path=f"{DEAD_LETTERS}/{self._place.topic}", sha256="", rows=letters, bytes=0, reasons=reasons),
        ]


def _lot_of(last: LastNote | None) -> str:
    return "" if last is None else last.lot


def last_note(books: TopicBooks, shard: int) -> LastNote | None:
    """Returns the last note of a shard, of what is committed; None: it has published nothing.

    Raises:
        RunError: The broker cannot be read.
        OutputError: The note is damaged.
    """
    text = books.note_of(shard)
    if text is None:
        return None
    try:
        document = json.loads(text)
        return LastNote(int(document.pop("number")), str(document.pop("lot")), ShardNote.of(document))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(f"kafka:{books.topic}: the note of shard {shard:02d} is damaged; begin a new --out") from None


def _letter_ids(letters: pa.RecordBatch) -> list[bytes]:
    places = zip(letters["source"].to_pylist(), letters["position"].to_pylist(), strict=True)
    return [f"{source}:{position}".encode() for source, position in places]

"""A Kafka topic as the output of a stream on an engine, with the topics of its books and of its dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace

from ...schemas.errors import ConfigError, OutputError, RunError
from ...schemas.manifest import Manifest
from ..streams.kafka_place import GROUP, KafkaPlace, parse_kafka_uri
from .outputs import KAFKA, ShardWork
from .settings import EngineSettings, checked_settings
from .shard_notes import ShardNote, common_ends, furthest
from .shard_topic import CLOSED, LAUNCH, LastNote, ShardTopic, last_note
from .topic_books import BOOKS, LETTERS, TopicBooks, books_of, is_empty, make_topics

__all__ = ["MANIFEST", "SETTINGS", "TopicOutput", "open_topic_output"]

SETTINGS, CONSENTS, MANIFEST = "settings", "consents", "manifest"


def open_topic_output(out: str) -> TopicOutput:
    """Returns the output of ``kafka://HOST:PORT/TOPIC``; nobody is asked yet whether it is there.

    Raises:
        ConfigError: It is written otherwise.
    """
    place = parse_kafka_uri(out)
    if place.group != GROUP:
        raise ConfigError("--out: a group is for reading; leave it out")
    if place.topic.endswith((BOOKS, LETTERS)):
        raise ConfigError(f"--out: names with {BOOKS} or {LETTERS} at their end go with a topic; take another")
    return TopicOutput(place)


class TopicOutput:
    """An ``EngineOutput``; make it with ``open_topic_output``.

    Args:
        place: Of the topic.
    """

    def __init__(self, place: KafkaPlace) -> None:
        self.place = place
        self._known: TopicBooks | None = None

    @property
    def topic(self) -> str:
        """Its name."""
        return self.place.topic

    def check(self, read: Sequence[str]) -> None:
        """Refuses a topic that the stream reads."""
        mine = {self.topic, self.topic + BOOKS, self.topic + LETTERS}
        if mine & {parse_kafka_uri(uri).topic for uri in read if uri.startswith(KAFKA)}:
            raise ConfigError("--out: names a topic that the stream reads; protected records need a topic of their own")

    @contextmanager
    def launching(self, fresh: EngineSettings) -> Iterator[EngineSettings]:
        """Yields the settings of a launch. Who launches at the same time shuts the other one out, or is shut out."""
        make_topics(self.place, fresh.shards)
        self._known = TopicBooks(self.place, fresh.shards)
        standing = self._known.standing()
        if CLOSED in standing:
            raise ConfigError(f"the stream of {self.topic} has ended; name a new --out")
        if SETTINGS in standing:
            yield checked_settings(self._settings(standing), fresh)
            return
        if not is_empty(self.place):
            raise ConfigError(f"--out: {self.topic} has messages already, of another output; name a new topic")
        self._known.write(SETTINGS, json.dumps(asdict(fresh)).encode())
        if self.settings().run != fresh.run:
            raise OutputError(f"{self.topic}: another launcher of it began at the same time; stop one of them")
        yield fresh

    def settings(self) -> EngineSettings:
        """Returns the settings that stand."""
        standing = self._books.standing()
        if SETTINGS not in standing:
            raise ConfigError(f"{self.topic}: is no output of `consentry stream --runner`; name its --out")
        return self._settings(standing)

    def begin_launch(self, launch: str) -> None:
        """Lets one launch publish, and no other one: who has a shard loses it, and may not take it again."""
        self._books.write(LAUNCH, launch.encode())
        self._shut_out(self._books.shards)

    def published_ends(self, shards: int) -> Mapping[str, int]:
        """Returns by partition the offset before which all shards have published all records."""
        return common_ends([{} if last is None else last.note.offsets for last in self._last_notes(shards)])

    def consent_ends(self) -> Mapping[str, int]:
        """Returns by partition how far the topic of consents is in the ledger."""
        text = self._books.standing().get(CONSENTS, b"{}")
        try:
            return {str(name): int(end) for name, end in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            raise OutputError(f"kafka:{self._books.topic}: is damaged; begin a new --out") from None

    def note_consents(self, offsets: Mapping[str, int]) -> None:
        """Notes how far it is; of two that do at the same time one counts, and the other one is read again."""
        known = self.consent_ends()
        ends = furthest(known, offsets)
        if ends != known:
            self._books.write(CONSENTS, json.dumps(ends).encode())

    def shard(self, number: int, work: ShardWork) -> ShardTopic:
        """Returns where one shard publishes."""
        if work.sink is not None:
            raise RunError("a stream whose output is a topic sends to no other one; report it")
        self._known = self._known or TopicBooks(self.place, work.shards)
        return ShardTopic(self.place, self._known, number, work.launch, in_order=work.in_order)

    def sealing(self) -> nullcontext[None]:
        """Anybody may: the manifest that is sent last counts, and the next one is not far."""
        return nullcontext()

    def notes(self) -> list[ShardNote]:
        """Returns what is committed by now, a note for each shard that has published."""
        return [last.note for last in self._last_notes(self.settings().shards) if last is not None]

    def put(self, manifest: Manifest) -> None:
        """Sends the manifest to the books; not behind the last one of a stream that has ended meanwhile."""
        if self.settings().closed:
            raise ConfigError("the stream was closed meanwhile, and its manifest is the last one")
        self._books.write(MANIFEST, manifest.dumps().encode())

    def close(self, finish: Callable[[EngineSettings], None]) -> None:
        """Ends the stream for good. A shard that has its name in transactions already loses it."""
        settings = self.settings()
        if settings.closed:
            return
        self._books.write(CLOSED, b"true")
        self._shut_out(settings.shards)
        finish(settings)
        self._books.write(SETTINGS, json.dumps(asdict(replace(settings, closed=True))).encode())

    def hand_over(self, settings: EngineSettings, manifest: Manifest, *, clock: int) -> None:
        """Leaves nothing: a topic is not rewritten."""

    @property
    def _books(self) -> TopicBooks:
        if self._known is None:
            self._known = books_of(self.place)
        return self._known

    def _shut_out(self, shards: int) -> None:
        for number in range(shards):
            ShardTopic(self.place, self._books, number, "").shut_out()

    def _settings(self, standing: Mapping[str, bytes]) -> EngineSettings:
        try:
            return EngineSettings(**json.loads(standing[SETTINGS]))
        except (ValueError, TypeError):
            raise OutputError(f"kafka:{self._books.topic}: is damaged; begin a new --out") from None

    def _last_notes(self, shards: int) -> list[LastNote | None]:
        return [last_note(self._books, number) for number in range(shards)]

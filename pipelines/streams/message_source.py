"""A source of records made of a topic of messages and of what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from ...schemas.errors import InputError
from ..column_types import joint_schema
from ..splits import ReadBatch
from .sources import Messages, Offsets, Part, Taken, shared_parts

__all__ = ["MessageReader", "MessageSource", "MessageTopic", "Unread"]


class MessageTopic(Protocol):
    """Raw messages in partitions; see ``StreamSource`` for what its methods promise."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def first(self) -> Offsets:
        """Returns where to begin."""
        ...

    def ends(self, done: Offsets) -> Offsets:
        """Returns the offsets behind the newest messages.

        Args:
            done: Where reading goes on, for topics that read ahead; a partition that is not in it is new.
        """
        ...

    def messages(self, lane: int, parts: Sequence[Part]) -> Iterator[Messages]:
        """Yields the messages of some parts."""
        ...

    def commit(self, offsets: Offsets) -> None:
        """Tells what is processed."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class MessageReader(Protocol):
    """Makes rows of messages; used by one thread."""

    @property
    def columns(self) -> pa.Schema:
        """The columns that it knows by now."""
        ...

    def read(self, messages: Messages) -> Iterator[ReadBatch]:
        """Yields the rows of messages, and what could not become one."""
        ...


class Unread:
    """What of a topic is still to be read.

    Args:
        topic: Open.
    """

    def __init__(self, topic: MessageTopic) -> None:
        self._topic = topic
        self._first: Offsets | None = None

    def take(self, done: Offsets, most: int | None = None) -> Taken:
        """Returns the next messages of all partitions, of each its share, and how many are left.

        Args:
            done: What is processed, by partition.
            most: Messages altogether; None: all.
        """
        if self._first is None:
            self._first = self._topic.first()
        ends = self._topic.ends({**self._first, **done})
        if not ends.keys() <= {**self._first, **done}.keys():
            self._first = {**dict.fromkeys(ends, 0), **self._topic.first()}
        starts = {**self._first, **done}
        waiting = {partition: end - starts[partition] for partition, end in ends.items()}
        parts = shared_parts(starts, waiting, most)
        return Taken(parts, sum(waiting.values()) - sum(part.end - part.start for part in parts))


class MessageSource:
    """A ``StreamSource`` over a topic.

    Args:
        topic: Open.
        reader: Makes a reader that knows some columns.
    """

    def __init__(self, topic: MessageTopic, reader: Callable[[pa.Schema], MessageReader]) -> None:
        self._topic = topic
        self._make = reader
        self._columns = pa.schema([])
        self._readers: dict[int, MessageReader] = {}
        self._unread = Unread(topic)

    @property
    def name(self) -> str:
        """That of the topic."""
        return self._topic.name

    def know(self, columns: pa.Schema) -> None:
        """Has all lanes begin with some columns; those that know just these stay as they are."""
        self._columns = columns
        self._readers = {lane: reader for lane, reader in self._readers.items() if reader.columns.equals(columns)}

    def learned(self) -> tuple[pa.Schema, bool]:
        """Returns the columns that all lanes know together, and whether they agree about them.

        Where two lanes took a new field for different things, the lower one's word counts.
        """
        known, agreed = self._columns, True
        for lane in sorted(self._readers):
            try:
                known = _joint(known, self._readers[lane].columns)
            except InputError:
                known, agreed = _with_new(known, self._readers[lane].columns), False
        return known, agreed

    def take(self, done: Offsets, most: int) -> Taken:
        """Returns the next messages of all partitions, of each its share."""
        return self._unread.take(done, most)

    def read(self, lane: int, parts: Sequence[Part]) -> Iterator[ReadBatch]:
        """Yields the records of some parts, and what could not become one."""
        reader = self._readers.setdefault(lane, self._make(self._columns))
        for messages in self._topic.messages(lane, parts):
            yield from reader.read(messages)

    def commit(self, offsets: Offsets) -> None:
        """As the topic does."""
        self._topic.commit(offsets)

    def close(self) -> None:
        """Closes the topic."""
        self._topic.close()


def _joint(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    joint = joint_schema((("", one), ("", other)))
    return pa.schema([field for field in joint if field.name in one.names or field.name in other.names])


def _with_new(known: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Returns the known columns and, of the others, those of new names."""
    return pa.schema([*known, *(field for field in other if field.name not in known.names)])

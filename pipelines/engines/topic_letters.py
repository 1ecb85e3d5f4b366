"""The dead letters of an output that is a topic, as they stand on the topic beside it.

No manifest lists them, so whoever may write to the topic can add some. What a letter says of itself is bound to its
seal: none that was changed, or that another tenant sealed, can be opened.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from ...schemas.dead_letter import DEAD_LETTER_SCHEMA, DeadLetter
from ...schemas.errors import IntegrityError
from ..letters import StoredLetter, stored_letter
from ..streams.kafka_place import PATIENCE_SECONDS
from .topic_books import LETTERS
from .topic_messages import committed_messages
from .topic_output import open_topic_output

if TYPE_CHECKING:
    from confluent_kafka import Message

__all__ = ["topic_letters"]


def topic_letters(
    out: str, others: Callable[[str], None], *, patience: float = PATIENCE_SECONDS
) -> Iterator[list[StoredLetter]]:
    """Yields the letters that are committed, some at a time. What was sent again under its id counts once.

    Args:
        out: ``kafka://HOST:PORT/TOPIC``.
        others: Is told the place of each message that is no letter.
        patience: Seconds for which the broker may not answer.

    Raises:
        ConfigError: It is no output of a stream.
        RunError: The broker cannot be read.
    """
    output = open_topic_output(out)
    output.settings()
    seen: set[bytes] = set()
    for messages in committed_messages(output.place, output.topic + LETTERS, patience=patience):
        found = []
        for message in messages:
            letter, key = _letter_of(message), message.key() or b""
            if letter is None:
                others(f"{message.topic()}/{message.partition()}, offset {message.offset()}")
            elif key not in seen:
                seen.add(key)
                found.append(letter)
        yield found


def _letter_of(message: Message) -> StoredLetter | None:
    """Returns what a message holds; None where that is no letter, or a damaged one."""
    try:
        row = orjson.loads(message.value() or b"")
        fields = {name: row.get(name) for name in DEAD_LETTER_SCHEMA.names}
        fields["sealed"] = b64decode(fields["sealed"], validate=True)
        pa.RecordBatch.from_pylist([fields], DEAD_LETTER_SCHEMA)  # refuses what is of another type
        is_whole = all(fields[column.name] is not None for column in DEAD_LETTER_SCHEMA if not column.nullable)
        return stored_letter(DeadLetter(**fields)) if is_whole else None
    except (ValueError, TypeError, AttributeError, pa.ArrowException, IntegrityError):
        return None

"""Takes messages in: each is sealed before it goes anywhere, as a record that waits for consent or as a dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...schemas.dataset import FieldPath
from ...schemas.errors import SecretError
from ...transforms.consent_decision import EVENT_TIME_INVALID, event_times
from ...transforms.consent_decision import STAGE as DECIDE
from ...transforms.crypto.subject_references import subject_references
from ...transforms.nested_columns import numpy_bools
from ...transforms.record_parts import RecordParts
from ...transforms.sealed_records import PlacedRecords, RecordSealer
from ...transforms.stage import Stage
from ..json_records import JsonFault, Record
from ..splits import RejectedLine
from ..streams.json_messages import message_record
from ..streams.sources import WRONG_TYPE, Messages

__all__ = ["Intake", "TakenIn"]

READ = "read"


class TakenIn(NamedTuple):
    """What came of some messages; all of it is sealed.

    Attributes:
        records: Of ``SEALED_RECORD_SCHEMA``.
        letters: Of ``DEAD_LETTER_SCHEMA``.
    """

    records: pa.RecordBatch
    letters: tuple[pa.RecordBatch, ...]


class _Named(NamedTuple):
    """A record with its offset, and the texts of whose it is and when it happened."""

    offset: int
    record: Record
    subject: str | None
    event_time: str | None

    def __repr__(self) -> str:
        return "<_Named: values hidden>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("records hold raw values and cannot be copied before they are sealed")


class Intake:
    """Seals the messages of one topic of JSON objects; used by one thread.

    Args:
        stage: Open.
    """

    def __init__(self, stage: Stage) -> None:
        config = stage.config
        self._stage = stage
        self._subject = stage.dataset.subject
        self._event_time = stage.dataset.event_time
        self._sealer = RecordSealer(
            RecordParts(config.policy, config.dataset),
            stage.stores.data_keys,
            tenant=config.project.tenant,
            dataset=config.dataset,
            retain=config.policy.dead_letters.retain,
        )

    def take(self, messages: Messages, *, read_at: int) -> TakenIn:
        """Returns the records of messages sealed, and what cannot become one as dead letters.

        Args:
            messages: Of one partition.
            read_at: When they were there to be read, microseconds UTC.

        Raises:
            StoreError: The data keys cannot be used; nothing of it counts.
        """
        faulty: list[RejectedLine] = []
        named = list(self._named(messages, faulty))
        refs = subject_references(pa.array([each.subject for each in named], pa.string()), self._stage.reference_key)
        times, unreadable = event_times(pa.array([each.event_time for each in named], pa.string()), len(named))
        letters = [self._stage.sealer.seal_lines(faulty, messages.partition)] if faulty else []
        if unreadable.any():
            undated = [named[place] for place in np.flatnonzero(unreadable).tolist()]
            letters.append(self._stage.sealer.seal_lines(map(_undated, undated), messages.partition, stage=DECIDE))
        records = self._sealed(messages.partition, named, refs, times, ~unreadable, read_at)
        return TakenIn(records, _in_order(letters))

    def _sealed(
        self, partition: str, named: Sequence[_Named], refs: pa.Array, times: pa.Array, dated: Any, read_at: int
    ) -> pa.RecordBatch:
        chosen = pa.array(dated, pa.bool_())
        kept = [each for each, fits in zip(named, numpy_bools(chosen).tolist(), strict=True) if fits]
        placed = PlacedRecords(
            partition=partition,
            offsets=np.array([each.offset for each in kept], np.int64),
            records=[each.record for each in kept],
            subjects=refs.filter(chosen),
            event_times=times.filter(chosen),
        )
        return self._sealer.seal(placed, read_at=read_at)

    def _named(self, messages: Messages, faulty: list[RejectedLine]) -> Iterator[_Named]:
        for offset, value in zip(messages.offsets.tolist(), messages.values, strict=True):
            record = message_record(value)
            if isinstance(record, JsonFault):
                faulty.append(RejectedLine(position=offset, reason=record.value, raw=value or b""))
                continue
            try:
                yield _Named(offset, record, _text_at(record, self._subject), _text_at(record, self._event_time))
            except TypeError:
                faulty.append(RejectedLine(position=offset, reason=WRONG_TYPE, raw=b"", parsed=record))


def _text_at(record: Record, path: FieldPath) -> str | None:
    """Returns the text at a path, a whole number as it is spelled; None where there is nothing.

    Raises:
        TypeError: Something else is there, which names nobody and no instant.
    """
    value: Any = record
    for step in path.steps:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise TypeError
        value = value.get(step)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return str(value)


def _in_order(letters: Sequence[pa.RecordBatch]) -> tuple[pa.RecordBatch, ...]:
    """Returns all letters as one batch by offset: they are published so, and what is published tells of all before."""
    if not letters:
        return ()
    joined = pa.concat_batches(letters) if len(letters) > 1 else letters[0]
    return (joined.take(pc.sort_indices(joined["position"])),)


def _undated(named: _Named) -> RejectedLine:
    return RejectedLine(position=named.offset, reason=EVENT_TIME_INVALID, raw=b"", parsed=named.record)

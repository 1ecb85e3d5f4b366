"""How Beam encodes record batches: as an Arrow IPC stream. Importing this module registers the coder.

Without it Beam pickles, and the pickle of a slice carries the whole buffers of its parent; without ``estimate_size``
Beam encodes batches only to learn their size. A step uses it only where it is declared
``.with_output_types(pa.RecordBatch)``.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders.typecoders import registry

from .plain_layouts import shares_parts, trimmed_batch

__all__ = ["RecordBatchCoder"]

_OVERHEAD = 1024


class RecordBatchCoder(beam.coders.Coder):
    """Encodes a ``pa.RecordBatch`` with its schema and metadata; of a slice, only what its rows show.

    A batch and its copy encode to the same bytes. Equal batches may not, because bytes under a null are free: Beam
    therefore refuses batches as keys.
    """

    def __init__(self) -> None:
        self._last_schema: tuple[pa.Schema | None, bool] = (None, False)

    def encode(self, value: pa.RecordBatch) -> bytes:
        """Returns the batch as one IPC stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(self._trimmed(value))
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        """Returns the batch; its buffers lie in ``encoded`` and are not copied."""
        with pa.ipc.open_stream(pa.py_buffer(encoded)) as reader:
            return reader.read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        """Returns about how many bytes ``encode`` gives, without encoding."""
        return int(self._trimmed(value).nbytes) + _OVERHEAD

    def _trimmed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Trims batches of schemas that need it; to walk a schema can take as long as to encode a small batch."""
        known, shared = self._last_schema
        if known is None or not batch.schema.equals(known):
            shared = shares_parts(batch.schema)
            self._last_schema = batch.schema, shared
        return trimmed_batch(batch) if shared else batch

    def is_deterministic(self) -> bool:
        """Returns False: see the class."""
        return False

    def to_type_hint(self) -> Any:
        """Returns the type that this coder is registered for."""
        return pa.RecordBatch

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


registry.register_coder(pa.RecordBatch, RecordBatchCoder)

"""What travels in a pipeline's graph, readable: Beam packs pickled functions by bzip2 and base64."""

from __future__ import annotations

import base64
import bz2
import re

__all__ = ["readable"]

PACKED = re.compile(base64.b64encode(b"BZh9\0\0")[:5] + rb"[0-9A-Za-z+/]+={0,2}")


def readable(graph: bytes) -> bytes:
    """The serialized graph and behind it each pickle in it, unpacked."""
    pickles = [bz2.decompress(base64.b64decode(packed)) for packed in PACKED.findall(graph)]
    assert pickles, "Beam packs its functions in another way by now"
    return b"\n".join((graph, *pickles))

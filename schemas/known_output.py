"""An output that a project knows of, and which versions of the ``token`` keys its tokens need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KnownOutput"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOutput:
    """An output, or a run that makes one.

    Attributes:
        place: Absolute path, or URI.
        run: Id of the run that made it.
        dataset: What its records are.
        published: False while its run is at work.
        versions: By token domain, the key version of its tokens.
        noted_at: Microseconds UTC.
        also: Domains and versions that it may have besides, while its tokens are being moved.
        machine: Name of the machine that a path is of, if it is another than this.
    """

    place: str
    run: str
    dataset: str
    published: bool
    versions: Mapping[str, int]
    noted_at: int
    also: frozenset[tuple[str, int]] = frozenset()
    machine: str = ""

    @property
    def needs(self) -> frozenset[tuple[str, int]]:
        """All domains and versions that its tokens are of, or may be."""
        return frozenset(self.versions.items()) | self.also

    @property
    def told(self) -> str:
        """Where it is, for people."""
        return f"{self.place} on {self.machine}" if self.machine else self.place

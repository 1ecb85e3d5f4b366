"""How many records an epoch may have: few enough to be done in time and to fit into memory, as many as that allows.

While more waits than an epoch takes, no record is in time anyhow; then epochs grow, because big ones cost less.
"""

from __future__ import annotations

__all__ = ["EpochSizes"]

FIRST, FEWEST, MOST = 5_000, 500, 1_000_000
FORGETTING = 0.8
"""How much of what is known counts after another epoch."""
GROWTH = 4
CATCHING_UP = 16
"""Times that an epoch may take longer while it is behind."""
COPIES = 6
"""How often the bytes of a record are in memory at once: as read, as rows, as tokens, in files."""


class EpochSizes:
    """Follows what epochs took: a fixed time each, and some for each record.

    Where even an empty epoch takes longer than it may, the fixed time is given as long again for records.

    Args:
        latency: Seconds that an epoch may take.
        memory: Bytes that its records may take.
    """

    def __init__(self, *, latency: float, memory: int) -> None:
        self._latency = self._allowed = latency
        self._memory = memory
        self._size = FIRST
        self._record_bytes = 0.0
        self._weight = self._records = self._seconds = self._squares = self._products = 0.0

    @property
    def most(self) -> int:
        """Records that the next epoch may have."""
        fitting = MOST if not self._record_bytes else int(self._memory / (COPIES * self._record_bytes))
        return max(1, min(max(self._size, FEWEST), fitting, MOST))

    def note(self, *, records: int, read_bytes: int, seconds: float, lag: int) -> None:
        """Learns from an epoch.

        Args:
            records: That it had.
            read_bytes: Of them all.
            seconds: That it took.
            lag: Records that were left waiting when it began.
        """
        if not records:
            return
        self._allowed = min(2 * self._allowed, CATCHING_UP * self._latency) if lag > records else self._latency
        self._record_bytes = max(read_bytes / records, 0.9 * self._record_bytes)
        for name, value in (
            ("_weight", 1.0),
            ("_records", records),
            ("_seconds", seconds),
            ("_squares", records * records),
            ("_products", records * seconds),
        ):
            setattr(self, name, FORGETTING * getattr(self, name) + value)
        fixed, each = self._line()
        room = max(self._allowed - fixed, fixed)
        self._size = min(int(room / max(each, 1e-9)), GROWTH * max(records, self._size // GROWTH, FEWEST))

    def _line(self) -> tuple[float, float]:
        """Returns the fixed seconds of an epoch, and those of a record (least squares, the newest counting most)."""
        spread = self._weight * self._squares - self._records**2
        mean = self._seconds / self._records
        if spread <= 1e-6 * self._records**2:  # all of one size: nothing tells the two apart
            return 0.0, mean
        each = (self._weight * self._products - self._records * self._seconds) / spread
        if each <= 0:
            return self._seconds / self._weight, mean / GROWTH
        return max(0.0, (self._seconds - each * self._records) / self._weight), each

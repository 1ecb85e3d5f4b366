from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.transforms.window import GlobalWindow
from consentry.schemas.errors import SecretError, StoreError
from consentry.transforms import vaulting
from consentry.transforms.stores.vault import Candidates
from consentry.transforms.tally import Tally
from consentry.transforms.vaulting import WaitingBatches

BATCH = pa.record_batch({"card": ["4000 0000 token"] * 10})
WINDOWS = (GlobalWindow(),)
CANDIDATES = Candidates(
    domain="card",
    key_version=1,
    tokens=pa.array(["token"]),
    values=pa.array(["CANARY"]),
    refs=pa.array([bytes(16)], pa.binary(16)),
    event_times=np.zeros(1, np.int64),
)


class Books:
    """A stage as far as waiting batches know one; writes down what it is to keep."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.fails = False

    def keep(self, candidates: Any) -> Tally:
        if self.fails:
            raise StoreError("the vault is locked")
        self.kept.append(len(candidates))
        return Tally({("vault", "written"): len(candidates)})


def test_the_vault_is_written_once_before_any_batch_goes_on() -> None:
    books = Books()
    waiting = WaitingBatches(books)  # type: ignore[arg-type]
    for time in (1, 2, 3):
        waiting.add(BATCH, [CANDIDATES], time, WINDOWS)
    released = waiting.release()
    assert books.kept == []
    tally = next(released)
    assert books.kept == [3] and tally.value.value.counts == {("vault", "written"): 3}
    assert [(each.value, each.timestamp, each.windows) for each in released] == [(BATCH, t, WINDOWS) for t in (1, 2, 3)]
    assert list(waiting.release()) == [] and books.kept == [3]


def test_nothing_goes_on_where_the_vault_cannot_be_written() -> None:
    books = Books()
    waiting = WaitingBatches(books)  # type: ignore[arg-type]
    waiting.add(BATCH, [CANDIDATES], 1, WINDOWS)
    books.fails = True
    with pytest.raises(StoreError):
        next(waiting.release())
    books.fails = False
    assert len(list(waiting.release())) == 2


@pytest.mark.parametrize(("limit", "value"), [("MOST_ROWS", 30), ("MOST_BYTES", 3 * BATCH.nbytes)])
def test_so_many_rows_or_bytes_wait_and_no_more(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(vaulting, limit, value)
    waiting = WaitingBatches(Books())  # type: ignore[arg-type]
    for full in (False, False, True):
        waiting.add(BATCH, [CANDIDATES], 1, WINDOWS)
        assert waiting.full is full
    list(waiting.release())
    assert not waiting.full


def test_what_waits_is_neither_shown_nor_pickled() -> None:
    waiting = WaitingBatches(Books())  # type: ignore[arg-type]
    waiting.add(BATCH, [CANDIDATES], 1, WINDOWS)
    assert "CANARY" not in repr(waiting) and "token" not in repr(waiting)
    with pytest.raises(SecretError, match="raw values"):
        pickle.dumps(waiting)

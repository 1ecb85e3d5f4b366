"""Shows readers what the journal of a stream has sealed: files take their places, then the manifest is exchanged.

Whatever is shown was sealed before in one transaction, and is noted as done afterwards. So what a program finds sealed
and not done when it starts was interrupted, and is shown again; what is in its place already stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...schemas.manifest import Manifest
from ...transforms.crypto.key_sets import ProofKeys
from ...transforms.stage import StageConfig
from ..manifest_file import sign_manifest
from ..sinks import Receipt
from .epochs import Epoch
from .journal import Journal, Merge, Replay, Topic
from .output import StreamOutput
from .stream_manifest import StreamState, stream_manifest

__all__ = ["StreamPublication"]


class StreamPublication:
    """Shows epochs, merges and replays of one output, which is locked.

    Args:
        config: Of the stream; instant and ledger position are those of the last epoch or replay.
        state: Of the stream.
        journal: Of the output.
        output: Locked.
        keys: Sign the manifest.
        clock: Microseconds UTC.
    """

    def __init__(
        self,
        config: StageConfig,
        state: StreamState,
        *,
        journal: Journal,
        output: StreamOutput,
        keys: ProofKeys,
        clock: Callable[[], int],
    ) -> None:
        self._config = config
        self._state = state
        self._journal = journal
        self._output = output
        self._keys = keys
        self._clock = clock

    def recover(self) -> None:
        """Brings a merge or a replay to its end if it was interrupted."""
        if (merge := self._journal.sealed_merge()) is not None:
            self.show_merge(merge)
        if (replay := self._journal.sealed_replay()) is not None:
            self.show_replay(replay)

    def show_epoch(self, epoch: Epoch, receipts: Sequence[Receipt]) -> None:
        """Shows the files of a sealed epoch."""
        self._output.reveal(receipts)
        self._write_manifest()
        self._journal.finish(epoch)

    def show_merge(self, merge: Merge) -> None:
        """Shows a sealed merge."""
        self._output.show_merge(merge)
        self._write_manifest()
        self._journal.finish_merge()
        self._output.forget_merge()

    def show_replay(self, replay: Replay) -> Manifest:
        """Shows a sealed replay, and returns the manifest."""
        self._output.reveal(replay.made)
        manifest = self._write_manifest()
        self._output.remove(replay.gone)
        self._journal.finish_replay()
        return manifest

    def _write_manifest(self) -> Manifest:
        epoch = self._journal.last_sealed()
        assert epoch is not None, "what is sealed has files, and the first ones are of an epoch"
        now, position = max((epoch.now, epoch.ledger_position), self._journal.replayed() or (0, 0))
        manifest = stream_manifest(
            self._state,
            replace(self._config, now=now, ledger_position=position),
            self._journal.outcome(),
            columns=self._journal.columns(),
            epochs=epoch.number,
            offsets=self._journal.offsets(Topic.RECORDS),
            finished_at=max(self._clock(), epoch.started_at),
        )
        signed = sign_manifest(manifest, self._keys)
        self._output.write_manifest(signed.dumps())
        return signed

"""The manifest of a stream on an engine: what its shards have published so far, summed up and signed by a launcher.

Workers never hold the key that signs. A shard that is taken over takes files back, and until the manifest is made again
it lists some that are gone for a moment; a launcher makes it again every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...schemas.errors import ConfigError
from ...schemas.manifest import KeyVersions, Manifest, MessageChain
from ...schemas.policy import Policy
from ...schemas.project import Project
from ...transforms.crypto.key_sets import ProofKeys
from ...transforms.stage import StageConfig
from ...transforms.tally import merge
from ..manifest_file import sign_manifest
from ..outcome import Outcome
from ..streams.stream_manifest import StreamState, stream_manifest
from .outputs import EngineOutput
from .settings import EngineSettings
from .shard_notes import ShardNote, ends_of, joint_columns
from .topic_chains import message_chains

__all__ = ["EngineManifests"]


class EngineManifests:
    """Makes the manifests of one output; used by one thread. Notes that it has read it does not read again.

    Args:
        project: Of the stream.
        policy: In force.
        keys: Sign.
        output: Of the stream.
    """

    def __init__(self, project: Project, policy: Policy, keys: ProofKeys, output: EngineOutput) -> None:
        self._project = project
        self._policy = policy
        self._keys = keys
        self._output = output

    def seal(self, *, clock: int) -> Manifest | None:
        """Writes the manifest of what is published now, and returns it; None where nothing is.

        Args:
            clock: Microseconds UTC.

        Raises:
            ConfigError: The stream was closed: what has rewritten its output since would be undone.
            RunError: The books do not balance.
            OutputError: A note is damaged.
        """
        settings = self._output.settings()
        if settings.closed:
            raise ConfigError("the stream was closed, and its manifest is the last one; there is nothing to sign")
        with self._output.sealing():  # a launcher and `stream seal` may do it at a time
            notes = self._output.notes()
            if not notes:
                return None
            manifest = sign_manifest(self._manifest(settings, notes, clock), self._keys)
            self._output.put(manifest)
        return manifest

    def hand_over(self, settings: EngineSettings, *, clock: int) -> None:
        """Seals for the last time, and makes what rewritings of the output go by.

        Args:
            settings: Of the output.
            clock: Microseconds UTC.
        """
        manifest = self.seal(clock=clock)
        if manifest is not None:
            self._output.hand_over(settings, manifest, clock=clock)

    def _manifest(self, settings: EngineSettings, notes: Sequence[ShardNote], clock: int) -> Manifest:
        config = StageConfig(
            project=self._project,
            policy=self._policy,
            dataset=settings.dataset,
            now=max(note.now for note in notes),
            ledger_position=max(note.ledger_position for note in notes),
            key_version=settings.key_version,
            started_at=settings.started_at,
        )
        state = StreamState(
            run=settings.run,
            source=settings.source,
            key_versions=KeyVersions(**settings.key_versions),
            started_at=settings.started_at,
        )
        receipts = tuple(receipt for note in notes for receipt in note.outcome.receipts)
        manifest = stream_manifest(
            state,
            config,
            Outcome(merge(note.outcome.tally for note in notes), receipts),
            columns=joint_columns(notes),
            epochs=sum(note.publications for note in notes),
            offsets=ends_of(notes),
            finished_at=max(clock, settings.started_at),
        )
        topic = self._output.topic
        return manifest if topic is None else manifest.model_copy(update={"topic": topic, "chains": _chains(notes)})


def _chains(notes: Sequence[ShardNote]) -> tuple[MessageChain, ...]:
    found = [chain for note in notes for chain in message_chains(note.chains)]
    return tuple(sorted(found, key=lambda chain: (chain.topic, chain.partition, chain.shard)))

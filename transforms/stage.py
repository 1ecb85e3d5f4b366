"""What a protecting worker needs open: keys, the ledger as of one position, the vault, the sealer of dead letters.

``StageConfig`` travels to the workers and holds no secret. ``SharedStage`` opens it there, once in a process however
many threads work; only tokenizers are made for each thread, because a cipher context must not be shared.
"""

# mypy: disable-error-code="name-defined, no-untyped-call, misc"
from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils.shared import Shared

from ..schemas.errors import SecretError
from ..schemas.policy import Policy
from ..schemas.project import Project
from .access.detokenize import distribution_rules, oldest_kept
from .crypto.key_sets import TokenKeys, VaultKeys
from .crypto.keyring import Keyring, KeySet, KeyState
from .crypto.open_kek import open_kek
from .crypto.subject_references import subject_reference
from .dead_letters import Sealer
from .detectors.recognizers import Recognizer, open_recognizers
from .failures import guarded
from .protection_plan import ProtectionPlan, dataset_of, dropped_paths, needed_purposes, plan_protection
from .stores.consent_ledger import ConsentLedger, open_ledger
from .stores.consent_snapshot import ConsentSnapshot
from .stores.data_keys import DataKeys, open_data_keys
from .stores.vault import Candidates, Vault, open_vault
from .tally import Tally
from .tokens.open_tokenizer import open_tokenizer
from .tokens.tokenizer import Tokenizer

__all__ = ["OpenStores", "SharedStage", "Stage", "StageConfig", "StageFn", "StageOpener", "open_stage", "settle_stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """What a run has settled on; picklable, without secrets.

    Attributes:
        project: Says where keys and stores are.
        policy: Read and checked.
        dataset: Name of the dataset.
        now: Microseconds UTC, one instant for all decisions of the run.
        ledger_position: The entry of the consent ledger up to which decisions know it.
        key_version: Version of the ``token`` key set that makes the tokens.
        with_vault: Whether permitted raw values are vaulted.
        started_at: Microseconds UTC by the clock, for the keys of dead letters; None: ``now``.
    """

    project: Project
    policy: Policy
    dataset: str
    now: int
    ledger_position: int
    key_version: int
    with_vault: bool = True
    started_at: int | None = None


def settle_stage(
    project: Project,
    policy: Policy,
    dataset: str,
    *,
    now: int,
    with_vault: bool = True,
    started_at: int | None = None,
    vault_keys: VaultKeys | None = None,
) -> StageConfig:
    """Returns the config of a run that starts now: the newest ledger position, the primary token keys.

    Args:
        project: Says where keys and stores are.
        policy: Read and checked.
        dataset: Name of the dataset.
        now: As in the config.
        with_vault: As in the config.
        started_at: As in the config.
        vault_keys: The project's, where the caller has them open; None: they are unlocked for this call.

    Raises:
        ConfigError: The policy has no such dataset.
        PrivacyError: Keyring or ledger cannot be used.
    """
    dataset_of(policy, dataset)
    open_recognizers(project.detectors)  # none is missed only when the run has begun
    keyring = Keyring.load(project.keyring)
    version = next(
        status.version
        for status in keyring.status()
        if status.key_set is KeySet.TOKEN and status.state is KeyState.PRIMARY
    )
    keys = vault_keys or keyring.unlock_vault(open_kek(project.kek["vault"], project.root))
    with ExitStack() as opened:
        data_keys = opened.enter_context(closing(open_data_keys(project.data_keys, keys)))
        ledger = opened.enter_context(closing(open_ledger(project.ledger, keys, data_keys)))
        position = ledger.position()
    return StageConfig(
        project=project,
        policy=policy,
        dataset=dataset,
        now=now,
        ledger_position=position,
        key_version=version,
        with_vault=with_vault,
        started_at=started_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OpenStores:
    """Keys and stores of a project, opened once in a process for all stages that work there. Never pickled."""

    token_keys: TokenKeys
    vault_keys: VaultKeys
    data_keys: DataKeys
    ledger: ConsentLedger
    vault: Vault | None

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("open stores hold keys and cannot be copied")


class Stage:
    """An open stage; shared by the threads of a process. Make it with ``open_stage``.

    Args:
        config: What the run has settled on.
        stores: Those of its project.

    Attributes:
        config: What the run has settled on.
        dataset: The dataset that it protects.
        stores: Keys and stores, open.
        purposes: Those that decide about its records.
        snapshot: The consent ledger as of the run's position.
        reference_key: Keys the references to subjects.
        sealer: Makes dead letters.
    """

    opened_by: object = None

    def __init__(self, config: StageConfig, stores: OpenStores) -> None:
        self.config = config
        self.stores = stores
        self.dataset = dataset_of(config.policy, config.dataset)
        self.purposes = needed_purposes(config.policy, config.dataset)
        self.snapshot: ConsentSnapshot = stores.ledger.snapshot(config.ledger_position)
        self.reference_key = stores.vault_keys.reference_key
        self._rules = distribution_rules(config.policy)
        self._oldest = oldest_kept(config.policy, config.now if config.started_at is None else config.started_at)
        self.sealer = Sealer(
            stores.data_keys,
            tenant=config.project.tenant,
            dataset=config.dataset,
            subject=self.dataset.subject,
            dropped=dropped_paths(config.policy, config.dataset),
            retain=config.policy.dead_letters.retain,
            now=config.now if config.started_at is None else config.started_at,
            reference=partial(subject_reference, key=self.reference_key),
        )

    def plan(self, schema: pa.Schema) -> ProtectionPlan:
        """Returns the plan for batches of a schema."""
        return plan_protection(self.config.policy, self.config.dataset, schema, key_version=self.config.key_version)

    def tokenizers(self, plan: ProtectionPlan) -> Mapping[str, Tokenizer]:
        """Returns new tokenizers for a plan, by domain, for one thread."""
        version = self.config.key_version
        return {
            domain: open_tokenizer(rule, self.stores.token_keys, version=version)
            for domain, rule in plan.domains().items()
        }

    def recognizers(self) -> tuple[Recognizer, ...]:
        """Returns new detectors of other makers for free text, for one thread.

        Raises:
            ConfigError: One is not installed.
        """
        return open_recognizers(self.config.project.detectors)

    def keep(self, candidates: Sequence[Candidates]) -> Tally:
        """Writes to the vault what the ledger still permits, and returns what came of it."""
        if self.stores.vault is None or not candidates:
            return Tally()
        config = self.config
        written = self.stores.vault.write(
            [each.since(self._oldest[each.domain]) if each.domain in self._oldest else each for each in candidates],
            ledger=self.stores.ledger,
            rules=self._rules,
            now=config.now,
            clock=config.now if config.started_at is None else config.started_at,
        )
        outcomes = ("written", "refreshed", "present", "refused")
        return Tally({("vault", name): count for name in outcomes if (count := getattr(written, name))})

    def follow_ledger(self, clock: int) -> int:
        """Has the vault follow the ledger, and returns how many entries lost their last permission.

        Args:
            clock: Microseconds UTC.
        """
        vault = self.stores.vault
        return 0 if vault is None else vault.follow(self.stores.ledger, self._rules, clock)

    def __repr__(self) -> str:
        return f"Stage(dataset={self.config.dataset!r})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("an open stage holds keys and cannot be copied; pass its config and open it where it is used")


def open_stage(config: StageConfig, vault_keys: VaultKeys | None = None) -> Stage:
    """Returns the stage, with its keys unwrapped and its stores open.

    Args:
        config: What the run has settled on.
        vault_keys: The project's, where the caller has them open; None: they are unlocked.

    Raises:
        PrivacyError: A key, a store or the ledger cannot be used.
    """
    return Stage(config, _open_stores(config, vault_keys))


def _open_stores(config: StageConfig, vault_keys: VaultKeys | None) -> OpenStores:
    project = config.project
    keyring = Keyring.load(project.keyring)
    vault_keys = vault_keys or keyring.unlock_vault(open_kek(project.kek["vault"], project.root))
    token_keys = keyring.unlock_token(open_kek(project.kek["token"], project.root))
    data_keys = open_data_keys(project.data_keys, vault_keys)
    return OpenStores(
        token_keys=token_keys,
        vault_keys=vault_keys,
        data_keys=data_keys,
        ledger=open_ledger(project.ledger, vault_keys, data_keys),
        vault=open_vault(project.vault, vault_keys, data_keys) if config.with_vault else None,
    )


@dataclass(frozen=True, slots=True)
class SharedStage:
    """A stage to be opened once in each process; all steps of a pipeline take the same one."""

    config: StageConfig
    _shared: Shared = field(default_factory=Shared, repr=False, compare=False)

    @guarded("open")
    def open(self) -> Stage:
        """Returns the stage of this process."""
        stage: Stage = self._shared.acquire(_Opened).stage(self.config)
        return stage

    def lend(self, vault_keys: VaultKeys) -> object:
        """Lets the stage of this process, once it is opened, use keys that the caller has: no KEK is asked twice.

        Args:
            vault_keys: Of the stage's project.

        Returns:
            What the caller holds as long as keys are lent. Workers of other processes unlock their own.
        """
        return self._shared.acquire(lambda: _Opened(vault_keys))

    def settled_anew(self, config: StageConfig) -> SharedStage:
        """Returns the same for a later part of a run; a process that has opened this one opens no store again.

        Args:
            config: Of the same project, with or without the vault as before.
        """
        return SharedStage(config, self._shared)


class _Opened:
    """What a process has open: the stores of a project, and the stage that was asked for last.

    Args:
        vault_keys: Open already; None: they are unlocked with the others.
    """

    def __init__(self, vault_keys: VaultKeys | None = None) -> None:
        self._vault_keys = vault_keys
        self._lock = threading.Lock()
        self._stores: OpenStores | None = None
        self._stage: Stage | None = None

    def stage(self, config: StageConfig) -> Stage:
        with self._lock:
            if self._stage is None or (self._stage.config is not config and self._stage.config != config):
                self._stores = self._stores or _open_stores(config, self._vault_keys)
                self._stage = Stage(config, self._stores)
                # ``Shared`` keeps what somebody holds: while a step has the stage, the stores stay open.
                self._stage.opened_by = self
            return self._stage

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretError("open stores hold keys and cannot be copied")


class StageOpener(Protocol):
    """What gives the threads of a process their stage; travels to them."""

    def open(self) -> Stage:
        """Returns the stage of this process."""
        ...


class StageFn(beam.DoFn):
    """Base of steps that work with an open stage; it is ``self.stage`` after ``setup``."""

    stage: Stage

    def __init__(self, shared: StageOpener) -> None:
        super().__init__()
        self._shared = shared

    def setup(self) -> None:
        """Opens the stage, or joins the one that is open in this process."""
        self.stage = self._shared.open()

"""Moves the tokens of an output to another key version, with the vault's entries, so that the old version can go.

The order is such that every token that a reader sees can be detokenized at every instant: first the entries are sealed
anew beside the old ones, then the output changes at one moment, then the old entries go, unless another output that
the project knows of still has tokens of theirs. Killed anywhere, it is run again and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from ..schemas.errors import KeyringError
from ..schemas.info_types import TokenizeRule
from ..schemas.manifest import Manifest
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..schemas.store_uri import POSTGRESQL
from ..transforms.crypto.key_sets import ProofKeys, TokenKeys
from ..transforms.retokenization import MovingTokens, retokenize_batch, retokenized_schema
from ..transforms.tally import Tally
from .desk import Stores, check_stores, distribution_rules, open_stores
from .keyring_files import open_proof_keys, open_token_keys
from .known_outputs import KnownOutput, KnownOutputs, open_known_outputs
from .output_rewrite import MakeRewriting, rewrite_output
from .output_versions import domains_in, is_as_found, known_from_output, known_output
from .streams.output import is_stream_output

__all__ = ["Retokenized", "retokenize_output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retokenized:
    """What came of it.

    Attributes:
        manifest: Of the output as it is now.
        version: Of its tokens.
        copied: Vault entries that were sealed for the new tokens.
        dropped: Vault entries of old tokens that went.
        waiting: Outputs for whose sake old entries stay, by the versions that they have.
    """

    manifest: Manifest
    version: int
    copied: int
    dropped: int
    waiting: Mapping[str, tuple[int, ...]]


def retokenize_output(
    project: Project,
    out: str,
    *,
    version: int | None = None,
    keep_entries: bool | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Retokenized:
    """Moves the tokens of an output to a key version, by default the primary one.

    Args:
        project: Names policy, keys and stores; needs the ``token``, ``vault`` and ``proof`` key sets.
        out: An output of ``protect``, or of a stream that is stopped, which goes on under the new version.
        version: Of the ``token`` key set.
        keep_entries: Whether the vault keeps the entries of old tokens in any case: for copies of the output that the
            project does not know of. By default it does where the list of outputs is not that of all machines.
        clock: Microseconds UTC.

    Raises:
        ConfigError: There is no such output, or the policy does not know its tokens any more; nothing was done.
        KeyringError: A version cannot be used; nothing was done.
        OutputError: The output cannot be exchanged; nothing was done.
        IntegrityError: Output or vault are not as they were left.
        RunError: It failed; the output is as it was.
    """
    policy = read_policy(project.policy)
    keys, token_keys = open_proof_keys(project), open_token_keys(project)
    new = _usable(token_keys, version)
    check_stores(project)
    with open_stores(project) as stores, closing(open_known_outputs(project)) as known:
        vault = _VaultMove(stores, policy, token_keys, new, clock)

        def rewriting_of(manifest: Manifest) -> _Rewriting:
            return _Rewriting(manifest, policy, token_keys, vault, new)

        _note_both(known, known_from_output(project, policy, out), new)
        manifest = _rewritten(project, out, rewriting_of, keys, stores, new, clock)
        known.note(known_output(manifest, policy, out, noted_at=clock()))
        if not (_may_miss_some(project, known) if keep_entries is None else keep_entries):
            vault.drop_old(lambda pair: any(pair in each.needs for each in known.all()))
        waiting = _waiting(known, new)
    return Retokenized(
        manifest=manifest,
        version=new,
        copied=vault.copied,
        dropped=vault.dropped,
        waiting={each.told: tuple(sorted({version for _, version in each.needs} - {new})) for each in waiting},
    )


def _rewritten(
    project: Project,
    out: str,
    make: MakeRewriting,
    keys: ProofKeys,
    stores: Stores,
    version: int,
    clock: Callable[[], int],
) -> Manifest:
    if not is_stream_output(out):
        return rewrite_output(project, out, make, keys=keys, clock=clock)
    from .streams.stream_rewrite import rewrite_stream_output

    position = stores.ledger.position()
    return rewrite_stream_output(
        project, out, make, keys=keys, now=clock(), ledger_position=position, key_version=version, clock=clock
    )


class _Rewriting:
    """What becomes of the rows of the output; see ``output_rewrite.Rewriting``."""

    def __init__(self, manifest: Manifest, policy: Policy, keys: TokenKeys, vault: _VaultMove, version: int) -> None:
        self._moving = MovingTokens(policy, keys, version, as_found=is_as_found(policy, manifest.dataset))
        self._manifest = manifest
        self._policy = policy
        self._version = version
        self._vault = vault
        self._schema: pa.Schema | None = None

    def schema(self, schema: pa.Schema) -> pa.Schema:
        self._schema = retokenized_schema(schema, self._version)
        return self._schema

    def rewrite(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        changed = retokenize_batch(batch, self._schema, self._moving)
        return batch if changed.equals(batch, check_metadata=True) else changed

    def tally(self) -> Tally:
        return Tally()

    def outdated(self, manifest: Manifest) -> bool:
        return manifest.key_versions.token != self._version

    def before_shown(self) -> None:
        """Has the vault ready for the new tokens before anybody sees them."""
        self._vault.copy_all(domains_in(self._manifest, self._policy))

    def told(self, manifest: Manifest) -> Manifest:
        fields = {
            path: each if each.key_version is None else each.model_copy(update={"key_version": self._version})
            for path, each in manifest.fields.items()
        }
        versions = manifest.key_versions.model_copy(update={"token": self._version})
        return manifest.model_copy(update={"fields": fields, "key_versions": versions})


class _VaultMove:
    """The vault's way to the new version: all domains of the policy."""

    def __init__(self, stores: Stores, policy: Policy, keys: TokenKeys, version: int, clock: Callable[[], int]) -> None:
        self._vault = stores.vault
        self._stores, self._policy, self._clock = stores, policy, clock
        self._moving = MovingTokens(policy, keys, version)
        self._domains = {rule.domain for rule in policy.info_types.values() if isinstance(rule, TokenizeRule)}
        self._version = version
        self.copied = self.dropped = 0

    def copy_all(self, domains: Collection[str]) -> None:
        """Seals the domains' entries of other versions for their tokens of the new one."""
        self._follow()
        for domain, old in self._old():
            if domain in domains:
                self._copy(domain, old)

    def drop_old(self, is_needed: Callable[[tuple[str, int]], bool]) -> None:
        """Removes the entries of other versions, copied once more, but for those that are needed."""
        self._follow()
        for domain, old in self._old():
            if not is_needed((domain, old)):
                copied, dropped = self._vault.replace_version(
                    domain,
                    old,
                    self._version,
                    _DomainMove(self._moving, domain, old),
                    is_needed=partial(is_needed, (domain, old)),
                )
                self.copied += copied
                self.dropped += dropped

    def _follow(self) -> None:
        self._vault.follow(self._stores.ledger, distribution_rules(self._policy), self._clock())

    def _old(self) -> list[tuple[str, int]]:
        found = sorted(self._vault.counts())
        return [(domain, old) for domain, old in found if old != self._version and domain in self._domains]

    def _copy(self, domain: str, old: int) -> None:
        self.copied += self._vault.copy_version(domain, old, self._version, _DomainMove(self._moving, domain, old))


@dataclass(frozen=True, slots=True)
class _DomainMove:
    """The way of one domain's tokens from a version to the new one; see ``vault.TokenMove``."""

    moving: MovingTokens
    domain: str
    old: int

    def moved(self, tokens: pa.StringArray) -> pa.StringArray:
        return self.moving.in_domain(self.domain, self.old, tokens)

    def check(self, tokens: pa.StringArray, values: pa.StringArray) -> None:
        self.moving.check_values(self.domain, self.old, tokens, values)


def _usable(keys: TokenKeys, version: int | None) -> int:
    new = keys.primary if version is None else version
    if new not in keys.versions:
        usable = ", ".join(map(str, keys.versions))
        raise KeyringError(f"--to-version {new}: is unknown, disabled or destroyed; name one of: {usable}")
    return new


def _waiting(known: KnownOutputs, version: int) -> list[KnownOutput]:
    """Returns the outputs and runs that have tokens of another version."""
    return [each for each in known.all() if {used for _, used in each.needs} - {version}]


def _note_both(known: KnownOutputs, output: KnownOutput, version: int) -> None:
    """Has an output known as one of both versions, until all of it is of the new one."""
    mine = [each for each in known.all() if each.place == output.place and not each.machine]
    for each in [each for each in mine if each.published] or [output]:
        domains = {domain for domain, _ in each.needs | output.needs}
        known.note(replace(each, also=each.needs | {(domain, version) for domain in domains}))


def _may_miss_some(project: Project, known: KnownOutputs) -> bool:
    """Whether other machines may have outputs that are not on the list, and whose tokens are in the vault."""
    is_shared = project.vault.startswith(f"{POSTGRESQL}:")
    return is_shared and not (project.outputs == project.vault and known.is_complete)

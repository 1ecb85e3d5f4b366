"""The keyring: three key sets in one small JSON file, each wrapped on its own by a key-encryption key.

The file shows in clear what is no secret (tenant, versions, their states and ages, public keys) and holds the rest
wrapped. A checksum refuses damage at loading; what someone changed on purpose is refused at unlocking, because a set's
whole public part is its wrapping's associated data. Sets do not depend on each other: who cannot unwrap ``token``
still uses ``vault``. Not promised: that the file is the newest; keep old keyrings out of reach.

A wrapped set is root (32 bytes) ‖ for each version not destroyed: version (uint16, big endian) ‖ secret, where the
secret has 32 bytes (token, vault) or two Ed25519 seeds of 32 (proof: manifest, log).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ...schemas.consent import format_instant, parse_instant
from ...schemas.errors import ConfigError, IntegrityError, KekError, KeyringError
from .envelope import KEY_BYTES, Random, associated_data
from .kek import Kek
from .key_sets import ProofKeys, PublicKey, PublicKeys, Secret, TokenKeys, VaultKeys, public_keys_of

__all__ = ["KeySet", "KeyState", "KeyStatus", "Keyring", "PublicKeys"]

FORMAT = "consentry-keyring-1"
LARGEST_FILE = 1 << 20
LIVE_TOKEN_VERSIONS = 9
LARGEST_VERSION = 0xFFFF


class KeySet(StrEnum):
    """The key sets; each may have a KEK of its own."""

    TOKEN = "token"  # noqa: S105 - the name of a set
    VAULT = "vault"
    PROOF = "proof"

    @property
    def secret_bytes(self) -> int:
        """Length of one version's secret."""
        return 2 * KEY_BYTES if self is KeySet.PROOF else KEY_BYTES


class KeyState(StrEnum):
    """``primary`` makes new things, ``active`` still reads old ones, ``disabled`` can come back, ``destroyed`` not."""

    PRIMARY = "primary"
    ACTIVE = "active"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """What anyone may know of one version of one set; ``created_at`` in microseconds UTC."""

    key_set: KeySet
    version: int
    state: KeyState
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeySetFile:
    """One set as it stands in the file."""

    versions: tuple[KeyStatus, ...]
    public: tuple[PublicKey, ...]
    wrapped: bytes


class _Secrets(Secret):
    """One set unwrapped."""

    __slots__ = ("by_version", "root")

    def __init__(self, root: bytes, by_version: Mapping[int, bytes]) -> None:
        self.root = root
        self.by_version = dict(by_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """A keyring as loaded: public facts in clear, secrets wrapped. Changing it returns a new one; save that."""

    tenant: str
    sets: Mapping[KeySet, _KeySetFile]

    @classmethod
    def create(cls, tenant: str, keks: Mapping[KeySet, Kek], *, now: int, random: Random = os.urandom) -> Self:
        """Returns a keyring with version 1 of every set.

        Args:
            tenant: Bound into every key; keyrings of two tenants never make the same token.
            keks: One for each set; they may be the same.
            now: Microseconds UTC.
            random: Source of keys.

        Raises:
            KeyringError: The tenant is empty, or a set has no KEK.
        """
        missing = [key_set for key_set in KeySet if key_set not in keks]
        if not tenant or missing:
            raise KeyringError("a keyring needs a tenant and a KEK for each of: token, vault, proof")
        sets = {}
        for key_set in KeySet:
            secrets = _Secrets(random(KEY_BYTES), {1: random(key_set.secret_bytes)})
            first = KeyStatus(key_set=key_set, version=1, state=KeyState.PRIMARY, created_at=now)
            sets[key_set] = _wrapped(tenant, key_set, (first,), secrets, keks[key_set])
        return cls(tenant=tenant, sets=sets)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Returns the keyring of a file; no KEK is needed.

        Raises:
            KeyringError: The file is missing, damaged or not written by ``save``.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise KeyringError(
                f"{path}: keyring cannot be read ({error.strerror}); bring it back with `consentry keys restore`, or "
                "make one for a new project with `consentry keys create`"
            ) from None
        damaged = KeyringError(
            f"{path}: this keyring is damaged or was edited; restore it from a backup", reason="keyring_damaged"
        )
        try:
            document = json.loads(data.decode())
            keyring = cls(
                tenant=document["tenant"],
                sets={key_set: _parsed(key_set, document["sets"][key_set.value]) for key_set in KeySet},
            )
            same = isinstance(keyring.tenant, str) and keyring._dumps() == data
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError):
            raise damaged from None
        if not same:
            raise damaged
        return keyring

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the file, mode 0600, whole or not at all.

        Raises:
            KeyringError: The file exists and ``overwrite`` is false, or it cannot be written.
        """
        path = Path(path)
        try:
            _write_atomically(path, self._dumps(), overwrite=overwrite)
        except FileExistsError:
            raise KeyringError(f"{path}: exists, and a keyring is never overwritten; choose another path") from None
        except OSError as error:
            raise KeyringError(f"{path}: keyring cannot be written ({error.strerror})") from None

    def status(self) -> tuple[KeyStatus, ...]:
        """Returns every version of every set, ascending; unverified until the set is unlocked."""
        return tuple(status for key_set in KeySet for status in self.sets[key_set].versions)

    def public_keys(self) -> PublicKeys:
        """Returns the public keys of all proof versions; unverified until ``unlock_proof``."""
        return PublicKeys(tenant=self.tenant, keys=self.sets[KeySet.PROOF].public)

    def rotate(self, key_set: KeySet, kek: Kek, now: int, *, random: Random = os.urandom) -> Self:
        """Returns a keyring whose ``key_set`` has a new primary version; the old primary becomes active.

        Raises:
            KeyringError: Nine versions of ``token`` are live, so a token could not tell the tenth from the first.
            KekError: The KEK does not open the set.
            IntegrityError: The set was changed.
        """
        versions = self.sets[key_set].versions
        number = versions[-1].version + 1
        if number > LARGEST_VERSION:
            raise KeyringError(f"keyring: {key_set} has had {LARGEST_VERSION} versions; no more fit")
        if key_set is KeySet.TOKEN and number > LIVE_TOKEN_VERSIONS:
            oldest = versions[number - 1 - LIVE_TOKEN_VERSIONS]
            if oldest.state is not KeyState.DESTROYED:
                raise KeyringError(
                    f"keyring: token version {number} needs version {oldest.version} destroyed first, because a token "
                    "tells nine versions apart; retokenize what still bears it, then destroy it",
                    reason="versions_exhausted",
                )
        secrets = self._unwrapped(key_set, kek)
        secrets.by_version[number] = random(key_set.secret_bytes)
        kept = (
            replace(status, state=KeyState.ACTIVE) if status.state is KeyState.PRIMARY else status
            for status in versions
        )
        newest = KeyStatus(key_set=key_set, version=number, state=KeyState.PRIMARY, created_at=now)
        return self._with(key_set, (*kept, newest), secrets, kek)

    def change_state(self, key_set: KeySet, version: int, state: KeyState, kek: Kek) -> Self:
        """Returns a keyring in which a version that is not primary is active, disabled or destroyed.

        Whether anything still needs the version is the caller's to find out before.

        Raises:
            KeyringError: The version is unknown, primary or destroyed, or ``state`` is primary.
            KekError: The KEK does not open the set.
            IntegrityError: The set was changed.
        """
        versions = self.sets[key_set].versions
        status = next((status for status in versions if status.version == version), None)
        if status is None:
            raise KeyringError(f"keyring: {key_set} has no version {version}; it has 1 to {versions[-1].version}")
        if KeyState.PRIMARY in (status.state, state):
            raise KeyringError(f"keyring: {key_set} version {version}: only rotation makes or replaces a primary")
        if status.state is KeyState.DESTROYED:
            raise KeyringError(f"keyring: {key_set} version {version} is destroyed and cannot come back")
        secrets = self._unwrapped(key_set, kek)
        if state is KeyState.DESTROYED:
            del secrets.by_version[version]
        changed = tuple(replace(each, state=state) if each is status else each for each in versions)
        return self._with(key_set, changed, secrets, kek)

    def rewrap(self, key_set: KeySet, kek: Kek, new_kek: Kek) -> Self:
        """Returns a keyring whose ``key_set`` is wrapped by ``new_kek``; the keys stay the same.

        Raises:
            KekError: ``kek`` does not open the set.
            IntegrityError: The set was changed.
        """
        return self._with(key_set, self.sets[key_set].versions, self._unwrapped(key_set, kek), new_kek)

    def check(self, key_set: KeySet, kek: Kek) -> None:
        """Returns if ``kek`` opens the set; errors as ``unlock_token``."""
        self._unwrapped(key_set, kek)

    def unlock_token(self, kek: Kek) -> TokenKeys:
        """Returns the token keys.

        Raises:
            KekError: The KEK does not open the set.
            IntegrityError: The set, or its public part, was changed.
        """
        secrets = self._unwrapped(KeySet.TOKEN, kek)
        return TokenKeys(
            tenant=self.tenant,
            secrets=self._usable(KeySet.TOKEN, secrets),
            primary=self._primary(KeySet.TOKEN),
            root=secrets.root,
        )

    def unlock_vault(self, kek: Kek) -> VaultKeys:
        """Returns the vault keys; errors as ``unlock_token``."""
        secrets = self._unwrapped(KeySet.VAULT, kek)
        return VaultKeys(
            tenant=self.tenant,
            secrets=self._usable(KeySet.VAULT, secrets),
            primary=self._primary(KeySet.VAULT),
            root=secrets.root,
        )

    def unlock_proof(self, kek: Kek) -> ProofKeys:
        """Returns the signing keys; errors as ``unlock_token``."""
        primary = self._primary(KeySet.PROOF)
        manifest, log = _seeds(self._unwrapped(KeySet.PROOF, kek).by_version[primary])
        return ProofKeys(manifest=manifest, log=log, primary=primary)

    def _primary(self, key_set: KeySet) -> int:
        return next(each.version for each in self.sets[key_set].versions if each.state is KeyState.PRIMARY)

    def _usable(self, key_set: KeySet, secrets: _Secrets) -> dict[int, bytes]:
        usable = (KeyState.PRIMARY, KeyState.ACTIVE)
        return {
            each.version: secrets.by_version[each.version]
            for each in self.sets[key_set].versions
            if each.state in usable
        }

    def _with(self, key_set: KeySet, versions: tuple[KeyStatus, ...], secrets: _Secrets, kek: Kek) -> Self:
        changed = _wrapped(self.tenant, key_set, versions, secrets, kek, known=self.sets[key_set].public)
        return replace(self, sets={**self.sets, key_set: changed})

    def _unwrapped(self, key_set: KeySet, kek: Kek) -> _Secrets:
        stored = self.sets[key_set]
        bound = _bound(self.tenant, key_set, stored.versions, stored.public)
        try:
            secrets = _unpacked(key_set, stored, kek.unwrap(stored.wrapped, bound))
        except KekError as error:
            raise type(error)(
                f"keyring: key set {key_set.value!r}: {error}", reason=error.reason, exit_code=error.exit_code
            ) from None
        except (IntegrityError, ValueError):
            raise IntegrityError(
                f"keyring: key set {key_set.value!r} was changed; restore the keyring from a backup", exit_code=2
            ) from None
        return secrets

    def _dumps(self) -> bytes:
        sets = {key_set.value: _as_json(self.sets[key_set]) for key_set in KeySet}
        document: dict[str, Any] = {"format": FORMAT, "tenant": self.tenant, "sets": sets}
        document["checksum"] = "sha256:" + hashlib.sha256(_canonical(document)).hexdigest()
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _wrapped(
    tenant: str,
    key_set: KeySet,
    versions: tuple[KeyStatus, ...],
    secrets: _Secrets,
    kek: Kek,
    *,
    known: tuple[PublicKey, ...] = (),
) -> _KeySetFile:
    public = known
    if key_set is KeySet.PROOF:
        new = sorted(secrets.by_version.keys() - {key.version for key in known})
        public = (*known, *public_keys_of(new, {number: _seeds(secrets.by_version[number]) for number in new}))
    packed = secrets.root + b"".join(
        number.to_bytes(2, "big") + secrets.by_version[number] for number in sorted(secrets.by_version)
    )
    wrapped = kek.wrap(packed, _bound(tenant, key_set, versions, public))
    return _KeySetFile(versions=versions, public=public, wrapped=wrapped)


def _unpacked(key_set: KeySet, stored: _KeySetFile, packed: bytes) -> _Secrets:
    root, rest = packed[:KEY_BYTES], packed[KEY_BYTES:]
    step = 2 + key_set.secret_bytes
    rows = [rest[start : start + step] for start in range(0, len(rest), step)]
    secrets = _Secrets(root, {int.from_bytes(row[:2], "big"): row[2:] for row in rows})
    expected = [each.version for each in stored.versions if each.state is not KeyState.DESTROYED]
    if sorted(secrets.by_version) != expected or any(len(row) != step for row in rows):
        raise ValueError
    if key_set is KeySet.PROOF:
        seeds = {number: _seeds(secret) for number, secret in secrets.by_version.items()}
        listed = tuple(key for key in stored.public if key.version in seeds)
        if listed != public_keys_of(expected, seeds):
            raise ValueError
    return secrets


def _seeds(secret: bytes) -> tuple[bytes, bytes]:
    return secret[:KEY_BYTES], secret[KEY_BYTES:]


def _bound(tenant: str, key_set: KeySet, versions: tuple[KeyStatus, ...], public: tuple[PublicKey, ...]) -> bytes:
    shown = _as_json(_KeySetFile(versions=versions, public=public, wrapped=b""))
    return associated_data("consentry keyring", FORMAT, tenant, key_set.value, _canonical(shown))


def _as_json(stored: _KeySetFile) -> dict[str, Any]:
    keys = {(key.version, key.use): key for key in stored.public}
    versions: list[dict[str, Any]] = []
    for each in stored.versions:
        entry: dict[str, Any] = {
            "version": each.version,
            "state": each.state.value,
            "created_at": format_instant(each.created_at),
        }
        for use in ("manifest", "log"):
            if (each.version, use) in keys:
                entry[use] = keys[each.version, use].value.hex()
        versions.append(entry)
    return {"versions": versions, "wrapped": base64.b64encode(stored.wrapped).decode()}


def _parsed(key_set: KeySet, entry: Mapping[str, Any]) -> _KeySetFile:
    versions = tuple(
        KeyStatus(
            key_set=key_set,
            version=each["version"],
            state=KeyState(each["state"]),
            created_at=parse_instant(each["created_at"]),
        )
        for each in entry["versions"]
    )
    numbers = [each.version for each in versions]
    primaries = [each for each in versions if each.state is KeyState.PRIMARY]
    if numbers != list(range(1, len(numbers) + 1)) or primaries != [versions[-1]]:
        raise ValueError
    public: tuple[PublicKey, ...] = ()
    if key_set is KeySet.PROOF:
        public = tuple(
            PublicKey(each["version"], use, bytes.fromhex(each[use]))
            for each in entry["versions"]
            for use in ("manifest", "log")
        )
    return _KeySetFile(versions=versions, public=public, wrapped=base64.b64decode(entry["wrapped"], validate=True))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _write_atomically(path: Path, data: bytes, *, overwrite: bool) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            draft.replace(path)
        else:
            # A hard link refuses an existing name, which a rename would silently replace.
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Data keys: one random key for each data subject, and one for each day of dead letters, wrapped by the vault key set.

Whoever has a subject's data key can open what is sealed for them, and nobody else can; destroying it is erasure
(crypto-shredding, NIST SP 800-88 calls it cryptographic erase). Hence a store of its own, with backups of its own,
shorter life.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...schemas.errors import IntegrityError
from ..crypto.envelope import KEY_BYTES, Random, associated_data, bytes_field, bytes_fields
from ..crypto.key_sets import VaultKeys, wrapping_version
from .data_key_table import DataKeyTable
from .open_tables import open_data_key_table

__all__ = ["DataKeyTable", "DataKeys", "Rewrapped", "open_data_keys"]

PORTION = 10_000
OPENED_TO_TRY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """What came of wrapping all keys anew.

    Attributes:
        version: The version of the ``vault`` key set that wraps now.
        keys: How many keys there are.
        rewrapped: How many of them were wrapped anew.
        unopened: How many cannot be opened, and stay as they are, by the version that they say.
        clean: Whether nothing of the old wrappings is left in the files.
    """

    version: int
    keys: int
    rewrapped: int
    unopened: Mapping[int, int]
    clean: bool


class DataKeys:
    """The data keys of a tenant; shared by threads.

    Args:
        table: Where wrapped keys are.
        keys: Wraps them.
        random: Source of keys.
    """

    def __init__(self, table: DataKeyTable, keys: VaultKeys, *, random: Random = os.urandom) -> None:
        self._table = table
        self._keys = keys
        self._random = random
        self._bound_to = associated_data("data-key", keys.tenant)

    def close(self) -> None:
        """Closes the store."""
        self._table.close()

    def keys_for(self, refs: Sequence[bytes], *, create: bool) -> Mapping[bytes, bytes]:
        """Returns the 32-byte keys of subjects, by reference.

        Args:
            refs: Subject references.
            create: Whether subjects without a key get one.

        Returns:
            None for the erased; without ``create`` none for the unknown.

        Raises:
            IntegrityError: A wrapped key was changed or moved.
            StoreError: The store cannot be read or written.
        """
        wanted = list(dict.fromkeys(refs))
        stored = self._table.subject_keys(wanted)
        missing = [reference for reference in wanted if reference not in stored] if create else []
        return self._unwrapped(stored) | self._made(missing)

    def destroy(self, refs: Sequence[bytes]) -> None:
        """Destroys the keys of subjects, so that all that is sealed for them is noise; they never get new ones."""
        self._table.destroy_subject_keys(list(refs))

    def day_key(self, day: str, *, expires_at: int) -> bytes:
        """Returns the key that seals dead letters of a day, made when it is first asked for.

        Args:
            day: Name of the day, or of another period.
            expires_at: Microseconds UTC: when ``sweep`` destroys it.

        Raises:
            IntegrityError: The stored key was changed.
        """
        found = self._stored_day_key(day)
        if found is None:
            self._table.add_day_key(day, expires_at, self._wrapped_for(day, expires_at, self._random(KEY_BYTES)))
            found = self._stored_day_key(day)
        if found is None:
            raise IntegrityError(f"data keys: the key of {day} vanished while it was made; run again")
        expiry, key = found
        if expiry > expires_at:  # a longer time was promised before; the shorter one holds for all
            self._table.shorten_day_key(day, expires_at, self._wrapped_for(day, expires_at, key))
        return key

    def find_day_key(self, day: str, *, at: int) -> bytes | None:
        """Returns the key of a day; None where it was never made, is destroyed, or is to be since its time is over.

        Args:
            day: Name of the day.
            at: Microseconds UTC, by the clock.

        Raises:
            IntegrityError: The stored key was changed.
        """
        found = self._stored_day_key(day)
        return None if found is None or found[0] <= at else found[1]

    def _stored_day_key(self, day: str) -> tuple[int, bytes] | None:
        """Returns when the key of a day expires, and the key."""
        stored = self._table.day_key(day)
        if stored is None:
            return None
        expires_at, wrapped = stored
        return expires_at, self._keys.unwrap(wrapped, self._bound_day(day, expires_at))

    def _wrapped_for(self, day: str, expires_at: int, key: bytes) -> bytes:
        return self._keys.wrap(key, self._bound_day(day, expires_at))

    def sweep(self, at: int) -> int:
        """Destroys the keys of days that have expired, and returns how many."""
        return self._table.remove_day_keys(at)

    def versions(self) -> dict[int, int]:
        """Returns how many keys, of subjects and of days, each version of the ``vault`` key set wraps."""
        return {int.from_bytes(header, "big"): count for header, count in sorted(self._table.headers().items())}

    def rewrap(self, *, progress: Callable[[int], None] = lambda _done: None) -> Rewrapped:
        """Wraps all keys anew that are not under the primary version; the keys themselves stay.

        A portion at a time, each in a transaction of its own, beside whoever works with the keys. What was interrupted
        goes on when it is called again. Programs that run since before the rotation still make keys under the version
        before: end them first.

        Args:
            progress: Called with the number of keys looked at.

        Raises:
            StoreError: The store cannot be read or written.
        """
        keys = rewrapped = 0
        unopened: Counter[int] = Counter()
        after = b""
        while rows := self._table.wrapped_subjects(after, PORTION):
            after = rows[-1][0]
            anew = self._anew([(wrapped, self._bound(reference)) for reference, wrapped in rows], unopened)
            replaced = [(rows[row][0], rows[row][1], wrapped) for row, wrapped in anew.items()]
            rewrapped += self._table.replace_subject_keys(replaced) if replaced else 0
            keys += len(rows)
            progress(keys)
        for day, expires_at, wrapped in self._table.day_keys():
            for new in self._anew([(wrapped, self._bound_day(day, expires_at))], unopened).values():
                rewrapped += self._table.replace_day_key(day, wrapped, new)
            keys += 1
            progress(keys)
        return Rewrapped(
            version=self._keys.primary,
            keys=keys,
            rewrapped=rewrapped,
            unopened=dict(unopened),
            clean=self._table.forget_deleted(),
        )

    def _anew(self, stored: Sequence[tuple[bytes, bytes]], unopened: Counter[int]) -> dict[int, bytes]:
        """Returns, by row, the new wrapping of keys that need one, and counts those that do not open."""
        old = [row for row, (wrapped, _) in enumerate(stored) if wrapping_version(wrapped) != self._keys.primary]
        opened: dict[int, bytes] = {}
        for row in old:
            try:
                opened[row] = self._keys.unwrap(*stored[row])
            except IntegrityError:
                unopened[wrapping_version(stored[row][0])] += 1
        wrapped = self._keys.wrap_many(list(opened.values()), [stored[row][1] for row in opened])
        return dict(zip(opened, wrapped, strict=True))

    def opens_some(self) -> bool:
        """Returns whether one of the stored keys of usable versions opens, or there is none to try."""
        tried = False
        for reference, wrapped in self._table.wrapped_subjects(b"", OPENED_TO_TRY):
            if wrapping_version(wrapped) in self._keys.versions:
                tried = True
                with suppress(IntegrityError):
                    self._keys.unwrap(wrapped, self._bound(reference))
                    return True
        return not tried

    def _made(self, refs: Sequence[bytes]) -> dict[bytes, bytes]:
        """Adds a key for each subject, and returns the keys that now hold."""
        if not refs:
            return {}
        random = self._random(KEY_BYTES * len(refs))
        keys = [random[start : start + KEY_BYTES] for start in range(0, len(random), KEY_BYTES)]
        wrapped = self._keys.wrap_many(keys, [self._bound(reference) for reference in refs])
        if self._table.add_subject_keys(dict(zip(refs, wrapped, strict=True))) == len(refs):
            return dict(zip(refs, keys, strict=True))
        # Read again: another program may have come first, or erased the subject meanwhile.
        stored = self._table.subject_keys(refs)
        mine = {ref: key for ref, key, own in zip(refs, keys, wrapped, strict=True) if stored.get(ref) == own}
        return mine | self._unwrapped({ref: other for ref, other in stored.items() if ref not in mine})

    def _unwrapped(self, stored: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
        wrapped = {reference: each for reference, each in stored.items() if each is not None}
        bound = [self._bound_to + field for field in bytes_fields(list(wrapped))]
        keys = self._keys.unwrap_many(list(wrapped.values()), bound)
        return dict(zip(wrapped, keys, strict=True))

    def _bound(self, reference: bytes) -> bytes:
        return self._bound_to + bytes_field(reference)

    def _bound_day(self, day: str, expires_at: int) -> bytes:
        return associated_data("day-key", self._keys.tenant, day, expires_at)


def open_data_keys(uri: str, keys: VaultKeys, *, create: bool = False) -> DataKeys:
    """Returns the data keys of a project.

    Args:
        uri: ``sqlite:FILE`` or ``postgresql://…``.
        keys: Of the tenant.
        create: Whether a missing store is made.

    Raises:
        StoreError: The store is missing, damaged, locked or cannot be reached.
        ConfigError: The URI names no store.
    """
    return DataKeys(open_data_key_table(uri, create=create), keys)

"""The project: ``consentry.yaml``, which names the policy, the keyring and the stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr, field_validator

from .info_types import Name, Written
from .kek_uris import kek_slip
from .policy_checks import Finding
from .policy_file import read_document

__all__ = ["KeySetName", "Project", "read_project"]

KeySetName = Literal["token", "vault", "proof"]
KEY_SETS: tuple[KeySetName, ...] = ("token", "vault", "proof")
STORE_SCHEMES = ("sqlite", "postgresql")


class Project(Written):
    """Where everything of a project lies. Holds no secret: keys and passphrases are fetched where they are used."""

    tenant: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Bound into every key.")
    policy: Path = Field(description="The policy file.")
    keyring: Path = Field(description="The keyring file.")
    kek: dict[KeySetName, str] = Field(description="Key-encryption key: one URI for all key sets, or one for each.")
    vault: str = Field(description="Store of sealed values.")
    data_keys: str = Field(description="Store of the subjects' wrapped data keys.")
    ledger: str = Field(description="Store of consent events.")
    access_log: str = Field(description="Store of detokenizations.")
    trust: Path = Field(description="Public keys that verify believes.")
    actors: dict[str, tuple[Name, ...]] | None = Field(
        default=None, description="Who has which roles; where given, an actor has these and no others."
    )
    detectors: tuple[str, ...] = Field(
        default=(), description="Detectors of other makers for free text, as spacy:en_core_web_sm."
    )
    _root: Path = PrivateAttr(default=Path())

    @property
    def root(self) -> Path:
        """Folder of the file, which relative paths of key files start from."""
        return self._root

    @field_validator("kek", mode="before")
    @classmethod
    def _one_for_all(cls, value: object) -> object:
        return dict.fromkeys(KEY_SETS, value) if isinstance(value, str) else value


def read_project(path: Path) -> Project:
    """Returns the project of ``consentry.yaml``, with paths made absolute.

    Raises:
        PolicyError: With all problems of the file. URIs are not quoted: they may hold passwords.
    """
    path = Path(path)
    project = read_document(path, Project, _check)
    root = path.absolute().parent
    stores = {name: _absolute(getattr(project, name), root) for name in ("vault", "data_keys", "ledger", "access_log")}
    files = {name: root / getattr(project, name) for name in ("policy", "keyring", "trust")}
    absolute = project.model_copy(update={**stores, **files})
    absolute._root = root
    return absolute


def _absolute(uri: str, root: Path) -> str:
    scheme, _, rest = uri.partition(":")
    return f"sqlite:{root / rest}" if scheme == "sqlite" else uri


def _check(project: Project) -> Iterable[Finding]:
    yield from _schemes(project)
    yield from _places(project)


def _schemes(project: Project) -> Iterator[Finding]:
    for key_set, uri in project.kek.items():
        slip = kek_slip(uri)
        if slip is not None:
            yield Finding(("kek", key_set), slip.problem, slip.hint)
    for name in ("vault", "data_keys", "ledger", "access_log"):
        uri = getattr(project, name)
        if uri.partition(":")[0] not in STORE_SCHEMES or not uri.partition(":")[2]:
            yield Finding((name,), "unknown kind of store", "write sqlite:FILE or postgresql://…")


def _places(project: Project) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in ("vault", "data_keys", "ledger", "access_log"):
        uri = getattr(project, name)
        if uri.startswith("sqlite:"):
            other = seen.setdefault(str(Path(uri.partition(":")[2])), name)
            if other != name:
                yield Finding((name,), f"is the same file as '{other}'", "give each store a file of its own")
    if not project.kek:
        yield Finding(("kek",), "names no key set", "write a URI, or one for token, vault or proof")

"""The project: ``consentry.yaml``, which names the policy, the keyring and the stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from .errors import SecretError
from .info_types import Duration, Name, Written
from .kek_uris import kek_slip
from .policy_checks import Finding
from .policy_file import read_document
from .store_uri import SQLITE, STORES, of_tenant, uri_problem, without_tenant

__all__ = ["CheckpointRule", "KeySetName", "Project", "list_beside", "read_project"]

KeySetName = Literal["token", "vault", "proof"]
KEY_SETS: tuple[KeySetName, ...] = ("token", "vault", "proof")
LOCAL = ("erasures", "outputs")
"""Stores that people may name as files only: whoever erases, or begins a run, keeps them."""
BESIDE = "sqlite:outputs.db"
"""Stands for the place beside the vault, also where somebody wrote it."""


class CheckpointRule(Written):
    """When and where signed checkpoints of ledger and access log are exported."""

    path: str = Field(min_length=1, description="A folder, or a URI of any Beam file system; best on another machine.")
    every: int = Field(default=1000, ge=1, strict=True, description="New entries after which one is due.")
    or_after: Duration = Field(
        default=timedelta(minutes=15), description="Time after which one is due, if there are new entries."
    )


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
    erasures: str = Field(default="sqlite:erasures.db", description="Journal of erasures; made by the first one.")
    trust: Path = Field(description="Public keys that verify believes.")
    outputs: str = Field(default=BESIDE, description="List of known outputs; as left out, it is beside the vault.")
    actors: dict[str, tuple[Name, ...]] | None = Field(
        default=None, description="Who has which roles; where given, an actor has these and no others."
    )
    detectors: tuple[str, ...] = Field(
        default=(), description="Detectors of other makers for free text, as spacy:en_core_web_sm."
    )
    checkpoints: CheckpointRule | None = Field(
        default=None, description="Signed checkpoints of ledger and access log; where left out, none are exported."
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

    def __getstate__(self) -> dict[Any, Any]:
        """Returns what is pickled, where no store's URI holds a password, however the project was made.

        Raises:
            SecretError: One does.
        """
        for name in STORES:
            if (problem := uri_problem(getattr(self, name))) is not None:
                raise SecretError(f"{name}: {problem.rule}, so the project is not copied; {problem.hint}")
        return super().__getstate__()


def read_project(path: Path) -> Project:
    """Returns the project of ``consentry.yaml``, with paths made absolute and stores on a server named by tenant.

    Raises:
        PolicyError: With all problems of the file. URIs are not quoted: they may hold passwords.
    """
    path = Path(path)
    project = read_document(path, Project, _check)
    root = path.absolute().parent
    stores = {name: _absolute(getattr(project, name), root, project.tenant) for name in (*STORES, *LOCAL)}
    files = {name: root / getattr(project, name) for name in ("policy", "keyring", "trust")}
    if project.outputs == BESIDE:
        stores["outputs"] = list_beside(stores["vault"])
    rule = project.checkpoints
    if rule is not None and "://" not in rule.path:
        rule = rule.model_copy(update={"path": str(root / rule.path)})
    absolute = project.model_copy(update={**stores, **files, "checkpoints": rule})
    absolute._root = root
    return absolute


def _absolute(uri: str, root: Path, tenant: str) -> str:
    scheme, _, rest = uri.partition(":")
    return f"sqlite:{root / rest}" if scheme == SQLITE else of_tenant(uri, tenant)


def list_beside(vault: str) -> str:
    """Returns where the list of outputs is that all see who share a vault: in its database, or beside its file."""
    scheme, _, file = vault.partition(":")
    return f"{SQLITE}:{Path(file).parent / 'outputs.db'}" if scheme == SQLITE else vault


def _check(project: Project) -> Iterable[Finding]:
    yield from _schemes(project)
    yield from _places(project)


def _schemes(project: Project) -> Iterator[Finding]:
    for key_set, uri in project.kek.items():
        slip = kek_slip(uri)
        if slip is not None:
            yield Finding(("kek", key_set), slip.problem, slip.hint)
    for name in STORES:
        uri = getattr(project, name)
        if (problem := uri_problem(uri)) is not None:
            yield Finding((name,), problem.rule, problem.hint)
        elif uri.partition(":")[0] != SQLITE and without_tenant(uri)[1] is not None:
            yield Finding((name,), "names a tenant of its own", "remove it: stores are those of 'tenant'")
    for name in LOCAL:
        scheme, _, file = getattr(project, name).partition(":")
        if scheme != SQLITE or not file:
            yield Finding((name,), "unknown kind of store", "write sqlite:FILE")


def _places(project: Project) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name in (*STORES, *LOCAL):
        uri = getattr(project, name)
        if uri.startswith("sqlite:"):
            other = seen.setdefault(str(Path(uri.partition(":")[2])), name)
            if other != name:
                yield Finding((name,), f"is the same file as '{other}'", "give each store a file of its own")
    if not project.kek:
        yield Finding(("kek",), "names no key set", "write a URI, or one for token, vault or proof")

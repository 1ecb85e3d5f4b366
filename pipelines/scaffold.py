"""Writes a new project folder: everything that ``consentry.yaml`` names, usable at once."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from ..schemas.errors import ConfigError
from ..schemas.project import Project, read_project

__all__ = ["write_project"]

CONFIG = """\
# The project. Paths are relative to this file.
tenant: {tenant}
policy: policy.yaml
keyring: keyring.json
kek: file:kek.key                  # or passphrase:env:CONSENTRY_PASSPHRASE, gcp-kms://projects/…/cryptoKeys/…
vault: sqlite:vault.db             # sealed values
data_keys: sqlite:data_keys.db     # the subjects' wrapped data keys: back them up apart, and for less time
ledger: sqlite:ledger.db           # consent events
access_log: sqlite:access.db       # who detokenized what
trust: proof.pub                   # public keys that `consentry verify` believes
outputs: sqlite:outputs.db         # which outputs exist; with a vault on a server, the list is there
# Signed checkpoints of ledger and access log; better on another machine, as gs://bucket/checkpoints
checkpoints: {{path: checkpoints, every: 1000, or_after: 15m}}
# actors: {{ana: [support_agent]}}   # where given, an actor has these roles and no others
"""
IGNORED = """\
# Keys and stores never belong into version control.
kek.key
keyring.json
*.db
*.db-wal
*.db-shm
.consentry-checkpoints.json
.consentry-erasure.lock
"""
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def write_project(folder: Path, *, tenant: str | None, now: int) -> tuple[str, ...]:
    """Creates a project in ``folder`` and returns the names of what it wrote.

    The folder appears complete or not at all.

    Args:
        folder: New or empty.
        tenant: Bound into every key; the folder's name when None.
        now: Microseconds UTC, the keys' creation time.

    Raises:
        ConfigError: The folder holds something already, cannot be written, or the tenant is no plain name.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link that is to be replaced
    name = tenant if tenant is not None else _plain(folder.name)
    if not TENANT.fullmatch(name):
        raise ConfigError("--tenant: letters, digits, '.', '_' and '-' only, 64 at most; choose a plain name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is not empty, and init never overwrites; name a new or empty folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); name a folder of your own") from None
    try:
        made = _fill(draft, name, now)
        draft.chmod(0o700)
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return made


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "shop"


def _fill(folder: Path, tenant: str, now: int) -> tuple[str, ...]:
    from .desk import create_keys, create_stores

    template = resources.files(__package__).joinpath("scaffold_policy.yaml").read_text(encoding="utf-8")
    (folder / "consentry.yaml").write_text(CONFIG.format(tenant=tenant), encoding="utf-8")
    (folder / "policy.yaml").write_text(template, encoding="utf-8")
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    project: Project = read_project(folder / "consentry.yaml")
    create_stores(project, create_keys(project, now=now))
    return tuple(sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))))

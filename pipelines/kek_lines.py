"""The ``kek`` of ``consentry.yaml``, as options of commands name it, and as it is written there.

Only its value changes in the file; everything else, comments too, stays byte by byte.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..schemas.errors import ConfigError, PrivacyError
from ..schemas.kek_uris import kek_slip
from ..schemas.project import KEY_SETS, KeySetName, Project, read_project

__all__ = ["KekChange", "kek_change", "kek_line", "kek_of_options"]

PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./:-]*[A-Za-z0-9_./-]")


def kek_of_options(options: Iterable[str], project: Project, *, option: str = "--kek") -> dict[KeySetName, str]:
    """Returns the KEK of each key set: as the options say, and else as the project does.

    Args:
        options: Each ``URI``, for all sets, or ``SET=URI``.
        project: As it is read.
        option: Their name, for messages.

    Raises:
        ConfigError: A URI has another form, or two are for the same set.
    """
    named: dict[KeySetName | None, str] = {}
    for text in options:
        key_set = next((name for name in KEY_SETS if text.startswith(f"{name}=")), None)
        uri = text if key_set is None else text.removeprefix(f"{key_set}=")
        slip = kek_slip(uri)
        if slip is not None:
            raise ConfigError(f"{option}: {slip.problem}; {slip.hint}, or one of these for a set, as vault=URI")
        if key_set in named:
            raise ConfigError(f"{option}: two are for {key_set or 'all key sets'}; name one for each of: token=URI, …")
        named[key_set] = uri
    everywhere = named.get(None)
    found = {name: named.get(name, everywhere or project.kek.get(name)) for name in KEY_SETS}
    return {name: uri for name, uri in found.items() if uri is not None}


def kek_line(kek: Mapping[KeySetName, str]) -> str:
    """Returns the line of ``consentry.yaml``.

    >>> kek_line({"token": "file:kek.key", "vault": "file:kek.key", "proof": "file:kek.key"})
    'kek: file:kek.key'
    >>> kek_line({"vault": "file:vault.key"})
    'kek: {vault: file:vault.key}'
    """
    if kek.keys() == set(KEY_SETS) and len(set(kek.values())) == 1:
        return f"kek: {_scalar(kek['vault'])}"
    return f"kek: {{{', '.join(f'{name}: {_scalar(kek[name])}' for name in KEY_SETS if name in kek)}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KekChange:
    """A configuration with another ``kek``, read and found sound, not yet written.

    Attributes:
        path: Of ``consentry.yaml``.
        project: As it will be.
        text: What the file will hold; None: it stays as it is.
    """

    path: Path
    project: Project
    text: str | None

    @property
    def line(self) -> str:
        """What the file will say."""
        return kek_line(self.project.kek)

    def write(self) -> None:
        """Writes the file, whole or not at all, with the mode that it had.

        Raises:
            ConfigError: It cannot be written; says which line is to be written by hand.
        """
        if self.text is None:
            return
        try:
            _exchange(self.path.resolve(), self.text)
        except OSError as error:
            raise ConfigError(
                f"{self.path}: cannot be written ({error.strerror}); the keyring is wrapped as you said, so write "
                f"this line there yourself: {self.line}"
            ) from None


def kek_change(path: Path, project: Project, kek: Mapping[KeySetName, str]) -> KekChange:
    """Returns the change that gives the configuration of ``path`` another ``kek``; nothing is written yet.

    Args:
        path: Of ``consentry.yaml``.
        project: As it is there.
        kek: As it is to be.

    Raises:
        ConfigError: The file is written in a way in which the value alone cannot be exchanged, or its folder cannot be
            written; says which line is to be written by hand.
    """
    if dict(kek) == project.kek:
        return KekChange(path=path, project=project, text=None)
    refused = ConfigError(f"{path}: names another `kek`; write this line there first: {kek_line(kek)}")
    try:
        before = path.read_bytes().decode("utf-8")
        text = _with_kek(before, kek)
        changed = _as_read(path, text)
    except (OSError, ValueError, LookupError, yaml.YAMLError, PrivacyError):
        raise refused from None
    if changed != project.model_copy(update={"kek": dict(kek)}):
        raise refused
    return KekChange(path=path, project=changed, text=text)


def _as_read(path: Path, text: str) -> Project:
    """Returns the project that ``text`` would be in the place of ``path``."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", suffix=".yaml", encoding="utf-8", newline=""
    ) as draft:
        draft.write(text)
        draft.flush()
        return read_project(path.parent / Path(draft.name).name)


def _with_kek(text: str, kek: Mapping[KeySetName, str]) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise LookupError
    key, value = next((key, value) for key, value in root.value if key.value == "kek")
    begin, end = key.end_mark.index, _end(value)
    between = text[begin : value.start_mark.index]
    if value.start_mark.index < begin or between.strip() != ":":
        raise LookupError  # an anchor, an alias or a comment stands there
    return text[:begin] + kek_line(kek).removeprefix("kek") + text[end:]


def _end(node: yaml.Node) -> int:
    """Where a value ends; a block's own mark would be behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    return int(node.end_mark.index)


def _scalar(uri: str) -> str:
    return uri if PLAIN.fullmatch(uri) else json.dumps(uri, ensure_ascii=False)


def _exchange(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(path.stat().st_mode & 0o777)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""What stands of a stream on an engine, in its output: whose it is, and what must not change while it goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...schemas.errors import ConfigError, OutputError
from ..durable import exchange_text
from ..publication import DATA, DEAD_LETTERS, FILE_SCHEME, STREAM, is_local
from ..streams.output import ENGINE, JOURNAL, LOCK
from .shard_output import end_publication

__all__ = ["EngineSettings", "checked_settings", "close_settings", "is_engine_output", "launching", "read_settings"]

OPTIONS = {
    "tenant": "--config",
    "dataset": "--dataset",
    "source": "--from",
    "lanes": "--lanes",
    "shards": "--shards",
    "fields": "policy",
}
"""What a stream that goes on may not bring otherwise, and what brings it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of an output.

    Attributes:
        run: Id of the stream.
        tenant: Of the project.
        dataset: Of the records.
        source: What people call where they come from.
        lanes: That read; a partition whose lane changed would be read from where another one's state has it, too.
        shards: That decide and write.
        key_version: Of its tokens.
        key_versions: The primary versions when it began, by key set.
        started_at: Microseconds UTC.
        fields: How each field is treated, by path.
        closed: Whether the stream has ended, and the output is as that of a run over files.
    """

    run: str
    tenant: str
    dataset: str
    source: str
    lanes: int
    shards: int
    key_version: int
    key_versions: Mapping[str, int]
    started_at: int
    fields: Mapping[str, str]
    closed: bool = False


def is_engine_output(out: str) -> bool:
    """Whether a stream on an engine has written to a folder, and may go on."""
    if not is_local(out) or not _settings_of(_folder(out)).is_file():
        return False
    return not read_settings(out).closed


def read_settings(out: str) -> EngineSettings:
    """Returns the settings of an output.

    Raises:
        ConfigError: No stream on an engine writes there.
        OutputError: They are damaged.
    """
    path = _settings_of(_folder(out))
    try:
        return EngineSettings(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{out}: is no output of `consentry stream --runner`; name its --out") from None
    except (ValueError, TypeError):
        raise OutputError(f"{path}: is damaged; restore it from a backup") from None


@contextmanager
def launching(out: str, fresh: EngineSettings) -> Iterator[EngineSettings]:
    """Yields the settings of an output that no other launcher has meanwhile: those that stand, or fresh ones.

    Args:
        out: Folder of the output, made where there is none.
        fresh: Of a stream that begins now.

    Raises:
        ConfigError: The stream is another than the one that began there.
        OutputError: The folder holds something else, cannot be written, or another launcher is at work.
    """
    if not is_local(out):
        raise OutputError(f"{out}: a stream writes to a folder that all workers share; name one")
    root = _folder(out)
    with _locked(root):
        path = _settings_of(root)
        settings = checked_settings(read_settings(out), fresh) if path.is_file() else fresh
        if not path.is_file():
            exchange_text(path, json.dumps(asdict(settings)))
        yield settings


def close_settings(out: str, finish: Callable[[EngineSettings], None] = lambda _: None) -> None:
    """Notes that the stream of an output has ended; of one that has, nothing more.

    Args:
        out: Folder of the output.
        finish: Called when nobody can publish any more, before it is noted.

    Raises:
        ConfigError: No stream on an engine writes there.
        OutputError: Its settings are damaged, or a launcher is at work.
    """
    read_settings(out)
    root = _folder(out)
    with _locked(root):
        settings = read_settings(out)
        if settings.closed:
            return
        end_publication(root)
        finish(settings)
        exchange_text(_settings_of(root), json.dumps(asdict(replace(settings, closed=True))))


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    try:
        if root.is_dir() and any(root.iterdir()) and not (root / STREAM).is_dir():
            raise OutputError(f"{root}: is not empty, and no output of a stream; name another --out")
        for folder in (root / STREAM, root / DATA, root / DEAD_LETTERS):
            folder.mkdir(parents=True, exist_ok=True)
        (root / STREAM).chmod(0o700)
        lock = os.open(root / STREAM / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"{root}: cannot be written ({error.strerror}); name a folder of your own") from None
    try:
        if (root / STREAM / JOURNAL).exists() and not _settings_of(root).exists():
            raise ConfigError(f"{root}: a stream on one machine wrote it; go on without --runner, or name a new --out")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{root}: another launcher of it is at work; stop that one first") from None
        yield
    finally:
        os.close(lock)


def checked_settings(settled: EngineSettings, fresh: EngineSettings) -> EngineSettings:
    """Returns the settings that stand.

    Raises:
        ConfigError: The stream has ended, or is another than the one that is launched.
    """
    if settled.closed:
        raise ConfigError(f"the stream {settled.run} of this output has ended; name a new --out")
    for name, option in OPTIONS.items():
        before, now = getattr(settled, name), getattr(fresh, name)
        if before != now:
            told = f"'{before}'" if name != "fields" else "another treatment of some fields"
            raise ConfigError(f"{option}: this output belongs to {told}; go on with that, or name a new --out")
    return settled


def _settings_of(root: Path) -> Path:
    return root / STREAM / ENGINE


def _folder(out: str) -> Path:
    return Path(out.removeprefix(FILE_SCHEME)).resolve()

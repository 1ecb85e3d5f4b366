"""A file with a column of tokens, a portion of rows at a time: what all formats of such files have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..schemas.dataset import EACH, FieldPath
from ..schemas.errors import ConfigError, InputError

__all__ = ["ROWS", "Portion", "PortionWriter", "TokenFile", "new_name", "path_of", "unreadable"]

ROWS = 16_384
"""Of a portion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Some rows.

    Attributes:
        tokens: Of each row; None where it has none.
        subjects: Id of the customer of each row, blank where it has none; None where no column names customers.
        rows: As the file's format has them.
    """

    tokens: list[str | None]
    subjects: list[str] | None
    rows: Any = field(repr=False)

    def __repr__(self) -> str:
        return f"<Portion: {len(self.tokens)} rows; tokens hidden>"


class TokenFile(Protocol):
    """A file with a column of tokens."""

    marks: Mapping[str, str]
    """What ``protect`` noted about the column, names without ``consentry.``; empty where the format has no room."""

    def portions(self) -> Iterator[Portion]:
        """Yields all rows, some at a time."""
        ...

    def writer(self, out: BinaryIO) -> PortionWriter:
        """Returns what writes rows of this file to another one."""
        ...


class PortionWriter(Protocol):
    """Writes a file like the one that portions come from."""

    def write(self, portion: Portion, values: Sequence[str | None], rules: Sequence[str | None]) -> None:
        """Writes a portion with the value of each row, and the rule that decided; None where it has no token."""
        ...

    def close(self) -> None:
        """Completes the file, which stays open."""
        ...


def path_of(name: str, option: str) -> FieldPath:
    """Returns the path that an option names; refuses one into a list."""
    try:
        path = FieldPath.parse(name)
    except ValueError as error:
        raise ConfigError(f"{option} {name}: {error}") from None
    if EACH in path.steps:
        raise ConfigError(f"{option} {name}: is in a list; only columns with one value a row can be asked for")
    return path


def new_name(column: str, names: Sequence[str]) -> str:
    """Returns the name of the column that says which rule decided; refuses a file that has one of that name."""
    name = f"{column}_rule"
    if name in names:
        raise ConfigError(f"--from: has a column {name!r} already, which is to say why a row was refused; rename it")
    return name


def unreadable(path: Path, error: Exception) -> InputError:
    """Returns the error for a file that cannot be read."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return InputError(f"--from {path}: cannot be read ({why}); name a sound file")

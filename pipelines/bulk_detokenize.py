"""Detokenizes a column of a file into a file, under the same rules and log as a single token. Never loads Beam.

A portion of rows is judged and logged, and only then written: into a file that nobody else can read, and that appears
when all of it is there. Memory does not grow with the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schemas.errors import ConfigError, OutputError
from ..transforms.access.detokenize import AnsweredColumn, Desk
from ..transforms.actions import REDACTED
from .private_file import private_file
from .token_files import open_token_file
from .token_portions import Portion, TokenFile

__all__ = ["BulkReport", "BulkRequest", "detokenize_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """What is asked for.

    Attributes:
        source: Parquet, CSV or JSON Lines.
        column: Column of tokens.
        out: A file that does not exist.
        purpose: What the values are needed for.
        role: The role in which the actor asks.
        actor: Who asks.
        domain: Token domain; None: as the column's metadata say.
        key_version: Only values of this version; None: of the one that the metadata say, else of any.
        subject: The customer whose permission decides about all rows; None: none is named.
        subject_column: Column with the id of the customer whose permission decides about its row.
    """

    source: Path
    column: str
    out: Path
    purpose: str
    role: str
    actor: str
    domain: str | None = None
    key_version: int | None = None
    subject: str | None = None
    subject_column: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkReport:
    """What came of it.

    Attributes:
        domain: Token domain that was asked.
        rows: Rows of the file that were read.
        redacted: Rows whose cell ``protect`` or ``redact`` left as ``[redacted]``; it holds no token, and stays.
        rules: How many tokens each rule decided about.
        says: Each of these rules as one sentence.
        written: Whether there is a file; not where the policy refuses the request whatever the token.
    """

    domain: str
    rows: int
    redacted: int
    rules: dict[str, int]
    says: dict[str, str]
    written: bool

    @property
    def allowed(self) -> int:
        """Tokens whose value was given out."""
        return self.rules.get("permitted", 0)

    @property
    def refused(self) -> int:
        """Tokens that were refused."""
        return sum(self.rules.values()) - self.allowed

    def as_json(self) -> dict[str, Any]:
        """Returns the document of ``detokenize --from --json``."""
        return {
            "domain": self.domain,
            "rows": self.rows,
            "redacted": self.redacted,
            "tokens": self.allowed + self.refused,
            "allowed": self.allowed,
            "refused": self.refused,
            "written": self.written,
            "rules": [
                {"rule": rule, "count": count, "says": self.says[rule]} for rule, count in sorted(self.rules.items())
            ],
        }


class _RefusedWholeError(Exception):
    """The policy refuses the request, whatever the token."""


def detokenize_file(
    desk: Desk, request: BulkRequest, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> BulkReport:
    """Writes a file with the values of a column that may be given out, and returns what came of it.

    Columns and rows stay; where a token is refused its value is null, and the column ``…_rule`` says why. What is null
    or ``[redacted]`` is no token: it stays as it is, nobody is asked for it, and no rule stands beside it. Where the
    policy refuses the request whatever the token, that is logged for the first portion, and no file is written.

    Raises:
        ConfigError: Column, domain or options do not fit; nothing was asked.
        InputError: The file cannot be read to its end; no file was written.
        OutputError: ``out`` exists or cannot be written; no file was written.
        PrivacyError: As ``Desk.detokenize``; no file was written.
    """
    if request.subject is not None and request.subject_column is not None:
        raise ConfigError("--subject: not with --subject-column, which names a customer for each row; leave one out")
    source = open_token_file(request.source, request.column, request.subject_column)
    asking = _Asking(desk, request, *_domain_of(source, request))
    try:
        with private_file(request.out) as file:
            writer = source.writer(file)
            for portion in source.portions():
                writer.write(portion, *asking.answers(portion))
                progress(asking.rows, 0)
            writer.close()
    except _RefusedWholeError:
        return asking.report(written=False)
    except OSError as error:
        raise OutputError(f"{request.out}: cannot be written ({error.strerror}); see to its disk") from None
    return asking.report(written=True)


class _Asking:
    """Asks the desk for one portion after the other, and counts."""

    def __init__(self, desk: Desk, request: BulkRequest, domain: str, key_version: int | None) -> None:
        self._desk = desk
        self._request = request
        self._domain = domain
        self._key_version = key_version
        self._rules: Counter[str] = Counter()
        self._says: dict[str, str] = {}
        self._redacted = 0
        self.rows = 0

    def answers(self, portion: Portion) -> tuple[Sequence[str | None], Sequence[str | None]]:
        """Returns the value of each row, and the rule that decided; the cell as it is and None where it is no token."""
        places = [place for place, token in enumerate(portion.tokens) if token is not None and token != REDACTED]
        answered = self._asked(portion, places)
        self.rows += len(portion.tokens)
        self._redacted += portion.tokens.count(REDACTED)
        names = {rule: rule.value for rule in answered.says}
        self._rules.update({names[rule]: count for rule, count in Counter(answered.rules).items()})
        self._says |= {names[rule]: says for rule, says in answered.says.items()}
        if answered.standing:
            raise _RefusedWholeError
        rules: list[str | None] = [names[rule] for rule in answered.rules]
        if len(places) == len(portion.tokens):
            return answered.values, rules
        return _spread(answered.values, places, portion.tokens), _spread(rules, places, [None] * len(portion.tokens))

    def report(self, *, written: bool) -> BulkReport:
        """Returns what came of all portions."""
        return BulkReport(
            domain=self._domain,
            rows=self.rows,
            redacted=self._redacted,
            rules=dict(self._rules),
            says=self._says,
            written=written,
        )

    def _asked(self, portion: Portion, places: Sequence[int]) -> AnsweredColumn:
        request, subjects = self._request, portion.subjects
        return self._desk.detokenize_column(
            self._domain,
            [token for place in places if (token := portion.tokens[place]) is not None],
            purpose=request.purpose,
            role=request.role,
            actor=request.actor,
            subjects=request.subject if subjects is None else [subjects[place] for place in places],
            key_version=self._key_version,
        )


def _spread(found: Sequence[str | None], places: Sequence[int], others: Sequence[str | None]) -> list[str | None]:
    """Returns a column with what was found at some places, and the others as they are."""
    column = list(others)
    for place, each in zip(places, found, strict=True):
        column[place] = each
    return column


def _domain_of(source: TokenFile, request: BulkRequest) -> tuple[str, int | None]:
    """Returns domain and key version: as asked for, or as the column's metadata say."""
    marks, column = source.marks, request.column
    if marks.get("action", "tokenize") != "tokenize":
        raise ConfigError(f"--column {column}: holds no tokens; its action was {marks['action']}")
    said = marks.get("domain")
    if request.domain is not None and said not in (None, request.domain):
        raise ConfigError(f"--domain {request.domain}: the column {column} holds tokens of '{said}'; leave it out")
    domain = request.domain or said
    if domain is None:
        raise ConfigError(f"--domain: the file does not say what the tokens of {column} are; name their token domain")
    version = int(marks["key_version"]) if "key_version" in marks else None
    if request.key_version is not None and version not in (None, request.key_version):
        raise ConfigError(f"--key-version: the tokens of {column} are of version {version}; leave it out")
    return domain, request.key_version or version

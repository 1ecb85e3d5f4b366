"""A small shop on disk, driven by the command line as people and programs drive it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
from consentry.pipelines.cli import main

PROGRAM = Path(sys.executable).with_name("consentry")
AT = "2026-06-01T00:00:00Z"
SUBJECTS = tuple(f"c-{number}" for number in range(6))
CARDS = (
    "4111111111111111", "5555555555554444", "378282246310005",
    "6011111111111117", "4012888888881881", "3530111333300000",
)  # fmt: skip
BROKEN = '{"order_id": "o-broken", "customer": {"email": "kim7@example.com"'
RAW = (*CARDS, "@example.com", "call Ann")


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Standard error as running text, without frames and folds."""
        return " ".join(self.err.replace("│", " ").split())

    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


def run(*arguments: str | Path, input: bytes = b"", cwd: Path | None = None) -> Done:
    """Runs a command in this process, by the function that the program calls."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    stdin = io.TextIOWrapper(io.BytesIO(input), encoding="utf-8")
    code: Any = 0
    before = Path.cwd()
    os.chdir(cwd or before)
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            mock.patch.object(sys, "stdin", stdin),
            mock.patch.object(sys, "argv", ["consentry", *map(str, arguments)]),
        ):
            main()
    except SystemExit as exit_:
        code = exit_.code
    finally:
        os.chdir(before)
    texts = [(stream.flush(), stream.buffer.getvalue().decode())[1] for stream in (out, err)]  # type: ignore[attr-defined]
    return Done(code or 0, *texts)


def process(
    *arguments: str | Path, input: bytes = b"", cwd: Path | None = None, program: tuple[str | Path, ...] = (PROGRAM,),
    **environment: str,
) -> Done:  # fmt: skip
    """Runs a command as a process of its own."""
    done = subprocess.run(
        [*program, *arguments],
        input=input,
        cwd=cwd,
        capture_output=True,
        env={**os.environ, "COLUMNS": "100", **environment},
        timeout=120,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass(frozen=True)
class Shop:
    """A project in ``folder``, its input ``orders.jsonl`` and its output ``out`` beside it."""

    place: Path

    @property
    def folder(self) -> Path:
        return self.place / "shop"

    @property
    def config(self) -> Path:
        return self.folder / "consentry.yaml"

    @property
    def orders(self) -> Path:
        return self.place / "orders.jsonl"

    @property
    def out(self) -> Path:
        return self.place / "out"

    def run(self, *arguments: str | Path, input: bytes = b"") -> Done:
        """Runs a command of this project in this process."""
        return run(*arguments, "--config", self.config, input=input)

    def process(self, *arguments: str | Path, **options: Any) -> Done:
        """Runs a command of this project as a process."""
        return process(*arguments, "--config", self.config, **options)

    def protect(self, *arguments: str | Path, out: str | Path | None = None) -> Done:
        """Protects the orders in this process."""
        return self.run("protect", self.orders, "--dataset", "orders", "--out", out or self.out, *arguments)

    def detokenize(self, domain: str, *tokens: str, input: bytes = b"", **options: str) -> Done:
        """Asks for values in JSON, as a fraud analyst if nothing else is said."""
        asked = {"purpose": "fraud_review", "role": "fraud_analyst", "actor": "finn", **options}
        flags = [text for name, value in asked.items() for text in (f"--{name.replace('_', '-')}", value)]
        return self.run("detokenize", domain, *tokens, *flags, "--json", input=input)

    def rows(self, out: Path | None = None) -> dict[str, dict[str, Any]]:
        """The protected orders by their ids."""
        files = sorted((out or self.out).glob("data/*.parquet"))
        return {row["order_id"]: row for path in files for row in pq.read_table(path).to_pylist()}

    def card_token(self, subject: int, out: Path | None = None) -> str:
        """The token of the card of ``c-SUBJECT``."""
        token: str = self.rows(out)[f"o-{subject}"]["payment"]["card"]["number"]
        return token

    def email_token(self, subject: int) -> str:
        """The token of the address of ``c-SUBJECT``."""
        token: str = self.rows()[f"o-{subject}"]["customer"]["email"]
        return token

    def visible(self) -> list[str]:
        """Everything beside the project, hidden or not."""
        return sorted(path.name for path in self.place.iterdir())

    def stored(self) -> dict[str, bytes]:
        """The files of the project."""
        return {path.name: path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


@dataclass(frozen=True)
class MadeShop:
    """A shop that was made by processes of the command line, and what each of them left."""

    shop: Shop
    init: Done
    imported: Done
    protected: Done


def order(number: int, **changes: Any) -> dict[str, Any]:
    """An order of one of the subjects."""
    subject = number % len(SUBJECTS)
    return {
        "order_id": f"o-{number}",
        "placed_at": "2026-03-01T09:00:00Z",
        "customer": {"id": SUBJECTS[subject], "email": f"kim{subject}@example.com", "birth_date": "1985-08-11"},
        "payment": {"card": {"number": CARDS[subject], "cvv": "675"}},
        "items": [{"sku": "TEA", "quantity": 1, "price": 1.5, "gift_note": "call Ann"}],
        **changes,
    }  # fmt: skip


def event(subject: Any, decision: Any = "granted", at: str = "2026-02-01T09:00:00Z", **changes: Any) -> dict[str, Any]:
    """A consent event about support."""
    said = {"subject": subject, "purpose": "support", "decision": decision, "effective_at": at, "source": "form"}
    return {**said, **changes}


def write_lines(path: Path, lines: list[Any]) -> Path:
    """Writes JSON Lines; a text stands as it is."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path

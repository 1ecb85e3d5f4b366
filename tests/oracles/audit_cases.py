"""What the tests of the audit share: inputs on disk, audits of them, and the policy with suggested lines put in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from consentry.pipelines.audit import run_audit
from consentry.schemas.audit import Audit, AuditColumn, Change, Suggestion
from consentry.schemas.project import Project, read_project
from oracles.form_detector import column_type

NOW = 1_780_272_000_000_000  # 2026-06-01
POLICY = """\
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver what you ordered."}
  support: {basis: consent, says: "So that our staff can look up your order when you call."}
roles:
  agent: {purposes: [support]}
info_types:
  customer_id: {action: tokenize, format: surrogate, domain: customer, collect: [fulfilment]}
  card:
    action: tokenize
    format: pan
    domain: card
    collect: [fulfilment]
    distribute: [support]
    see: {agent: full}
    finds: [CREDIT_CARD]
  place: {action: generalize, to: {prefix: 2}, collect: [fulfilment]}
  note: {action: scan, collect: [fulfilment]}
datasets:
  orders:
    subject: id
    event_time: at
    fields:
      id: customer_id
      at: keep
"""
CONFIG = """\
tenant: shop
policy: policy.yaml
keyring: keyring.json
kek: file:kek.key
vault: sqlite:vault.db
data_keys: sqlite:data_keys.db
ledger: sqlite:ledger.db
access_log: sqlite:access.db
trust: proof.pub
"""
ROWS = 40
CARDS = [f"4{number:014d}" for number in range(ROWS)]


def with_check_digit(digits: str) -> str:
    """A number of the Luhn kind."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return f"{digits}{-total % 10}"


CARDS = [with_check_digit(digits) for digits in CARDS]
EMAILS = [f"kim{number}@example.com" for number in range(ROWS)]
WORDS = [f"w{number % 7}" for number in range(ROWS)]


def project_of(folder: Path, *fields: str, policy: str = POLICY) -> Project:
    """A project without stores, whose dataset has some more fields."""
    (folder / "consentry.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "policy.yaml").write_text(policy + "".join(f"      {field}\n" for field in fields), encoding="utf-8")
    return read_project(folder / "consentry.yaml")


def table_of(path: Path, **columns: Any) -> Path:
    """A Parquet file of some columns, and of ids and times."""
    ids = {"id": [f"c-{number}" for number in range(ROWS)], "at": ["2026-03-01T09:00:00Z"] * ROWS}
    pq.write_table(pa.table({**ids, **columns}), path)
    return path


def audited(path: Path, project: Project | None = None, **options: Any) -> Audit:
    """The audit of a file, held against the dataset of the project."""
    dataset = options.pop("dataset", "orders" if project is not None else None)
    return run_audit([str(path)], detect=column_type, now=NOW, project=project, dataset=dataset, **options)


def at(audit: Audit, path: str) -> AuditColumn:
    """The column of that path."""
    (found,) = [column for column in audit.columns if column.path == path]
    return found


def changed(policy: str, suggestions: Iterable[Suggestion]) -> str:
    """A policy with suggested lines put where they say that they belong."""
    lines = policy.splitlines()
    for suggestion in sorted(dict.fromkeys(suggestions), key=lambda each: -(each.line or 0)):
        assert suggestion.line is not None, suggestion
        new = suggestion.lines.splitlines()
        if suggestion.change is Change.ADD:
            lines[suggestion.line : suggestion.line] = new
        else:
            lines[suggestion.line - 1 : _end_of_entry(lines, suggestion.line)] = new
    return "\n".join(lines) + "\n"


def _end_of_entry(lines: list[str], line: int) -> int:
    indent = len(lines[line - 1]) - len(lines[line - 1].lstrip())
    end = line
    while end < len(lines) and len(lines[end]) - len(lines[end].lstrip()) > indent:
        end += 1
    return end

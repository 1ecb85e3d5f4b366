"""What the demo prints: a few tables, in colour on a terminal and plain in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

__all__ = [
    "answer",
    "books",
    "command",
    "consent",
    "dead_letters",
    "failure",
    "fields",
    "next_steps",
    "places",
    "query",
    "record",
    "said",
    "step",
]

Record = dict[str, Any]

WIDTH = 112
SHOWN = {
    "customer id": "customer.id",
    "email": "customer.email",
    "phone": "customer.phone",
    "birth date": "customer.birth_date",
    "card": "payment.card.number",
    "verification code": "payment.card.cvv",
    "gift notes": "items.gift_note",
}
OUTCOMES = {
    "distributable": "tokens; raw may be vaulted for some purpose",
    "token_only": "tokens; raw is not kept anywhere",
    "redacted": "not even a token",
    "no_subject": "nobody is named, so nothing is permitted",
    "dropped": "the dataset's own `collect` is not permitted",
}

_terminal = Console(highlight=False)
console = _terminal if _terminal.is_terminal else Console(highlight=False, width=WIDTH)


def step(title: str) -> None:
    """Begins a step."""
    console.print(f"\n[bold cyan]{escape(title)}[/]")


def command(*words: str) -> None:
    """Shows a command that is about to run."""
    console.print(f"[dim]$ {escape(' '.join(words))}[/]", soft_wrap=True)


def said(text: str) -> None:
    """Shows in a line what came of a command."""
    console.print(f"  [green]{escape(text)}[/]", soft_wrap=True)


def failure(text: str) -> None:
    """Shows why the demo ends early."""
    console.print(f"[bold red]{escape(text)}[/]", soft_wrap=True)


def books(manifests: Sequence[Record]) -> None:
    """Shows that in = out + dropped + dead-lettered, for each dataset."""
    rows = []
    for manifest in manifests:
        count = manifest["books"]
        balances = count["in"] == count["out"] + count["dropped"] + count["dead_lettered"]
        numbers = [count[name] for name in ("in", "out", "dropped", "dead_lettered")]
        rows.append((manifest["dataset"], *numbers, "[green]yes[/]" if balances else "[red]no[/]"))
    _table("The balance", ("dataset", "in", "= out", "+ dropped", "+ dead-lettered", "balances"), rows)


def dead_letters(manifests: Sequence[Record]) -> None:
    """Shows why records could not be processed."""
    rows = [
        (manifest["dataset"], reason, count) for manifest in manifests for reason, count in manifest["reasons"].items()
    ]
    _table("Dead letters: sealed, with place and reason", ("dataset", "reason", "records"), rows)


def consent(manifests: Sequence[Record]) -> None:
    """Shows the records by the most that their permissions allow."""
    counts = [{**manifest["consent"], "dropped": manifest["books"]["dropped"]} for manifest in manifests]
    columns = ("outcome", *(manifest["dataset"] for manifest in manifests), "meaning")
    rows = [(name, *(count[name] for count in counts), escape(says)) for name, says in OUTCOMES.items()]
    _table("Rows by consent", columns, rows)


def fields(manifest: Record) -> None:
    """Shows what became of the values of each field that asks for permission."""
    rows = []
    for path, field in manifest["fields"].items():
        counts = field["outcomes"]
        changed = sum(counts.get(name, 0) for name in ("tokenized", "generalized"))
        if field["action"] not in ("tokenize", "generalize"):
            continue
        unfit = sum(count for name, count in counts.items() if name.startswith("redacted_invalid"))
        vaulted = counts.get("vault_candidate") if field["action"] == "tokenize" else None
        denied = counts.get("redacted_no_permission", 0)
        rows.append((escape(path), field["action"], changed, vaulted, denied, unfit))
    columns = ("field", "action", "values", "raw to the vault", "redacted: not permitted", "redacted: does not fit")
    _table(f"Fields of {manifest['dataset']}: consent decides value by value", columns, rows)


def record(title: str, before: Record, after: Record) -> None:
    """Shows some fields of an order before and after."""
    rows = [(name, _shown(_at(before, path)), _shown(_at(after, path))) for name, path in SHOWN.items()]
    _table(f"{after['order_id']}, {title}", ("field", "before", "after"), rows)


def query(title: str, sql: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Shows a query and its first rows."""
    step(title)
    console.print(Syntax(sql, "sql", background_color="default") if console.is_terminal else sql)
    _table("", columns, rows)


def answer(found: Record) -> None:
    """Shows an answer of the desk."""
    allowed = found["decision"] == "allowed"
    value = f": [bold]{escape(found['value'])}[/] ({found['shown']})" if allowed else ""
    colour = "green" if allowed else "red"
    console.print(f"  [{colour}]{found['decision']}[/], {found['domain']}{value}")
    console.print(f"  {escape(found['says'])}")
    for option in found["options"]:
        console.print(f"    • {escape(option['says'])}", soft_wrap=True)


def places(place: Path) -> None:
    """Shows where the files lie."""
    rows = [
        (f"{place}/out/*/data/*.parquet", "the tokenized tables, for analysts"),
        (f"{place}/out/*/dead_letters/*.parquet", "what could not be processed, sealed"),
        (f"{place}/out/*/manifest.json", "the signed account of each run"),
        (f"{place}/shop/policy.yaml", "the policy; read it, it is short"),
        (f"{place}/shop/*.db", "vault, data keys, consent ledger, access log"),
        (f"{place}/shop/keyring.json, kek.key", "the keys, and the key that wraps them"),
        (f"{place}/shop/proof.pub", "the public keys that verify outputs"),
    ]
    step("Where the files lie")
    _table("", ("file", "what it is"), rows)


def next_steps(steps: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Shows commands to copy."""
    step("What to try next")
    for why, words in steps:
        console.print(f"  {escape(why)}:")
        console.print(f"    [bold]{escape(' '.join(words))}[/]", soft_wrap=True)
    console.print("  Then read README.md and docs/policy-guide.md.")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", min_width=60)
    for place, column in enumerate(columns):
        numeric = all(isinstance(row[place], int | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]–[/]"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _at(record: Any, path: str) -> Any:
    """The value at a dotted path; of a list, those of its elements that have one."""
    for name in path.split("."):
        if isinstance(record, list):
            return [value for each in record if (value := _at(each, name)) is not None]
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _shown(value: Any) -> str:
    if value in (None, []):
        return "[dim]–[/]"
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    return escape(text).replace(r"\[redacted]", r"[red]\[redacted][/]")

"""A whole run on real files: nested orders in, tokens out, the vault as consent allows, books that balance."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import batch
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_stores
from consentry.pipelines.graph import RunWatch
from consentry.pipelines.outcome import READ, Outcome
from consentry.pipelines.pipeline_runs import run_pipeline
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.verify import verify_output
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.errors import ConfigError, OutputError, PrivacyError, RunError, StoppedError
from consentry.schemas.manifest import Books, Manifest, parse_manifest
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.schemas.text_tokens import text_tokens
from consentry.transforms.access.detokenize import distribution_rules
from consentry.transforms.crypto.key_sets import PublicKeys
from consentry.transforms.stores import sqlite_database
from consentry.transforms.tally import Tally
from effort import SOAK

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
PLACED = "2026-03-01T09:00:00Z"
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117")
BROKEN = ['{"order_id": "broken", ', "[1, 2]", '{"order_id": "o-x", "order_id": "o-y"}']

NOTE = "call ann.k@example.com"


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number}",
        "placed_at": PLACED,
        "customer": {
            "id": f"c-{number % 7}", "email": f"kim{number % 7}@example.com", "birth_date": "1985-08-11",
        },
        "payment": {"card": {"number": CARDS[number % 7 % 4], "cvv": "67x5"}},
        "items": [{"sku": "TEA", "quantity": n, "price": 1.5, "gift_note": NOTE} for n in range(number % 3)],
        **changes,
    }  # fmt: skip


@dataclass
class Shop:
    """A project on disk, with consents of c-0 … c-3 to support, and orders of c-0 … c-6."""

    folder: Path
    project: Project

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def orders(self) -> Path:
        return self.folder / "orders.jsonl"

    def write(self, lines: list[Any]) -> None:
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.orders.write_text("".join(f"{text}\n" for text in texts))

    def consent(self, subject: str, decision: str, at: int, purpose: str = "support") -> None:
        event = ConsentEvent(
            subject=subject, purpose=purpose, decision=Decision(decision), effective_at=at, source="test"
        )
        with open_stores(self.project) as stores:
            stores.ledger.append([event], now=at)

    def protect(self, *inputs: str, dataset: str = "orders", out: str | None = None, **options: Any) -> Manifest:
        options = {"now": NOW, "clock": lambda: NOW + 5, **options}
        return run_protect(self.project, list(inputs or [str(self.orders)]), dataset, out or str(self.out), **options)

    def rows(self, out: Path | None = None) -> list[dict[str, Any]]:
        rows = [
            row for path in sorted((out or self.out).glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()
        ]
        return sorted(rows, key=lambda row: str(row["order_id"]))

    def letters(self) -> list[tuple[Any, ...]]:
        tables = [pq.read_table(path) for path in self.out.glob("dead_letters/*.parquet")]
        rows = [row for table in tables for row in table.to_pylist()]
        return sorted((row["position"], row["stage"], row["reason"], row["dataset"]) for row in rows)

    def assert_verified(self, out: str | None = None) -> None:
        report = verify_output(out or str(self.out), PublicKeys.load(self.project.trust))
        assert report.ok, [check for check in report.checks if not check.ok]

    def vaulted(self, domain: str = "email") -> list[str]:
        """The raw values in the vault for the tokens of the output."""
        with open_stores(self.project) as stores:
            tokens = {row["customer"]["email"] for row in self.rows() if row["customer"]["email"]}
            entries = [entry for token in sorted(tokens) for entry in stores.vault.find(domain, token)]
            return sorted(stores.vault.open_value(entry) for entry in entries)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    write_project(tmp_path / "shop", tenant="shop", now=NOW - DAY)
    shop = Shop(tmp_path / "shop", read_project(tmp_path / "shop" / "consentry.yaml"))
    for subject in range(4):
        shop.consent(f"c-{subject}", "granted", 1_767_225_600_000_000)
    shop.write([order(number) for number in range(40)])
    return shop


def test_orders_go_in_and_a_verified_output_comes_out(shop: Shop) -> None:
    manifest = shop.protect()
    shop.assert_verified()
    assert manifest.books == Books(in_=40, out=40, dropped=0, dead_lettered=0)
    assert parse_manifest((shop.out / "manifest.json").read_bytes())[0] == manifest
    assert sorted(path.name for path in shop.folder.iterdir() if path.name.startswith(".out")) == []
    (row,) = [row for row in shop.rows() if row["order_id"] == "o-5"]
    raw = order(5)
    assert (row["placed_at"], row["order_id"]) == (raw["placed_at"], "o-5")
    assert [item["sku"] for item in row["items"]] == ["TEA", "TEA"]
    assert row["payment"]["card"].keys() == {"number"}
    token = row["payment"]["card"]["number"]
    assert token != raw["payment"]["card"]["number"]
    assert (len(token), token[-4:]) == (len(raw["payment"]["card"]["number"]), raw["payment"]["card"]["number"][-4:])
    assert row["customer"]["email"].endswith(".invalid")
    for item in row["items"]:
        (token,) = text_tokens(item["gift_note"])
        assert token.info_type == "email" and item["gift_note"].startswith("call [")


def test_no_raw_value_is_in_the_output_decoded_or_not(shop: Shop) -> None:
    shop.write([*(order(number) for number in range(20)), '{"customer": {"email": "kim9@example.com"}, '])
    shop.protect()
    decoded = json.dumps(shop.rows()).encode() + repr(shop.letters()).encode()
    whole = decoded + b"".join(path.read_bytes() for path in shop.out.rglob("*") if path.is_file())
    for raw in (*CARDS, "@example.com", "ann.k", "67x5"):
        assert raw.encode() not in decoded, raw
    assert b"kim9@" not in whole


def test_the_same_value_has_the_same_token_in_every_record(shop: Shop) -> None:
    shop.protect()
    tokens: dict[str, set[str]] = {}
    for row in shop.rows():
        number = int(row["order_id"].removeprefix("o-"))
        tokens.setdefault(CARDS[number % 7 % 4], set()).add(row["payment"]["card"]["number"])
    assert {len(found) for found in tokens.values()} == {1}
    assert len({token for found in tokens.values() for token in found}) == len(CARDS)


def test_the_vault_holds_what_consent_allows_and_nothing_else(shop: Shop) -> None:
    manifest = shop.protect()
    assert shop.vaulted("email") == [f"kim{subject}@example.com" for subject in range(4)]
    assert manifest.vault.written > 0
    assert manifest.consent.total == 40
    assert manifest.fields["customer.email"].outcomes["vault_candidate"] == sum(n % 7 < 4 for n in range(40))


def test_a_second_run_writes_the_same_rows_and_nothing_to_the_vault(shop: Shop) -> None:
    first = shop.protect()
    rows = shop.rows()
    second = shop.protect(replace=True)
    assert shop.rows() == rows
    assert (second.vault.written, second.vault.present) == (0, first.vault.written + first.vault.present)
    assert second.run != first.run


def test_broken_lines_become_dead_letters_with_position_and_reason(shop: Shop) -> None:
    lines: list[Any] = [order(number) for number in range(30)]
    for place, line in zip((4, 11, 29), BROKEN, strict=True):
        lines.insert(place, line)
    lines.append(order(40, placed_at="2026-03-01T09:00:00"))
    shop.write(lines)
    manifest = shop.protect()
    shop.assert_verified()
    assert manifest.books == Books(in_=34, out=30, dropped=0, dead_lettered=4)
    assert [(position, stage, reason) for position, stage, reason, _ in shop.letters()] == [
        (5, "read", "invalid_json"),
        (12, "read", "not_an_object"),
        (30, "read", "duplicate_key"),
        (34, "decide", "event_time_invalid"),
    ]
    assert manifest.reasons == {"duplicate_key": 1, "event_time_invalid": 1, "invalid_json": 1, "not_an_object": 1}


def test_records_that_may_not_be_collected_are_dropped_and_counted(shop: Shop) -> None:
    nobody = {"email": "kim@example.com"}
    shop.write([order(1), order(2, customer=nobody), order(3, customer=nobody)])
    manifest = shop.protect()
    assert manifest.books == Books(in_=3, out=1, dropped=2, dead_lettered=0)


def test_what_the_policy_does_not_name_is_left_out_and_listed(shop: Shop) -> None:
    shop.write([order(1), order(2, browser={"agent": "x"}), order(3, browser={"agent": "y"})])
    manifest = shop.protect()
    assert manifest.drift == {"browser": 2}
    assert all("browser" not in row for row in shop.rows())


def test_fields_are_accounted_for_by_outcome(shop: Shop) -> None:
    shop.write([order(1), order(2), order(3, payment={"card": {"number": "4111", "cvv": "1"}})])
    card = shop.protect().fields["payment.card.number"]
    assert (card.action, card.info_type, card.format, card.domain, card.key_version) == (
        "tokenize", "card", "pan", "card", 1,
    )  # fmt: skip
    assert card.outcomes["tokenized"] == 2
    assert sum(count for name, count in card.outcomes.items() if name.startswith("redacted_invalid:")) == 1
    cvv = shop.protect(replace=True).fields["payment.card.cvv"]
    assert (cvv.action, dict(cvv.outcomes)) == ("drop", {})


def test_a_withdrawal_while_the_run_goes_on_counts_before_anything_is_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_outcome = batch.read_outcome

    def withdrawn_meanwhile(notes: str) -> Outcome:
        shop.consent("c-1", "withdrawn", NOW + 1)
        return read_outcome(notes)

    monkeypatch.setattr(batch, "read_outcome", withdrawn_meanwhile)
    manifest = shop.protect()
    assert manifest.vault.purged > 0
    assert shop.vaulted("email") == ["kim0@example.com", "kim2@example.com", "kim3@example.com"]


def test_the_next_run_rebuilds_a_large_vault_from_which_something_was_removed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_database, "SMALL_BYTES", 0)

    def owes() -> bool:
        with open_stores(shop.project) as stores:
            vault: Any = stores.vault
            return bool(vault._table.owes())

    shop.protect()
    assert not owes()
    shop.consent("c-1", "withdrawn", NOW + 1)
    with open_stores(shop.project) as stores:
        rules = distribution_rules(read_policy(shop.project.policy))
        assert stores.vault.follow(stores.ledger, rules, NOW + 5) > 0
    assert owes()
    shop.protect(replace=True)
    assert not owes()


@pytest.mark.parametrize("key", [READ, ("rows", "dropped"), ("rows", "token_only"), ("rejected", "read", "x")])
def test_a_run_whose_books_do_not_balance_publishes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, key: tuple[str, ...]
) -> None:
    read_outcome = batch.read_outcome

    def cooked(notes: str) -> Outcome:
        outcome = read_outcome(notes)
        counts = dict(outcome.tally.counts)
        counts[key] = counts.get(key, 0) + 1
        return Outcome(Tally(counts), outcome.receipts)

    monkeypatch.setattr(batch, "read_outcome", cooked)
    with pytest.raises(RunError, match="so nothing was published") as caught:
        shop.protect()
    assert caught.value.exit_code == 3
    assert not shop.out.exists()
    assert not list(shop.folder.glob(".out*"))


def test_wrong_use_is_refused_before_anything_is_done(shop: Shop) -> None:
    cases: list[tuple[type[PrivacyError], dict[str, Any]]] = [
        (ConfigError, {"dataset": "refunds"}),
        (ConfigError, {"runner": "NoSuchRunner"}),
        (ConfigError, {"beam_args": ["--direct_num_workers=many"]}),
    ]
    for kind, options in cases:
        with pytest.raises(kind) as caught:
            shop.protect(**options)
        assert caught.value.exit_code == 2
    with pytest.raises(PrivacyError) as caught:
        shop.protect(str(shop.folder / "missing.jsonl"))
    assert caught.value.exit_code == 2
    assert not shop.out.exists()
    assert not list(shop.folder.glob(".out*"))


def test_an_earlier_output_is_kept_without_replace(shop: Shop) -> None:
    before = shop.protect()
    with pytest.raises(OutputError, match="add --replace"):
        shop.protect()
    assert parse_manifest((shop.out / "manifest.json").read_bytes())[0] == before


def test_a_run_that_could_not_be_signed_is_not_begun(shop: Shop) -> None:
    (shop.folder / "kek.key").write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
    with pytest.raises(PrivacyError, match="wrapped"):
        shop.protect()
    assert not shop.out.exists()


@pytest.mark.parametrize("name", ["vault.db", "ledger.db", "data_keys.db"])
def test_a_damaged_store_stops_the_run_and_shows_nothing(shop: Shop, name: str) -> None:
    for rest in shop.folder.glob(f"{name}*"):
        rest.unlink()
    (shop.folder / name).write_bytes(b"x" * 5000)
    with pytest.raises(PrivacyError):
        shop.protect()
    assert not shop.out.exists()


def test_a_failure_on_a_worker_leaves_the_old_output_and_names_no_value(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = shop.protect()

    def failing(*_: Any, **__: Any) -> Any:
        raise ValueError("cannot parse 4111111111111111")

    monkeypatch.setattr("consentry.transforms.protection.protect_batch", failing)
    with pytest.raises(RunError, match="protect: failed with ValueError") as caught:
        shop.protect(replace=True)
    assert caught.value.exit_code == 3
    assert "4111" not in str(caught.value) + repr(caught.value.__context__) + "".join(capfd.readouterr())
    assert parse_manifest((shop.out / "manifest.json").read_bytes())[0] == before
    assert not list(shop.folder.glob(".out*"))


def test_empty_input_makes_an_output_of_no_records(shop: Shop) -> None:
    shop.write([])
    assert shop.protect().books == Books(in_=0, out=0, dropped=0, dead_lettered=0)
    shop.assert_verified()


def test_an_input_without_a_row_that_leaves_still_has_its_columns(shop: Shop) -> None:
    shop.write([order(1, customer={"id": None, "email": "kim@example.com", "birth_date": None})])
    manifest = shop.protect()
    assert (manifest.books.out, manifest.books.dropped, len(manifest.files)) == (0, 1, 1)
    shop.assert_verified()
    assert "payment" in pq.read_schema(next(shop.out.glob("data/*.parquet"))).names


def test_two_threads_write_a_file_each_and_their_books_are_one(shop: Shop) -> None:
    table = pa.Table.from_pylist([order(number) for number in range(400)])
    for part in range(4):
        pq.write_table(table.slice(part * 100, 100), shop.folder / f"part{part}.parquet")
    manifest = shop.protect(str(shop.folder / "part*.parquet"), beam_args=["--direct_num_workers=2"])
    assert manifest.books == Books(in_=400, out=400, dropped=0, dead_lettered=0)
    assert len(manifest.files) == 2
    assert manifest.inputs.files == 4
    shop.assert_verified()


def test_another_beam_runner_gives_the_same_rows(shop: Shop) -> None:
    shop.protect()
    rows = shop.rows()
    shop.protect(replace=True, runner="apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner")
    assert shop.rows() == rows
    shop.assert_verified()


def test_an_output_in_an_object_store_is_verified_and_replaced(shop: Shop, shelf: Callable[[str], str]) -> None:
    shop.protect(out=shelf("orders"))
    shop.assert_verified(shelf("orders"))
    with pytest.raises(OutputError):
        shop.protect(out=shelf("orders"))
    shop.protect(out=shelf("orders"), replace=True)
    shop.assert_verified(shelf("orders"))


def test_progress_ends_at_the_whole(shop: Shop) -> None:
    calls: list[tuple[int, int]] = []
    shop.protect(progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] > 0
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("after", [0, 1, 2**62], ids=["before it begins", "in the midst", "at its end"])
def test_a_run_that_is_told_to_stop_leaves_the_old_output(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    shop.protect()
    before, stop = shop.rows(), threading.Event()
    shop.write([order(number) for number in range(30_000)])  # more than one batch
    add = RunWatch.add

    def adding(watch: RunWatch, count: int) -> None:
        add(watch, count)
        if watch.count >= after:
            stop.set()

    monkeypatch.setattr(RunWatch, "add", adding)
    if after > 1:
        monkeypatch.setattr(batch, "run_pipeline", lambda pipeline: (run_pipeline(pipeline), stop.set()))
    if after == 0:
        stop.set()
    with pytest.raises(StoppedError, match=r"^the run was told to stop; no output became visible$"):
        shop.protect(replace=True, stop=stop)
    assert shop.rows() == before
    assert not list(shop.folder.glob(".out*"))
    monkeypatch.undo()
    assert shop.protect(replace=True, stop=threading.Event()).books.out == 30_000


RUN = """
import sys, time
from pathlib import Path
from consentry.pipelines.batch import run_protect
from consentry.schemas.project import read_project
project = read_project(Path(sys.argv[1]))
for line in sys.stdin:
    run_protect(project, [sys.argv[2]], "orders", sys.argv[3], now=int(sys.argv[4]), replace=True)
    print("done", flush=True)
"""


def test_killing_runs_at_random_moments_loses_nothing_and_doubles_nothing(shop: Shop) -> None:
    shop.write([*(order(number) for number in range(3000)), *BROKEN])
    undisturbed = shop.folder / "undisturbed"
    pauses = random.Random(20261124)
    command = [sys.executable, "-c", RUN, shop.folder / "consentry.yaml", shop.orders, shop.out, str(NOW)]
    seconds = 1.0
    for attempt in range(10 if SOAK else 5):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as program:
            assert program.stdin is not None and program.stdout is not None
            if attempt == 0:  # how long one takes, imports and all
                begun = time.monotonic()
                print("go", file=program.stdin, flush=True)
                assert program.stdout.readline() == "done\n"
                seconds = time.monotonic() - begun
                shop.assert_verified()
                continue
            print("go", file=program.stdin, flush=True)
            time.sleep(pauses.uniform(0.4, 1.1) * seconds)
            os.kill(program.pid, signal.SIGKILL)
        shop.assert_verified()
    last = shop.protect(replace=True)
    assert not list(shop.folder.glob(".out*"))
    assert last.vault.written == 0
    rows, vaulted = shop.rows(), shop.vaulted("email")
    shop.protect(out=str(undisturbed))
    assert shop.rows(undisturbed) == rows
    assert vaulted == [f"kim{subject}@example.com" for subject in range(4)]


def test_the_vault_keeps_a_value_no_longer_than_its_info_type_says(shop: Shop) -> None:
    policy = shop.project.policy.read_text()
    shop.write([order(number, placed_at="2026-06-01T09:00:00Z" if number % 7 == 0 else PLACED) for number in range(14)])
    shop.protect()
    assert len(shop.vaulted("email")) == 4
    assert "    distribute: [support]\n" in policy
    shop.project.policy.write_text(
        policy.replace("    distribute: [support]\n", "    distribute: [support]\n    retain: 200d\n", 1)
    )
    shop.protect(replace=True)
    assert shop.vaulted("email") == ["kim0@example.com"], "the others' last order was more than 200 days ago"

"""No raw value leaves by a way that nobody meant: files, stores, logs, errors, temporary files, pickles.

Canaries stand in every field of good, refused, broken and failing records. Afterwards every byte that a run leaves
behind is searched for them in many spellings.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from consentry.pipelines import graph
from consentry.pipelines.batch import run_protect
from consentry.pipelines.desk import open_desk
from consentry.pipelines.scaffold import write_project
from consentry.schemas.errors import PrivacyError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms.stage import SharedStage, settle_stage
from oracles.needles import contents, leaks, spellings
from oracles.pipeline_graphs import readable

ROOT = Path(__file__).parent.parent.parent
NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
CARD = "4539 1488 0343 6467"
# What no byte of a run may hold: the values of these records, and the ids of the customers.
SECRETS = (
    CARD, "5425-2334-3010-9903", "374245455400126", "6011000990139424", "canary.ann@geheim-post.example",
    "geheim-post.example", "+49 151 55501234", "DE89 3704 0044 0532 0130 00", "Ottilie Kanarienvogel", "1971-03-29",
    "5105-1051-0510-5100", "Kanarienstadt", "94117-Xq", "203.0.113.77", "secret-agent-string", "cust-Zq7-000417",
    "cust-Zq7-000418", "evidence-kanarie-1", "source-kanarie-1", "broken-line-kanarie", "cvv-kanarie-971",
)  # fmt: skip


def order(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "order_id": f"o-{number}",
        "placed_at": "2026-03-01T09:00:00Z",
        "customer": {
            "id": "cust-Zq7-000417", "name": "Ottilie Kanarienvogel", "email": "canary.ann@geheim-post.example",
            "phone": "+49 151 55501234", "birth_date": "1971-03-29", "locale": "de-DE",
        },
        "payment": {
            "method": "card", "card": {"number": CARD, "cvv": "cvv-kanarie-971", "expires": "2029-04"},
            "iban": "DE89 3704 0044 0532 0130 00",
        },
        "items": [{"sku": "TEA", "quantity": 1, "price": 2.5, "gift_note": "take 5105-1051-0510-5100 twice"}],
        "shipping": {"country": "DE", "city": "Kanarienstadt", "postcode": "94117-Xq"},
        "client_ip": "203.0.113.77",
        **changes,
    }  # fmt: skip


def lines() -> list[str]:
    """Records that leave, that may not be kept, that do not fit, that break, and that nobody declared."""
    stranger = {**order(0)["customer"], "id": "cust-Zq7-000418"}
    odd_card = {"method": "card", "card": {"number": "5425-2334-3010-9903", "cvv": "cvv-kanarie-971"}, "iban": CARD}
    records: list[Any] = [
        order(1),
        order(2, customer=stranger),
        order(3, payment=odd_card, client_ip=CARD),
        order(4, customer={**stranger, "id": None}),
        order(5, placed_at=f"2026-03-01 {CARD}"),
        order(6, browser={"agent": "secret-agent-string", CARD: "374245455400126"}),
        order(6, customer={**stranger, "canary.ann@geheim-post.example": True, CARD: 1}),
        order(7, customer={**stranger, "email": CARD, "phone": "canary.ann@geheim-post.example", "birth_date": CARD}),
        order(8, items="6011000990139424"),
        order(9, customer={**stranger, "id": {"deep": "cust-Zq7-000418"}}),
        order(10, shipping={"country": "DE", "postcode": 6011000990139424}),
    ]
    texts = [json.dumps(record) for record in records]
    return [
        *texts,
        texts[0][:-20] + " broken-line-kanarie",
        '{"customer": {"email": "canary.ann@geheim-post.example"}, "customer": {"name": "Ottilie Kanarienvogel"}}',
        f'["{CARD}"]',
        f'"broken-line-kanarie {CARD}"',
    ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The sample shop's policy, with a consent whose source and evidence are canaries."""
    folder = tmp_path / "shop"
    write_project(folder, tenant="shop", now=NOW - DAY)
    shutil.copy(ROOT / "examples" / "orders" / "policy.yaml", folder / "policy.yaml")
    event = {
        "subject": "cust-Zq7-000417", "purpose": "support", "decision": "granted",
        "effective_at": "2026-01-01T00:00:00Z", "source": "source-kanarie-1", "evidence": "evidence-kanarie-1",
    }  # fmt: skip
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "consents.jsonl").write_text(json.dumps(event) + "\n")
    (inputs / "orders.jsonl").write_text("\n".join(lines()) + "\n")
    assert run_cli(folder, "consent", "import", str(inputs / "consents.jsonl")).returncode == 0
    return read_project(folder / "consentry.yaml")


def run_cli(folder: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs the real program, with a temporary folder of its own beside the project."""
    temporary = folder.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    program = Path(sys.executable).parent / "consentry"
    return subprocess.run(
        [program, *arguments, "--config", folder / "consentry.yaml"],
        input=None if stdin is None else stdin.encode(),
        capture_output=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        cwd=folder,
    )


def left_behind(project: Project) -> Iterator[tuple[str, bytes]]:
    """Every byte of the project, its outputs and the temporary folder; not of the inputs."""
    yield from contents(project.root)
    yield from contents(project.root.parent / "tmp")


@pytest.mark.parametrize("name", spellings(CARD))
def test_the_search_itself_finds_a_secret_however_it_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "log").write_bytes(b"before " + spellings(CARD)[name] + b" after")
    assert leaks([CARD], contents(tmp_path))


@pytest.mark.parametrize("shift", range(5))
def test_the_search_finds_base64_at_every_place(tmp_path: Path, shift: int) -> None:
    import base64

    (tmp_path / "log").write_bytes(base64.b64encode(b"x" * shift + CARD.encode() + b"yy"))
    assert leaks([CARD], contents(tmp_path))


def test_a_run_leaves_no_raw_value_anywhere(project: Project) -> None:
    out = project.root / "out"
    done = run_cli(
        project.root, "protect", str(project.root.parent / "inputs" / "orders.jsonl"), "--dataset", "orders",
        "--out", str(out), "--at", "2026-07-01T00:00:00Z", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    manifest = json.loads(done.stdout)
    assert manifest["books"]["in"] == 15
    assert manifest["books"]["dead_lettered"] >= 4 and manifest["books"]["out"] >= 4 and manifest["books"]["dropped"]
    assert manifest["vault"]["written"] >= 3, "the values that may be kept are in the vault, sealed"
    assert run_cli(project.root, "verify", str(out)).returncode == 0
    places = [*left_behind(project), ("stdout", done.stdout), ("stderr", done.stderr)]
    assert leaks(SECRETS, places) == []


def test_detokenizing_shows_a_value_on_standard_output_and_nowhere_else(project: Project) -> None:
    inputs = str(project.root.parent / "inputs" / "orders.jsonl")
    run_cli(project.root, "protect", inputs, "--dataset", "orders", "--out", "out", "--at", "2026-07-01T00:00:00Z")
    import pyarrow.parquet as pq

    (path,) = (project.root / "out").glob("data/*.parquet")
    row = next(row for row in pq.read_table(path).to_pylist() if row["order_id"] == "o-1")
    token = row["payment"]["card"]["number"]
    shown = run_cli(
        project.root, "detokenize", "--purpose", "fraud_review", "--role", "fraud_analyst", "--actor", "finn",
        "--subject", "cust-Zq7-000417", "card", "-", stdin=f"{token}\n{CARD}\n",
    )  # fmt: skip
    assert b"4539148803436467" in shown.stdout
    assert leaks(SECRETS, [*left_behind(project), ("stderr", shown.stderr)]) == []


# Where an exception is forced: one place in each stage, and one below each.
FAILING = [
    "consentry.pipelines.graph.read_split",
    "consentry.transforms.consent_decision.decide_batch",
    "consentry.transforms.consent_decision.subject_references",
    "consentry.transforms.protection.protect_batch",
    "consentry.transforms.treatment.redact",
    "consentry.transforms.treatment.contradicting",
    "consentry.transforms.treatment.replaced_spans",
    "consentry.transforms.detection.find_in_texts",
    "consentry.transforms.detection.escaped_around",
    "consentry.transforms.prepared_spans.with_replacements",
    "consentry.transforms.prepared_spans.PreparedSpan.operate",
    "consentry.transforms.vaulting.WaitingBatches.add",
    "consentry.transforms.vaulting.WaitingBatches.release",
    "consentry.transforms.tokens.tokenizer.ColumnTokenizer._part",
    "consentry.transforms.stores.vault.Vault.write",
    "consentry.transforms.stores.sealed_values.seal",
    "consentry.transforms.dead_letters.Sealer.seal_rejected",
    "consentry.transforms.dead_letters.Sealer.seal_lines",
    "consentry.pipelines.sinks.FileWriter.write",
    "consentry.pipelines.sinks.FileWriter.finish",
    "consentry.pipelines.batch.balanced_books",
]


@pytest.mark.parametrize("place", FAILING)
def test_an_exception_that_quotes_its_input_takes_no_value_along(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    temporary = project.root.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    called: list[bool] = []

    def failing(*_: Any, **__: Any) -> Any:
        called.append(True)
        raise ValueError(f"cannot convert {SECRETS}") from KeyError(CARD)

    monkeypatch.setattr(place, failing)
    inputs = [str(project.root.parent / "inputs" / "orders.jsonl")]
    with pytest.raises(Exception) as caught:
        run_protect(project, inputs, "orders", str(project.root / "out"), now=NOW)
    assert called, "the failure was never reached"
    assert not (project.root / "out").exists()
    error = caught.value
    told = [("error", repr(error).encode() + str(error).encode())]
    if place != "consentry.pipelines.batch.balanced_books":  # the launcher holds no record: its errors may be Python's
        assert isinstance(error, PrivacyError) and error.exit_code == 3
        told += [("pickled error", pickle.dumps(error)), ("chain", _chain(error))]
        captured = capfd.readouterr()
        told += [("stdout", captured.out.encode()), ("stderr", captured.err.encode()), ("log", caplog.text.encode())]
        assert leaks(SECRETS, [*left_behind(project), *told]) == []
    else:
        assert leaks(SECRETS, left_behind(project)) == []


def _chain(error: BaseException | None) -> bytes:
    told = ""
    while error is not None:
        told += f"{error!r} {error} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or error.__context__
    return told.encode()


def test_the_pipeline_that_travels_to_workers_holds_no_key_and_no_value(project: Project) -> None:
    policy = read_policy(project.policy)
    config = settle_stage(project, policy, "orders", now=NOW)
    from consentry.pipelines.sources import plan_sources
    from consentry.transforms.protection_plan import plan_protection

    source = project.root.parent / "inputs" / "orders.jsonl"
    source.write_text("\n".join(lines()[:5]) + "\n")  # names of fields travel: none of these is a value
    sources = plan_sources([str(source)])
    plan = plan_protection(policy, "orders", sources.schema, key_version=1)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | graph.ProtectFiles(
        sources.splits, schema=sources.schema, written=plan.schema, stage=SharedStage(config), place="out",
        notes="notes", run="r", watch=graph.SharedWatch(),
    )  # fmt: skip
    proto = readable(pipeline.to_runner_api().SerializeToString())
    assert b"support_agent" in proto, "what travels is the policy"
    key = (project.root / "kek.key").read_text().strip()
    assert leaks([*SECRETS, key], [("pipeline", proto), ("config", pickle.dumps(config))]) == []


def test_no_temporary_file_ever_holds_a_raw_value_while_a_run_goes_on(project: Project) -> None:
    source = project.root.parent / "inputs" / "many.jsonl"
    source.write_text("\n".join(lines() * 300) + "\n")
    seen: dict[str, bytes] = {}
    watched = [project.root.parent / "tmp", project.root]
    watched[0].mkdir(exist_ok=True)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(watched, seen, stop))
    watcher.start()
    try:
        done = run_cli(project.root, "protect", str(source), "--dataset", "orders", "--out", "out")
    finally:
        stop.set()
        watcher.join()
    assert done.returncode == 0, done.stderr.decode()
    assert any(".out" in name for name in seen), "the run was watched while it wrote"
    assert leaks(SECRETS, seen.items()) == []


def _watch(folders: list[Path], seen: dict[str, bytes], stop: threading.Event) -> None:
    while not stop.is_set():
        for folder in folders:
            for path in folder.rglob("*"):
                try:
                    if path.is_file():
                        seen[str(path)] = seen.get(str(path), b"")[-(1 << 22) :] + path.read_bytes()
                except OSError:
                    continue
        time.sleep(0.02)


def test_a_desk_says_no_value_in_its_answers_repr(project: Project) -> None:
    inputs = [str(project.root.parent / "inputs" / "orders.jsonl")]
    run_protect(project, inputs, "orders", str(project.root / "out"), now=NOW)
    import pyarrow.parquet as pq

    (path,) = (project.root / "out").glob("data/*.parquet")
    row = next(row for row in pq.read_table(path).to_pylist() if row["order_id"] == "o-1")
    with open_desk(project, clock=lambda: NOW) as desk:
        answers = desk.detokenize(
            "card", [row["payment"]["card"]["number"]], purpose="fraud_review", role="fraud_analyst", actor="finn"
        )
        assert answers[0].value is not None
        assert leaks(SECRETS, [("repr", repr((desk, answers)).encode())]) == []


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Beam's options see no arguments of pytest's."""
    monkeypatch.setattr(sys, "argv", ["consentry"])
    return lambda: None

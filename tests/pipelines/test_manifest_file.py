"""Books are believed only if all who counted agree; the manifest says what was used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
import yaml
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from consentry.pipelines import manifest_file
from consentry.pipelines.manifest_file import (
    SettledRun,
    balanced_books,
    consent_outcomes,
    drift_of,
    manifest_of_run,
    output_files,
    reasons_of,
    sign_manifest,
    software_used,
    vault_writes,
)
from consentry.pipelines.outcome import READ, NoteOutcome, Outcome, read_outcome
from consentry.pipelines.sinks import Receipt
from consentry.schemas.consent import format_instant
from consentry.schemas.dataset import FieldPath
from consentry.schemas.errors import RunError
from consentry.schemas.info_types import OnDrift
from consentry.schemas.manifest import Books, Inputs, KeyVersions, VaultWrites, signed_bytes
from consentry.schemas.policy import Policy
from consentry.schemas.project import Project
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys, Signature, SignatureContext
from consentry.transforms.protection_plan import ProtectionPlan, plan_protection, told_path
from consentry.transforms.stage import StageConfig
from consentry.transforms.tally import Tally
from oracles.small_output import manifest_of

COUNTS = {
    READ: 10,
    ("rows", "dropped"): 2,
    ("rows", "token_only"): 4,
    ("rows", "no_subject"): 1,
    ("rejected", "read", "invalid_json"): 2,
    ("rejected", "protect", "invalid_json"): 1,
    ("vault", "written"): 3,
}
DAY = 86_400_000_000
POLICY = """
version: 1
purposes: {fulfilment: {basis: contract, says: "To deliver."}}
info_types: {}
datasets: {orders: {subject: id, event_time: placed_at, fields: {id: keep, placed_at: keep}}}
"""
LETTERS = {("read", "invalid_json"): 2, ("protect", "invalid_json"): 1}


def receipt(folder: str, rows: int, **more: Any) -> Receipt:
    return Receipt(path=f"{folder}/part-{rows}.parquet", sha256="0" * 64, rows=rows, bytes=1, **more)


RECEIPTS = (receipt("data", 3), receipt("data", 2), receipt("dead_letters", 3, reasons=LETTERS))
SOUND = Outcome(Tally(COUNTS), RECEIPTS)


def test_sound_counts_balance() -> None:
    assert balanced_books(SOUND) == Books(in_=10, out=5, dropped=2, dead_lettered=3)
    assert reasons_of(SOUND) == {"invalid_json": 3}
    assert consent_outcomes(SOUND).total == 5
    assert vault_writes(SOUND, purged=4) == VaultWrites(written=3, purged=4)


@pytest.mark.parametrize(
    ("tally", "receipts", "says"),
    [
        ({READ: 11}, RECEIPTS, "in 11, out 5, dropped 2, dead-lettered 3"),
        ({("rows", "dropped"): 1}, RECEIPTS, "do not balance"),
        ({}, RECEIPTS[1:], "in 10, out 2"),
        ({}, (*RECEIPTS, RECEIPTS[0]), "out 8"),
        ({("rejected", "read", "invalid_json"): 1}, RECEIPTS, "not those that the stages refused"),
        ({("rejected", "read", "wrong_type"): 1}, RECEIPTS, "not those that the stages refused"),
        ({("rows", "token_only"): 3}, RECEIPTS, "not those that protection let out"),
    ],
)
def test_counts_that_disagree_publish_nothing(tally: dict[Any, int], receipts: Any, says: str) -> None:
    with pytest.raises(RunError, match=says) as caught:
        balanced_books(Outcome(Tally({**COUNTS, **tally}), receipts))
    assert (caught.value.reason, caught.value.exit_code) == ("books_unbalanced", 3)


def test_the_manifest_of_a_run_tells_what_was_settled_and_what_was_counted() -> None:
    policy = Policy.model_validate(yaml.safe_load(POLICY)).model_copy(update={"digest": "d" * 64})
    files = dict.fromkeys(("policy", "keyring", "vault", "data_keys", "ledger", "access_log", "trust"), "x")
    config = StageConfig(
        project=Project(tenant="shop", kek="file:k", **files),  # type: ignore[arg-type]
        policy=policy,
        dataset="orders",
        now=DAY,
        ledger_position=7,
        key_version=3,
    )
    plan = plan_protection(policy, "orders", pa.schema([("id", pa.string()), ("note", pa.string())]), key_version=3)
    run = SettledRun(
        id="r-1",
        config=config,
        plan=plan,
        inputs=Inputs(files=2, bytes=30),
        key_versions=KeyVersions(token=3, vault=1, proof=1),
        started_at=2 * DAY,
    )
    books = balanced_books(SOUND)
    found = manifest_of_run(run, SOUND, books=books, purged=4, finished_at=3 * DAY)
    assert (found.run, found.tenant, found.dataset, found.ledger_position) == ("r-1", "shop", "orders", 7)
    assert [found.now, found.started_at, found.finished_at] == [format_instant(day * DAY) for day in (1, 2, 3)]
    assert (found.books, found.reasons, found.vault) == (books, {"invalid_json": 3}, VaultWrites(written=3, purged=4))
    assert (found.inputs, found.key_versions, found.files) == (run.inputs, run.key_versions, output_files(SOUND))
    assert (list(found.fields), found.absent, found.drift) == (["id"], ("placed_at",), {"note": 0})
    assert (found.policy.digest, found.signature) == (policy.digest, None)


def test_files_are_listed_by_path() -> None:
    paths = [file.path for file in output_files(SOUND)]
    assert paths == sorted(paths)


def test_the_account_of_a_run_reaches_the_launcher(tmp_path: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        tallies = pipeline | "T" >> beam.Create([Tally({READ: 1}), Tally({READ: 2, ("rejected", "read", "x"): 1})])
        receipts = pipeline | "R" >> beam.Create(list(RECEIPTS))
        _ = (tallies, receipts) | NoteOutcome(str(tmp_path))
    outcome = read_outcome(str(tmp_path))
    assert outcome.tally.counts == {READ: 3, ("rejected", "read", "x"): 1}
    assert sorted(outcome.receipts, key=lambda each: each.path) == sorted(RECEIPTS, key=lambda each: each.path)


def test_a_run_without_any_record_has_an_account_too(tmp_path: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        empty = pipeline | beam.Create([])
        _ = (empty, empty | "Same" >> beam.Map(lambda each: each)) | NoteOutcome(str(tmp_path))
    assert read_outcome(str(tmp_path)) == Outcome()


def test_workers_that_write_elsewhere_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a place that the launcher and all workers share"):
        read_outcome(str(tmp_path))


def test_the_signature_fits_the_canonical_form(signing: tuple[ProofKeys, PublicKeys]) -> None:
    manifest = sign_manifest(manifest_of(SOUND, run="r", out=5, dead=3), signing[0])
    assert manifest.signature is not None
    signature = Signature(manifest.signature.key_id, bytes.fromhex(manifest.signature.value))
    signing[1].verify(SignatureContext.MANIFEST, signed_bytes(manifest.as_json()), signature)


def test_the_software_digest_changes_with_any_source_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert software_used() == software_used()
    assert software_used().versions["consentry"] != "unknown"
    sources = dict(manifest_file._sources())
    assert {"schemas/manifest.py", "transforms/crypto/ff1.py", "pipelines/graph.py"} <= sources.keys()
    assert not [name for name in sources if name.endswith(".pyc")]
    before = manifest_file._digest(sources)
    changed = tmp_path / "ff1.py"
    changed.write_bytes(sources["transforms/crypto/ff1.py"].read_bytes() + b"\n")
    assert manifest_file._digest({**sources, "transforms/crypto/ff1.py": changed}) != before


def test_a_name_that_could_be_a_value_is_not_told() -> None:
    names = ("browser", "ann@example.com", "4111111111111111", "Ann Lee", "größe", "field_1", "x" * 65)
    paths = tuple(FieldPath(("customer", name)) for name in names)
    plan = ProtectionPlan(
        dataset="orders", columns=(), collect=(), on_drift=OnDrift.DROP, contradictions=(), absent=(),
        drift=(*paths, FieldPath(("ann@example.com", None, "id"))), schema=pa.schema([]), key_version=1, finders={},
    )  # fmt: skip
    tally = Tally({("drift", told): 2 for told in map(told_path, plan.drift)})
    assert drift_of(Outcome(tally), plan) == {
        "(hidden)[].id": 2, "customer.(hidden)": 2, "customer.browser": 2, "customer.field_1": 2, "customer.größe": 2,
    }  # fmt: skip

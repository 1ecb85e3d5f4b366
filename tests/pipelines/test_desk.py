"""The desk of a real project works with the vault keys alone, and never loads Beam."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from consentry.pipelines.desk import (
    check_stores,
    create_keys,
    create_stores,
    distribution_rules,
    open_desk,
    open_stores,
)
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.errors import IntegrityError, KekError, PrivacyError, StoreMissingError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.schemas.store_uri import told_store
from consentry.transforms.crypto.subject_references import subject_references
from consentry.transforms.stores.vault import Candidates

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
CARD, TOKEN = "4111111111111111", "4111111111121111"
CONFIG = """\
tenant: shop
policy: policy.yaml
keyring: keyring.json
kek: {token: file:token.key, vault: file:vault.key, proof: file:proof.key}
vault: sqlite:vault.db
data_keys: sqlite:data_keys.db
ledger: sqlite:ledger.db
access_log: sqlite:access.db
trust: proof.pub
actors: {ana: [support_agent], finn: [fraud_analyst]}
"""
POLICY = """\
version: 1
purposes:
  fulfilment: {basis: contract, says: "To deliver what you ordered."}
  fraud_review: {basis: legal_obligation, says: "To stop misuse of payment cards."}
  support: {basis: consent, says: "So that our staff can look up your order when you call."}
roles:
  support_agent: {purposes: [support, fulfilment]}
  fraud_analyst: {purposes: [fraud_review]}
info_types:
  card:
    action: tokenize
    format: pan
    domain: card
    collect: [fulfilment]
    distribute: [fraud_review, support]
    see: {fraud_analyst: full, support_agent: masked}
datasets: {}
dead_letters: {retain: 7d}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose vault holds one card of customer c-17, made where all keys are; then the token key goes."""
    (tmp_path / "consentry.yaml").write_text(CONFIG)
    (tmp_path / "policy.yaml").write_text(POLICY)
    project = read_project(tmp_path / "consentry.yaml")
    create_keys(project, now=NOW)
    create_stores(project)
    with open_stores(project) as stores:
        candidates = Candidates(
            domain="card",
            key_version=1,
            tokens=pa.array([TOKEN], pa.string()),
            values=pa.array([CARD], pa.string()),
            refs=subject_references(pa.array(["c-17"], pa.string()), stores.keys.reference_key),
            event_times=np.array([NOW - DAY], np.int64),
        )
        rules = distribution_rules(read_policy(project.policy))
        stores.vault.write([candidates], ledger=stores.ledger, rules=rules, now=NOW)
    (tmp_path / "token.key").unlink()
    (tmp_path / "proof.key").unlink()
    return project


def consent(project: Project, decision: str, at: int) -> None:
    with open_stores(project) as stores:
        event = ConsentEvent(
            subject="c-17", purpose="support", decision=Decision(decision), effective_at=at, source="test"
        )
        stores.ledger.append([event], now=at)


def test_the_desk_shows_values_without_the_token_keys(project: Project) -> None:
    consent(project, "granted", NOW)
    with open_desk(project, clock=lambda: NOW + 1) as desk:
        (full,) = desk.detokenize("card", [TOKEN], purpose="fraud_review", role="fraud_analyst", actor="finn")
        (masked,) = desk.detokenize("card", [TOKEN], purpose="support", role="support_agent", actor="ana")
    assert (full.value, full.shown) == (CARD, "full")
    assert masked.shown == "masked" and masked.value is not None
    assert masked.value.endswith("1111") and CARD not in masked.value


def test_a_withdrawal_counts_at_once_for_a_desk_that_is_open(project: Project) -> None:
    consent(project, "granted", NOW)
    request = {"purpose": "support", "role": "support_agent", "actor": "ana", "subject": "c-17"}
    with open_desk(project, clock=lambda: NOW + 9) as desk:
        assert desk.detokenize("card", [TOKEN], **request)[0].decision == "allowed"
        consent(project, "withdrawn", NOW + 5)
        assert desk.detokenize("card", [TOKEN], **request)[0].rule == "subject_does_not_permit"


def test_the_project_says_who_has_which_role(project: Project) -> None:
    with open_desk(project, clock=lambda: NOW) as desk:
        (answer,) = desk.detokenize("card", [TOKEN], purpose="fraud_review", role="fraud_analyst", actor="ana")
    assert answer.rule == "actor_lacks_role"


def test_a_flipped_byte_in_a_sealed_value_or_data_key_shows_nothing(project: Project) -> None:
    import sqlite3

    for name in ("vault.db", "data_keys.db"):
        path = project.root / name
        before = path.read_bytes()
        database = sqlite3.connect(path)
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in database.execute(f"PRAGMA table_info({table})")]:
                if column in ("sealed", "wrapped"):
                    database.execute(
                        f"UPDATE {table} SET {column} = substr({column}, 1, 20) || x'00' || substr({column}, 22)"
                    )
        assert database.total_changes, tables
        database.commit()
        database.close()
        with open_desk(project, clock=lambda: NOW) as desk:
            try:
                (answer,) = desk.detokenize("card", [TOKEN], purpose="fraud_review", role="fraud_analyst", actor="finn")
            except IntegrityError:
                pass
            else:
                assert (answer.rule, answer.value) == ("integrity", None)
        for rest in project.root.glob(f"{name}-*"):
            rest.unlink()
        path.write_bytes(before)


def test_a_wrong_vault_key_opens_nothing(project: Project) -> None:
    (project.root / "vault.key").write_text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
    with pytest.raises(KekError, match="is not the key that wrapped it"):
        open_desk(project, clock=lambda: NOW)


@pytest.mark.parametrize("name", ["vault.db", "ledger.db", "access.db"])
def test_a_store_that_is_no_database_shows_nothing(project: Project, name: str) -> None:
    (project.root / name).write_bytes(b"x" * 5000)
    with pytest.raises(PrivacyError), open_desk(project, clock=lambda: NOW) as desk:
        desk.detokenize("card", [TOKEN], purpose="fraud_review", role="fraud_analyst", actor="finn")


STORES = {"data_keys": "data_keys.db", "ledger": "ledger.db", "vault": "vault.db", "access_log": "access.db"}


@pytest.mark.parametrize("store", STORES)
def test_a_store_that_is_missing_is_told_and_not_made(project: Project, store: str) -> None:
    path = project.root / STORES[store]
    path.unlink()
    with pytest.raises(StoreMissingError) as caught:
        open_desk(project, clock=lambda: NOW)
    assert (
        str(caught.value)
        == f"{path}: the {told_store(store)} is missing; restore it, or begin a project with `consentry init`"
    )
    assert (caught.value.reason, caught.value.exit_code) == ("store_missing", 2)
    if store == "access_log":
        check_stores(project)  # needed by nobody else
    else:
        with pytest.raises(StoreMissingError):
            open_stores(project)
    assert not path.exists()


def test_all_stores_that_are_missing_are_told_in_one_go(project: Project) -> None:
    for name in ("vault.db", "ledger.db"):
        (project.root / name).unlink()
    with pytest.raises(StoreMissingError) as caught:
        check_stores(project)
    assert [line.partition(";")[0] for line in str(caught.value).splitlines()] == [
        f"{project.root}/ledger.db: the ledger is missing", f"{project.root}/vault.db: the vault is missing",
    ]  # fmt: skip


def test_stores_of_a_server_are_not_looked_for(project: Project) -> None:
    servers = dict.fromkeys(STORES, "postgresql://db/shop")
    check_stores(project.model_copy(update=servers), STORES)


def test_detokenizing_never_loads_beam(project: Project) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from consentry.pipelines.desk import open_desk\n"
        "from consentry.schemas.project import read_project\n"
        f"desk = open_desk(read_project(Path({str(project.root / 'consentry.yaml')!r})), clock=lambda: {NOW})\n"
        f"answers = desk.detokenize('card', [{TOKEN!r}], purpose='fraud_review', role='fraud_analyst', actor='finn')\n"
        "assert answers[0].decision == 'allowed', answers[0].rule\n"
        "assert not [name for name in sys.modules if name.startswith('apache_beam')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project.root)

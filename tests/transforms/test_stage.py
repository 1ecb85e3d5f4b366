from __future__ import annotations

import base64
import bz2
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.internal import pickler
from consentry.pipelines.desk import open_stores
from consentry.pipelines.scaffold import write_project
from consentry.schemas.consent import ConsentEvent, Decision
from consentry.schemas.errors import ConfigError, KekError, KeyringError, PrivacyError, SecretError
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import Project, read_project
from consentry.transforms import stage as stage_module
from consentry.transforms.crypto.keyring import Keyring, KeySet
from consentry.transforms.crypto.open_kek import open_kek
from consentry.transforms.crypto.subject_references import subject_references
from consentry.transforms.dead_letters import Rejected
from consentry.transforms.stage import SharedStage, StageConfig, StageFn, open_stage, settle_stage
from consentry.transforms.stores.vault import Candidates

NOW = 1_793_000_000_000_000
DAY = 86_400_000_000
PASSPHRASE = "CANARY correct horse battery staple"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=NOW - DAY)
    return read_project(tmp_path / "shop" / "consentry.yaml")


def settled(project: Project, **options: Any) -> StageConfig:
    return settle_stage(project, read_policy(project.policy), "orders", **{"now": NOW, **options})


def consent(project: Project, subject: str) -> None:
    event = ConsentEvent(
        subject=subject, purpose="support", decision=Decision.GRANTED, effective_at=NOW - DAY, source="test"
    )
    with open_stores(project) as stores:
        stores.ledger.append([event], now=NOW)


# ---- settling


def test_a_run_settles_on_the_newest_ledger_position_and_the_primary_key(project: Project) -> None:
    assert settled(project).ledger_position == 0
    consent(project, "c-1")
    consent(project, "c-2")
    keyring = Keyring.load(project.keyring).rotate(KeySet.TOKEN, open_kek(project.kek["token"], project.root), NOW)
    keyring.save(project.keyring, overwrite=True)
    config = settled(project, with_vault=False, started_at=NOW + 5)
    assert (config.ledger_position, config.key_version) == (2, 2)
    assert (config.project, config.dataset, config.now) == (project, "orders", NOW)
    assert (config.with_vault, config.started_at) == (False, NOW + 5)


def test_settling_refuses_a_dataset_that_the_policy_does_not_have(project: Project) -> None:
    with pytest.raises(ConfigError, match="the policy has no dataset 'refunds'; it has: orders"):
        settle_stage(project, read_policy(project.policy), "refunds", now=NOW)


def test_settling_refuses_a_project_that_cannot_be_used(project: Project) -> None:
    with pytest.raises(KeyringError):
        settled(project.model_copy(update={"keyring": project.keyring.with_name("none.json")}))
    (project.root / "kek.key").write_text(base64.b64encode(bytes(32)).decode() + "\n")
    with pytest.raises(PrivacyError, match="wrapped"):
        settled(project)
    (project.root / "kek.key").unlink()
    with pytest.raises(KekError):
        settled(project)


def test_what_is_settled_stays_while_the_ledger_goes_on(project: Project) -> None:
    config = settled(project)
    consent(project, "c-1")
    assert open_stage(config).snapshot.position == 0
    assert open_stage(settled(project)).snapshot.position == 1


# ---- what travels


def secrets_of(project: Project) -> list[bytes]:
    """Key bytes of a project, in the spellings in which they could travel."""
    keyring = Keyring.load(project.keyring)
    vault = keyring.unlock_vault(open_kek(project.kek["vault"], project.root))
    token = keyring.unlock_token(open_kek(project.kek["token"], project.root))
    raw = [vault.reference_key, base64.b64decode((project.root / "kek.key").read_text())]
    raw += [token.derive(1, use="token", domain="card", format="pan", alphabet="0123456789")]
    for keys in (vault, token):
        raw += [keys._root, *keys._secrets.values()]
    assert all(len(key) == 32 for key in raw)
    return [spelt for key in raw for spelt in (key, base64.b64encode(key)[:40], key.hex().encode())]


def unpacked(travelling: Any) -> bytes:
    """What Beam pickles, without its packing."""
    return bz2.decompress(base64.b64decode(pickler.dumps(travelling)))


def test_a_config_travels_without_secrets(project: Project) -> None:
    config = settled(project)
    shared = SharedStage(config)
    shared.open()
    secrets = secrets_of(project)
    travelling = [unpacked(each) for each in (config, shared, StageFn(shared))]
    for data in (*travelling, pickle.dumps(config), repr(config).encode()):
        assert b"kek.key" in data
        for secret in secrets:
            assert secret not in data
    assert pickle.loads(pickle.dumps(config)) == config
    assert pickler.loads(pickler.dumps(shared)).open() is shared.open()


def test_the_password_of_a_store_does_not_travel(project: Project) -> None:
    config = settled(project)
    for uri in ("postgresql://shop:CANARY@db/vault", "postgresql://shop@db/vault?pass%77ord=CANARY"):
        config = replace(config, project=project.model_copy(update={"vault": uri}))  # no file with it would be read
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(SecretError, match="vault: holds a password, so the project is not copied") as caught:
                pickle.dumps(config, protocol)
            assert "CANARY" not in str(caught.value)


def test_a_passphrase_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from consentry.pipelines import scaffold

    monkeypatch.setenv("CONSENTRY_PASSPHRASE", PASSPHRASE)
    text = scaffold.CONFIG.replace("file:kek.key  ", "passphrase:env:CONSENTRY_PASSPHRASE  ")
    assert text != scaffold.CONFIG
    monkeypatch.setattr(scaffold, "CONFIG", text)
    write_project(tmp_path / "shop", tenant="shop", now=NOW - DAY)
    project = read_project(tmp_path / "shop" / "consentry.yaml")
    config = settled(project)
    data = pickle.dumps(config)
    assert b"passphrase:env:CONSENTRY_PASSPHRASE" in data
    assert b"CANARY" not in data
    assert open_stage(pickle.loads(data)).purposes == ("fulfilment", "fraud_review", "support", "analytics")


def test_an_open_stage_refuses_to_be_copied_and_shows_no_key(project: Project) -> None:
    stage = open_stage(settled(project))
    assert repr(stage) == "Stage(dataset='orders')"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(SecretError, match="an open stage holds keys and cannot be copied; pass its config"):
            pickle.dumps(stage, protocol)
    step = StageFn(SharedStage(stage.config))
    step.setup()
    with pytest.raises(SecretError, match="an open stage holds keys"):
        pickle.dumps(step.stage)


# ---- sharing


def test_all_threads_of_a_process_share_one_stage(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def counted(config: StageConfig, *keys: Any) -> Any:
        opened.append(config)
        return open_stores(config, *keys)

    open_stores = stage_module._open_stores
    monkeypatch.setattr(stage_module, "_open_stores", counted)
    shared = SharedStage(settled(project))
    start = threading.Barrier(4)
    found: list[Any] = []

    def work() -> None:
        start.wait()
        # Each worker has its own copy of the step.
        step = pickler.loads(pickler.dumps(StageFn(shared)))
        step.setup()
        found.append(step.stage)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(stage) for stage in found}) == 1
    assert len(opened) == 1


def test_two_runs_do_not_share_a_stage(project: Project) -> None:
    config = settled(project)
    first, second = SharedStage(config), SharedStage(replace(config, now=NOW + 1))
    assert first.open() is not second.open()
    assert second.open().config.now == NOW + 1


def test_a_later_part_of_a_run_opens_no_store_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SharedStage(settled(project))
    stage = first.open()
    monkeypatch.setattr(stage_module, "_open_stores", None)
    consent(project, "c-1")
    later = pickler.loads(pickler.dumps(first.settled_anew(settled(project, now=NOW + 1)))).open()
    assert (stage.snapshot.position, later.snapshot.position) == (0, 1)
    assert later.config.now == NOW + 1


def test_threads_work_on_one_stage_at_the_same_time(project: Project) -> None:
    consent(project, "c-1")
    stage = SharedStage(settled(project)).open()
    schema = pa.schema({"customer": pa.struct({"id": pa.string(), "email": pa.string()})})
    plan = stage.plan(schema)
    failures: list[BaseException] = []
    tokens: list[Any] = []

    def work(number: int) -> None:
        try:
            tokenizers = stage.tokenizers(plan)
            values = pa.array([f"kim{row}@example.com" for row in range(300)])
            for _ in range(4):
                found = tokenizers["email"].tokenize(values)
                tokens.append(found.tokens)
                stage.keep([candidates(stage, found.tokens, found.values)])
                rows = pa.record_batch({"note": [f"note {number}"]})
                stage.sealer.seal_rejected(Rejected(rows=rows, stage="protect", reasons=("x",)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(found.equals(tokens[0]) for found in tokens)
    with open_stores(project) as stores:
        entries = [entry for token in tokens[0].to_pylist() for entry in stores.vault.find("email", token)]
        assert sorted(stores.vault.open_value(entry) for entry in entries) == sorted(
            f"kim{row}@example.com" for row in range(300)
        )


def candidates(stage: Any, tokens: pa.StringArray, values: pa.StringArray) -> Candidates:
    subjects = pa.array(["c-1"] * len(tokens))
    return Candidates(
        domain="email",
        key_version=1,
        tokens=tokens,
        values=values,
        refs=subject_references(subjects, stage.reference_key),
        event_times=np.full(len(tokens), NOW - 1, np.int64),
    )


def test_tokenizers_are_not_shared_between_threads(project: Project) -> None:
    stage = open_stage(settled(project))
    plan = stage.plan(pa.schema({"customer": pa.struct({"id": pa.string(), "email": pa.string()})}))
    first, second = stage.tokenizers(plan), stage.tokenizers(plan)
    assert set(first) == {"customer", "email"}
    assert all(first[domain] is not second[domain] for domain in first)


# ---- the vault


def test_what_is_kept_is_counted_by_what_came_of_it(project: Project) -> None:
    consent(project, "c-1")
    stage = open_stage(settled(project))
    tokens, values = pa.array(["t1", "t2"]), pa.array(["a@example.com", "b@example.com"])
    kept = candidates(stage, tokens, values)
    assert stage.keep([kept]).counts == {("vault", "written"): 2}
    assert stage.keep([kept]).counts == {("vault", "present"): 2}
    assert stage.keep([replace(kept, event_times=kept.event_times + 1)]).counts == {("vault", "refreshed"): 2}
    stranger = replace(kept, refs=subject_references(pa.array(["c-9", "c-9"]), stage.reference_key))
    assert stage.keep([stranger]).counts == {("vault", "refused"): 2}
    assert stage.keep([]).counts == {}


def test_without_a_vault_nothing_is_kept(project: Project) -> None:
    consent(project, "c-1")
    stage = open_stage(settled(project, with_vault=False))
    kept = candidates(stage, pa.array(["t1"]), pa.array(["a@example.com"]))
    assert stage.keep([kept]).counts == {}
    with open_stores(project) as stores:
        assert stores.vault.find("email", "t1") == []


def test_a_stage_seals_by_the_clock_of_the_run_where_it_has_one(project: Project) -> None:
    line = Rejected(rows=pa.record_batch({"note": ["x"]}), stage="protect", reasons=("x",))
    by_now = open_stage(settled(project, now=NOW - 90 * DAY)).sealer.seal_rejected(line)
    by_clock = open_stage(settled(project, now=NOW - 90 * DAY, started_at=NOW)).sealer.seal_rejected(line)
    assert b"2026-07" in by_now["sealed"][0].as_py()
    assert b"2026-10" in by_clock["sealed"][0].as_py()


def test_a_failure_to_open_is_one_of_ours(project: Project) -> None:
    config = settled(project)
    Path(project.ledger.removeprefix("sqlite:")).write_bytes(b"CANARY" * 1000)
    with pytest.raises(PrivacyError) as caught:
        SharedStage(config).open()
    assert "CANARY" not in str(caught.value)

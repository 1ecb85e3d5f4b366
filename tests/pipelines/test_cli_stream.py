"""The command line of streams: what it refuses, and how far a stream is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from consentry.pipelines.scaffold import write_project
from oracles.shop_commands import run as consentry

NOW = 1_793_000_000_000_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stream",), "--dataset, --from, --out: is missing or blank"),
        (("stream", "--dataset", "orders", "--from", "x", "--out", " "), "--out: is missing or blank"),
    ],
)
def test_options_that_are_missing_are_named(arguments: tuple[str, ...], says: str) -> None:
    found = consentry(*arguments)
    assert found.code == 2
    assert says in found.said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--from", "ftp://somewhere"), "is no place that a stream reads; write kafka://HOST:PORT/TOPIC"),
        (("--from", "dir://nowhere"), "there is no such folder"),
        (("--from", "kafka://ann:secret@broker/orders"), "a user or password in it is refused"),
        (("--from", "kafka://broker/orders", "--format", "xml"), "--format: write one of json, avro"),
        (("--from", "kafka://broker/orders", "--format", "avro"), "name the schema with --schema FILE"),
        (("--from", "kafka://broker/orders", "--schema", "x.avsc"), "--schema and --registry are of Avro"),
        (("--from", "dir://.", "--dataset", "parcels"), "the policy has no dataset 'parcels'"),
        (("--from", "dir://.", "--metrics", "x"), "--metrics: write HOST:PORT"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], says: str
) -> None:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    monkeypatch.chdir(tmp_path / "shop")
    found = consentry("stream", "--dataset", "orders", "--out", tmp_path / "out", *options)
    assert found.code == 2
    assert says in found.said
    assert "secret" not in found.said
    assert not (tmp_path / "out").exists()


def test_a_folder_is_streamed_and_its_status_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    monkeypatch.chdir(tmp_path / "shop")
    (tmp_path / "inbox").mkdir()
    order = {"order_id": "o-1", "placed_at": "2026-03-01T10:00:00Z", "customer": {"id": "c-1"}}
    (tmp_path / "inbox" / "a.jsonl").write_text(json.dumps(order) + "\n{\n")
    source = ("--from", f"dir://{tmp_path / 'inbox'}")
    found = consentry("stream", "--dataset", "orders", *source, "--out", tmp_path / "out", "--until-idle")
    assert found.code == 0
    assert '"event": "epoch"' in found.err
    status = consentry("stream", "status", tmp_path / "out", "--json")
    told = json.loads(status.out)
    assert told["books"] == {"in": 2, "out": 1, "dropped": 0, "dead_lettered": 1}
    assert (told["running"], told["reasons"]) == (False, {"invalid_json": 1})
    assert "stopped" in consentry("stream", "status", tmp_path / "out").out
    assert consentry("verify", tmp_path / "out").code == 0
    assert consentry("stream", "status", tmp_path / "shop").code == 2


def test_a_stream_is_known_to_have_tokens_of_its_own_dataset_and_of_what_it_had_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    monkeypatch.chdir(tmp_path / "shop")
    policy = Path("policy.yaml")
    visits = """
  visits:
    subject: customer.id
    event_time: at
    fields: {at: keep, customer.id: customer_id, customer.email: email}
"""
    policy.write_text(policy.read_text().replace("\ndatasets:\n", f"\ndatasets:{visits}"))
    (tmp_path / "inbox").mkdir()
    streamed = ("stream", "--dataset", "visits", "--from", f"dir://{tmp_path / 'inbox'}", "--out", tmp_path / "out")

    def known() -> dict[str, int]:
        (output,) = consentry("outputs", "list", "--json").json()
        found: dict[str, int] = output["key_versions"]
        return found

    assert consentry(*streamed, "--until-idle").code == 0
    assert known() == {"customer": 1, "email": 1}, "orders alone have cards"
    policy.write_text(policy.read_text().replace(", customer.email: email}", "}"))
    assert consentry(*streamed, "--until-idle").code == 0
    assert known() == {"customer": 1, "email": 1}, "files of before may still have it"

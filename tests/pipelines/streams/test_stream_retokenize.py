"""The output of a stream moves to another key version, and the stream goes on under it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.retokenize import retokenize_output
from consentry.pipelines.streams.stream_publication import StreamPublication
from consentry.schemas.project import read_project
from oracles.shop_commands import CARDS, SUBJECTS, Done, Shop, order, process, write_lines


class CrashError(BaseException):
    """Ends a program as a kill does: nothing handles it."""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    ok(process("init", shop.folder))
    (tmp_path / "drop").mkdir()
    drop(shop, 0)
    stream(shop)
    return shop


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.err
    return done


def drop(shop: Shop, number: int) -> None:
    """Puts a file of a dozen orders into the folder that is streamed."""
    write_lines(shop.place / f"part{number}", [order(12 * number + each) for each in range(12)])
    (shop.place / f"part{number}").rename(shop.place / "drop" / f"part{number}.jsonl")


def stream(shop: Shop, out: Path | None = None) -> None:
    ok(
        shop.process(
            "stream", "--dataset", "orders", "--from", f"dir://{shop.place / 'drop'}", "--out", out or shop.out,
            "--until-idle",
        )
    )  # fmt: skip


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {
        row["order_id"]: {name: row[name] for name in ("customer", "payment")}
        for path in out.glob("data/**/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    }


def versions(out: Path) -> set[int]:
    found = set()
    for path in out.glob("data/**/*.parquet"):
        customer = pq.read_schema(path).field("customer").type
        field: pa.Field = customer.field("id")
        found.add(int(field.metadata[b"consentry.key_version"]))
    return found


def test_a_stream_goes_on_under_the_version_that_its_output_was_moved_to(shop: Shop) -> None:
    before = rows(shop.out)
    ok(shop.run("keys", "rotate"))
    drop(shop, 1)
    stream(shop)
    assert versions(shop.out) == {1}, "a stream keeps its version until it is moved"
    ok(shop.run("retokenize", shop.out))
    assert versions(shop.out) == {2}
    drop(shop, 2)
    stream(shop)
    assert versions(shop.out) == {2}
    ok(shop.run("verify", shop.out))
    stream(shop, shop.place / "fresh")
    assert rows(shop.out) == rows(shop.place / "fresh"), "as if it had always been of the new version"
    assert all(rows(shop.out)[name] != row for name, row in before.items())
    token = rows(shop.out)["o-0"]["payment"]["card"]["number"]
    assert shop.detokenize("card", token, subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    ok(shop.run("keys", "destroy", "1", "--yes"))
    assert json.loads((shop.out / "manifest.json").read_text())["key_versions"]["token"] == 2


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_move_that_ends_around_its_seal_is_brought_to_its_end(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    ok(shop.run("keys", "rotate"))

    def crash(*_: Any, **__: Any) -> None:
        raise CrashError

    from consentry.pipelines.streams.journal import Journal

    target = (Journal, "seal_replay") if place == "before" else (StreamPublication, "show_replay")
    monkeypatch.setattr(*target, crash)
    with pytest.raises(CrashError):
        retokenize_output(read_project(shop.config), str(shop.out))
    monkeypatch.undo()
    token = rows(shop.out)["o-0"]["payment"]["card"]["number"]
    assert shop.detokenize("card", token, subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    drop(shop, 1)
    stream(shop)
    assert versions(shop.out) == ({1} if place == "before" else {2})
    ok(shop.run("verify", shop.out))
    ok(shop.run("retokenize", shop.out))
    assert versions(shop.out) == {2}
    ok(shop.run("verify", shop.out))
    ok(shop.run("keys", "destroy", "1", "--yes"))


def test_a_stream_that_runs_is_left_alone(shop: Shop) -> None:
    from consentry.pipelines.streams.output import open_stream_output

    ok(shop.run("keys", "rotate"))
    with open_stream_output(str(shop.out)):
        ok(shop.run("retokenize", shop.out), 2)
    assert versions(shop.out) == {1}

"""Files that are dropped into a folder are read whole and once."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.scaffold import write_project
from consentry.pipelines.streams.folder_source import FolderSource
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import ConfigError, PrivacyError, RecordsGoneError
from consentry.schemas.project import Project, read_project
from consentry.transforms.crypto.key_sets import PublicKeys

NOW = 1_793_000_000_000_000


class Quiet:
    def epoch(self, report: Any) -> None:
        pass

    def failed(self, failure: PrivacyError, pause: float) -> None:
        raise AssertionError(failure)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "shop", tenant="shop", now=NOW - 86_400_000_000)
    (tmp_path / "inbox").mkdir()
    return read_project(tmp_path / "shop" / "consentry.yaml")


def stream(project: Project, tmp_path: Path) -> dict[str, Any]:
    run_stream(
        project,
        StreamOptions(dataset="orders", out=str(tmp_path / "out"), patient=False),
        source=FolderSource(tmp_path / "inbox"),
        consents=None,
        observer=Quiet(),
        stop=threading.Event(),
        until_idle=True,
        clock=lambda: NOW,
    )
    report = verify_output(str(tmp_path / "out"), PublicKeys.load(project.trust))
    assert report.ok, [check for check in report.checks if not check.ok]
    found: dict[str, Any] = json.loads((tmp_path / "out" / "manifest.json").read_text())
    return found


def ids(tmp_path: Path) -> list[str]:
    paths = (tmp_path / "out" / "data").rglob("*.parquet")
    return sorted(each for path in paths for each in pq.read_table(path, partitioning=None)["order_id"].to_pylist())


def order(number: int) -> dict[str, Any]:
    return {"order_id": f"o-{number}", "placed_at": "2026-03-01T10:00:00Z", "customer": {"id": "c-1"}}


def drop(tmp_path: Path, name: str, *orders: Any) -> None:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in orders]
    (tmp_path / "inbox" / name).write_text("".join(line + "\n" for line in lines))


def test_files_of_all_kinds_are_read_once(project: Project, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", order(1), order(2), "{broken")
    pq.write_table(pa.Table.from_pylist([order(3)]), tmp_path / "inbox" / "b.parquet")
    assert stream(project, tmp_path)["books"] == {"in": 4, "out": 3, "dropped": 0, "dead_lettered": 1}
    drop(tmp_path, "c.jsonl", order(4))
    manifest = stream(project, tmp_path)
    assert ids(tmp_path) == ["o-1", "o-2", "o-3", "o-4"]
    assert manifest["books"]["in"] == 5
    assert set(manifest["stream"]["offsets"]) == {"a.jsonl", "b.parquet", "c.jsonl"}


def test_files_that_are_not_ready_or_not_of_records_are_passed_over(project: Project, tmp_path: Path) -> None:
    drop(tmp_path, ".a.jsonl", order(1))
    drop(tmp_path, "notes.txt", "hello")
    (tmp_path / "inbox" / "folder").mkdir()
    drop(tmp_path, "b.jsonl", order(2))
    stream(project, tmp_path)
    assert ids(tmp_path) == ["o-2"]


def test_a_file_that_changes_after_it_was_read_ends_the_stream(project: Project, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", order(1))
    stream(project, tmp_path)
    drop(tmp_path, "a.jsonl", order(1), order(2))
    with pytest.raises(RecordsGoneError, match=r"a\.jsonl: was read and has changed since; put it back"):
        stream(project, tmp_path)


def test_a_damaged_file_ends_the_stream_until_it_is_taken_out(project: Project, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", order(1))
    drop(tmp_path, "b.parquet", "no parquet")
    with pytest.raises(RecordsGoneError, match=r"b\.parquet"):
        stream(project, tmp_path)
    (tmp_path / "inbox" / "b.parquet").unlink()
    stream(project, tmp_path)
    assert ids(tmp_path) == ["o-1"]


def test_a_file_that_contradicts_what_is_known_is_sealed(project: Project, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", order(1))
    stream(project, tmp_path)
    drop(tmp_path, "b.jsonl", {**order(2), "customer": "c-1"}, {**order(3), "customer": "c-1"})
    manifest = stream(project, tmp_path)
    assert manifest["books"] == {"in": 3, "out": 1, "dropped": 0, "dead_lettered": 2}
    assert manifest["reasons"] == {"wrong_type": 2}


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        FolderSource(tmp_path / "nowhere")

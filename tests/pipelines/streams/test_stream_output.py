"""The folder of a stream's output: whole files only, one writer, and what is there stays."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from consentry.pipelines.sinks import Receipt
from consentry.pipelines.streams.output import StreamOutput, open_stream_output
from consentry.schemas.errors import OutputError, RunError

PATH = "data/event_date=2026-03-01/part-epoch-000000001-a.parquet"
RECEIPT = Receipt(path=PATH, sha256="0" * 64, rows=1, bytes=4)


def staged(output: StreamOutput, content: bytes = b"rows") -> None:
    output.clear_staging()
    place = output.staging / PATH
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    output.sync_staging()


def test_files_appear_whole_under_their_paths(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")) as output:
        staged(output)
        assert not list((tmp_path / "out" / "data").rglob("*.parquet"))
        output.reveal([RECEIPT])
        assert (tmp_path / "out" / PATH).read_bytes() == b"rows"


def test_revealing_again_changes_nothing(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")) as output:
        staged(output)
        output.reveal([RECEIPT])
        output.reveal([RECEIPT])
        output.clear_staging()
        output.reveal([RECEIPT])
        assert (tmp_path / "out" / PATH).read_bytes() == b"rows"


def test_a_file_that_is_nowhere_is_told(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")) as output:
        output.clear_staging()
        with pytest.raises(RunError, match=r"part-epoch-000000001-a.parquet: is gone; restore it from a backup"):
            output.reveal([RECEIPT])


def test_two_streams_cannot_write_to_one_output(tmp_path: Path) -> None:
    with (
        open_stream_output(str(tmp_path / "out")),
        pytest.raises(OutputError, match="another stream writes to it; stop that one"),
        open_stream_output(str(tmp_path / "out")),
    ):
        pass
    with open_stream_output(str(tmp_path / "out")):
        pass


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")):
        pass
    if not (child := os.fork()):
        lock = os.open(tmp_path / "out" / "_stream" / "lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os._exit(0)
    os.waitpid(child, 0)
    with open_stream_output(str(tmp_path / "out")):
        pass


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty, and no output of a stream"), open_stream_output(str(tmp_path)):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_object_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a stream writes to a local folder"), open_stream_output("gs://bucket/out"):
        pass


def test_what_a_stream_remembers_is_its_owners(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")):
        assert (tmp_path / "out" / "_stream").stat().st_mode & 0o777 == 0o700


def test_the_manifest_is_exchanged(tmp_path: Path) -> None:
    with open_stream_output(str(tmp_path / "out")) as output:
        output.write_manifest("one")
        output.write_manifest("two")
        assert (tmp_path / "out" / "manifest.json").read_text() == "two"
        assert not list((tmp_path / "out" / "_stream").glob("manifest*"))

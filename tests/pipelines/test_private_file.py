"""A private file appears whole or not at all, for its owner alone, and never in the place of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from consentry.pipelines import private_file as module
from consentry.pipelines.private_file import private_file, replace_privately
from consentry.schemas.errors import OutputError

CANARY = b"4111-CANARY-1111"
WRITING = """
import os, sys
from pathlib import Path
if sys.argv[2] == "named":
    del os.O_TMPFILE
from consentry.pipelines.private_file import private_file, replace_privately
with private_file(Path(sys.argv[1])) as file:
    file.write(b"4111-CANARY-1111" * 1000)
    file.flush()
    print("written", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "named":
        monkeypatch.delattr(module.os, "O_TMPFILE")
    return str(request.param)


def test_a_file_appears_at_the_end_for_its_owner_alone(tmp_path: Path, way: str) -> None:
    with private_file(tmp_path / "out.csv") as file:
        file.write(CANARY)
        file.flush()
        assert not (tmp_path / "out.csv").exists()
    assert (tmp_path / "out.csv").read_bytes() == CANARY
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_an_exception_leaves_nothing(tmp_path: Path, way: str) -> None:
    with pytest.raises(KeyboardInterrupt), private_file(tmp_path / "out.csv") as file:
        file.write(CANARY)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_nothing_is_replaced(tmp_path: Path, way: str, when: str) -> None:
    out = tmp_path / "out.csv"
    if when == "before":
        out.write_text("mine")
    with pytest.raises(OutputError, match=r"out.csv: exists, and is not overwritten"), private_file(out) as file:
        file.write(CANARY)
        out.write_text("mine")
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_to_nowhere_is_not_followed(tmp_path: Path, way: str) -> None:
    (tmp_path / "out.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError), private_file(tmp_path / "out.csv"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("way", ["unnamed", "named"])
def test_a_process_that_is_killed_leaves_nothing_that_the_next_one_does_not_remove(tmp_path: Path, way: str) -> None:
    out = tmp_path / "out.csv"
    command = [sys.executable, "-c", WRITING, out, way]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )  # fmt: skip
    assert running.stdout is not None and running.stdout.readline() == "written\n"
    with private_file(out):
        assert len(list(tmp_path.glob(".out.csv.*"))) == (way == "named"), "a draft that is being written stays"
    out.unlink()
    running.send_signal(signal.SIGKILL)
    running.communicate()
    left = list(tmp_path.iterdir())
    if way == "unnamed":
        assert left == []
    else:
        assert [path.stat().st_mode & 0o777 for path in left] == [0o600]
    with private_file(out) as file:
        file.write(b"done")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"done"]


def test_a_file_takes_the_place_of_another_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("older")
    path.chmod(0o644)
    replace_privately(path, CANARY)
    assert path.read_bytes() == CANARY and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_lies_in_wait_at_a_name_like_its_draft_s_is_neither_followed_nor_written(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    for name in (".c.json.part", f".c.json{module.MARK}00000000"):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "c.json").symlink_to(target)
    replace_privately(tmp_path / "c.json", CANARY)
    assert target.read_text() == "untouched"
    assert (tmp_path / "c.json").read_bytes() == CANARY and not (tmp_path / "c.json").is_symlink()


def test_a_replacement_that_fails_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "c.json").mkdir()
    with pytest.raises(OSError):
        replace_privately(tmp_path / "c.json", CANARY)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]

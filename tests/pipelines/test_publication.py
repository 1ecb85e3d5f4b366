"""An output appears whole or not at all, whatever stands there and whenever the process dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines import publication as publications
from consentry.pipelines.publication import open_publication
from consentry.pipelines.verify import verify_output
from consentry.schemas.errors import OutputError, RunError
from consentry.transforms.crypto.kek_local import FileKek
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys
from consentry.transforms.crypto.keyring import Keyring, KeySet
from oracles.small_output import write_output

Signing = tuple[ProofKeys, PublicKeys]
TESTS = Path(__file__).parent.parent


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def seen(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_nothing_is_visible_before_it_is_published_and_nothing_hidden_stays(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "deep" / "out"
    with open_publication(str(out), run="r0", replace=False):
        assert not out.exists()
        assert hidden(out.parent) == [".out.consentry-r0"]
    assert hidden(out.parent) == []
    write_output(str(out), signing[0])
    assert sorted(path.name for path in out.iterdir()) == ["data", "dead_letters", "manifest.json"]
    assert hidden(out.parent) == []


def test_an_empty_folder_is_taken_over(tmp_path: Path, signing: Signing) -> None:
    (tmp_path / "out").mkdir()
    write_output(str(tmp_path / "out"), signing[0])
    assert verify_output(str(tmp_path / "out"), signing[1]).ok


def test_a_folder_with_something_in_it_is_refused_without_replace(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "out"
    write_output(str(out), signing[0])
    before = seen(out)
    with pytest.raises(OutputError, match="is not empty; name another --out, or add --replace") as caught:
        write_output(str(out), signing[0], run="r2")
    assert caught.value.exit_code == 2
    assert seen(out) == before
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("content", [{"thesis.txt": b"x"}, {"manifest.json": b'{"name": "a web app"}'}, {".git": b""}])
def test_replace_never_touches_a_folder_that_is_no_output(
    tmp_path: Path, signing: Signing, content: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, data in content.items():
        (out / name).write_bytes(data)
    with pytest.raises(OutputError, match=r"holds no manifest\.json of a run, so it is not replaced"):
        write_output(str(out), signing[0], replace=True)
    assert seen(out) == content


def test_a_file_in_the_way_is_refused(tmp_path: Path, signing: Signing) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is no folder"):
        write_output(str(tmp_path / "out"), signing[0], replace=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, signing: Signing) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        write_output(str(tmp_path / "out"), signing[0])


def test_replace_exchanges_the_old_output_for_the_new_one(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "out"
    write_output(str(out), signing[0], run="old", count=4)
    opened = (out / "manifest.json").open()
    write_output(str(out), signing[0], run="new", replace=True, count=6)
    assert verify_output(str(out), signing[1]).ok
    assert '"run": "old"' in opened.read(), "who reads the old output reads on"
    opened.close()
    assert not [name for name in seen(out) if "old" in name]
    assert hidden(tmp_path) == []


def test_replace_publishes_where_nothing_was(tmp_path: Path, signing: Signing) -> None:
    write_output(str(tmp_path / "out"), signing[0], replace=True)
    assert verify_output(str(tmp_path / "out"), signing[1]).ok


def test_a_link_to_a_folder_is_followed(tmp_path: Path, signing: Signing) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "real")
    write_output(str(tmp_path / "out"), signing[0])
    write_output(str(tmp_path / "out"), signing[0], run="r2", replace=True)
    assert (tmp_path / "out").is_symlink()
    assert verify_output(str(tmp_path / "disk" / "real"), signing[1]).ok


def test_a_file_uri_is_a_local_folder(tmp_path: Path, signing: Signing) -> None:
    write_output(f"file://{tmp_path}/out", signing[0])
    assert verify_output(f"file://{tmp_path}/out", signing[1]).ok
    assert verify_output(str(tmp_path / "out"), signing[1]).ok


def test_a_file_system_that_cannot_exchange_is_refused_before_the_run(
    tmp_path: Path, signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_output(str(tmp_path / "out"), signing[0])
    monkeypatch.setattr(publications, "exchange_works", lambda *_: False)
    with pytest.raises(OutputError, match="cannot exchange two folders at once"):
        write_output(str(tmp_path / "out"), signing[0], run="r2", replace=True)
    assert verify_output(str(tmp_path / "out"), signing[1]).ok


def test_who_comes_first_meanwhile_stays(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "out"
    with open_publication(str(out), run="slow", replace=False) as slow:
        write_output(str(out), signing[0], run="fast")
        with pytest.raises(OutputError, match="is not empty"):
            slow.publish([], "{}")
    assert verify_output(str(out), signing[1]).ok
    assert hidden(tmp_path) == []


def test_a_failed_run_leaves_the_old_output(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "out"
    write_output(str(out), signing[0])
    before = seen(out)
    with (
        pytest.raises(RunError, match="the disk is full"),
        open_publication(str(out), run="r2", replace=True) as publication,
    ):
        (Path(publication.place) / "data" / "part-1.parquet").write_bytes(b"half")
        raise RunError("the disk is full")
    assert seen(out) == before
    assert hidden(tmp_path) == []


def test_files_without_a_receipt_are_not_published(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_publication(str(out), run="r1", replace=False) as publication:
        for name in ("part-given-up", "part-done"):
            (Path(publication.place) / "data" / f"{name}.parquet").write_bytes(b"x")
        publication.publish(["data/part-done.parquet"], "{}\n")
    assert sorted(seen(out)) == ["data/part-done.parquet", "manifest.json"]


def test_folders_of_killed_runs_are_removed_and_those_of_living_ones_stay(tmp_path: Path, signing: Signing) -> None:
    out = tmp_path / "out"
    (tmp_path / ".out.consentry-killed" / "data").mkdir(parents=True)
    (tmp_path / ".other.consentry-killed").mkdir()
    with open_publication(str(out), run="living", replace=False):
        write_output(str(out), signing[0], run="r2")
        assert hidden(tmp_path) == [".other.consentry-killed", ".out.consentry-living"]


class Publisher:
    """A program whose children publish into ``out`` and are killed; see ``oracles.publishing_process``."""

    def __init__(self, folder: Path) -> None:
        kek = bytes(range(32))
        keyring = Keyring.create("shop", dict.fromkeys(KeySet, FileKek(kek)), now=0)
        keyring.save(folder / "keyring.json")
        self.keys, self.trust = keyring.unlock_proof(FileKek(kek)), keyring.public_keys()
        self.out = folder / "place" / "out"
        command = [sys.executable, "-m", "oracles.publishing_process", self.out, folder / "keyring.json", kek.hex()]
        self._program = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def child(self, request: str) -> int:
        assert self._program.stdin is not None
        print(request, file=self._program.stdin, flush=True)
        return int(self.answer())

    def answer(self) -> str:
        assert self._program.stdout is not None
        return self._program.stdout.readline().strip()

    def close(self) -> None:
        assert self._program.stdin is not None and self._program.stdout is not None
        self._program.stdin.close()
        self._program.stdout.close()
        self._program.wait()

    def run_shown(self) -> str | None:
        """The run whose output is visible; fails if what is visible is not whole."""
        if not self.out.exists():
            return None
        report = verify_output(str(self.out), self.trust)
        assert report.ok, [check for check in report.checks if not check.ok]
        return str(json.loads((self.out / "manifest.json").read_bytes())["run"])


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path)
    yield publisher
    publisher.close()


def test_killing_a_publication_at_any_of_its_lines_leaves_the_old_output_or_the_new_one(publisher: Publisher) -> None:
    shown, answer, line, lines = None, "", 0, []
    while answer != "survived":
        line += 1
        # Each starts over what the one before left, which it has to clear away.
        publisher.child(f"line {line} r{len(lines)}-{line}")
        answer = publisher.answer()
        now = publisher.run_shown()
        assert now in (shown, f"r{len(lines)}-{line}")
        assert len(hidden(publisher.out.parent)) <= 3 if publisher.out.parent.exists() else now is None
        if now != shown and not lines:
            lines.append(line)
            line = 0  # once more, now that there is an output to replace
        shown = now
    assert min(lines[0], line) > 60, "the lines of a publication were traced"
    assert hidden(publisher.out.parent) == []


def test_killing_publications_at_random_moments_leaves_an_output_that_is_whole(publisher: Publisher) -> None:
    pauses = random.Random(20261124)
    shown = set()
    for attempt in range(20):
        child = publisher.child(f"free r{attempt}")
        time.sleep(pauses.uniform(0.001, 0.15))
        os.kill(child, signal.SIGKILL)
        assert publisher.answer() == "killed"
        shown.add(publisher.run_shown())
    assert len(shown) > 3, "the output did change meanwhile"
    write_output(str(publisher.out), publisher.keys, run="last", replace=True)
    assert publisher.run_shown() == "last"
    assert hidden(publisher.out.parent) == [], "what killed runs left is removed by the next one"


def test_an_object_store_shows_the_manifest_last(shelf: Callable[[str], str], signing: Signing, tmp_path: Path) -> None:
    out, root = shelf("out"), tmp_path / "shelf" / "bucket" / "out"
    write_output(out, signing[0], run="r1")
    assert verify_output(out, signing[1]).ok
    first = set(seen(root))
    with open_publication(out, run="r2", replace=True) as publication:
        assert set(seen(root)) == first
        publication.publish([], "{}\n")
    assert set(seen(root)) == {"manifest.json"}, "files of the replaced output are removed after the new one stands"


def test_an_object_store_keeps_the_old_output_when_a_run_fails(
    shelf: Callable[[str], str], signing: Signing, tmp_path: Path
) -> None:
    out, root = shelf("out"), tmp_path / "shelf" / "bucket" / "out"
    write_output(out, signing[0], run="r1")
    before = seen(root)

    def failing(*_: Any, **__: Any) -> Any:
        raise RunError("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oracles.small_output.manifest_of", failing)
        with pytest.raises(RunError, match="no"):
            write_output(out, signing[0], run="r2", replace=True)
    assert seen(root) == before


def test_an_object_store_is_replaced_only_when_asked_and_only_if_it_is_an_output(
    shelf: Callable[[str], str], signing: Signing, tmp_path: Path
) -> None:
    write_output(shelf("out"), signing[0], run="r1")
    with pytest.raises(OutputError, match="is not empty"):
        write_output(shelf("out"), signing[0], run="r2")
    write_output(shelf("out"), signing[0], run="r2", replace=True)
    assert verify_output(shelf("out"), signing[1]).ok
    (tmp_path / "shelf" / "bucket" / "mine").mkdir()
    (tmp_path / "shelf" / "bucket" / "mine" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(OutputError, match="so it is not replaced"):
        write_output(shelf("mine"), signing[0], replace=True)


def test_what_a_killed_run_left_in_an_object_store_hinders_nobody(
    shelf: Callable[[str], str], signing: Signing, tmp_path: Path
) -> None:
    left = tmp_path / "shelf" / "bucket" / "out" / "data" / "part-killed-1.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    write_output(shelf("out"), signing[0])
    report = verify_output(shelf("out"), signing[1])
    assert report.ok
    assert "1 files of other runs" in next(check.detail for check in report.checks if check.check == "unlisted")

"""What an input names, what it becomes, and what is said where it names nothing that can be read."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from consentry.pipelines.sources import plan_sources
from consentry.schemas.errors import InputError
from consentry.schemas.record_columns import POSITION
from oracles.source_rows import read_all

KNOWN = r"\.parquet, \.pq, \.csv, \.tsv, \.jsonl, \.ndjson, \.json, and \.gz of the text ones"


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"from": "{name}"}}\n')
    return folder


def found(*inputs: object) -> list[str]:
    return [row["from"] for row in read_all(*inputs).rows]


def test_a_file_a_folder_or_a_glob_names_files(tmp_path: Path) -> None:
    fill(tmp_path, "b.jsonl", "a.jsonl", "sub/c.ndjson", "sub/deep/d.json", "e.JSONL")
    assert found(tmp_path / "b.jsonl") == ["b.jsonl"]
    assert found(tmp_path) == ["a.jsonl", "b.jsonl", "e.JSONL", "sub/c.ndjson", "sub/deep/d.json"]
    assert found(f"{tmp_path}/") == found(tmp_path)
    assert found(f"{tmp_path}/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert found(f"{tmp_path}/?.jsonl") == ["a.jsonl", "b.jsonl"]
    assert found(f"{tmp_path}/**/*.json*") == ["a.jsonl", "b.jsonl", "sub/deep/d.json"]
    assert found(f"{tmp_path}/**") == found(tmp_path)
    assert found(f"{tmp_path}/s*") == ["sub/c.ndjson", "sub/deep/d.json"]
    assert found(f"{tmp_path}/*/d?ep/*") == ["sub/deep/d.json"]
    assert found(f"file://{tmp_path}/sub") == ["sub/c.ndjson", "sub/deep/d.json"]


def test_names_are_given_back_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "in/a.jsonl", "b.jsonl")
    monkeypatch.chdir(tmp_path)
    sources = plan_sources(["in", "*.jsonl"])
    assert [file.name for file in sources.files] == ["in/a.jsonl", "b.jsonl"]
    assert [file.uri for file in sources.files] == [str(tmp_path / "in/a.jsonl"), str(tmp_path / "b.jsonl")]
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(sources)) == sources


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.jsonl", "b.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert found(tmp_path / "b.jsonl", "*.jsonl", "./a.jsonl", f"{tmp_path}/../{tmp_path.name}/a.jsonl") == [
        "b.jsonl", "a.jsonl",
    ]  # fmt: skip


def test_hidden_files_and_other_extensions_in_folders_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl", "_SUCCESS", ".b.jsonl", "_c.jsonl", ".git/d.jsonl", "_temporary/e.jsonl", "notes.txt")
    assert found(tmp_path) == found(f"{tmp_path}/*l") == found(f"{tmp_path}/**/*l") == ["a.jsonl"]
    assert found(tmp_path / "_c.jsonl") == ["_c.jsonl"]


def test_a_name_with_wildcards_of_its_own_is_a_file(tmp_path: Path) -> None:
    fill(tmp_path, "a[1].jsonl", "b?.jsonl", "bc.jsonl")
    assert found(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]
    assert found(tmp_path / "b?.jsonl") == ["b?.jsonl"]
    assert found(f"{tmp_path}/a[1]*") == ["a[1].jsonl"]


def test_an_output_of_consentry_stands_for_its_rows(tmp_path: Path) -> None:
    fill(tmp_path, "manifest.json", "dead_letters/a.jsonl", "data/b.jsonl")
    assert found(tmp_path) == ["data/b.jsonl"]


def test_objects_of_a_store_are_found_and_read_in_every_format(tmp_path: Path, shelf: Callable[[str], str]) -> None:
    folder = tmp_path / "shelf/bucket"
    fill(folder, "in/a.jsonl", "in/sub/b.jsonl", "in/_c.jsonl")
    (folder / "in/c.csv").write_text("from\nc.csv\n")
    pq.write_table(pa.table({"from": ["d.parquet"]}), folder / "in/d.parquet")
    assert found(shelf("in")) == ["in/a.jsonl", "c.csv", "d.parquet", "in/sub/b.jsonl"]
    assert found(shelf("in/*.jsonl")) == ["in/a.jsonl"]
    assert found(shelf("in/**/b.*"), shelf("in/d.parquet")) == ["in/sub/b.jsonl", "d.parquet"]
    assert plan_sources([shelf("in/c.csv")]).files[0].uri == shelf("in/c.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", r"missing\.jsonl: no such file, or a folder without files; check the name"),
        ("empty", r"empty: no such file, or a folder without files; check the name"),
        ("notes", rf"notes: no file in it has a known extension; these are: {KNOWN}"),
        ("*.nothing", r"\*\.nothing: nothing matches; check the pattern, and quote it if your shell reads it first"),
        ("missing/*.csv", r"missing/\*\.csv: nothing matches"),
        ("notes/a.txt", rf"a\.txt: unknown extension; Consentry reads {KNOWN}"),
        ("notes/*", r"a\.txt: unknown extension"),
        ("notes/c.parquet.gz", r"c\.parquet\.gz: unknown extension"),
    ],
)
def test_what_names_nothing_that_can_be_read_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    fill(tmp_path, "notes/a.txt", "notes/b.csv.zip", "notes/c.parquet.gz", "a.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        plan_sources([str(tmp_path / "a.jsonl"), str(tmp_path / name)])
    assert caught.value.exit_code == 2


def test_no_input_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="no input is named, or a blank one; name files"):
        plan_sources([])


def test_a_store_that_does_not_answer_is_an_error_without_its_words(
    shelf: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such file"):
        plan_sources([shelf("missing.csv")])

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("token=secret")

    monkeypatch.setattr(FileSystems, "match", refused)
    with pytest.raises(InputError, match=r"shelf://bucket/a\.csv: cannot be listed \(PermissionError\)") as caught:
        plan_sources([shelf("a.csv")])
    assert "secret" not in str(caught.value) + repr(caught.value.__context__)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl")
    (tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read \(PermissionError\)"):
        plan_sources([str(tmp_path)])


def test_formats_may_be_mixed_where_the_types_agree(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "n": 1, "x": null}\n{"n": 2.5}\n')
    (tmp_path / "b.csv").write_text("id,note\n2,hello\n")
    pq.write_table(pa.table({"n": pa.array([7], pa.int32()), "x": [True]}), tmp_path / "c.parquet")
    read = read_all(tmp_path)
    assert read.types == {"id": pa.string(), "n": pa.float64(), "x": pa.bool_(), "note": pa.string()}
    assert read.rows == [
        {"id": "1", "n": 1.0, "x": None, "note": None},
        {"id": None, "n": 2.5, "x": None, "note": None},
        {"id": "2", "n": None, "x": None, "note": "hello"},
        {"id": None, "n": 7.0, "x": True, "note": None},
    ]
    assert read.positions == [1, 2, 2, 1]
    assert read.sources.schema.names[-1] == POSITION


def test_formats_that_contradict_each_other_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "b.csv").write_text("n\n1\n")
    with pytest.raises(InputError, match=r"column 'n' is int64 in .*a\.jsonl and string in .*b\.csv"):
        plan_sources([str(tmp_path)])


def test_files_without_a_record_are_read_beside_others(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.csv", "c.ndjson"):
        (tmp_path / name).write_bytes(b"")
    read = read_all(tmp_path)
    assert (read.rows, read.sources.schema) == ([], pa.schema([(POSITION, pa.int64())]))
    assert len(read.sources.files) == 3
    (tmp_path / "d.jsonl").write_text(json.dumps({"a": 1}))
    assert read_all(tmp_path).rows == [{"a": 1}]


def test_splits_are_ordered_by_size_and_numbered_by_place(tmp_path: Path) -> None:
    for name, count in (("a", 1), ("b", 300), ("c", 20)):
        (tmp_path / f"{name}.jsonl").write_text('{"a": 1}\n' * count)
    sources = plan_sources([str(tmp_path)])
    assert [split.id for split in sources.splits] == [1, 2, 0]
    assert sources.total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) == 321 * 9


def test_a_blank_input_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("id\n1\n")
    for text in ("", " "):
        with pytest.raises(InputError, match="no input is named, or a blank one"):
            plan_sources([text])


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.csv").write_text("id\n1\n")
    (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in", target_is_directory=True)
    assert len(plan_sources([str(tmp_path / "in")]).files) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_which_a_part_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.jsonl", "sub/b.jsonl"):
        (tmp_path / "in" / name).write_text('{"n": 1}\n')
    (tmp_path / "in" / "sub").chmod(0)
    try:
        with pytest.raises(InputError, match="sub: cannot be read"):
            plan_sources([str(tmp_path / "in")])
    finally:
        (tmp_path / "in" / "sub").chmod(0o700)

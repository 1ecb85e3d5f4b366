from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from oracles.detection_score import score
from oracles.labelled_texts import labelled_texts

PROGRAM = [str(Path(sys.executable).parent / "consentry"), "scan"]


def scan(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_texts_are_scanned_in_order_with_places_in_code_points(tmp_path: Path) -> None:
    texts = labelled_texts(300, seed=11)
    source = write(tmp_path / "t.jsonl", [{"id": f"n-{place}", "text": each.text} for place, each in enumerate(texts)])
    done = scan(source, "--out", tmp_path / "f.jsonl")
    assert (done.returncode, done.stdout) == (0, "")
    found = lines(tmp_path / "f.jsonl")
    assert [record["id"] for record in found] == [f"n-{place}" for place in range(300)]
    spans = [[(span["start"], span["end"], span["entity"]) for span in record["spans"]] for record in found]
    assert score(texts, spans).overall.f1 >= 0.97
    assert all(set(span) == {"start", "end", "entity", "score", "reason"} for each in found for span in each["spans"])
    assert all(0 < span["score"] <= 1 for each in found for span in each["spans"])


def test_ids_of_any_kind_come_back_and_texts_may_be_null_or_hold_half_surrogates(tmp_path: Path) -> None:
    odd = [
        {"id": 7, "text": None},
        {"id": None, "text": ""},
        {"id": [2**70], "text": "\ud83d card 4111 1111 1111 1111"},
    ]
    source = write(tmp_path / "t.jsonl", odd)
    assert scan(source, "--out", tmp_path / "f.jsonl").returncode == 0
    first, second, third = lines(tmp_path / "f.jsonl")
    assert (first, second) == ({"id": 7, "spans": []}, {"id": None, "spans": []})
    assert third["id"] == [2**70] and (third["spans"][0]["start"], third["spans"][0]["end"]) == (7, 26)


def test_findings_hold_no_value(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [{"id": 1, "text": "card 4111 1111 1111 1111, ana.canary@example.com"}])
    done = scan(source, "--out", tmp_path / "f.jsonl", "--json")
    assert json.loads(done.stdout) == {"texts": 1, "found": 1}
    told = (tmp_path / "f.jsonl").read_text() + done.stderr + done.stdout
    assert "1111" not in told and "canary" not in told


def test_columns_are_scanned_to_their_types(tmp_path: Path) -> None:
    columns = [
        {"feed": "crm", "column": "x", "values": ["ana@example.com", "bob@example.com", None]},
        {"feed": "shop", "column": "n", "values": [4111111111111111, 4012888888881881.0, "5555555555554444"]},
        {"feed": "shop", "column": "q", "values": [1, 2.5, True]},
        {"feed": "shop", "column": "", "values": []},
    ]
    assert scan("--columns", write(tmp_path / "c.jsonl", columns), "--out", tmp_path / "o.jsonl").returncode == 0
    found = lines(tmp_path / "o.jsonl")
    assert [each["entity"] for each in found] == ["EMAIL", "CREDIT_CARD", None, None]
    assert [(each["feed"], each["column"]) for each in found] == [(each["feed"], each["column"]) for each in columns]
    assert found[0]["share"] == 1.0 and "EMAIL" in found[0]["evidence"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("no json", "is no JSON object"), ("[1]", "is no JSON object"), ('{"id": 1}', 'lacks "id" or "text"'),
     ('{"id": 1, "text": 5}', '"text" is neither text nor null')],
)  # fmt: skip
def test_a_line_that_is_no_text_is_named_and_nothing_is_written(tmp_path: Path, line: str, said: str) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text('{"id": 1, "text": "ana@example.com"}\n\n' + line + "\n")
    done = scan(source, "--out", tmp_path / "f.jsonl")
    assert done.returncode == 2 and f"t.jsonl:3: {said}" in done.stderr.replace("\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_wrong_use_is_told(tmp_path: Path) -> None:
    source = write(tmp_path / "t.jsonl", [{"id": 1, "text": "x"}])
    for arguments, said in (
        ([], "name either a file of texts"),
        ([source, "--columns", source, "--out", "x"], "name either a file of texts"),
        ([source], "--out: is missing"),
        ([source, "--out", source], "is the input"),
        ([tmp_path / "none.jsonl", "--out", tmp_path / "f"], "cannot be read"),
        ([source, "--out", tmp_path / "none" / "f"], "cannot be written"),
    ):
        done = scan(*arguments)
        assert done.returncode in (2, 3) and said in done.stderr.replace("\n", " "), done.stderr
    assert lines(source) == [{"id": 1, "text": "x"}]


NAMES = """
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors.findings import Finding

class Names:
    def find(self, texts):
        for place, text in enumerate(texts):
            if "Ann" in text:
                yield place, Finding(text.index("Ann"), text.index("Ann") + 3, Entity.PERSON, 0.9, "the word Ann")
"""


def test_a_detector_of_another_maker_is_asked_by_name(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    info = packages / "names-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "names.py").write_text(NAMES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: names\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[consentry.detectors]\nnames = names:Names\n")
    source = write(tmp_path / "t.jsonl", [{"id": 1, "text": "ask Ann, ana@example.com"}])
    assert scan(source, "--out", tmp_path / "f.jsonl", "--detector", "names", path=packages).returncode == 0
    (found,) = lines(tmp_path / "f.jsonl")
    assert [(span["start"], span["end"], span["entity"]) for span in found["spans"]] == [
        (4, 7, "PERSON"),
        (9, 24, "EMAIL"),
    ]
    unknown = scan(source, "--out", tmp_path / "g.jsonl", "--detector", "nobody")
    assert unknown.returncode == 2 and "nobody" in unknown.stderr
    assert scan("--columns", source, "--out", "x", "--detector", "names").returncode == 2

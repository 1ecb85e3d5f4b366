"""Detectors of other makers: real recognizers of Presidio and spaCy, offered by a distribution made for the test."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consentry.schemas.errors import ConfigError, RunError
from consentry.schemas.info_types import Entity
from consentry.transforms.detectors import recognizers
from consentry.transforms.detectors.findings import Finding, disjoint
from consentry.transforms.detectors.recognizers import (
    PresidioRecognizer,
    Recognizer,
    open_recognizers,
    recognized,
    recognizer_names,
    spacy_recognizer,
)

MODEL = "en_core_web_sm"

MODULE = '''
from presidio_analyzer import Pattern, PatternRecognizer
from consentry.transforms.detectors.findings import Finding
from consentry.schemas.info_types import Entity


class Badges(PatternRecognizer):
    """Staff badges, which count as persons, and a weak pattern for places."""

    def __init__(self, prefix="B"):
        patterns = [Pattern("badge", rf"\\\\b{prefix}-[0-9]{{4}}\\\\b", 0.9), Pattern("weak", r"\\\\bweak\\\\b", 0.2)]
        super().__init__(supported_entity="PERSON", patterns=patterns, name="Badges")


class Places(PatternRecognizer):
    def __init__(self):
        super().__init__(supported_entity="LOCATION", patterns=[Pattern("place", r"at ([A-Z0-9][a-z0-9]* ?)+", 0.8)])


class Words:
    def find(self, texts):
        for place, text in enumerate(texts):
            if "Ann" in text:
                start = text.index("Ann")
                yield place, Finding(start, start + 3, Entity.PERSON, 0.9, "the word Ann")


class Failing:
    name = "failing"

    def find(self, texts):
        raise KeyError(texts[0])
        yield


class Unknown(PatternRecognizer):
    def __init__(self):
        super().__init__(supported_entity="PLANET", patterns=[Pattern("planet", "Mars", 0.9)])


def nothing():
    return 7


constant = 7
'''
ENTRY_POINTS = """\
[consentry.detectors]
badges = made_for_the_test:Badges
places = made_for_the_test:Places
words = made_for_the_test:Words
failing = made_for_the_test:Failing
unknown = made_for_the_test:Unknown
nothing = made_for_the_test:nothing
constant = made_for_the_test:constant
absent = made_for_the_test:absent
unimportable = module_that_is_nowhere:Detector
twice = made_for_the_test:Words
"""


def distribution(folder: Path, name: str, entry_points: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed distribution that offers detectors."""
    (tmp_path / "made_for_the_test.py").write_text(MODULE.replace("\\\\", "\\"))
    distribution(tmp_path, "made_for_the_test", ENTRY_POINTS)
    distribution(tmp_path, "another", "[consentry.detectors]\ntwice = elsewhere:Words\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("made_for_the_test", None)


def found(column: list[str | None], *names: str, **options: Any) -> list[tuple[int, str, str]]:
    texts = pa.array(column, pa.string())
    return [
        (row, each.entity.value, str(column[row])[each.start : each.end])
        for row, each in recognized(texts, open_recognizers(names), **options)
        if each.entity is not None
    ]


def test_a_recognizer_of_presidio_is_a_detector_by_its_entry_point(offered: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    texts = ["badge B-1234 and B-77", None, "", "é😀 B-9999"]
    assert found(texts, "badges") == [(0, "PERSON", "B-1234"), (3, "PERSON", "B-9999")]


def test_what_stands_behind_the_colon_goes_to_the_detector(offered: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    assert found(["B-1234 Q-1234"], "badges:Q") == [(0, "PERSON", "Q-1234")]


def test_what_a_recognizer_is_not_sure_of_is_left_out(offered: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    assert found(["a weak word"], "badges") == []


def test_a_place_is_an_address_only_with_a_number_in_it(offered: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    assert found(["at Paris", "at 12 Baker Street"], "places") == [(1, "STREET_ADDRESS", "at 12 Baker Street")]


def test_whoever_says_what_a_name_means_gets_all_of_it() -> None:
    analyzer = pytest.importorskip("presidio_analyzer")
    planets = analyzer.PatternRecognizer("LOCATION", patterns=[analyzer.Pattern("planet", "Mars", 0.9)])
    adapted = PresidioRecognizer(planets, entities={"LOCATION": Entity.STREET_ADDRESS}, least_score=0.9)
    assert recognized(pa.array(["to Mars"]), [adapted]) == [
        (0, Finding(3, 7, Entity.STREET_ADDRESS, 0.9, "the recognizer PatternRecognizer takes it for LOCATION"))
    ]


def test_an_object_with_find_needs_no_presidio(offered: Path) -> None:
    (words,) = open_recognizers(["words"])
    assert isinstance(words, Recognizer)
    assert found(["Ann", "Ben", "to Ann"], "words") == [(0, "PERSON", "Ann"), (2, "PERSON", "Ann")]


def test_nothing_is_found_in_a_token_unless_tokens_are_what_anybody_wrote(offered: Path) -> None:
    assert found(["[card:1:Ann]"], "words") == []
    assert found(["[card:1:Ann]"], "words", tokens=False) == [(0, "PERSON", "Ann")]


def test_a_finding_joins_the_others_by_its_score(offered: Path) -> None:
    (row, finding), *_ = recognized(pa.array(["Ann"]), open_recognizers(["words"]))
    surer = Finding(0, 2, Entity.CRYPTO, 0.95, "")
    assert row == 0 and disjoint([finding, surer]) == [surer]


def test_a_long_text_is_searched_in_pieces_and_keeps_its_places(offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("presidio_analyzer")
    monkeypatch.setattr(recognizers, "LONGEST", 50)
    text = "word " * 31 + "B-1234 " + "x" * 120 + " B-5678\n" + "y" * 60
    assert [each[2] for each in found([text], "badges")] == ["B-1234", "B-5678"]


def test_no_text_is_quoted_when_a_recognizer_fails(offered: Path) -> None:
    with pytest.raises(RunError, match="detector 'failing': failed with KeyError") as caught:
        found(["4111 1111 1111 1111"], "failing")
    assert "4111" not in str(caught.value) and caught.value.__cause__ is None
    assert caught.value.reason == "detector_failed"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", r"detector 'nowhere': no installed distribution offers it; offered are: absent, badges, "),
        ("twice", "is offered as elsewhere:Words and as made_for_the_test:Words; uninstall all but one"),
        ("nothing", "detector 'nothing': is no recognizer; let its entry point return one of Presidio"),
        ("constant", "its entry point is neither a class nor a function; name one"),
        ("absent", r"cannot be loaded \(AttributeError\); reinstall the distribution that offers it"),
        ("unimportable", "needs the module 'module_that_is_nowhere', which is not installed"),
        ("unknown", r"detector 'Unknown': finds nothing that has a meaning here \(PLANET\)"),
    ],
)
def test_a_detector_that_cannot_be_used_is_refused(offered: Path, name: str, says: str) -> None:
    pytest.importorskip("presidio_analyzer")
    with pytest.raises(ConfigError, match=says):
        open_recognizers([name])


def test_names_are_listed_without_loading_anything(offered: Path) -> None:
    assert {"badges", "words", "spacy"} <= set(recognizer_names())
    assert "made_for_the_test" not in sys.modules


def test_surrogates_and_nulls_do_not_shift_places(offered: Path) -> None:
    data = pa.array([None, b"\xed\xa0\x80 Ann"], pa.binary())
    column = pa.StringArray.from_buffers(2, data.buffers()[1], data.buffers()[2], data.buffers()[0])
    ((row, finding),) = recognized(column, open_recognizers(["words"]))
    assert (row, finding.start, finding.end) == (1, 2, 5)


WITHOUT_EXTRA = """
import sys
sys.modules["presidio_analyzer"] = sys.modules["spacy"] = None
from consentry.schemas.errors import ConfigError
from consentry.transforms.detectors import recognizers
for name in ("spacy", "badges"):
    try:
        recognizers.open_recognizers([name])
    except ConfigError as error:
        print(error)
"""
NOTHING_LOADED = """
import sys
from consentry.transforms.detectors import free_text, recognizers
recognizers.recognizer_names()
print([name for name in ("presidio_analyzer", "spacy", "apache_beam") if name in sys.modules])
"""


def python(code: str, *, path: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_extra_the_error_names_it(offered: Path) -> None:
    lines = python(WITHOUT_EXTRA, path=offered).splitlines()
    assert lines == [
        f"detector '{name}': needs the extra ner; run `pip install 'consentry[ner]'`" for name in ("spacy", "badges")
    ]


def test_nothing_of_the_extra_is_imported_before_it_is_asked_for(tmp_path: Path) -> None:
    assert python(NOTHING_LOADED, path=tmp_path).strip() == "[]"


@pytest.fixture
def small_model(tmp_path: Path) -> str:
    """A folder with a spaCy pipeline that knows two people and two places by heart."""
    spacy = pytest.importorskip("spacy")
    pytest.importorskip("presidio_analyzer")
    pipeline = spacy.blank("de")
    ruler: Any = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "PER", "pattern": "Jürgen Groß"},
            {"label": "PERSON", "pattern": "Ann"},
            {"label": "LOC", "pattern": "Köln"},
            {"label": "FAC", "pattern": "Domstraße 12"},
            {"label": "ORG", "pattern": "Acme"},
        ]
    )
    pipeline.to_disk(tmp_path / "model")
    return str(tmp_path / "model")


def test_names_come_from_spacy_through_the_recognizer_of_presidio(small_model: str) -> None:
    texts = ["😀 Jürgen Groß, Domstraße 12, Köln", "nobody", "Ann of Acme"]
    assert found(texts, f"spacy:{small_model}") == [
        (0, "PERSON", "Jürgen Groß"),
        (0, "STREET_ADDRESS", "Domstraße 12"),
        (2, "PERSON", "Ann"),
    ]


def test_a_model_that_is_not_there_is_named_and_not_downloaded() -> None:
    pytest.importorskip("spacy")
    with pytest.raises(ConfigError, match="the model 'xx_nowhere' is not installed; run `python -m spacy download"):
        spacy_recognizer("xx_nowhere")


def test_the_english_model_of_spacy_finds_people() -> None:
    if importlib.util.find_spec(MODEL) is None:
        warnings.warn(f"NOT TESTED: spaCy's model {MODEL} is not installed", stacklevel=1)
        pytest.skip(f"NOT TESTED: spaCy's model {MODEL} is not installed; python -m spacy download {MODEL}")
    people = found(["Please call Barack Obama in Chicago."], f"spacy:{MODEL}")
    assert people == [(0, "PERSON", "Barack Obama")]


def test_every_detector_says_why(offered: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    ((_, finding),) = recognized(pa.array(["B-1234"]), open_recognizers(["badges"]))
    assert finding.reason == "the recognizer Badges takes it for PERSON"
    assert finding.score == pytest.approx(0.9)

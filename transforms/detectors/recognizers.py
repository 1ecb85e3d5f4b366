"""Detectors of other makers: any Presidio ``EntityRecognizer``, spaCy's names included, as an entry point.

A distribution offers a detector in the group ``consentry.detectors``: a class or function that returns a recognizer of
Presidio, or an object with ``find`` as ``Recognizer`` says. Nothing of it is imported before it is opened by name, so
that what is installed never changes what is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from ...schemas.errors import ConfigError, RunError
from ...schemas.info_types import Entity
from ...schemas.text_tokens import text_tokens
from .findings import Finding

__all__ = [
    "GROUP",
    "PRESIDIO_ENTITIES",
    "PresidioRecognizer",
    "Recognizer",
    "open_recognizers",
    "recognized",
    "recognizer_names",
    "spacy_recognizer",
]

GROUP = "consentry.detectors"
"""The group of entry points."""
EXTRA_MODULES = ("presidio_analyzer", "spacy")
"""What the ``ner`` extra installs."""

PRESIDIO_ENTITIES: Mapping[str, Entity] = MappingProxyType(
    {
        **{entity.value: entity for entity in Entity},
        "IBAN_CODE": Entity.IBAN,
        "EMAIL_ADDRESS": Entity.EMAIL,
        "PHONE_NUMBER": Entity.PHONE,
        "ADDRESS": Entity.STREET_ADDRESS,
        "LOCATION": Entity.STREET_ADDRESS,
    }
)
"""Names of Presidio, and what they are here. Of a LOCATION only what has a number in it: a city is no address."""
WITH_NUMBER = frozenset({"LOCATION"})

LEAST_SCORE = 0.4
"""Below it are patterns that Presidio believes only where its context words stand near."""
LONGEST = 100_000
"""Code points that a recognizer sees at a time; models refuse a million."""
SURROGATES = re.compile("[\ud800-\udfff]")
CUTS = ("\n", " ")

SPACY_LABELS = {"PERSON": "PERSON", "PER": "PERSON", "FAC": "LOCATION", "GPE": "LOCATION", "LOC": "LOCATION"}
UNUSED_PIPES = ("tagger", "parser", "attribute_ruler", "lemmatizer", "morphologizer", "senter")


@runtime_checkable
class Recognizer(Protocol):
    """Finds values in texts. For one thread at a time."""

    def find(self, texts: Sequence[str]) -> Iterator[tuple[int, Finding]]:
        """Yields the place of a text and what was found in it, in code points; findings may overlap."""


def recognizer_names() -> list[str]:
    """Returns the names under which installed distributions offer detectors."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def open_recognizers(names: Iterable[str]) -> tuple[Recognizer, ...]:
    """Returns the detectors of some names, loaded and ready.

    Args:
        names: As distributions offer them; behind a colon the argument that the detector takes, as in
            ``spacy:en_core_web_sm``.

    Raises:
        ConfigError: A name is not offered, or offered twice, or what it needs is not installed.
    """
    return tuple(_opened(name) for name in names)


def recognized(
    column: pa.Array, recognizers: Sequence[Recognizer], *, tokens: bool = True
) -> list[tuple[int, Finding]]:
    """Returns rows and what recognizers found in them, in any order; what they find may overlap.

    Args:
        column: ``string`` or ``large_string``; nulls hold nothing.
        recognizers: As ``open_recognizers`` returns them.
        tokens: Whether what looks like a token in a text is one, and holds nothing.

    Raises:
        RunError: A recognizer failed; its own message may quote the text and is left out.
    """
    if not recognizers:
        return []
    rows, texts = _texts(column)
    shields = [[(token.start, token.end) for token in text_tokens(text)] if tokens else [] for text in texts]
    return [
        (rows[place], finding)
        for recognizer in recognizers
        for place, finding in _found(recognizer, texts)
        if all(finding.end <= start or end <= finding.start for start, end in shields[place])
    ]


class PresidioRecognizer:
    """An ``EntityRecognizer`` of Presidio as a detector.

    Args:
        recognizer: Has ``analyze(text, entities, nlp_artifacts)`` and ``supported_entities``.
        nlp: Presidio's ``NlpEngine``, for a recognizer that reads what a model has made of the text.
        entities: What its names mean here; others are not asked for. Default is ``PRESIDIO_ENTITIES``.
        least_score: What it is less sure of is left out.

    Raises:
        ConfigError: It finds nothing that has a meaning here.
    """

    def __init__(
        self,
        recognizer: Any,
        *,
        nlp: Any = None,
        entities: Mapping[str, Entity] = PRESIDIO_ENTITIES,
        least_score: float = LEAST_SCORE,
    ) -> None:
        self._recognizer = recognizer
        self._nlp = nlp
        self._entities = {name: entities[name] for name in recognizer.supported_entities if name in entities}
        # Presidio's wide LOCATION is narrowed here; whoever maps it means all of it.
        self._with_number = WITH_NUMBER if entities is PRESIDIO_ENTITIES else frozenset[str]()
        self._least_score = least_score
        if not self._entities:
            raise ConfigError(
                f"detector '{self.name}': finds nothing that has a meaning here "
                f"({', '.join(sorted(recognizer.supported_entities))}); wrap it in PresidioRecognizer with 'entities'"
            )

    @property
    def name(self) -> str:
        """The recognizer's own name."""
        return str(getattr(self._recognizer, "name", type(self._recognizer).__name__))

    def find(self, texts: Sequence[str]) -> Iterator[tuple[int, Finding]]:
        """Yields the place of a text and what was found in it."""
        pieces = [(place, start, piece) for place, text in enumerate(texts) for start, piece in _pieces(text)]
        artifacts = self._artifacts([piece for _, _, piece in pieces])
        for (place, start, piece), artifact in zip(pieces, artifacts, strict=True):
            for result in self._recognizer.analyze(piece, list(self._entities), artifact) or ():
                finding = self._finding(piece, result)
                if finding is not None:
                    yield place, finding._replace(start=finding.start + start, end=finding.end + start)

    def _artifacts(self, texts: Sequence[str]) -> Iterator[Any]:
        """What the model makes of each text; None without one."""
        if self._nlp is None:
            return (None for _ in texts)
        return (artifact for _, artifact in self._nlp.process_batch(texts, self._recognizer.supported_language))

    def _finding(self, text: str, result: Any) -> Finding | None:
        name = result.entity_type
        entity = self._entities.get(name)
        start, end = max(0, result.start), min(len(text), result.end)
        if entity is None or result.score < self._least_score or start >= end:
            return None
        if name in self._with_number and not any(character.isdecimal() for character in text[start:end]):
            return None
        reason = f"the recognizer {self.name} takes it for {name}"
        return Finding(start, end, entity, min(1.0, float(result.score)), reason)


def spacy_recognizer(model: str = "en_core_web_sm") -> PresidioRecognizer:
    """Returns spaCy's recognition of names, through Presidio's ``SpacyRecognizer``: PERSON and STREET_ADDRESS.

    Args:
        model: An installed spaCy model, or its folder. It is never downloaded.

    Raises:
        ConfigError: The ``ner`` extra or the model is not installed.
    """
    try:
        import spacy
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import SpacyRecognizer
    except ModuleNotFoundError as error:
        raise _without_extra("spacy", error) from None
    try:
        pipeline: Any = spacy.load(model, exclude=UNUSED_PIPES)
    except OSError:
        raise ConfigError(
            f"detector 'spacy': the model '{model}' is not installed; run `python -m spacy download {model}` once, "
            "or name another one as spacy:MODEL"
        ) from None
    reading = NerModelConfiguration(
        model_to_presidio_entity_mapping=SPACY_LABELS,
        labels_to_ignore=[label for label in _labels(pipeline) if label not in SPACY_LABELS],
    )
    engine: Any = SpacyNlpEngine([{"lang_code": pipeline.lang, "model_name": model}], reading)
    engine.nlp = {pipeline.lang: pipeline}  # its own ``load`` would download a missing model
    names = ["PERSON", "LOCATION"]
    return PresidioRecognizer(SpacyRecognizer(supported_language=pipeline.lang, supported_entities=names), nlp=engine)


def _labels(pipeline: Any) -> set[str]:
    return {label for name in pipeline.pipe_names for label in getattr(pipeline.get_pipe(name), "labels", ())}


def _opened(asked: str) -> Recognizer:
    name, colon, argument = asked.partition(":")
    made = _factory(name)(*([argument] if colon else []))
    if isinstance(made, Recognizer):
        return made
    if callable(getattr(made, "analyze", None)) and hasattr(made, "supported_entities"):
        return PresidioRecognizer(made)
    raise ConfigError(
        f"detector '{name}': is no recognizer; let its entry point return one of Presidio, or an object with 'find'"
    )


def _factory(name: str) -> Callable[..., Any]:
    entry = _entry_point(name)
    try:
        factory = entry.load()
    except ModuleNotFoundError as error:
        raise _without_extra(name, error) from None
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"detector '{name}': cannot be loaded ({type(error).__name__}); reinstall the distribution that offers it"
        ) from None
    if not callable(factory):
        raise ConfigError(f"detector '{name}': its entry point is neither a class nor a function; name one")

    def make(*arguments: str) -> Any:
        try:
            return factory(*arguments)
        except ModuleNotFoundError as error:
            raise _without_extra(name, error) from None

    return make


def _entry_point(name: str) -> EntryPoint:
    # A distribution that is on the path twice, as in an editable install, offers the same thing twice.
    offered = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if not offered:
        known = ", ".join(recognizer_names()) or "none"
        raise ConfigError(f"detector '{name}': no installed distribution offers it; offered are: {known}")
    if len(offered) > 1:
        raise ConfigError(f"detector '{name}': is offered as {' and as '.join(sorted(offered))}; uninstall all but one")
    return next(iter(offered.values()))


def _without_extra(name: str, error: ModuleNotFoundError) -> ConfigError:
    missing = (error.name or "").partition(".")[0]
    if missing in EXTRA_MODULES:
        return ConfigError(f"detector '{name}': needs the extra ner; run `pip install 'consentry[ner]'`")
    return ConfigError(f"detector '{name}': needs the module '{missing}', which is not installed; install it")


def _found(recognizer: Recognizer, texts: Sequence[str]) -> Iterator[tuple[int, Finding]]:
    try:
        yield from recognizer.find(texts)
    except Exception as error:  # noqa: BLE001 - of another maker; whatever it is, its message may quote the text
        name = getattr(recognizer, "name", type(recognizer).__name__)
        raise RunError(
            f"detector '{name}': failed with {type(error).__name__}; try it on single texts, or leave it out",
            reason="detector_failed",
        ) from None


def _texts(column: pa.Array) -> tuple[list[int], list[str]]:
    """The rows that are not null, and their texts without what no model can read."""
    rows, texts = [], []
    for row, data in enumerate(column.cast(pa.large_binary()).to_pylist()):
        if data:
            rows.append(row)
            texts.append(SURROGATES.sub("\ufffd", data.decode("utf-8", "surrogatepass")))
    return rows, texts


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yields a text in pieces that are not too long, cut between lines or words where there are any."""
    start = 0
    while len(text) - start > LONGEST:
        cuts = (text.rfind(mark, start + LONGEST // 2, start + LONGEST) for mark in CUTS)
        cut = next((cut + 1 for cut in cuts if cut >= 0), start + LONGEST)
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]

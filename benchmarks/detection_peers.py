"""Who detection is measured beside: presidio-analyzer's pattern recognizers and datafog-core, as spans of ours.

Each finds only the entities that it and we both know. presidio-analyzer is asked without a language model, in two
ways: recognizer by recognizer, which is the fastest, and through its engine, whose context words it finds best with.
What it is unsure of is cut at the score that suits it best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from consentry.transforms.detectors.findings import Finding, disjoint
from consentry.transforms.detectors.free_text import find_in_texts

__all__ = ["ABSENT", "Peer", "Spans", "our_spans", "peers", "settled"]

Spans = list[tuple[int, int, str]]
ABSENT = "not installed"

PRESIDIO = {
    "CreditCardRecognizer": "CREDIT_CARD",
    "IbanRecognizer": "IBAN",
    "EmailRecognizer": "EMAIL",
    "PhoneRecognizer": "PHONE",
    "UsSsnRecognizer": "US_SSN",
    "UsItinRecognizer": "US_ITIN",
    "IpRecognizer": "IP_ADDRESS",
    "MacAddressRecognizer": "MAC_ADDRESS",
    "UkNinoRecognizer": "UK_NINO",
    "NhsRecognizer": "UK_NHS",
    "CryptoRecognizer": "CRYPTO",
}
DATAFOG = {
    "CREDIT_CARD": "CREDIT_CARD",
    "EMAIL": "EMAIL",
    "PHONE": "PHONE",
    "SSN": "US_SSN",
    "IP_ADDRESS": "IP_ADDRESS",
    "CREDENTIAL_URI": "URL_WITH_CREDENTIALS",
    "API_KEY": "SECRET",
    "BEARER_TOKEN": "SECRET",
    "JWT": "SECRET",
    "PRIVATE_KEY": "SECRET",
}
LEAST_SCORES = (0.0, 0.05, 0.1, 0.3, 0.4, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another detector.

    Attributes:
        name: With its version.
        entities: Those that it and we know, by our names.
        find: What it finds in one text, with scores.
        least_scores: Where it may be cut.
        rows: How many rows it is given where a rate is taken; it is too slow for all.
    """

    name: str
    entities: frozenset[str]
    find: Callable[[str], list[Finding]]
    least_scores: Sequence[float]
    rows: int


def peers() -> list[Peer | str]:
    """Returns the peers; of one that cannot be imported its name and that it is not installed."""
    found: list[Peer | str] = []
    for name, make in (
        ("presidio-analyzer", _presidio),
        ("presidio-analyzer, engine", _presidio_engine),
        ("datafog-core", _datafog),
    ):
        try:
            found.append(make())
        except ModuleNotFoundError:
            found.append(f"{name}: {ABSENT}")
    return found


def settled(findings: Iterable[Finding], least: float) -> Spans:
    """Returns findings of a score at least, of overlapping ones the surest."""
    found = disjoint(each for each in findings if each.score >= least)
    return [(each.start, each.end, str(each.entity)) for each in found]


def our_spans(texts: Sequence[str]) -> list[Spans]:
    """Returns what we find in each text."""
    found: list[Spans] = [[] for _ in texts]
    for row, findings in find_in_texts(pa.array(texts, pa.string())):
        found[row] = [(each.start, each.end, str(each.entity)) for each in findings]
    return found


def _presidio_recognizers() -> list[tuple[Any, str]]:
    import tldextract.tldextract as domains
    from presidio_analyzer import predefined_recognizers

    # By default the list of domains is fetched from the network at first use.
    domains.TLD_EXTRACTOR = domains.TLDExtract(cache_dir=None, suffix_list_urls=())
    return [(getattr(predefined_recognizers, name)(), entity) for name, entity in PRESIDIO.items()]


def _presidio() -> Peer:
    recognizers = _presidio_recognizers()

    def find(text: str) -> list[Finding]:
        return [
            Finding(result.start, result.end, entity, result.score, "")  # type: ignore[arg-type]
            for recognizer, entity in recognizers
            for result in recognizer.analyze(text, recognizer.supported_entities, None) or ()
        ]

    name = f"presidio-analyzer {version('presidio-analyzer')}, patterns"
    return Peer(name=name, entities=frozenset(PRESIDIO.values()), find=find, least_scores=LEAST_SCORES, rows=2_000)


def _presidio_engine() -> Peer:
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    recognizers = _presidio_recognizers()
    words: Any = SpacyNlpEngine()
    words.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry([recognizer for recognizer, _ in recognizers], supported_languages=["en"])
    engine = AnalyzerEngine(registry, nlp_engine=words, supported_languages=["en"])
    names = {asked: entity for recognizer, entity in recognizers for asked in recognizer.supported_entities}

    def find(text: str) -> list[Finding]:
        return [
            Finding(result.start, result.end, names[result.entity_type], result.score, "")  # type: ignore[arg-type]
            for result in engine.analyze(text, "en", entities=list(names))
        ]

    name = f"presidio-analyzer {version('presidio-analyzer')}, engine without model"
    return Peer(name=name, entities=frozenset(PRESIDIO.values()), find=find, least_scores=LEAST_SCORES, rows=1_000)


def _datafog() -> Peer:
    from datafog_core import scan

    asked: Any = {"entities": list(DATAFOG)}

    def find(text: str) -> list[Finding]:
        return [
            Finding(each.codepoint_range.start, each.codepoint_range.end, DATAFOG[each.entity_type], 1.0, "")  # type: ignore[arg-type]
            for each in scan(text, asked)
        ]

    name = f"datafog-core {version('datafog-core')}"
    return Peer(name=name, entities=frozenset(DATAFOG.values()), find=find, least_scores=(0.0,), rows=20_000)

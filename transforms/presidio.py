"""Tokens for people's own Presidio: operators for ``AnonymizerEngine`` and ``DeanonymizeEngine``.

``operators`` gives each entity the treatment of the policy's info type, tokens as ``[card:1:TOKEN]``. The way back,
``restore_operators``, asks the desk for each token with role, purpose and actor; what is refused stays a token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from threading import Lock
from typing import Any

import pyarrow as pa
from presidio_anonymizer import AnonymizerEngine, DeanonymizeEngine
from presidio_anonymizer.entities import EngineResult, OperatorConfig, RecognizerResult
from presidio_anonymizer.operators import Operator, OperatorType

from ..schemas.errors import ConfigError, TokenError
from ..schemas.info_types import (
    GeneralizeRule,
    InfoType,
    InvalidReason,
    KeepRule,
    MaskRule,
    OnInvalid,
    TokenizeRule,
)
from ..schemas.policy import Policy
from ..schemas.text_tokens import spelled, text_tokens
from .access.detokenize import Desk
from .access.texts import detokenize_texts
from .actions import REDACTED, generalize, mask
from .crypto.key_sets import Secret, TokenKeys
from .detectors.findings import Finding, disjoint
from .detectors.recognizers import PRESIDIO_ENTITIES, WITH_NUMBER
from .prepared_spans import DEFAULT, PreparedSpan, prepared
from .tokens.open_tokenizer import open_tokenizer
from .values.canonical import Reasons

__all__ = [
    "ProtectSpan",
    "RestoreSpan",
    "SpanTreatment",
    "TokenRestorer",
    "anonymize",
    "anonymizer_engine",
    "deanonymizer_engine",
    "operators",
    "restore_operators",
]

TREATMENT = "treatment"
RESTORER = "restorer"
REASONS = ("", *(reason.value for reason in InvalidReason))


class SpanTreatment(Secret):
    """What becomes of the values of one info type. Threads may share it.

    Args:
        info_type: Its name in the policy.
        rule: What the policy says of it.
        keys: Make the tokens.
        version: Of the key set; default is the primary.
    """

    def __init__(self, info_type: str, rule: InfoType, keys: TokenKeys, *, version: int | None = None) -> None:
        self.info_type = info_type
        self._rule = rule
        self._tokenizer = open_tokenizer(rule, keys, version=version) if isinstance(rule, TokenizeRule) else None
        self._one_at_a_time = Lock()

    def treat(self, values: Sequence[str]) -> list[str]:
        """Returns what takes the place of each value; ``[redacted]`` for one that does not fit.

        Raises:
            TokenError: One does not fit, and the policy says ``on_invalid: dead_letter``.
        """
        column = pa.array(values, pa.string())
        match self._rule:
            case TokenizeRule() as rule:
                return self._tokens(rule, column)
            case MaskRule() as rule:
                return _texts(mask(column, rule))
            case GeneralizeRule() as rule:
                coarser = generalize(column, rule)
                self._check(coarser.reasons, rule.on_invalid)
                return _texts(coarser.values.cast(pa.string()))
            case KeepRule():
                return list(values)
        return [REDACTED] * len(values)

    def _tokens(self, rule: TokenizeRule, column: pa.StringArray) -> list[str]:
        assert self._tokenizer is not None
        with self._one_at_a_time:
            result = self._tokenizer.tokenize(column)
        self._check(result.reasons, rule.on_invalid)
        version = self._tokenizer.key_version
        return [
            REDACTED if token is None else spelled(self.info_type, version, token)
            for token in result.tokens.to_pylist()
        ]

    def _check(self, reasons: Reasons | None, on_invalid: OnInvalid) -> None:
        if reasons is not None and reasons.any() and on_invalid is OnInvalid.DEAD_LETTER:
            reason = REASONS[int(reasons[reasons != 0][0])]
            raise TokenError(
                f"info_types.{self.info_type}: a span does not fit ({reason}); keep the text back, or write "
                "on_invalid: redact",
                reason=reason,
            )


class TokenRestorer(Secret):
    """Asks the desk for the tokens of texts, always for the same purpose.

    Args:
        desk: Answers, and logs before it answers.
        purpose: What the values are needed for.
        role: The role in which the actor asks.
        actor: Who asks.
        subject: The customer whose permission decides; without it, all whose value it is must permit.
    """

    def __init__(self, desk: Desk, *, purpose: str, role: str, actor: str, subject: str | None = None) -> None:
        self._desk = desk
        self._asking: dict[str, Any] = {"purpose": purpose, "role": role, "actor": actor, "subject": subject}

    def restore(self, span: str) -> str:
        """Returns the value of a token; the span itself if it is none, or if the answer is no.

        Raises:
            PrivacyError: The log or a store cannot be used; nothing is shown.
        """
        tokens = text_tokens(span)
        if len(tokens) != 1 or (tokens[0].start, tokens[0].end) != (0, len(span)):
            return span
        (restored,) = detokenize_texts(self._desk, [span], **self._asking)
        return restored.text


class ProtectSpan(Operator):
    """Presidio's operator for what ``operators`` says."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """Returns what takes the place of a span."""
        return _treatment(params).treat([text])[0]

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Refuses parameters that ``operators`` has not made."""
        _treatment(params)

    def operator_name(self) -> str:
        """Returns the name that an ``OperatorConfig`` calls it by."""
        return "consentry_protect"

    def operator_type(self) -> OperatorType:
        """Returns that it anonymizes."""
        return OperatorType.Anonymize


class RestoreSpan(Operator):
    """Presidio's operator for what ``restore_operators`` says."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """Returns the value of a token, or the token."""
        return _restorer(params).restore(text)

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Refuses parameters that ``restore_operators`` has not made."""
        _restorer(params)

    def operator_name(self) -> str:
        """Returns the name that an ``OperatorConfig`` calls it by."""
        return "consentry_restore"

    def operator_type(self) -> OperatorType:
        """Returns that it brings back."""
        return OperatorType.Deanonymize


def operators(
    policy: Policy, keys: TokenKeys, *, permitted: Collection[str], version: int | None = None
) -> dict[str, OperatorConfig]:
    """Returns Presidio's operators for the entities that the policy's info types find; all others are redacted.

    Presidio knows no customers, so that the caller says what they permit. Nothing goes to the vault: a token made here
    comes back if a value like it has been protected with permission to distribute.

    Args:
        policy: Its ``finds`` say which info type treats an entity, by Presidio's name of it or by ours.
        keys: Make the tokens.
        permitted: Purposes that permit collecting, for the customers whose texts these are. An info type of which
            none permits is redacted.
        version: Of the key set; default is the primary.

    Raises:
        ConfigError: ``permitted`` names a purpose that the policy does not know.
        KeyringError: The version is unknown, disabled or destroyed.
    """
    unknown = sorted(set(permitted) - set(policy.purposes))
    if unknown:
        raise ConfigError(f"permitted: the policy knows no purpose '{unknown[0]}'; name some of its purposes")
    found: dict[str, OperatorConfig] = {DEFAULT: OperatorConfig("replace", {"new_value": REDACTED})}
    for info_type, rule in policy.info_types.items():
        if rule.finds and set(rule.collect) & set(permitted):
            treatment = SpanTreatment(info_type, rule, keys, version=version)
            config = OperatorConfig(_PROTECT, {TREATMENT: treatment})
            found |= {name: config for name, entity in _NAMES.items() if entity in rule.finds}
    return found


def restore_operators(
    desk: Desk, *, purpose: str, role: str, actor: str, subject: str | None = None
) -> dict[str, OperatorConfig]:
    """Returns Presidio's operators that bring tokens back as far as the desk allows; all else stays as it is.

    Each token is asked for and logged on its own. For many texts ``detokenize_texts`` is faster, and judges all of
    them at one instant.

    Args:
        desk: As ``pipelines.desk.open_desk`` returns it.
        purpose: What the values are needed for.
        role: The role in which the actor asks.
        actor: Who asks.
        subject: The customer whose permission decides; without it, all whose value it is must permit.
    """
    restorer = TokenRestorer(desk, purpose=purpose, role=role, actor=actor, subject=subject)
    return {DEFAULT: OperatorConfig(_RESTORE, {RESTORER: restorer})}


def anonymizer_engine() -> AnonymizerEngine:
    """Returns an engine of Presidio that knows the operators; to one of your own add ``ProtectSpan``."""
    engine = AnonymizerEngine()  # type: ignore[no-untyped-call]
    engine.add_anonymizer(ProtectSpan)
    return engine


def deanonymizer_engine() -> DeanonymizeEngine:
    """Returns an engine of Presidio that brings tokens back; to one of your own add ``RestoreSpan``."""
    engine = DeanonymizeEngine()  # type: ignore[no-untyped-call]
    engine.add_deanonymizer(RestoreSpan)
    return engine


def anonymize(
    engine: AnonymizerEngine,
    texts: Sequence[str],
    results: Sequence[Sequence[Any]],
    operators: Mapping[str, OperatorConfig],
) -> list[EngineResult]:
    """Returns what an engine makes of texts, in the one way that keeps tokens whole, and all tokens made in one go.

    Of results that overlap the surest stays, and neighbours are not fused, as the engine would do by itself.

    Args:
        engine: Any; learns what it does not know.
        texts: Any.
        results: For each text, as an analyzer of Presidio returns them, in any order.
        operators: As ``operators`` returns them, with your own where you like; by entity.

    Raises:
        TokenError: A span does not fit, and the policy says ``on_invalid: dead_letter``.
    """
    engine.add_anonymizer(PreparedSpan)
    chosen = [_surest(each) for each in results]
    return [
        engine.anonymize(text, spans, operators={**operators, **own}, merge_entities_with_spaces=False)
        for text, spans, own in zip(texts, chosen, _prepared(texts, chosen, operators), strict=True)
    ]


def _surest(results: Sequence[Any]) -> list[RecognizerResult]:
    surest = disjoint(Finding(each.start, each.end, each.entity_type, each.score, "") for each in results)
    return [RecognizerResult(str(each.entity), each.start, each.end, each.score) for each in surest]


def _prepared(
    texts: Sequence[str], chosen: Sequence[Sequence[RecognizerResult]], operators: Mapping[str, OperatorConfig]
) -> list[dict[str, OperatorConfig]]:
    """For each text, the operators of the entities that we treat, with all replacements made already."""
    places: dict[SpanTreatment, list[tuple[int, RecognizerResult]]] = {}
    for number, spans in enumerate(chosen):
        for span in spans:
            config = operators.get(span.entity_type) or operators.get(DEFAULT)
            if config is not None and config.operator_name == _PROTECT:
                places.setdefault(_treatment(config.params), []).append((number, span))
    made: list[dict[str, list[str]]] = [{} for _ in texts]
    for treatment, found in places.items():
        values = [texts[number][span.start : span.end] for number, span in found]
        for (number, span), replacement in zip(found, treatment.treat(values), strict=True):
            made[number].setdefault(span.entity_type, []).append(replacement)
    return [{name: prepared(replacements) for name, replacements in each.items()} for each in made]


def _treatment(params: dict[str, Any] | None) -> SpanTreatment:
    found = (params or {}).get(TREATMENT)
    if not isinstance(found, SpanTreatment):
        raise ConfigError(f"{_PROTECT}: takes the parameters that `operators` makes")
    return found


def _restorer(params: dict[str, Any] | None) -> TokenRestorer:
    found = (params or {}).get(RESTORER)
    if not isinstance(found, TokenRestorer):
        raise ConfigError(f"{_RESTORE}: takes the parameters that `restore_operators` makes")
    return found


def _texts(column: pa.StringArray) -> list[str]:
    return [REDACTED if text is None else text for text in column.to_pylist()]


_PROTECT = ProtectSpan().operator_name()
_RESTORE = RestoreSpan().operator_name()
# A place may be a whole city; only its own recognizer knows, so that it is redacted unless an info type names it.
_NAMES = {name: entity for name, entity in PRESIDIO_ENTITIES.items() if name not in WITH_NUMBER}

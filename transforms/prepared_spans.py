"""Presidio's operator for spans whose replacements are known already, because all of a batch were made in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from presidio_anonymizer.entities import OperatorConfig
from presidio_anonymizer.operators import Operator, OperatorType

__all__ = ["DEFAULT", "PreparedSpan", "prepared"]

DEFAULT = "DEFAULT"
"""Presidio's name for every entity that has no operator of its own."""
REPLACEMENTS = "replacements"


class PreparedSpan(Operator):
    """Gives each span its replacement. The engine works from the last span to the first, so they leave from the end."""

    def operate(self, text: str, params: dict[str, Any] | None = None) -> str:
        """Returns the replacement of a span, and forgets it."""
        assert params is not None
        return str(params[REPLACEMENTS].pop())

    def validate(self, params: dict[str, Any] | None = None) -> None:
        """Has nothing to refuse: ``prepared`` makes the parameters."""

    def operator_name(self) -> str:
        """Returns the name that an ``OperatorConfig`` calls it by."""
        return "consentry_prepared"

    def operator_type(self) -> OperatorType:
        """Returns that it anonymizes."""
        return OperatorType.Anonymize


def prepared(replacements: Iterable[str]) -> OperatorConfig:
    """Returns the operator that replaces the spans of an entity in one text, once; replacements in their order."""
    return OperatorConfig(PreparedSpan().operator_name(), {REPLACEMENTS: list(replacements)})

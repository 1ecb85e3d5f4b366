"""Judges the columns of an input by a policy: declared, undeclared, contradicted, not needed, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..schemas.audit import AuditColumn, Found, Reason, Suggestion, Treatment, Verdict, VerdictKind, Volume
from ..schemas.column_type import ColumnKind
from ..schemas.dataset import Dataset, FieldPath, Plain
from ..schemas.info_types import Entity, OnDrift, ScanRule, TokenizeRule
from ..schemas.policy import Policy
from ..schemas.wording import join_words, plain_name
from .audit_columns import SampledColumn
from .audit_rules import Rule, domain_of, expected_entities, is_in_clear, leaves_nothing, misfitting
from .audit_suggestions import PolicyLines, Proposed, proposed_for, rule_of, sounds_personal
from .audit_words import entity_name, percent

__all__ = ["Judge", "treatment_of"]

MISFITS = 0.05
"""A larger share of values that do not fit their format is no accident."""

ENOUGH = 20
"""Fewer values say nothing about what a column always is."""

DRIFT = {
    OnDrift.DROP: "`consentry protect` drops it",
    OnDrift.PROTECT_AS_FOUND: "`consentry protect` treats it as what it finds in it",
    OnDrift.DEAD_LETTER: "`consentry protect` makes its records dead letters",
}


@dataclass(frozen=True)
class Judge:
    """Judges columns.

    Attributes:
        policy: Whose info types are suggested.
        dataset: What the input is held against; None: nothing is declared.
        name: The dataset's, or the one that is proposed.
        lines: Writes suggestions.
        given_out: Token domains of which the access log has given out a value; None where it tells nothing.
        since: The instant of the log's first entry.
    """

    policy: Policy
    dataset: Dataset | None
    name: str
    lines: PolicyLines
    given_out: frozenset[str] | None = None
    since: str | None = None

    def judged(self, columns: Sequence[tuple[SampledColumn, Found]]) -> Iterator[AuditColumn]:
        """Yields the columns with their verdicts, in order."""
        first: dict[tuple[FieldPath, bytes], SampledColumn] = {}
        ordered = sorted(range(len(columns)), key=lambda place: self._rule(columns[place][0]) is None)
        copies = {}
        for place in ordered:
            column = columns[place][0]
            if not column.loose and column.volume.distinct > 1 and len(column.texts) >= ENOUGH:
                original = first.setdefault(column.digest(), column)
                if original is not column:
                    copies[place] = original.told
        for place, (column, found) in enumerate(columns):
            yield _Case(self, column, found, column.volume, copies.get(place)).column()

    def rule(self, path: FieldPath) -> tuple[str | None, Rule] | None:
        """Returns name and rule of what the dataset declares for a path; None where it declares nothing."""
        named = None if self.dataset is None else self.dataset.rule_for(path)
        if named is None:
            return None
        return (None, named) if isinstance(named, Plain) else (str(named), self.policy.info_types[named])

    def _rule(self, column: SampledColumn) -> tuple[str | None, Rule] | None:
        return self.rule(column.path)


def treatment_of(dataset: Dataset, path: FieldPath, name: str | None, rule: Rule) -> Treatment:
    """Returns a rule as a report tells it."""
    role = "subject" if path == dataset.subject else "event_time" if path == dataset.event_time else None
    if isinstance(rule, Plain):
        return Treatment(info_type=None, action=rule.value, see={}, role=role)
    return Treatment(
        info_type=name,
        action=rule.action,
        collect=rule.collect,
        distribute=rule.distribute,
        see={role_name: sight.value for role_name, sight in rule.see.items()},
        role=role,
    )


@dataclass(frozen=True)
class _Case:
    """One column before its judge."""

    judge: Judge
    sampled: SampledColumn
    found: Found
    volume: Volume
    copy_of: str | None

    def column(self) -> AuditColumn:
        declared = self.judge.rule(self.sampled.path)
        dataset = self.judge.dataset
        treatment = None
        if declared is not None and dataset is not None:
            treatment = treatment_of(dataset, self.sampled.path, *declared)
        return AuditColumn(
            path=self.sampled.told,
            type=self.sampled.type_name,
            volume=self.volume,
            found=self.found,
            treatment=treatment,
            verdicts=tuple(self._verdicts(declared, treatment)),
        )

    def _verdicts(self, declared: tuple[str | None, Rule] | None, treatment: Treatment | None) -> Iterator[Verdict]:
        idle = None if treatment is not None and treatment.role else self._idle()
        if declared is None or treatment is None:
            yield self._undeclared(idle)
            if idle is not None:
                yield idle
            return
        name, rule = declared
        contradicted = self._contradicted(name, rule)
        if contradicted is not None and idle is not None:
            contradicted = replace(contradicted, suggestions=())  # the line that drops it is enough
        yield contradicted or Verdict(verdict=VerdictKind.DECLARED)
        if leaves_nothing(rule):
            return
        unused = None if contradicted is not None else self._never_detokenized(name, rule)
        if idle is not None:
            yield idle
        elif treatment.role is None and rule is Plain.KEEP and self.judge.dataset and not self.judge.dataset.collect:
            yield self._unneeded(
                Reason.NO_PURPOSE,
                "It is kept as it is, and no purpose is named for it: neither by an info type of its own, nor by "
                "`collect` of the dataset.",
            )
        elif unused is not None:
            yield unused

    def _undeclared(self, idle: Verdict | None) -> Verdict:
        drift = "" if self.judge.dataset is None else f" {DRIFT[self.judge.dataset.on_drift]}."
        proposed = self.proposed
        sensitive = bool(self.found.entities) or self.found.kind == ColumnKind.MIXED
        if not sensitive:
            suggestions = () if idle is not None else self._field(proposed, "Says what becomes of it.")
            told = "Nothing sensitive was found in it."
            if self.found.kind == ColumnKind.FREE_TEXT:
                told = "It is free text, in which anything may stand, though nothing sensitive was found."
            elif sounds_personal(self.sampled.path):
                told = "Its values have no form that tells, but its name sounds like something personal."
            return Verdict(
                verdict=VerdictKind.UNDECLARED, reason=Reason.ORDINARY, says=told + drift, suggestions=suggestions
            )  # fmt: skip
        suggestions = () if idle is not None else self._field(proposed, f"Treats it as {plain_name(proposed.rule)}.")
        says = f"It holds {self._content()}, and the policy does not name it.{drift}"
        if not self.sampled.named:
            says += " Its name could be a value, so there is no line for it here."
        elif idle is not None:
            says += " It is not needed either: the line for that is enough."
        return Verdict(verdict=VerdictKind.UNDECLARED, reason=Reason.SENSITIVE, says=says, suggestions=suggestions)

    @cached_property
    def proposed(self) -> Proposed:
        """What would protect it."""
        collect = self.judge.dataset.collect if self.judge.dataset else ()
        return proposed_for(self.judge.policy, collect, self.sampled.path, self.found)

    def _content(self) -> str:
        names = [entity_name(entity) for entity in self.found.entities]
        return join_words(names) if names else "values of several kinds"

    def _contradicted(self, name: str | None, rule: Rule) -> Verdict | None:
        if leaves_nothing(rule) or isinstance(rule, ScanRule):
            return None
        expected = expected_entities(rule)
        entity = self.found.entity if self.found.kind == ColumnKind.ENTITY else None
        told = f"It is declared as `{name}`" if name else "It is kept as it is"
        if entity is not None and Entity(entity) not in expected and (expected or is_in_clear(rule)):
            reason = Reason.OTHER_ENTITY if expected else Reason.KEPT_IN_CLEAR
            share = f"{percent(self.found.share)} of its values are {entity_name(entity)}"
            return self._against(reason, f"{told}, but {share}.")
        if is_in_clear(rule) and self.found.kind == ColumnKind.MIXED:
            return self._against(Reason.KEPT_IN_CLEAR, f"{told}, but holds values of several kinds.")
        stray = [leak for leak in self.found.leaks if Entity(leak.entity) not in expected]
        if is_in_clear(rule) and stray:
            held = join_words(f"{entity_name(leak.entity)} in {percent(leak.share)}" for leak in stray)
            return self._against(Reason.STRAY_VALUES, f"{told}, but holds {held} of the values looked at.")
        misfits = misfitting(rule, self.sampled.texts) if entity is None and isinstance(rule, TokenizeRule) else 0.0
        if misfits > MISFITS and isinstance(rule, TokenizeRule):
            says = f"{told}, but {percent(misfits)} of its values do not fit the format `{rule.format}`"
            return Verdict(
                verdict=VerdictKind.CONTRADICTED,
                reason=Reason.DOES_NOT_FIT,
                says=f"{says}; `consentry protect` does with them as `on_invalid` says ({rule.on_invalid}).",
            )
        return None

    def _against(self, reason: Reason, says: str) -> Verdict:
        suggestions = self._field(self.proposed, f"Treats it as {plain_name(self.proposed.rule)} instead.")
        return Verdict(verdict=VerdictKind.CONTRADICTED, reason=reason, says=says, suggestions=suggestions)

    def _idle(self) -> Verdict | None:
        if self.volume.places == self.volume.nulls:
            return self._unneeded(Reason.EMPTY, "Not one of the places looked at holds a value.")
        if self.volume.distinct == 1 and self.volume.places - self.volume.nulls >= ENOUGH:
            return self._unneeded(Reason.CONSTANT, "Every value looked at is the same one, so it tells nothing.")
        if self.copy_of is not None:
            says = f"It is equal to {self.copy_of}, row by row, in all rows looked at."
            return self._unneeded(Reason.DUPLICATE_OF, says, other=self.copy_of)
        return None

    def _unneeded(self, reason: Reason, says: str, *, other: str | None = None) -> Verdict:
        suggestions = self._field(Proposed(rule=Plain.DROP.value, info_types={}), "Stops collecting it.")
        return Verdict(
            verdict=VerdictKind.NOT_NEEDED, reason=reason, says=says, other=other, suggestions=suggestions
        )  # fmt: skip

    def _never_detokenized(self, name: str | None, rule: Rule) -> Verdict | None:
        given_out, policy = self.judge.given_out, self.judge.policy
        if name is None or not isinstance(rule, TokenizeRule) or not rule.distribute or given_out is None:
            return None
        if rule.domain in given_out:
            return None
        alike = [each for each in policy.info_types if domain_of(policy.info_types[each]) == rule.domain]
        says = "Keeps tokens, and no raw value in the vault."
        suggestions = [
            self.judge.lines.replace(
                ("info_types",), each, rule_of(policy.info_types[each], "distribute", "see", "retain"), says
            )
            for each in alike
        ]
        return Verdict(
            verdict=VerdictKind.NOT_NEEDED,
            reason=Reason.NEVER_DETOKENIZED,
            says=f"Raw values go to the vault for {join_words(map(plain_name, rule.distribute), 'or')}, but none of "
            f"the domain `{rule.domain}` was given out since the access log begins ({(self.judge.since or '')[:10]}).",
            suggestions=tuple(suggestions),
        )

    def _field(self, proposed: Proposed, says: str) -> tuple[Suggestion, ...]:
        """The lines that give this path a rule, after those of the info types that it needs."""
        if not self.sampled.named:
            return ()
        place, path = ("datasets", self.judge.name, "fields"), str(self.sampled.path)
        lines = self.judge.lines
        added: Mapping[str, Any] = proposed.info_types
        told = f"Says how {plain_name(proposed.rule)} is treated."
        needed = (lines.add(("info_types",), added, told),) if added else ()
        known = self.judge.dataset is not None and self.sampled.path in self.judge.dataset.fields
        if known:
            return (*needed, lines.replace(place, path, proposed.rule, says))
        return (*needed, lines.add(place, {path: proposed.rule}, says))

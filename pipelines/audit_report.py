"""Writes an audit as one HTML page that needs nothing else: light, dark, on paper, and without any other resource.

Whatever comes from the input is text: the template escapes everything, and the page forbids by its own policy to load
anything or to run any script but its own. The same audit gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..schemas.audit import Audit, AuditColumn, Change, Found, Reason, Suggestion, Verdict, VerdictKind
from ..schemas.wording import join_words, plain_name
from .audit_charts import STATES, column_state, coverage_chart, entity_chart, state_chart, usage_chart
from .audit_words import (
    ACTIONS,
    BASES,
    BASES_SHORT,
    KINDS,
    TOLD,
    TONES,
    capital,
    counted,
    entity_name,
    number,
    percent,
    size,
)

__all__ = ["report_html"]

TEMPLATE = "audit_report.html"

LONG_MASK = re.compile(r"\*{6,}")

# Of which theme there is no memory: a report is a file, and files share one memory in a browser.
SCRIPT = (
    'const b=document.getElementById("theme"),r=document.documentElement;b.hidden=false;'
    'b.addEventListener("click",()=>{const d=r.dataset.theme||'
    '(matchMedia("(prefers-color-scheme: dark)").matches?"dark":"light");'
    'r.dataset.theme=d==="dark"?"light":"dark"});'
)


def report_html(audit: Audit) -> str:
    """Returns the page."""
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )  # fmt: skip
    environment.filters |= {
        "number": number,
        "size": size,
        "percent": percent,
        "plain": _plain,
        "path": _path,
        "ticked": _ticked,
    }
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.get_template(TEMPLATE).render(
        audit=audit,
        day=audit.made_at[:10],
        headline=_headline(audit),
        states=[{"name": name, "says": says, "count": count} for name, says, count in _states(audit)],
        any_exposed=bool(audit.exposed),
        charts=_charts(audit),
        rows=[_row(column) for column in audit.columns],
        bases=BASES,
        bases_short=BASES_SHORT,
        unneeded=_cases(audit, VerdictKind.NOT_NEEDED),
        undeclared=_undeclared(audit),
        contradicted=_cases(audit, VerdictKind.CONTRADICTED),
        sections=list(_sections(audit)),
        script=Markup(SCRIPT),  # noqa: S704 - a constant
        script_hash=digest,
    )


def _charts(audit: Audit) -> dict[str, Markup | None]:
    made = {
        "states": state_chart(audit),
        "entities": entity_chart(audit),
        "usage": usage_chart(audit.accesses) if audit.accesses is not None else None,
        "coverage": coverage_chart(audit.coverage) if audit.coverage is not None else None,
    }
    # The plotting library escapes the texts that it draws.
    return {name: None if svg is None else Markup(svg) for name, svg in made.items()}  # noqa: S704


def _states(audit: Audit) -> Iterator[tuple[str, str, int]]:
    for state, says in STATES.items():
        count = sum(column_state(column) == state for column in audit.columns)
        if count:
            yield state, says, count


def _headline(audit: Audit) -> dict[str, str]:
    columns, sensitive = len(audit.columns), len(audit.sensitive)
    exposed = len(audit.exposed)
    reasons = [column.verdict(VerdictKind.NOT_NEEDED) for column in audit.columns]
    unneeded = sum(each is not None and each.reason is not Reason.NEVER_DETOKENIZED for each in reasons)
    unused = sum(each is not None and each.reason is Reason.NEVER_DETOKENIZED for each in reasons)
    held = f"{counted(sensitive, 'of them holds', 'of them hold')} something sensitive" if sensitive else ""
    collected = f"{counted(columns, 'column is', 'columns are')} collected" + (f"; {held}." if held else ".")
    protected = sensitive and not exposed and audit.dataset
    return {
        "collected": collected[0].upper() + collected[1:],
        "exposed": _exposed(audit, exposed) if exposed else "",
        "unneeded": _unneeded(unneeded, unused),
        "good": "All of it is declared as what it is." if protected else "",
    }  # fmt: skip


def _exposed(audit: Audit, exposed: int) -> str:
    if audit.dataset is None:
        return f"No policy says what becomes of {'it' if exposed == 1 else 'them'}."
    told = counted(exposed, "is not declared as what it is", "are not declared as what they are")
    return f"{capital(told)}."


def _unneeded(unneeded: int, unused: int) -> str:
    raw = f"{counted(unused, 'lies', 'lie')} in the vault without anyone having asked for it" if unused else ""
    if not unneeded:
        return f"{capital(raw)}." if raw else ""
    told = f"{capital(counted(unneeded, 'seems', 'seem'))} not to be needed"
    return f"{told}, and {raw}." if raw else f"{told}."


def _sections(audit: Audit) -> Iterator[dict[str, Any]]:
    undeclared = sum(
        verdict is not None and verdict.reason is Reason.SENSITIVE
        for verdict in (column.verdict(VerdictKind.UNDECLARED) for column in audit.columns)
    )
    yield {"id": "collected", "title": "Collected", "count": len(audit.columns)}
    yield {"id": "used", "title": "Used", "count": None}
    yield {"id": "unneeded", "title": "Not needed", "count": len(audit.having(VerdictKind.NOT_NEEDED))}
    yield {"id": "undeclared", "title": "Undeclared", "count": undeclared}
    yield {"id": "contradicted", "title": "Contradicted", "count": len(audit.having(VerdictKind.CONTRADICTED))}
    yield {"id": "consent", "title": "Consent", "count": None}
    yield {"id": "method", "title": "Method", "count": None}


def _row(column: AuditColumn) -> dict[str, Any]:
    found, volume = column.found, column.volume
    what = capital(entity_name(found.entity)) if found.entity else KINDS.get(found.kind, found.kind)
    leaks = [f"{entity_name(leak.entity)} in {percent(leak.share)}" for leak in found.leaks]
    return {
        "state": column_state(column),
        "path": column.path,
        "type": column.type,
        "what": what if not (leaks and found.kind == "ORDINARY") else "Ordinary, but",
        "sensitive": bool(found.entities) or found.kind == "MIXED",
        "leaks": leaks,
        "evidence": found.evidence,
        "judged": f"{counted(found.sample, 'value', 'values')} judged"
        if str(found.sample) not in found.evidence
        else "",
        "examples": list(dict.fromkeys(LONG_MASK.sub("*****", example) for example in found.examples)),
        "filled": percent(volume.filled),
        "filled_bar": f"{100 * volume.filled:.1f}",
        "distinct": _distinct(volume.distinct),
        "treatment": _treatment(column),
        "uses": list(_uses(column)),
        "verdicts": list(_verdicts(column)),
    }


def _adds(found: Found) -> bool:
    """Whether the evidence does not say itself how many values were judged."""
    return bool(found.sample) and not re.search(rf"\b{found.sample}\b", found.evidence.replace(",", ""))


def _distinct(count: int) -> str:
    if count == 1:
        return "always the same"
    return f"{count:,} different" if count else ""


def _treatment(column: AuditColumn) -> str:
    if column.treatment is None:
        return "Nothing: it is not named"
    named = column.treatment.info_type
    told = ACTIONS.get(column.treatment.action, column.treatment.action)
    return f"{told} ({plain_name(named)})" if named and plain_name(named) not in told.lower() else told


def _uses(column: AuditColumn) -> Iterator[str]:
    treatment = column.treatment
    if treatment is None:
        return
    if treatment.role is not None:
        yield "tells whose the record is" if treatment.role == "subject" else "tells when consent is asked"
    if treatment.collect:
        yield f"kept for {join_words(map(plain_name, treatment.collect), 'or')}"
    if treatment.distribute:
        yield f"given out for {join_words(map(plain_name, treatment.distribute), 'or')}"
    for role, sight in treatment.see.items():
        yield f"{plain_name(role)} sees it {'in full' if sight == 'full' else sight}"


def _verdicts(column: AuditColumn) -> Iterator[dict[str, str]]:
    for verdict in column.verdicts:
        told = TOLD[verdict.reason] if verdict.reason else "declared"
        yield {"told": told, "tone": _tone(verdict)}


def _tone(verdict: Verdict) -> str:
    return "warn" if verdict.reason is Reason.ORDINARY else TONES[verdict.verdict]


def _cases(audit: Audit, kind: VerdictKind) -> dict[str, Any]:
    found = [(column, verdict) for column in audit.columns for verdict in column.verdicts if verdict.verdict is kind]
    # Nothing sensitive is declared by a line of its own where a whole declaration is proposed.
    lines = () if audit.proposal else (line for _, verdict in found for line in verdict.suggestions)
    return {"cases": _grouped(found), "blocks": _blocks(lines)}


def _undeclared(audit: Audit) -> dict[str, Any]:
    found = [
        (column, verdict)
        for column in audit.columns
        for verdict in column.verdicts
        if verdict.verdict is VerdictKind.UNDECLARED
    ]
    urgent = [each for each in found if each[1].reason is Reason.SENSITIVE]
    others = [each for each in found if each[1].reason is not Reason.SENSITIVE]
    lines = audit.proposal or [line for _, verdict in urgent for line in verdict.suggestions]
    optional = [] if audit.proposal else [line for _, verdict in others for line in verdict.suggestions]
    return {
        "cases": _grouped(urgent),
        "others": [column.path for column, _ in others],
        "blocks": _blocks(lines),
        "optional": _blocks(optional),
    }


def _grouped(found: Iterable[tuple[AuditColumn, Verdict]]) -> list[dict[str, Any]]:
    """Returns cases, those of which the same is to be said together."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for column, verdict in found:
        told = TOLD[verdict.reason] if verdict.reason else ""
        grouped.setdefault((told, verdict.says, _tone(verdict)), []).append(column.path)
    return [{"told": told, "says": says, "tone": tone, "paths": paths} for (told, says, tone), paths in grouped.items()]


@dataclass(frozen=True, slots=True)
class _Line:
    number: int | None
    text: str


def _blocks(suggestions: Iterable[Suggestion]) -> list[dict[str, Any]]:
    """Returns suggestions for one place together, each line once; those of info types first, which others need."""
    grouped: dict[tuple[str, Change, int | None], list[Suggestion]] = {}
    for suggestion in suggestions:
        replaces = suggestion.change is Change.REPLACE
        key = (suggestion.place, suggestion.change, None if replaces else suggestion.line)
        alike = grouped.setdefault(key, [])
        if suggestion.lines not in {each.lines for each in alike}:
            alike.append(suggestion)
    ordered = sorted(grouped.items(), key=lambda item: item[0][0] != "info_types")
    return [_block(place, change, line, alike) for (place, change, line), alike in ordered]


def _block(place: str, change: Change, line: int | None, alike: Sequence[Suggestion]) -> dict[str, Any]:
    numbered = change is Change.REPLACE and all(each.line is not None for each in alike)
    lines = [
        _Line(each.line if not at else None, text) for each in alike for at, text in enumerate(each.lines.split("\n"))
    ]
    return {"where": _where(place, change, line, alike[0].says), "numbered": numbered, "lines": lines}


def _where(place: str, change: Change, line: int | None, says: str) -> str:
    named = f"In the policy under {place.replace('.', ' › ')}" if place else "At the end of the policy"
    match change:
        case Change.CREATE:
            return says
        case Change.REPLACE:
            return f"{named}, each in the place of what begins in the line of that number"
        case Change.ADD:
            return f"{named}, right below line {line}" if line is not None else named


def _path(path: str) -> Markup:
    """A path that may be broken behind its marks, and inside of a name only where it must."""
    return Markup("<wbr>").join(part for part in re.split(r"(?<=[._])(?=.)", path))


def _ticked(text: str) -> Markup:
    """A sentence with what stands between backticks as code."""
    parts = [Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(text.split("`"))]
    return Markup("").join(parts)


def _plain(name: str) -> str:
    return capital(plain_name(name))

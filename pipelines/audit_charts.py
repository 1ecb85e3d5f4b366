"""Draws the charts of an audit as SVG whose colours are those of the page, so that they follow light and dark.

A chart is drawn with a stand-in for each colour, which then becomes a CSS variable; its text stays text in the page's
own font. The same audit gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ..schemas.audit import (
    Audit,
    AuditColumn,
    Reason,
    VerdictKind,
)
from ..schemas.audit_use import (
    AccessUse,
    ConsentCoverage,
)
from ..schemas.wording import plain_name
from .audit_words import entity_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["column_state", "coverage_chart", "entity_chart", "state_chart", "usage_chart"]

STATES: Mapping[str, str] = {
    "declared": "declared and in use",
    "unneeded": "not needed, it seems",
    "undeclared": "undeclared, nothing sensitive found",
    "exposed": "sensitive, and not declared as such",
}

# Stand-ins: each colour occurs nowhere else, and becomes the variable of its name.
INK, MUTED, RULE = "#0a0001", "#0a0002", "#0a0003"
GOOD, IDLE, WARN, ALARM, PAPER = "#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0008"
VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", GOOD: "good", IDLE: "idle", WARN: "warn", ALARM: "alarm", PAPER: "paper",
}  # fmt: skip
STATE_COLORS = {"declared": GOOD, "unneeded": IDLE, "undeclared": WARN, "exposed": ALARM}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "consentry",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 10,
}
WIDTH = 12.3
"""Inches of a chart over the whole width of the page."""

SQUARES_IN_ROW = 40
MOST_SQUARES = 400
DAYS = 120
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


def column_state(column: AuditColumn) -> str:
    """Returns which of ``STATES`` a column is in; the one that matters most."""
    undeclared = column.verdict(VerdictKind.UNDECLARED)
    sensitive = bool(column.found.entities) or column.found.kind == "MIXED"
    if column.verdict(VerdictKind.CONTRADICTED) or (undeclared and sensitive):
        return "exposed"
    unneeded = column.verdict(VerdictKind.NOT_NEEDED)
    if unneeded and unneeded.reason is not Reason.NEVER_DETOKENIZED:
        return "unneeded"
    return "undeclared" if undeclared else "declared"


def state_chart(audit: Audit) -> str:
    """Returns all columns, a square for each, by their state; a bar of shares where there are too many."""
    counts = [(state, sum(column_state(column) == state for column in audit.columns)) for state in STATES]
    total = sum(count for _, count in counts)
    shown = [(state, count) for state, count in counts if count]
    rows = -(-total // SQUARES_IN_ROW) if total <= MOST_SQUARES else 2
    with _Drawing(WIDTH, rows * WIDTH / SQUARES_IN_ROW) as drawing:
        axes = drawing.axes()
        axes.set_axis_off()
        if total > MOST_SQUARES:
            _bar_of_shares(axes, shown, total)
        else:
            _squares(axes, shown)
        axes.set(xlim=(0.12, SQUARES_IN_ROW - 0.12), ylim=(rows, 0))
        told = "; ".join(f"{count} {STATES[state]}" for state, count in shown)
        return drawing.svg("states", f"All columns by state: {told}.")


def _squares(axes: Axes, shown: Sequence[tuple[str, int]]) -> None:
    from matplotlib.patches import FancyBboxPatch

    place = 0
    for state, count in shown:
        for _ in range(count):
            row, at = divmod(place, SQUARES_IN_ROW)
            box = FancyBboxPatch(
                (at + 0.12, row + 0.12), 0.76, 0.76, boxstyle="round,pad=0,rounding_size=0.16",
                facecolor=STATE_COLORS[state], edgecolor="none",
            )  # fmt: skip
            axes.add_patch(box)
            place += 1


def _bar_of_shares(axes: Axes, shown: Sequence[tuple[str, int]], total: int) -> None:
    left = 0.0
    for state, count in shown:
        width = SQUARES_IN_ROW * count / total
        axes.barh(1, width - 0.1, left=left + 0.05, height=1.4, color=STATE_COLORS[state])
        left += width


def entity_chart(audit: Audit) -> str | None:
    """Returns what kinds of sensitive values there are and in how many columns; None where there is none."""
    counts: dict[str, list[int]] = {}
    for column in audit.columns:
        for entity in column.found.entities:
            counts.setdefault(entity, [0, 0])[column_state(column) == "exposed"] += 1
    if not counts:
        return None
    ordered = sorted(counts.items(), key=lambda item: (sum(item[1]), item[0]))
    names = [entity_name(entity) for entity, _ in ordered]
    with _Drawing(WIDTH, 0.36 * len(ordered) + 0.1) as drawing:
        axes = drawing.axes(left=0.2, right=0.98)
        safe, exposed = ([count[side] for _, count in ordered] for side in (0, 1))
        places = list(range(len(ordered)))
        axes.barh(places, safe, height=0.5, color=GOOD)
        axes.barh(places, exposed, left=safe, height=0.5, color=ALARM)
        for place, (good, bad) in enumerate(zip(safe, exposed, strict=True)):
            wrong = f", {bad} not declared as such" if bad and good else ", not declared as such" if bad else ""
            axes.annotate(
                f"{good + bad}{wrong}",
                (good + bad, place),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
            )
            name = names[place][0].upper() + names[place][1:]
            axes.annotate(name, (0, place), (0.0, place), ("figure fraction", "data"), va="center", color=INK)
        axes.set_yticks([])
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set(xlim=(0, max(map(sum, counts.values())) * 1.25), ylim=(-0.6, len(ordered) - 0.4))
        told = "; ".join(f"{name} in {sum(count)}" for name, (_, count) in zip(names[::-1], ordered[::-1], strict=True))
        return drawing.svg("entities", f"Columns by kind of sensitive value: {told}.")


def coverage_chart(coverage: ConsentCoverage) -> str:
    """Returns the share of subjects that permit each purpose, month by month, a small chart for each purpose."""
    purposes = list(coverage.purposes)
    across = min(len(purposes), 3)
    down = -(-len(purposes) // across)
    with _Drawing(WIDTH, 2.2 * down) as drawing:
        grid = drawing.figure.subplots(down, 3, sharey=True, squeeze=False)
        bottom = 0.34 / (2.2 * down)
        drawing.figure.subplots_adjust(left=0.05, right=0.985, top=1 - 0.32 / (2.2 * down), bottom=bottom,
                                       wspace=0.14, hspace=0.62)  # fmt: skip
        for place, axes in enumerate(grid.flat):
            if place < len(purposes):
                _coverage_of(axes, coverage, purposes[place])
            else:
                axes.set_axis_off()
        last = coverage.months[-1].permits
        told = "; ".join(f"{plain_name(name)} {last[name]:.0%}" for name in purposes)
        return drawing.svg("coverage", f"Share of customers that permit each purpose, by month; now: {told}.")


def _coverage_of(axes: Axes, coverage: ConsentCoverage, purpose: str) -> None:
    shares = [100 * month.permits[purpose] for month in coverage.months]
    places = list(range(len(shares)))
    axes.fill_between(places, shares, color=GOOD, alpha=0.16, linewidth=0, step=None)
    axes.plot(places, shares, color=GOOD, linewidth=2, solid_capstyle="round", clip_on=False)
    axes.plot(places[-1:], shares[-1:], "o", color=GOOD, markersize=5, clip_on=False)
    axes.set_title(plain_name(purpose).capitalize(), loc="left", fontsize=12, color=INK, pad=7)
    axes.text(1, 1.05, f"{shares[-1]:.0f} %", transform=axes.transAxes, ha="right", va="bottom", color=GOOD,
              fontsize=12, fontweight="bold")  # fmt: skip
    axes.set(ylim=(0, 100), xlim=(-0.15, max(len(shares) - 1, 1) + 0.15))
    axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=MUTED)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    ends = [0, len(shares) - 1] if len(shares) > 1 else [0]
    labels = [coverage.months[place].at[:7] if place != len(shares) - 1 else "now" for place in ends]
    for tick, side in zip(axes.set_xticks(ends, labels, fontsize=10), SIDES, strict=False):
        tick.label1.set_horizontalalignment(side)
    axes.tick_params(axis="x", length=0)


def usage_chart(accesses: AccessUse) -> str | None:
    """Returns detokenizations by day, allowed above the line and refused below; None where there is none."""
    if not accesses.days:
        return None
    days = list(_every_day(accesses))[-DAYS:]
    allowed, refused = [count for _, count, _ in days], [count for _, _, count in days]
    top, low = max(*allowed, 1), max(*refused, 0) if len(refused) > 1 else refused[0]
    with _Drawing(WIDTH, 2.0) as drawing:
        axes = drawing.axes(left=0.04, right=1, bottom=0.16)
        places = list(range(len(days)))
        width = 0.72 if len(days) > 6 else 0.3
        axes.bar(places, allowed, width=width, color=GOOD)
        axes.bar(places, [-count for count in refused], width=width, color=ALARM)
        axes.axhline(0, color=RULE, linewidth=0.8)
        axes.set(ylim=(-1.25 * low if low else -0.02 * top, 1.15 * top), xlim=(-0.8, max(len(days), 12) - 0.2))
        axes.set_yticks([top], [f"{top:,}"])
        axes.tick_params(length=0, labelsize=10, labelcolor=MUTED)
        ends = sorted({0, len(days) - 1})
        labels = axes.set_xticks(ends, [days[place][0] for place in ends])
        for tick, side in zip(labels, SIDES, strict=False):
            tick.label1.set_horizontalalignment(side)
        axes.spines[["left", "bottom"]].set_visible(False)
        told = f"{sum(allowed):,} allowed, {sum(refused):,} refused, from {days[0][0]} to {days[-1][0]}"
        return drawing.svg("usage", f"Detokenizations by day: {told}.")


def _every_day(accesses: AccessUse) -> Iterator[tuple[str, int, int]]:
    known = {day.day: day for day in accesses.days}
    at, last = date.fromisoformat(accesses.days[0].day), date.fromisoformat(accesses.days[-1].day)
    at = max(at, last - timedelta(days=DAYS))
    while at <= last:
        day = known.get(at.isoformat())
        yield at.isoformat(), day.allowed if day else 0, day.refused if day else 0
        at += timedelta(days=1)


class _Drawing:
    """A figure of some size in inches, in the style of the page."""

    def __init__(self, width: float, height: float) -> None:
        self._size = (width, height)

    def __enter__(self) -> _Drawing:
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its cache of fonts
        self._context: Any = rc_context(STYLE)
        self._context.__enter__()
        self.figure: Figure = Figure(figsize=self._size)
        return self

    def __exit__(self, *failure: object) -> None:
        self._context.__exit__(*failure)

    def axes(self, *, left: float = 0, right: float = 1, bottom: float = 0) -> Axes:
        """Adds axes over the figure but for its margins."""
        return self.figure.add_axes((left, bottom, right - left, 1 - bottom))

    def svg(self, name: str, told: str) -> str:
        """Returns the figure.

        Args:
            name: Unique on the page.
            told: What it shows, for who cannot see it.
        """
        written = io.StringIO()
        self.figure.patch.set_visible(False)
        for axes in self.figure.axes:
            axes.patch.set_visible(False)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(written, format="svg", metadata=nothing)
        return _for_page(written.getvalue(), name, told)


def _for_page(svg: str, name: str, told: str) -> str:
    """Returns an SVG document as an element of a page: no prolog, no fixed size, ids of its own, colours by name."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<(metadata|style)\b.*?</\1>|\s*<g/>", "", svg, flags=re.DOTALL)  # its style is for any element
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    svg = re.sub(r"font: ([^;\"]*?)([0-9.]+px) [^;\"]*", r"font-size: \2; \1", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"#([\w-]+)", rf"#{name}-\1", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg class="chart" {view[0] if view else ""} role="img" aria-labelledby="{name}-told">'
    return re.sub(r"^<svg[^>]*>", f'{head}<title id="{name}-told">{escape(told)}</title>', svg, count=1)

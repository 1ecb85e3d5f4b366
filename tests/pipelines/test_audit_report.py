"""The page of an audit: whole, self-contained, accessible, the same each time, and hostile names are text in it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.audit import run_audit
from consentry.pipelines.audit_charts import MOST_SQUARES, state_chart
from consentry.pipelines.audit_report import report_html
from consentry.pipelines.audit_words import percent, size
from consentry.schemas.audit import (
    Audit,
    AuditColumn,
    AuditedFile,
    AuditInputs,
    AuditSampling,
    Found,
    Reason,
    Verdict,
    VerdictKind,
    Volume,
)
from consentry.schemas.audit_use import (
    AccessDay,
    AccessUse,
    ConsentCoverage,
    ConsentMonth,
)
from consentry.schemas.project import read_project
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.audit_cases import CARDS, EMAILS, NOW, WORDS, audited, project_of, table_of
from oracles.form_detector import column_type
from oracles.shop_commands import Shop

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
SECTIONS = ["answer", "collected", "used", "unneeded", "undeclared", "contradicted", "consent", "method"]


class Page(HTMLParser):
    """A page as elements; refuses tags that do not close what was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture
def small(tmp_path: Path) -> Audit:
    project = project_of(tmp_path, "x: card", "w: keep")
    return audited(table_of(tmp_path / "a.parquet", x=EMAILS, w=WORDS, card=CARDS), project)


@pytest.fixture
def full(shop: Shop) -> Audit:
    """An audit with all of its parts."""
    shop.detokenize("email", shop.email_token(0), purpose="support", role="support_agent", actor="ana")
    shop.detokenize("email", shop.email_token(5), purpose="support", role="support_agent", actor="ana")
    project = read_project(shop.config)
    return run_audit([str(shop.orders)], detect=column_type, now=NOW, project=project, dataset="orders")


def test_it_has_all_sections_in_the_order_of_the_questions(full: Audit) -> None:
    page = Page(report_html(full))
    assert [section["aria-labelledby"].removesuffix("-title") for section in page.tags("section")] == SECTIONS  # type: ignore[union-attr]
    assert len(page.tags("h1")) == 1
    assert [link["href"] for link in page.tags("a")][1:] == [f"#{name}" for name in SECTIONS[1:]]
    assert page.texts["h2"] == [
        "What is collected",
        "How it is used",
        "What is not needed",
        "What is undeclared",
        "What contradicts its declaration",
        "What customers permit",
        "How this was found, and what it can miss",
    ]
    assert page.tags("html") == [{"lang": "en"}]


def test_the_first_line_is_the_answer(small: Audit) -> None:
    page = Page(report_html(small))
    said = " ".join([*page.texts["h1"], *page.texts["em"]])
    assert said == (
        "Five columns are collected; two of them hold something sensitive. Two are not declared as what they are. "
        "One seems not to be needed."
    )


def test_every_column_has_a_row(full: Audit) -> None:
    page = Page(report_html(full))
    rows = [attributes for attributes in page.tags("th") if attributes.get("scope") == "row"]
    assert len(rows) == len(full.columns) + len(full.coverage.months)  # type: ignore[union-attr]


def test_it_loads_nothing_and_runs_its_own_script_only(full: Audit) -> None:
    html = report_html(full)
    page = Page(html)
    (policy,) = [meta["content"] for meta in page.tags("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    (script,) = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name in ("src", "srcset") or name.startswith("on")}
    assert re.findall(r"@import|url\((?!#)|https?://", html) == []


def test_charts_tell_what_they_show_and_tables_what_they_hold(full: Audit) -> None:
    page = Page(report_html(full))
    charts = [svg for svg in page.tags("svg") if svg.get("aria-hidden") != "true"]
    titles = {title["id"] for title in page.tags("title") if "id" in title}
    assert len(charts) == 4
    assert all(svg["role"] == "img" and svg["aria-labelledby"] in titles for svg in charts)
    assert len(page.tags("table")) == len(page.tags("caption"))
    assert all("scope" in cell for cell in page.tags("th"))


def test_each_id_is_there_once(full: Audit) -> None:
    counts = Counter(attributes["id"] for _, attributes in Page(report_html(full)).elements if "id" in attributes)
    assert max(counts.values()) == 1


def test_charts_take_their_colours_from_the_page(full: Audit) -> None:
    html = report_html(full)
    charts = re.findall(r'<svg class="chart".*?</svg>', html, re.DOTALL)
    for chart in charts:
        assert set(re.findall(r"(?:fill|stroke): (?!none|var\()([^;\"]+)", chart)) == set()
        assert "font-family: inherit" in chart or "<text" not in chart
    defined = set(re.findall(r"--([a-z]+): light-dark", html))
    assert set(re.findall(r"var\(--([a-z]+)\)", "".join(charts))) <= defined


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_the_page(theme: int, small: Audit) -> None:
    found = re.findall(r"--([a-z]+): light-dark\((#\w{6}), (#\w{6})\)", report_html(small))
    colors = {name: luminance(pair[theme]) for name, *pair in found}
    contrast = {
        name: (max(color, colors["paper"]) + 0.05) / (min(color, colors["paper"]) + 0.05)
        for name, color in colors.items()
    }
    assert min(contrast[name] for name in ("ink", "muted", "good", "warn", "alarm")) >= 4.5  # WCAG 2.2, 1.4.3
    assert contrast["idle"] >= 3  # 1.4.11


def test_the_same_audit_is_the_same_page(full: Audit) -> None:
    assert report_html(full) == report_html(full)


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "</style>", "&lt;b&gt;", "$x^2$"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(name: str, tmp_path: Path) -> None:
    quoted = name.replace('"', '\\"')
    project = project_of(tmp_path, f'"{quoted}": card' if "[" not in name and "." not in name else "y: keep")
    made = audited(table_of(tmp_path / "a.parquet", **{name: EMAILS}), project)
    page = Page(report_html(made))
    assert len(page.tags("script")) == len(page.tags("style")) == 1
    assert page.tags("img") == []
    assert "49" not in "".join(page.texts["code"])
    assert name in "".join(page.texts["code"])


@settings(max_examples=25, deadline=None)
@given(names=st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=5), evidence=st.text())
def test_whatever_is_said_the_page_stays_whole(names: set[str], evidence: str) -> None:
    audit = _told(sorted(names), evidence)
    page = Page(report_html(audit))
    assert len(page.tags("script")) == 1


def _told(names: list[str], evidence: str) -> Audit:
    columns = tuple(
        AuditColumn(
            path=name,
            type=name,
            volume=Volume(places=3, nulls=0, distinct=3),
            found=Found(kind="ENTITY", entity="EMAIL", evidence=evidence, examples=(evidence, name)),
            treatment=None,
            verdicts=(Verdict(verdict=VerdictKind.UNDECLARED, reason=Reason.SENSITIVE, says=f"`{name}` {evidence}"),),
        )
        for name in names
    )
    inputs = AuditInputs(
        files=(AuditedFile(name=names[0], format="csv", bytes=1),), file_count=1, bytes=1, rows=3, rows_exact=False,
        sampled=3, unreadable=1,
    )  # fmt: skip
    sampling = AuditSampling(
        seed=0,
        parts=1,
        parts_total=1,
        complete=False,
        frequency=0.001,
        seen_with=0.1,
        missed_below=0.9,
        says=(evidence,),
    )
    return Audit(
        made_at="2026-06-01T00:00:00Z", dataset=None, policy=None, inputs=inputs, sampling=sampling, columns=columns,
        notes=(evidence,),
    )  # fmt: skip


def test_an_input_of_very_many_columns_is_a_bar_and_not_a_square_for_each(small: Audit) -> None:
    many = replace(small, columns=small.columns * (MOST_SQUARES // len(small.columns) + 1))
    assert state_chart(many).count("<path") <= 6 < state_chart(small).count("<path") + 2


@pytest.mark.parametrize("days", [1, 3, 200])
@pytest.mark.parametrize("refused", [0, 4])
def test_a_log_of_any_length_can_be_drawn(days: int, refused: int, small: Audit) -> None:
    found = tuple(
        AccessDay(day=f"{2025 + day // 360}-{day // 30 % 12 + 1:02}-{day % 28 + 1:02}", allowed=day, refused=refused)
        for day in range(days)
    )
    found = tuple(sorted({day.day: day for day in found}.values(), key=lambda day: day.day))
    accesses = AccessUse(
        entries=5, since=f"{found[0].day}T00:00:00Z", counts=(), days=found, allowed={}, info_types={}
    )  # fmt: skip
    assert "Detokenizations by day" in report_html(replace(small, accesses=accesses))


@pytest.mark.parametrize("purposes", [1, 2, 3, 7])
@pytest.mark.parametrize("months", [1, 2, 25])
def test_consent_of_any_number_of_purposes_can_be_drawn(purposes: int, months: int, small: Audit) -> None:
    names = [f"purpose_{number}" for number in range(purposes)]
    told = tuple(
        ConsentMonth(at=f"{2024 + month // 12}-{month % 12 + 1:02}-01T00:00:00Z", permits=dict.fromkeys(names, 0.5))
        for month in range(months)
    )
    coverage = ConsentCoverage(
        subjects=9, of="ledger", ledger_position=9, purposes=dict.fromkeys(names, "consent"), months=told
    )
    page = Page(report_html(replace(small, coverage=coverage)))
    assert any("Purpose 0" in text for text in page.texts["text"])


def test_without_a_project_it_proposes_a_policy_and_says_what_is_missing(tmp_path: Path) -> None:
    made = audited(table_of(tmp_path / "a.parquet", x=CARDS))
    html = report_html(made)
    assert "A first declaration" in html
    assert "There is no policy here" in html
    assert made.proposal[0].lines.splitlines()[-1].strip() in html


def test_numbers_are_written_for_people() -> None:
    shares = (0.0, 0.0001, 0.05, 0.5, 0.99999, 1.0)
    assert [percent(share) for share in shares] == ["0 %", "under 0.1 %", "5.0 %", "50 %", "over 99.9 %", "100 %"]
    sizes: Any = (1, 999, 1500, 3 * 10**13)
    assert [size(count) for count in sizes] == ["1 byte", "999 bytes", "1.5 kB", "30.0 TB"]

"""That the runbook, the alerts and the guides speak of what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from consentry.pipelines.cli import app
from consentry.pipelines.streams.metrics import Metrics
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
GUIDES = [ROOT / "docs" / "runbook.md", ROOT / "docs" / "beam-yaml.md", ROOT / "deploy" / "README.md"]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    said = RUNBOOK.split("## What an alert means")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", said, flags=re.M) == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_figures_that_a_stream_serves(rule: dict[str, Any]) -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    served = {name for family in registry.collect() for name in (family.name, f"{family.name}_total")}
    labels = {"place", "outcome", "stage", "reason"}
    asked = re.findall(r"\bconsentry_\w+", rule["expr"])
    assert set(asked) <= served
    assert asked or all(name.startswith("flink_jobmanager_job_") for name in re.findall(r"\bflink_\w+", rule["expr"]))
    assert set(re.findall(r"(\w+)=\"", rule["expr"])) <= labels
    assert rule["labels"]["severity"] in ("page", "ticket")


def commands() -> set[str]:
    def below(command: Any, words: tuple[str, ...]) -> Iterator[str]:
        yield " ".join(words)
        for name, each in getattr(command, "commands", {}).items():
            yield from below(each, (*words, name))

    return set(below(typer.main.get_command(app), ("consentry",)))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_a_guide_names_commands_that_exist(guide: Path) -> None:
    known = commands()
    text = guide.read_text(encoding="utf-8")
    for said in re.findall(r"[`(\n ]consentry((?: [a-z][a-z-]+)+)", text):
        words = said.split()
        assert f"consentry {words[0]}" in known, said
        group = any(name.startswith(f"consentry {words[0]} ") for name in known)
        assert not group or len(words) < 2 or words[0] == "stream" or f"consentry {words[0]} {words[1]}" in known, said


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_a_guide_leads_to_files_and_headings_that_exist(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    for place in re.findall(r"\]\(([^)\s]+)\)", text):
        if place.startswith("http"):
            continue
        path, _, heading = place.partition("#")
        target = (guide.parent / path).resolve() if path else guide
        assert target.exists(), place
        found = {
            re.sub(r"[^\w -]", "", line).lower().replace(" ", "-")
            for line in re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
        }
        assert not heading or heading in found, place
    for path in re.findall(r"`(deploy/[\w./-]+)`|(?<=-f )(deploy/[\w./-]+)", text):
        assert (ROOT / (path[0] or path[1])).exists(), path

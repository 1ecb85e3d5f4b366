"""The list of outputs tells what is out there, also of runs that failed, were killed, or took another's place."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from consentry.pipelines.known_outputs import KnownOutput, noted_run, open_known_outputs, place_of
from consentry.schemas.errors import PolicyError, RunError
from consentry.schemas.project import Project, read_project
from oracles.shop_commands import Shop

NOW = 1_793_000_000_000_000


@pytest.fixture
def project(shop: Shop) -> Project:
    (shop.folder / "outputs.db").unlink()  # it knows the place that the shop was copied from
    return read_project(shop.config)


def output(place: str, run: str = "r1", *, published: bool = True, **versions: int) -> KnownOutput:
    return KnownOutput(
        place=place, run=run, dataset="orders", published=published, versions=versions or {"card": 1}, noted_at=NOW
    )


def known(project: Project) -> list[KnownOutput]:
    with closing(open_known_outputs(project)) as outputs:
        return list(outputs.all())


def test_a_published_output_takes_the_place_of_the_one_before(project: Project, tmp_path: Path) -> None:
    place = str(tmp_path / "out")
    with closing(open_known_outputs(project)) as outputs:
        outputs.note(output(place, "r1", card=1))
        outputs.note(output(place, "r2", card=2))
        outputs.note(output(str(tmp_path / "other"), "r3", card=1, phone=1))
        assert [(each.run, dict(each.versions)) for each in outputs.all()] == [
            ("r3", {"card": 1, "phone": 1}),
            ("r2", {"card": 2}),
        ]
        assert outputs.forget(place) == 1
        assert outputs.forget(place) == 0


def test_a_run_is_known_while_it_works_beside_what_it_is_to_replace(project: Project, tmp_path: Path) -> None:
    place = tmp_path / "out"
    with closing(open_known_outputs(project)) as outputs:
        outputs.note(output(str(place), "r1", card=1))
    (tmp_path / ".out.consentry-r2").mkdir()
    with noted_run(project, output(str(place), "r2", published=False, card=2)):
        assert [(each.run, each.published) for each in known(project)] == [("r1", True), ("r2", False)]
    assert [(each.run, each.published) for each in known(project)] == [("r2", True)]


def test_a_run_that_fails_is_forgotten_and_what_was_there_stays_known(project: Project, tmp_path: Path) -> None:
    place = str(tmp_path / "out")
    with closing(open_known_outputs(project)) as outputs:
        outputs.note(output(place, "r1", card=1))
    with pytest.raises(RunError), noted_run(project, output(place, "r2", published=False, card=2)):
        raise RunError("failed")
    assert [(each.run, dict(each.versions)) for each in known(project)] == [("r1", {"card": 1})]


def test_a_run_that_was_killed_is_settled_by_what_lies_at_its_place(project: Project, shop: Shop) -> None:
    assert shop.protect("--replace").code == 0
    (made,) = known(project)
    assert made.place == str(shop.out.resolve()) and made.published
    with closing(open_known_outputs(project)) as outputs:  # killed after it had published
        outputs.forget(made.place)
        outputs.note(output(made.place, made.run, published=False))
        outputs.note(output(made.place, "r9", published=False))  # killed before
    assert [(each.run, each.published) for each in known(project)] == [(made.run, True)]


def test_a_run_that_is_interrupted_after_it_has_published_stays_known(project: Project, shop: Shop) -> None:
    assert shop.protect("--replace").code == 0
    (made,) = known(project)
    with closing(open_known_outputs(project)) as outputs:
        outputs.forget(made.place)
    with pytest.raises(KeyboardInterrupt), noted_run(project, output(made.place, made.run, published=False)):
        raise KeyboardInterrupt
    assert [(each.run, each.published) for each in known(project)] == [(made.run, True)]


def test_an_output_may_have_tokens_of_two_versions_while_they_are_moved(project: Project, tmp_path: Path) -> None:
    place = str(tmp_path / "out")
    with closing(open_known_outputs(project)) as outputs:
        moving = frozenset({("card", 1), ("card", 2)})
        outputs.note(replace(output(place, card=1), also=moving))
        assert [each.needs for each in outputs.all()] == [moving]
        outputs.note(output(place, card=2))
        assert [each.needs for each in outputs.all()] == [{("card", 2)}]


def test_protect_notes_the_domains_that_its_tokens_are_of(project: Project, shop: Shop) -> None:
    assert shop.protect("--replace").code == 0
    (made,) = known(project)
    assert made.dataset == "orders" and set(made.versions.values()) == {1} and "card" in made.versions
    shop.run("keys", "rotate")
    assert shop.protect("--replace").code == 0
    (made,) = known(project)
    assert set(made.versions.values()) == {2}


def test_a_refused_run_leaves_no_note(project: Project, shop: Shop) -> None:
    assert shop.protect().code == 2
    assert known(project) == []


def test_a_place_is_one_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert len({place_of(out) for out in ("real", "link", f"file://{tmp_path}/real", "./real/", "x/../real")}) == 1
    assert place_of("gs://bucket/out/") == "gs://bucket/out"


def test_the_list_is_a_file_of_its_own(shop: Shop) -> None:
    text = shop.config.read_text()
    shop.config.write_text(text + "outputs: sqlite:vault.db\n")
    with pytest.raises(PolicyError, match="outputs: is the same file as 'vault'"):
        read_project(shop.config)
    shop.config.write_text(text + "outputs: postgresql://host/db\n")
    with pytest.raises(PolicyError, match="outputs: unknown kind of store"):
        read_project(shop.config)

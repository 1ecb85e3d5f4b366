from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.engines.settings import (
    EngineSettings,
    close_settings,
    is_engine_output,
    launching,
    read_settings,
)
from consentry.schemas.errors import ConfigError, OutputError

FRESH = EngineSettings(
    run="engine-1", tenant="shop", dataset="orders", source="kafka:orders", lanes=1, shards=4, key_version=1,
    key_versions={"token": 1}, started_at=7, fields={"card": "tokenize"},
)  # fmt: skip


def launched(out: Path, settings: EngineSettings = FRESH) -> EngineSettings:
    with launching(str(out), settings) as found:
        return found


def test_a_stream_that_goes_on_keeps_the_settings_with_which_it_began(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not is_engine_output(str(out))
    assert launched(out) == FRESH
    assert is_engine_output(str(out)) and is_engine_output(f"file://{out}")
    assert launched(out, replace(FRESH, run="engine-2", key_version=2, started_at=9)) == FRESH
    assert read_settings(str(out)) == FRESH
    assert (out / "_stream").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tenant": "other"}, "--config: this output belongs to 'shop'; go on with that, or name a new --out"),
        ({"dataset": "visits"}, "--dataset: this output belongs to 'orders'"),
        ({"source": "kafka:other"}, "--from: this output belongs to 'kafka:orders'"),
        ({"lanes": 2}, "--lanes: this output belongs to '1'"),
        ({"shards": 5}, "--shards: this output belongs to '4'"),
        ({"fields": {"card": "keep"}}, "policy: this output belongs to another treatment of some fields"),
    ],
)
def test_what_may_not_change_is_refused_and_changes_nothing(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    launched(tmp_path / "out")
    with pytest.raises(ConfigError, match=says):
        launched(tmp_path / "out", replace(FRESH, **change))
    assert read_settings(str(tmp_path / "out")) == FRESH


def test_two_launchers_of_one_output_are_kept_apart(tmp_path: Path) -> None:
    with (
        launching(str(tmp_path / "out"), FRESH),
        pytest.raises(OutputError, match="another launcher of it is at work; stop that one first"),
    ):
        launched(tmp_path / "out")
    with launching(str(tmp_path / "out"), FRESH), pytest.raises(OutputError, match="another launcher"):
        close_settings(str(tmp_path / "out"))
    launched(tmp_path / "out")


def test_a_closed_stream_never_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    launched(out)
    close_settings(str(out))
    close_settings(str(out))
    assert not is_engine_output(str(out))
    assert (out / "_stream/closed").exists()
    with pytest.raises(ConfigError, match="the stream engine-1 of this output has ended; name a new --out"):
        launched(out)


def foreign(out: Path) -> None:
    (out / "notes.txt").write_text("mine")


def of_one_machine(out: Path) -> None:
    (out / "_stream").mkdir()
    (out / "_stream/journal.db").touch()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (foreign, "is not empty, and no output of a stream; name another --out"),
        (of_one_machine, "a stream on one machine wrote it; go on without --runner"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    make(out)
    with pytest.raises((OutputError, ConfigError), match=says):
        launched(out)
    assert not (out / "_stream/engine.json").exists()
    assert (out / "notes.txt").exists() == (make is foreign)


def test_an_object_store_and_a_file_are_no_folders(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="gs://bucket/out: a stream writes to a folder that all workers share"),
        launching("gs://bucket/out", FRESH),
    ):
        raise AssertionError
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        launched(tmp_path / "file")


@pytest.mark.parametrize("damage", ["", "[]", "null", '{"run": "x"}', '{"closed": true}', "\\xff"])
def test_damaged_settings_are_refused_and_never_made_anew(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    launched(out)
    (out / "_stream/engine.json").write_text(damage)
    for use in (lambda: read_settings(str(out)), lambda: is_engine_output(str(out)), lambda: launched(out),
                lambda: close_settings(str(out))):  # fmt: skip
        with pytest.raises(OutputError, match=r"engine\.json: is damaged; restore it from a backup"):
            use()
    assert (out / "_stream/engine.json").read_text() == damage
    assert not (out / "_stream/closed").exists()


def test_a_folder_without_settings_is_no_output_of_an_engine(tmp_path: Path) -> None:
    for use in (read_settings, close_settings):
        with pytest.raises(ConfigError, match="is no output of `consentry stream --runner`; name its --out"):
            use(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_settings_are_plain_json(tmp_path: Path) -> None:
    launched(tmp_path / "out")
    assert json.loads((tmp_path / "out/_stream/engine.json").read_text())["run"] == "engine-1"

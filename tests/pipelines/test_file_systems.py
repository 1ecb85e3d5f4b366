"""A place that this installation cannot reach is refused with what to install."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest
from consentry.pipelines import file_systems
from consentry.pipelines.file_systems import check_file_system
from consentry.pipelines.input_files import find_files
from consentry.pipelines.object_store import ObjectFolder
from consentry.schemas.errors import ConfigError
from oracles.shop_commands import Shop, run

EXTRAS = {
    "gs": "consentry[gcp]",
    "s3": "apache-beam[aws]",
    "azfs": "apache-beam[azure]",
    "hdfs": "apache-beam[hadoop]",
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras, whatever this one has."""
    missing = {scheme: ("no_such_module.of_ours", extra) for scheme, (_, extra) in file_systems._EXTRAS.items()}
    monkeypatch.setattr(file_systems, "_EXTRAS", missing)


@pytest.mark.parametrize("place", ["out", "/srv/out", "./a b", "file:///srv/out", "C:\\out", ""])
def test_a_place_of_this_machine_is_always_reached(place: str) -> None:
    check_file_system(place)


def test_a_scheme_that_beam_knows_is_reached(shelf: Callable[[str], str]) -> None:
    check_file_system(shelf("out"))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("scheme", EXTRAS)
@pytest.mark.parametrize("use", [check_file_system, lambda place: find_files([place]), ObjectFolder])
def test_an_extra_that_is_missing_is_named(scheme: str, use: Callable[[str], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        use(f"{scheme}://bucket/orders")
    assert str(caught.value) == (
        f"{scheme}://bucket/orders: {scheme}:// needs an extra that is not installed; pip install '{EXTRAS[scheme]}'"
    )
    assert (caught.value.exit_code, caught.value.reason) == (2, "extra_missing")


def test_a_scheme_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="no file system is known for ftp://; name a folder, or one of azfs://, gs:"):
        check_file_system("ftp://host/orders")


def test_every_module_that_is_looked_for_is_the_one_that_beam_uses() -> None:
    installed = {scheme: file_systems._is_installed(module) for scheme, (module, _) in file_systems._EXTRAS.items()}
    known = {each.scheme() for each in file_systems.FileSystem.get_all_subclasses()}
    assert installed["gs"] == ("gs" in known)
    assert installed["s3"] == (find_spec("boto3") is not None)
    assert not file_systems._is_installed("no_such_module.below")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize("where", ["out", "input", "verify"])
def test_a_command_ends_with_wrong_use_before_anything_is_done(shop: Shop, scheme: str, where: str) -> None:
    before = shop.visible(), shop.stored()
    remote = f"{scheme}://bucket/orders"
    words = {
        "out": ["protect", str(shop.orders), "--dataset=orders", "--out", remote],
        "input": ["protect", remote, "--dataset=orders", "--out", str(shop.place / "new")],
        "verify": ["verify", remote],
    }[where]
    done = run(*words, "--json", "--config", shop.config)
    assert (done.code, done.out) == (2, "")
    assert f"{remote}: {scheme}:// needs an extra that is not installed; pip install '{EXTRAS[scheme]}'" in done.err
    assert (shop.visible(), shop.stored()) == before

"""Runs the examples in the docstrings of every module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

ROOMS = ("consentry.schemas", "consentry.transforms", "consentry.pipelines")


def module_names() -> list[str]:
    names = []
    for room in ROOMS:
        package = importlib.import_module(room)
        names.append(room)
        names += [module.name for module in pkgutil.walk_packages(package.__path__, room + ".")]
    return names


@pytest.mark.parametrize("name", module_names())
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0

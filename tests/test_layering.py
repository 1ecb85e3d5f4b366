"""The direction of imports, nothing imports upward, Beam stays in its rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("schemas", "transforms", "pipelines")
SUB_ROOMS = ("access", "tokens", "detectors", "stores", "crypto", "values")

MAY_IMPORT = {
    "schemas": set(),
    "values": {"schemas"},
    "crypto": {"schemas"},
    "stores": {"schemas", "crypto"},
    "tokens": {"schemas", "crypto", "values"},
    "detectors": {"schemas", "values"},
    "access": {"schemas", "stores"},
    "transforms": {"schemas", *SUB_ROOMS},
    "pipelines": {"schemas", "transforms", *SUB_ROOMS},
    "deploy": {"schemas", "transforms", "pipelines", *SUB_ROOMS},
}
BEAM_ROOMS = {"transforms", "pipelines"}
# Detokenization and the other light commands must not pay for Beam; each of these modules stays free of it.
WITHOUT_BEAM_AT_IMPORT = {"transforms/__init__.py", "pipelines/__init__.py"}

MODULES = sorted(path for room in (*ROOMS, "deploy") for path in (ROOT / room).rglob("*.py"))
"""What lies in ``deploy`` is not installed: its programs import the package, and nothing can import them."""


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a dotted name below ``consentry``: a sub-room where there is one."""
    if parts[0] == "transforms" and len(parts) > 1 and parts[1] in SUB_ROOMS:
        return parts[1]
    return parts[0]


def imported(path: Path) -> list[tuple[str, ...]]:
    """All dotted names that a module imports, relative ones resolved below ``consentry``."""
    package = path.relative_to(ROOT).parent.parts
    names: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = ("consentry", *package[: len(package) - node.level + 1], *base)
            names += [(*base, alias.name) for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_downward(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts
    room = room_of(own)
    for name in imported(path):
        assert name[0] not in ROOMS, f"{name} would only work in the source tree"
        if name[0] == "consentry" and len(name) > 1:
            target = room_of(name[1:])
            assert target == room or target in MAY_IMPORT[room], f"{room} may not import {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_beam_is_imported_only_where_it_is_wired(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts
    uses_beam = any(name[0] == "apache_beam" for name in imported(path))
    assert not uses_beam or room_of(own) in BEAM_ROOMS
    assert not uses_beam or str(path.relative_to(ROOT)) not in WITHOUT_BEAM_AT_IMPORT


def test_what_is_deployed_is_no_package() -> None:
    assert not list((ROOT / "deploy").rglob("__init__.py"))
    assert not [path for path in MODULES for name in imported(path) if name[0] == "deploy" or "deploy" in name[1:2]]


def test_every_package_is_typed_and_guarded() -> None:
    for room in ROOMS:
        assert (ROOT / room / "py.typed").exists()
        assert "pip install -e ." in (ROOT / room / "__init__.py").read_text(encoding="utf-8")

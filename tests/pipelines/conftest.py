"""Shared by the tests of pipelines: signing keys, an object store that is a folder, and a shop on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apache_beam.io.filesystem import FileMetadata, MatchResult
from apache_beam.io.localfilesystem import LocalFileSystem
from consentry.transforms.crypto.kek_local import FileKek
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys
from consentry.transforms.crypto.keyring import Keyring, KeySet
from oracles.shop_commands import AT, BROKEN, SUBJECTS, MadeShop, Shop, event, order, process, write_lines
from servers.fixtures import flink, flink_of_worker, kafka, prism

__all__ = ["flink", "flink_of_worker", "kafka", "prism"]

NOW = 1_793_000_000_000_000


KEK = FileKek(bytes(range(32)))


@pytest.fixture(scope="session")
def signing() -> tuple[ProofKeys, PublicKeys]:
    """Keys that sign, and the public keys that believe them."""
    keyring = Keyring.create("shop", dict.fromkeys(KeySet, KEK), now=NOW)
    return keyring.unlock_proof(KEK), keyring.public_keys()


@pytest.fixture(scope="session")
def strangers() -> tuple[ProofKeys, PublicKeys]:
    """Keys of the same tenant's name that nobody trusts."""
    keyring = Keyring.create("shop", dict.fromkeys(KeySet, KEK), now=NOW)
    return keyring.unlock_proof(KEK), keyring.public_keys()


class ShelfFileSystem(LocalFileSystem):
    """An object store at ``shelf://``: objects below a folder, written whole, without folders that could be moved."""

    root: Path

    @classmethod
    def scheme(cls) -> str:
        return "shelf"

    def _place(self, uri: str) -> str:
        return str(self.root / uri.removeprefix("shelf://"))

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join((basepath.rstrip("/"), *paths))

    def match(self, patterns, limits=None):
        found = []
        for pattern in patterns:
            start = self._place(pattern.rstrip("*").rstrip("/"))
            paths = sorted(path for path in Path(start).rglob("*") if path.is_file()) if Path(start).is_dir() else []
            paths += [Path(start)] if Path(start).is_file() else []
            uris = [f"shelf://{path.relative_to(self.root).as_posix()}" for path in paths]
            metadata = [FileMetadata(uri, path.stat().st_size) for uri, path in zip(uris, paths, strict=True)]
            found.append(MatchResult(pattern, metadata))
        return found

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        Path(self._place(path)).parent.mkdir(parents=True, exist_ok=True)
        return super().create(self._place(path), mime_type, compression_type)

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return super().open(self._place(path), mime_type, compression_type)

    def exists(self, path):
        return Path(self._place(path)).exists()

    def delete(self, paths):
        for path in paths:
            Path(self._place(path)).unlink()

    def rename(self, source_file_names, destination_file_names):
        raise AssertionError("an object store cannot rename")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """An object store; gives the URI of a name in it."""
    ShelfFileSystem.root = tmp_path / "shelf"
    ShelfFileSystem.root.mkdir()
    yield lambda name: f"shelf://bucket/{name}"


@pytest.fixture(scope="session")
def made_shop(tmp_path_factory: pytest.TempPathFactory) -> MadeShop:
    """A shop whose customers c-0 … c-2 allow support, with 24 orders of c-0 … c-5 and a broken line protected.

    Look at it, but change only the copy that ``shop`` gives.
    """
    shop = Shop(tmp_path_factory.mktemp("made"))
    init = process("init", shop.folder)
    events = write_lines(shop.place / "consents.jsonl", [event(subject) for subject in SUBJECTS[:3]])
    imported = shop.process("consent", "import", events, "--json")
    write_lines(shop.orders, [*(order(number) for number in range(24)), BROKEN])
    # Options before, between and after the arguments.
    protected = shop.process("protect", "--json", shop.orders, "--dataset=orders", "--at", AT, "--out", shop.out)
    return MadeShop(shop, init, imported, protected)


@pytest.fixture
def shop(made_shop: MadeShop, tmp_path: Path) -> Shop:
    """A copy of the shop."""
    shutil.copytree(made_shop.shop.place, tmp_path / "place")
    return Shop(tmp_path / "place")

"""The distribution as others get it: a wheel in a clean environment, and an sdist on a worker."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = (
    "schemas",
    "transforms",
    "pipelines",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "constraints.txt",
)

IMPORT_ALL = """
import importlib, pkgutil
for room in ("consentry.schemas", "consentry.transforms", "consentry.pipelines"):
    for module in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        importlib.import_module(module.name)
        print(module.name)
"""

PIPELINE = """
import sys
import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from consentry.transforms import ProtectRecords

rows = pa.record_batch({"order_id": ["o-1"], "placed_at": ["2026-03-01T09:00:00Z"], "customer": [{"id": "c-1"}]})


class Fetch(beam.DoFn):
    def process(self, element):
        import consentry.schemas
        print(consentry.schemas.__file__, file=sys.stderr)
        yield rows


def check(batches):
    table = pa.Table.from_batches(batches)
    assert table.num_rows == 1, table
    token = table["customer"][0].as_py()["id"]
    assert len(token) == 16 and token != "c-1"


worker = SubprocessSDKEnvironment.from_command_string(sys.argv[1] + " -m apache_beam.runners.worker.sdk_worker_main")
with beam.Pipeline(runner=FnApiRunner(default_environment=worker)) as pipeline:
    fetched = pipeline | beam.Create([0]) | beam.ParDo(Fetch()).with_output_types(pa.RecordBatch)
    protected = fetched | ProtectRecords(sys.argv[2], "orders")
    protected.rows | beam.combiners.ToList() | beam.Map(check)
print("protected on a worker")
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel, built from a copy of the tree: nothing is left in the tree itself."""
    place = tmp_path_factory.mktemp("build")
    tree = place / "tree"
    tree.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)
    run(sys.executable, "-m", "build", "--outdir", place / "dist", tree, cwd=place)
    return place / "dist"


@pytest.fixture(scope="module")
def clean_python(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and its dependencies, nothing else."""
    place = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", place / "env", cwd=place)
    python = place / "env" / "bin" / "python"
    (wheel,) = distributions.glob("*.whl")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=place)
    return python


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
def test_the_wheel_brings_exactly_one_top_level_name(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"consentry"}


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
def test_every_module_of_the_wheel_imports_from_another_folder(clean_python: Path, tmp_path: Path) -> None:
    modules = run(clean_python, "-c", IMPORT_ALL, cwd=tmp_path).split()
    sources = {path for room in ("schemas", "transforms", "pipelines") for path in (ROOT / room).rglob("*.py")}
    assert len(modules) == len(sources) - 3  # the rooms themselves are not walked


@pytest.mark.slow
@pytest.mark.xdist_group("packaging")
def test_a_pipeline_runs_in_a_worker_that_has_only_the_sdist(
    distributions: Path, clean_python: Path, tmp_path: Path
) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    pip = (clean_python, "-m", "pip")
    run(*pip, "uninstall", "--quiet", "--yes", "consentry", cwd=tmp_path)
    run(*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", sdist, cwd=tmp_path)
    program = Path(sys.executable).parent / "consentry"
    run(program, "init", "shop", cwd=tmp_path)
    script = tmp_path / "launch.py"
    script.write_text(textwrap.dedent(PIPELINE), encoding="utf-8")
    assert "protected on a worker" in run(
        sys.executable, script, clean_python, tmp_path / "shop/consentry.yaml", cwd=tmp_path
    )

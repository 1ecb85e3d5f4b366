"""What the image is made of, read from its recipe; no container can be built where no builder runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "image" / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M)).splitlines()
SBOM = ROOT / "deploy" / "image" / "sbom"


def ignored(path: str) -> bool:
    """Whether ``.dockerignore`` keeps a path away: the last line that covers it, or a folder of it, counts."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            if any(matches(pattern, "/".join(path.split("/")[:n])) for n in range(1, path.count("/") + 2)):
                out = not line.startswith("!")
    return out


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern covers a path, as Docker reads it: ``*`` stays in a folder, ``**/`` is any number of them."""
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("**/")]
    return re.fullmatch("(?:.*/)?".join(parts), path) is not None


def stage(name: str) -> list[str]:
    """The instructions of a stage."""
    starts = [n for n, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")]
    for start, end in zip(starts, [*starts[1:], len(INSTRUCTIONS)], strict=True):
        if INSTRUCTIONS[start].endswith(f" AS {name}"):
            return INSTRUCTIONS[start:end]
    raise AssertionError(f"no stage {name}")


SECRETS = [
    "schemas/keyring.json",
    "pipelines/old-keyring-2.json",
    "transforms/kek.key",
    "pipelines/vault.db",
    "pipelines/vault.db-wal",
    "data_keys.db",
    "shop/keyring.json",
    "schemas/consentry.yaml",
    "pipelines/.consentry-checkpoints.json",
    "pipelines/.orders.consentry-run/part.parquet",
    "schemas/orders.jsonl",
    "transforms/orders.csv",
    "deploy/image/.env",
    "deploy/image/.env.production",
    "deploy/flex_template/application_default_credentials.json",
    "deploy/terraform/terraform.tfstate",
    "deploy/kubernetes/secrets.yaml",
    ".git/config",
    ".venv/bin/python",
    "examples/orders/orders.jsonl",
    "transforms/.pgpass",
    "schemas/ca.pem",
    "pipelines/checkpoints/1.json",
]


@pytest.mark.parametrize("path", SECRETS)
def test_the_builder_never_gets(path: str) -> None:
    assert ignored(path)


def test_the_builder_gets_all_that_is_installed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "schemas", "transforms", "pipelines"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    needed = [*tracked, "setup.py", "pyproject.toml", "constraints.txt", "MANIFEST.in", "README.md"]
    needed += ["deploy/image/sbom", "deploy/flex_template/launch.py"]
    assert [path for path in needed if ignored(path)] == []


def test_each_file_that_is_copied_in_exists() -> None:
    sources = [
        word
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists() and not ignored(source), source


@pytest.mark.parametrize("name", ["runtime", "flex-template"])
def test_nothing_that_runs_is_root(name: str) -> None:
    users = [line for line in (*stage("runtime"), *stage(name)) if line.startswith("USER ")]
    assert users and all(re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", line) for line in users)
    assert not any("sudo" in line or "chmod 777" in line for line in INSTRUCTIONS)


def test_base_images_have_exact_tags_that_a_digest_can_replace() -> None:
    arguments = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", DOCKERFILE, flags=re.M))
    assert set(arguments) == {"PYTHON_IMAGE", "BEAM_IMAGE", "TEMPLATE_LAUNCHER_IMAGE"}
    for image in arguments.values():
        assert re.search(r":[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$", image) and not image.endswith("latest")
    froms = [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM ")]
    assert set(froms) == {*(f"${{{name}}}" for name in arguments), "build", "runtime"}


def test_the_image_has_the_release_of_beam_that_is_tested() -> None:
    (pinned,) = re.findall(r"^apache-beam==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), flags=re.M)
    assert f"apache/beam_python3.11_sdk:{pinned}\n" in DOCKERFILE
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in stage("runtime")


def test_what_is_installed_is_constrained_and_leaves_no_cache() -> None:
    installs = [line for line in INSTRUCTIONS if "pip install" in line]
    assert installs
    for line in installs:
        assert "--constraint constraints.txt" in line and "--no-cache-dir" in line


def test_the_running_image_has_no_sources_and_no_builder_but_its_list_of_parts() -> None:
    copied = [line for line in stage("runtime") if line.startswith("COPY ")]
    assert all("--from=" in line for line in copied)
    assert any("sbom.cdx.json" in line for line in copied)


def test_the_recipe_holds_no_secret() -> None:
    assert not re.search(r"(?i)(password|passphrase|secret|token)\s*=", DOCKERFILE)


def test_the_list_of_parts_asks_for_an_interpreter(tmp_path: Path) -> None:
    assert subprocess.run(["sh", "-n", SBOM], check=False).returncode == 0
    for arguments in ([], ["python"], [str(tmp_path / "none"), str(tmp_path / "out")]):
        done = subprocess.run([SBOM, *arguments], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "") and "usage: sbom PYTHON FILE" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_flex_template_starts_the_command_line(tmp_path: Path) -> None:
    launch = ROOT / "deploy" / "flex_template" / "launch.py"
    done = subprocess.run(
        [
            sys.executable,
            launch,
            "--dataset=orders",
            f"--config={tmp_path}/none.yaml",
            "--from=",
            f"--out={tmp_path}/o",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "--from: is missing or blank" in done.stderr
    assert "Traceback" not in done.stderr and json.dumps(done.stdout) == '""'

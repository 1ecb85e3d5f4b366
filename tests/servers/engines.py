"""The engines that tests, the demo and the benchmarks run: fetched once, of one version, checked against what we know.

``make engines`` fetches all of them into ``build/engines``; who needs one that is not there fetches it alone. What is
fetched is checked: Go and Maven check what they download, and what came of it must have the digest that stands here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENGINES", "FLINK", "KAFKA", "KAFKA_READ", "PRISM", "Engine", "EngineError", "engine_folder", "fetched"]

ROOT = Path(__file__).parents[2]
COMPLETE = "complete"
FETCH_SECONDS = 900
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>consentry</groupId><artifactId>engine</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = """<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>
<exclusions>{exclusions}</exclusions></dependency>"""
EXCLUSION = "<exclusion><groupId>{}</groupId><artifactId>*</artifactId></exclusion>"


class EngineError(RuntimeError):
    """An engine cannot be fetched, or what was fetched is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A program of others, of one version.

    Attributes:
        name: For people.
        folder: Below the folder of all engines; names the version.
        digest: SHA-256 of what was fetched, as ``sha256sum * | sha256sum`` tells of jars.
        fetched_with: Tools that fetch it.
        run_with: Tools that it needs ever after.
        without: What cannot be done where it is not there.
        source: A Go package with its version, or Maven coordinates.
        excluded: Maven groups of what it can do without, which the central repository has not.
    """

    name: str
    folder: str
    digest: str
    fetched_with: tuple[str, ...]
    run_with: tuple[str, ...] = ()
    without: str
    source: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    def absent_tools(self) -> list[str]:
        """The tools that this machine lacks for it."""
        tools = self.run_with if fetched(self) is not None else (*self.run_with, *self.fetched_with)
        return [tool for tool in tools if shutil.which(tool) is None]


PRISM = Engine(
    name="Prism",
    folder="prism-2.77.0",
    digest="6baf25747302e15b6070b3aa7c70afbb4badd0079e5b805b37cbc1e599438d7b",
    fetched_with=("go",),
    without="no stream runs on Prism: its tests skip",
    source=("github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0",),
)
FLINK = Engine(
    name="Flink",
    folder="flink-1.19-beam-2.62.0",
    digest="d48aa836447648803693560de9fa84be15fa7f9c408f3ee20b6cd6d4da4f16f6",
    fetched_with=("mvn",),
    run_with=("java",),
    without="no stream runs on Flink: its tests and figures skip, and `make demo-flink` cannot run",
    source=("org.apache.beam:beam-runners-flink-1.19:2.62.0", "org.slf4j:slf4j-simple:1.7.36"),
)
KAFKA = Engine(
    name="Apache Kafka",
    folder="kafka-3.9.0",
    digest="01df8e925c4ba033025cd4f08f4a94fb9fcc1095c0f496802efe5c824db5ef24",
    fetched_with=("mvn",),
    run_with=("java",),
    without="no test meets a real Apache Kafka (those on another broker of its protocol still run)",
    source=("org.apache.kafka:kafka_2.13:3.9.0",),
)
KAFKA_READ = Engine(
    name="Beam's read of Kafka",
    folder="beam-kafka-2.73.0",
    digest="4eb2f178013862dfeb158dfdcad7e89af0a0c936bfe86634e177914d61867a14",
    fetched_with=("mvn",),
    run_with=("java",),
    without="the graph in which Dataflow reads Kafka itself is not made: its tests skip",
    source=(
        "org.apache.beam:beam-sdks-java-io-kafka:2.73.0",
        "org.apache.beam:beam-sdks-java-expansion-service:2.73.0",
        "org.apache.kafka:kafka-clients:3.9.0",
        "org.slf4j:slf4j-simple:1.7.36",
    ),
    excluded=("io.confluent",),
)
ENGINES = (PRISM, FLINK, KAFKA, KAFKA_READ)


def fetched(engine: Engine) -> Path | None:
    """The folder of an engine, if it was fetched before."""
    folder = _home() / engine.folder
    return folder if (folder / COMPLETE).exists() else None


def engine_folder(engine: Engine) -> Path:
    """The folder of an engine; fetches it where nobody has, into a place that appears whole.

    Raises:
        EngineError: It cannot be fetched, or is not what it should be.
    """
    found = fetched(engine)
    if found is not None:
        return found
    target = _home() / engine.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetching-"))
    try:
        digest = _go(engine, making) if "go" in engine.fetched_with else _maven(engine, making)
        if digest != engine.digest:
            raise EngineError(f"{engine.name}: what was fetched has the digest {digest}, not {engine.digest}")
        (making / COMPLETE).touch()
        making.rename(target)
    except OSError:
        if fetched(engine) is None:
            raise
        # else another process was quicker
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _home() -> Path:
    named = os.environ.get("CONSENTRY_ENGINES")
    return Path(named) if named else ROOT / "build" / "engines"


def _go(engine: Engine, making: Path) -> str:
    """Builds a Go program; returns the digest of the modules it is made of, with the sums that Go checked."""
    _run(engine, ["go", "install", *engine.source], making, GOBIN=str(making))
    told = _run(engine, ["go", "version", "-m", str(making / "prism")], making)
    lines = [line + "\n" for line in told.splitlines() if line.startswith(("\tmod\t", "\tdep\t"))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _maven(engine: Engine, making: Path) -> str:
    """Fetches jars with all that they need; returns the digest of their digests."""
    exclusions = "".join(map(EXCLUSION.format, engine.excluded))
    dependencies = "".join(DEPENDENCY.format(*each.split(":"), exclusions=exclusions) for each in engine.source)
    (making / "pom.xml").write_text(POM.format(dependencies=dependencies))
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={making}"]
    _run(engine, ["mvn", "-q", "-B", "--strict-checksums", *goal], making)
    return _digest(sorted(making.glob("*.jar")))


def _digest(files: Iterable[Path]) -> str:
    lines = (f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _run(engine: Engine, command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise EngineError(f"{engine.name} cannot be fetched: {command[0]} ended with {done.returncode}: {said}")
    return done.stdout


def main() -> int:
    """Fetches every engine whose tools are there and says of the others what is missing; returns 1 if any is."""
    lacking = 0
    for engine in ENGINES:
        absent = engine.absent_tools()
        if absent:
            lacking += 1
            print(f"MISSING: {engine.name}: {' and '.join(absent)} not found on the PATH; {engine.without}")
            continue
        was = "is there" if fetched(engine) is not None else "fetched"
        try:
            print(f"{engine.name}: {was}: {engine_folder(engine)}", flush=True)
        except EngineError as failure:
            lacking += 1
            print(f"FAILED: {failure}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())

"""Prism, Beam's own runner of portable pipelines, as it is built from its Go module.

beam.Pipeline(options=PipelineOptions(prism_arguments()))
"""

from __future__ import annotations

from pathlib import Path

from servers.engines import PRISM, engine_folder

__all__ = ["prism_arguments", "prism_program"]


def prism_program() -> Path:
    """Returns the path of the program; fetches it where nobody has."""
    return engine_folder(PRISM) / "prism"


def prism_arguments(*, streaming: bool = False) -> list[str]:
    """Returns the arguments of a pipeline that runs on Prism, with workers in threads of this process.

    Beam starts Prism with the first such pipeline of a process, and ends it with the process.
    """
    where = ["--runner=PrismRunner", f"--prism_location={prism_program()}", "--environment_type=LOOPBACK"]
    return [*where, *(["--streaming"] if streaming else [])]

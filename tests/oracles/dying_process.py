"""Run as a program: redacts outputs or erases people in children that kill themselves before the N-th line watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from consentry.pipelines.redact import redact_output
from consentry.pipelines.subject_erasure import EraseOptions, erase_subject
from consentry.schemas.project import read_project

TESTS = Path(__file__).parent.parent


class DyingProcess:
    """The program; it has run no pipeline, so that its children can be forked."""

    def __init__(self, *watched: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "oracles.dying_process", *watched],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def do(self, line: int, config: Path, out: Path, now: int, subject: str | None = None) -> bool:
        """Has a child redact, or erase a subject, and die before a line; returns whether it died."""
        asked = {"line": line, "config": str(config), "out": str(out), "now": now, "subject": subject}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        ended = self._process.stdout.readline().strip()
        assert ended in ("killed", "ended 0"), ended
        return ended == "killed"

    def close(self) -> None:
        self._process.communicate(timeout=60)


@contextmanager
def dying_process(*watched: str) -> Iterator[DyingProcess]:
    process = DyingProcess(*watched)
    try:
        yield process
    finally:
        process.close()


def main(*watched: str) -> None:
    for text in sys.stdin:
        asked = json.loads(text)
        child = os.fork()
        if child == 0:
            _die_at(asked["line"], watched)
            _carry_out(asked)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended {status}", flush=True)


def _carry_out(asked: dict[str, Any]) -> None:
    project, now = read_project(Path(asked["config"])), asked["now"]
    if asked["subject"] is None:
        redact_output(project, asked["out"], now=now, clock=lambda: now)
    else:
        erase_subject(project, asked["subject"], EraseOptions(outputs=(asked["out"],)), clock=lambda: now)


def _die_at(last: int, watched: tuple[str, ...]) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(watched):
            return None
        if event == "line":
            lines += 1
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Run as a program: replays the dead letters of an output and kills itself before the N-th line that is watched."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from consentry.pipelines.letter_replay import replay_letters
from consentry.pipelines.streams.stream_replay import replay_stream_letters
from consentry.schemas.project import read_project

WATCHED = (
    "publication.py", "exchange.py", "letter_replay.py", "letter_trial.py", "letter_manifest.py", "output_state.py",
    "stream_replay.py", "streams/journal.py", "streams/output.py",
)  # fmt: skip


def main(config: str, out: str, now: str, kind: str = "run") -> None:
    """For each line on standard input, forks a child that replays and dies at that line; answers how it ended.

    ``kind`` tells whether the output is of a ``run`` or of a ``stream``.
    """
    replay = replay_stream_letters if kind == "stream" else replay_letters
    project = read_project(Path(config))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _die_at(int(line))
            replay(project, out, now=int(now), clock=lambda: int(now))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else f"ended {status}", flush=True)


def _die_at(last: int) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            lines += 1
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


if __name__ == "__main__":
    main(*sys.argv[1:])

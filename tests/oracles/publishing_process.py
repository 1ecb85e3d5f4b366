"""Run as a program: forks a child for each line on standard input, which publishes until it is killed.

``free RUN`` publishes again and again; whoever reads the child's id kills it. ``line N RUN`` publishes once and kills
itself before the N-th line of the publication's own code. Answers ``killed`` or ``survived`` when the child is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

from consentry.transforms.crypto.kek_local import FileKek
from consentry.transforms.crypto.key_sets import ProofKeys
from consentry.transforms.crypto.keyring import Keyring
from oracles.small_output import write_output

# Without shutil: how much a child has to clear away must not shift the lines that come after.
TRACED = ("publication.py", "exchange.py")


def main(out: str, keyring: str, kek: str) -> None:
    keys = Keyring.load(keyring).unlock_proof(FileKek(bytes.fromhex(kek)))
    for line in sys.stdin:
        kind, *words = line.split()
        child = os.fork()
        if child == 0:
            if kind == "line":
                publish_and_die_at(int(words[0]), out, keys, run=words[1])
            publish_for_ever(out, keys, run=words[0])
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "survived", flush=True)


def publish_for_ever(out: str, keys: ProofKeys, *, run: str) -> None:
    number = 0
    while True:
        number += 1
        write_output(out, keys, run=f"{run}-{number}", replace=True, mark=f"m{number}", count=number % 9)


def publish_and_die_at(last: int, out: str, keys: ProofKeys, *, run: str) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            lines += 1
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    write_output(out, keys, run=run, replace=True, mark=run)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

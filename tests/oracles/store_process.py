"""Run as a program: does to stores what lines on standard input say, and answers each with a line.

A line is a JSON object with ``do``, ``backend``, ``folder`` and what that needs. The program opens the stores, answers
``ready``, waits for another line, does it and answers with a JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consentry.schemas.errors import PrivacyError
from oracles.consent_oracle import Said
from oracles.store_place import Place, candidates_of, event_of, record_of, rules_of
from oracles.vault_oracle import Row

Deed = Iterator[dict[str, Any]]
READY = {"ready": True}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        with Place(asked["backend"], asked["folder"]) as place:
            steps = DEEDS[asked["do"]](place, asked)
            answer = answered(steps)
            print(json.dumps(answer), flush=True)
            sys.stdin.readline()
            print(json.dumps(answer if "error" in answer else answered(steps)), flush=True)


def answered(steps: Deed) -> dict[str, Any]:
    try:
        return next(steps)
    except PrivacyError as error:
        return {"error": type(error).__name__, "says": str(error)}


def create(place: Place, _: dict[str, Any]) -> Deed:
    yield READY
    ledger, vault, access_log = place.ledger(), place.vault(), place.access_log()
    yield {"opened": len([ledger, vault, access_log])}


def append(place: Place, asked: dict[str, Any]) -> Deed:
    ledger = place.ledger()
    yield READY
    added = known = 0
    for chunk in asked["chunks"]:
        result = ledger.append([event_of(Said(*said)) for said in chunk], now=1)
        added, known = added + result.added, known + result.known
    yield {"added": added, "known": known}


def keys(place: Place, asked: dict[str, Any]) -> Deed:
    data_keys = place.data_keys()
    yield READY
    found: dict[str, str] = {}
    for reference in asked["references"]:
        made = data_keys.keys_for([bytes.fromhex(reference)], create=True)
        found |= {ref.hex(): key.hex() for ref, key in made.items()}
    yield {"keys": found, "day": data_keys.day_key("2026-01-01", expires_at=asked["expires_at"]).hex()}


def write(place: Place, asked: dict[str, Any]) -> Deed:
    vault, ledger = place.vault(), place.ledger()
    rules = rules_of(asked["rules"], asked["bases"])
    yield READY
    counts = dict.fromkeys(("written", "refreshed", "present", "refused"), 0)
    for rows in asked["batches"]:
        candidates = candidates_of([Row(*row) for row in rows], place)
        done = vault.write(candidates, ledger=ledger, rules=rules, now=asked["now"])
        counts = {name: count + getattr(done, name) for name, count in counts.items()}
    yield counts


def log(place: Place, asked: dict[str, Any]) -> Deed:
    access_log = place.access_log()
    yield READY
    for number in range(asked["count"]):
        access_log.append([record_of(number, actor=asked["actor"]), record_of(number, actor=asked["actor"])])
    yield {}


@contextmanager
def tasks_of(place: Place, asked: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A program of its own that has begun to do what is asked."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-m", "oracles.store_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        print(
            json.dumps({"backend": place.backend, "folder": str(place.folder), **asked}), file=program.stdin, flush=True
        )
        assert json.loads(program.stdout.readline()) == READY
        print("go", file=program.stdin, flush=True)
        yield program


DEEDS = {"append": append, "create": create, "keys": keys, "log": log, "write": write}

if __name__ == "__main__":
    main()

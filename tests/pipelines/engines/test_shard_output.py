from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from consentry.pipelines.engines.shard_output import (
    ShardOutput,
    begin_launch,
    end_publication,
    published_ends,
    read_note,
)
from consentry.schemas.errors import OutputError, RunError
from oracles.shard_publisher import note_of, publish, publisher, rows_of

TAKEN_OVER = "shard 03: another worker has taken it over; this one goes back"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    begin_launch(tmp_path / "out", "first")
    return tmp_path / "out"


def shard(out: Path, launch: str = "first") -> ShardOutput:
    return ShardOutput(out, 3, launch)


def notes(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "_stream/shards/03").glob("0*"))


def test_whoever_publishes_after_a_kill_at_any_line_leaves_exactly_one_copy(out: Path) -> None:
    lot = publish(shard(out), 0, "", [1, 2, 3], "first").lot
    publish(shard(out), 1, lot, [4, 5], "first")
    with publisher() as process:
        line = 1
        # Each time it is an engine that went back to number 1, and gives some rows in another portion.
        while process.publish(line, out, 1, lot, [4, 5, 6, line + 100]):
            publish(shard(out), 1, lot, [4, 5, 6], "first")
            assert rows_of(out) == [1, 2, 3, 4, 5, 6]
            assert notes(out) == ["000000000.json", "000000001.json"]
            line += 1
    assert line > 60
    assert rows_of(out) == [1, 2, 3, 4, 5, 6, line + 100]


def test_a_stream_that_is_closed_after_a_kill_at_any_line_shows_only_what_its_notes_name(out: Path) -> None:
    with publisher() as process:
        line, died = 1, True
        while died:
            died = process.publish(line, out, 0, "", [1, 2])
            end_publication(out)
            assert rows_of(out) == ([1, 2] if notes(out) else [])
            assert not (out / "_stream/staging/03").exists()
            (out / "_stream/closed").unlink()
            line += 1


def test_a_worker_that_an_engine_gave_up_takes_nothing_back_of_the_one_after_it(out: Path) -> None:
    begun = publish(shard(out), 0, "", [1], "first").lot
    given_up, live = shard(out), shard(out)  # both were given the state behind the publication 0
    lot = publish(live, 1, begun, [2], "first").lot
    lot = publish(live, 2, lot, [3], "first").lot
    with pytest.raises(RunError, match=TAKEN_OVER):
        publish(given_up, 1, begun, [2, 3], "first")
    assert rows_of(out) == [1, 2, 3]
    publish(live, 3, lot, [4], "first")
    assert rows_of(out) == [1, 2, 3, 4]


def test_a_worker_that_published_before_it_was_given_up_is_shut_out_as_well(out: Path) -> None:
    given_up = shard(out)
    lot = publish(given_up, 0, "", [1], "first").lot
    live = shard(out)
    publish(live, 0, "", [1], "first")
    for number, known in ((1, lot), (0, "")):
        with pytest.raises(RunError, match=TAKEN_OVER):
            publish(given_up, number, known, [9], "first")
    assert rows_of(out) == [1]


def test_a_worker_that_one_given_up_came_before_goes_back_and_the_next_one_sets_it_right(out: Path) -> None:
    given_up, live = shard(out), shard(out)
    publish(given_up, 0, "", [1, 2], "first")
    with pytest.raises(RunError, match=TAKEN_OVER):
        publish(live, 0, "", [1], "first")
    publish(shard(out), 0, "", [1], "first")
    assert rows_of(out) == [1]


def test_two_instances_that_share_a_state_publish_in_turn(out: Path) -> None:
    pair, lot = (shard(out), shard(out)), ""
    for number in range(6):
        lot = publish(pair[number % 2], number, lot, [number], "first").lot
    assert rows_of(out) == list(range(6))


def test_of_many_publishers_at_the_same_time_one_wins_and_nothing_is_twice(out: Path) -> None:
    begun = publish(shard(out), 0, "", [1], "first").lot
    rivals = [shard(out) for _ in range(8)]
    won: list[int] = []
    start = threading.Barrier(len(rivals))

    def work(place: int) -> None:
        start.wait()
        try:
            publish(rivals[place], 1, begun, [10 + place], "first")
            won.append(place)
        except RunError as error:
            assert str(error) == TAKEN_OVER

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(rivals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert rows_of(out) == [1, 10 + won[0]]


def test_a_worker_of_an_older_launch_publishes_nothing(out: Path) -> None:
    older = shard(out)
    lot = publish(older, 0, "", [1], "first").lot
    begin_launch(out, "second")
    with pytest.raises(RunError, match="shard 03: the stream was launched anew, and goes on there; cancel this job"):
        publish(older, 1, lot, [2], "first")
    assert rows_of(out) == [1]


def test_nothing_is_written_into_what_has_taken_the_place_of_the_output(out: Path) -> None:
    older = shard(out)
    lot = publish(older, 0, "", [1], "first").lot
    out.rename(out.with_name("before"))
    out.mkdir()
    with pytest.raises(RunError, match="shard 03: the output was replaced by another one; cancel this job"):
        publish(older, 1, lot, [2], "first")
    assert not list(out.iterdir())


def test_a_closed_output_takes_nothing_more_and_waits_for_who_is_at_work(out: Path) -> None:
    at_work, done, order = threading.Event(), threading.Event(), []

    def slow(place: str, name: str):  # type: ignore[no-untyped-def]
        at_work.set()
        done.wait(60)
        order.append("published")
        return note_of(place, name, [1], "first")

    thread = threading.Thread(target=lambda: shard(out).publish(0, "", slow))
    thread.start()
    assert at_work.wait(60)
    closing = threading.Thread(target=lambda: (end_publication(out), order.append("closed")))
    closing.start()
    done.set()
    thread.join(60)
    closing.join(60)
    assert order == ["published", "closed"]
    with pytest.raises(RunError, match="shard 03: the stream of this output was closed; name a new --out"):
        publish(shard(out), 1, "", [2], "first")
    assert rows_of(out) == [1]


def test_what_fails_while_it_writes_leaves_nothing_and_may_be_done_again(out: Path) -> None:
    output = shard(out)

    def failing(place: str, name: str):  # type: ignore[no-untyped-def]
        note_of(place, name, [1], "first")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"_stream/shards/03: cannot be written \(No space left on device\); make room"):
        output.publish(0, "", failing)
    assert rows_of(out) == [] and notes(out) == []
    publish(output, 0, "", [1], "first")
    assert rows_of(out) == [1]


def test_a_launch_goes_on_behind_what_earlier_ones_published_and_not_behind_its_own(out: Path) -> None:
    lot = publish(shard(out), 0, "", [1], "first", end=5).lot
    publish(shard(out), 1, lot, [2], "first", end=9)
    begin_launch(out, "second")
    found = shard(out, "second").resumption()
    assert (found.number, found.offsets) == (2, {"orders/0": 9})
    publish(shard(out, "second"), 2, "", [3], "second", end=20)
    again = shard(out, "second").resumption()
    assert again == found
    assert published_ends(out, 3) == {}


FORGERIES: dict[str, Callable[[Path], str]] = {
    "an absolute path": lambda victim: str(victim),
    "a path that leads out": lambda victim: f"data/../../{victim.name}",
    "a file of the project": lambda _: "_stream/engine.json",
    "a file of another shard": lambda _: "data/part-04-000000000-ab.parquet",
    "a folder that is a link": lambda _: "data/link/part-03-000000000-ab.parquet",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_note_removes_no_file_of_anybody_else(out: Path, forgery: str) -> None:
    publish(shard(out), 0, "", [1], "first")
    victim = out.parent / "part-03-000000000-victim.parquet"
    (out.parent / "elsewhere").mkdir()
    (out / "data/link").symlink_to(out.parent / "elsewhere")
    others = [victim, out / "_stream/engine.json", out / "data/part-04-000000000-ab.parquet",
              out.parent / "elsewhere/part-03-000000000-ab.parquet"]  # fmt: skip
    for path in others:
        path.write_text("of somebody else")
    note = out / "_stream/shards/03/000000000.json"
    document = json.loads(note.read_text())
    document["files"][0]["path"] = FORGERIES[forgery](victim)
    note.write_text(json.dumps(document))
    with pytest.raises(OutputError, match=r"000000000\.json: names a file that is not of this shard; restore"):
        publish(shard(out), 0, "", [1], "first")
    assert all(path.read_text() == "of somebody else" for path in others)


def test_rows_never_leave_through_a_folder_that_is_a_link(out: Path) -> None:
    (out.parent / "elsewhere").mkdir()
    (out / "data").mkdir()
    (out / "data/event_date=2026-01-01").symlink_to(out.parent / "elsewhere")
    with pytest.raises(OutputError, match="names a file that is not of this shard"):
        publish(shard(out), 0, "", [1, 2], "first")
    assert not list((out.parent / "elsewhere").iterdir())


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"files": []}', '{"files": [{"path": 1}]}', "\\ud800"])
def test_a_damaged_note_stops_the_shard_and_says_so(out: Path, damage: str) -> None:
    publish(shard(out), 0, "", [1], "first")
    note = out / "_stream/shards/03/000000000.json"
    note.write_text(damage)
    for use in (lambda: read_note(note), lambda: publish(shard(out), 0, "", [1], "first"),
                lambda: shard(out, "other").resumption()):  # fmt: skip
        with pytest.raises(OutputError, match=r"000000000\.json: is damaged; restore the output's folder _stream"):
            use()
    assert rows_of(out) == [1]


def test_notes_hold_no_rows(out: Path) -> None:
    publish(shard(out), 0, "", [4111111111111111], "first")
    assert b"4111111111111111" not in b"".join(p.read_bytes() for p in (out / "_stream").rglob("*") if p.is_file())

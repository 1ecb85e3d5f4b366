"""The output of a stream that is stopped is redacted and its people are erased, and the stream goes on from there."""

from __future__ import annotations

import copy
import os
import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from consentry.pipelines.streams.journal import open_journal
from consentry.pipelines.streams.message_source import MessageSource
from consentry.pipelines.streams.output import open_stream_output
from consentry.pipelines.streams.places import MessageFormat, ReaderOptions
from consentry.pipelines.streams.run import StreamOptions, run_stream
from consentry.pipelines.subject_erasure import EraseOptions, erase_subject
from consentry.schemas.errors import IntegrityError, OutputError, PrivacyError
from consentry.schemas.policy_file import read_policy
from oracles.dying_process import dying_process
from oracles.list_topic import ListTopic
from oracles.needles import contents, leaks
from oracles.redacted_shop import DAY, HOUR, NOW, SUBJECTS, RedactedShop, record

PERSON = SUBJECTS[2]
WATCHED = ("stream_rewrite.py", "streams/journal.py", "streams/output.py", "stream_publication.py")
STRIDE = 7 if os.environ.get("CONSENTRY_SOAK") else 331


class Nobody:
    def epoch(self, report: Any) -> None:
        pass

    def failed(self, failure: PrivacyError, pause: float) -> None:
        pass


class StreamedShop(RedactedShop):
    """A shop whose output is a stream's."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.topic = ListTopic("orders", 2)

    def send(self, records: list[dict[str, Any]]) -> None:
        self.topic.put(*records)

    def stream(self, now: int = NOW) -> None:
        policy = read_policy(self.project.policy)
        maker = ReaderOptions(MessageFormat.JSON).maker(policy, policy.datasets["orders"])
        run_stream(
            self.project,
            StreamOptions(dataset="orders", out=str(self.out), patient=False),
            source=MessageSource(self.topic, maker),
            consents=ListTopic("consents"),
            observer=Nobody(),
            stop=threading.Event(),
            until_idle=True,
            clock=lambda: now,
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StreamedShop:
    shop = StreamedShop(tmp_path_factory.mktemp("streamed"))
    chance = random.Random(4)
    shop.say(*((each, purpose, "granted", NOW - 200 * DAY) for each in SUBJECTS for purpose in ("support", "news")))
    shop.send([record(chance, number) for number in range(40)])
    shop.stream()
    shop.send([record(chance, number) for number in range(40, 60)])
    shop.stream()
    return shop


@pytest.fixture
def shop(made: StreamedShop, tmp_path: Path) -> StreamedShop:
    return copied(made, tmp_path / "place")


def copied(made: StreamedShop, place: Path) -> StreamedShop:
    shutil.copytree(made.place, place)
    shop = StreamedShop(place)
    shop.topic = copy.deepcopy(made.topic)
    return shop


def test_a_stopped_stream_is_redacted_and_goes_on(shop: StreamedShop) -> None:
    assert shop.failed() == [] and not shop.redact().changed
    before = shop.manifest()
    shop.say(*((each, "support", "withdrawn", NOW - 200 * DAY) for each in SUBJECTS[:4]))
    report = shop.redact(now=NOW + HOUR)
    assert shop.failed() == [] and report.manifest == shop.manifest()
    assert report.manifest.removed == {"values_no_permission": report.removed["values_no_permission"]}
    assert report.manifest.ledger_position > before.ledger_position and report.manifest.books == before.books
    shop.topic.put(record(random.Random(9), 70), partition=1)
    shop.stream(NOW + 2 * HOUR)
    assert shop.failed() == [] and shop.manifest().books.out == before.books.out + 1
    assert shop.manifest().removed == report.manifest.removed
    assert not shop.redact(now=NOW + 3 * HOUR).changed


def test_a_person_is_erased_from_the_output_of_a_stream(shop: StreamedShop) -> None:
    before = shop.manifest()
    options = EraseOptions(outputs=(str(shop.out),), hold=False)
    certificate = erase_subject(shop.project, PERSON, options, clock=lambda: NOW + HOUR)
    assert shop.failed() == []
    books = shop.manifest().books
    assert books.dropped > before.books.dropped and books.in_ == before.books.in_
    assert certificate.outputs[0].rows == books.out
    assert leaks([PERSON], contents(shop.place)) == []
    shop.topic.put({**record(random.Random(9), 71), "customer": {"id": PERSON}}, partition=1)
    shop.stream(NOW + 2 * HOUR)
    assert shop.manifest().books.out == books.out, "a later record of theirs is dropped"


def test_a_stream_that_runs_is_refused(shop: StreamedShop) -> None:
    with open_stream_output(str(shop.out)), pytest.raises(OutputError, match="another stream writes to it"):
        shop.redact()


def test_an_epoch_that_is_open_is_taken_anew_with_the_consents_of_then(shop: StreamedShop) -> None:
    shop.topic.put({**record(random.Random(9), 72), "customer": {"id": PERSON}}, partition=1)
    with open_journal(shop.out / "_stream" / "journal.db") as journal:
        last = journal.last()
        assert last is not None
        journal.begin(replace(last[0], number=last[0].number + 1))
    options = EraseOptions(outputs=(str(shop.out),), hold=False)
    erase_subject(shop.project, PERSON, options, clock=lambda: NOW + HOUR)
    with open_journal(shop.out / "_stream" / "journal.db") as journal:
        after = journal.last()
        assert after is not None and after[0].number == last[0].number


def test_an_output_that_is_not_what_the_journal_knows_is_refused(shop: StreamedShop) -> None:
    with open_journal(shop.out / "_stream" / "journal.db") as journal, journal._database.writing() as connection:
        connection.execute("DELETE FROM files WHERE path = (SELECT min(path) FROM files)")
    with pytest.raises(IntegrityError, match="not of the state that the stream remembers"):
        shop.redact()


def test_a_rewriting_that_is_killed_is_shown_later_or_was_not(made: StreamedShop, tmp_path: Path) -> None:
    line, died = 1, 0
    with dying_process(*WATCHED) as process:
        while True:
            shop = copied(made, tmp_path / "place")
            rows = shop.manifest().books.out
            shop.say((PERSON, "support", "withdrawn", NOW - 200 * DAY))
            killed = process.do(line, shop.config, shop.out, NOW + HOUR)
            shop.redact(now=NOW + HOUR)
            assert shop.failed() == [] and shop.manifest().books.out == rows == len(shop.rows())
            shutil.rmtree(shop.place)
            if not killed:
                break
            died += 1
            line += STRIDE
    assert died > 2

"""The command line of streams on engines: what it refuses, and a short real run from launch to a closed output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from consentry.pipelines.engines.settings import EngineSettings
from consentry.pipelines.scaffold import write_project
from oracles.engine_shop import CARD_PATH
from oracles.shop_commands import Done, process
from oracles.shop_commands import run as consentry
from oracles.stream_oracle import Rules, card_number, policy_text
from oracles.topic_reader import messages_of
from servers.apache_kafka import ApacheKafka, apache_kafka
from servers.availability import Server, require
from servers.prism import prism_arguments

NOW = 1_793_000_000_000_000
BASES = {"delivery": "contract", "support": "consent"}
RULES = Rules(BASES, None, {"customer": ["support"], "card": ["support"]}, ["support"])
SUBJECTS = [f"canary-c-{number}" for number in range(6)]
CARDS = [card_number(number) for number in range(6)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_project(tmp_path / "shop", tenant="shop", now=NOW)
    roles = "roles: {agent: {purposes: [support]}}\n"
    (tmp_path / "shop/policy.yaml").write_text(
        policy_text(RULES, CARD_PATH).replace("domain: card,", "domain: card, see: {agent: full},") + roles
    )
    return tmp_path


def in_shop(shop: Path, *arguments: str | Path) -> Done:
    return consentry(*arguments, cwd=shop / "shop")


def stream(shop: Path, *options: str) -> Done:
    return in_shop(shop, "stream", "--dataset", "orders", "--out", shop / "out", *options)


KAFKA = ("--from", "kafka://127.0.0.1:1/orders", "--runner", "PrismRunner")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((*KAFKA, "--metrics", "127.0.0.1:1"), "--metrics: is of streams on one machine"),
        ((*KAFKA, "--until-idle"), "--until-idle: is of streams on one machine"),
        ((*KAFKA, "--format", "avro"), "--format avro: is of streams on one machine"),
        (("--from", "dir://.", "--runner", "PrismRunner"), "--from: an engine reads kafka://HOST:PORT/TOPIC"),
        ((*KAFKA, "--consents", "dir://."), "--consents: an engine reads kafka://HOST:PORT/TOPIC"),
        ((*KAFKA, "--consents", "pubsub://shop-eu/said"), "--consents: of the engines only Dataflow reads pubsub://"),
        ((*KAFKA, "--consents", "pubsub://p/s"), "pubsub://: write pubsub://PROJECT/SUBSCRIPTION"),
        (("--from", "kafka://ann:secret@b/o", "--runner", "PrismRunner"), "a user or password in it is refused"),
        (("--from", "kafka://127.0.0.1:1/o", "--runner", "FnApiRunner"), "leave --runner out for one machine"),
        ((*KAFKA, "--dataset", "parcels"), "the policy has no dataset 'parcels'"),
        ((*KAFKA, "--shards", "100"), "--shards"),
        ((*KAFKA, "--wait", "-1"), "--wait"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(shop: Path, options: tuple[str, ...], says: str) -> None:
    found = stream(shop, *options)
    assert found.code == 2
    assert says in found.said
    assert "secret" not in found.said
    assert not (shop / "out").exists()


def settle(out: Path, **changes: Any) -> None:
    """What a launch leaves in an output before anything is published."""
    settings = EngineSettings(
        run="engine-1", tenant="shop", dataset="orders", source="kafka:orders", lanes=1, shards=16, key_version=1,
        key_versions={"token": 1}, started_at=NOW, fields={},
    )  # fmt: skip
    (out / "_stream").mkdir(parents=True)
    (out / "_stream/engine.json").write_text(json.dumps({**asdict(settings), **changes}))


def test_an_output_of_which_nothing_is_published_is_not_closed(shop: Path) -> None:
    settle(shop / "out")
    found = in_shop(shop, "stream", "close", shop / "out")
    assert (found.code, "the stream has published nothing" in found.said) == (2, True)
    assert not json.loads((shop / "out/_stream/engine.json").read_text())["closed"]
    sealed = in_shop(shop, "stream", "seal", shop / "out", "--json")
    assert (sealed.code, sealed.json()) == (0, None)
    assert "nothing is published yet" in in_shop(shop, "stream", "seal", shop / "out").said


@pytest.mark.parametrize("command", ["seal", "close"])
def test_what_is_no_output_of_an_engine_is_refused_and_left_as_it_was(shop: Path, command: str) -> None:
    found = in_shop(shop, "stream", command, shop / "nowhere")
    assert (found.code, "is no output of `consentry stream --runner`" in found.said) == (2, True)
    assert not (shop / "nowhere").exists()
    (shop / "mine").mkdir()
    assert in_shop(shop, "stream", command, shop / "mine").code == 2
    assert not list((shop / "mine").iterdir())


def test_a_stream_on_one_machine_and_one_on_an_engine_do_not_take_each_others_output(shop: Path) -> None:
    settle(shop / "out")
    (shop / "inbox").mkdir()
    found = stream(shop, "--from", f"dir://{shop / 'inbox'}", "--until-idle")
    assert found.code == 2, found.err
    assert "a stream on an engine wrote it; go on with --runner, or name a new --out" in found.said
    assert not (shop / "out/_stream/journal.db").exists()


# ---- a run


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    require(Server.APACHE_KAFKA)
    require(Server.PRISM)
    with apache_kafka(tmp_path_factory.mktemp("kafka")) as found:
        yield found


def produce(broker: ApacheKafka, topic: str, *values: Any) -> None:
    admin = AdminClient({"bootstrap.servers": broker.address})
    for made in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        made.result()
    producer = Producer({"bootstrap.servers": broker.address})
    for place, value in enumerate(values):
        producer.produce(topic, value if isinstance(value, bytes) else json.dumps(value).encode(), partition=place % 2)
    producer.flush()


def rows(out: Path) -> dict[int, Any]:
    found = [row for path in out.glob("data/*/*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    assert len({row["number"] for row in found}) == len(found)
    return {row["number"]: row for row in found}


def test_a_stream_is_launched_sealed_closed_and_then_an_output_like_any_other(shop: Path, broker: ApacheKafka) -> None:
    event = {"purpose": "support", "decision": "granted", "effective_at": "2025-01-01T00:00:00Z", "source": "form"}
    produce(broker, "cli-consents", *({"subject": subject, **event} for subject in SUBJECTS[:4]))
    orders = [
        {"number": place, "customer": subject, "placed_at": "2026-01-01T00:00:00Z", "payment": {"card": card}}
        for place, (subject, card) in enumerate(zip(SUBJECTS, CARDS, strict=True))
    ]
    produce(broker, "cli-orders", *orders, b'{"card": "' + CARDS[0].encode())
    out = shop / "out"
    launched = process(
        "stream", "--dataset", "orders", "--out", out, "--from", f"kafka://{broker.address}/cli-orders",
        "--consents", f"kafka://{broker.address}/cli-consents", "--shards", "4", "--wait", "4", "--for", "20",
        *prism_arguments(), cwd=shop / "shop",
    )  # fmt: skip
    assert launched.code == 0, launched.err
    assert "Ended; the same command goes on from here" in launched.said
    found = rows(out)
    assert sorted(found) == list(range(6))
    tokens = {number: row["payment"]["card"] for number, row in found.items() if row["payment"]["card"] != "[redacted]"}
    assert sorted(tokens) == [0, 1, 2, 3]
    canaries = [each.encode() for each in (*SUBJECTS, *CARDS)]
    everything = launched.err.encode() + b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert not [canary for canary in canaries if canary in everything]

    # Nothing else touches it while the stream may go on.
    for command in (("redact", out), ("retokenize", out), ("dead-letters", "replay", out)):
        refused = in_shop(shop, *command)
        assert refused.code == 2, (command, refused.err)
        assert "a stream on an engine writes it; stop the job, then `consentry stream close" in refused.said
    erased = in_shop(shop, "subject", "erase", "--subject", SUBJECTS[5], "--outputs", out, "--yes")
    assert (erased.code, "a stream on an engine writes it; stop the job" in erased.said) == (2, True), erased.err
    sealed = in_shop(shop, "stream", "seal", out, "--json")
    assert sealed.json()["books"] == {"in": 7, "out": 6, "dropped": 0, "dead_lettered": 1}
    assert in_shop(shop, "verify", out).code == 0

    assert in_shop(shop, "stream", "close", out).code == 0
    assert in_shop(shop, "stream", "close", out).code == 0
    assert in_shop(shop, "verify", out).code == 0
    again = stream(shop, "--from", f"kafka://{broker.address}/cli-orders", "--runner", "PrismRunner", "--shards", "4")
    assert (again.code, "of this output has ended; name a new --out" in again.said) == (2, True)
    who = ("--purpose", "support", "--role", "agent", "--actor", "kim")
    detokenized = in_shop(shop, "detokenize", "card", tokens[0], *who)
    assert CARDS[0] in detokenized.out, detokenized.err

    withdrawal = {**event, "subject": SUBJECTS[0], "decision": "withdrawn", "effective_at": "2026-02-01T00:00:00Z"}
    (shop / "late.jsonl").write_text(json.dumps(withdrawal) + "\n")
    assert in_shop(shop, "consent", "import", shop / "late.jsonl").code == 0
    redacted = in_shop(shop, "redact", out)
    assert redacted.code == 0, redacted.err
    assert rows(out)[0]["payment"]["card"] == "[redacted]"
    assert rows(out)[1] == found[1]
    assert in_shop(shop, "verify", out).code == 0
    # What was rewritten is not what the shards had published: signing that again would undo it.
    assert in_shop(shop, "stream", "seal", out).code == 2
    assert in_shop(shop, "stream", "close", out).code == 0
    assert in_shop(shop, "dead-letters", "replay", out).code == 0
    assert in_shop(shop, "retokenize", out).code == 0
    assert in_shop(shop, "subject", "erase", "--subject", SUBJECTS[1], "--outputs", out, "--yes").code == 0
    assert rows(out)[1]["payment"]["card"] == "[redacted]"
    assert in_shop(shop, "verify", out).code == 0


def test_a_stream_whose_output_is_a_topic_is_launched_sealed_verified_and_closed(
    shop: Path, broker: ApacheKafka
) -> None:
    event = {"purpose": "support", "decision": "granted", "effective_at": "2025-01-01T00:00:00Z", "source": "form"}
    produce(broker, "topic-consents", *({"subject": subject, **event} for subject in SUBJECTS[:4]))
    orders = [
        {"number": place, "customer": subject, "placed_at": "2026-01-01T00:00:00Z", "payment": {"card": card}}
        for place, (subject, card) in enumerate(zip(SUBJECTS, CARDS, strict=True))
    ]
    produce(broker, "topic-orders", *orders, b'{"card": "' + CARDS[0].encode())
    produce(broker, "topic-out")
    out = f"kafka://{broker.address}/topic-out"
    launch = (
        "stream", "--dataset", "orders", "--out", out, "--from", f"kafka://{broker.address}/topic-orders",
        "--consents", f"kafka://{broker.address}/topic-consents", "--shards", "4", "--wait", "4", "--for", "20",
        *prism_arguments(),
    )  # fmt: skip
    launched = process(*launch, cwd=shop / "shop")
    assert launched.code == 0, launched.err
    found = {row["number"]: row for row in map(json.loads, values_of(broker, "topic-out"))}
    assert sorted(found) == list(range(6))
    tokens = {number: row["payment"]["card"] for number, row in found.items() if row["payment"]["card"] != "[redacted]"}
    assert sorted(tokens) == [0, 1, 2, 3]
    topics = [value for end in ("", ".dead-letters", ".books") for value in values_of(broker, f"topic-out{end}")]
    everything = launched.err.encode() + b"".join(topics)
    assert not [each for each in (*SUBJECTS, *CARDS) if each.encode() in everything]

    sealed = in_shop(shop, "stream", "seal", out, "--json")
    assert sealed.json()["books"] == {"in": 7, "out": 6, "dropped": 0, "dead_lettered": 1}
    assert (sealed.json()["topic"], sealed.json()["files"]) == ("topic-out", [])
    verified = in_shop(shop, "verify", out, "--json")
    assert (verified.code, verified.json()["ok"]) == (0, True), verified.out
    who = ("--purpose", "support", "--role", "agent", "--actor", "kim")
    assert CARDS[0] in in_shop(shop, "detokenize", "card", tokens[0], *who).out

    listed = in_shop(shop, "dead-letters", "list", out, "--json")
    (letter,) = listed.json()["letters"]
    assert (letter["stage"], letter["reason"], letter["access"]) == ("read", "invalid_json", "openable"), listed.out
    shown = in_shop(shop, "dead-letters", "show", out, letter["id"], "--json")
    assert (shown.json()["holds"], CARDS[0] in shown.said + shown.out) == ("a line that is no record", False), shown.err

    # Whatever rewrites files says that there are none, and an erasure says that a topic is left.
    for command in (("redact", out), ("retokenize", out), ("dead-letters", "replay", out), ("verify", out, "--scan")):
        refused = in_shop(shop, *command)
        assert refused.code == 2, (command, refused.err)
        assert "kafka://" in refused.said or "a topic has none" in refused.said, (command, refused.said)
    assert out in in_shop(shop, "outputs", "list").out.replace("\n", "")
    erased = in_shop(shop, "subject", "erase", "--subject", SUBJECTS[1], "--yes", "--json")
    assert erased.code == 0, erased.err
    assert "topic-out" in erased.out

    assert in_shop(shop, "stream", "close", out).code == 0
    assert in_shop(shop, "stream", "close", out).code == 0
    assert in_shop(shop, "verify", out).code == 0
    again = in_shop(shop, *launch)
    assert (again.code, "has ended; name a new --out" in again.said) == (2, True), again.err
    assert in_shop(shop, "stream", "seal", out).code == 2

    check_what_strangers_send(shop, broker, out)


def check_what_strangers_send(shop: Path, broker: ApacheKafka, out: str) -> None:
    """Sends to the topics of a stream that has ended, deletes from them, and looks what commands say of it."""
    producer = Producer({"bootstrap.servers": broker.address})
    # A letter that was sent again is one letter, and what is none is told where it is.
    letters = "topic-out.dead-letters"
    (sent,) = messages_of(broker.address, letters)
    producer.produce(letters, sent.value, sent.key)
    others = [b"", b"{", b"[]", b'{"sealed":"AAAA"}', b'{"sealed":1}']
    for wrong in ({"position": "x"}, {"stage": None}):
        others.append(json.dumps({**json.loads(sent.value), **wrong}).encode())
    for value in others:
        producer.produce(letters, value, b"forged")
    producer.flush()
    listed = in_shop(shop, "dead-letters", "list", out, "--json")
    assert listed.json()["total"] == 1
    assert f"{len(others)} messages are no dead letters, the first at {letters}/" in listed.err

    # One that is there twice, and one that is gone.
    (first, *_) = messages_of(broker.address, "topic-out")
    producer.produce("topic-out", first.value, first.key)
    producer.flush()
    told = in_shop(shop, "verify", out, "--json")
    assert told.code == 1
    assert "1 are not what the stream sent there; the first is at topic-out/" in told.out
    assert "1 are there twice" in told.out
    ends = [TopicPartition("topic-out.dead-letters", number, OFFSET_END) for number in range(2)]
    admin = AdminClient({"bootstrap.servers": broker.address})
    for gone in admin.delete_records(ends).values():
        gone.result(60)
    told = in_shop(shop, "verify", out, "--json")
    assert "1 of 1 are gone; see to the retention of the topic" in told.out, told.said


def values_of(broker: ApacheKafka, topic: str) -> list[bytes]:
    return [message.value for message in messages_of(broker.address, topic, committed=not topic.endswith("books"))]


def test_a_topic_is_no_output_of_a_stream_on_one_machine(shop: Path) -> None:
    found = in_shop(shop, "stream", "--dataset", "orders", "--from", "dir://.", "--out", "kafka://127.0.0.1:1/out")
    assert (found.code, "--runner" in found.said) == (2, True), found.err


@pytest.mark.parametrize("command", ["seal", "close"])
def test_a_topic_without_books_is_no_output(shop: Path, broker: ApacheKafka, command: str) -> None:
    found = in_shop(shop, "stream", command, f"kafka://{broker.address}/nothing-there")
    assert (found.code, "is no output of `consentry stream --runner`" in found.said) == (2, True), found.err


def test_what_follows_the_name_of_a_command_is_its_own_also_where_it_names_a_runner(tmp_path: Path) -> None:
    rest = ("--", "env", "--runner=PortableRunner", "--parallelism=2")
    done = consentry("stream", "watch", "--flink", "http://127.0.0.1:9", "--job", "orders", *rest, cwd=tmp_path)
    assert (done.code, "http://127.0.0.1:9" in done.err) == (3, True), done.err

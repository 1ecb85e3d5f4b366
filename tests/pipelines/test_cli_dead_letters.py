"""People see which letters there are and what to do about each, and never a value of one."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.letter_reasons import is_known, meaning_of
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA
from consentry.schemas.vocabulary import InvalidReason
from consentry.transforms import consent_decision, protection, treatment
from oracles.shop_commands import BROKEN, Shop, order, process, write_lines

ROOT = Path(__file__).parent.parent.parent
ROOMS = ("schemas", "transforms", "pipelines")
NAMED_BY_A_VALUE = "5425233430109903"
VALUES = (
    "kim0@example.com",
    "4111111111111111",
    "coupon-kanarie",
    NAMED_BY_A_VALUE,
    "1985-08-11",
    "o-6",
    "ann@post.example",
)
DEAD_LETTER = ("on_drift: drop ", "on_drift: dead_letter ")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("letters"))
    assert process("init", shop.folder).code == 0
    _change(shop, DEAD_LETTER)
    coupon = {"code": "coupon-kanarie", NAMED_BY_A_VALUE: 1, "ann@post.example": [True]}
    strange = order(6, coupon=coupon)
    write_lines(shop.orders, [order(0), strange, order(7, placed_at="soon"), BROKEN, order(8, placed_at="later")])
    assert shop.protect().code == 0
    return shop


def _change(shop: Shop, *changes: tuple[str, str]) -> None:
    policy = shop.folder / "policy.yaml"
    text = policy.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    policy.write_text(text)


@pytest.fixture
def shop(made: Shop, tmp_path: Path) -> Shop:
    shutil.copytree(made.place, tmp_path / "place")
    return Shop(tmp_path / "place")


def letters(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.run("dead-letters", "list", shop.out, "--json").json()["letters"]
    return found


def test_the_list_counts_by_stage_reason_and_source_and_tells_until_when(shop: Shop) -> None:
    done = shop.run("dead-letters", "list", shop.out, "--json")
    document = done.json()
    assert done.code == 0 and (document["total"], document["openable"]) == (4, 4)
    groups = {(each["stage"], each["reason"]): each for each in document["groups"]}
    assert {key: each["letters"] for key, each in groups.items()} == {
        ("decide", "event_time_invalid"): 2, ("protect", "undeclared_field"): 1, ("read", "invalid_json"): 1,
    }  # fmt: skip
    for each in groups.values():
        assert each["source"].endswith("orders.jsonl") and each["openable"] == each["letters"]
        assert each["oldest"] <= each["newest"] < each["until"]
    said = shop.run("dead-letters", "list", shop.out)
    assert "4 dead letters" in said.out and "event_time_invalid" in said.out


def test_an_id_is_the_begin_of_the_hash_of_the_seal(shop: Shop) -> None:
    sealed = [row["sealed"] for path in shop.out.glob("dead_letters/*") for row in pq.read_table(path).to_pylist()]
    assert sorted(each["id"] for each in letters(shop)) == sorted(
        hashlib.sha256(seal).hexdigest()[:12] for seal in sealed
    )


def test_the_list_needs_no_key(shop: Shop) -> None:
    (shop.folder / "kek.key").unlink()
    assert len(letters(shop)) == 4
    assert shop.run("dead-letters", "show", shop.out, letters(shop)[0]["id"]).code == 2


def test_a_letter_is_shown_with_its_fields_and_what_to_do_but_no_value(shop: Shop) -> None:
    one = next(each for each in letters(shop) if each["reason"] == "undeclared_field")
    done = shop.run("dead-letters", "show", shop.out, one["id"], "--json")
    document = done.json()
    assert done.code == 0 and document["position"] == 2 and document["dataset"] == "orders"
    assert document["says"] == meaning_of("protect", "undeclared_field").says and "replay DIR" in document["next"]
    shape = {each["path"]: each["type"] for each in document["shape"]}
    assert shape["customer.email"] == "text" and shape["items[].quantity"] == "number"
    assert "payment.card.cvv" not in shape, "what the policy drops was never sealed"
    assert shape["coupon.code"] == "text" and shape["coupon.(hidden)[]"] == "boolean"
    told = done.out + shop.run("dead-letters", "show", shop.out, one["id"]).out
    assert [value for value in VALUES if value in told] == []


def test_a_line_that_is_no_record_is_shown_without_it(shop: Shop) -> None:
    one = next(each for each in letters(shop) if each["reason"] == "invalid_json")
    document = shop.run("dead-letters", "show", shop.out, one["id"], "--json").json()
    assert (document["holds"], document["shape"]) == ("a line that is no record", None)


def test_no_replay_is_promised_for_a_number_that_no_column_can_hold(shop: Shop) -> None:
    huge = json.dumps(order(2)).replace('"price": 1.5', '"price": 1e400')
    write_lines(shop.orders, [order(0), order(1), huge, json.dumps(order(3)).replace("1.5", "9" * 30)])
    assert shop.protect("--replace").code == 0
    found = [each for each in letters(shop) if each["reason"] == "number_out_of_range"]
    assert len(found) == 2
    for each in found:
        document = shop.run("dead-letters", "show", shop.out, each["id"], "--json").json()
        assert "replay DIR" not in document["next"] and "send the record again" in document["next"]
    report = shop.run("dead-letters", "replay", shop.out, "--json").json()
    assert report["recovered"] == 0


@pytest.mark.parametrize(("stage", "reason"), [("read", "wrong_type"), ("protect", "not_digits")])
def test_a_letter_without_a_record_is_for_its_producer_whatever_its_reason(stage: str, reason: str) -> None:
    meaning = meaning_of(stage, reason)
    assert "replay DIR" in meaning.next_of(holds_record=True)
    assert "replay DIR" not in meaning.next_of(holds_record=False)


def test_a_reason_that_there_is_not_is_wrong_use_and_told_beside_those_there_are(shop: Shop) -> None:
    before = (shop.out / "manifest.json").read_bytes()
    done = shop.run("dead-letters", "replay", shop.out, "--reason", "nope")
    assert done.code == 2 and "--reason: there is no such reason; write one of: checksum_failed, " in done.said
    assert "undeclared_field" in done.said and (shop.out / "manifest.json").read_bytes() == before
    assert shop.run("dead-letters", "replay", shop.out, "--reason", "wrong_length", "--json").json()["tried"] == 0


@pytest.mark.parametrize(
    ("letter", "said"), [("ffffffffffff", "no such dead letter"), ("abc", "write 12 hexadecimal digits")]
)
def test_an_unknown_id_is_wrong_use(shop: Shop, letter: str, said: str) -> None:
    done = shop.run("dead-letters", "show", shop.out, letter)
    assert done.code == 2 and said in done.said


def test_an_ambiguous_id_is_told_with_more_digits(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("letters", "letter_listing"):
        monkeypatch.setattr(import_module(f"consentry.pipelines.{module}"), "ID_DIGITS", 0)
    done = shop.run("dead-letters", "show", shop.out, "")
    assert done.code == 2 and "is ambiguous; write more digits of one of" in done.said


def test_a_changed_letter_is_refused(shop: Shop) -> None:
    path = min(shop.out.glob("dead_letters/*"))
    table = pq.read_table(path).to_pylist()
    table[0]["reason"] = "too_deep"
    pq.write_table(pa.Table.from_pylist(table, schema=DEAD_LETTER_SCHEMA), path)
    done = shop.run("dead-letters", "list", shop.out)
    assert done.code == 3 and "was changed since it was written" in done.said


def test_a_file_that_the_manifest_does_not_list_is_not_read(shop: Shop) -> None:
    path = next(iter(shop.out.glob("dead_letters/*")))
    shutil.copy(path, path.with_name("part-mine.parquet"))
    assert len(letters(shop)) == 4


def test_what_is_no_output_is_wrong_use(shop: Shop) -> None:
    for command in (("list", shop.place), ("show", shop.place, "0" * 12), ("replay", shop.place), ("list", "nowhere")):
        assert shop.run("dead-letters", *command).code == 2


def test_a_replay_tells_its_books_in_one_document(shop: Shop) -> None:
    _change(shop, (DEAD_LETTER[1], DEAD_LETTER[0]))
    done = shop.process("dead-letters", "replay", shop.out, "--at", "2026-06-01T00:00:00Z", "--json")
    document = done.json()
    counted = {name: document[name] for name in ("changed", "tried", "recovered", "failed", "skipped", "closed")}
    assert counted == {"changed": True, "tried": 3, "recovered": 1, "failed": 2, "skipped": 1, "closed": 0}
    assert document["manifest"] == json.loads((shop.out / "manifest.json").read_bytes())
    assert shop.run("verify", shop.out).code == 0
    assert [value for value in VALUES if value in done.out + done.err] == []
    again = shop.run("dead-letters", "replay", shop.out)
    assert again.code == 0 and "Nothing changed" in again.said


def test_a_replay_that_is_refused_names_the_field_and_what_to_do(shop: Shop) -> None:
    _change(shop, ("order_id: keep", "order_id: customer_id"))
    done = shop.run("dead-letters", "replay", shop.out)
    assert done.code == 2 and "field order_id" in done.said and "protect the inputs anew" in done.said
    assert shop.run("dead-letters", "replay", "gs://bucket/out").code == 2


def test_config_may_stand_before_the_command(shop: Shop) -> None:
    assert process("dead-letters", "--config", shop.config, "list", shop.out).code == 0


def faults() -> list[tuple[str, str]]:
    """Every reason that the sources of the project can give, by stage: enumerations of faults, constants, literals."""
    found = [("protect", reason.value) for reason in InvalidReason]
    found += [("decide", consent_decision.EVENT_TIME_INVALID), ("protect", treatment.CONTRADICTING)]
    found += [("protect", protection.UNDECLARED), ("protect", protection.NOTHING_DECLARED)]
    for path in sorted(each for room in ROOMS for each in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Fault"):
                name = ".".join(("consentry", *path.relative_to(ROOT).with_suffix("").parts))
                fault = getattr(import_module(name), node.name)
                assert issubclass(fault, StrEnum)
                found += [("read", each.value) for each in fault]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FaultyError":
                found += [("consent", each.value) for each in node.args[1:] if _is_code(each)]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("RejectedLine", "UnusableRecord"):
                given = next((word.value for word in node.keywords if word.arg == "reason"), None)
                found += [("build", each.value) for each in ast.walk(given or node) if _is_code(each)]
    return sorted(set(found))


def _is_code(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()


def test_the_search_for_reasons_finds_those_of_every_stage() -> None:
    assert {stage for stage, _ in faults()} == {"consent", "read", "build", "decide", "protect"} and len(faults()) > 30


@pytest.mark.parametrize(("stage", "reason"), faults())
def test_every_reason_that_the_product_gives_has_a_sentence_and_a_next_step(stage: str, reason: str) -> None:
    assert is_known(stage, reason)
    meaning = meaning_of(stage, reason)
    assert meaning.says.endswith(".") and meaning.next.endswith(".")


def test_a_reason_of_another_version_is_told_as_such() -> None:
    assert not is_known("read", "from_the_future")
    assert "no more" in meaning_of("read", "from_the_future").says

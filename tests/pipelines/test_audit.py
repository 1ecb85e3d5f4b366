"""The audit of inputs: what is sampled, what is found, how it is judged, and that no value gets out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.audit import run_audit
from consentry.pipelines.audit_names import (
    HIDDEN,
    is_told_field,
    looks_like_value,
    told_file,
    told_person,
)
from consentry.pipelines.audit_report import report_html
from consentry.pipelines.audit_sample import Sample, draw_sample, sampling_of
from consentry.pipelines.sources import plan_sources
from consentry.schemas.audit import Change, Reason, VerdictKind
from consentry.schemas.column_type import ColumnKind, ColumnType
from consentry.schemas.dataset import FieldPath
from consentry.schemas.errors import ConfigError, InputError
from consentry.schemas.policy import Policy
from consentry.schemas.policy_file import read_policy
from consentry.schemas.project import read_project
from consentry.transforms.detectors.column_types import column_type as real_column_type
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.audit_cases import CARDS, EMAILS, NOW, POLICY, ROWS, WORDS, at, audited, changed, project_of, table_of
from oracles.form_detector import column_type
from oracles.needles import leaks
from oracles.shop_commands import SUBJECTS, Shop


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Policy]:
    """Reads a text as a policy file."""

    def reading(text: str) -> Policy:
        path = tmp_path / "read.yaml"
        path.write_text(text, encoding="utf-8")
        return read_policy(path)

    return reading


def grouped_file(path: Path, rows: int, group: int, first: int = 0) -> Path:
    numbers = pa.array(range(first, first + rows), pa.int64())
    pq.write_table(pa.table({"n": numbers, "group": pa.array([path.stem] * rows)}), path, row_group_size=group)
    return path


def test_a_small_input_is_read_whole(tmp_path: Path) -> None:
    sample = draw_sample(plan_sources([str(grouped_file(tmp_path / "a.parquet", 1000, 100))]))
    assert (sample.complete, sample.drawn, sample.rows, sample.rows_exact) == (True, 1000, 1000, True)
    assert sampling_of(sample).says == ("Every one of the 1,000 rows was looked at.",)
    assert sampling_of(sample).missed_below == 0


def test_footers_tell_the_rows_of_what_is_only_sampled(tmp_path: Path) -> None:
    for number in range(4):
        grouped_file(tmp_path / f"f{number}.parquet", 20_000, 500, first=number * 20_000)
    sample = draw_sample(plan_sources([str(tmp_path)]), rows=2000)
    assert (sample.rows, sample.rows_exact, sample.complete) == (80_000, True, False)
    assert 1900 <= sample.drawn <= 2100
    assert (sample.parts, sample.parts_total) == (64, 160)


def test_the_sample_is_spread_over_all_files(tmp_path: Path) -> None:
    for number in range(4):
        grouped_file(tmp_path / f"f{number}.parquet", 20_000, 500, first=number * 20_000)
    sample = draw_sample(plan_sources([str(tmp_path)]), rows=2000)
    per_file = pa.Table.from_batches(sample.batches).group_by("group").aggregate([("n", "count")])
    assert sorted(per_file["group"].to_pylist()) == ["f0", "f1", "f2", "f3"]
    assert min(per_file["n_count"].to_pylist()) > 400


def test_the_same_seed_draws_the_same_rows_and_another_others(tmp_path: Path) -> None:
    sources = plan_sources([str(grouped_file(tmp_path / "a.parquet", 50_000, 5000))])
    one, same = (draw_sample(sources, rows=500).batches for _ in range(2))
    other = draw_sample(sources, rows=500, seed=1).batches
    assert one == same
    assert one != other


def test_lines_are_sampled_from_all_over_a_file_and_their_number_estimated(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,text\n" + "".join(f"{number},{'x' * 30}\n" for number in range(300_000)))
    sample = draw_sample(plan_sources([str(path)]), rows=3000)
    assert not sample.complete
    assert not sample.rows_exact
    assert 0.8 < sample.rows / 300_000 < 1.25
    assert 2500 <= sample.drawn <= 3000


@settings(max_examples=30, deadline=None)
@given(drawn=st.integers(1, 400_000), total=st.integers(1, 10**9))
def test_the_bounds_that_are_stated_hold(drawn: int, total: int) -> None:
    batches = (pa.record_batch({"n": pa.nulls(drawn)}),)
    sample = Sample(
        batches=batches, schema=batches[0].schema, rows=total, rows_exact=True, unreadable=0, parts=1, parts_total=2,
        complete=False,
    )  # fmt: skip
    stated = sampling_of(sample)
    assert stated.seen_with == pytest.approx(1 - 0.999**drawn, abs=2e-6)
    assert stated.seen_with < 1
    assert 1 - (1 - stated.missed_below) ** drawn == pytest.approx(0.95)


def test_a_value_in_one_row_of_a_hundred_is_found_in_a_sample(tmp_path: Path) -> None:
    texts = [EMAILS[0] if number % 100 == 7 else f"word {number}" for number in range(60_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=3000)
    made = audited(tmp_path / "a.parquet", rows=3000)
    assert at(made, "text").found.leaks[0].entity == "EMAIL"


def test_it_is_told_where_detection_judged_only_some_of_the_values(tmp_path: Path) -> None:
    def detect(values: pa.Array, header: str) -> ColumnType:
        return ColumnType(kind=ColumnKind.ORDINARY, sample=min(20, len(set(values.to_pylist()))))

    says = run_audit([str(table_of(tmp_path / "a.parquet", x=WORDS))], detect=detect, now=NOW).sampling.says
    assert says[1].startswith("In 1 of 3 columns")
    assert f"≥ {100 * (1 - 0.99**20):.2f}"[:-1] in says[1]
    assert len(audited(tmp_path / "a.parquet").sampling.says) == 1


def test_an_input_without_a_record_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,at\n")
    with pytest.raises(InputError, match="no record was found"):
        audited(tmp_path / "a.csv")


def test_lines_that_are_no_record_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n"\n{"n": 2}\n')
    inputs = audited(tmp_path / "a.jsonl").inputs
    assert (inputs.sampled, inputs.unreadable, inputs.rows) == (2, 1, 2)


def test_nested_paths_are_columns_of_their_own(tmp_path: Path) -> None:
    rows = [{"card": {"number": card}, "items": [{"sku": "A"}, {"sku": None}]} for card in CARDS]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = audited(tmp_path / "a.jsonl")
    assert [column.path for column in made.columns] == ["card.number", "items[].sku"]
    assert at(made, "card.number").found.entity == "CREDIT_CARD"
    volume = at(made, "items[].sku").volume
    assert (volume.places, volume.nulls, volume.distinct) == (2 * ROWS, ROWS, 1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([int(card) for card in CARDS], pa.int64()),
        pa.array([float(card) for card in CARDS], pa.float64()),
        pa.array([card.encode() for card in CARDS], pa.binary()),
        pa.array(CARDS).dictionary_encode(),
        pa.array(CARDS, pa.string_view()),
        pa.array([[card] for card in CARDS], pa.list_(pa.string())),
        pa.array([[("card", card)] for card in CARDS], pa.map_(pa.string(), pa.string())),
        pa.array([[(card, 1)] for card in CARDS], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda values: str(values.type),
)
def test_card_numbers_are_found_whatever_the_type_of_their_column(values: pa.Array, tmp_path: Path) -> None:
    made = audited(table_of(tmp_path / "a.parquet", x=values))
    assert "CREDIT_CARD" in {entity for column in made.columns for entity in column.found.entities}


@pytest.mark.parametrize(
    "kind", [pa.bool_(), pa.timestamp("ns", "UTC"), pa.duration("s"), pa.decimal128(21, 2), pa.date32(), pa.null()]
)
def test_columns_of_any_type_are_looked_at(kind: pa.DataType, tmp_path: Path) -> None:
    values = pa.nulls(ROWS, kind) if pa.types.is_null(kind) else pa.array([1] * ROWS, pa.int64())
    values = values.cast(pa.int32()) if pa.types.is_date32(kind) else values
    made = audited(table_of(tmp_path / "a.parquet", x=values.cast(kind)))
    assert at(made, "x").type == str(kind).replace("tz=UTC", "time zone")


def test_bytes_that_are_no_text_do_not_hide_what_stands_beside_them(tmp_path: Path) -> None:
    raw = [b"\xff\xfe " + card.encode() for card in CARDS]
    bad = pa.Array.from_buffers(pa.string(), ROWS, pa.array(raw, pa.binary()).buffers())
    made = audited(table_of(tmp_path / "a.parquet", x=bad, y=pa.array(raw, pa.binary())))
    for path in "xy":
        assert at(made, path).found.entities == ("CREDIT_CARD",)
    assert report_html(made)


def verdict(tmp_path: Path, field: str | None, policy: str = POLICY, **columns: Any) -> Any:
    """The verdicts of the last column as (kind, reason)."""
    project = project_of(tmp_path, *([f"x: {field}"] if field else []), policy=policy)
    column = at(audited(table_of(tmp_path / "a.parquet", **columns), project), "x")
    return [(str(each.verdict), None if each.reason is None else str(each.reason)) for each in column.verdicts]


def test_what_the_policy_does_is_told(tmp_path: Path) -> None:
    project = project_of(tmp_path, "x: card")
    made = audited(table_of(tmp_path / "a.parquet", x=CARDS), project)
    treatment = at(made, "x").treatment
    assert treatment is not None
    assert (treatment.info_type, treatment.action, treatment.collect) == ("card", "tokenize", ("fulfilment",))
    assert (treatment.distribute, dict(treatment.see)) == (("support",), {"agent": "full"})
    assert at(made, "id").treatment.role == "subject"  # type: ignore[union-attr]
    assert at(made, "at").treatment.role == "event_time"  # type: ignore[union-attr]
    assert [(purpose.name, purpose.collects) for purpose in made.purposes] == [
        ("fulfilment", ("id", "x")),
        ("support", ()),
    ]


CASES: dict[str, tuple[str | None, list[Any], list[tuple[str, str | None]]]] = {
    "a card that is declared so": ("card", CARDS, [("declared", None)]),
    "an undeclared card": (None, CARDS, [("undeclared", "sensitive")]),
    "an undeclared word": (None, WORDS, [("undeclared", "ordinary")]),
    "addresses declared as cards": ("card", EMAILS, [("contradicted", "other_entity")]),
    "words declared as cards": ("card", WORDS, [("contradicted", "does_not_fit")]),
    "cards that are kept": ("keep", CARDS, [("contradicted", "kept_in_clear"), ("not_needed", "no_purpose")]),
    "addresses made coarser": ("place", EMAILS, [("contradicted", "kept_in_clear")]),
    "two cards among words": (
        "keep",
        [*CARDS[:2], *WORDS[2:]],
        [("contradicted", "stray_values"), ("not_needed", "no_purpose")],
    ),
    "cards and addresses": (
        "place",
        [*CARDS[: ROWS // 2], *EMAILS[ROWS // 2 :]],
        [("contradicted", "kept_in_clear")],
    ),
    "words without a purpose": ("keep", WORDS, [("declared", None), ("not_needed", "no_purpose")]),
    "always the same": ("place", ["Paris"] * ROWS, [("declared", None), ("not_needed", "constant")]),
    "nothing": ("place", [None] * ROWS, [("declared", None), ("not_needed", "empty")]),
    "blanks": ("place", [" "] * ROWS, [("declared", None), ("not_needed", "empty")]),
    "cards that are dropped": ("drop", CARDS, [("declared", None)]),
    "cards that are redacted": ("redact", CARDS, [("declared", None)]),
    "cards in texts that are searched": ("note", [f"see {card}" for card in CARDS], [("declared", None)]),
    "an id of any form": ("customer_id", EMAILS, [("declared", None)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_column_is_judged(name: str, tmp_path: Path) -> None:
    field, values, expected = CASES[name]
    assert verdict(tmp_path, field, x=pa.array(values, pa.string())) == expected


def test_a_purpose_of_the_dataset_is_one_for_what_it_keeps(tmp_path: Path) -> None:
    policy = POLICY.replace("    fields:", "    collect: [fulfilment]\n    fields:")
    assert verdict(tmp_path, "keep", policy=policy, x=WORDS) == [("declared", None)]


def test_a_copy_is_told_and_the_declared_one_is_the_original(tmp_path: Path) -> None:
    project = project_of(tmp_path, "y: place")
    made = audited(table_of(tmp_path / "a.parquet", x=WORDS, y=WORDS, z=WORDS[::-1]), project)
    assert at(made, "x").verdict(VerdictKind.NOT_NEEDED).other == "y"  # type: ignore[union-attr]
    assert at(made, "y").verdict(VerdictKind.NOT_NEEDED) is None
    assert at(made, "z").verdict(VerdictKind.NOT_NEEDED) is None


def test_elements_of_lists_are_compared_within_their_list_only(tmp_path: Path) -> None:
    lists = pa.array([[{"a": word, "b": word}] for word in WORDS])
    made = audited(table_of(tmp_path / "a.parquet", x=lists, y=WORDS))
    assert at(made, "x[].b").verdict(VerdictKind.NOT_NEEDED).other == "x[].a"  # type: ignore[union-attr]
    assert at(made, "y").verdict(VerdictKind.NOT_NEEDED) is None


def test_subject_and_time_are_needed_whatever_they_hold(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    made = audited(table_of(tmp_path / "a.parquet", x=WORDS), project)
    assert at(made, "at").volume.distinct == 1
    assert at(made, "at").verdict(VerdictKind.NOT_NEEDED) is None


def test_a_dataset_that_the_policy_does_not_have_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dataset 'trips'"):
        audited(tmp_path / "missing.parquet", project_of(tmp_path), dataset="trips")


@pytest.mark.parametrize("indent", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_suggested_lines_can_be_put_in_as_they_are(
    name: str, indent: int, tmp_path: Path, read: Callable[[str], Policy]
) -> None:
    field, values, _ = CASES[name]
    fields = [f"x: {field}"] if field else []
    text = POLICY + "".join(f"      {line}\n" for line in fields)
    text = re.sub("^ +", lambda spaces: spaces[0] * (indent // 2), text, flags=re.MULTILINE)
    project = project_of(tmp_path, policy=text)
    column = at(audited(table_of(tmp_path / "a.parquet", x=pa.array(values, pa.string())), project), "x")
    suggestions = [line for each in column.verdicts for line in each.suggestions]
    if not suggestions:
        return
    policy = read(changed(text, suggestions))
    assert policy.datasets["orders"].rule_for(FieldPath(("x",))) is not None
    after = at(audited(tmp_path / "a.parquet", project_of(tmp_path, policy=changed(text, suggestions))), "x")
    assert after.verdict(VerdictKind.UNDECLARED) is None
    assert after.verdict(VerdictKind.CONTRADICTED) is None


def test_an_info_type_that_finds_the_entity_is_used_and_else_one_is_proposed(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    made = audited(table_of(tmp_path / "a.parquet", x=CARDS, mail=EMAILS), project)
    (line,) = at(made, "x").verdict(VerdictKind.UNDECLARED).suggestions  # type: ignore[union-attr]
    assert (line.place, line.lines) == ("datasets.orders.fields", "      x: card")
    kind, line = at(made, "mail").verdict(VerdictKind.UNDECLARED).suggestions  # type: ignore[union-attr]
    assert (kind.place, kind.lines) == (
        "info_types",
        "  email: {action: tokenize, format: email, domain: email, collect: [fulfilment], finds: [EMAIL]}",
    )
    assert line.lines == "      mail: email"


def test_raw_values_that_nobody_asked_for_need_no_vault(shop: Shop, read: Callable[[str], Policy]) -> None:
    shop.detokenize("email", shop.email_token(0), purpose="support", role="support_agent")
    project = read_project(shop.config)
    made = run_audit([str(shop.orders)], detect=column_type, now=NOW, project=project, dataset="orders")
    assert at(made, "customer.email").verdict(VerdictKind.NOT_NEEDED) is None
    unused = at(made, "payment.card.number").verdict(VerdictKind.NOT_NEEDED)
    assert unused is not None
    assert unused.reason is Reason.NEVER_DETOKENIZED
    text = changed(project.policy.read_text(), unused.suggestions)
    before, after = read(project.policy.read_text()).info_types["card"], read(text).info_types["card"]
    assert (after.distribute, dict(after.see)) == ((), {})
    assert after.model_dump(exclude={"distribute", "see"}) == before.model_dump(exclude={"distribute", "see"})


def test_an_empty_access_log_says_nothing_of_what_is_needed(shop: Shop) -> None:
    project = read_project(shop.config)
    made = run_audit([str(shop.orders)], detect=column_type, now=NOW, project=project, dataset="orders")
    assert made.accesses is not None
    assert made.accesses.entries == 0
    assert at(made, "payment.card.number").verdict(VerdictKind.NOT_NEEDED) is None


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_proposed_policy_is_sound_whatever_the_columns(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("proposal")
    names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
    kinds = st.sampled_from([CARDS, EMAILS, WORDS, [f"see {card}, it is new" for card in CARDS], [None] * ROWS])
    columns = data.draw(st.dictionaries(names, kinds, min_size=1, max_size=6))
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}),
                   folder / "a.parquet")  # fmt: skip
    made = audited(folder / "a.parquet")
    (proposal,) = made.proposal
    assert proposal.change is Change.CREATE
    project = project_of(folder, policy=proposal.lines + "\n")
    again = audited(folder / "a.parquet", project, dataset="records")
    named = {column.path for column in again.columns if "(" not in column.path}
    assert not [column.path for column in again.exposed if column.path in named]


def test_without_a_dataset_a_project_gets_a_declaration_that_fits_its_policy(
    tmp_path: Path, read: Callable[[str], Policy]
) -> None:
    made = audited(table_of(tmp_path / "a.parquet", x=CARDS), project_of(tmp_path), dataset=None)
    text = changed(POLICY, made.proposal)
    assert {str(path): rule for path, rule in read(text).datasets["records"].fields.items()} == {
        "id": "keep",
        "at": "keep",
        "x": "card",
    }


def test_the_access_log_is_told_by_purpose_role_actor_and_domain(shop: Shop) -> None:
    shop.detokenize("email", shop.email_token(0), purpose="support", role="support_agent", actor="ana")
    shop.detokenize("email", shop.email_token(5), purpose="support", role="support_agent", actor="ana")
    shop.detokenize("email", shop.email_token(0), purpose="support", role="support_agent", actor="4111111111111111")
    shop.detokenize("kim0@example.com", "x", purpose="kim1@example.com", role="kim2@example.com", actor="kim3")
    project = read_project(shop.config)
    made = run_audit([str(shop.orders)], detect=column_type, now=NOW, project=project, dataset="orders")
    assert made.accesses is not None
    counts = {(each.purpose, each.actor, each.domain, each.decision): each.count for each in made.accesses.counts}
    assert counts["support", "ana", "email", "allowed"] == 1
    assert counts["support", "ana", "email", "refused"] == 1
    assert counts["support", HIDDEN, "email", "allowed"] == 1
    assert sum(counts.values()) == made.accesses.entries == sum(day.allowed + day.refused for day in made.accesses.days)
    assert "example.com" not in str(made.accesses)
    support = next(purpose for purpose in made.purposes if purpose.name == "support")
    assert (support.allowed, support.refused) == (2, 1)


def test_consent_is_told_month_by_month_as_the_ledger_permits(shop: Shop) -> None:
    project = read_project(shop.config)
    made = run_audit([str(shop.orders)], detect=column_type, now=NOW, project=project, dataset="orders")
    assert made.coverage is not None
    assert (made.coverage.subjects, made.coverage.of) == (len(SUBJECTS), "sample")
    shares = {month.at[:10]: dict(month.permits) for month in made.coverage.months}
    assert shares["2026-02-01"] == {"support": 0.0, "analytics": 1.0}  # events take effect at nine o'clock
    assert shares["2026-03-01"] == {"support": 0.5, "analytics": 1.0}
    assert list(shares)[-1] == "2026-06-01"


def test_without_a_dataset_all_subjects_of_the_ledger_are_asked_about(shop: Shop) -> None:
    made = run_audit([str(shop.orders)], detect=column_type, now=NOW, project=read_project(shop.config))
    assert made.coverage is not None
    assert (made.coverage.subjects, made.coverage.of) == (3, "ledger")
    assert dict(made.coverage.months[-1].permits)["support"] == 1.0


def test_stores_that_cannot_be_opened_are_noted_and_the_rest_is_told(tmp_path: Path) -> None:
    made = audited(table_of(tmp_path / "a.parquet", x=CARDS), project_of(tmp_path, "x: card"))
    assert [note.split(" could")[0] for note in made.notes] == ["The access log", "The consent ledger"]
    assert made.accesses is made.coverage is None
    assert at(made, "x").verdict(VerdictKind.DECLARED) is not None


SECRETS = {
    "card": "4556737586899855",
    "spaced": "5425 2334 3010 9903",
    "mail": "zebulon.quux@example.org",
    "iban": "GB33BUKB20201555555555",
    "phone": "+44 7911 123456",
    "name": "Zebulon Quuxington",
    "secret": "sk_live_9aF3kLmQ0pXvB7",
}


def canary_rows() -> list[dict[str, Any]]:
    rows = []
    for number in range(60):
        secret = list(SECRETS.values())[number % len(SECRETS)]
        rows.append(
            {
                "plain": secret,
                **SECRETS,
                "note": f"Dear all, please call {secret} before noon or write",
                SECRETS["card"]: "header",
                SECRETS["mail"]: {"seen": number},
                "nested": {secret: {"count": 1}, "list": [{SECRETS["mail"]: secret}]},
            }
        )
    return rows


def telling(values: pa.Array, header: str) -> ColumnType:
    """A detector that tells what it must not."""
    said = column_type(values, header)
    texts = [text for text in values.to_pylist() if text][:3]
    return ColumnType(
        kind=said.kind, entity=said.entity, share=said.share, sample=said.sample, leaks=said.leaks,
        evidence=f"as in {texts[0] if texts else ''}", examples=tuple(texts),
    )  # fmt: skip


@pytest.mark.parametrize("detect", [column_type, telling, real_column_type])
@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_no_value_of_a_column_a_header_or_a_key_is_in_report_or_json(form: str, detect: Any, tmp_path: Path) -> None:
    folder = tmp_path / SECRETS["name"]
    folder.mkdir()
    path = folder / f"{SECRETS['mail']}.{form}"
    rows = canary_rows()
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "parquet":
        keyed = pa.array([[(row["plain"], row["plain"])] for row in rows], pa.map_(pa.string(), pa.string()))
        pq.write_table(pa.Table.from_pylist(rows).append_column("keyed", keyed), path)
    else:
        path.write_text("\n".join(",".join(SECRETS.values()) for _ in range(30)) + "\n")
    made = run_audit([str(path)], detect=detect, now=NOW)
    places = [("html", report_html(made).encode()), ("json", orjson.dumps(made.as_json()))]
    assert leaks(SECRETS.values(), places) == []


def test_a_header_that_is_a_first_record_hides_all_headers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Zebulon,kim@example.com\nAnn,ann@example.com\n")
    made = audited(tmp_path / "a.csv")
    assert [column.path for column in made.columns] == ["(column 1)", "(column 2)"]
    assert made.notes[0].startswith("2 of the names in the input could be values")
    assert made.columns[1].verdicts[0].suggestions == ()


def test_a_header_that_stands_among_its_values_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Zebulon,city\nAnn,Paris\nZebulon,Rome\n")
    assert [column.path for column in audited(tmp_path / "a.csv").columns][1] == "city"
    assert "Zebulon" not in str(audited(tmp_path / "a.csv"))


def test_what_the_policy_names_is_told_whatever_it_looks_like(tmp_path: Path) -> None:
    project = project_of(tmp_path, '"kim@example\\\\.com": keep')
    made = audited(table_of(tmp_path / "a.parquet", **{"kim@example.com": WORDS}), project)
    assert made.columns[-1].path == "kim@example\\.com"


def test_records_keyed_by_words_are_told_by_their_places(tmp_path: Path) -> None:
    rows = [{"total": 1, f"Quux{chr(97 + number % 12)}": {"count": 1}} for number in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = audited(tmp_path / "a.jsonl")
    assert [column.path for column in made.columns][:2] == ["total", "(column 2).count"]
    assert "Quux" not in str(made)


def test_what_looks_unmasked_is_not_shown_even_if_it_is_no_value(tmp_path: Path) -> None:
    def detect(values: pa.Array, header: str) -> ColumnType:
        return ColumnType(
            kind=ColumnKind.FREE_TEXT,
            evidence="as in 4111 1111 1111 1111",
            examples=("x@example.com", "kim@example.com"),
        )

    made = run_audit([str(table_of(tmp_path / "a.parquet", x=WORDS))], detect=detect, now=NOW)
    assert at(made, "x").found.evidence == ""
    assert at(made, "x").found.examples == ("x@example.com",)


def test_an_object_keyed_by_words_is_told_as_one(tmp_path: Path) -> None:
    names = [f"Quux{chr(97 + number)}" for number in range(12)]
    rows = [{"people": {names[number % 12]: {"count": 1}}} for number in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = audited(tmp_path / "a.jsonl")
    assert [column.path for column in made.columns] == ["people.(hidden).count", "people.(keys)"]
    assert "Quux" not in str(made)
    assert at(made, "people.(keys)").volume.distinct == 12


@given(st.from_regex(r"(\d[ -]?){7,19}|\w{1,12}@\w{1,12}\.(com|org)", fullmatch=True))
def test_names_that_are_numbers_or_addresses_are_never_told(value: str) -> None:
    assert looks_like_value(value)
    assert not is_told_field(value)
    assert value not in told_file(f"exports/{value}.csv")
    assert value not in told_person(value)


@pytest.mark.parametrize("kind", list(ColumnKind))
def test_every_kind_of_column_can_be_told(kind: ColumnKind, tmp_path: Path) -> None:
    def detect(values: pa.Array, header: str) -> ColumnType:
        return ColumnType(kind=kind, sample=len(values))

    made = run_audit([str(table_of(tmp_path / "a.parquet", x=WORDS))], detect=detect, now=NOW)
    assert report_html(made)

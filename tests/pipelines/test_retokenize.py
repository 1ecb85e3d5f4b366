"""An output moves to another key version as if it had been protected under it, and no token is orphaned on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import output_rewrite
from consentry.pipelines import retokenize as retokenize_module
from consentry.pipelines.retokenize import retokenize_output
from consentry.schemas.errors import ConfigError, RunError
from consentry.schemas.project import read_project
from consentry.schemas.text_tokens import text_tokens
from consentry.transforms.stores import vault as vault_module
from consentry.transforms.stores import vault_versions as versions_module
from oracles.needles import leaks
from oracles.shop_commands import AT, CARDS, PROGRAM, SUBJECTS, Done, Shop, event, order, write_lines

NOTE = "my card is {card}, mail kim{number}@example.com; see [card:1:77] and [[x"


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A shop whose orders have free text with cards and addresses in it, protected under version 1."""
    (shop.folder / "outputs.db").unlink()  # it knows the place that the shop was copied from
    write_lines(shop.orders, [noted(number) for number in range(24)])
    ok(shop.protect("--at", AT, "--replace"))
    return shop


def noted(number: int) -> dict[str, Any]:
    note = NOTE.format(card=CARDS[number % 6], number=number % 6)
    return order(number, items=[{"sku": "TEA", "quantity": 1, "price": 1.5, "gift_note": note}, {"sku": "CUP"}])


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done.err
    return done


def rotated(shop: Shop) -> Shop:
    ok(shop.run("keys", "rotate"))
    return shop


def table(out: Path) -> pa.Table:
    """All rows in order, with the metadata of fields."""
    parts = [pq.read_table(path) for path in sorted(out.glob("data/*.parquet"))]
    whole = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    return whole.sort_by("order_id").combine_chunks()


def tokens_in_texts(out: Path) -> set[tuple[str, int, str]]:
    notes = [item["gift_note"] for row in table(out).to_pylist() for item in row["items"] if item["gift_note"]]
    return {(each.info_type, each.key_version, each.token) for note in notes for each in text_tokens(note)}


def counts(shop: Shop) -> dict[tuple[str, int], int]:
    import sqlite3

    with sqlite3.connect(shop.folder / "vault.db") as connection:
        rows = connection.execute("SELECT domain, key_version, count(*) FROM entries GROUP BY 1, 2").fetchall()
    return {(domain, version): count for domain, version, count in rows}


def shown(shop: Shop, *subjects: int) -> list[str | None]:
    """The values of the cards' tokens as the output has them, for the customers."""
    return [
        shop.detokenize("card", shop.card_token(subject), subject=SUBJECTS[subject]).json()[0]["value"]
        for subject in subjects
    ]


def test_a_moved_output_is_that_of_a_run_under_the_new_version(shop: Shop) -> None:
    before = table(shop.out)
    rotated(shop)
    ok(shop.protect("--at", AT, out=shop.place / "fresh"))
    ok(shop.run("retokenize", shop.out))
    moved, fresh = table(shop.out), table(shop.place / "fresh")
    assert moved.schema.equals(fresh.schema, check_metadata=True)
    assert moved.equals(fresh)
    assert not moved.column("customer").equals(before.column("customer"))
    assert {version for _, version, _ in tokens_in_texts(shop.out)} == {2}
    ok(shop.run("verify", shop.out))


def test_values_come_back_from_the_new_tokens_and_the_old_entries_go(shop: Shop) -> None:
    values, before, old = shown(shop, 0, 1, 2), counts(shop), shop.card_token(0)
    rotated(shop)
    done = ok(shop.run("retokenize", shop.out, "--json")).json()
    assert shown(shop, 0, 1, 2) == values == list(CARDS[:3])
    assert counts(shop) == {(domain, 2): count for (domain, _), count in before.items()}
    total = sum(before.values())
    assert done["vault"] == {"copied": total, "dropped": total} and done["key_version"] == 2 and done["waiting"] == {}
    (gone,) = shop.detokenize("card", old, subject=SUBJECTS[0]).json()
    assert (gone["decision"], gone["rule"]) == ("refused", "no_entry")


def test_doing_it_again_changes_nothing(shop: Shop) -> None:
    rotated(shop)
    ok(shop.run("retokenize", shop.out))
    state = {path.name: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()}
    done = ok(shop.run("retokenize", shop.out, "--json")).json()
    assert done["vault"] == {"copied": 0, "dropped": 0}
    assert {path.name: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()} == state


def test_there_and_back_is_the_same_output(shop: Shop) -> None:
    before = table(shop.out)
    rotated(shop)
    ok(shop.run("retokenize", shop.out))
    ok(shop.run("retokenize", shop.out, "--to-version", "1"))
    assert table(shop.out).equals(before)
    assert shown(shop, 0) == [CARDS[0]]
    assert "name one of: 1, 2" in ok(shop.run("retokenize", shop.out, "--to-version", "3"), 2).said


def test_entries_stay_while_another_output_has_tokens_of_theirs(shop: Shop) -> None:
    other = shop.place / "other"
    ok(shop.protect("--at", AT, out=other))
    old = shop.card_token(0, other)
    rotated(shop)
    done = ok(shop.run("retokenize", shop.out, "--json")).json()
    assert done["waiting"] == {str(other.resolve()): [1]} and done["vault"]["dropped"] == 0
    assert shop.detokenize("card", old, subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    assert "still needed" in ok(shop.run("keys", "destroy", "1", "--yes"), 2).said
    assert ok(shop.run("retokenize", other, "--json")).json()["vault"]["dropped"] > 0
    ok(shop.run("keys", "destroy", "1", "--yes"))
    assert shown(shop, 0) == [CARDS[0]]


def test_entries_stay_where_they_are_asked_to_for_copies_elsewhere(shop: Shop) -> None:
    old = shop.card_token(0)
    rotated(shop)
    ok(shop.run("retokenize", shop.out, "--keep-entries"))
    assert shop.detokenize("card", old, subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    assert shown(shop, 0) == [CARDS[0]]
    refused = ok(shop.run("keys", "disable", "1"), 2).said
    assert "the vault holds" in refused and "retokenize" in refused


def test_entries_of_no_output_move_too(shop: Shop) -> None:
    """An output that was replaced leaves entries behind, which the vault may still hold."""
    write_lines(shop.orders, [noted(number) for number in (0, 6)])
    ok(shop.protect("--at", AT, "--replace"))
    before = counts(shop)
    rotated(shop)
    ok(shop.run("retokenize", shop.out))
    assert counts(shop) == {(domain, 2): count for (domain, _), count in before.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("format: pan", "format: pan\n    keep_last: 0"), "makes the tokens of domain 'card' in another way"),
        (("domain: email", "domain: mail"), "no info type of the token domain 'email' any more"),
    ],
)
def test_a_policy_that_makes_other_tokens_by_now_is_refused_before_anything_changes(
    shop: Shop, change: tuple[str, str], said: str
) -> None:
    before, entries = table(shop.out), counts(shop)
    rotated(shop)
    policy = shop.folder / "policy.yaml"
    text = policy.read_text()
    assert change[0] in text
    policy.write_text(text.replace(*change))
    refused = ok(shop.run("retokenize", shop.out), 2)
    assert said in refused.said
    policy.write_text(text)
    assert table(shop.out).equals(before) and counts(shop) == entries
    ok(shop.run("retokenize", shop.out))


def test_what_a_withdrawal_took_does_not_come_back(shop: Shop) -> None:
    rotated(shop)
    withdrawn = write_lines(shop.place / "withdrawn.jsonl", [event("c-0", "withdrawn", "2026-03-01T10:00:00Z")])
    ok(shop.run("consent", "import", withdrawn))
    ok(shop.run("retokenize", shop.out))
    asked = {"purpose": "support", "role": "support_agent", "actor": "ana"}
    held = [
        shop.detokenize("email", shop.email_token(subject), subject=SUBJECTS[subject], **asked).json()[0]["decision"]
        for subject in (0, 1)
    ]
    assert held == ["refused", "allowed"]
    assert counts(shop)["email", 2] == 2


def test_no_raw_value_is_written_anywhere(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rotated(shop)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    done = ok(shop.run("retokenize", shop.out))
    shop.orders.unlink()
    (shop.place / "consents.jsonl").unlink()
    left = [(str(path), path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    assert leaks([*CARDS, "kim0@example.com"], [*left, ("stderr", done.err.encode())]) == []


def test_new_tokens_can_be_detokenized_before_anybody_sees_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    rotated(shop)
    before = counts(shop)
    seen: list[dict[tuple[str, int], int]] = []

    def failing(*_: Any, **__: Any) -> Any:
        seen.append(counts(shop))
        raise RunError("the disk refused")

    monkeypatch.setattr(output_rewrite, "exchange_state", failing)
    with pytest.raises(RunError):
        retokenize_output(read_project(shop.config), str(shop.out))
    assert seen == [{**before, **{(domain, 2): count for (domain, _), count in before.items()}}]
    assert shown(shop, 0) == [CARDS[0]]
    monkeypatch.undo()
    ok(shop.run("retokenize", shop.out))
    assert shown(shop, 0) == [CARDS[0]] and {version for _, version in counts(shop)} == {2}


def test_a_vault_that_fails_in_the_middle_leaves_the_output_and_goes_on_next_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated(shop)
    before, calls = table(shop.out), []
    monkeypatch.setattr(versions_module, "PORTION", 1)
    real = versions_module.VaultVersions._copied

    def failing(*arguments: Any) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise ConfigError("no")
        return real(*arguments)

    monkeypatch.setattr(versions_module.VaultVersions, "_copied", failing)
    with pytest.raises(ConfigError):
        retokenize_output(read_project(shop.config), str(shop.out))
    assert table(shop.out).equals(before) and ("card", 1) in counts(shop)
    monkeypatch.setattr(versions_module.VaultVersions, "_copied", real)
    ok(shop.run("retokenize", shop.out))
    assert shown(shop, 0, 1, 2) == list(CARDS[:3])


def test_an_output_whose_move_was_cut_off_before_its_note_is_not_forgotten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are of the new version, and the list says both; a later rotation must not drop either."""
    other = shop.place / "other"
    ok(shop.protect("--at", AT, out=other))
    rotated(shop)

    def cut_off(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(retokenize_module, "known_output", cut_off)
    with pytest.raises(KeyboardInterrupt):
        retokenize_output(read_project(shop.config), str(shop.out))
    monkeypatch.undo()
    rotated(shop)
    ok(shop.run("retokenize", other))
    assert shown(shop, 0, 1, 2) == list(CARDS[:3])
    assert "still needed" in ok(shop.run("keys", "destroy", "2", "--yes"), 2).said
    ok(shop.run("retokenize", shop.out))
    assert shown(shop, 0, 1, 2) == list(CARDS[:3])
    for version in ("1", "2"):
        ok(shop.run("keys", "destroy", version, "--yes"))


def test_a_run_that_begins_while_entries_are_dropped_keeps_its_own(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    project, other = read_project(shop.config), shop.place / "other"
    rotated(shop)
    real = vault_module.Vault.copy_version

    def with_a_run_meanwhile(vault: Any, domain: str, old: int, new: int, move: Any) -> int:
        copied = real(vault, domain, old, new, move)
        if not other.exists():
            monkeypatch.setattr(vault_module.Vault, "copy_version", real)
            ok(shop.protect("--at", AT, out=other))  # of version 2, while entries move back to 1
        return copied

    ok(shop.run("retokenize", shop.out, "--keep-entries"))
    monkeypatch.setattr(vault_module.Vault, "copy_version", with_a_run_meanwhile)
    retokenize_output(project, str(shop.out), version=1)
    assert other.exists()
    token = shop.card_token(0, other)
    assert shop.detokenize("card", token, subject=SUBJECTS[0]).json()[0]["value"] == CARDS[0]
    assert shown(shop, 0) == [CARDS[0]]


def test_an_output_without_a_single_token_leaves_its_version_too(shop: Shop) -> None:
    policy = shop.folder / "policy.yaml"
    text = policy.read_text()
    for field in ("customer.id: customer_id", "customer.email: email", "payment.card.number: card"):
        assert field in text
        text = text.replace(field, field.partition(":")[0] + ": drop")
    policy.write_text(text)
    write_lines(shop.orders, [order(number) for number in range(6)])
    ok(shop.protect("--at", AT, "--replace"))
    rotated(shop)
    ok(shop.run("retokenize", shop.out))
    ok(shop.run("verify", shop.out))
    ok(shop.run("keys", "destroy", "1", "--yes"))
    ok(shop.run("dead-letters", "replay", shop.out))


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_when_it_is_run_again(shop: Shop) -> None:
    started = time.monotonic()
    rotated(shop)
    ok(shop.process("retokenize", shop.out))
    whole = time.monotonic() - started
    fractions = [0.55, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]
    for number, fraction in enumerate(fractions, 2):
        rotated(shop)
        running = subprocess.Popen([PROGRAM, "retokenize", str(shop.out), "--config", str(shop.config)],
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            running.wait(whole * fraction)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        ok(shop.run("verify", shop.out))
        assert shown(shop, 0, 1, 2) == list(CARDS[:3]), "at every instant what readers see can be detokenized"
        ok(shop.run("retokenize", shop.out))
        assert {version for _, version in counts(shop)} == {number + 1}
        assert shown(shop, 0, 1, 2) == list(CARDS[:3])
        assert not list(shop.place.glob(".out.consentry-*"))
        ok(shop.run("keys", "destroy", str(number), "--yes"))


@pytest.mark.slow
def test_fifty_rotations_lose_nothing(shop: Shop) -> None:
    """Each command opens everything anew; versions beyond the ninth need the oldest one destroyed first."""

    def surrogates() -> list[Any]:
        return table(shop.out).column("customer").combine_chunks().field("id").to_pylist()

    first = surrogates()
    for version in range(2, 52):
        rotated(shop)
        ok(shop.run("retokenize", shop.out))
        ok(shop.run("keys", "destroy", str(version - 1), "--yes"))
        if version % 10 == 0:
            assert shown(shop, 0, 1, 2) == list(CARDS[:3])
    assert shown(shop, 0, 1, 2) == list(CARDS[:3])
    fresh = shop.place / "fresh"
    ok(shop.protect("--at", AT, out=fresh))
    assert table(shop.out).equals(table(fresh)), "what is new joins what was moved fifty times"
    pairs = set(zip(first, surrogates(), strict=True))
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs}) == 6
    ok(shop.run("verify", shop.out))


def test_the_rows_of_an_erased_customer_are_known_after_the_move(shop: Shop) -> None:
    ok(shop.run("subject", "erase", "--yes", "--subject", "c-0"))
    rotated(shop)
    ok(shop.run("retokenize", shop.out))
    ok(shop.run("keys", "destroy", "1", "--yes"))
    ok(shop.run("redact", shop.out))
    rows = {row["order_id"]: row for row in table(shop.out).to_pylist()}
    hidden = [row["customer"]["id"] for name, row in rows.items() if int(name[2:]) % 6 == 0]
    assert set(hidden) <= {"[redacted]", None}
    assert "[redacted]" not in [row["customer"]["id"] for name, row in rows.items() if int(name[2:]) % 6]
    ok(shop.run("verify", shop.out))


def test_letters_of_an_output_are_replayed_under_its_version_after_a_rotation(shop: Shop) -> None:
    broken = order(30, payment={"card": {"number": ["4111111111111111"], "cvv": "675"}})
    write_lines(shop.orders, [*(noted(number) for number in range(6)), broken])
    policy = shop.folder / "policy.yaml"
    ok(shop.protect("--at", AT, "--replace"))
    rotated(shop)
    replayed = shop.run("dead-letters", "replay", shop.out, "--json")
    assert replayed.code in (0, 1), replayed.err
    assert policy.exists()
    ok(shop.run("retokenize", shop.out))
    assert {json.loads(json.dumps(row)).get("order_id") for row in table(shop.out).to_pylist()} >= {"o-0", "o-5"}

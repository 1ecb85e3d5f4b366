"""Whatever is changed in an output, verify says so, and whatever it reads, it does not crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consentry.pipelines.manifest_file import sign_manifest
from consentry.pipelines.verify import VerifyReport, verify_output
from consentry.schemas.errors import ConfigError
from consentry.schemas.manifest import Books, ConsentOutcomes, FieldTreatment, parse_manifest
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.small_output import CARD, SCHEMA, rows, write_output

Signing = tuple[ProofKeys, PublicKeys]


@pytest.fixture
def out(tmp_path: Path, signing: Signing) -> Path:
    write_output(str(tmp_path / "out"), signing[0])
    return tmp_path / "out"


def failed(report: VerifyReport) -> dict[str, str]:
    return {check.check: check.detail for check in report.checks if not check.ok}


def parquet(out: Path, folder: str = "data") -> Path:
    (path,) = (out / folder).iterdir()
    return path


def test_an_untouched_output_holds_in_every_respect(out: Path, signing: Signing) -> None:
    report = verify_output(str(out), signing[1])
    assert report.ok
    names = ["manifest", "signature", "files", "rows", "unlisted", "books", "reasons", "fields"]
    assert [check.check for check in report.checks] == names
    document = report.as_json()
    assert document["ok"] is True
    assert set(document["checks"][0]) == {"check", "ok", "detail"}


def test_what_was_found_in_the_texts_of_a_field_is_counted_beside_its_values(tmp_path: Path, signing: Signing) -> None:
    found = FieldTreatment(action="keep", outcomes={"kept": 5, "found:EMAIL": 3, "vault_candidate": 2})
    card = FieldTreatment(**{**CARD, "key_version": 1}, outcomes={"tokenized": 5})
    sku = FieldTreatment(action="keep", outcomes={"kept": 4})
    fields = {"order_id": found, "card": card, "items[].sku": sku}
    write_output(str(tmp_path / "out"), signing[0], fields=fields)
    assert verify_output(str(tmp_path / "out"), signing[1]).ok


def test_only_a_trusted_key_is_believed(out: Path, signing: Signing, strangers: Signing) -> None:
    problems = failed(verify_output(str(out), strangers[1]))
    assert "is not trusted" in problems["signature"]
    assert set(problems) == {"signature", "rows", "books", "reasons", "fields"}, "nothing unsigned is opened"
    resigned, _ = parse_manifest((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(sign_manifest(resigned, strangers[0]).dumps())
    assert "is not trusted" in failed(verify_output(str(out), signing[1]))["signature"]


def test_an_output_of_another_tenant_is_not_believed(tmp_path: Path, signing: Signing) -> None:
    write_output(str(tmp_path / "out"), signing[0], tenant="other")
    assert "another tenant" in failed(verify_output(str(tmp_path / "out"), signing[1]))["signature"]


def test_a_signature_of_another_context_or_none_is_refused(out: Path, signing: Signing) -> None:
    document = json.loads((out / "manifest.json").read_bytes())
    del document["signature"]
    (out / "manifest.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    assert failed(verify_output(str(out), signing[1]))["signature"] == "the manifest is not signed"


@pytest.mark.parametrize("folder", ["data", "dead_letters"])
def test_every_changed_byte_of_a_file_shows(out: Path, signing: Signing, folder: str) -> None:
    path = parquet(out, folder)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        problems = failed(verify_output(str(out), signing[1]))
        assert "its hash is another" in problems["files"]
        assert set(problems) >= {"files", "rows", "books"}
    path.write_bytes(whole)
    assert verify_output(str(out), signing[1]).ok


def test_a_cut_file_a_longer_one_and_a_missing_one_show(out: Path, signing: Signing) -> None:
    path = parquet(out)
    whole = path.read_bytes()
    for changed in (whole[:-1], whole + b"x", b""):
        path.write_bytes(changed)
        assert "has another size" in failed(verify_output(str(out), signing[1]))["files"]
    path.unlink()
    assert "is missing" in failed(verify_output(str(out), signing[1]))["files"]


@pytest.mark.parametrize("name", ["data/part-extra.parquet", "note.txt", ".hidden", "dead_letters/deep/x", b"\xff\xfe"])
def test_a_file_that_is_not_listed_shows(out: Path, signing: Signing, name: str | bytes) -> None:
    import os

    path = os.path.join(os.fsencode(out), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(b"x")
    problems = failed(verify_output(str(out), signing[1]))
    assert set(problems) == {"unlisted"}
    problems["unlisted"].encode()


def test_a_link_is_no_file_of_the_output(out: Path, signing: Signing, tmp_path: Path) -> None:
    path = parquet(out)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "is no plain file" in failed(verify_output(str(out), signing[1]))["files"]


def _rewritten(out: Path, keys: ProofKeys, **changes: Any) -> None:
    """Signs a changed manifest with the right key: what a faulty run could have signed."""
    manifest, _ = parse_manifest((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(sign_manifest(manifest.model_copy(update=changes), keys).dumps())


@pytest.mark.parametrize(
    ("check", "changes", "says"),
    [
        ("books", {"books": Books(in_=9, out=5, dropped=0, dead_lettered=3)}, "do not balance"),
        ("books", {"books": Books(in_=10, out=6, dropped=1, dead_lettered=3)}, "out says 6, the files hold 5"),
        (
            "books",
            {"books": Books(in_=10, out=5, dropped=1, dead_lettered=4)},
            "dead_lettered says 4, the files hold 3",
        ),
        ("books", {"consent": ConsentOutcomes(token_only=4)}, "outcomes of consent add up to 4"),
        ("reasons", {"reasons": {"invalid_json": 3}}, "other reasons than listed"),
        ("reasons", {"reasons": {}}, "other reasons than listed"),
        ("fields", {"fields": {}}, "field card is not marked as listed"),
    ],
)
def test_signed_books_that_are_wrong_show(
    out: Path, signing: Signing, check: str, changes: dict[str, Any], says: str
) -> None:
    _rewritten(out, signing[0], **changes)
    assert says in failed(verify_output(str(out), signing[1]))[check]


def test_a_field_whose_values_were_not_all_accounted_for_shows(out: Path, signing: Signing) -> None:
    manifest, _ = parse_manifest((out / "manifest.json").read_bytes())
    fields = {**manifest.fields, "order_id": FieldTreatment(action="keep", outcomes={"kept": 4})}
    _rewritten(out, signing[0], fields=fields)
    assert "outcomes of order_id add up to 4" in failed(verify_output(str(out), signing[1]))["books"]


@pytest.mark.parametrize(
    "marks", [{}, {"consentry.action": "keep"}, {"consentry.action": "redact", "consentry.domain": "x"}]
)
def test_a_field_marked_otherwise_shows(out: Path, signing: Signing, marks: dict[str, str]) -> None:
    fields = [field.with_metadata(marks) if field.name == "card" else field for field in SCHEMA]
    _replace_data(out, signing[0], pa.Table.from_batches([rows(5)]).cast(pa.schema(fields)))
    assert "field card is not marked as listed" in failed(verify_output(str(out), signing[1]))["fields"]


def test_a_field_that_the_policy_drops_shows_when_it_is_there(out: Path, signing: Signing) -> None:
    table = pa.Table.from_batches([rows(5)]).append_column("card_cvv", [["123"] * 5])
    _replace_data(out, signing[0], table)
    assert "field card_cvv is not marked as listed" in failed(verify_output(str(out), signing[1]))["fields"]


def test_signed_bytes_that_are_no_parquet_show(out: Path, signing: Signing) -> None:
    _replace_data(out, signing[0], None)
    problems = failed(verify_output(str(out), signing[1]))
    assert "is no readable Parquet file" in problems["rows"]
    assert "files" not in problems


def _replace_data(out: Path, keys: ProofKeys, table: pa.Table | None) -> None:
    import hashlib

    path = parquet(out)
    if table is None:
        path.write_bytes(b"PAR1 is not enough PAR1")
    else:
        pq.write_table(table, path)
    manifest, _ = parse_manifest((out / "manifest.json").read_bytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = {"sha256": digest, "bytes": path.stat().st_size}
    files = [file.model_copy(update=changed) if file.kind == "data" else file for file in manifest.files]
    _rewritten(out, keys, files=tuple(files))


def test_a_place_without_an_output_is_wrong_use(tmp_path: Path, signing: Signing, shelf: Callable[[str], str]) -> None:
    for place in (str(tmp_path / "nothing"), str(tmp_path), shelf("nothing")):
        with pytest.raises(ConfigError) as caught:
            verify_output(place, signing[1])
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"\x00" * 100, b"[" * 50_000, b'{"files": [{"path": "../x"}]}'])
def test_a_manifest_that_is_none_is_a_failed_check(out: Path, signing: Signing, data: bytes) -> None:
    (out / "manifest.json").write_bytes(data)
    assert set(failed(verify_output(str(out), signing[1]))) == {"manifest"}


def test_a_manifest_that_is_a_folder_or_a_link_does_not_crash(out: Path, signing: Signing) -> None:
    (out / "manifest.json").unlink()
    (out / "manifest.json").symlink_to(out / "nowhere")
    assert set(failed(verify_output(str(out), signing[1]))) == {"manifest"}
    (out / "manifest.json").unlink()
    (out / "manifest.json").mkdir()
    with pytest.raises(ConfigError):
        verify_output(str(out), signing[1])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, signing: Signing) -> Path:
    out = tmp_path_factory.mktemp("sound") / "out"
    write_output(str(out), signing[0])
    return out


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_the_manifest_passes_or_crashes(sound: Path, signing: Signing, data: st.DataObject) -> None:
    path = sound / "manifest.json"
    whole = path.read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                changed[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del changed[place : place + data.draw(st.integers(1, 40))]
                changed = changed or bytearray(b"x")
            case "insert":
                changed[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    try:
        path.write_bytes(changed)
        assert verify_output(str(sound), signing[1]).ok == (bytes(changed) == whole)
    finally:
        path.write_bytes(whole)


def test_the_report_names_no_value(out: Path, signing: Signing) -> None:
    shutil.copy(parquet(out), out / "data" / "part-copy.parquet")
    parquet_file = next(path for path in (out / "data").iterdir() if path.name != "part-copy.parquet")
    parquet_file.write_bytes(b"4111111111111111")
    assert "4111111111111111" not in json.dumps(verify_output(str(out), signing[1]).as_json())


def test_verifying_a_local_output_never_loads_beam(out: Path, signing: Signing, tmp_path: Path) -> None:
    (tmp_path / "proof.pub").write_text(signing[1].dumps())
    code = (
        "import sys\n"
        "from consentry.pipelines.verify import verify_output\n"
        "from consentry.transforms.crypto.key_sets import PublicKeys\n"
        f"assert verify_output({str(out)!r}, PublicKeys.load({str(tmp_path / 'proof.pub')!r})).ok\n"
        "assert not [name for name in sys.modules if name.startswith('apache_beam')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
